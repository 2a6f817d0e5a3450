package suite

import (
	"math/bits"
	"slices"
	"sync"
	"time"
)

// The fixed work of a reference: the butterflies of a transform of so many residues
// modulo a prime, in plain Go, over 2 MiB.
// Results of different versions can be compared as long as it stays what it is.
const (
	referencePrime = 1<<48 - 393215
	referenceRoot  = 0x1234567890ab
	referenceSize  = 1 << 18
	// referenceTimes is how often it is timed each time.
	referenceTimes = 2
)

// reference times the fixed work, done by each of so many threads at the same time.
// What it takes is the machine's doing alone: its clock, and what else runs on it.
type reference struct{ memory [][]uint64 }

// time returns seconds.
func (r *reference) time(threads int) (seconds []float64) {
	for len(r.memory) < threads {
		a := make([]uint64, referenceSize)
		for i := range a {
			a[i] = uint64(i+1) * 0x9e3779b97f4a7c15 % referencePrime
		}
		r.memory = append(r.memory, a)
	}
	for range referenceTimes {
		start := time.Now()
		var wg sync.WaitGroup
		for _, a := range r.memory[:threads] {
			wg.Go(func() { butterflies(a) })
		}
		wg.Wait()
		seconds = append(seconds, time.Since(start).Seconds())
	}
	return seconds
}

// butterflies replaces pairs x, y by x + y and (x - y)·w, layer by layer, with the
// constant product of Shoup.
func butterflies(a []uint64) {
	const q, w = referencePrime, referenceRoot
	shoup, _ := bits.Div64(w, 0, q)
	for half := len(a) / 2; half > 0; half /= 2 {
		for pair := range slices.Chunk(a, 2*half) {
			left, right := pair[:half], pair[half:]
			for i, x := range left {
				y := right[i]
				sum := x + y
				if sum >= q {
					sum -= q
				}
				difference := x + q - y
				high, _ := bits.Mul64(difference, shoup)
				product := difference*w - high*q
				if product >= q {
					product -= q
				}
				left[i], right[i] = sum, product
			}
		}
	}
}
