package load

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/tacit-fhe/tacit/bench/setting"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// Memory is what the process takes, service and callers, after a round: when the jobs that
// are not kept are removed, and after garbage collections.
type Memory struct {
	Kept       int    `json:"jobs_kept"`                      // that have ended
	Live       uint64 `json:"live_bytes_after"`               // objects on the heap
	Heap       uint64 `json:"heap_bytes_after"`               // the spans of the heap that these lie in
	Resident   int64  `json:"resident_bytes_after,omitempty"` // the resident set; absent where it cannot be told
	Goroutines int    `json:"goroutines_after"`
}

// Growth says how memory goes on: what the rounds of the last half have, by their means,
// over those of the first half, and the slope of a line through those of the last half.
type Growth struct {
	Live       float64 `json:"live"`          // 0.01 is 1 % more
	Resident   float64 `json:"resident"`      // likewise
	Goroutines float64 `json:"goroutines"`    // likewise
	PerJob     float64 `json:"bytes_per_job"` // of live objects, for each job that was computed
}

// trimmed is how many more jobs than are kept a service may have.
func trimmed(keep int) int { return keep + keep/16 }

// settleTime bounds how long the service is given to remove jobs.
const settleTime = time.Minute

// settle waits until the service has removed the jobs that it does not keep.
func (b *bench) settle(ctx context.Context) (m Memory, err error) {
	for begin := time.Now(); ; {
		status, err := b.root.Status(ctx)
		if err != nil {
			return m, err
		}
		m.Kept = 0
		for _, c := range status.Jobs {
			switch c.State {
			case tacitv1.JobState_JOB_STATE_SUCCEEDED, tacitv1.JobState_JOB_STATE_FAILED, tacitv1.JobState_JOB_STATE_CANCELLED:
				m.Kept += int(c.Count)
			}
		}
		if b.KeepJobs == 0 || m.Kept <= trimmed(b.KeepJobs) || time.Since(begin) > settleTime {
			break
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return m, ctx.Err()
		}
	}
	runtime.GC()
	runtime.GC() // what pools held
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	m.Live, m.Heap, m.Resident, m.Goroutines = s.HeapAlloc, s.HeapInuse, setting.ResidentMemory(), runtime.NumGoroutine()
	return m, nil
}

// memory lists what was measured after the rounds.
func (r *Report) memory() (list []Memory) {
	for _, x := range r.Rounds {
		list = append(list, x.Memory)
	}
	for _, x := range r.Flows {
		list = append(list, x.Memory)
	}
	return list
}

// growth compares the halves of a run of rounds of so many jobs; nil for less than four.
func growth(list []Memory, jobs int) *Growth {
	n := len(list)
	if n < 4 {
		return nil
	}
	first, last := list[:n/2], list[n-n/2:]
	over := func(of func(Memory) float64) float64 {
		a, b := mean(first, of), mean(last, of)
		if a == 0 {
			return 0
		}
		return b/a - 1
	}
	live := func(m Memory) float64 { return float64(m.Live) }
	g := &Growth{
		Live:       over(live),
		Resident:   over(func(m Memory) float64 { return float64(m.Resident) }),
		Goroutines: over(func(m Memory) float64 { return float64(m.Goroutines) }),
	}
	// Least squares, over the numbers of the rounds.
	middle, level := float64(len(last)-1)/2, mean(last, live)
	var xy, xx float64
	for i, m := range last {
		x := float64(i) - middle
		xy += x * (live(m) - level)
		xx += x * x
	}
	g.PerJob = xy / xx / float64(jobs)
	return g
}

func mean(list []Memory, of func(Memory) float64) (sum float64) {
	for _, m := range list {
		sum += of(m)
	}
	return sum / float64(len(list))
}

// memoryMarkdown writes what was measured after the rounds.
func (r *Report) memoryMarkdown(b *bytes.Buffer) {
	kept := "all jobs that have ended are kept"
	if r.KeepJobs > 0 {
		kept = fmt.Sprintf("%d jobs that have ended are kept, and up to a sixteenth more", r.KeepJobs)
	}
	fmt.Fprintf(b, "\n| after round | jobs kept | live heap | heap in use | resident | goroutines |\n|---|---|---|---|---|---|\n")
	for i, m := range r.memory() {
		fmt.Fprintf(b, "| %d | %d | %.1f MB | %.1f MB | %.1f MB | %d |\n", i+1, m.Kept, float64(m.Live)/1e6, float64(m.Heap)/1e6, float64(m.Resident)/1e6, m.Goroutines)
	}
	fmt.Fprintf(b, "\nMemory is that of the service and its callers, after garbage collections; %s.\n", kept)
	if g := r.Growth; g != nil {
		fmt.Fprintf(b, "The last half of the rounds over the first: live heap %+.1f %%, resident %+.1f %%, goroutines %+.1f %%. Within the last\nhalf, the live heap changes by %+.0f bytes for each job.\n",
			100*g.Live, 100*g.Resident, 100*g.Goroutines, g.PerJob)
	}
}
