package bootstrap

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tacit-fhe/tacit/fhe"
)

// clock is an engine that takes a second of (fake) time for each batch and
// records what it was given.
type clock struct {
	mu      sync.Mutex
	batches []int
	refuse  error
	panics  bool
	device  bool
	host    time.Duration // that a batch takes on a core next to the device
	helped  []int
}

func (c *clock) check([]fhe.PBS) error { return c.refuse }

func (c *clock) limits() (batch, workers int) {
	if c.device {
		return 100, 1
	}
	return MaxBatch, 0
}

func (c *clock) run(batch []*fhe.PBS) {
	c.mu.Lock()
	c.batches = append(c.batches, len(batch))
	c.mu.Unlock()
	time.Sleep(time.Second)
	if c.panics {
		panic("broken engine")
	}
	for _, task := range batch {
		task.Out = []fhe.LWE{task.In}
	}
}

func (c *clock) runOnHost(batch []*fhe.PBS) {
	c.mu.Lock()
	c.helped = append(c.helped, len(batch))
	c.mu.Unlock()
	time.Sleep(c.host)
	for _, task := range batch {
		task.Out = []fhe.LWE{task.In}
	}
}

func TestBatcherLoneTaskLeavesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &clock{}
		b := newBatcher(c, 2)
		defer b.Close()
		start := time.Now()
		tasks := make([]fhe.PBS, 1)
		if err := b.Bootstrap(t.Context(), tasks); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d != time.Second {
			t.Errorf("took %v, want the second of its own batch", d)
		}
		if tasks[0].Out == nil {
			t.Error("no output")
		}
	})
}

func TestBatcherSpreadsOverIdleWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &clock{}
		b := newBatcher(c, 2)
		defer b.Close()
		synctest.Wait() // both workers are idle
		if err := b.Bootstrap(t.Context(), make([]fhe.PBS, 9)); err != nil {
			t.Fatal(err)
		}
		if len(c.batches) != 2 || c.batches[0] != 5 || c.batches[1] != 4 {
			t.Errorf("batches %v, want 5 and 4", c.batches)
		}
	})
}

func TestBatcherMergesCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &clock{}
		b := newBatcher(c, 1)
		defer b.Close()
		start := time.Now()
		var wg sync.WaitGroup
		for range 1 + 2*MaxBatch {
			wg.Go(func() {
				if err := b.Bootstrap(t.Context(), make([]fhe.PBS, 1)); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		wg.Wait()
		// The first caller found an idle worker; all others arrived while it ran.
		want := []int{1, MaxBatch, MaxBatch}
		if len(c.batches) != 3 || c.batches[0] != want[0] || c.batches[1] != want[1] || c.batches[2] != want[2] {
			t.Errorf("batches %v, want %v", c.batches, want)
		}
		if d := time.Since(start); d != 3*time.Second {
			t.Errorf("took %v, want 3s", d)
		}
		if s := b.Stats(); s.Bootstraps != 1+2*MaxBatch || s.Batches != 3 || s.Waiting != 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

// Cores help a device where they will have done their part before it would get there, and
// nowhere else.
func TestBatcherHelpsADevice(t *testing.T) {
	for _, c := range []struct {
		host           time.Duration // of a batch of a core
		tasks, workers int
		helped         int           // at most so many batches of cores, and one at least if any
		took           time.Duration // all together, at most
	}{
		{time.Second, 100, 3, 0, time.Second},           // the device takes them at once
		{time.Second, 1000, 1, 0, 10 * time.Second},     // there is no core
		{time.Second, 200, 3, 0, 2 * time.Second},       // nothing waits when it is known how fast the device is
		{time.Second, 1000, 26, 75, 5 * time.Second},    // after the first round, up to 300 in each
		{4 * time.Second, 1000, 3, 4, 10 * time.Second}, // as long as four rounds wait
		{9 * time.Second, 1000, 3, 2, 10 * time.Second}, // until it is known how slow the cores are
	} {
		synctest.Test(t, func(t *testing.T) {
			e := &clock{device: true, host: c.host}
			b := newBatcher(e, c.workers)
			defer b.Close()
			tasks := make([]fhe.PBS, c.tasks)
			start := time.Now()
			if err := b.Bootstrap(t.Context(), tasks); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took > c.took || len(e.helped) > c.helped || len(e.helped) == 0 && c.helped > 0 {
				t.Errorf("%+v: %v, batches %v, helped %v", c, took, e.batches, e.helped)
			}
			for i := range tasks {
				if tasks[i].Out == nil {
					t.Errorf("%+v: task %d has no output", c, i)
				}
			}
			if s := b.Stats(); s.Bootstraps != int64(c.tasks) || s.Waiting != 0 {
				t.Errorf("stats %+v", s)
			}
		})
	}
}

// A device gets its own number of workers, and larger batches.
func TestBatcherFillsADevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &clock{device: true}
		b := newBatcher(c, 1)
		defer b.Close()
		if b.Full() != 100 {
			t.Errorf("full with %d", b.Full())
		}
		var wg sync.WaitGroup
		wg.Go(func() { b.Bootstrap(t.Context(), make([]fhe.PBS, 2)) })
		synctest.Wait() // the only worker has them
		for range 25 {
			wg.Go(func() {
				if err := b.Bootstrap(t.Context(), make([]fhe.PBS, 10)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if want := []int{2, 100, 100, 50}; !slices.Equal(c.batches, want) {
			t.Errorf("batches %v, want %v", c.batches, want)
		}
	})
}

func TestBatcherCancelTakesBackWaitingTasks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &clock{}
		b := newBatcher(c, 1)
		defer b.Close()
		go b.Bootstrap(t.Context(), make([]fhe.PBS, 1))
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		start := time.Now()
		err := b.Bootstrap(ctx, make([]fhe.PBS, 3))
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 500*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		// A call whose tasks already run is waited for, so that its memory is its own again.
		time.Sleep(time.Second)
		ctx, cancel = context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		start = time.Now()
		err = b.Bootstrap(ctx, make([]fhe.PBS, 3))
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if s := b.Stats(); s.Bootstraps != 4 {
			t.Errorf("%d bootstraps ran, want 4", s.Bootstraps)
		}
	})
}

func TestBatcherErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := errors.New("refused")
		c := &clock{refuse: refused}
		b := newBatcher(c, 1)
		if err := b.Bootstrap(t.Context(), make([]fhe.PBS, 1)); err != refused || len(c.batches) != 0 {
			t.Errorf("a refused input: %v, batches %v", err, c.batches)
		}
		c.refuse, c.panics = nil, true
		var panicked *PanicError
		if err := b.Bootstrap(t.Context(), make([]fhe.PBS, 1)); !errors.As(err, &panicked) || panicked.Error() != "bootstrap: the engine panicked: broken engine" {
			t.Errorf("a panic: %v", err)
		} else if !strings.Contains(string(panicked.Stack), ".go:") {
			t.Errorf("the stack: %s", panicked.Stack)
		}
		c.panics = false
		if err := b.Bootstrap(t.Context(), make([]fhe.PBS, 1)); err != nil {
			t.Errorf("after a panic: %v", err)
		}
		if err := b.Bootstrap(t.Context(), nil); err != nil {
			t.Errorf("no task: %v", err)
		}
		b.Close()
		if err := b.Bootstrap(t.Context(), make([]fhe.PBS, 1)); err != ErrClosed {
			t.Errorf("after Close: %v", err)
		}
	})
}

func TestBatcherCloseFinishesWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBatcher(&clock{}, 1)
		result := make(chan error, 1)
		go func() { result <- b.Bootstrap(t.Context(), make([]fhe.PBS, 3*MaxBatch)) }()
		synctest.Wait()
		b.Close()
		if err := <-result; err != nil {
			t.Error(err)
		}
	})
}

func TestBatcherRunsRealBootstraps(t *testing.T) {
	f := load(t, fhe.TestPreset)
	b := NewBatcher(f.eval, 2)
	defer b.Close()
	lut := f.lut(t, 0, 7, func(m int64) int64 { return m & 3 }, func(m int64) int64 { return m >> 2 })
	var wg sync.WaitGroup
	for m := range int64(8) {
		wg.Go(func() {
			tasks := []fhe.PBS{{In: f.encrypt("batcher", 7, m)[0], LUT: lut}, {In: f.encrypt("batcher", 7, 7-m)[0], LUT: lut}}
			if err := b.Bootstrap(t.Context(), tasks); err != nil {
				t.Error(err)
				return
			}
			for i, want := range []int64{m, 7 - m} {
				if got := f.keys.Secret.Decrypt(tasks[i].Out[0]) + 4*f.keys.Secret.Decrypt(tasks[i].Out[1]); got != want {
					t.Errorf("%d: got %d", want, got)
				}
			}
		})
	}
	wg.Wait()
}
