package jobs

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tacit-fhe/tacit/coprocessor/store/storetest"
)

// claiming has a Claim wait; its lease, or nil, comes when it has ended.
func claiming(t *testing.T, ctx context.Context, q *Queue) <-chan *Lease {
	t.Helper()
	out := make(chan *Lease, 1)
	go func() {
		l, err := q.Claim(ctx)
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		out <- l
	}()
	for waiting := 0; waiting == 0; time.Sleep(time.Millisecond) {
		q.mu.Lock()
		waiting = len(q.idle)
		q.mu.Unlock()
	}
	return out
}

// A job that is submitted while a Claim waits is claimed by the record that its submission
// writes, unless it may not start or the Claim is given up.
func TestSubmitToClaim(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	js := storetest.Start(t, t.TempDir()).JetStream()
	opened := func(opts Options) *Queue {
		q, err := Open(ctx, js, opts)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(q.Close)
		return q
	}
	opts := Options{Ready: func(context.Context, Job, Name, bool) (bool, error) { return false, nil }, Pools: []string{"mine"}}
	q := opened(opts)
	submit := func(s Submission, want State) Job {
		t.Helper()
		s.Spec = []byte("spec of " + s.ID)
		job, created, err := q.Submit(ctx, s)
		if err != nil || !created || job.State != want || string(job.Spec) != string(s.Spec) {
			t.Fatalf("%s: %v, created %v, %v", s.ID, job.State, created, err)
		}
		return job
	}
	submit(Submission{ID: "before", Pool: "theirs"}, Queued)

	waits, giveUp := context.WithCancel(ctx)
	claims := claiming(t, waits, q)
	submit(Submission{ID: "theirs", Pool: "theirs"}, Queued)
	submit(Submission{ID: "waits", Pool: "mine", Needs: []Name{{1}}}, Waiting)
	giveUp()
	if l := <-claims; l != nil {
		t.Fatalf("%s was claimed", l.id)
	}
	job := submit(Submission{ID: "queued", Pool: "mine"}, Queued)
	if l, err := q.Claim(ctx); err != nil || l.id != job.ID {
		t.Fatal(err)
	} else if err := l.Done(ctx, nil); err != nil {
		t.Fatal(err)
	}

	claims = claiming(t, ctx, q)
	if _, err := q.Hold(ctx, func(c *Control) { c.Paused = true }); err != nil {
		t.Fatal(err)
	}
	submit(Submission{ID: "paused", Pool: "mine"}, Queued)
	if _, err := q.Hold(ctx, func(c *Control) { c.Paused = false }); err != nil {
		t.Fatal(err)
	}
	if l := <-claims; l == nil || l.id != "paused" {
		t.Fatalf("%+v", l)
	} else if err := l.Done(ctx, nil); err != nil {
		t.Fatal(err)
	}

	claims = claiming(t, ctx, q)
	job = submit(Submission{ID: "direct", Pool: "mine"}, Running)
	l := <-claims
	if l == nil || l.id != job.ID || job.Attempts != 1 || job.Started.Before(job.Created) || l.Job().Revision != job.Revision || string(l.Job().Spec) != "spec of direct" {
		t.Fatalf("%+v, %+v", l, job)
	}
	if again, created, err := q.Submit(ctx, Submission{ID: "direct", Spec: []byte("spec of direct")}); err != nil || created || again.Revision != job.Revision {
		t.Errorf("submitted again: %+v, %v, %v", again, created, err)
	}
	// Another process takes it over as any job whose worker is lost.
	q.Close()
	opts.Exclusive = true
	next, err := opened(opts).Claim(ctx)
	if err != nil || next.id != "direct" || next.job.Attempts != 2 || string(next.job.Spec) != "spec of direct" {
		t.Fatalf("%+v, %v", next, err)
	}
	if err := l.Done(ctx, nil); err == nil {
		t.Error("the lost lease is worth something")
	}
	if err := next.Done(ctx, []byte("result")); err != nil {
		t.Error(err)
	}
}
