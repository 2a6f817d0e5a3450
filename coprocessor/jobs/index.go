package jobs

import (
	"cmp"
	"container/heap"
	"slices"
	"time"
)

// index is what a Queue knows of all jobs, for claiming, listing and counting.
// It may lag behind the bucket; whoever acts on it checks by compare-and-set.
// The Queue's mutex guards it.
type index struct {
	tenantOf func(id string) string
	policy   func(tenant string) Policy
	pools    []string // whose jobs are claimed; empty for all
	// poolNames has one copy of each name.
	poolNames map[string]string

	byID    map[string]*entry
	order   []*entry // by seq
	states  counts
	backlog int64 // the cost of what waits or is queued
	tenants map[string]*tenant
	control Control

	active map[*tenant]struct{} // those with jobs that may be claimed now
	clock  float64              // virtual time: the start of the latest claim
	timed  entryHeap            // jobs that may be claimed at their due time
	expiry entryHeap            // jobs that fail when they expire
	wake   chan struct{}        // has a token when there may be more to claim, for one who waits

	needers map[Name]map[*entry]struct{} // waiting jobs by what they need
	makers  map[Name]map[*entry]struct{} // jobs that are not done by what they make
	waiting map[*entry]struct{}
	unsure  map[*entry]struct{} // waiting jobs whose needs are to be looked at

	last      uint64              // the latest revision that was applied
	lost      map[string]struct{} // ids of damaged jobs
	discarded map[string]struct{} // ids of those that are not told of any more
	accounts  map[string]account  // what tenants with budgets have used, by the keys of their ledgers
	stir      chan struct{}       // closed and replaced when there is something to settle
}

// counts is how many jobs are in each state.
type counts [Cancelled + 1]int

// entry is one job in the index. There is one for each job that is kept, so what only
// matters until the job ends is apart.
type entry struct {
	id      string
	tenant  *tenant
	pool    string
	seq     uint64 // revision of the submission
	rev     uint64
	created time.Time
	// finished is when the job ended, zero until then.
	finished time.Time
	cause    Cause

	cost, spent int64
	priority    int
	state       State
	apart       bool // its result lies apart from its record
	lost        bool // its record is damaged
	gone        bool // it is in the index no more

	*pending // over, of a job that has ended and of which nothing more is to be known
}

// pending is what the index knows of a job until it has ended.
type pending struct {
	lease  string
	detail string // how the record is damaged
	needs  []Name // of a waiting job
	makes  []Name // of a job that is not done
	// due is when the job may be claimed: at once when zero, after a failed
	// attempt's delay, or when its lease is given up for lost.
	due      time.Time
	deadline time.Time // by our own clock; zero when there is none
	waitTill time.Time // by our own clock; zero when there is none
	claimed  bool      // a Claim of this Queue has it in hand
	charged  bool      // its tenant has been charged for the attempt that runs or is about to

	inReady, inTimed, inExpiry int // positions in heaps, or -1
}

// over is that of all jobs that have ended. It never changes.
var over = newPending()

func newPending() *pending { return &pending{inReady: -1, inTimed: -1, inExpiry: -1} }

// reopen has a job know again what matters until it ends: it is about to change.
func (e *entry) reopen() {
	if e.pending == over {
		e.pending = newPending()
	}
}

// close forgets what mattered until the job ended, unless something of it still does.
func (e *entry) close() {
	if e.state.Terminal() && !e.claimed && len(e.needs) == 0 && len(e.makes) == 0 {
		e.pending = over
	}
}

// expires returns when the job fails unless it moves on; zero for never.
func (e *entry) expires() time.Time {
	if e.state == Waiting && !e.waitTill.IsZero() && (e.deadline.IsZero() || e.waitTill.Before(e.deadline)) {
		return e.waitTill
	}
	return e.deadline
}

func newIndex(tenantOf func(string) string, policy func(string) Policy) *index {
	return &index{
		tenantOf: tenantOf, policy: policy, poolNames: map[string]string{},
		byID: map[string]*entry{}, tenants: map[string]*tenant{}, active: map[*tenant]struct{}{},
		timed: entryHeap{
			less: func(a, b *entry) bool { return a.due.Before(b.due) },
			pos:  func(e *entry) *int { return &e.inTimed },
		},
		expiry: entryHeap{
			less: func(a, b *entry) bool { return a.expires().Before(b.expires()) },
			pos:  func(e *entry) *int { return &e.inExpiry },
		},
		wake: make(chan struct{}, 1), stir: make(chan struct{}),
		needers: map[Name]map[*entry]struct{}{}, makers: map[Name]map[*entry]struct{}{},
		waiting: map[*entry]struct{}{}, unsure: map[*entry]struct{}{}, lost: map[string]struct{}{}, discarded: map[string]struct{}{},
		accounts: map[string]account{},
	}
}

// apply takes in a revision of a job and reports whether it is news.
func (x *index) apply(id string, r *record, rev uint64) bool {
	x.last = max(x.last, rev)
	e := x.byID[id]
	if e != nil && e.lost {
		x.drop(e) // it can be read again
		e = nil
	}
	if e == nil {
		e = &entry{
			id: id, tenant: x.tenant(x.tenantOf(id)), pool: x.poolOf(r.Pool), seq: cmp.Or(r.Seq, rev), created: r.Created,
			cost: r.Cost, priority: r.Priority, pending: newPending(),
		}
		x.byID[id] = e
		at, _ := slices.BinarySearchFunc(x.order, e.seq, bySeq)
		x.order = slices.Insert(x.order, at, e)
	}
	if rev <= e.rev {
		return false
	}
	e.reopen()
	now := time.Now()
	x.count(e, -1)
	x.unschedule(e)
	if e.state == 0 || e.state.Terminal() { // Deadlines are of the wall clock when they are heard of, and of ours from then on.
		e.deadline, e.waitTill = ours(r.Deadline, now), ours(r.WaitUntil, now)
	}
	if e.state != r.State {
		x.unlink(e)
		x.link(e, r)
	}
	if r.State == Running && !e.charged && r.Lease != e.lease {
		x.charge(e)
	}
	e.finished, e.apart = r.Finished, r.Result != nil && len(r.Inline) == 0
	e.charged = e.charged && (r.State == Running || e.claimed)
	e.rev, e.state, e.lease, e.cause, e.spent, e.due = rev, r.State, r.Lease, r.Cause, r.Spent, time.Time{}
	switch {
	case e.state == Queued && r.Delay > 0:
		e.due = now.Add(r.Delay)
	case e.state == Running:
		e.due = now.Add(r.LeaseFor)
	}
	x.count(e, +1)
	x.schedule(e)
	e.close()
	return true
}

// poolOf is the name of a pool, of which the jobs of it share one copy.
func (x *index) poolOf(name string) string {
	if known, ok := x.poolNames[name]; ok {
		return known
	}
	if len(x.poolNames) < maxPoolNames {
		x.poolNames[name] = name
	}
	return name
}

// maxPoolNames bounds the names of pools that are shared.
const maxPoolNames = 1 << 10

// ours is a time of the wall clock by our own clock, which nobody sets.
func ours(t, now time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return now.Add(time.Until(t))
}

func bySeq(e *entry, seq uint64) int { return cmp.Compare(e.seq, seq) }

// count adds a job to all sums, or takes it out.
func (x *index) count(e *entry, sign int) {
	if e.state == 0 {
		return
	}
	x.states[e.state] += sign
	e.tenant.states[e.state] += sign
	if e.state == Waiting || e.state == Queued {
		x.backlog += int64(sign) * e.cost
	}
	if !e.created.Before(e.tenant.window) {
		e.tenant.used += int64(sign) * e.charges()
	}
}

// charges is what the job takes from its tenant's budget.
func (e *entry) charges() int64 {
	if e.state.Terminal() {
		return e.spent
	}
	return max(e.cost, e.spent)
}

// link notes what a job needs and makes in its new state.
func (x *index) link(e *entry, r *record) {
	if r.State == Waiting {
		e.needs = r.needs()
		x.waiting[e] = struct{}{}
		x.doubt(e)
	}
	for _, m := range r.makes() {
		if r.State.Terminal() {
			x.doubtNeeders(m.Name)
		}
		if r.State != Done {
			e.makes = append(e.makes, m.Name)
		}
	}
	for _, n := range e.needs {
		add(x.needers, n, e)
	}
	for _, n := range e.makes {
		add(x.makers, n, e)
	}
}

// unlink forgets what link noted.
func (x *index) unlink(e *entry) {
	delete(x.waiting, e)
	delete(x.unsure, e)
	for _, n := range e.needs {
		remove(x.needers, n, e)
	}
	for _, n := range e.makes {
		remove(x.makers, n, e)
	}
	if e.pending != over {
		e.needs, e.makes = nil, nil
	}
}

func add(m map[Name]map[*entry]struct{}, n Name, e *entry) {
	if m[n] == nil {
		m[n] = map[*entry]struct{}{}
	}
	m[n][e] = struct{}{}
}

func remove(m map[Name]map[*entry]struct{}, n Name, e *entry) {
	delete(m[n], e)
	if len(m[n]) == 0 {
		delete(m, n)
	}
}

// doubt has the needs of a waiting job looked at.
func (x *index) doubt(e *entry) {
	x.unsure[e] = struct{}{}
	x.settleSoon()
}

func (x *index) doubtNeeders(n Name) {
	for e := range x.needers[n] {
		x.doubt(e)
	}
}

func (x *index) settleSoon() {
	close(x.stir)
	x.stir = make(chan struct{})
}

// oldest returns when the job was submitted that has been queued for longest, or
// zero.
func (x *index) oldest() time.Time {
	for _, e := range x.order {
		if e.state == Queued {
			return e.created
		}
	}
	return time.Time{}
}

// entryHeap is a heap of entries that know where they are in it.
type entryHeap struct {
	items []*entry
	less  func(a, b *entry) bool
	pos   func(*entry) *int
}

func (h *entryHeap) Len() int           { return len(h.items) }
func (h *entryHeap) Less(i, j int) bool { return h.less(h.items[i], h.items[j]) }

func (h *entryHeap) Swap(i, j int) {
	h.items[i], h.items[j] = h.items[j], h.items[i]
	*h.pos(h.items[i]), *h.pos(h.items[j]) = i, j
}

func (h *entryHeap) Push(v any) {
	e := v.(*entry)
	*h.pos(e) = len(h.items)
	h.items = append(h.items, e)
}

func (h *entryHeap) Pop() any {
	last := len(h.items) - 1
	e := h.items[last]
	h.items[last] = nil
	h.items = h.items[:last]
	*h.pos(e) = -1
	return e
}

// top returns the first entry, or nil.
func (h *entryHeap) top() *entry {
	if len(h.items) == 0 {
		return nil
	}
	return h.items[0]
}

func (h *entryHeap) insert(e *entry) { heap.Push(h, e) }

// take removes an entry if it is there.
func (h *entryHeap) take(e *entry) {
	if at := *h.pos(e); at >= 0 {
		heap.Remove(h, at)
	}
}
