package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/tacit-fhe/tacit/coprocessor/internal/failpoint"
	"github.com/tacit-fhe/tacit/coprocessor/jobs"
	"github.com/tacit-fhe/tacit/coprocessor/store"
	"github.com/tacit-fhe/tacit/coprocessor/store/storetest"
)

// budget is what every tenant may use in a period that does not end within the test.
func budget(n int64) jobs.Options {
	return jobs.Options{Policy: func(string) jobs.Policy { return jobs.Policy{Budget: n, Period: 100 * 365 * 24 * time.Hour} }}
}

func costing(ctx context.Context, q *jobs.Queue, id string, cost int64) error {
	_, _, err := q.Submit(ctx, jobs.Submission{ID: id, Spec: []byte(id), Cost: cost})
	return err
}

// Several processes that submit at once take no more than the budget together, and no
// less.
func TestBudgetOfSeveralQueues(t *testing.T) {
	ctx := t.Context()
	n := storetest.Start(t, t.TempDir())
	const total, each = 100, 7
	var queues []*jobs.Queue
	for range 4 {
		queues = append(queues, open(t, n, budget(total)))
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	taken := 0
	for i, q := range queues {
		wg.Go(func() {
			for k := range 10 {
				err := costing(ctx, q, fmt.Sprintf("j%d-%d", i, k), each)
				switch {
				case err == nil:
					mu.Lock()
					taken++
					mu.Unlock()
				case !errors.As(err, new(*jobs.BudgetError)):
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if taken != total/each {
		t.Errorf("%d jobs of %d are taken with a budget of %d", taken, each, total)
	}
	if u := open(t, n, budget(total)).Usage(""); u.Used != total/each*each {
		t.Errorf("%d are used", u.Used)
	}
}

// What is used follows what the jobs have spent, once, whoever ends them, and stays when
// they are removed.
func TestBudgetIsSettled(t *testing.T) {
	ctx := t.Context()
	n := storetest.Start(t, t.TempDir())
	opts := budget(100)
	opts.Exclusive, opts.MaxAttempts = true, 1
	q := open(t, n, opts)
	used := func(what string, q *jobs.Queue, want int64) {
		t.Helper()
		if u := q.Usage(""); u.Used != want {
			t.Errorf("%s: %d are used, want %d", what, u.Used, want)
		}
	}
	for _, id := range []string{"done", "failed", "crashed", "cancelled"} {
		must(t, costing(ctx, q, id, 20))
	}
	must(t, costing(ctx, q, "done", 20)) // again: the same job
	used("submitted", q, 80)
	if err := costing(ctx, q, "large", 21); !errors.As(err, new(*jobs.BudgetError)) {
		t.Errorf("over the budget: %v", err)
	}
	l := claim(t, q)
	l.Spend(15)
	must(t, l.Done(ctx, nil))
	used("done", q, 75)
	l = claim(t, q)
	l.Spend(3)
	must(t, l.Fail(ctx, nil, false))
	used("failed", q, 58)
	_, err := q.Cancel(ctx, "cancelled")
	must(t, err)
	used("cancelled", q, 38)
	// The worker of the last one dies, and the next process gives it up.
	claim(t, q)
	q.Close()
	q = open(t, n, opts)
	used("after a crash", q, 38)
	ending, stop := context.WithCancel(ctx)
	go q.Claim(ending)
	if job := wait(t, q, "crashed"); job.Cause != jobs.Attempts {
		t.Errorf("%+v", job)
	}
	stop()
	used("given up", q, 18)
	// Tried again, it takes its cost again.
	_, err = q.Retry(ctx, "crashed")
	must(t, err)
	used("tried again", q, 38)
	removed, err := q.Prune(ctx, jobs.Retention{Age: time.Nanosecond}, false)
	if err != nil || removed != 3 {
		t.Errorf("%d removed, %v", removed, err)
	}
	used("removed", q, 38)
	used("removed, to another process", open(t, n, opts), 38)
	if err := costing(ctx, q, "more", 63); !errors.As(err, new(*jobs.BudgetError)) {
		t.Errorf("over the budget, of which removed jobs have a part: %v", err)
	}
	must(t, costing(ctx, q, "rest", 62))
	must(t, func() error {
		_, err := q.Verify(ctx, func(e *store.DataLossError) { t.Error(e) })
		return err
	}())
}

// A job that is cancelled while it runs, or whose deadline passes, takes what its worker says
// that it has spent, once, and no other job does.
func TestBudgetOfCancelledJobs(t *testing.T) {
	ctx := t.Context()
	n := storetest.Start(t, t.TempDir())
	q := open(t, n, budget(100))
	used := func(what string, want int64) {
		t.Helper()
		if u := q.Usage(""); u.Used != want {
			t.Errorf("%s: %d are used, want %d", what, u.Used, want)
		}
	}
	charge := func(l *jobs.Lease, what string, want int64) {
		t.Helper()
		for range 2 {
			must(t, l.Charge(ctx))
			used(what, want)
		}
	}
	must(t, costing(ctx, q, "cancelled", 20))
	first := claim(t, q)
	first.Spend(15)
	charge(first, "running", 20)
	_, err := q.Cancel(ctx, "cancelled")
	must(t, err)
	used("cancelled", 0)
	charge(first, "cancelled and charged", 15)
	if job, err := q.Stat(ctx, "cancelled"); err != nil || job.State != jobs.Cancelled || job.Spent != 15 {
		t.Errorf("%+v, %v", job, err)
	}

	_, _, err = q.Submit(ctx, jobs.Submission{ID: "late", Spec: []byte("late"), Cost: 30, TimeLimit: 3 * time.Second})
	must(t, err)
	late := claim(t, q)
	late.Spend(7)
	wait(t, q, "late")
	used("late", 15)
	charge(late, "late and charged", 22)

	if removed, err := q.Prune(ctx, jobs.Retention{Age: time.Nanosecond}, false); err != nil || removed != 2 {
		t.Fatalf("%d removed, %v", removed, err)
	}
	charge(first, "removed", 22)
	must(t, costing(ctx, q, "cancelled", 20))
	claim(t, q)
	_, err = q.Cancel(ctx, "cancelled")
	must(t, err)
	charge(first, "another job of the same name", 22)
}

// A submission that is broken off before its record is written has taken nothing, and one
// that is broken off after it is charged once.
func TestBudgetOfBrokenSubmission(t *testing.T) {
	n := storetest.Start(t, t.TempDir())
	q := open(t, n, budget(100))
	for _, c := range []struct {
		at   string
		used int64
	}{{failpoint.SubmitBeforeRecord, 0}, {failpoint.RecordWritten, 30}} {
		func() {
			failpoint.Hook = func(name string) {
				if name == c.at {
					panic(name)
				}
			}
			defer func() {
				failpoint.Hook = nil
				if recover() == nil {
					t.Errorf("%s was not passed", c.at)
				}
			}()
			costing(t.Context(), q, "a", 30)
		}()
		if u := open(t, n, budget(100)).Usage(""); u.Used != c.used {
			t.Errorf("broken off at %q: %d are used, want %d", c.at, u.Used, c.used)
		}
	}
	q = open(t, n, budget(100))
	must(t, costing(t.Context(), q, "a", 30))
	if u := q.Usage(""); u.Used != 30 {
		t.Errorf("submitted again: %d are used", u.Used)
	}
}

// Without a budget nothing is charged, and a budget that begins in a period begins with
// what its jobs have used.
func TestBudgetBeginsLater(t *testing.T) {
	ctx := t.Context()
	n := storetest.Start(t, t.TempDir())
	q := open(t, n, jobs.Options{Policy: func(string) jobs.Policy { return jobs.Policy{Period: budget(0).Policy("").Period} }})
	must(t, costing(ctx, q, "before", 40))
	q.Close()
	q = open(t, n, budget(100))
	must(t, costing(ctx, q, "a", 50))
	if u := q.Usage(""); u.Used != 90 {
		t.Errorf("%d are used", u.Used)
	}
	if err := costing(ctx, q, "b", 11); !errors.As(err, new(*jobs.BudgetError)) {
		t.Errorf("over the budget: %v", err)
	}
}
