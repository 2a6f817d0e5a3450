package host

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"

	"github.com/tacit-fhe/tacit/bench/setting"
)

// heapFloor is how far the heap of a server may grow before garbage is collected, however
// little of it is in use, on machines with 16 times that.
const heapFloor = 1 << 30

// leastGrowth is how much a heap above the floor grows before garbage is collected, in
// percent of what is in use: most of that is keys that never change, next to which what
// a server allocates is little, and doubling them would be waste.
const leastGrowth = 25

// TuneCollector has the garbage of a server collected when the heap has grown by a
// quarter, but not before it has reached a floor, at most a sixteenth of the memory that
// the process may take: what a server that computes little keeps is small, and would be
// gone through some times a second. GOGC and GOMEMLIMIT, where they are set, have it
// their way.
func TuneCollector() { tuneCollector() }

var tuneCollector = sync.OnceFunc(func() {
	floor := int64(heapFloor)
	if total := setting.AllowedMemory(); total > 0 {
		floor = min(floor, total/16)
	}
	if os.Getenv("GOGC") != "" || debug.SetMemoryLimit(-1) != math.MaxInt64 {
		return
	}
	now := 0
	scanned := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"}}
	// The sentinel is garbage as soon as it is made, so its finalizer runs after every
	// collection. Smaller ones share their memory with others.
	type sentinel [16]byte
	var collected func(*sentinel)
	collected = func(s *sentinel) {
		metrics.Read(scanned)
		live := int64(scanned[0].Value.Uint64())
		if want := growth(live, int64(scanned[1].Value.Uint64()+scanned[2].Value.Uint64()), floor); 10*want > 11*now || 11*want < 10*now {
			now = want
			debug.SetGCPercent(now)
		}
		runtime.SetFinalizer(s, collected)
	}
	collected(new(sentinel))
})

// growth is how much the heap may grow, relative to what lives in it and to the stacks and
// globals, before it is collected again, in the sense of GOGC, which is relative to 4 MiB
// where those are less.
func growth(live, others, floor int64) int {
	return int(max(leastGrowth, 100*(floor-live)/max(live+others, 4<<20)))
}
