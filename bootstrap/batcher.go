package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/tacit-fhe/tacit/fhe"
)

// ErrClosed is returned by a Batcher that was closed.
var ErrClosed = errors.New("bootstrap: the batcher is closed")

// PanicError reports a panic of the engine, which hits all tasks of a batch. The stack is for
// logs, not for callers.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string {
	return fmt.Sprintf("bootstrap: the engine panicked: %v", e.Value)
}

// engine is what a Batcher drives: *Evaluator, or a stand-in in tests.
type engine interface {
	check(tasks []fhe.PBS) error
	run(batch []*fhe.PBS)
	runOnHost(batch []*fhe.PBS)
	limits() (batch, workers int)
}

// Batcher merges the bootstraps of concurrent callers into batches that share
// one pass over the key, and spreads the batches over its workers. There is no
// timer: a worker that is free takes its share of what waits at that moment, so
// a lone bootstrap leaves at once and batches grow by themselves under load.
//
// Next to a device, the processor helps when more waits than the device takes in a round
// of whole batches: a core takes tasks from the end of the queue if it will have done
// them, by what such work has taken so far, before the device would get to them.
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
	// How long a whole batch takes, and a batch of a core that helps a device; 0 before
	// there was one.
	round, help time.Duration
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

// slowHelp is how long a core is thought to take for a batch before it has done one.
const slowHelp = time.Second

// NewBatcher starts a batcher with the given number of workers, one per core
// that it may use. Where a device computes, as many of them as keep it busy do that, and
// the others help where it pays.
func NewBatcher(e *Evaluator, workers int) *Batcher { return newBatcher(e, workers) }

func newBatcher(e engine, workers int) *Batcher {
	b := &Batcher{engine: e}
	b.wake.L = &b.mu
	var busy, helpers int
	if b.batch, busy = e.limits(); busy > 0 {
		workers, helpers = busy, workers-busy
	}
	workers = max(workers, 1)
	b.full = workers * b.batch
	for range workers {
		b.workers.Go(func() { b.work(b.take, e.run) })
	}
	for range helpers {
		b.workers.Go(func() { b.work(b.takeLast, e.runOnHost) })
	}
	return b
}

// Full is the number of ciphertexts that keeps all workers busy with whole batches.
func (b *Batcher) Full() int { return b.full }

// Bootstrap runs the tasks, together with those of other callers, and sets their
// outputs. Every input is checked before the first bootstrap: the error is a
// *TaskError. When ctx ends, tasks that have not started are taken back, those
// that run are waited for, and the error is that of ctx. A panic in the
// engine is a *PanicError of the callers it hit.
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

// work is the loop of one worker, which runs what take gives it until that is nothing.
func (b *Batcher) work(take func() (batch []queued, average *time.Duration), run func([]*fhe.PBS)) {
	var tasks []*fhe.PBS
	for {
		batch, average := take()
		if batch == nil {
			return
		}
		tasks = tasks[:0]
		for _, t := range batch {
			tasks = append(tasks, t.task)
		}
		start := time.Now()
		err := guard(run, tasks)
		took := time.Since(start)
		b.mu.Lock()
		if average != nil {
			if *average == 0 {
				*average = took
			}
			*average = (3**average + took) / 4
		}
		b.stats.Batches++
		b.stats.Bootstraps += int64(len(batch))
		for _, t := range batch {
			if err != nil {
				t.call.err = err
			}
			t.call.finish(1)
		}
		b.mu.Unlock()
		b.wake.Broadcast() // it may pay to help now
	}
}

// take waits for tasks and returns a worker's fair share of them, or nil at the
// end, and where to note how long a whole batch takes.
func (b *Batcher) take() (batch []queued, average *time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.idle++
	defer func() { b.idle-- }()
	for len(b.queue) == 0 {
		if b.done {
			return nil, nil
		}
		b.wake.Wait()
	}
	share := min((len(b.queue)+b.idle-1)/b.idle, b.batch)
	if share == b.batch {
		average = &b.round
	}
	return b.cut(0, share), average
}

// takeLast waits until it pays to help a device and returns the last tasks, or nil at
// the end, which the workers of the device bring about.
func (b *Batcher) takeLast() (batch []queued, average *time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for !b.helpPays() {
		if b.done {
			return nil, nil
		}
		b.wake.Wait()
	}
	count := min(len(b.queue), MaxBatch)
	return b.cut(len(b.queue)-count, count), &b.help
}

// helpPays says that a core will have done the last tasks before the device begins with
// them: after as many rounds as there are before them in the queue. b.mu is held.
func (b *Batcher) helpPays() bool {
	help := b.help
	if help == 0 {
		help = slowHelp
	}
	return len(b.queue) > b.full && help <= b.round*time.Duration(len(b.queue)/b.full)
}

// cut takes tasks out of the queue. b.mu is held.
func (b *Batcher) cut(first, count int) []queued {
	batch := append([]queued(nil), b.queue[first:first+count]...)
	rest := first + copy(b.queue[first:], b.queue[first+count:])
	clear(b.queue[rest:])
	b.queue = b.queue[:rest]
	return batch
}

// guard keeps a panic of the engine away from the worker.
func guard(run func([]*fhe.PBS), tasks []*fhe.PBS) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &PanicError{r, debug.Stack()}
		}
	}()
	run(tasks)
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
