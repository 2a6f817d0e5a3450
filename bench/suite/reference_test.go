package suite

import (
	"math/big"
	"testing"
)

// TestButterflies holds the fixed work against the transform's definition: after all
// layers, element i is a sum of all, each with a power of w.
func TestButterflies(t *testing.T) {
	a := []uint64{3, referencePrime - 1, 5, 7}
	q, w := big.NewInt(referencePrime), big.NewInt(referenceRoot)
	mod := func(x *big.Int) *big.Int { return new(big.Int).Mod(x, q) }
	half := func(x, y *big.Int) (*big.Int, *big.Int) {
		d := new(big.Int).Sub(x, y)
		return mod(new(big.Int).Add(x, y)), mod(d.Mul(d, w))
	}
	var x [4]*big.Int
	for i, v := range a {
		x[i] = new(big.Int).SetUint64(v)
	}
	x[0], x[2] = half(x[0], x[2])
	x[1], x[3] = half(x[1], x[3])
	x[0], x[1] = half(x[0], x[1])
	x[2], x[3] = half(x[2], x[3])
	butterflies(a)
	for i, want := range x {
		if a[i] != want.Uint64() {
			t.Errorf("element %d is %d, want %v", i, a[i], want)
		}
	}
}

// TestReference expects a time for each repetition, of any number of threads.
func TestReference(t *testing.T) {
	var r reference
	for _, threads := range []int{1, 3, 2} {
		if got := r.time(threads); len(got) != referenceTimes || !(got[0] > 0) {
			t.Errorf("%d threads: %v", threads, got)
		}
	}
}

func BenchmarkReference(b *testing.B) {
	var r reference
	for b.Loop() {
		r.time(1)
	}
}
