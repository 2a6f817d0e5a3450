//go:build amd64 && !purego

package cpu

import (
	"math"

	"github.com/tacit-fhe/tacit/accel"
)

// avx2 is the accel.Backend for processors with AVX2 and FMA. Residues are integers in
// double precision, and products are exact by FMA. What its kernels do not cover is
// left to portable Go.
type avx2 struct{ portable }

func (avx2) Info() accel.Info {
	return accel.Info{Name: "avx2", Features: []string{"avx2", "fma"}}
}

func (b avx2) Ring(n int, q uint64) (accel.Ring, error) {
	if err := accel.CheckRing(n, q); err != nil {
		return nil, err
	}
	if q >= fpMaxModulus {
		return b.portable.Ring(n, q)
	}
	return newRingFP(n, q), nil
}

func (b avx2) Rotator(spec accel.RotatorSpec, ggsw func(i int, dst []uint64)) (accel.Rotator, error) {
	if err := spec.Check(); err != nil {
		return nil, err
	}
	if (spec.Rank+1)*spec.Levels > fpMaxRows {
		return b.portable.Rotator(spec, ggsw)
	}
	return newVectorRotator(spec, newFPEngine(spec), 4, ggsw), nil
}

func (b avx2) KeySwitcher(spec accel.KeySwitchSpec, rows func(i int, dst []uint32)) (accel.KeySwitcher, error) {
	if err := spec.Check(); err != nil {
		return nil, err
	}
	if spec.BaseLog > maxPairedBaseLog {
		return b.portable.KeySwitcher(spec, rows)
	}
	return newKeySwitcherPaired(spec, rows, avx2KeySwitchKernels), nil
}

// Limits of the kernels.
const (
	fpMaxModulus = 1 << 48
	fpMaxRows    = 14
)

// Constants of the kernels, in the order of the generator's avx2.go.
const (
	fpQ = iota
	fpQInv
	fpMagic
	fpOffset
	fpHalf
	fpDigitScale
	fpBase
	fpBaseInv
	fpSignMask
	fpRoots
	fpConstants = fpRoots + 6
)

// ringFP is the accel.Ring for moduli below 2^48.
type ringFP struct {
	n           int
	q           uint64
	constants   [fpConstants]float64
	forwards    []fpPass
	forwardLast []float64
	inverses    []fpPass
	inverseLast []float64
}

// fpPass is a pass with its twiddles in floating point.
type fpPass struct {
	transformPass
	factors []float64
}

func newRingFP(n int, q uint64) *ringFP {
	r := &ringFP{n: n, q: q}
	plan := newTransformPlan(n, q, 4)
	c := &r.constants
	c[fpQ], c[fpQInv] = float64(q), 1/float64(q)
	c[fpMagic], c[fpOffset], c[fpHalf] = 3<<51, 1<<52, 0.5
	c[fpSignMask] = math.Copysign(0, -1)
	for i, w := range plan.roots {
		c[fpRoots+2*i] = centered(w, q)
		c[fpRoots+2*i+1] = centered(w, q) / float64(q)
	}
	for _, p := range plan.forwards {
		r.forwards = append(r.forwards, fpPass{p, withRatios(p.twiddles, 1, q)})
	}
	r.forwardLast = withRatios(plan.forwardLast, 4, q)
	for _, p := range plan.inverses {
		r.inverses = append(r.inverses, fpPass{p, withRatios(p.twiddles, 4, q)})
	}
	r.inverseLast = withRatios(plan.inverseLast, 4, q)
	return r
}

// centered returns the representative of x < q in (-q/2, q/2).
func centered(x, q uint64) float64 {
	if x > q/2 {
		return -float64(q - x)
	}
	return float64(x)
}

// withRatios puts behind each vector of twiddles w that of the rounded w/q.
func withRatios(twiddles []uint64, lanes int, q uint64) []float64 {
	out := alignedWords[float64](2 * len(twiddles))
	for i, w := range twiddles {
		at := i + i/lanes*lanes
		out[at] = centered(w, q)
		out[at+lanes] = out[at] / float64(q)
	}
	return out
}

func (r *ringFP) N() int          { return r.n }
func (r *ringFP) Modulus() uint64 { return r.q }

func (r *ringFP) NTT(dst, src []uint64) {
	checkLen("NTT", r.n, len(dst), len(src))
	c, a := &r.constants[0], asFloats(dst)
	fpImport(&a[0], &src[0], r.n/4, c)
	r.forward(a, &prefetcher[float64]{})
	fpPublish(&a[0], r.n/16, c)
}

func (r *ringFP) INTT(dst, src []uint64) {
	checkLen("INTT", r.n, len(dst), len(src))
	c, a := &r.constants[0], asFloats(dst)
	fpImport(&a[0], &src[0], r.n/4, c)
	fpInverseFirst(&a[0], r.n/16, c)
	r.inverse(a, a, fpInverseLast, &prefetcher[float64]{})
	fpExport(&dst[0], &a[0], r.n/4, c)
}

func (r *ringFP) MulAcc(acc, a, b []uint64) {
	checkLen("MulAcc", r.n, len(acc), len(a), len(b))
	fpMulAcc(&acc[0], &a[0], &b[0], r.n/4, &r.constants[0])
}

// forward transforms a, of magnitude at most q, into internal order.
func (r *ringFP) forward(a []float64, p *prefetcher[float64]) {
	c := &r.constants[0]
	for _, pass := range r.forwards {
		kernel, step := fpForward4, 64
		if pass.layers == 3 {
			kernel, step = fpForward8, 128
		}
		next, step := p.take(a, step)
		kernel(&a[0], &pass.factors[0], pass.blocks, pass.stride, c, next, step)
	}
	next, step := p.take(a, 64)
	fpForwardLast(&a[0], &r.forwardLast[0], r.n/16, c, next, step)
}

// fpInverseLastFunc is a kernel for the last stages of the inverse transform.
type fpInverseLastFunc func(dst, a, tw *float64, stride int, c, next *float64, step int)

// inverse finishes the inverse transform of a after its first two stages, and
// writes or adds the result to dst with one of the kernels for the last stages.
func (r *ringFP) inverse(dst, a []float64, last fpInverseLastFunc, p *prefetcher[float64]) {
	c := &r.constants[0]
	for _, pass := range r.inverses {
		kernel, step := fpInverse4, 64
		if pass.layers == 3 {
			kernel, step = fpInverse8, 128
		}
		next, step := p.take(a, step)
		kernel(&a[0], &pass.factors[0], pass.blocks, pass.stride, c, next, step)
	}
	next, step := p.take(a, 64)
	last(&dst[0], &a[0], &r.inverseLast[0], r.n/4, c, next, step)
}
