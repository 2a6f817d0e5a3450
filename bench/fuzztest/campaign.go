package fuzztest

import (
	"fmt"
	"path/filepath"
	"runtime/debug"
	"sync/atomic"
	"testing"
	"time"
)

const (
	// maxBlock is how many executions are measured together at most, and maxBlockBytes how many bytes of input.
	maxBlock      = 64
	maxBlockBytes = 4 << 20
	// hang is how long one execution may take. It is long, for the machine may be busy.
	hang = time.Minute
	// progressEvery is how often it is said how far the run is.
	progressEvery = 10 * time.Second
)

// campaign is a run of one target in this process, in one goroutine.
type campaign struct {
	name              string
	bound             Bound
	call              func(*testing.T, input)
	corpus            *corpus
	seed              uint64
	first, executions uint64
	seconds           uint64 // 0 for no limit

	block       uint64 // executions that are measured together
	largest     uint64 // bytes that one execution allocated, of those that were measured alone: the corpus, and what seemed much
	largestSize int    // of its input
	current     atomic.Uint64
}

// folder is where inputs that fail are written.
func (c *campaign) folder() string { return filepath.Join("testdata", "fuzz", c.name) }

// run has the executions and stops at the first one that fails.
func (c *campaign) run(t *testing.T) {
	begin := time.Now()
	fmt.Printf("fuzztest: %s: %d executions from number %d, seed %d, %d inputs to begin with\n", c.name, c.executions, c.first, c.seed, len(c.corpus.inputs))
	defer c.watch()()
	defer debug.SetGCPercent(debug.SetGCPercent(1000)) // the heap is small
	last, from, end, inputs := begin, c.first, c.first+c.executions, uint64(len(c.corpus.inputs))
	limit := time.Duration(c.seconds) * time.Second
	for from < end && !t.Failed() && (limit == 0 || time.Since(begin) < limit) {
		to := min(from+c.block, end)
		if from < inputs {
			to = from + 1
		}
		c.measured(t, from, to)
		from = to
		if time.Since(last) > progressEvery {
			last = time.Now()
			fmt.Printf("fuzztest: %s: at %d of %d, %.0f executions/s\n", c.name, from, end, float64(from-c.first)/last.Sub(begin).Seconds())
		}
	}
	if !t.Failed() {
		seconds := time.Since(begin).Seconds()
		fmt.Printf("fuzztest: %s: executions=%d seconds=%.1f largest=%d of=%d outcome=ok\n", c.name, from-c.first, seconds, c.largest, c.largestSize)
	}
}

// measured has the executions [from, to). No input exceeds its bound when all together do not exceed the constant part
// of it; when they do, they are halved until each that does is alone.
func (c *campaign) measured(t *testing.T, from, to uint64) {
	inputs := make([]input, 0, to-from)
	size := 0
	for i := from; i < to; i++ {
		in := c.corpus.at(c.seed, i)
		if size += in.size(); size > maxBlockBytes && i > from {
			c.measured(t, from, i)
			if !t.Failed() {
				c.measured(t, i, to)
			}
			return
		}
		inputs = append(inputs, in)
	}
	got := measure(func() {
		for i, in := range inputs {
			if !c.execute(t, from+uint64(i), in) {
				return
			}
		}
	})
	inputs = nil
	if t.Failed() {
		return
	}
	if got <= c.bound.Constant && to-from == c.block && c.block < maxBlock {
		c.block++
	}
	if to-from > 1 {
		if got <= c.bound.Constant {
			return
		}
		c.block = max(1, (to-from)/2)
		half := from + (to-from)/2
		c.measured(t, from, half)
		if !t.Failed() {
			c.measured(t, half, to)
		}
		return
	}
	in := c.corpus.at(c.seed, from)
	for again := 0; again < 3 && got > c.largest; again++ {
		in := c.corpus.at(c.seed, from)
		got = min(got, measure(func() { c.execute(t, from, in) }))
	}
	if got > c.largest {
		c.largest, c.largestSize = got, in.size()
	}
	if most := c.bound.of(in.size()); got > most {
		t.Errorf("%d bytes were allocated for an input of %d, at most %d are allowed", got, in.size(), most)
		c.report(t, from)
	}
}

// execute has one execution and reports whether all is well.
func (c *campaign) execute(t *testing.T, number uint64, in input) bool {
	c.current.Store(number)
	finished := false
	defer func() {
		if r := recover(); r != nil {
			t.Errorf("panic: %v\n%s", r, debug.Stack())
		} else if !finished && !t.Failed() {
			t.Error("the target ended its goroutine")
		}
		if t.Failed() {
			c.report(t, number)
		}
	}()
	c.call(t, in)
	finished = true
	return !t.Failed()
}

// report writes the input that failed to where go test finds it.
func (c *campaign) report(t *testing.T, number uint64) {
	path, err := c.corpus.at(c.seed, number).write(c.folder())
	if err != nil {
		t.Errorf("the input cannot be written: %v", err)
		return
	}
	t.Errorf("execution %d of seed %d failed; the input is %s. To repeat it:\n\tgo test -run '^%s$/%s$'", number, c.seed, path, c.name, filepath.Base(path))
}

// watch ends the process if one execution takes too long. It returns what ends the watching.
func (c *campaign) watch() (stop func()) {
	done := make(chan struct{})
	go func() {
		tick := time.NewTicker(hang)
		defer tick.Stop()
		last := ^uint64(0)
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			now := c.current.Load()
			if now == last {
				path, err := c.corpus.at(c.seed, now).write(c.folder())
				panic(fmt.Sprintf("execution %d of seed %d takes longer than %s; the input is %s (%v)", now, c.seed, hang, path, err))
			}
			last = now
		}
	}()
	return func() { close(done) }
}
