package jobs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tacit-fhe/tacit/coprocessor/jobs"
	"github.com/tacit-fhe/tacit/coprocessor/store"
	"github.com/tacit-fhe/tacit/coprocessor/store/storetest"
)

func ids(t *testing.T, q *jobs.Queue) (out []string) {
	t.Helper()
	list, _, err := q.List(t.Context(), jobs.ListOptions{})
	must(t, err)
	for _, j := range list {
		out = append(out, j.ID)
	}
	return out
}

func TestPrune(t *testing.T) {
	ctx := t.Context()
	n := storetest.Start(t, t.TempDir())
	q, other := open(t, n, jobs.Options{}), open(t, n, jobs.Options{})
	for i := range 6 {
		submit(t, q, fmt.Sprint("job", i))
	}
	// They end in another order than they came.
	var leases []*jobs.Lease
	for range 5 {
		leases = append(leases, claim(t, q))
	}
	for _, i := range []int{4, 0, 3, 1} {
		must(t, leases[i].Done(ctx, large("result")))
	}
	prune := func(want int, keep jobs.Retention, dry bool) {
		t.Helper()
		got, err := q.Prune(ctx, keep, dry)
		must(t, err)
		if got != want {
			t.Fatalf("%+v removes %d, want %d", keep, got, want)
		}
	}
	prune(0, jobs.Retention{}, false)
	prune(0, jobs.Retention{Age: time.Hour, Count: 4}, false)
	prune(2, jobs.Retention{Count: 2}, true)
	if got := ids(t, q); len(got) != 6 {
		t.Fatalf("after a dry run: %v", got)
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	prune(2, jobs.Retention{Count: 2}, false)
	want := []string{"job1", "job2", "job3", "job5"} // the latest to end, and those that have not
	if got := ids(t, q); !slices.Equal(got, want) {
		t.Fatalf("left: %v", got)
	}
	for _, q := range []*jobs.Queue{q, other} {
		if _, err := q.Get(ctx, "job4"); !errors.As(err, new(*jobs.NotFoundError)) {
			t.Errorf("a removed job: %v", err)
		}
		if s := q.Stats(); s.States[jobs.Done] != 2 || s.States[jobs.Running] != 1 || s.States[jobs.Queued] != 1 {
			t.Errorf("%v", s.States)
		}
	}
	for job, err := range other.Changes(watching, 0, "") {
		must(t, err)
		if !slices.Contains(want, job.ID) {
			t.Errorf("a removed job changes: %s", job.ID)
		}
		if job.ID == "job1" { // the last to change
			break
		}
	}
	// Nothing of them is left but marks, and another job may have the id.
	data, err := store.OpenBucket(ctx, n.JetStream(), "job-data", 64)
	must(t, err)
	keys, err := data.Keys(ctx)
	must(t, err)
	if len(keys) != 6 { // four specifications, two results
		t.Errorf("%q", keys)
	}
	if _, created, err := other.Submit(ctx, jobs.Submission{ID: "job4", Spec: []byte("another")}); err != nil || !created {
		t.Fatalf("created %v, %v", created, err)
	}
	if job, err := q.Get(ctx, "job4"); err != nil || string(job.Spec) != "another" || job.State != jobs.Queued {
		t.Errorf("%+v, %v", job, err)
	}
	prune(2, jobs.Retention{Age: time.Nanosecond}, false)
	if got := ids(t, open(t, n, jobs.Options{})); !slices.Equal(got, []string{"job2", "job5", "job4"}) {
		t.Errorf("left, seen by a new queue: %v", got)
	}
}

// A queue that is busy is trimmed to the newest jobs that have ended. What has changed
// since it was seen, and what is submitted anew, stays.
func TestTrim(t *testing.T) {
	for _, alone := range []bool{true, false} {
		t.Run(fmt.Sprint("alone ", alone), func(t *testing.T) {
			ctx := t.Context()
			n, err := store.Embedded(ctx, store.EmbeddedOptions{Dir: t.TempDir(), Memory: true}) // for many jobs
			must(t, err)
			t.Cleanup(func() { storetest.Stop(t, n) })
			opts := jobs.Options{Exclusive: alone}
			q := open(t, n, opts)
			const count = 260 // more than are removed at once
			for i := range count {
				submit(t, q, fmt.Sprintf("job.%d", i))
				l := claim(t, q)
				if i == 0 {
					must(t, l.Fail(ctx, nil, false))
					continue
				}
				must(t, l.Done(ctx, large("result")))
			}
			submit(t, q, "waits")
			for _, c := range []struct{ keep, want int }{{count, 0}, {count - 1, 1}, {5, count - 6}, {5, 0}} {
				removed, err := q.Trim(ctx, c.keep)
				must(t, err)
				if removed != c.want || q.Ended() != c.keep {
					t.Fatalf("trimmed to %d: %d removed, %d left", c.keep, removed, q.Ended())
				}
			}
			want := []string{"job.255", "job.256", "job.257", "job.258", "job.259", "waits"}
			if got := ids(t, q); !slices.Equal(got, want) {
				t.Errorf("left: %q", got)
			}
			if _, err := q.Get(ctx, "job.0"); !errors.As(err, new(*jobs.NotFoundError)) {
				t.Errorf("a removed job: %v", err)
			}
			data, err := store.OpenBucket(ctx, n.JetStream(), "job-data", 64)
			must(t, err)
			if keys, err := data.Keys(ctx); err != nil || len(keys) != 11 { // six specifications, five results
				t.Errorf("%q, %v", keys, err)
			}
			submit(t, q, "job.0")
			if job, err := q.Get(ctx, "job.259"); err != nil || !bytes.Equal(job.Result, large("result")) {
				t.Errorf("%+v, %v", job, err)
			}
			q.Close()
			again := open(t, n, opts)
			if got := ids(t, again); !slices.Equal(got, append(want, "job.0")) {
				t.Errorf("left, seen by a new queue: %q", got)
			}
		})
	}
}

// A job that is tried again while the queue is trimmed is not lost.
func TestTrimRetried(t *testing.T) {
	ctx := t.Context()
	q := open(t, storetest.Start(t, t.TempDir()), jobs.Options{Exclusive: true})
	const count = 40
	for i := range count {
		submit(t, q, fmt.Sprint("job", i))
		must(t, claim(t, q).Fail(ctx, nil, false))
	}
	var trimming sync.WaitGroup
	trimming.Go(func() {
		if _, err := q.Trim(ctx, 1); err != nil {
			t.Error(err)
		}
	})
	for i := range count {
		id := fmt.Sprint("job", count-1-i)
		_, err := q.Retry(ctx, id)
		if errors.As(err, new(*jobs.NotFoundError)) {
			continue // it was removed before
		}
		must(t, err)
	}
	trimming.Wait()
	for _, id := range ids(t, q) {
		if job, err := q.Get(ctx, id); err != nil || len(job.Spec) == 0 {
			t.Errorf("%s: %+v, %v", id, job, err)
		}
	}
}

// A removed job of which another process has not heard is not there.
func TestPruneUnheard(t *testing.T) {
	ctx := t.Context()
	n := storetest.Start(t, t.TempDir())
	q := open(t, n, jobs.Options{})
	submit(t, q, "a")
	must(t, claim(t, q).Done(ctx, nil))
	bucket, err := store.OpenBucket(ctx, n.JetStream(), "jobs", 1)
	must(t, err)
	last, err := bucket.Last(ctx)
	must(t, err)
	_, err = bucket.Erase(ctx, last, "job/a")
	must(t, err)
	if got := ids(t, q); len(got) != 0 {
		t.Errorf("%v", got)
	}
	if _, err := q.Get(ctx, "a"); !errors.As(err, new(*jobs.NotFoundError)) {
		t.Errorf("%v", err)
	}
	submit(t, q, "a")
	wait := claim(t, q)
	must(t, wait.Done(ctx, nil))
}

// Each queue gives out the jobs of its pools, and takes over no others.
func TestPools(t *testing.T) {
	ctx := t.Context()
	n := storetest.Start(t, t.TempDir())
	opts := jobs.Options{LeaseDuration: 100 * time.Millisecond}
	all := open(t, n, opts)
	opts.Pools = []string{"red", "green"}
	some := open(t, n, opts)
	for _, pool := range []string{"blue", "green", ""} {
		_, _, err := all.Submit(ctx, jobs.Submission{ID: "job-" + pool, Spec: []byte("spec"), Pool: pool})
		must(t, err)
	}
	l := claim(t, some)
	if l.Job().ID != "job-green" {
		t.Fatalf("claimed %s", l.Job().ID)
	}
	for _, want := range []string{"job-blue", "job-"} {
		l := claim(t, all)
		if l.Job().ID != want {
			t.Fatalf("claimed %s, want %s", l.Job().ID, want)
		}
		defer l.Done(ctx, nil)
	}
	noClaim(t, some, 50*time.Millisecond)
	must(t, l.Done(ctx, nil))
}
