//go:build slow

package suite

import (
	"testing"

	"github.com/tacit-fhe/tacit/fhe/leveled"
)

// TestEveryWorkloadOnVectors is TestVectors for every workload.
func TestEveryWorkloadOnVectors(t *testing.T) {
	for _, s := range []leveled.Scheme{leveled.BGV, leveled.BFV, leveled.CKKS} {
		testVectors(t, NewLeveled(s), smallest())
	}
}
