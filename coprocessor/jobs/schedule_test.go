package jobs_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tacit-fhe/tacit/coprocessor/jobs"
	"github.com/tacit-fhe/tacit/coprocessor/store"
	"github.com/tacit-fhe/tacit/coprocessor/store/storetest"
)

// place is where things are that jobs need.
type place struct {
	mu    sync.Mutex
	there map[jobs.Name]bool
	err   error
}

func (p *place) put(names ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range names {
		p.there[name(n)] = true
	}
}

func (p *place) ready(_ context.Context, _ jobs.Job, n jobs.Name, _ bool) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.there[n], p.err
}

func name(s string) (n jobs.Name) {
	copy(n[:], s)
	return n
}

func names(list ...string) (out []jobs.Name) {
	for _, n := range list {
		out = append(out, name(n))
	}
	return out
}

func made(list ...string) (out []jobs.Made) {
	for i, n := range list {
		out = append(out, jobs.Made{Name: name(n), Tag: byte(i)})
	}
	return out
}

// byDot is the tenant of tenant.id.
func byDot(id string) string {
	tenant, _, _ := strings.Cut(id, ".")
	return tenant
}

// waitingOptions are those of a queue whose jobs may wait. Errors say what the
// queue told.
func waitingOptions(p *place) jobs.Options {
	return jobs.Options{TenantOf: byDot, Ready: p.ready, LeaseDuration: time.Hour, Explain: func(spec []byte, f jobs.Failure) []byte {
		return fmt.Appendf(nil, "%s: %s %s %s", spec, f.Cause, strings.TrimRight(string(f.Name[:]), "\x00"), f.Maker.ID)
	}}
}

func put(t *testing.T, q *jobs.Queue, s jobs.Submission) jobs.Job {
	t.Helper()
	s.Spec = []byte("spec of " + s.ID)
	job, created, err := q.Submit(t.Context(), s)
	if err != nil || !created {
		t.Fatalf("%s: created %v, %v", s.ID, created, err)
	}
	return job
}

func state(t *testing.T, q *jobs.Queue, id string, want jobs.State) jobs.Job {
	t.Helper()
	job, err := q.Stat(t.Context(), id)
	if err != nil || job.State != want {
		t.Fatalf("%s is %v, want %v: %v", id, job.State, want, err)
	}
	return job
}

// become waits until a job is in a state.
func become(t *testing.T, q *jobs.Queue, id string, want jobs.State) jobs.Job {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for job, err := range q.Watch(ctx, id) {
		if err != nil {
			t.Fatalf("%s does not become %v: %v", id, want, err)
		}
		if job.State == want {
			return job
		}
	}
	t.Fatalf("%s does not become %v", id, want)
	return jobs.Job{}
}

// A job that needs the results of two others starts when both are done, also
// when the process changes in between and when the consumer comes first.
func TestWaiting(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	n := storetest.Start(t, dir)
	p := &place{there: map[jobs.Name]bool{}}
	q := open(t, n, waitingOptions(p))
	if job := put(t, q, jobs.Submission{ID: "a.last", Needs: names("x", "y"), Makes: made("z")}); job.State != jobs.Waiting {
		t.Fatalf("%v", job.State)
	}
	put(t, q, jobs.Submission{ID: "a.x", Makes: made("x", "more")})
	put(t, q, jobs.Submission{ID: "a.y", Needs: names("more"), Makes: made("y")})
	if tag, ok, err := q.Makes(ctx, "a", name("more")); err != nil || !ok || tag != 1 {
		t.Errorf("a.x makes more: %v, %v, %v", tag, ok, err)
	}
	if _, ok, err := q.Makes(ctx, "b", name("more")); err != nil || ok {
		t.Errorf("b sees what a makes: %v", err)
	}
	l := claim(t, q)
	if l.Job().ID != "a.x" {
		t.Fatalf("claimed %s", l.Job().ID)
	}
	noClaim(t, q, 50*time.Millisecond)
	p.put("x", "more")
	must(t, l.Done(ctx, nil))
	become(t, q, "a.y", jobs.Queued)
	state(t, q, "a.last", jobs.Waiting)

	q.Close()
	storetest.Stop(t, n)
	q = open(t, storetest.Start(t, dir), waitingOptions(p))
	state(t, q, "a.last", jobs.Waiting)
	l = claim(t, q)
	if job := l.Job(); job.ID != "a.y" || len(job.Needs) != 1 {
		t.Fatalf("claimed %+v", job)
	}
	p.put("y")
	must(t, l.Done(ctx, nil))
	if l = claim(t, q); l.Job().ID != "a.last" {
		t.Fatalf("claimed %s", l.Job().ID)
	}
	must(t, l.Done(ctx, nil))

	// What nobody makes may arrive by another way.
	put(t, q, jobs.Submission{ID: "a.upload", Needs: names("upload")})
	p.put("upload")
	q.Arrived(name("upload"))
	if l = claim(t, q); l.Job().ID != "a.upload" {
		t.Fatalf("claimed %s", l.Job().ID)
	}
	// What is there already is not waited for.
	put(t, q, jobs.Submission{ID: "a.at-once", Needs: names("x")})
	if l = claim(t, q); l.Job().ID != "a.at-once" {
		t.Fatalf("claimed %s", l.Job().ID)
	}
}

// The jobs of another process wait too.
func TestWaitingElsewhere(t *testing.T) {
	n := storetest.Start(t, t.TempDir())
	p := &place{there: map[jobs.Name]bool{}}
	q, other := open(t, n, waitingOptions(p)), open(t, n, waitingOptions(p))
	put(t, q, jobs.Submission{ID: "a.make", Makes: made("x")})
	put(t, other, jobs.Submission{ID: "a.need", Needs: names("x")})
	l := claim(t, other)
	p.put("x")
	must(t, l.Done(t.Context(), nil))
	if l := claim(t, q); l.Job().ID != "a.need" || l.Job().Attempts != 1 {
		t.Errorf("claimed %+v", l.Job())
	}
}

// When a job fails or is cancelled, those that need what it was to make fail,
// each with the reason, and so on; but not while another job is to make it.
func TestMakerFails(t *testing.T) {
	ctx := t.Context()
	p := &place{there: map[jobs.Name]bool{}}
	q := newQueue(t, waitingOptions(p))
	for _, end := range []string{"fail", "cancel"} {
		first := "a." + end
		put(t, q, jobs.Submission{ID: first, Makes: made(end + "1")})
		put(t, q, jobs.Submission{ID: first + "2", Needs: names("other", end+"1"), Makes: made(end + "2")})
		put(t, q, jobs.Submission{ID: first + "3", Needs: names(end + "2")})
		put(t, q, jobs.Submission{ID: "b." + end, Needs: names(end + "1")}) // of another tenant, who is told nothing
		if end == "fail" {
			must(t, claim(t, q).Fail(ctx, []byte("why"), false))
		} else {
			_, err := q.Cancel(ctx, first)
			must(t, err)
		}
		for i, want := range []string{"", "", first + "2: maker " + end + "1 " + first, first + "3: maker " + end + "2 " + first + "2"} {
			if want == "" {
				continue
			}
			job := become(t, q, fmt.Sprint(first, i), jobs.Failed)
			if string(job.Error) != "spec of "+want || job.Cause != jobs.Maker || job.Attempts != 0 || job.Finished.IsZero() {
				t.Errorf("%s: %s, %q", job.ID, job.Cause, job.Error)
			}
		}
		state(t, q, "b."+end, jobs.Waiting)
		// So does one that comes later.
		put(t, q, jobs.Submission{ID: first + "-late", Needs: names(end + "1")})
		become(t, q, first+"-late", jobs.Failed)
	}

	put(t, q, jobs.Submission{ID: "a.twin1", Makes: made("twin")})
	put(t, q, jobs.Submission{ID: "a.twin2", Makes: made("twin")})
	put(t, q, jobs.Submission{ID: "a.needs", Needs: names("twin")})
	must(t, claim(t, q).Fail(ctx, nil, false))
	l := claim(t, q)
	state(t, q, "a.needs", jobs.Waiting)
	p.put("twin")
	must(t, l.Done(ctx, nil))
	become(t, q, "a.needs", jobs.Queued)
}

func TestRetry(t *testing.T) {
	ctx := t.Context()
	p := &place{there: map[jobs.Name]bool{}}
	opts := waitingOptions(p)
	opts.MaxAttempts = 1
	q := newQueue(t, opts)
	put(t, q, jobs.Submission{ID: "a.make", Makes: made("x"), Cost: 5})
	put(t, q, jobs.Submission{ID: "a.need", Needs: names("x")})
	l := claim(t, q)
	l.Spend(3)
	must(t, l.Fail(ctx, []byte("down"), true))
	become(t, q, "a.need", jobs.Failed)
	dead, _, err := q.List(ctx, jobs.ListOptions{Cause: jobs.Attempts})
	if err != nil || len(dead) != 1 || dead[0].ID != "a.make" || dead[0].Cause != jobs.Attempts || dead[0].Spent != 3 {
		t.Errorf("%+v, %v", dead, err)
	}
	for _, id := range []string{"a.make", "a.need"} {
		if job, err := q.Retry(ctx, id); err != nil || job.State.Terminal() || job.Error != nil || job.Cause != "" || job.Attempts != 0 {
			t.Fatalf("%s: %+v, %v", id, job, err)
		}
	}
	var wrong *jobs.StateError
	if _, err := q.Retry(ctx, "a.make"); !errors.As(err, &wrong) || wrong.State != jobs.Queued {
		t.Errorf("%v", err)
	}
	l = claim(t, q)
	p.put("x")
	l.Spend(4)
	must(t, l.Done(ctx, nil))
	if job := wait(t, q, "a.make"); job.State != jobs.Done || job.Spent != 7 {
		t.Errorf("%+v", job)
	}
	must(t, claim(t, q).Done(ctx, nil))
}

// Jobs that would wait for themselves are refused, or fail when two queues took
// one each.
func TestCycles(t *testing.T) {
	p := &place{there: map[jobs.Name]bool{}}
	n := storetest.Start(t, t.TempDir())
	q := open(t, n, waitingOptions(p))
	put(t, q, jobs.Submission{ID: "a.1", Needs: names("x"), Makes: made("y")})
	put(t, q, jobs.Submission{ID: "a.2", Needs: names("y"), Makes: made("z")})
	var cycle *jobs.CycleError
	for id, s := range map[string]jobs.Submission{
		"a.3":  {Needs: names("w", "z"), Makes: made("v", "x")},
		"a.me": {Needs: names("own"), Makes: made("own")},
	} {
		s.ID = id
		if _, _, err := q.Submit(t.Context(), s); !errors.As(err, &cycle) {
			t.Errorf("%s: %v", id, err)
		}
	}
	put(t, q, jobs.Submission{ID: "b.3", Needs: names("z"), Makes: made("x")}) // another tenant's x is none of a's business
	state(t, q, "a.1", jobs.Waiting)

	// Two queues that do not know of each other's job yet.
	stale := open(t, n, waitingOptions(p))
	var wg sync.WaitGroup
	refused := 0
	var mu sync.Mutex
	for i, from := range []*jobs.Queue{q, stale} {
		wg.Go(func() {
			needs, makes := []string{"p", "q"}[i], []string{"q", "p"}[i]
			_, _, err := from.Submit(t.Context(), jobs.Submission{ID: "a." + makes, Needs: names(needs), Makes: made(makes)})
			mu.Lock()
			defer mu.Unlock()
			if errors.As(err, &cycle) {
				refused++
			} else if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if refused == 0 {
		for _, id := range []string{"a.p", "a.q"} {
			if job := wait(t, q, id); job.State != jobs.Failed || job.Cause != jobs.Cyclic && job.Cause != jobs.Maker {
				t.Errorf("%+v", job)
			}
		}
	}
}

func TestDeadlines(t *testing.T) {
	ctx := t.Context()
	p := &place{there: map[jobs.Name]bool{}}
	q := newQueue(t, waitingOptions(p))
	put(t, q, jobs.Submission{ID: "a.before", TimeLimit: time.Nanosecond})
	put(t, q, jobs.Submission{ID: "a.waits", Needs: names("x"), TimeLimit: time.Hour, WaitLimit: 50 * time.Millisecond})
	for id, want := range map[string]string{"a.before": "overdue  ", "a.waits": "missing x "} {
		if job := wait(t, q, id); job.State != jobs.Failed || string(job.Error) != "spec of "+id+": "+want || job.Attempts != 0 {
			t.Errorf("%s: %v, %q, %d attempts", id, job.State, job.Error, job.Attempts)
		}
	}
	noClaim(t, q, 50*time.Millisecond)

	// A job that runs is stopped.
	put(t, q, jobs.Submission{ID: "a.runs", TimeLimit: 300 * time.Millisecond})
	l := claim(t, q)
	if cause := ended(t, l); cause != jobs.ErrLeaseLost {
		t.Errorf("cause %v", cause)
	}
	if job := wait(t, q, "a.runs"); job.State != jobs.Failed || job.Cause != jobs.Overdue || job.Attempts != 1 {
		t.Errorf("%+v", job)
	}
	if err := l.Done(ctx, nil); !errors.Is(err, jobs.ErrLeaseLost) {
		t.Errorf("late: %v", err)
	}
	// What is in time is in time.
	put(t, q, jobs.Submission{ID: "a.in-time", Needs: names("y"), TimeLimit: time.Hour, WaitLimit: time.Hour})
	p.put("y")
	q.Arrived(name("y"))
	must(t, claim(t, q).Done(ctx, nil))
	state(t, q, "a.in-time", jobs.Done)
}

// claims claims so many jobs and finishes them.
func claims(t *testing.T, q *jobs.Queue, count int) (ids []string) {
	t.Helper()
	for range count {
		l := claim(t, q)
		ids = append(ids, l.Job().ID)
		must(t, l.Done(t.Context(), nil))
	}
	return ids
}

// Tenants share by what their jobs cost and their weight, whoever came first and
// with however many jobs.
func TestFairSharing(t *testing.T) {
	weights := map[string]float64{"heavy": 2}
	q := newQueue(t, jobs.Options{TenantOf: byDot, Policy: func(tenant string) jobs.Policy { return jobs.Policy{Weight: weights[tenant]} }})
	for i := range 40 {
		put(t, q, jobs.Submission{ID: fmt.Sprint("flood.", i), Cost: 99})
	}
	for i := range 10 {
		put(t, q, jobs.Submission{ID: fmt.Sprint("small.", i), Cost: 99})
		put(t, q, jobs.Submission{ID: fmt.Sprint("heavy.", i), Cost: 99})
		put(t, q, jobs.Submission{ID: fmt.Sprint("large.", i), Cost: 199})
	}
	count := map[string]int{}
	for _, id := range claims(t, q, 18) { // 6 units of 100 for each weight of 1, which is 3 of 200
		count[byDot(id)]++
	}
	for tenant, want := range map[string]int{"flood": 4, "small": 4, "heavy": 8, "large": 2} {
		if n := count[tenant]; n < want-1 || n > want+1 {
			t.Errorf("%s had %d of 18 turns, want %d or so: %v", tenant, n, want, count)
		}
	}
	// Whoever was away is owed nothing for that time.
	claims(t, q, 20)
	for i := range 10 {
		put(t, q, jobs.Submission{ID: fmt.Sprint("late.", i), Cost: 99})
	}
	count = map[string]int{}
	for _, id := range claims(t, q, 12) {
		count[byDot(id)]++
	}
	if count["late"] > 5 || count["late"] < 2 || count["flood"] < 2 {
		t.Errorf("%v", count)
	}
}

func TestPriority(t *testing.T) {
	q := newQueue(t, jobs.Options{TenantOf: byDot})
	for i, p := range []int{0, 5, -1, 5, 0} {
		put(t, q, jobs.Submission{ID: fmt.Sprint("a.", i), Priority: p})
	}
	if got := claims(t, q, 5); !slices.Equal(got, []string{"a.1", "a.3", "a.0", "a.4", "a.2"}) {
		t.Errorf("%v", got)
	}
}

func TestBudget(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	n := storetest.Start(t, dir)
	opts := jobs.Options{TenantOf: byDot, MaxBacklog: 250, Policy: func(tenant string) jobs.Policy {
		if tenant == "a" {
			return jobs.Policy{Budget: 100, MaxQueued: 2}
		}
		return jobs.Policy{}
	}}
	q := open(t, n, opts)
	put(t, q, jobs.Submission{ID: "a.1", Cost: 60})
	put(t, q, jobs.Submission{ID: "a.2", Cost: 40})
	var budget *jobs.BudgetError
	var full *jobs.FullError
	if _, _, err := q.Submit(ctx, jobs.Submission{ID: "a.3", Cost: 1}); !errors.As(err, &full) || full.Tenant != "a" || full.Limit != 2 {
		t.Errorf("a third job: %v", err)
	}
	if used := q.Usage("a"); used.Used != 100 || used.Policy.Budget != 100 || used.States[jobs.Queued] != 2 || used.To.Sub(used.From) != 24*time.Hour {
		t.Errorf("%+v", used)
	}
	l := claim(t, q)
	l.Spend(10)
	must(t, l.Done(ctx, nil)) // less than it was thought to cost
	if _, _, err := q.Submit(ctx, jobs.Submission{ID: "a.3", Cost: 51}); !errors.As(err, &budget) || budget.Used != 50 || budget.Refill.Before(time.Now()) {
		t.Errorf("over the budget: %v", err)
	}
	if _, _, err := q.Submit(ctx, jobs.Submission{ID: "a.3", Cost: 101}); !errors.As(err, &budget) || budget.Cost <= budget.Budget {
		t.Errorf("never: %v", err)
	}
	if _, created, err := q.Submit(ctx, jobs.Submission{ID: "a.1", Spec: []byte("spec of a.1"), Cost: 60}); err != nil || created {
		t.Errorf("a job that is there: %v", err)
	}
	put(t, q, jobs.Submission{ID: "a.3", Cost: 50})
	put(t, q, jobs.Submission{ID: "b.1", Cost: 160})
	if _, _, err := q.Submit(ctx, jobs.Submission{ID: "b.2", Cost: 1}); !errors.As(err, &full) || full.Unit != "bootstraps" {
		t.Errorf("over the backlog: %v", err)
	}
	_, err := q.Cancel(ctx, "b.1")
	must(t, err)

	// The sums outlive the process.
	q.Close()
	storetest.Stop(t, n)
	q = open(t, storetest.Start(t, dir), opts)
	if used := q.Usage("a"); used.Used != 100 || used.States[jobs.Done] != 1 {
		t.Errorf("%+v", used)
	}
	if used := q.Usage("b"); used.Used != 0 || used.States[jobs.Cancelled] != 1 {
		t.Errorf("%+v", used)
	}
	if got := q.Tenants(); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("%v", got)
	}
	if s := q.Stats(); s.Backlog != 90 {
		t.Errorf("backlog %d", s.Backlog)
	}
}

// What is held back does not start, anywhere, until it is let go.
func TestHold(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	n := storetest.Start(t, dir)
	opts := jobs.Options{TenantOf: byDot}
	q, other := open(t, n, opts), open(t, n, opts)
	for _, s := range []jobs.Submission{{ID: "a.1"}, {ID: "b.1", Pool: "key"}, {ID: "c.1"}} {
		put(t, q, s)
	}
	if c, err := other.Control(ctx); err != nil || c.Paused {
		t.Fatalf("%+v, %v", c, err)
	}
	hold := func(change func(*jobs.Control)) {
		t.Helper()
		_, err := q.Hold(ctx, change)
		must(t, err)
	}
	hold(func(c *jobs.Control) { c.Paused = true })
	noClaim(t, q, 50*time.Millisecond)
	put(t, q, jobs.Submission{ID: "c.2"})
	hold(func(c *jobs.Control) { *c = jobs.Control{Tenants: []string{"a"}, Pools: []string{"key"}} })
	if got := claims(t, q, 2); !slices.Equal(got, []string{"c.1", "c.2"}) {
		t.Errorf("%v", got)
	}
	noClaim(t, other, 50*time.Millisecond)
	var held *jobs.HeldError
	for _, s := range []jobs.Submission{{ID: "a.2"}, {ID: "c.3", Pool: "key"}} {
		if _, _, err := q.Submit(ctx, s); !errors.As(err, &held) {
			t.Errorf("%s: %v", s.ID, err)
		}
	}
	// A restart changes nothing.
	q.Close()
	other.Close()
	storetest.Stop(t, n)
	q = open(t, storetest.Start(t, dir), opts)
	noClaim(t, q, 50*time.Millisecond)
	hold(func(c *jobs.Control) { *c = jobs.Control{} })
	if got := claims(t, q, 2); !slices.Equal(got, []string{"a.1", "b.1"}) {
		t.Errorf("%v", got)
	}
}

// A feed that is taken up where it ended misses no job, and tells none twice.
func TestChanges(t *testing.T) {
	ctx := t.Context()
	q := newQueue(t, jobs.Options{TenantOf: byDot})
	put(t, q, jobs.Submission{ID: "a.1"})
	put(t, q, jobs.Submission{ID: "b.1"})
	put(t, q, jobs.Submission{ID: "a.2"})
	var cursor uint64
	read := func(prefix string, count int) (got []string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		for job, err := range q.Changes(ctx, cursor, prefix) {
			must(t, err)
			if job.Revision <= cursor {
				t.Errorf("revision %d after %d", job.Revision, cursor)
			}
			cursor = job.Revision
			if got = append(got, fmt.Sprint(job.ID, " ", job.State)); len(got) == count {
				break
			}
		}
		return got
	}
	if got := read("a.", 1); !slices.Equal(got, []string{"a.1 queued"}) {
		t.Errorf("%v", got)
	}
	_, err := q.Cancel(ctx, "a.1")
	must(t, err)
	if got := read("a.", 2); !slices.Equal(got, []string{"a.2 queued", "a.1 cancelled"}) {
		t.Errorf("%v", got)
	}
	timer := time.AfterFunc(20*time.Millisecond, func() {
		if _, err := q.Cancel(ctx, "b.1"); err != nil {
			t.Error(err)
		}
	})
	defer timer.Stop()
	if got := read("", 1); !slices.Equal(got, []string{"b.1 cancelled"}) {
		t.Errorf("%v", got)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	for _, err := range q.Changes(ended, cursor, "") {
		if err != context.Canceled {
			t.Errorf("%v", err)
		}
	}
}

func TestNewest(t *testing.T) {
	q := newQueue(t, jobs.Options{})
	for i := range 5 {
		submit(t, q, fmt.Sprint(i))
	}
	var got []string
	for after := ""; ; {
		page, next, err := q.List(t.Context(), jobs.ListOptions{Newest: true, Limit: 2, After: after})
		must(t, err)
		for _, job := range page {
			got = append(got, job.ID)
		}
		if after = next; next == "" {
			break
		}
	}
	if !slices.Equal(got, []string{"4", "3", "2", "1", "0"}) {
		t.Errorf("%v", got)
	}
}

// rewrite changes the stored record of a job, as a process whose clock is wrong may
// have written it.
func rewrite(t *testing.T, n *store.Node, id string, fields map[string]any) {
	t.Helper()
	kv, err := n.JetStream().KeyValue(t.Context(), "jobs")
	must(t, err)
	key := "job/" + strings.ReplaceAll(id, ".", "=")
	e, err := kv.Get(t.Context(), key)
	must(t, err)
	record := map[string]any{}
	must(t, json.Unmarshal(e.Value(), &record))
	for name, value := range fields {
		record[name] = value
	}
	b, err := json.Marshal(record)
	must(t, err)
	_, err = kv.Update(t.Context(), key, b, e.Revision())
	must(t, err)
}

// Clocks that are wrong by a day, in either direction, neither keep a job from being
// taken over nor have two workers run it, and its waits and retries go on.
func TestClocksThatAreWrong(t *testing.T) {
	ctx := t.Context()
	for name, wrong := range map[string]time.Duration{"ahead": 24 * time.Hour, "behind": -24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			n := storetest.Start(t, t.TempDir())
			p := &place{there: map[jobs.Name]bool{}}
			q := open(t, n, waitingOptions(p))
			then := time.Now().Add(wrong).UTC()
			_, err := q.Hold(ctx, func(c *jobs.Control) { c.Paused = true })
			must(t, err)
			for _, id := range []string{"a.held", "a.delayed"} {
				put(t, q, jobs.Submission{ID: id, Cost: 7})
			}
			put(t, q, jobs.Submission{ID: "a.waits", Needs: names("x"), WaitLimit: time.Hour})
			rewrite(t, n, "a.held", map[string]any{"state": "running", "lease": "another", "attempts": 1, "created": then, "started": then,
				"lease_for": 300 * time.Millisecond})
			rewrite(t, n, "a.delayed", map[string]any{"created": then, "delay": 300 * time.Millisecond})
			_, err = q.Hold(ctx, func(c *jobs.Control) { c.Paused = false })
			must(t, err)
			noClaim(t, q, 100*time.Millisecond) // neither the lease nor the delay is over
			got := []string{}
			for range 2 {
				l := claim(t, q)
				got = append(got, fmt.Sprint(l.Job().ID, l.Job().Attempts))
				must(t, l.Done(ctx, nil))
			}
			slices.Sort(got)
			if !slices.Equal(got, []string{"a.delayed1", "a.held2"}) {
				t.Errorf("claimed %v", got)
			}
			state(t, q, "a.waits", jobs.Waiting)
			p.put("x")
			q.Arrived(jobs.Name([]byte("x" + strings.Repeat("\x00", 31))))
			must(t, claim(t, q).Done(ctx, nil))
			if used := q.Usage("a"); used.Used < 0 || used.Used > 14 {
				t.Errorf("%+v", used)
			}
		})
	}
}
