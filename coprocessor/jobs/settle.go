package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tacit-fhe/tacit/coprocessor/store"
)

const (
	// sweepInterval is how often all waiting jobs are looked at: what they need may
	// have arrived by way of another process.
	sweepInterval = 15 * time.Second
	// unheardAge is for how long a write may yet be made that was not answered.
	unheardAge = 4 * sweepInterval
	// settlePause is the pause after the store did not answer.
	settlePause = time.Second
)

// settle sees to jobs that nobody works on, until the queue is closed: those that
// wait start when all that they need is there, and fail when that cannot come;
// those whose time is over fail. Every Queue does so, and the first one counts.
func (q *Queue) settle() {
	sweep := time.NewTicker(sweepInterval)
	defer sweep.Stop()
	for {
		q.mu.Lock()
		stir := q.index.stir
		expired, next := q.index.expired(time.Now())
		unsure := make([]string, 0, len(q.index.unsure))
		for e := range q.index.unsure {
			unsure = append(unsure, e.id)
		}
		clear(q.index.unsure)
		q.mu.Unlock()

		failed := false
		for _, e := range expired {
			failed = !q.settled(e.id, q.expire(e)) || failed
		}
		for _, id := range unsure {
			failed = !q.settled(id, q.look(id)) || failed
		}
		if q.ctx.Err() != nil {
			return
		}
		if failed {
			next = time.Now().Add(settlePause)
			stir = nil
		}
		var timeout <-chan time.Time
		if !next.IsZero() {
			timeout = time.After(time.Until(next))
		}
		select {
		case <-stir:
		case <-timeout:
		case <-sweep.C:
			q.mu.Lock()
			for e := range q.index.waiting {
				q.index.unsure[e] = struct{}{}
			}
			q.mu.Unlock()
			q.listen()
		case <-q.ctx.Done():
			return
		}
	}
}

// listen looks whether writes were made that were not answered: where nobody else
// writes, nothing else would tell.
func (q *Queue) listen() {
	q.mu.Lock()
	ids := make([]string, 0, len(q.unheard))
	for id, until := range q.unheard {
		ids = append(ids, id)
		if time.Now().After(until) {
			delete(q.unheard, id)
		}
	}
	q.mu.Unlock()
	for _, id := range ids {
		ctx, cancel := context.WithTimeout(q.ctx, writeTimeout)
		_, _, err := q.read(ctx, id)
		cancel()
		if err != nil && q.ctx.Err() == nil && !errors.As(err, new(*NotFoundError)) {
			q.opts.Log.Warn("a job with a write that was not answered could not be read", "job", id, "error", err)
		}
	}
}

// settled says whether a job is settled; if not, it is taken up again.
func (q *Queue) settled(id string, err error) bool {
	if err == nil || q.ctx.Err() != nil || errors.As(err, new(*NotFoundError)) {
		return true // also when it was removed meanwhile
	}
	q.opts.Log.Warn("a job could not be settled", "job", id, "error", err)
	q.mu.Lock()
	defer q.mu.Unlock()
	e := q.index.byID[id]
	if e == nil || e.lost {
		return true
	}
	if e.state == Waiting {
		q.index.unsure[e] = struct{}{}
	}
	q.index.schedule(e)
	return false
}

// overdue is a job whose time is over.
type overdue struct {
	id    string
	cause Cause
}

// expired takes jobs whose time is over out of the index's schedule. It also
// returns when the next one's is, zero for never.
func (x *index) expired(now time.Time) (list []overdue, next time.Time) {
	for e := x.expiry.top(); e != nil; e = x.expiry.top() {
		if at := e.expires(); at.After(now) {
			return list, at
		}
		x.unschedule(e)
		o := overdue{e.id, Missing}
		if !e.deadline.IsZero() && !e.deadline.After(now) {
			o.cause = Overdue
		}
		list = append(list, o)
	}
	return list, time.Time{}
}

// expire makes a job fail whose time is over.
func (q *Queue) expire(o overdue) error {
	if o.cause == Overdue {
		return q.fail(o.id, Failure{Cause: Overdue}, "its deadline has passed", func(*record) bool { return true })
	}
	missing, err := q.missing(o.id)
	if err != nil {
		return err
	}
	if len(missing) == 0 {
		return q.begin(o.id)
	}
	return q.fail(o.id, Failure{Cause: Missing, Name: missing[0]}, fmt.Sprintf("%x was not there in time", missing[0]),
		func(r *record) bool { return r.State == Waiting })
}

// look starts a waiting job if all that it needs is there, or makes it fail if
// that cannot come.
func (q *Queue) look(id string) error {
	missing, err := q.missing(id)
	if err != nil {
		return err
	}
	if len(missing) == 0 {
		return q.begin(id)
	}
	stillWaits := func(r *record) bool { return r.State == Waiting }
	q.mu.Lock()
	e := q.index.byID[id]
	if e == nil || e.state != Waiting {
		q.mu.Unlock()
		return nil
	}
	name, maker := q.index.doomed(e, missing)
	loop, closed := Name{}, false
	if maker == "" {
		loop, closed = q.index.closes(e.tenant, missing, e.makes)
	}
	q.mu.Unlock()
	switch {
	case maker != "":
		job, err := q.Stat(q.ctx, maker)
		if errors.As(err, new(*store.DataLossError)) {
			job, err = Job{ID: maker, State: Failed, Cause: Lost, Reason: "its record is damaged"}, nil
		}
		if err != nil {
			return err
		}
		if !job.State.Terminal() {
			return nil // it was retried, which is heard of
		}
		return q.fail(id, Failure{Cause: Maker, Name: name, Maker: job}, fmt.Sprintf("job %s, which was to make %x, is %v", maker, name, job.State), stillWaits)
	case closed:
		return q.fail(id, Failure{Cause: Cyclic, Name: loop}, (&CycleError{ID: id, Name: loop}).Error(), stillWaits)
	}
	return nil
}

// missing returns what a waiting job needs and is not there.
func (q *Queue) missing(id string) ([]Name, error) {
	job, err := q.Stat(q.ctx, id)
	if err != nil || job.State != Waiting {
		return nil, err
	}
	var missing []Name
	for _, n := range job.Needs {
		there, err := q.opts.Ready(q.ctx, job, n, q.own(id, n))
		if err != nil {
			return nil, err
		}
		if !there {
			missing = append(missing, n)
		}
	}
	return missing, nil
}

// own reports whether another job of the same tenant is to make what a job needs, or was
// and did not.
func (q *Queue) own(id string, n Name) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	e := q.index.byID[id]
	for m := range q.index.makers[n] {
		if e != nil && m != e && m.tenant == e.tenant {
			return true
		}
	}
	return false
}

// begin queues a job that waits.
func (q *Queue) begin(id string) error {
	ctx, cancel := context.WithTimeout(q.ctx, writeTimeout)
	defer cancel()
	_, err := q.change(ctx, id, func(r *record) bool {
		if r.State != Waiting {
			return false
		}
		r.State = Queued
		return true
	})
	return err
}

// fail makes a job fail that is not terminal and of which still is true.
func (q *Queue) fail(id string, f Failure, reason string, still func(*record) bool) error {
	ctx, cancel := context.WithTimeout(q.ctx, writeTimeout)
	defer cancel()
	_, err := q.change(ctx, id, func(r *record) bool {
		if r.State.Terminal() || !still(r) {
			return false
		}
		r.fail(f.Cause, reason)
		r.Error = nil
		if q.opts.Explain == nil {
			return true
		}
		// A job fails for its reason also when its specification is lost.
		spec, err := q.spec(ctx, id, r.Spec)
		if err != nil {
			q.opts.Log.Error("the specification of a job cannot be read", "job", id, "error", err)
		}
		if r.Error = q.opts.Explain(spec, f); len(r.Error) > MaxError {
			r.Error = nil
		}
		return true
	})
	return err
}

// doomed returns something that a job needs and a job of the same tenant that was
// to make it and failed, while no other one is to make it; else the empty id.
func (x *index) doomed(e *entry, missing []Name) (Name, string) {
	for _, n := range missing {
		var dead *entry
		alive := false
		for m := range x.makers[n] {
			switch {
			case m.tenant != e.tenant || m == e:
			case !m.state.Terminal():
				alive = true
			case dead == nil || m.seq > dead.seq:
				dead = m
			}
		}
		if dead != nil && !alive {
			return n, dead.id
		}
	}
	return Name{}, ""
}

// closes returns something that a job needs and that is made, by way of waiting
// jobs of the same tenant, of what the job itself makes, if there is any.
func (x *index) closes(t *tenant, needs []Name, makes []Name) (Name, bool) {
	own := make(map[Name]bool, len(makes))
	wanted := false
	for _, n := range makes {
		own[n] = true
		wanted = wanted || len(x.needers[n]) > 0
	}
	if len(needs) == 0 || len(makes) == 0 {
		return Name{}, false
	}
	seen := make(map[*entry]bool)
	for _, first := range needs {
		if own[first] {
			return first, true
		}
		if !wanted {
			continue // nobody waits for what it makes, so nobody can close the circle
		}
		for stack := []Name{first}; len(stack) > 0; {
			n := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			if own[n] {
				return first, true
			}
			for m := range x.makers[n] {
				if m.tenant == t && m.state == Waiting && !seen[m] {
					seen[m] = true
					stack = append(stack, m.needs...)
				}
			}
		}
	}
	return Name{}, false
}

// Makes returns the tag of what a job of a tenant is to make that has not ended,
// and reports whether there is any.
func (q *Queue) Makes(ctx context.Context, tenant string, name Name) (tag byte, ok bool, err error) {
	q.mu.Lock()
	var ids []string
	for m := range q.index.makers[name] {
		if m.tenant.name == tenant && !m.state.Terminal() {
			ids = append(ids, m.id)
		}
	}
	q.mu.Unlock()
	for _, id := range ids {
		r, _, err := q.read(ctx, id)
		if errors.As(err, new(*store.DataLossError)) {
			continue // it makes nothing any more
		}
		if err != nil {
			return 0, false, err
		}
		for _, m := range r.makes() {
			if m.Name == name {
				return m.Tag, true, nil
			}
		}
	}
	return 0, false, nil
}

// Arrived tells the queue that something is there that jobs may wait for. It is
// not needed for what jobs of the queue make, and saves time for the rest.
func (q *Queue) Arrived(names ...Name) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, n := range names {
		q.index.doubtNeeders(n)
	}
}
