package jobs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tacit-fhe/tacit/coprocessor/internal/failpoint"
	"github.com/tacit-fhe/tacit/coprocessor/store"
)

// Lease is a worker's hold on a job. It renews itself in the background until
// one of Done, Fail and Release succeeds, or until it is lost. Its methods are
// safe for concurrent use.
type Lease struct {
	q      *Queue
	id     string
	token  string // the record's Lease while this one holds
	job    Job
	ctx    context.Context
	cancel context.CancelCauseFunc

	mu    sync.Mutex // orders the writes of the record
	r     record     // as last written
	rev   uint64
	spent int64     // by this attempt
	alive time.Time // when the last write that succeeded was asked for
	over  bool      // Done, Fail or Release has succeeded
}

// newLease begins the lease that the record r, written at revision rev and asked
// for at that time, grants.
func (q *Queue) newLease(id string, spec []byte, r *record, rev uint64, asked time.Time) *Lease {
	l := &Lease{q: q, id: id, token: r.Lease, job: r.job(id, rev), r: *r, rev: rev, alive: asked}
	l.job.Spec = spec
	l.ctx, l.cancel = context.WithCancelCause(q.ctx)
	q.mu.Lock()
	// The job may have been cancelled since the record was written, and even removed.
	cause := error(ErrLeaseLost)
	if e := q.index.byID[id]; e != nil {
		cause = l.lost(e.state, e.lease)
	}
	if cause != nil {
		l.cancel(cause)
	} else {
		q.leases[id] = l
	}
	q.mu.Unlock()
	q.wg.Go(l.renew)
	return l
}

// lost tells why a record of that state and lease is not this lease's to work
// on, or nil when it is.
func (l *Lease) lost(s State, token string) error {
	switch {
	case s == Running && token == l.token:
		return nil
	case s == Cancelled:
		return ErrCancelled
	case token == l.token:
		return context.Canceled // Finished or given back, by nobody but the holder.
	default:
		return ErrLeaseLost
	}
}

// Job returns the job as it was claimed, with its specification.
func (l *Lease) Job() Job { return l.job }

// Context ends when the job is no longer this worker's. Its cause is then
// ErrCancelled, ErrLeaseLost or ErrClosed, or context.Canceled after Done, Fail
// or Release.
func (l *Lease) Context() context.Context { return l.ctx }

// renew keeps the lease alive.
func (l *Lease) renew() {
	defer l.end()
	every := l.q.opts.LeaseDuration / 3
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-tick.C:
		}
		ctx, cancel := context.WithTimeout(l.ctx, every)
		err := l.update(ctx, func(*record) {})
		cancel()
		if l.ctx.Err() != nil {
			return
		}
		if err != nil {
			l.q.opts.Log.Warn("a lease could not be renewed", "job", l.id, "error", err)
			l.mu.Lock()
			dead := time.Since(l.alive) > l.q.opts.LeaseDuration
			l.mu.Unlock()
			if dead {
				return
			}
		}
	}
}

// end ends the lease's context, as lost unless it has ended for another reason.
func (l *Lease) end() {
	l.q.mu.Lock()
	defer l.q.mu.Unlock()
	if l.q.leases[l.id] == l {
		delete(l.q.leases, l.id)
	}
	l.cancel(ErrLeaseLost)
}

// update changes the record, if the job is still this worker's.
func (l *Lease) update(ctx context.Context, change func(*record)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		if l.over {
			return ErrLeaseLost
		}
		if l.q.ctx.Err() != nil {
			return ErrClosed
		}
		r := l.r
		r.next(l.rev)
		r.Spent = l.job.Spent + l.spent
		change(&r)
		asked := time.Now()
		rev, err := l.q.write(ctx, l.id, &r, l.rev)
		if errors.Is(err, errConflict) {
			var now *record
			now, rev, err = l.q.read(ctx, l.id)
			if err != nil {
				return err
			}
			// The answer to an earlier write may have been lost, though the
			// write was not: then the record still bears this lease's name.
			cause := l.lost(now.State, now.Lease)
			if cause == nil {
				l.r, l.rev = *now, rev
				continue
			}
			if cause != context.Canceled {
				return cause
			}
			l.over = true
			if now.State != r.State {
				return ErrLeaseLost
			}
			return nil
		}
		if err != nil {
			return err
		}
		l.r, l.rev, l.alive = r, rev, asked
		l.over = r.State != Running
		return nil
	}
}

// Spend sets what this attempt has spent so far, which the next write records.
func (l *Lease) Spend(spent int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spent = spent
}

// Charge records what this attempt has spent with a job that ended over its head: that was
// cancelled, or whose deadline passed. It has no effect on any other job.
func (l *Lease) Charge(ctx context.Context) error {
	l.mu.Lock()
	spent := l.job.Spent + l.spent
	l.mu.Unlock()
	_, err := l.q.change(ctx, l.id, func(r *record) bool {
		ended := r.State.Terminal() && r.Lease == "" && r.Attempts == l.job.Attempts && r.Created.Equal(l.job.Created)
		if !ended || r.Spent >= spent {
			return false
		}
		r.Spent = spent
		return true
	})
	if errors.As(err, new(*NotFoundError)) {
		return nil
	}
	return err
}

// Progress replaces the job's progress note, at most MaxNote bytes.
func (l *Lease) Progress(ctx context.Context, note []byte) error {
	if err := checkSize("progress of a job", len(note), MaxNote); err != nil {
		return err
	}
	note = bytes.Clone(note)
	return l.update(ctx, func(r *record) { r.Progress = note })
}

// Done records the job as done, with a result of at most store.MaxRecord bytes,
// and ends the lease. When it returns nil, the job is done for good; when the
// lease was lost, it returns ErrLeaseLost and has no effect. After any other
// error it may be called again.
func (l *Lease) Done(ctx context.Context, result []byte) error {
	var inline []byte
	d := sha256.Sum256(result)
	if 0 < len(result) && len(result) <= maxInline {
		inline = bytes.Clone(result)
	} else {
		if _, err := l.q.data.Renew(ctx, resultName(l.id), result); err != nil {
			return err
		}
		l.q.tell(l.id, resultOf, content{d, bytes.Clone(result)})
	}
	failpoint.Hit(failpoint.CommitBefore)
	return l.update(ctx, func(r *record) {
		r.Result, r.Inline = (*store.Digest)(&d), inline
		r.finish(Done)
	})
}

// Fail records an error of at most MaxError bytes and ends the lease. With retry
// the job is queued again after a pause, unless its attempts are used up;
// otherwise it is Failed.
func (l *Lease) Fail(ctx context.Context, errBytes []byte, retry bool) error {
	if err := checkSize("error of a job", len(errBytes), MaxError); err != nil {
		return err
	}
	errBytes = bytes.Clone(errBytes)
	return l.update(ctx, func(r *record) {
		r.Error = errBytes
		switch {
		case !retry:
			r.finish(Failed)
		case r.Attempts >= l.q.opts.MaxAttempts:
			r.Cause, r.Reason = Attempts, fmt.Sprintf("given up after %d attempts", r.Attempts)
			r.finish(Failed)
		default:
			r.State = Queued
			r.Delay = retryDelay(l.q.opts.RetryDelay, r.Attempts)
		}
	})
}

// retryDelay is the pause after so many failed attempts.
func retryDelay(base time.Duration, attempts int) time.Duration {
	d := base
	for range attempts - 1 {
		if d >= maxDelay {
			break
		}
		d *= 2
	}
	return min(d, maxDelay)
}

// Release gives the job back unfinished, as at shutdown, and ends the lease. The
// attempt is not counted.
func (l *Lease) Release(ctx context.Context) error {
	return l.update(ctx, func(r *record) {
		r.State = Queued
		r.Attempts--
	})
}
