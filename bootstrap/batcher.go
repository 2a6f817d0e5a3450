package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/tacit-fhe/tacit/fhe"
)

// ErrClosed is returned by a Batcher that was closed.
var ErrClosed = errors.New("bootstrap: the batcher is closed")

// engine is what a Batcher drives: *Evaluator, or a stand-in in tests.
type engine interface {
	check(tasks []fhe.PBS) error
	run(batch []*fhe.PBS)
	limits() (batch, workers int)
}

// Batcher merges the bootstraps of concurrent callers into batches that share
// one pass over the key, and spreads the batches over its workers. There is no
// timer: a worker that is free takes its share of what waits at that moment, so
// a lone bootstrap leaves at once and batches grow by themselves under load.
type Batcher struct {
	engine  engine
	batch   int // most ciphertexts of a worker at a time
	full    int // of all workers
	workers sync.WaitGroup

	mu    sync.Mutex
	wake  sync.Cond // workers wait for tasks or the end
	queue []queued  // first come, first served
	idle  int
	done  bool
	stats Stats
}

// queued is one task of a call.
type queued struct {
	task *fhe.PBS
	call *call
}

// call is one Bootstrap: it ends when nothing of it waits or runs.
type call struct {
	left int // tasks neither finished nor taken back; guarded by Batcher.mu
	err  error
	end  chan struct{}
}

// Stats counts what a Batcher did.
type Stats struct {
	Bootstraps int64 // ciphertexts bootstrapped
	Batches    int64 // passes over the key
	Waiting    int   // ciphertexts in the queue now
}

// NewBatcher starts a batcher with the given number of workers, one per core
// that it may use. Where a device computes, there are as many workers as keep it busy
// instead.
func NewBatcher(e *Evaluator, workers int) *Batcher { return newBatcher(e, workers) }

func newBatcher(e engine, workers int) *Batcher {
	b := &Batcher{engine: e}
	b.wake.L = &b.mu
	var busy int
	if b.batch, busy = e.limits(); busy > 0 {
		workers = busy
	}
	workers = max(workers, 1)
	b.full = workers * b.batch
	for range workers {
		b.workers.Go(b.work)
	}
	return b
}

// Full is the number of ciphertexts that keeps all workers busy with whole batches.
func (b *Batcher) Full() int { return b.full }

// Bootstrap runs the tasks, together with those of other callers, and sets their
// outputs. Every input is checked before the first bootstrap: the error is a
// *TaskError. When ctx ends, tasks that have not started are taken back, those
// that run are waited for, and the error is that of ctx. A panic in the
// engine is returned as an error to the callers it hit.
func (b *Batcher) Bootstrap(ctx context.Context, tasks []fhe.PBS) error {
	if err := b.engine.check(tasks); err != nil {
		return err
	}
	if len(tasks) == 0 {
		return nil
	}
	c := &call{left: len(tasks), end: make(chan struct{})}
	b.mu.Lock()
	if b.done {
		b.mu.Unlock()
		return ErrClosed
	}
	for i := range tasks {
		b.queue = append(b.queue, queued{&tasks[i], c})
	}
	b.mu.Unlock()
	b.wake.Broadcast()
	select {
	case <-c.end:
		return c.err
	case <-ctx.Done():
	}
	b.takeBack(c)
	<-c.end
	return ctx.Err()
}

// takeBack removes the waiting tasks of a call from the queue.
func (b *Batcher) takeBack(c *call) {
	b.mu.Lock()
	defer b.mu.Unlock()
	kept := b.queue[:0]
	for _, t := range b.queue {
		if t.call != c {
			kept = append(kept, t)
		}
	}
	taken := len(b.queue) - len(kept)
	clear(b.queue[len(kept):])
	b.queue = kept
	if taken > 0 {
		c.finish(taken)
	}
}

// finish marks tasks as settled; Batcher.mu is held.
func (c *call) finish(tasks int) {
	if c.left -= tasks; c.left == 0 {
		close(c.end)
	}
}

// work is the loop of one worker.
func (b *Batcher) work() {
	tasks := make([]*fhe.PBS, 0, b.batch)
	for {
		batch := b.take()
		if batch == nil {
			return
		}
		tasks = tasks[:0]
		for _, t := range batch {
			tasks = append(tasks, t.task)
		}
		err := b.run(tasks)
		b.mu.Lock()
		b.stats.Batches++
		b.stats.Bootstraps += int64(len(batch))
		for _, t := range batch {
			if err != nil {
				t.call.err = err
			}
			t.call.finish(1)
		}
		b.mu.Unlock()
	}
}

// take waits for tasks and returns a worker's fair share of them, or nil at the
// end.
func (b *Batcher) take() []queued {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.idle++
	defer func() { b.idle-- }()
	for len(b.queue) == 0 {
		if b.done {
			return nil
		}
		b.wake.Wait()
	}
	share := min((len(b.queue)+b.idle-1)/b.idle, b.batch)
	batch := append([]queued(nil), b.queue[:share]...)
	rest := copy(b.queue, b.queue[share:])
	clear(b.queue[rest:])
	b.queue = b.queue[:rest]
	return batch
}

// run keeps a panic of the engine away from the worker.
func (b *Batcher) run(tasks []*fhe.PBS) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("bootstrap: the engine panicked: %v\n%s", r, debug.Stack())
		}
	}()
	b.engine.run(tasks)
	return nil
}

// Stats returns a snapshot of the counters.
func (b *Batcher) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.stats
	s.Waiting = len(b.queue)
	return s
}

// Close lets the workers finish what waits, stops them and waits for them.
func (b *Batcher) Close() {
	b.mu.Lock()
	b.done = true
	b.mu.Unlock()
	b.wake.Broadcast()
	b.workers.Wait()
}
