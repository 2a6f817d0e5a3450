package coprocessor

import (
	"context"
	"sync"
)

// gate is what workers pass before they look for a job. Closing it calls those
// back that look.
type gate struct {
	mu       sync.Mutex
	opened   chan struct{}   // closed while the gate is open
	look     context.Context // ends when the gate is closed
	callBack context.CancelFunc
}

func newGate() *gate {
	g := &gate{opened: make(chan struct{})}
	close(g.opened)
	g.look, g.callBack = context.WithCancel(context.Background())
	return g
}

func (g *gate) closed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.look.Err() != nil
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.look.Err() == nil {
		g.callBack()
		g.opened = make(chan struct{})
	}
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.look.Err() != nil {
		g.look, g.callBack = context.WithCancel(context.Background())
		close(g.opened)
	}
}

// pass waits until the gate is open and returns a context that ends when it is
// closed, or ctx does. done must be called.
func (g *gate) pass(ctx context.Context) (_ context.Context, done func()) {
	g.mu.Lock()
	opened := g.opened
	g.mu.Unlock()
	select {
	case <-opened:
	case <-ctx.Done():
	}
	g.mu.Lock()
	look := g.look
	g.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(look, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}
