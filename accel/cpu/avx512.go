//go:build amd64 && !purego

package cpu

import "github.com/tacit-fhe/tacit/accel"

// avx512 is the accel.Backend for processors with AVX-512, IFMA, VBMI and VNNI. What its
// kernels do not cover, above all moduli that are not just below 2^48, is left to
// portable Go.
type avx512 struct{ portable }

func (avx512) Info() accel.Info {
	return accel.Info{Name: "avx512", Features: []string{"avx512f", "avx512ifma", "avx512vbmi", "avx512vnni"}}
}

func (b avx512) Ring(n int, q uint64) (accel.Ring, error) {
	if err := accel.CheckRing(n, q); err != nil {
		return nil, err
	}
	if !ifmaModulus(q) {
		return b.portable.Ring(n, q)
	}
	return newRingIFMA(n, q), nil
}

func (b avx512) Rotator(spec accel.RotatorSpec, ggsw func(i int, dst []uint64)) (accel.Rotator, error) {
	if err := spec.Check(); err != nil {
		return nil, err
	}
	if last := ifmaForwardLastFor(spec); last != nil && ifmaModulus(spec.Q) {
		return newVectorRotator(spec, newIFMAEngine(spec, last), 8, ggsw), nil
	}
	return b.portable.Rotator(spec, ggsw)
}

func (b avx512) KeySwitcher(spec accel.KeySwitchSpec, rows func(i int, dst []uint32)) (accel.KeySwitcher, error) {
	if err := spec.Check(); err != nil {
		return nil, err
	}
	if spec.BaseLog > maxPairedBaseLog {
		return b.portable.KeySwitcher(spec, rows)
	}
	return newKeySwitcherPaired(spec, rows, avx512KeySwitchKernels), nil
}

// ifmaModulus reports whether the kernels compute modulo q: the bounds of the
// generator ask for 2^48 - 2^20 <= q < 2^48.
func ifmaModulus(q uint64) bool { return q < 1<<48 && q >= 1<<48-1<<20 }

// Constants of the kernels, in the order of the generator's avx512.go.
const (
	ifmaQ = iota
	ifma2Q
	ifma4Q
	ifma5Q
	ifma6Q
	ifma7Q
	ifma8Q
	ifma9Q
	ifmaNegQ
	ifmaMinus2
	ifmaMinus4
	ifmaMinus6
	ifmaSixteen
	ifmaThirtyTwo
	ifmaMask
	ifmaMu
	ifmaQInv
	ifmaDigitAdd
	ifmaDigitSub
	ifmaDigitLow
	ifmaDigitHigh
	ifmaDigitShift
	ifmaDigitBase
	ifmaSplitAdd
	ifmaSplitShift
	ifmaRoots
	ifmaConstants = ifmaRoots + 6
)

const ifmaMask52 = 1<<52 - 1

// ringIFMA is the accel.Ring for moduli just below 2^48.
type ringIFMA struct {
	n           int
	q           uint64
	constants   [ifmaConstants]uint64
	forwards    []ifmaPass
	forwardLast []uint64
	inverses    []ifmaPass
	inverseLast []uint64
}

// ifmaPass is a pass with its twiddles and their companions.
type ifmaPass struct {
	transformPass
	pairs []uint64
}

func newRingIFMA(n int, q uint64) *ringIFMA {
	r := &ringIFMA{n: n, q: q}
	plan := newTransformPlan(n, q, 8)
	c := &r.constants
	for i, k := range []int{ifmaQ: 1, ifma2Q: 2, ifma4Q: 4, ifma5Q: 5, ifma6Q: 6, ifma7Q: 7, ifma8Q: 8, ifma9Q: 9} {
		c[i] = uint64(k) * q
	}
	c[ifmaNegQ] = 1<<52 - q
	c[ifmaMinus2], c[ifmaMinus4], c[ifmaMinus6] = 1<<64-2, 1<<64-4, 1<<64-6
	c[ifmaSixteen], c[ifmaThirtyTwo], c[ifmaMask] = 16, 32, ifmaMask52
	c[ifmaMu] = divide(1<<(99-64), 0, q)
	c[ifmaQInv] = inverseMod2to64(q) & ifmaMask52
	for i, w := range plan.roots {
		c[ifmaRoots+2*i], c[ifmaRoots+2*i+1] = w, shoup52(w, q)
	}
	for _, p := range plan.forwards {
		r.forwards = append(r.forwards, ifmaPass{p, withCompanions(p.twiddles, 1, q)})
	}
	r.forwardLast = withCompanions(plan.forwardLast, 8, q)
	for _, p := range plan.inverses {
		r.inverses = append(r.inverses, ifmaPass{p, withCompanions(p.twiddles, 8, q)})
	}
	r.inverseLast = withCompanions(plan.inverseLast, 8, q)
	return r
}

// withCompanions puts behind each vector of twiddles w that of floor(w*2^52/q).
func withCompanions(twiddles []uint64, lanes int, q uint64) []uint64 {
	out := alignedWords[uint64](2 * len(twiddles))
	for i, w := range twiddles {
		at := i + i/lanes*lanes
		out[at], out[at+lanes] = w, shoup52(w, q)
	}
	return out
}

// shoup52 returns floor(w*2^52/q).
func shoup52(w, q uint64) uint64 { return divide(w>>12, w<<52, q) }

func (r *ringIFMA) N() int          { return r.n }
func (r *ringIFMA) Modulus() uint64 { return r.q }

func (r *ringIFMA) NTT(dst, src []uint64) {
	checkLen("NTT", r.n, len(dst), len(src))
	copy(dst, src)
	r.forward(dst, ifmaForwardLast, &prefetcher[uint64]{})
	ifmaPublish(&dst[0], r.n/64, &r.constants[0])
}

func (r *ringIFMA) INTT(dst, src []uint64) {
	checkLen("INTT", r.n, len(dst), len(src))
	copy(dst, src)
	ifmaInverseFirst(&dst[0], r.n/64, &r.constants[0])
	r.inverse(dst, dst, ifmaInverseLast, &prefetcher[uint64]{})
}

func (r *ringIFMA) MulAcc(acc, a, b []uint64) {
	checkLen("MulAcc", r.n, len(acc), len(a), len(b))
	ifmaMulAcc(&acc[0], &a[0], &b[0], r.n/8, &r.constants[0])
}

// ifmaForwardLastFunc is a kernel for the last layers of the forward transform.
type ifmaForwardLastFunc func(a, tw *uint64, groups int, c, next *uint64, step int)

// ifmaInverseLastFunc is a kernel for the last stages of the inverse transform.
type ifmaInverseLastFunc func(dst, a, tw *uint64, stride int, c, next *uint64, step int)

// forward transforms a, values below 2q, with one of the kernels for the last
// layers.
func (r *ringIFMA) forward(a []uint64, last ifmaForwardLastFunc, p *prefetcher[uint64]) {
	c := &r.constants[0]
	for i, pass := range r.forwards {
		kernel, step := ifmaForward4, 128
		switch {
		case i == 0:
			kernel, step = ifmaForward8First, 256
		case pass.layers == 3:
			kernel, step = ifmaForward8, 256
		}
		next, step := p.take(a, step)
		kernel(&a[0], &pass.pairs[0], pass.blocks, pass.stride, c, next, step)
	}
	next, step := p.take(a, 256)
	last(&a[0], &r.forwardLast[0], r.n/64, c, next, step)
}

// inverse finishes the inverse transform of a after its first three stages, and
// writes or adds the result to dst with one of the kernels for the last stages.
func (r *ringIFMA) inverse(dst, a []uint64, last ifmaInverseLastFunc, p *prefetcher[uint64]) {
	c := &r.constants[0]
	for _, pass := range r.inverses {
		kernel, step := ifmaInverse4, 128
		if pass.layers == 3 {
			kernel, step = ifmaInverse8, 256
		}
		next, step := p.take(a, step)
		kernel(&a[0], &pass.pairs[0], pass.blocks, pass.stride, c, next, step)
	}
	next, step := p.take(a, 128)
	last(&dst[0], &a[0], &r.inverseLast[0], r.n/4, c, next, step)
}
