package noise

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestLog2FailureIsContinuous(t *testing.T) {
	// log2Erfc changes its method at 20; both must agree around it.
	below, above := log2Erfc(math.Nextafter(20, 0)), log2Erfc(20)
	if math.Abs(below-above) > 1e-9 {
		t.Errorf("%v below 20, %v above", below, above)
	}
	if got, want := log2Erfc(1), math.Log2(math.Erfc(1)); got != want {
		t.Errorf("log2 erfc(1) = %v, want %v", got, want)
	}
	// erfc(100) is below the smallest float64: 2^-14436.3 by its asymptotic series.
	want := (-10000 - math.Log(100*math.Sqrt(math.Pi)) - 1/(2.0*10000)) / math.Ln2
	if got := log2Erfc(100); math.Abs(got-want) > 1e-6 {
		t.Errorf("log2 erfc(100) = %v, want %v", got, want)
	}
	if got := Log2Failure(0.1, 0); !math.IsInf(got, -1) {
		t.Errorf("without noise: %v", got)
	}
}

// TestPublishedPoint is a classic parameter set whose terms were computed apart
// from this code: log2 of the variances of its PBS, key switch and modulus
// switch, and of its failure probability at a squared norm of 25.
func TestPublishedPoint(t *testing.T) {
	const q = 1<<48 - 393215
	glwe := TUniform(3) / (float64(q) * float64(q))
	lwe := math.Ldexp(TUniform(14), -64)
	pbs := BlindRotation(Classic(862), 1, 2048, Gadget{22, 1}, glwe, q)
	ks := KeySwitch(2048, Gadget{2, 8}, lwe, q, math.Ldexp(1, 32))
	ms := ModSwitch(Classic(862), 4096)
	for _, c := range []struct {
		what      string
		got, want float64
	}{
		{"PBS", math.Log2(pbs), -28.09},
		{"key switch", math.Log2(ks), -22.78},
		{"modulus switch", math.Log2(ms), -19.83},
		{"packing", math.Log2(Packing(1, 2048, Gadget{12, 3}, glwe, q)), -38.15},
		{"rounding", math.Log2(PackedRounding(2048, 28, q)), -34.58},
		{"failure", Log2Failure(1.0/64, 25*pbs+ks+ms), -139.73},
	} {
		if math.Abs(c.got-c.want) > 0.05 {
			t.Errorf("%s: 2^%.3f, want 2^%.2f", c.what, c.got, c.want)
		}
	}
}

// TestCentredModSwitchFormulas draws rounding errors and key patterns and
// compares the variance of what centring leaves with the formulas.
func TestCentredModSwitchFormulas(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	const samples = 1 << 18
	for _, c := range []struct {
		name     string
		rotation Rotation
		errors   int // errors a step chooses among
	}{
		{"unrolled, 2", Unrolled(2, 2), 3},
		{"unrolled, 3", Unrolled(3, 3), 7},
		{"block-binary, 2", BlockBinary(2, 2), 2},
		{"block-binary, 3", BlockBinary(3, 3), 3},
		{"classic", Classic(1), 1},
	} {
		var squares float64
		for range samples {
			cases := make([]float64, c.errors+1) // the last one is no error
			mean := 0.0
			for i := range c.errors {
				cases[i] = rng.Float64() - 0.5
				mean += cases[i] / float64(len(cases))
			}
			left := cases[rng.IntN(len(cases))] - mean
			squares += left * left / samples
		}
		want := ModSwitch(c.rotation, 1) - 1.0/12 // without the body's own rounding
		if math.Abs(squares/want-1) > 0.02 {
			t.Errorf("%s: variance %v, formula %v", c.name, squares, want)
		}
	}
}

func TestCombineSources(t *testing.T) {
	a := Bound{Variance: 4, Min: -1, Max: 2, Source: 1}
	b := Bound{Variance: 9, Min: 0, Max: 3, Source: 2}
	mixed := Combine(0, Term{1, a}, Term{1, b})
	for _, c := range []struct {
		what string
		got  Bound
		want Bound
	}{
		{"independent", Combine(5, Term{2, a}, Term{-1, b}), Bound{25, 0, 9, 0}},
		{"one source keeps its name", Combine(3, Term{-2, a}), Bound{16, -1, 5, 1}},
		{"a constant", Combine(7), Bound{0, 7, 7, 0}},
		{"a noiseless term", Combine(0, Term{1, a}, Term{5, Bound{Min: 1, Max: 1}}), Bound{4, 4, 7, 1}},
		{"the same source twice", Combine(0, Term{1, a}, Term{-1, a}), Bound{16, -3, 3, 0}},
		{"the same source twice and another", Combine(0, Term{1, a}, Term{2, b}, Term{3, a}), Bound{64 + 36, -4, 14, 0}},
		{"several sources and one twice", Combine(0, Term{1, mixed}, Term{1, a}, Term{1, a}), Bound{13 + 16 + 2*4*math.Sqrt(13), -3, 9, 0}},
		{"several sources twice", Combine(0, Term{1, mixed}, Term{1, mixed}), Bound{4 * 13, -2, 10, 0}},
		{"several sources", Combine(0, Term{1, mixed}, Term{1, a}), Bound{13 + 4 + 2*2*math.Sqrt(13), -2, 7, 0}},
	} {
		if math.Abs(c.got.Variance-c.want.Variance) > 1e-9 || c.got.Min != c.want.Min || c.got.Max != c.want.Max || c.got.Source != c.want.Source {
			t.Errorf("%s: %+v, want %+v", c.what, c.got, c.want)
		}
	}
}
