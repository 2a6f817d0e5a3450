package jobs_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tacit-fhe/tacit/coprocessor/jobs"
	"github.com/tacit-fhe/tacit/coprocessor/store"
	"github.com/tacit-fhe/tacit/coprocessor/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, n *store.Node, opts jobs.Options) *jobs.Queue {
	t.Helper()
	q, err := jobs.Open(t.Context(), n.JetStream(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(q.Close)
	return q
}

func newQueue(t *testing.T, opts jobs.Options) *jobs.Queue {
	t.Helper()
	return open(t, storetest.Start(t, t.TempDir()), opts)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func submit(t *testing.T, q *jobs.Queue, id string) {
	t.Helper()
	_, created, err := q.Submit(t.Context(), jobs.Submission{ID: id, Spec: []byte("spec of " + id)})
	if err != nil || !created {
		t.Fatalf("Submit %s: created %v, %v", id, created, err)
	}
}

func claim(t *testing.T, q *jobs.Queue) *jobs.Lease {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	l, err := q.Claim(ctx)
	if err != nil {
		t.Fatalf("Claim: %v", err)
	}
	return l
}

// noClaim checks that there is nothing to claim for a while.
func noClaim(t *testing.T, q *jobs.Queue, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if l, err := q.Claim(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Claim: %+v, %v", l, err)
	}
}

// large is a result that does not lie in the record of its job.
func large(text string) []byte { return append([]byte(text), make([]byte, 8<<10)...) }

func wait(t *testing.T, q *jobs.Queue, id string) jobs.Job {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	job, err := q.Wait(ctx, id)
	if err != nil {
		t.Fatalf("Wait %s: %v", id, err)
	}
	return job
}

// ended waits for a lease's context and returns its cause.
func ended(t *testing.T, l *jobs.Lease) error {
	t.Helper()
	select {
	case <-l.Context().Done():
		return context.Cause(l.Context())
	case <-time.After(10 * time.Second):
		t.Fatal("the lease's context did not end")
		return nil
	}
}

func TestLifeOfAJob(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	n := storetest.Start(t, dir)
	q := open(t, n, jobs.Options{})

	spec := bytes.Repeat([]byte("spec"), store.MaxRecord/4)
	before := time.Now()
	job, created, err := q.Submit(ctx, jobs.Submission{ID: "a", Spec: spec})
	must(t, err)
	if !created || job.ID != "a" || job.State != jobs.Queued || job.SpecDigest != sha256.Sum256(spec) ||
		!bytes.Equal(job.Spec, spec) || job.Attempts != 0 || job.Created.Before(before) || job.Revision == 0 ||
		!job.Started.IsZero() || !job.Finished.IsZero() {
		t.Fatalf("submitted: created %v, %v", created, job.State)
	}

	l := claim(t, q)
	if j := l.Job(); j.ID != "a" || j.State != jobs.Running || j.Attempts != 1 || !bytes.Equal(j.Spec, spec) || j.Started.Before(before) {
		t.Fatalf("claimed: %v, attempt %d", j.State, j.Attempts)
	}
	must(t, l.Progress(ctx, []byte("half")))
	job, err = q.Stat(ctx, "a")
	must(t, err)
	if job.State != jobs.Running || string(job.Progress) != "half" || job.Spec != nil {
		t.Fatalf("running: %+v", job)
	}
	if err := l.Context().Err(); err != nil {
		t.Fatal(err)
	}
	result := bytes.Repeat([]byte("result!!"), store.MaxRecord/8)
	must(t, l.Done(ctx, result))
	if cause := ended(t, l); cause != context.Canceled {
		t.Errorf("cause after Done: %v", cause)
	}
	for name, call := range map[string]func() error{
		"Done":     func() error { return l.Done(ctx, nil) },
		"Fail":     func() error { return l.Fail(ctx, nil, true) },
		"Progress": func() error { return l.Progress(ctx, nil) },
		"Release":  func() error { return l.Release(ctx) },
	} {
		if err := call(); !errors.Is(err, jobs.ErrLeaseLost) {
			t.Errorf("%s after Done: %v", name, err)
		}
	}
	check := func(job jobs.Job, err error) {
		t.Helper()
		must(t, err)
		if job.State != jobs.Done || !bytes.Equal(job.Result, result) || !bytes.Equal(job.Spec, spec) ||
			job.Attempts != 1 || job.Finished.Before(job.Started) || string(job.Progress) != "half" {
			t.Fatalf("done: %v, attempt %d", job.State, job.Attempts)
		}
	}
	check(q.Get(ctx, "a"))
	check(wait(t, q, "a"), nil)
	if job, created, err := q.Submit(ctx, jobs.Submission{ID: "a", Spec: spec}); err != nil || created || job.State != jobs.Done {
		t.Errorf("submitted again: created %v, %v, %v", created, job.State, err)
	}

	q.Close()
	storetest.Stop(t, n)
	q = open(t, storetest.Start(t, dir), jobs.Options{})
	check(q.Get(ctx, "a"))
	noClaim(t, q, 50*time.Millisecond)
}

func TestEmptySpecAndResult(t *testing.T) {
	q := newQueue(t, jobs.Options{})
	if _, _, err := q.Submit(t.Context(), jobs.Submission{ID: "a"}); err != nil {
		t.Fatal(err)
	}
	must(t, claim(t, q).Done(t.Context(), nil))
	if job := wait(t, q, "a"); job.State != jobs.Done || len(job.Spec) != 0 || len(job.Result) != 0 {
		t.Errorf("%+v", job)
	}
}

func TestIDs(t *testing.T) {
	ctx := t.Context()
	q := newQueue(t, jobs.Options{})
	for _, id := range []string{"a", "A-z_0.9", ".", "..", ".a.", "a..b", "-", "job", strings.Repeat("x", 189), strings.Repeat(".", 189)} {
		submit(t, q, id)
		if l := claim(t, q); l.Job().ID != id {
			t.Errorf("claimed %q, want %q", l.Job().ID, id)
		} else {
			must(t, l.Done(ctx, []byte(id)))
		}
		if job := wait(t, q, id); string(job.Result) != id || string(job.Spec) != "spec of "+id {
			t.Errorf("%q: %+v", id, job)
		}
	}
	for _, id := range []string{"", "a b", "a/b", "a=b", "a*", ">", "é", "a\x00", "a\n", strings.Repeat("x", 190)} {
		idErr := (*jobs.IDError)(nil)
		if _, _, err := q.Submit(ctx, jobs.Submission{ID: id}); !errors.As(err, &idErr) || idErr.ID != id {
			t.Errorf("Submit %q: %v", id, err)
		}
		if _, err := q.Get(ctx, id); !errors.As(err, &idErr) {
			t.Errorf("Get %q: %v", id, err)
		}
		if _, err := q.Stat(ctx, id); !errors.As(err, &idErr) {
			t.Errorf("Stat %q: %v", id, err)
		}
		if _, err := q.Wait(ctx, id); !errors.As(err, &idErr) {
			t.Errorf("Wait %q: %v", id, err)
		}
		if _, err := q.Cancel(ctx, id); !errors.As(err, &idErr) {
			t.Errorf("Cancel %q: %v", id, err)
		}
	}
}

func TestUnknownJob(t *testing.T) {
	ctx := t.Context()
	q := newQueue(t, jobs.Options{})
	notFound := (*jobs.NotFoundError)(nil)
	if _, err := q.Get(ctx, "a"); !errors.As(err, &notFound) || notFound.ID != "a" {
		t.Errorf("Get: %v", err)
	}
	if _, err := q.Wait(ctx, "a"); !errors.As(err, &notFound) {
		t.Errorf("Wait: %v", err)
	}
	if _, err := q.Cancel(ctx, "a"); !errors.As(err, &notFound) {
		t.Errorf("Cancel: %v", err)
	}
}

func TestSubmitConflict(t *testing.T) {
	ctx := t.Context()
	n := storetest.Start(t, t.TempDir())
	q, other := open(t, n, jobs.Options{}), open(t, n, jobs.Options{})
	submit(t, q, "a")
	conflict := (*jobs.ConflictError)(nil)
	for _, q := range []*jobs.Queue{q, other} {
		if _, _, err := q.Submit(ctx, jobs.Submission{ID: "a", Spec: []byte("other")}); !errors.As(err, &conflict) || conflict.ID != "a" {
			t.Errorf("other content: %v", err)
		}
		if _, created, err := q.Submit(ctx, jobs.Submission{ID: "a", Spec: []byte("spec of a")}); err != nil || created {
			t.Errorf("same content: created %v, %v", created, err)
		}
	}

	// Submissions that race for one id: one creates, its equals agree, the
	// others are told.
	var wg sync.WaitGroup
	var mu sync.Mutex
	created, agreed, refused := 0, 0, 0
	for i := range 12 {
		wg.Go(func() {
			from := []*jobs.Queue{q, other}[i%2]
			_, c, err := from.Submit(ctx, jobs.Submission{ID: "b", Spec: []byte{byte(i % 3)}})
			mu.Lock()
			defer mu.Unlock()
			switch conflict := (*jobs.ConflictError)(nil); {
			case errors.As(err, &conflict):
				refused++
			case err != nil:
				t.Error(err)
			case c:
				created++
			default:
				agreed++
			}
		})
	}
	wg.Wait()
	if created != 1 || agreed != 3 || refused != 8 {
		t.Errorf("%d created, %d agreed, %d refused", created, agreed, refused)
	}
}

func TestLimits(t *testing.T) {
	ctx := t.Context()
	q := newQueue(t, jobs.Options{MaxQueued: 2})
	size := (*store.SizeError)(nil)
	if _, _, err := q.Submit(ctx, jobs.Submission{ID: "big", Spec: make([]byte, store.MaxRecord+1)}); !errors.As(err, &size) {
		t.Errorf("big specification: %v", err)
	}
	submit(t, q, "a")
	submit(t, q, "b")
	full := (*jobs.FullError)(nil)
	if _, _, err := q.Submit(ctx, jobs.Submission{ID: "c"}); !errors.As(err, &full) || full.Limit != 2 {
		t.Errorf("third job: %v", err)
	}
	if _, created, err := q.Submit(ctx, jobs.Submission{ID: "a", Spec: []byte("spec of a")}); err != nil || created {
		t.Errorf("a job that is there, submitted to a full queue: created %v, %v", created, err)
	}
	l := claim(t, q)
	submit(t, q, "c")

	if err := l.Progress(ctx, make([]byte, jobs.MaxNote+1)); !errors.As(err, &size) {
		t.Errorf("big progress: %v", err)
	}
	if err := l.Fail(ctx, make([]byte, jobs.MaxError+1), true); !errors.As(err, &size) {
		t.Errorf("big error: %v", err)
	}
	if err := l.Done(ctx, make([]byte, store.MaxRecord+1)); !errors.As(err, &size) {
		t.Errorf("big result: %v", err)
	}
	must(t, l.Progress(ctx, make([]byte, jobs.MaxNote)))
	must(t, l.Fail(ctx, make([]byte, jobs.MaxError), false))

	if _, err := jobs.Open(ctx, nil, jobs.Options{MaxAttempts: -1}); err == nil {
		t.Error("negative option: no error")
	}
}

// The bound on queued jobs holds for submissions at the same time.
func TestFullUnderLoad(t *testing.T) {
	q := newQueue(t, jobs.Options{MaxQueued: 5})
	var wg sync.WaitGroup
	var mu sync.Mutex
	accepted := 0
	for i := range 20 {
		wg.Go(func() {
			_, _, err := q.Submit(t.Context(), jobs.Submission{ID: fmt.Sprint(i)})
			full := (*jobs.FullError)(nil)
			if err != nil && !errors.As(err, &full) {
				t.Error(err)
			}
			if err == nil {
				mu.Lock()
				accepted++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if accepted != 5 {
		t.Errorf("%d jobs accepted, want 5", accepted)
	}
}

func TestFail(t *testing.T) {
	ctx := t.Context()
	q := newQueue(t, jobs.Options{MaxAttempts: 2, RetryDelay: 200 * time.Millisecond})

	submit(t, q, "permanent")
	must(t, claim(t, q).Fail(ctx, []byte("no"), false))
	if job := wait(t, q, "permanent"); job.State != jobs.Failed || string(job.Error) != "no" || job.Reason != "" || job.Attempts != 1 {
		t.Errorf("permanent: %+v", job)
	}

	submit(t, q, "transient")
	l := claim(t, q)
	must(t, l.Progress(ctx, []byte("half")))
	must(t, l.Fail(ctx, []byte("first"), true))
	ended(t, l)
	failed := time.Now()
	if job, err := q.Get(ctx, "transient"); err != nil || job.State != jobs.Queued || string(job.Error) != "first" || job.Attempts != 1 {
		t.Errorf("after the first failure: %+v, %v", job, err)
	}
	l = claim(t, q)
	if d := time.Since(failed); d < 150*time.Millisecond {
		t.Errorf("claimed again after %v", d)
	}
	if job := l.Job(); job.Attempts != 2 || len(job.Progress) != 0 {
		t.Errorf("second attempt: %+v", job)
	}
	must(t, l.Fail(ctx, []byte("second"), true))
	if job := wait(t, q, "transient"); job.State != jobs.Failed || string(job.Error) != "second" || !strings.Contains(job.Reason, "2 attempts") {
		t.Errorf("after the second failure: %+v", job)
	}
	noClaim(t, q, 300*time.Millisecond)
}

func TestRelease(t *testing.T) {
	ctx := t.Context()
	q := newQueue(t, jobs.Options{MaxAttempts: 1})
	submit(t, q, "a")
	submit(t, q, "b")
	for range 3 {
		l := claim(t, q)
		if job := l.Job(); job.ID != "a" || job.Attempts != 1 {
			t.Fatalf("claimed %s, attempt %d", job.ID, job.Attempts)
		}
		must(t, l.Release(ctx))
		if cause := ended(t, l); cause != context.Canceled {
			t.Errorf("cause: %v", cause)
		}
		if err := l.Done(ctx, nil); !errors.Is(err, jobs.ErrLeaseLost) {
			t.Errorf("Done after Release: %v", err)
		}
	}
}

func TestCancel(t *testing.T) {
	ctx := t.Context()
	n := storetest.Start(t, t.TempDir())
	q, other := open(t, n, jobs.Options{}), open(t, n, jobs.Options{})

	submit(t, q, "queued")
	for range 2 {
		if job, err := other.Cancel(ctx, "queued"); err != nil || job.State != jobs.Cancelled || job.Finished.IsZero() {
			t.Fatalf("%+v, %v", job, err)
		}
	}
	noClaim(t, q, 50*time.Millisecond)

	for name, from := range map[string]*jobs.Queue{"running": q, "running-elsewhere": other} {
		submit(t, q, name)
		l := claim(t, q)
		if job, err := from.Cancel(ctx, name); err != nil || job.State != jobs.Cancelled || job.Attempts != 1 {
			t.Fatalf("%s: %+v, %v", name, job, err)
		}
		if cause := ended(t, l); cause != jobs.ErrCancelled {
			t.Errorf("%s: cause %v", name, cause)
		}
		if err := l.Done(ctx, []byte("late")); !errors.Is(err, jobs.ErrLeaseLost) || !errors.Is(err, jobs.ErrCancelled) {
			t.Errorf("%s: Done: %v", name, err)
		}
		if job := wait(t, q, name); job.State != jobs.Cancelled || job.Result != nil {
			t.Errorf("%s: %+v", name, job)
		}
	}

	submit(t, q, "done")
	must(t, claim(t, q).Done(ctx, []byte("result")))
	done, err := q.Stat(ctx, "done")
	must(t, err)
	if job, err := q.Cancel(ctx, "done"); err != nil || job.State != jobs.Done || job.Revision != done.Revision {
		t.Errorf("%+v, %v", job, err)
	}
}

// A worker that goes silent loses its job, and what it does later has no effect.
func TestLeaseExpiryAndFencing(t *testing.T) {
	ctx := t.Context()
	const lease = 300 * time.Millisecond
	n := storetest.Start(t, t.TempDir())
	silent := open(t, n, jobs.Options{LeaseDuration: lease})
	q := open(t, n, jobs.Options{LeaseDuration: lease})
	submit(t, q, "a")
	late := claim(t, silent)

	// While the worker lives the lease is renewed.
	noClaim(t, q, 3*lease)
	silent.Close()
	if cause := ended(t, late); cause != jobs.ErrClosed {
		t.Errorf("cause: %v", cause)
	}
	closed := time.Now()
	l := claim(t, q)
	if d := time.Since(closed); d < lease/2 {
		t.Errorf("taken over after %v", d)
	}
	if l.Job().Attempts != 2 {
		t.Errorf("attempt %d", l.Job().Attempts)
	}
	for name, call := range map[string]func() error{
		"Done":     func() error { return late.Done(ctx, []byte("late")) },
		"Fail":     func() error { return late.Fail(ctx, nil, false) },
		"Progress": func() error { return late.Progress(ctx, nil) },
		"Release":  func() error { return late.Release(ctx) },
	} {
		if err := call(); err == nil {
			t.Errorf("%s by the late worker: no error", name)
		}
	}
	must(t, l.Done(ctx, []byte("in time")))
	if job := wait(t, q, "a"); string(job.Result) != "in time" || job.Attempts != 2 {
		t.Errorf("%+v", job)
	}
}

// Open with Exclusive takes a dead predecessor's jobs over at once; the
// predecessor, should it live, is fenced off.
func TestExclusive(t *testing.T) {
	ctx := t.Context()
	n := storetest.Start(t, t.TempDir())
	old := open(t, n, jobs.Options{LeaseDuration: time.Hour})
	submit(t, old, "a")
	late := claim(t, old)

	patient := open(t, n, jobs.Options{LeaseDuration: time.Hour})
	noClaim(t, patient, 50*time.Millisecond)
	q := open(t, n, jobs.Options{LeaseDuration: time.Hour, Exclusive: true})
	l := claim(t, q)
	if l.Job().Attempts != 2 {
		t.Errorf("attempt %d", l.Job().Attempts)
	}
	if cause := ended(t, late); cause != jobs.ErrLeaseLost {
		t.Errorf("cause: %v", cause)
	}
	if err := late.Done(ctx, []byte("late")); err != jobs.ErrLeaseLost {
		t.Errorf("Done by the late worker: %v", err)
	}
	must(t, l.Done(ctx, []byte("in time")))
	if job := wait(t, patient, "a"); string(job.Result) != "in time" {
		t.Errorf("%+v", job)
	}
}

// Attempts that end with the death of the worker are bounded too.
func TestAttemptsOfDeadWorkers(t *testing.T) {
	n := storetest.Start(t, t.TempDir())
	opts := jobs.Options{MaxAttempts: 2, LeaseDuration: time.Hour, Exclusive: true}
	submit(t, open(t, n, opts), "a")
	for attempt := range 2 {
		q := open(t, n, opts)
		if l := claim(t, q); l.Job().Attempts != attempt+1 {
			t.Fatalf("attempt %d, want %d", l.Job().Attempts, attempt+1)
		}
		q.Close()
	}
	q := open(t, n, opts)
	noClaim(t, q, 50*time.Millisecond)
	if job := wait(t, q, "a"); job.State != jobs.Failed || !strings.Contains(job.Reason, "2 attempts") || job.Attempts != 2 {
		t.Errorf("%+v", job)
	}
}

// Many workers of several queues never run one job twice, and none is left.
func TestConcurrentClaims(t *testing.T) {
	const queues, workers, count = 3, 4, 60
	n := storetest.Start(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	runs := map[string]int{}
	var wg sync.WaitGroup
	var first *jobs.Queue
	for i := range queues {
		q := open(t, n, jobs.Options{LeaseDuration: time.Minute})
		if i == 0 {
			first = q
		}
		for range workers {
			wg.Go(func() {
				for {
					l, err := q.Claim(ctx)
					if err != nil {
						if ctx.Err() == nil {
							t.Error(err)
						}
						return
					}
					mu.Lock()
					runs[l.Job().ID]++
					mu.Unlock()
					if err := l.Done(context.WithoutCancel(ctx), l.Job().Spec); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	for i := range count {
		submit(t, first, fmt.Sprint(i))
	}
	for i := range count {
		id := fmt.Sprint(i)
		if job := wait(t, first, id); job.State != jobs.Done || string(job.Result) != "spec of "+id || job.Attempts != 1 {
			t.Errorf("%+v", job)
		}
	}
	cancel()
	wg.Wait()
	for id, n := range runs {
		if n != 1 {
			t.Errorf("job %s ran %d times", id, n)
		}
	}
	if len(runs) != count {
		t.Errorf("%d jobs ran, want %d", len(runs), count)
	}
}

func TestClaimOrder(t *testing.T) {
	n := storetest.Start(t, t.TempDir())
	q := open(t, n, jobs.Options{})
	ids := []string{"c", "a", "b", "d"}
	for _, id := range ids {
		submit(t, q, id)
	}
	other := open(t, n, jobs.Options{})
	for i, id := range ids {
		from := []*jobs.Queue{q, other}[i/2]
		if l := claim(t, from); l.Job().ID != id {
			t.Errorf("claimed %s, want %s", l.Job().ID, id)
		}
	}
}

func TestWatch(t *testing.T) {
	ctx := t.Context()
	n := storetest.Start(t, t.TempDir())
	q, other := open(t, n, jobs.Options{RetryDelay: time.Millisecond, LeaseDuration: 150 * time.Millisecond}), open(t, n, jobs.Options{})
	submit(t, q, "a")
	step := make(chan struct{})
	go func() {
		<-step
		l := claim(t, q)
		<-step
		must(t, l.Progress(ctx, []byte("half")))
		<-step
		must(t, l.Fail(ctx, []byte("once more"), true))
		<-step
		l = claim(t, q)
		<-step
		time.Sleep(200 * time.Millisecond) // Renewals are not news.
		must(t, l.Done(ctx, nil))
		<-step
	}()
	var got []string
	var last uint64
	for job, err := range other.Watch(ctx, "a") {
		must(t, err)
		if job.Revision <= last {
			t.Errorf("revision %d after %d", job.Revision, last)
		}
		last = job.Revision
		got = append(got, fmt.Sprintf("%v %d %s", job.State, job.Attempts, job.Progress))
		step <- struct{}{}
	}
	want := []string{"queued 0 ", "running 1 ", "running 1 half", "queued 1 half", "running 2 ", "done 2 "}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}

	submit(t, q, "b")
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := q.Wait(short, "b"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Wait: %v", err)
	}
	for range q.Watch(ctx, "b") {
		break
	}
	time.AfterFunc(50*time.Millisecond, q.Close)
	if _, err := q.Wait(ctx, "b"); err != jobs.ErrClosed {
		t.Errorf("Wait on a queue that is closed: %v", err)
	}
	if _, err := q.Claim(ctx); err != jobs.ErrClosed {
		t.Errorf("Claim on a queue that is closed: %v", err)
	}
}

func TestList(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	n := storetest.Start(t, dir)
	q := open(t, n, jobs.Options{})
	var ids []string
	for i := range 10 {
		id := fmt.Sprint((i * 7) % 10)
		ids = append(ids, id)
		submit(t, q, id)
	}
	must(t, claim(t, q).Done(ctx, nil))
	must(t, claim(t, q).Fail(ctx, nil, false))
	l := claim(t, q)
	must(t, l.Progress(ctx, []byte("half")))
	_, err := q.Cancel(ctx, ids[9])
	must(t, err)

	check := func(q *jobs.Queue) {
		t.Helper()
		for _, c := range []struct {
			states []jobs.State
			limit  int
			prefix string
			want   []string
		}{
			{nil, 0, "", ids},
			{nil, 3, "", ids},
			{nil, 10, "", ids},
			{[]jobs.State{jobs.Queued}, 2, "", ids[3:9]},
			{[]jobs.State{jobs.Done, jobs.Failed, jobs.Cancelled}, 1, "", []string{ids[0], ids[1], ids[9]}},
			{[]jobs.State{jobs.Running}, 5, "", ids[2:3]},
			{nil, 1, ids[4], ids[4:5]},
		} {
			var got []string
			after := ""
			for {
				page, next, err := q.List(ctx, jobs.ListOptions{States: c.states, Limit: c.limit, After: after, Prefix: c.prefix})
				must(t, err)
				if c.limit > 0 && len(page) > c.limit || len(page) == 0 {
					t.Fatalf("a page of %d jobs, limit %d", len(page), c.limit)
				}
				for _, job := range page {
					got = append(got, job.ID)
				}
				if next == "" {
					break
				}
				after = next
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("states %v, limit %d: got %v, want %v", c.states, c.limit, got, c.want)
			}
		}
	}
	check(q)
	for _, token := range []string{"x", "-1", "18446744073709551615"} {
		if _, _, err := q.List(ctx, jobs.ListOptions{After: token}); err != jobs.ErrPageToken {
			t.Errorf("token %q: %v", token, err)
		}
	}

	// The order of submission outlives the process.
	q.Close()
	storetest.Stop(t, n)
	check(open(t, storetest.Start(t, dir), jobs.Options{}))
}

func TestDamage(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	n := storetest.Start(t, dir)
	q := open(t, n, jobs.Options{})
	for _, id := range []string{"record", "spec", "result", "healthy"} {
		submit(t, q, id)
	}
	_, err := q.Cancel(ctx, "record")
	must(t, err)
	spec := claim(t, q)
	must(t, claim(t, q).Done(ctx, large("the result that is damaged")))
	must(t, spec.Release(ctx))
	q.Close()
	storetest.Stop(t, n)
	storetest.Flip(t, dir, []byte(`"state":"cancelled"`))
	storetest.Flip(t, dir, []byte("spec of spec"))
	storetest.Flip(t, dir, []byte("the result that is damaged"))

	q = open(t, storetest.Start(t, dir), jobs.Options{})
	loss := (*store.DataLossError)(nil)
	for id, bucket := range map[string]string{"record": "jobs", "spec": "job-data", "result": "job-data"} {
		if _, err := q.Get(ctx, id); !errors.As(err, &loss) || loss.Bucket != bucket {
			t.Errorf("Get %s: %v", id, err)
		}
	}
	if _, _, err := q.Submit(ctx, jobs.Submission{ID: "record", Spec: []byte("spec of record")}); !errors.As(err, &loss) {
		t.Errorf("Submit over a damaged record: %v", err)
	}
	// The others go on.
	if l := claim(t, q); l.Job().ID != "healthy" {
		t.Errorf("claimed %s", l.Job().ID)
	}
	if job, err := q.Stat(ctx, "spec"); err != nil || job.State != jobs.Failed || !strings.Contains(job.Reason, "data loss") {
		t.Errorf("a job without specification: %+v, %v", job, err)
	}
	list, _, err := q.List(ctx, jobs.ListOptions{})
	if err != nil || len(list) != 4 || list[3].ID != "record" || list[3].State != jobs.Failed || list[3].Cause != jobs.Lost {
		t.Errorf("List: %+v, %v", list, err)
	}
}

func TestStats(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	n := storetest.Start(t, dir)
	q := open(t, n, jobs.Options{RetryDelay: time.Hour})
	check := func(what string, q *jobs.Queue, want map[jobs.State]int, oldest string) {
		t.Helper()
		s := q.Stats()
		for state := jobs.Waiting; state <= jobs.Cancelled; state++ {
			if s.States[state] != want[state] {
				t.Errorf("%s: %d jobs are %v, want %d", what, s.States[state], state, want[state])
			}
		}
		var created time.Time
		if oldest != "" {
			job, err := q.Stat(ctx, oldest)
			must(t, err)
			created = job.Created
		}
		if !s.Oldest.Equal(created) {
			t.Errorf("%s: the oldest is of %v, want %v", what, s.Oldest, created)
		}
	}
	check("empty", q, nil, "")
	for _, id := range []string{"a", "b", "c", "d", "e"} {
		submit(t, q, id)
	}
	check("submitted", q, map[jobs.State]int{jobs.Queued: 5}, "a")
	a, b, c := claim(t, q), claim(t, q), claim(t, q)
	check("claimed", q, map[jobs.State]int{jobs.Queued: 2, jobs.Running: 3}, "d")
	must(t, b.Fail(ctx, nil, true)) // is queued again, for an hour from now
	must(t, a.Done(ctx, nil))
	must(t, c.Fail(ctx, nil, false))
	_, err := q.Cancel(ctx, "e")
	must(t, err)
	want := map[jobs.State]int{jobs.Queued: 2, jobs.Done: 1, jobs.Failed: 1, jobs.Cancelled: 1}
	check("ended", q, want, "b")
	check("opened again", open(t, n, jobs.Options{}), want, "b")
}
