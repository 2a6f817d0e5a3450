package jobs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"crypto/sha256"

	"github.com/tacit-fhe/tacit/coprocessor/store"
)

// A record that cannot be read, or not as a record, is damaged, and so is its job. The
// server takes no other value for the key of a record that it cannot read, so a damaged
// job stays what it is: it is never started, it is told of as Failed with the cause Lost,
// and the call that asks for it alone gets the *store.DataLossError. Should the record be
// readable again, as when another server of a cluster answers, the job is what it was.

// discardedPrefix begins the keys, in the bucket of jobs, that say of damaged jobs that
// they are not to be told of any more.
const discardedPrefix = "discarded/"

// lateSeq begins the places of damaged jobs whose submission cannot be told: after all
// others, in an order that is the same for every Queue.
const lateSeq = 1 << 62

// IntactError refuses to discard a job that is not damaged.
type IntactError struct {
	ID string
}

func (e *IntactError) Error() string { return fmt.Sprintf("jobs: job %s is not damaged", e.ID) }

// Discard has a damaged job not told of any more in lists, and counted no more. What is
// left of it is removed. Its id stays taken in this store; a copy of the store does not
// have the job. It gives *IntactError for a job that can be read.
func (q *Queue) Discard(ctx context.Context, id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	last, err := q.data.Last(ctx)
	if err != nil {
		return err
	}
	_, _, err = q.read(ctx, id)
	if err == nil {
		return &IntactError{ID: id}
	}
	if !errors.As(err, new(*store.DataLossError)) {
		return err
	}
	key := discardedPrefix + nameOf(id)
	if _, err := q.records.KV.Put(ctx, key, []byte("{}")); err != nil {
		return fmt.Errorf("jobs: discarding job %s: %w", id, err)
	}
	q.discard(key)
	return q.data.Erase(ctx, last, specName(id), resultName(id))
}

// discard takes in that a damaged job is discarded, and reports whether that is what a
// key says.
func (q *Queue) discard(key string) bool {
	name, ok := strings.CutPrefix(key, discardedPrefix)
	if !ok {
		return false
	}
	if id, err := idOf(keyPrefix + name); err == nil {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.index.discarded[id] = struct{}{}
	}
	return true
}

// damage takes in that the record of a job is damaged, and tells those it concerns.
func (q *Queue) damage(id string, loss *store.DataLossError) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e, news := q.index.damage(id, loss.Error())
	if !news {
		return
	}
	if _, known := q.index.discarded[id]; !known {
		q.opts.Log.Error("a job is lost", "job", id, "error", loss)
	}
	q.recent.drop(id)
	for s := range q.subs[id] {
		s.offer(e.revision())
	}
	for f := range q.feeds {
		f.offer(id)
	}
	if l := q.leases[id]; l != nil {
		delete(q.leases, id)
		l.cancel(ErrLeaseLost)
	}
}

// lost returns a damaged job, unless it is discarded.
func (q *Queue) lost(id string) (Job, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e := q.index.byID[id]
	if e == nil || !q.index.told(e) || !e.lost {
		return Job{}, false
	}
	r := e.revision()
	return r.job(id, r.rev), true
}

// told says that a job appears in lists.
func (x *index) told(e *entry) bool {
	if !e.lost {
		return true
	}
	_, discarded := x.discarded[e.id]
	return !discarded
}

// damaged counts the damaged jobs that are not discarded.
func (x *index) damaged() (n int) {
	for id := range x.lost {
		if _, discarded := x.discarded[id]; !discarded {
			n++
		}
	}
	return n
}

// revision is what is told of a damaged job.
func (e *entry) revision() revision {
	return revision{record{
		State: Failed, Cause: Lost, Reason: e.detail, Pool: e.pool, Cost: e.cost, Spent: e.spent, Priority: e.priority, Created: e.created,
	}, e.rev}
}

// damage takes in that the record of a job is damaged and reports whether it is news.
func (x *index) damage(id, detail string) (*entry, bool) {
	e := x.byID[id]
	switch {
	case e == nil:
		digest := sha256.Sum256([]byte(id))
		e = &entry{
			id: id, tenant: x.tenant(x.tenantOf(id)), seq: lateSeq | binary.BigEndian.Uint64(digest[:])>>2,
			pending: newPending(),
		}
		x.byID[id] = e
		at, _ := slices.BinarySearchFunc(x.order, e.seq, bySeq)
		x.order = slices.Insert(x.order, at, e)
	case e.lost:
		return e, false
	default:
		e.reopen()
		spent := e.charges() // which its tenant does not get back
		x.unschedule(e)
		x.uncount(e)
		makes := e.makes
		x.unlink(e)
		e.spent, e.makes = spent, makes
		for _, n := range makes {
			add(x.makers, n, e)
			x.doubtNeeders(n)
		}
	}
	e.lost, e.detail, e.state, e.cause, e.lease = true, detail, Failed, Lost, ""
	e.rev = max(e.rev, x.last)
	x.lost[id] = struct{}{}
	return e, true
}

// uncount takes a job out of all sums but that of what its tenant has used.
func (x *index) uncount(e *entry) {
	x.states[e.state]--
	e.tenant.states[e.state]--
	if e.state == Waiting || e.state == Queued {
		x.backlog -= e.cost
	}
}

// drop takes a damaged job out of the index.
func (x *index) drop(e *entry) {
	x.unlink(e)
	delete(x.lost, e.id)
	delete(x.byID, e.id)
	if at, ok := slices.BinarySearchFunc(x.order, e.seq, bySeq); ok {
		x.order = slices.Delete(x.order, at, at+1)
	}
	if !e.created.Before(e.tenant.window) {
		e.tenant.used -= e.charges()
	}
}
