package micro

import "time"

// chain runs 8·n operations each of which needs the result of the one before and
// takes one cycle on every processor: additions and exclusive ors of 64 bits.
//
//go:noinline
func chain(x, y uint64, n int) uint64 {
	for range n {
		x = (x + y) ^ x
		x = (x + y) ^ x
		x = (x + y) ^ x
		x = (x + y) ^ x
	}
	return x
}

// clock estimates the core's clock in GHz, as it is just after warm: wide vector
// instructions and busy neighbours lower it, and a figure without the clock that
// it was taken at says nothing about another machine. Interruptions only ever make
// a chain slower, so the best of several counts.
func clock(warm func()) float64 {
	const repeat, links = 50, 20_000
	best := 0.0
	x := uint64(3)
	for range repeat {
		warm()
		start := time.Now()
		x = chain(x, 5, links)
		best = max(best, 8*links/float64(time.Since(start).Nanoseconds()))
	}
	return best
}
