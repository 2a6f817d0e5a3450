package noise

import (
	"math"
	"testing"
)

// TestDigits decomposes every residue of small gadgets by the rule of package
// accel and compares the sum of squares with the formula.
func TestDigits(t *testing.T) {
	for _, g := range []Gadget{{1, 1}, {1, 5}, {2, 1}, {2, 2}, {2, 8}, {3, 4}, {5, 1}, {5, 3}, {4, 4}, {11, 1}} {
		base := 1 << g.BaseLog
		half := 1 << (g.BaseLog*g.Levels - 1)
		sum := 0.0
		for v := 1 - half; v <= half; v++ {
			rest := max(v, -v)
			for range g.Levels - 1 {
				d := rest % base
				rest /= base
				if d > base/2 {
					d, rest = d-base, rest+1
				}
				sum += float64(d * d)
			}
			sum += float64(rest * rest)
		}
		if want := sum / float64(2*half); math.Abs(g.Digits()-want) > 1e-9*want {
			t.Errorf("%+v: %v, counted %v", g, g.Digits(), want)
		}
	}
}
