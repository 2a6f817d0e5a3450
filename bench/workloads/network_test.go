package workloads

import (
	"slices"
	"testing"
)

// TestNetwork holds the sorting networks against every sequence of zeros and ones,
// which a network that sorts them all sorts everything (Knuth, volume 3, 5.3.4).
func TestNetwork(t *testing.T) {
	for n := range 17 {
		layers := network(n)
		for x := range 1 << n {
			v := make([]int, n)
			for i := range v {
				v[i] = x >> i & 1
			}
			for _, layer := range layers {
				touched := 0
				for _, at := range layer {
					if touched>>at[0]&1 == 1 || touched>>at[1]&1 == 1 || at[0] == at[1] {
						t.Fatalf("%d wires: the layer %v touches one twice", n, layer)
					}
					touched |= 1<<at[0] | 1<<at[1]
					if v[at[0]] > v[at[1]] {
						v[at[0]], v[at[1]] = v[at[1]], v[at[0]]
					}
				}
			}
			if !slices.IsSorted(v) {
				t.Fatalf("%d wires: %0*b ends as %v", n, n, x, v)
			}
		}
	}
}
