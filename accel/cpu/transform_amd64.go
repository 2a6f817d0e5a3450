//go:build amd64 && !purego

package cpu

import (
	"unsafe"

	"github.com/tacit-fhe/tacit/accel"
)

// transformPlan cuts the transforms of a ring into the passes of the vector kernels and
// lists their twiddles. The forward transform is that of ringGeneric; its last
// log2(lanes) layers work inside a vector. The inverse transform is a decimation in
// time of the cyclic transform (Cooley and Tukey, 1965), followed by the factors ψ^-i/n;
// its first log2(lanes) stages work inside a vector and have the powers of roots[1] as
// twiddles (for 8 lanes, those of roots[0]).
type transformPlan struct {
	forwards []transformPass
	// forwardLast holds, for each group of lanes blocks of lanes words, the
	// twiddles of the tree below a block, a vector with one lane for each block.
	forwardLast []uint64
	inverses    []transformPass
	// inverseLast holds, for each vector of columns j, ψ^-j, ψ^-5j, ψ^-3j and ψ^-7j
	// divided by n: the twiddles of the last two stages and the factor ψ^-j/n.
	inverseLast []uint64
	roots       [3]uint64 // ψ^-(n/4), ψ^-(n/2), ψ^-(3n/4)
}

// transformPass is one pass over a polynomial: 3 or 2 layers in blocks of 8 or 4 times
// stride words. A forward pass has the twiddles of the tree below each block, an
// inverse one vectors of the twiddles of each vector of columns, first stage first.
type transformPass struct {
	layers, blocks, stride int
	twiddles               []uint64
}

func newTransformPlan(n int, q uint64, lanes int) *transformPlan {
	p := &transformPlan{}
	psi := accel.RootOfUnity(n, q)
	powers := make([]uint64, 2*n) // ψ^i
	powers[0] = 1
	for i := 1; i < 2*n; i++ {
		powers[i] = mulMod(powers[i-1], psi, q)
	}
	inverse := func(e int) uint64 { return powers[-e&(2*n-1)] } // ψ^-e
	reversed := powersReversed(psi, n, q)
	for i := range p.roots {
		p.roots[i] = inverse((i + 1) * n / 4)
	}

	// tree returns node k >= 1 of the tree of twiddles below one of the blocks.
	tree := func(blocks, block, k int) uint64 {
		depth := log2(k)
		return reversed[(blocks+block)<<depth+k-1<<depth]
	}
	layers := log2(n / lanes)
	blocks := 1
	for _, l := range passLayers(layers, lanes) {
		pass := transformPass{layers: l, blocks: blocks, stride: n / blocks >> l}
		for i := range blocks {
			for k := 1; k < 1<<l; k++ {
				pass.twiddles = append(pass.twiddles, tree(blocks, i, k))
			}
		}
		p.forwards = append(p.forwards, pass)
		blocks <<= l
	}
	for first := 0; first < blocks; first += lanes {
		for k := 1; k < lanes; k++ {
			for lane := range lanes {
				p.forwardLast = append(p.forwardLast, tree(blocks, first+lane, k))
			}
		}
	}

	stride := lanes
	for _, l := range passLayers(layers-2, lanes) {
		pass := transformPass{layers: l, blocks: n / stride >> l, stride: stride}
		for first := 0; first < stride; first += lanes {
			for k := 1; k < 1<<l; k++ {
				// Stage log2(k) has distance stride<<log2(k); k counts its columns.
				stage := log2(k)
				for lane := range lanes {
					column := first + lane + (k-1<<stage)*stride
					pass.twiddles = append(pass.twiddles, inverse(column*(n/stride>>stage)))
				}
			}
		}
		p.inverses = append(p.inverses, pass)
		stride <<= l
	}
	nInv := powMod(uint64(n), q-2, q)
	for first := 0; first < stride; first += lanes {
		for _, factor := range []int{1, 5, 3, 7} {
			for lane := range lanes {
				p.inverseLast = append(p.inverseLast, mulMod(nInv, inverse(factor*(first+lane)), q))
			}
		}
	}
	return p
}

// passLayers splits layers >= 2 into passes of three and, at the end, two: as many of
// three as possible where 32 registers hold their groups with room to overlap, at most one
// with the 16 registers of four lanes.
func passLayers(layers, lanes int) []int {
	var passes []int
	for ; layers > 4 && (lanes == 8 || layers%2 == 1) || layers == 3; layers -= 3 {
		passes = append(passes, 3)
	}
	for ; layers > 0; layers -= 2 {
		passes = append(passes, 2)
	}
	return passes
}

// alignedWords returns n words at an address that is a multiple of 64.
func alignedWords[W uint64 | float64](n int) []W {
	s := make([]W, n+7)
	skip := -uintptr(unsafe.Pointer(unsafe.SliceData(s))) % 64 / 8
	return s[skip:][:n:n]
}

// asFloats returns the memory of s as floating-point numbers.
func asFloats(s []uint64) []float64 {
	return unsafe.Slice((*float64)(unsafe.Pointer(unsafe.SliceData(s))), len(s))
}

// prefetcher hands out the part of a key that will be needed next to the passes, each of
// which fetches half as many words as the polynomial it works on.
type prefetcher[W uint64 | float64] struct{ key []W }

// take returns the address where a pass over a starts to fetch and how many bytes it moves on
// with each group: nowhere when nothing is left.
func (p *prefetcher[W]) take(a []W, step int) (*W, int) {
	words := len(a) / 2
	if len(p.key) < words {
		return &a[0], 0
	}
	next := &p.key[0]
	p.key = p.key[words:]
	return next, step
}
