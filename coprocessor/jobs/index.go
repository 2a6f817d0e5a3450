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
	byID   map[string]*entry
	order  []*entry // by seq
	ready  readyHeap
	timed  map[*entry]struct{} // to be claimed at their due time
	states [Cancelled + 1]int  // how many jobs are in each state
	wake   chan struct{}       // closed and replaced when there may be more to claim
}

// entry is one job in the index.
type entry struct {
	id      string
	seq     uint64 // revision of the submission
	rev     uint64
	created time.Time
	state   State
	lease   string
	// due is when the job may be claimed: at once when zero, after a failed
	// attempt's delay, or when its lease is given up for lost.
	due     time.Time
	claimed bool // a Claim of this Queue has it in hand
	lost    bool // its record cannot be read
	pos     int  // in ready, or -1
}

func newIndex() *index {
	return &index{byID: map[string]*entry{}, timed: map[*entry]struct{}{}, wake: make(chan struct{})}
}

// apply takes in a revision of a job and reports whether it is news.
func (x *index) apply(id string, r *record, rev uint64) bool {
	e := x.byID[id]
	if e == nil {
		e = &entry{id: id, seq: cmp.Or(r.Seq, rev), created: r.Created, pos: -1}
		x.byID[id] = e
		at, _ := slices.BinarySearchFunc(x.order, e.seq, bySeq)
		x.order = slices.Insert(x.order, at, e)
	}
	if rev <= e.rev {
		return false
	}
	if e.state != 0 {
		x.states[e.state]--
	}
	x.states[r.State]++
	e.rev, e.state, e.lease, e.due = rev, r.State, r.Lease, time.Time{}
	switch {
	case e.state == Queued && r.Delay > 0:
		e.due = time.Now().Add(r.Delay)
	case e.state == Running:
		e.due = time.Now().Add(r.LeaseFor)
	}
	x.schedule(e)
	return true
}

func bySeq(e *entry, seq uint64) int { return cmp.Compare(e.seq, seq) }

// schedule puts an entry where claim finds it, or nowhere.
func (x *index) schedule(e *entry) {
	if e.pos >= 0 {
		heap.Remove(&x.ready, e.pos)
	}
	delete(x.timed, e)
	if e.state.Terminal() || e.claimed || e.lost {
		return
	}
	if e.state == Queued && e.due.IsZero() {
		heap.Push(&x.ready, e)
	} else {
		x.timed[e] = struct{}{}
	}
	close(x.wake)
	x.wake = make(chan struct{})
}

// claim takes the oldest job that may be claimed now out of the schedule. When
// there is none it returns nil and when to ask again, zero for not before wake
// is closed.
func (x *index) claim(now time.Time) (*entry, time.Time) {
	var best *entry
	var next time.Time
	if len(x.ready) > 0 {
		best = x.ready[0]
	}
	for e := range x.timed {
		if e.due.After(now) {
			if next.IsZero() || e.due.Before(next) {
				next = e.due
			}
		} else if best == nil || e.seq < best.seq {
			best = e
		}
	}
	if best == nil {
		return nil, next
	}
	best.claimed = true
	x.schedule(best)
	return best, time.Time{}
}

// unclaim puts an entry that claim returned back into the schedule.
func (x *index) unclaim(e *entry) {
	e.claimed = false
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

// oldest returns when the job was submitted that has been queued for longest, or
// zero.
func (x *index) oldest() time.Time {
	var first *entry
	if len(x.ready) > 0 {
		first = x.ready[0]
	}
	for e := range x.timed {
		if e.state == Queued && (first == nil || e.seq < first.seq) {
			first = e
		}
	}
	if first == nil {
		return time.Time{}
	}
	return first.created
}

// readyHeap orders queued jobs by submission.
type readyHeap []*entry

func (h readyHeap) Len() int           { return len(h) }
func (h readyHeap) Less(i, j int) bool { return h[i].seq < h[j].seq }

func (h readyHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i, j
}

func (h *readyHeap) Push(v any) {
	e := v.(*entry)
	e.pos = len(*h)
	*h = append(*h, e)
}

func (h *readyHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	e.pos = -1
	return e
}
