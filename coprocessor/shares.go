package coprocessor

import (
	"context"
	"net"
	"net/netip"
	"sync"

	"google.golang.org/grpc/codes"
)

// shares counts what callers hold, in all and by whoever holds it: an address or a
// principal. Nobody gets all there is.
type shares struct {
	limit, limitOfOne int

	mu  sync.Mutex
	all int
	of  map[string]int
}

func newShares(limit, limitOfOne int) *shares {
	return &shares{limit: limit, limitOfOne: limitOfOne, of: make(map[string]int)}
}

// begin counts one more until end is called; ok is false when there are too many.
func (c *shares) begin(who string) (end func(), ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all >= c.limit || c.of[who] >= c.limitOfOne {
		return nil, false
	}
	c.all++
	c.of[who]++
	return sync.OnceFunc(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.all--
		if c.of[who]--; c.of[who] == 0 {
			delete(c.of, who)
		}
	}), true
}

// held is how many there are.
func (c *shares) held() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all
}

// hostOf names the host that an address is of: without its port, and of IPv6 the
// network of 64 bits, which one host has all addresses of.
func hostOf(addr net.Addr) string {
	at, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return addr.String()
	}
	ip := at.Addr().Unmap().WithZone("")
	if ip.Is4() {
		return ip.String()
	}
	network, _ := ip.Prefix(64)
	return network.String()
}

// turns are places of which those who wait get one in turn: each principal its next
// call, however many calls the others have. What waits holds its request, so its bytes
// are bounded.
type turns struct {
	places            int
	limit, limitOfOne int // bytes that wait

	mu      sync.Mutex
	taken   int
	waiting int      // bytes
	order   []string // principals with calls that wait; the first is next
	queues  map[string]*turnQueue
}

type turnQueue struct {
	bytes int
	calls []*turn
}

type turn struct {
	bytes int
	mine  chan struct{} // closed when it is this one's
}

func newTurns(places, limit, limitOfOne int) *turns {
	return &turns{places: places, limit: limit, limitOfOne: limitOfOne, queues: make(map[string]*turnQueue)}
}

// begin waits for a place until ctx ends; end gives it back. size is asked only of a
// call that waits.
func (t *turns) begin(ctx context.Context, who string, size func() int) (end func(), err error) {
	t.mu.Lock()
	if t.taken < t.places {
		t.taken++
		t.mu.Unlock()
		return sync.OnceFunc(t.end), nil
	}
	t.mu.Unlock()
	me := &turn{bytes: size(), mine: make(chan struct{})}
	if err := t.wait(who, me); err != nil {
		return nil, err
	}
	select {
	case <-me.mine:
	case <-ctx.Done():
		if t.leave(who, me) {
			return nil, ctx.Err()
		}
	}
	return sync.OnceFunc(t.end), nil
}

// wait puts a call in line, or gives it a place.
func (t *turns) wait(who string, me *turn) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.taken < t.places {
		t.taken++
		close(me.mine)
		return nil
	}
	q := t.queues[who]
	if q == nil {
		q = new(turnQueue)
	}
	// A call that alone is too large waits alone.
	if len(q.calls) > 0 && (q.bytes+me.bytes > t.limitOfOne || t.waiting+me.bytes > t.limit) {
		return refuse(codes.ResourceExhausted, "TOO_MANY_CALLS", "", "%d calls of yours wait to be checked, with %d bytes", len(q.calls), q.bytes)
	}
	if len(q.calls) == 0 {
		t.order = append(t.order, who)
		t.queues[who] = q
	}
	q.calls = append(q.calls, me)
	q.bytes += me.bytes
	t.waiting += me.bytes
	return nil
}

// leave takes a call out of the line; it returns false when its turn has come.
func (t *turns) leave(who string, me *turn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	q := t.queues[who]
	if q == nil {
		return false
	}
	for i, c := range q.calls {
		if c == me {
			t.remove(who, q, i)
			if len(q.calls) == 0 {
				t.forget(who)
			}
			return true
		}
	}
	return false
}

func (t *turns) remove(who string, q *turnQueue, i int) {
	q.bytes -= q.calls[i].bytes
	t.waiting -= q.calls[i].bytes
	q.calls = append(q.calls[:i:i], q.calls[i+1:]...)
}

func (t *turns) forget(who string) {
	delete(t.queues, who)
	for i, name := range t.order {
		if name == who {
			t.order = append(t.order[:i:i], t.order[i+1:]...)
			return
		}
	}
}

// end hands a place on.
func (t *turns) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.order) == 0 {
		t.taken--
		return
	}
	who := t.order[0]
	q := t.queues[who]
	next := q.calls[0]
	t.remove(who, q, 0)
	t.order = t.order[1:]
	if len(q.calls) > 0 {
		t.order = append(t.order, who)
	} else {
		delete(t.queues, who)
	}
	close(next.mine)
}
