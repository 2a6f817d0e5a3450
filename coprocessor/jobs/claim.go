package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tacit-fhe/tacit/coprocessor/internal/failpoint"
	"github.com/tacit-fhe/tacit/coprocessor/store"
)

// Claim waits for a job that may be run and makes it this worker's. The attempt
// is counted before Claim returns. A job that has used up its attempts becomes
// Failed instead, and so does one whose specification is lost. The error is the
// context's, ErrClosed, or the store's; after the latter, pause and call again.
func (q *Queue) Claim(ctx context.Context) (*Lease, error) {
	for {
		if err := ctx.Err(); err != nil {
			q.index.rouse() // in the place of this one
			return nil, err
		}
		if q.ctx.Err() != nil {
			return nil, ErrClosed
		}
		q.mu.Lock()
		now := time.Now() // jobs start in the order of this, however long their claims take
		e, due := q.index.claim(now)
		var rev uint64
		if e != nil {
			rev = e.rev
		}
		q.mu.Unlock()
		if e == nil {
			if l := q.pause(ctx, due); l != nil {
				return l, nil
			}
			continue
		}
		l, err := q.claim(ctx, e.id, rev, now)
		q.mu.Lock()
		if errors.As(err, new(*store.DataLossError)) || errors.As(err, new(*NotFoundError)) {
			err = nil // lost, or removed meanwhile
		}
		q.index.unclaim(e)
		q.mu.Unlock()
		if l != nil || err != nil {
			return l, err
		}
	}
}

// idle is a Claim that waits.
type idle struct {
	lease chan *Lease // of a job that is submitted meanwhile, or nil where that fails
}

// pause waits for any reason to look for a job again, or for one that is submitted
// meanwhile.
func (q *Queue) pause(ctx context.Context, due time.Time) *Lease {
	w := &idle{make(chan *Lease, 1)}
	q.mu.Lock()
	q.idle = append(q.idle, w)
	q.mu.Unlock()
	var timeout <-chan time.Time
	if !due.IsZero() {
		t := time.NewTimer(time.Until(due))
		defer t.Stop()
		timeout = t.C
	}
	select {
	case l := <-w.lease:
		return l
	case <-q.index.wake:
	case <-timeout:
	case <-ctx.Done():
	case <-q.ctx.Done():
	}
	q.mu.Lock()
	at := slices.Index(q.idle, w)
	if at >= 0 {
		q.idle = slices.Delete(q.idle, at, at+1)
	}
	q.mu.Unlock()
	if at >= 0 {
		return nil
	}
	q.index.rouse() // another one, for whatever reason this one had
	return <-w.lease
}

// engage has a Claim that waits begin on a new job, where it would claim it at once. The
// Claim must be told of its lease. It returns nil where none waits or others come first.
func (q *Queue) engage(r *record) *idle {
	q.mu.Lock()
	defer q.mu.Unlock()
	last := len(q.idle) - 1
	if last < 0 || !q.index.first(r) {
		return nil
	}
	w := q.idle[last]
	q.idle = slices.Delete(q.idle, last, last+1)
	r.begin(time.Now(), q.opts.LeaseDuration)
	return w
}

// found returns the record of a job that was seen at a revision. What is remembered
// serves, for a claim is a compare-and-set.
func (q *Queue) found(ctx context.Context, id string, seen uint64) (*record, uint64, error) {
	q.mu.Lock()
	m := q.recent.get(id)
	if m != nil && m.revision.rev == seen {
		defer q.mu.Unlock()
		r := m.revision.record
		return &r, seen, nil
	}
	q.mu.Unlock()
	return q.read(ctx, id)
}

// claim makes a job this worker's, given when and at which revision it was found
// claimable. It returns nil when the job has changed since.
func (q *Queue) claim(ctx context.Context, id string, seen uint64, start time.Time) (*Lease, error) {
	r, rev, err := q.found(ctx, id, seen)
	if err != nil || rev != seen {
		return nil, err
	}
	// A Claim that is given up must not leave a job claimed by nobody, so
	// what follows is bounded by time and not by the caller.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	spec, err := q.spec(ctx, id, r.Spec)
	loss := (*store.DataLossError)(nil)
	if err != nil && !errors.As(err, &loss) {
		return nil, err
	}
	r.next(rev)
	switch {
	case loss != nil:
		r.fail(Lost, loss.Error())
	case r.Attempts >= q.opts.MaxAttempts:
		r.fail(Attempts, fmt.Sprintf("given up after %d attempts; the worker of the last one was lost", r.Attempts))
	default:
		r.begin(start, q.opts.LeaseDuration)
	}
	asked := time.Now()
	failpoint.Hit(failpoint.ClaimBeforeRecord)
	rev, err = q.write(ctx, id, r, rev)
	if errors.Is(err, errConflict) {
		_, _, err = q.read(ctx, id) // Else the index would offer it again at once.
		return nil, err
	}
	if err != nil || r.State != Running {
		return nil, err
	}
	return q.newLease(id, spec, r, rev, asked), nil
}
