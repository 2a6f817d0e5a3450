package jobs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/propagation"

	"github.com/tacit-fhe/tacit/coprocessor/internal/failpoint"
	"github.com/tacit-fhe/tacit/coprocessor/store"
)

// Submit stores a job and returns once it is safe. A malformed id gives *IDError,
// what is too large *store.SizeError. Submitting the same again returns the job as
// it stands, with created false; another Digest gives *ConflictError. A new job
// belongs to the trace of the context; it waits if it needs anything, runs if a Claim
// waits for it, and is queued otherwise. It is refused with *FullError when too much is queued, with
// *BudgetError when its tenant cannot pay, *HeldError when its tenant or its pool
// is held back, and *CycleError when it would wait for itself.
func (q *Queue) Submit(ctx context.Context, s Submission) (job Job, created bool, err error) {
	if err := s.check(); err != nil {
		return Job{}, false, err
	}
	if len(s.Needs) > 0 && q.opts.Ready == nil {
		return Job{}, false, fmt.Errorf("jobs: job %s: this queue cannot tell whether what it needs is there", s.ID)
	}
	q.mu.Lock()
	known := q.index.byID[s.ID] != nil
	q.mu.Unlock()
	var r *record
	var rev uint64
	absent := (*NotFoundError)(nil)
	if known {
		r, rev, err = q.read(ctx, s.ID)
	}
	if !known || errors.As(err, &absent) {
		// That nobody else has submitted it, the write finds out.
		r, rev, created, err = q.create(ctx, &s)
	}
	if err != nil {
		return Job{}, false, err
	}
	if r.identity() != s.digest() {
		return Job{}, false, &ConflictError{ID: s.ID}
	}
	job = r.job(s.ID, rev)
	job.Spec = s.Spec
	return job, created, nil
}

// create stores a new job, or returns the one that another submission stored
// first.
func (q *Queue) create(ctx context.Context, s *Submission) (*record, uint64, bool, error) {
	free, err := q.reserve(s)
	if err != nil {
		// What is there needs no room.
		r, rev, absent := q.read(ctx, s.ID)
		if !errors.As(absent, new(*NotFoundError)) {
			err = absent
		}
		return r, rev, false, err
	}
	defer free()
	// Anew: a job of this id may just be removed, with what it left.
	d, err := q.data.Renew(ctx, specName(s.ID), s.Spec)
	if err != nil {
		return nil, 0, false, err
	}
	r := &record{
		Version: recordVersion, State: Queued, Spec: d, Created: time.Now().UTC(), Trace: traceparent(ctx),
		Note: s.Note, Pool: s.Pool, Cost: s.Cost, Priority: s.Priority,
	}
	if s.TimeLimit > 0 {
		r.Deadline = r.Created.Add(s.TimeLimit)
	}
	if id := s.digest(); id != d {
		r.Digest = (*store.Digest)(&id)
	}
	if len(s.Needs) > 0 {
		r.State = Waiting
		if s.WaitLimit > 0 {
			r.WaitUntil = r.Created.Add(s.WaitLimit)
		}
	}
	for _, n := range s.Needs {
		r.Needs = append(r.Needs, n[:]...)
	}
	for _, m := range s.Makes {
		r.Makes = append(append(r.Makes, m.Name[:]...), m.Tag)
	}
	tenant := q.opts.TenantOf(s.ID)
	if p := q.opts.Policy(tenant).withDefaults(); p.Budget > 0 {
		r.Ledger = ledgerKey(tenant, r.Created.Truncate(p.Period), p.Period)
	}
	spec := bytes.Clone(s.Spec)
	rev, err := q.enter(ctx, s.ID, spec, r)
	if errors.Is(err, errConflict) {
		r, rev, err = q.read(ctx, s.ID)
		return r, rev, false, err
	}
	q.tell(s.ID, specOf, content{d, spec})
	failpoint.Hit(failpoint.SubmitBeforeAnswer)
	return r, rev, true, err
}

// enter writes the first record of a job: that of one that is claimed, where a Claim waits
// for nothing else, which saves the record of one that is queued.
func (q *Queue) enter(ctx context.Context, id string, spec []byte, r *record) (uint64, error) {
	w := q.engage(r)
	failpoint.Hit(failpoint.SubmitBeforeRecord)
	if w == nil {
		return q.write(ctx, id, r, 0)
	}
	var lease *Lease
	defer func() { w.lease <- lease }()
	// As of any claim, nobody's giving up must leave the job claimed by nobody.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	asked := time.Now()
	rev, err := q.write(ctx, id, r, 0)
	if err == nil {
		lease = q.newLease(id, spec, r, rev, asked)
	}
	return rev, err
}

// reserve admits a submission that is new and counts it until free is called,
// which is when the index knows of it.
func (q *Queue) reserve(s *Submission) (free func(), err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	x := q.index
	t := x.tenant(q.opts.TenantOf(s.ID))
	p := q.opts.Policy(t.name).withDefaults()
	if err := x.control.holds(t.name, s.Pool); err != nil {
		return nil, err
	}
	all, own := x.states[Waiting]+x.states[Queued]+q.reserved, t.states[Waiting]+t.states[Queued]+t.reserved
	if all >= q.opts.MaxQueued {
		return nil, &FullError{Unit: "jobs", Limit: int64(q.opts.MaxQueued)}
	}
	// The last tenth is for those who have few.
	if all >= q.opts.MaxQueued-q.opts.MaxQueued/10 && own >= q.opts.MaxQueued/2 {
		return nil, &FullError{Tenant: t.name, Unit: "jobs", Limit: int64(own)}
	}
	if p.MaxQueued > 0 && own >= p.MaxQueued {
		return nil, &FullError{Tenant: t.name, Unit: "jobs", Limit: int64(p.MaxQueued)}
	}
	if limit := q.opts.MaxBacklog; limit > 0 && x.backlog+q.promised+s.Cost > limit && x.backlog+q.promised > 0 {
		return nil, &FullError{Unit: "bootstraps", Limit: limit}
	}
	if used, _, end := x.used(t, p, time.Now()); p.Budget > 0 && used+t.promised+s.Cost > p.Budget {
		return nil, &BudgetError{Tenant: t.name, Budget: p.Budget, Used: used + t.promised, Cost: s.Cost, Refill: end}
	}
	if name, closed := x.closes(t, s.Needs, names(s.Makes)); closed {
		return nil, &CycleError{ID: s.ID, Name: name}
	}
	count := func(sign int) {
		q.reserved += sign
		t.reserved += sign
		q.promised += int64(sign) * s.Cost
		t.promised += int64(sign) * s.Cost
	}
	count(+1)
	return func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		count(-1)
	}, nil
}

func names(made []Made) []Name {
	out := make([]Name, len(made))
	for i, m := range made {
		out[i] = m.Name
	}
	return out
}

// traceparent names the span of a context, or is empty.
func traceparent(ctx context.Context) string {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier.Get("traceparent")
}
