//go:build amd64 && !purego

package cpu

import (
	"fmt"
	"math"
	"testing"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/accel/internal/xof"
	"golang.org/x/sys/cpu"
)

// These tests drive single kernels at the edges of the ranges that their comments
// promise to take, which whole transforms of random input never reach, and hold the
// results against the ranges that they promise to leave.

const boundsQ = 1<<48 - 393215

// forwardPass runs the layers of a forward pass on canonical residues.
func forwardPass(p transformPass, a []uint64, q uint64) {
	size := p.stride << p.layers
	for block := range p.blocks {
		tree := p.twiddles[block*(1<<p.layers-1):]
		for layer := range p.layers {
			half := size >> (layer + 1)
			for node := range 1 << layer {
				w := tree[1<<layer-1+node]
				for j := range half {
					at := block*size + node*2*half + j
					x, y := a[at], mulMod(a[at+half], w, q)
					a[at], a[at+half] = (x+y)%q, (x+q-y)%q
				}
			}
		}
	}
}

// inversePass runs the stages of an inverse pass on canonical residues.
func inversePass(p transformPass, lanes int, a []uint64, q uint64) {
	size := p.stride << p.layers
	for block := range p.blocks {
		for stage := range p.layers {
			half := p.stride << stage
			for at := block * size; at < (block+1)*size; at++ {
				column := (at - block*size) % (2 * half)
				if column >= half {
					continue
				}
				k, j := column/p.stride, column%p.stride
				w := p.twiddles[(j/lanes*(1<<p.layers-1)+1<<stage-1+k)*lanes+j%lanes]
				x, y := a[at], mulMod(a[at+half], w, q)
				a[at], a[at+half] = (x+y)%q, (x+q-y)%q
			}
		}
	}
}

// edgy returns n values below limit, many of them next to it.
func edgy(label string, n int, limit uint64) []uint64 {
	rng := xof.New(label)
	a := alignedWords[uint64](n)
	for i := range a {
		switch x := rng.Uint64(); x % 4 {
		case 0:
			a[i] = limit - 1
		case 1:
			a[i] = limit - 1 - x>>4%1024
		case 2:
			a[i] = 0
		default:
			a[i] = x >> 2 % limit
		}
	}
	return a
}

func TestIFMABounds(t *testing.T) {
	if !cpu.X86.HasAVX512F || !cpu.X86.HasAVX512IFMA {
		t.Skip("this processor has no AVX-512 IFMA")
	}
	const q = boundsQ
	check := func(t *testing.T, got, want []uint64, limit uint64) {
		t.Helper()
		for i, x := range got {
			if x &= ifmaMask52; x >= limit {
				t.Fatalf("value %d is %d, not below %d", i, x, limit)
			} else if x%q != want[i] {
				t.Fatalf("value %d is %d, want %d modulo q", i, x%q, want[i])
			}
		}
	}
	reduced := func(a []uint64) []uint64 {
		out := make([]uint64, len(a))
		for i := range a {
			out[i] = a[i] % q
		}
		return out
	}
	for _, n := range []int{256, 512, 1024, 2048, 8192} {
		r := newRingIFMA(n, q)
		c := &r.constants[0]
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			for i, p := range r.forwards {
				limit, kernel, after := uint64(16*q), ifmaForward4, uint64(10*q)
				switch {
				case i == 0:
					limit, kernel, after = 2*q, ifmaForward8First, 14*q
				case p.layers == 3:
					kernel, after = ifmaForward8, 14*q
				}
				a := edgy("forward", n, limit)
				want := reduced(a)
				forwardPass(p.transformPass, want, q)
				kernel(&a[0], &p.pairs[0], p.blocks, p.stride, c, &a[0], 0)
				check(t, a, want, after)
			}
			for _, p := range r.inverses {
				kernel, after := ifmaInverse4, uint64(10*q)
				if p.layers == 3 {
					kernel, after = ifmaInverse8, 14*q
				}
				a := edgy("inverse", n, 16*q)
				want := reduced(a)
				inversePass(p.transformPass, 8, want, q)
				kernel(&a[0], &p.pairs[0], p.blocks, p.stride, c, &a[0], 0)
				check(t, a, want, after)
			}
			// The last layers are a pass with stride 1 and whole vectors of twiddles.
			last := transformPass{layers: 3, blocks: n / 8, stride: 1}
			plan := newTransformPlan(n, q, 8)
			for i := range n / 8 * 7 {
				block, k := i/7, i%7
				last.twiddles = append(last.twiddles, plan.forwardLast[(block/8*7+k)*8+block%8])
			}
			for _, e := range []struct {
				kernel ifmaForwardLastFunc
				after  uint64
			}{{ifmaForwardLast, 13*q + 1<<24}, {ifmaForwardLastReduced, q + 1<<24}} {
				a := edgy("last", n, 16*q)
				want := reduced(a)
				forwardPass(last, want, q)
				e.kernel(&a[0], &r.forwardLast[0], n/64, c, &a[0], 0)
				check(t, a, internalOrder(want, 8), e.after)
			}
			a := edgy("publish", n, 16*q)
			want := reduced(a)
			ifmaPublish(&a[0], n/64, c)
			check(t, internalOrder(a, 8), want, q)
		})
	}
	t.Run("Multiply", func(t *testing.T) {
		const n = 256
		generic := newRingGeneric(n, q)
		for _, e := range []struct {
			rows          int
			digits, limit uint64
		}{
			{1, 13*q + 1<<24, q},
			{2, 13*q + 1<<24, 3 * q / 2},
			{3, 13*q + 1<<24, q},
			{2, q + 1<<24, 8 * q},
			{47, q + 1<<24, q},
		} {
			spec := accel.RotatorSpec{N: n, Rank: 1, Q: q, BaseLog: 1, Levels: 1}
			engine := newIFMAEngine(spec, ifmaForwardLast)
			engine.rows = e.rows
			digits := edgy("digits", e.rows*n, e.digits)
			key := edgy("key", 2*e.rows*n, e.limit)
			sums := alignedWords[uint64](2 * n)
			engine.multiply(&sums[0], &digits[0], &key[0], n/64)
			inverse := powMod(1<<52%q, q-2, q)
			for o := range 2 {
				want := make([]uint64, n)
				for i := range want {
					for row := range e.rows {
						x := digits[row*n+i] % q
						y := key[((i/64*2+o)*e.rows+row)*64+i%64] % q
						want[i] = (want[i] + mulMod(mulMod(x, y, q), inverse, q)) % q
					}
				}
				want = internalOrder(want, 8)
				generic.inverse(want)
				got := sums[o*n:][:n]
				engine.inverse(got, got, false, &prefetcher[uint64]{})
				check(t, got, want, q)
			}
		}
	})
}

// internalOrder swaps the order of accel.Ring and the internal one: it transposes
// blocks of lanes by lanes words.
func internalOrder[W any](a []W, lanes int) []W {
	out := make([]W, len(a))
	for i, x := range a {
		group, row, column := i/lanes/lanes, i/lanes%lanes, i%lanes
		out[(group*lanes+column)*lanes+row] = x
	}
	return out
}

func TestFPBounds(t *testing.T) {
	if !cpu.X86.HasAVX2 || !cpu.X86.HasFMA {
		t.Skip("this processor has no AVX2 and FMA")
	}
	const q = boundsQ
	edges := func(n int, limit float64) (a []float64, want []uint64) {
		a, want = alignedWords[float64](n), make([]uint64, n)
		for i, x := range edgy("fp", n, uint64(2*limit)) {
			a[i] = float64(x) - limit
			want[i] = uint64((int64(a[i])%q + q) % q)
		}
		return a, want
	}
	check := func(t *testing.T, got []float64, want []uint64, limit float64) {
		t.Helper()
		for i, x := range got {
			if math.Abs(x) > limit || x != math.Trunc(x) {
				t.Fatalf("value %d is %g, not an integer up to %g", i, x, limit)
			} else if y := uint64((int64(x)%q + q) % q); y != want[i] {
				t.Fatalf("value %d is %d modulo q, want %d", i, y, want[i])
			}
		}
	}
	for _, n := range []int{256, 512, 2048} {
		r := newRingFP(n, q)
		c := &r.constants[0]
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			// From 13q, three layers of butterflies stay below 16q.
			const before, after = 13.0 * q, 16.0 * q
			for _, p := range r.forwards {
				kernel := fpForward4
				if p.layers == 3 {
					kernel = fpForward8
				}
				a, want := edges(n, before)
				forwardPass(p.transformPass, want, q)
				kernel(&a[0], &p.factors[0], p.blocks, p.stride, c, &a[0], 0)
				check(t, a, want, after)
			}
			for _, p := range r.inverses {
				kernel := fpInverse4
				if p.layers == 3 {
					kernel = fpInverse8
				}
				a, want := edges(n, before)
				inversePass(p.transformPass, 4, want, q)
				kernel(&a[0], &p.factors[0], p.blocks, p.stride, c, &a[0], 0)
				check(t, a, want, after)
			}
			a, want := edges(n, 15.9*q)
			out := make([]uint64, n)
			fpExport(&out[0], &a[0], n/4, c)
			for i := range out {
				if out[i] != want[i] {
					t.Fatalf("exported value %d is %d, want %d", i, out[i], want[i])
				}
			}
		})
	}
}
