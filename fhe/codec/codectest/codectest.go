// Package codectest helps to test decoders.
package codectest

import (
	"runtime/metrics"
	"testing"
)

// Slack is what a decoder may allocate whatever it is given, in bytes. It is generous:
// the runtime counts small objects by the span.
const Slack = 4 << 20

// Bounded runs a decoder on an input of so many bytes and fails if more than factor bytes
// for each of them, and Slack, were allocated. It must run alone, as in a fuzz target,
// where nothing else allocates.
func Bounded(tb testing.TB, size, factor int, decode func()) {
	tb.Helper()
	before := allocated()
	decode()
	if got, most := allocated()-before, uint64(size*factor+Slack); got > most {
		tb.Errorf("%d bytes were allocated for %d, at most %d are allowed", got, size, most)
	}
}

func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
