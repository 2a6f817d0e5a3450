package jobs

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tacit-fhe/tacit/coprocessor/store"
)

// Stat returns a job without its specification and result.
func (q *Queue) Stat(ctx context.Context, id string) (Job, error) {
	if err := checkID(id); err != nil {
		return Job{}, err
	}
	r, rev, err := q.read(ctx, id)
	if err != nil {
		return Job{}, err
	}
	return r.job(id, rev), nil
}

// Get returns a job with its specification and, when it is Done, its result.
// It gives *NotFoundError for a job that was never submitted.
func (q *Queue) Get(ctx context.Context, id string) (Job, error) {
	if err := checkID(id); err != nil {
		return Job{}, err
	}
	r, rev, err := q.read(ctx, id)
	if err != nil {
		return Job{}, err
	}
	return q.whole(ctx, id, revision{*r, rev})
}

// whole returns a job with its specification and, when it is Done, its result.
func (q *Queue) whole(ctx context.Context, id string, r revision) (job Job, err error) {
	job = r.job(id, r.rev)
	if job.Spec, err = q.spec(ctx, id, r.Spec); err != nil {
		return Job{}, err
	}
	if r.Result == nil {
		return job, nil
	}
	if len(r.Inline) > 0 {
		job.Result = r.Inline
		return job, nil
	}
	if job.Result, err = q.content(ctx, id, resultName(id), resultOf, *r.Result); err != nil {
		return Job{}, err
	}
	return job, nil
}

// spec returns the specification of a job.
func (q *Queue) spec(ctx context.Context, id string, d store.Digest) ([]byte, error) {
	return q.content(ctx, id, specName(id), specOf, d)
}

// content returns what lies apart from the record of a job, from memory if it is there.
func (q *Queue) content(ctx context.Context, id, name string, which func(*memory) *content, d store.Digest) ([]byte, error) {
	q.mu.Lock()
	var known content
	if m := q.recent.get(id); m != nil {
		known = *which(m)
	}
	q.mu.Unlock()
	if known.data != nil && known.digest == d {
		return known.data, nil
	}
	data, err := q.data.Get(ctx, name, d)
	if err == nil {
		q.tell(id, which, content{d, data})
	}
	return data, err
}

// tell remembers what lies apart from the record of a job.
func (q *Queue) tell(id string, which func(*memory) *content, c content) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.recent.tell(id, which, c)
}

// Stats counts the jobs of a Queue.
type Stats struct {
	States  map[State]int // how many jobs are in each state
	Oldest  time.Time     // when the job that has been queued for longest was submitted; zero when none is
	Backlog int64         // what the jobs cost that wait or are queued
	Damaged int           // jobs whose records are damaged, in none of the states, but for those that are discarded
}

// Stats returns what the Queue knows now, without asking the store.
func (q *Queue) Stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := Stats{States: make(map[State]int), Oldest: q.index.oldest()}
	for state := Waiting; state <= Cancelled; state++ {
		s.States[state] = q.index.states[state]
	}
	s.Backlog, s.Damaged = q.index.backlog, q.index.damaged()
	return s
}

// Usage is what a tenant has had and may have.
type Usage struct {
	Tenant string
	Policy Policy
	// Used is what the jobs cost that were submitted between From and To: what
	// they have spent if they have ended, and else what they are going to cost.
	Used     int64
	From, To time.Time
	States   map[State]int // how many of its jobs are in each state
}

// Usage returns what the Queue knows of a tenant now, without asking the store.
func (q *Queue) Usage(tenant string) Usage {
	q.mu.Lock()
	defer q.mu.Unlock()
	u := Usage{Tenant: tenant, Policy: q.opts.Policy(tenant).withDefaults(), States: make(map[State]int)}
	t := q.index.tenants[tenant]
	if t == nil {
		t = newTenant(tenant) // which is not kept
	}
	u.Used, u.From, u.To = q.index.used(t, u.Policy, time.Now())
	for state := Waiting; state <= Cancelled; state++ {
		u.States[state] = t.states[state]
	}
	return u
}

// Tenants returns the tenants that have jobs, in order.
func (q *Queue) Tenants() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Sorted(maps.Keys(q.index.tenants))
}

// ListOptions selects jobs.
type ListOptions struct {
	States []State // any when empty
	Limit  int     // 100 when zero, at most 1000
	After  string  // the token of the page before; empty for the first
	Prefix string  // of the ids
	Cause  Cause   // of Failed jobs; any, and any other state, when empty
	Newest bool    // the newest first
}

// List returns jobs in the order of their submission, or the reverse, without specifications and
// results, and the token of the next page, empty when there is none. Damaged jobs are
// among those that failed, the last ones where their submission is not known. What
// another process changed a moment ago may be missing. A malformed token gives
// ErrPageToken.
func (q *Queue) List(ctx context.Context, opts ListOptions) ([]Job, string, error) {
	var after uint64
	if opts.After != "" {
		var err error
		after, err = strconv.ParseUint(opts.After, 10, 63)
		if err != nil {
			return nil, "", ErrPageToken
		}
	}
	if opts.Limit <= 0 {
		opts.Limit = defaultPage
	}
	opts.Limit = min(opts.Limit, maxPage)
	wanted := func(s State, c Cause) bool {
		return (len(opts.States) == 0 || slices.Contains(opts.States, s)) && (opts.Cause == "" || opts.Cause == c)
	}

	var ids []string
	var token string
	q.mu.Lock()
	order := q.index.order
	var entries iter.Seq2[int, *entry]
	switch {
	case !opts.Newest:
		at, _ := slices.BinarySearchFunc(order, after+1, bySeq)
		entries = slices.All(order[at:])
	case opts.After == "":
		entries = slices.Backward(order)
	default:
		at, _ := slices.BinarySearchFunc(order, after, bySeq)
		entries = slices.Backward(order[:at])
	}
	for _, e := range entries {
		if !wanted(e.state, e.cause) || !q.index.told(e) || !strings.HasPrefix(e.id, opts.Prefix) {
			continue
		}
		if len(ids) == opts.Limit {
			token = strconv.FormatUint(after, 10)
			break
		}
		ids = append(ids, e.id)
		after = e.seq
	}
	q.mu.Unlock()

	var list []Job
	for _, id := range ids {
		r, rev, err := q.read(ctx, id)
		if errors.As(err, new(*store.DataLossError)) {
			if job, told := q.lost(id); told {
				list = append(list, job)
			}
			continue
		}
		if errors.As(err, new(*NotFoundError)) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, "", err
		}
		if wanted(r.State, r.Cause) {
			list = append(list, r.job(id, rev))
		}
	}
	return list, token, nil
}
