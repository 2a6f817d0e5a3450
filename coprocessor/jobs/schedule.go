package jobs

import (
	"slices"
	"time"
)

// Policy is how a tenant is treated.
type Policy struct {
	// Weight is the tenant's share of the work while others want it too, relative
	// to theirs; 0 means 1.
	Weight float64
	// Budget is what the tenant's jobs may cost in each Period; 0 is no limit.
	Budget int64
	// Period is how often the budget is whole again, counted from midnight UTC
	// and in whole periods from the beginning of our era; 0 means a day.
	Period time.Duration
	// MaxQueued bounds the tenant's jobs that wait or are queued; 0 is no limit of
	// its own.
	MaxQueued int
}

const defaultPeriod = 24 * time.Hour

func (p Policy) withDefaults() Policy {
	if p.Weight <= 0 {
		p.Weight = 1
	}
	if p.Period <= 0 {
		p.Period = defaultPeriod
	}
	return p
}

// Control is what is held back. Jobs that run go on.
type Control struct {
	// Paused holds all jobs back.
	Paused bool `json:"paused,omitempty"`
	// Tenants and Pools are those whose jobs do not start, and of which no new
	// ones are taken.
	Tenants []string `json:"tenants,omitempty"`
	Pools   []string `json:"pools,omitempty"`
}

// holds returns the error for a job that may not be submitted, or nil.
func (c *Control) holds(tenant, pool string) error {
	switch {
	case slices.Contains(c.Tenants, tenant):
		return &HeldError{"tenant", tenant}
	case pool != "" && slices.Contains(c.Pools, pool):
		return &HeldError{"pool", pool}
	}
	return nil
}

// tenant is whom jobs belong to.
type tenant struct {
	name     string
	states   counts
	reserved int   // submissions on their way
	promised int64 // what they cost

	ready  entryHeap // by priority, then by age
	finish float64   // virtual time at which what was claimed so far is paid for

	window time.Time // the start of the period that used is of
	used   int64
}

func (x *index) tenant(name string) *tenant {
	t := x.tenants[name]
	if t == nil {
		t = newTenant(name)
		x.tenants[name] = t
	}
	return t
}

func newTenant(name string) *tenant {
	return &tenant{name: name, ready: entryHeap{
		less: func(a, b *entry) bool {
			if a.priority != b.priority {
				return a.priority > b.priority
			}
			return a.seq < b.seq
		},
		pos: func(e *entry) *int { return &e.inReady },
	}}
}

// use returns what a tenant has used of its budget in the period that now is in,
// and when that ends.
func (x *index) use(t *tenant, p Policy, now time.Time) (used int64, start, end time.Time) {
	start = now.UTC().Truncate(p.Period)
	if !start.Equal(t.window) {
		t.window, t.used = start, 0
		for _, e := range x.order {
			if e.tenant == t && !e.created.Before(start) {
				t.used += e.charges()
			}
		}
	}
	return t.used, start, start.Add(p.Period)
}

// charge moves the tenant of a job that is begun on in virtual time. This is
// start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM 1996): a claim starts when
// its tenant's last one is paid for, at the rate of the tenant's weight, and not
// before the latest claim of all; the earliest start is next. The 1 is what a job
// costs by being one.
func (x *index) charge(e *entry) {
	t := e.tenant
	x.clock = max(x.clock, t.finish)
	t.finish = x.clock + float64(e.cost+1)/x.policy(t.name).withDefaults().Weight
	e.charged = true
}

// unschedule takes an entry out of where claim and settle find it.
func (x *index) unschedule(e *entry) {
	e.tenant.ready.take(e)
	if e.tenant.ready.Len() == 0 {
		delete(x.active, e.tenant)
	}
	x.timed.take(e)
	x.expiry.take(e)
}

// schedule puts an entry where claim and settle find it, or nowhere.
func (x *index) schedule(e *entry) {
	x.unschedule(e)
	if e.state.Terminal() || e.gone {
		return
	}
	if !e.expires().IsZero() {
		x.expiry.insert(e)
		if x.expiry.top() == e {
			x.settleSoon()
		}
	}
	switch {
	case e.state == Waiting, e.claimed, len(x.pools) > 0 && !slices.Contains(x.pools, e.pool):
		return
	case !e.due.IsZero() && e.due.After(time.Now()):
		x.timed.insert(e)
		if x.timed.top() != e {
			return // others are due before
		}
	case !x.control.Paused && x.control.holds(e.tenant.name, e.pool) == nil:
		e.tenant.ready.insert(e)
		x.active[e.tenant] = struct{}{}
	default:
		return
	}
	x.rouse()
}

// rouse has one of those who wait for jobs look again. Whoever finds one rouses the
// next, so that nobody sleeps while there is more.
func (x *index) rouse() {
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

// hold takes in what is held back.
func (x *index) hold(c Control) {
	x.control = c
	for _, e := range x.order {
		x.schedule(e)
	}
}

// claim takes the job that is next out of the schedule. When there is none it
// returns nil and when to ask again, zero for not before wake is closed.
func (x *index) claim(now time.Time) (*entry, time.Time) {
	for e := x.timed.top(); e != nil && !e.due.After(now); e = x.timed.top() {
		e.due = time.Time{}
		x.schedule(e)
	}
	best := x.next(now)
	if best == nil {
		if e := x.timed.top(); e != nil {
			return nil, e.due
		}
		return nil, time.Time{}
	}
	best.claimed = true
	if !best.charged || best.state == Running { // Another attempt is paid for once more.
		x.charge(best)
	}
	x.schedule(best)
	if len(x.active) > 0 || x.timed.Len() > 0 {
		x.rouse()
	}
	return best, time.Time{}
}

// first says that a new job of that record would be claimed at once: it may be, and
// nothing comes before it.
func (x *index) first(r *record) bool {
	return r.State == Queued && len(x.active) == 0 && !x.control.Paused && (len(x.pools) == 0 || slices.Contains(x.pools, r.Pool))
}

// next returns the job whose tenant is the first in virtual time, or nil. Jobs
// whose time is over are not started: they are left to settle.
func (x *index) next(now time.Time) *entry {
	for {
		var best *entry
		var start float64
		for t := range x.active {
			e, s := t.ready.top(), max(x.clock, t.finish)
			if best == nil || s < start || s == start && e.seq < best.seq {
				best, start = e, s
			}
		}
		if best == nil {
			return nil
		}
		if at := best.expires(); at.IsZero() || at.After(now) {
			return best
		}
		best.tenant.ready.take(best)
		if best.tenant.ready.Len() == 0 {
			delete(x.active, best.tenant)
		}
	}
}

// unclaim puts an entry that claim returned back into the schedule.
func (x *index) unclaim(e *entry) {
	if e.pending != over {
		e.claimed = false
		e.close()
	}
	x.schedule(e)
}

// expire makes every lease claimable now.
func (x *index) expire() {
	for _, e := range x.order {
		if e.state == Running {
			e.due = time.Time{}
			x.schedule(e)
		}
	}
}
