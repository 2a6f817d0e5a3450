package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tacit-fhe/tacit/coprocessor/internal/failpoint"
	"github.com/tacit-fhe/tacit/coprocessor/store"
)

// read returns a job's record and revision, and applies them. The record is the
// caller's own.
func (q *Queue) read(ctx context.Context, id string) (*record, uint64, error) {
	q.mu.Lock()
	var known uint64
	if e := q.index.byID[id]; e != nil {
		known = e.rev
	}
	if m := q.recent.get(id); m != nil && q.opts.Exclusive {
		defer q.mu.Unlock()
		r := m.revision.record
		return &r, m.revision.rev, nil // nobody else changes it
	}
	q.mu.Unlock()
	e, err := q.records.Get(ctx, keyOf(id))
	if loss := (*store.DataLossError)(nil); errors.As(err, &loss) {
		q.damage(id, loss)
	}
	if err != nil {
		return nil, 0, err
	}
	if e == nil {
		q.forget(id, known) // another process removed it
		return nil, 0, &NotFoundError{ID: id}
	}
	r, err := decodeRecord(e.Value())
	if err != nil {
		loss := undecodable(id, err)
		q.damage(id, loss)
		return nil, 0, loss
	}
	q.apply(id, &r, e.Revision())
	return &r, e.Revision(), nil
}

// writing is a record that is being written, and its encoding.
type writing struct {
	record  record
	encoded []byte
}

// errConflict reports that a record is not at the revision it was thought at.
var errConflict = errors.New("jobs: the record has changed")

// write replaces the record at revision rev, or creates it when rev is 0, and
// returns the new revision.
func (q *Queue) write(ctx context.Context, id string, r *record, rev uint64) (at uint64, err error) {
	defer func() {
		if err != nil { // also where it was written and the answer was lost
			q.mu.Lock()
			q.recent.drop(id)
			if q.opts.Exclusive && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.Is(err, nats.ErrTimeout)) {
				q.unheard[id] = time.Now().Add(unheardAge)
			}
			q.mu.Unlock()
		}
	}()
	if r.Ledger != "" && r.takes() != r.Charged {
		return q.writeCharged(ctx, id, r, rev)
	}
	return q.writeAlone(ctx, id, r, rev)
}

// writeAlone is write for a job that changes no ledger.
func (q *Queue) writeAlone(ctx context.Context, id string, r *record, rev uint64) (uint64, error) {
	b, err := r.encode()
	if err != nil {
		return 0, fmt.Errorf("jobs: job %s: %w", id, err)
	}
	w := &writing{*r, b}
	q.mu.Lock()
	q.writing[id] = w
	q.mu.Unlock()
	if rev == 0 {
		rev, err = q.records.KV.Create(ctx, keyOf(id), b)
	} else {
		rev, err = q.records.KV.Update(ctx, keyOf(id), b, rev)
	}
	q.mu.Lock()
	if q.writing[id] == w {
		delete(q.writing, id)
	}
	q.mu.Unlock()
	if errors.Is(err, jetstream.ErrKeyExists) || errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		return 0, errConflict
	}
	if err != nil {
		return 0, fmt.Errorf("jobs: writing job %s: %w", id, err)
	}
	failpoint.Hit(failpoint.RecordWritten)
	q.apply(id, r, rev)
	return rev, nil
}

// Cancel ends a job that is not terminal, and returns it without specification
// and result. The worker that runs it, if any, sees its lease's context end.
// Cancelling a terminal job changes nothing and is no error.
func (q *Queue) Cancel(ctx context.Context, id string) (Job, error) {
	if err := checkID(id); err != nil {
		return Job{}, err
	}
	return q.change(ctx, id, func(r *record) bool {
		if r.State.Terminal() {
			return false
		}
		r.abandon(Cancelled)
		return true
	})
}

// Retry has a Failed job tried again, as if it had been submitted now: its
// attempts count from zero, and its deadlines have no effect any more. It gives
// *StateError for a job in another state.
func (q *Queue) Retry(ctx context.Context, id string) (Job, error) {
	if err := checkID(id); err != nil {
		return Job{}, err
	}
	retried := false
	job, err := q.change(ctx, id, func(r *record) bool {
		if retried = r.State == Failed; !retried {
			return false
		}
		r.State = Queued
		if len(r.Needs) > 0 {
			r.State = Waiting
		}
		r.Attempts, r.Finished, r.Error, r.Cause, r.Reason = 0, time.Time{}, nil, "", ""
		r.Deadline, r.WaitUntil = time.Time{}, time.Time{}
		return true
	})
	if err == nil && !retried {
		err = &StateError{ID: id, State: job.State, Want: Failed}
	}
	return job, err
}

// change changes a record by compare-and-set, again and again until nobody else
// does meanwhile, unless do says that there is nothing to change.
func (q *Queue) change(ctx context.Context, id string, do func(*record) bool) (Job, error) {
	for {
		r, rev, err := q.read(ctx, id)
		if err != nil {
			return Job{}, err
		}
		before := rev
		r.next(rev)
		if !do(r) {
			return r.job(id, before), nil
		}
		if rev, err = q.write(ctx, id, r, before); err == nil {
			return r.job(id, rev), nil
		}
		if !errors.Is(err, errConflict) {
			return Job{}, err
		}
	}
}
