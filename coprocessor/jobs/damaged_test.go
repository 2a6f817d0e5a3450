package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tacit-fhe/tacit/coprocessor/jobs"
	"github.com/tacit-fhe/tacit/coprocessor/store"
	"github.com/tacit-fhe/tacit/coprocessor/store/storetest"
)

// isLoss says whether an error is that of the damaged record of a job.
func isLoss(err error) bool {
	loss := (*store.DataLossError)(nil)
	return errors.As(err, &loss) && loss.Bucket == jobs.Records
}

// listed returns the ids of the jobs in a list, those that are lost with a mark.
func listed(t *testing.T, q *jobs.Queue, opts jobs.ListOptions) (ids []string) {
	t.Helper()
	for {
		list, next, err := q.List(t.Context(), opts)
		must(t, err)
		for _, j := range list {
			id := j.ID
			if j.State == jobs.Failed && j.Cause == jobs.Lost && strings.Contains(j.Reason, "data loss") {
				id += "!"
			}
			ids = append(ids, id)
		}
		if next == "" {
			return ids
		}
		opts.After = next
	}
}

// The records of jobs in each state are damaged while nobody looks. They are told of as
// lost, in every way, and never started; all others go on; who needs what one of them was
// to make fails with it.
func TestDamagedRecords(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	made, never := jobs.Name{1}, jobs.Name{2}
	opts := jobs.Options{Ready: func(context.Context, jobs.Job, jobs.Name, bool) (bool, error) { return false, nil }, Exclusive: true}
	dir := t.TempDir()
	n := storetest.Start(t, dir)
	q := open(t, n, opts)
	for _, s := range []jobs.Submission{
		{ID: "done"}, {ID: "running"}, {ID: "queued", Makes: []jobs.Made{{Name: made}}}, {ID: "waiting", Needs: []jobs.Name{never}, WaitLimit: time.Hour},
		{ID: "whole"}, {ID: "needs", Needs: []jobs.Name{never}},
	} {
		s.Spec, s.Note = []byte("spec of "+s.ID), []byte("note of "+s.ID)
		_, _, err := q.Submit(ctx, s)
		must(t, err)
	}
	must(t, claim(t, q).Done(ctx, []byte("result")))
	claim(t, q)
	q.Close()
	storetest.Stop(t, n)
	lost := []string{"done", "running", "queued", "waiting"}
	for _, note := range []string{"bm90ZSBvZiBkb25l", "bm90ZSBvZiBydW5uaW5n", "bm90ZSBvZiBxdWV1ZWQ=", "bm90ZSBvZiB3YWl0aW5n"} {
		storetest.FlipAll(t, dir, []byte(note))
	}
	n = storetest.Start(t, dir)
	q = open(t, n, opts)

	for _, id := range lost {
		if _, err := q.Get(ctx, id); !isLoss(err) {
			t.Errorf("Get %s: %v", id, err)
		}
		if _, err := q.Wait(ctx, id); !isLoss(err) {
			t.Errorf("Wait %s: %v", id, err)
		}
		if _, err := q.Cancel(ctx, id); !isLoss(err) {
			t.Errorf("Cancel %s: %v", id, err)
		}
		if _, _, err := q.Submit(ctx, jobs.Submission{ID: id, Spec: []byte("spec of " + id)}); !isLoss(err) {
			t.Errorf("Submit %s: %v", id, err)
		}
	}
	if s := q.Stats(); s.Damaged != 4 || s.States[jobs.Queued] != 1 || s.States[jobs.Waiting] != 1 || s.States[jobs.Failed] != 0 {
		t.Errorf("%+v", s)
	}
	all := listed(t, q, jobs.ListOptions{})
	if slices.Sort(all); !slices.Equal(all, []string{"done!", "needs", "queued!", "running!", "waiting!", "whole"}) {
		t.Errorf("listed: %q", all)
	}
	if got := listed(t, q, jobs.ListOptions{Limit: 1, Newest: true, States: []jobs.State{jobs.Failed}}); len(got) != 4 {
		t.Errorf("page by page: %q", got)
	}
	told := make(map[string]bool)
	for job, err := range q.Changes(ctx, 0, "") {
		must(t, err)
		if told[job.ID] = job.Cause == jobs.Lost; len(told) == 6 {
			break
		}
	}
	for id, isLost := range told {
		if isLost != slices.Contains(lost, id) {
			t.Errorf("the feed tells that %s is lost: %v", id, isLost)
		}
	}
	if got := claim(t, q); got.Job().ID != "whole" {
		t.Errorf("claimed %s", got.Job().ID)
	} else {
		must(t, got.Done(ctx, nil))
	}
	noClaim(t, q, 100*time.Millisecond)
	if n, err := q.Prune(ctx, jobs.Retention{Age: time.Nanosecond}, false); n != 1 || err != nil {
		t.Errorf("pruned %d, %v", n, err)
	}
	live := 0
	must(t, q.Live(ctx, func(string, []byte, []jobs.Made) error { live++; return nil }))
	if live != 1 {
		t.Errorf("%d live jobs", live)
	}

	// An administrator sets one aside, for all queues and for good.
	shared := opts
	shared.Exclusive = false
	other := open(t, n, shared)
	must(t, q.Discard(ctx, "queued"))
	must(t, q.Discard(ctx, "queued"))
	if err := q.Discard(ctx, "needs"); !errors.As(err, new(*jobs.IntactError)) {
		t.Errorf("Discard of a job that is whole: %v", err)
	}
	if err := q.Discard(ctx, "nobody"); !errors.As(err, new(*jobs.NotFoundError)) {
		t.Errorf("Discard of no job: %v", err)
	}
	for _, q := range []*jobs.Queue{q, other, open(t, n, opts)} {
		for q.Stats().Damaged != 3 && ctx.Err() == nil { // until the other has heard of it
			time.Sleep(time.Millisecond)
		}
		if got := listed(t, q, jobs.ListOptions{}); slices.Contains(got, "queued!") || len(got) != 4 {
			t.Errorf("listed: %q", got)
		}
		if _, err := q.Get(ctx, "queued"); !isLoss(err) {
			t.Errorf("Get: %v", err)
		}
	}
}

// A record that is damaged while the queue runs: who waits is told, who works on it loses
// it, and who needs what it was to make fails with it.
func TestDamagedMeanwhile(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	made := jobs.Name{1}
	n := storetest.Start(t, t.TempDir())
	q := open(t, n, jobs.Options{Ready: func(context.Context, jobs.Job, jobs.Name, bool) (bool, error) { return false, nil }})
	_, _, err := q.Submit(ctx, jobs.Submission{ID: "a", Spec: []byte("a"), Cost: 7, Makes: []jobs.Made{{Name: made}}})
	must(t, err)
	_, _, err = q.Submit(ctx, jobs.Submission{ID: "needs", Spec: []byte("b"), Needs: []jobs.Name{made}})
	must(t, err)
	l := claim(t, q)
	waited := make(chan error, 1)
	go func() {
		_, err := q.Wait(ctx, "a")
		waited <- err
	}()
	feed := make(chan jobs.Job, 100)
	watching, stop := context.WithCancel(ctx)
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		for job, err := range q.Changes(watching, 0, "a") {
			if err == nil {
				feed <- job
			}
		}
	}()
	<-feed
	records, err := store.OpenBucket(ctx, n.JetStream(), jobs.Records, 1)
	must(t, err)
	intact, err := records.Get(ctx, "job/a")
	must(t, err)
	_, err = records.KV.Put(ctx, "job/a", []byte(`{"version":1,"stat`))
	must(t, err)
	if cause := ended(t, l); cause != jobs.ErrLeaseLost {
		t.Errorf("the lease ended with %v", cause)
	}
	if err := <-waited; !isLoss(err) {
		t.Errorf("Wait: %v", err)
	}
	for job := range feed {
		if job.Cause == jobs.Lost {
			break
		}
	}
	stop()
	<-fed
	if err := l.Done(ctx, nil); err == nil {
		t.Error("a damaged job is done")
	}
	if job := wait(t, q, "needs"); job.State != jobs.Failed || job.Cause != jobs.Maker {
		t.Errorf("who needs what it was to make: %+v", job)
	}
	if u := q.Usage(""); u.Used != 7 {
		t.Errorf("%d are used", u.Used)
	}
	// It is what it was when it can be read again.
	_, err = records.KV.Put(ctx, "job/a", intact.Value())
	must(t, err)
	if job, err := q.Get(ctx, "a"); err != nil || job.State != jobs.Running {
		t.Errorf("%+v, %v", job, err)
	}
	if s := q.Stats(); s.Damaged != 0 || s.States[jobs.Running] != 1 {
		t.Errorf("%+v", s)
	}
	if got := listed(t, q, jobs.ListOptions{}); !slices.Equal(got, []string{"a", "needs"}) {
		t.Errorf("listed: %q", got)
	}
}

// Files that are cut off: every job that the server still knows of is whole or lost, the
// whole ones go on, and new ones are taken.
func TestTruncatedRecords(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	const count = 12
	for _, keep := range []float64{0.3, 0.8} {
		dir := t.TempDir()
		n := storetest.Start(t, dir)
		q := open(t, n, jobs.Options{})
		for i := range count {
			_, _, err := q.Submit(ctx, jobs.Submission{ID: fmt.Sprint("j", i), Spec: []byte("x"), Note: []byte(strings.Repeat("n", 1000))})
			must(t, err)
		}
		q.Close()
		storetest.Stop(t, n)
		must(t, filepath.WalkDir(filepath.Join(dir, "jetstream"), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".blk" || !strings.Contains(path, "KV_"+jobs.Records+string(filepath.Separator)) {
				return err
			}
			info, err := os.Stat(path)
			if err != nil {
				return err
			}
			return os.Truncate(path, int64(float64(info.Size())*keep))
		}))
		n = storetest.Start(t, dir)
		q = open(t, n, jobs.Options{})
		lost := q.Stats().Damaged
		known := len(listed(t, q, jobs.ListOptions{}))
		if told := n.Truncated(); known < count && (len(told) != 1 || told[0].Bucket != jobs.Records || told[0].Missing < uint64(count-known)) {
			t.Errorf("%.0f %% kept: %d of %d jobs are known, and of the others is told %v", 100*keep, known, count, told)
		}
		if known < count && lost > 0 || known-lost == count {
			t.Errorf("%.0f %% kept: %d of %d jobs are known, %d lost", 100*keep, known, count, lost)
		}
		for range known - lost {
			must(t, claim(t, q).Done(ctx, nil))
		}
		if s := q.Stats(); s.States[jobs.Done] != known-lost || s.Damaged != lost {
			t.Errorf("%.0f %% kept: %+v", 100*keep, s)
		}
		t.Logf("%.0f %% kept: %d of %d jobs are known, %d lost", 100*keep, known, count, lost)
		if _, _, err := q.Submit(ctx, jobs.Submission{ID: "new", Spec: []byte("x")}); err != nil {
			t.Errorf("%.0f %% kept: a new job: %v", 100*keep, err)
		}
	}
}
