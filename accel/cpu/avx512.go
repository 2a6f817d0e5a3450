//go:build amd64 && !purego

package cpu

import (
	"unsafe"

	"github.com/tacit-fhe/tacit/accel"
)

// avx512 is the accel.Backend for processors with AVX-512, IFMA and
// VNNI. What its kernels do
// not cover (moduli that are not just below 2^48) is left to portable Go.
type avx512 struct{ portable }

func (avx512) Info() accel.Info {
	return accel.Info{Name: "avx512", Features: []string{"avx512f", "avx512ifma", "avx512vnni"}}
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
		return newRotatorIFMA(spec, ggsw, last), nil
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
	return newKeySwitcherPaired(spec, rows), nil
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

// ifmaPass is one pass over a polynomial: 3 or 2 layers in blocks of 8 or 4 times
// stride words.
type ifmaPass struct {
	layers, blocks, stride int
	twiddles               []uint64
}

func newRingIFMA(n int, q uint64) *ringIFMA {
	r := &ringIFMA{n: n, q: q}
	psi := accel.RootOfUnity(n, q)
	powers := make([]uint64, 2*n) // ψ^i
	powers[0] = 1
	for i := 1; i < 2*n; i++ {
		powers[i] = mulMod(powers[i-1], psi, q)
	}
	inverse := func(e int) uint64 { return powers[-e&(2*n-1)] } // ψ^-e
	reversed := powersReversed(psi, n, q)

	c := &r.constants
	for i, k := range []int{ifmaQ: 1, ifma2Q: 2, ifma4Q: 4, ifma5Q: 5, ifma6Q: 6, ifma7Q: 7, ifma8Q: 8, ifma9Q: 9} {
		c[i] = uint64(k) * q
	}
	c[ifmaNegQ] = 1<<52 - q
	c[ifmaMinus2], c[ifmaMinus4], c[ifmaMinus6] = 1<<64-2, 1<<64-4, 1<<64-6
	c[ifmaSixteen], c[ifmaThirtyTwo], c[ifmaMask] = 16, 32, ifmaMask52
	c[ifmaMu] = divide(1<<(99-64), 0, q)
	c[ifmaQInv] = inverseMod2to64(q) & ifmaMask52
	for i := range 3 {
		w := inverse((i + 1) * n / 4)
		c[ifmaRoots+2*i], c[ifmaRoots+2*i+1] = w, shoup52(w, q)
	}

	layers := log2(n) - 3
	blocks := 1
	for _, l := range passLayers(layers) {
		p := ifmaPass{layers: l, blocks: blocks, stride: n / blocks >> l}
		p.twiddles = alignedWords(blocks * (1<<l - 1) * 2)
		at := p.twiddles
		for i := range blocks {
			for k := 1; k < 1<<l; k++ {
				// k runs through the nodes of the tree below block i.
				depth := log2(k)
				w := reversed[(blocks+i)<<depth+k-1<<depth]
				at[0], at[1] = w, shoup52(w, q)
				at = at[2:]
			}
		}
		r.forwards = append(r.forwards, p)
		blocks <<= l
	}
	r.forwardLast = alignedWords(n / 64 * 7 * 16)
	for i := range n / 8 {
		for k := 1; k < 8; k++ {
			depth := log2(k)
			w := reversed[(n/8+i)<<depth+k-1<<depth]
			putVector(r.forwardLast[(i/8*7+k-1)*16:], i%8, w, q)
		}
	}

	stride := 8
	for _, l := range passLayers(layers - 2) {
		p := ifmaPass{layers: l, blocks: n / stride >> l, stride: stride}
		p.twiddles = alignedWords(stride / 8 * (1<<l - 1) * 16)
		for j := range stride {
			for k := 1; k < 1<<l; k++ {
				// Stage log2(k) has distance stride<<log2(k); k counts its columns.
				stage := log2(k)
				column := j + (k-1<<stage)*stride
				w := inverse(column * (n / stride >> stage))
				putVector(p.twiddles[(j/8*(1<<l-1)+k-1)*16:], j%8, w, q)
			}
		}
		r.inverses = append(r.inverses, p)
		stride <<= l
	}
	nInv := powMod(uint64(n), q-2, q)
	r.inverseLast = alignedWords(stride / 8 * 4 * 16)
	for j := range stride {
		for k, factor := range []int{1, 5, 3, 7} {
			w := mulMod(nInv, inverse(factor*j), q)
			putVector(r.inverseLast[(j/8*4+k)*16:], j%8, w, q)
		}
	}
	return r
}

// passLayers splits layers >= 2 into passes of three and, at the end, two.
func passLayers(layers int) []int {
	var passes []int
	for ; layers > 4 || layers == 3; layers -= 3 {
		passes = append(passes, 3)
	}
	for ; layers > 0; layers -= 2 {
		passes = append(passes, 2)
	}
	return passes
}

// putVector writes lane i of a vector of twiddles and of the vector of their companions
// behind it.
func putVector(dst []uint64, i int, w, q uint64) {
	dst[i], dst[8+i] = w, shoup52(w, q)
}

// shoup52 returns floor(w*2^52/q).
func shoup52(w, q uint64) uint64 { return divide(w>>12, w<<52, q) }

// alignedWords returns n words at an address that is a multiple of 64.
func alignedWords(n int) []uint64 {
	s := make([]uint64, n+7)
	skip := -uintptr(unsafe.Pointer(unsafe.SliceData(s))) % 64 / 8
	return s[skip:][:n:n]
}

func (r *ringIFMA) N() int          { return r.n }
func (r *ringIFMA) Modulus() uint64 { return r.q }

func (r *ringIFMA) NTT(dst, src []uint64) {
	checkLen("NTT", r.n, len(dst), len(src))
	copy(dst, src)
	r.forward(dst, ifmaForwardLast, &prefetcher{})
	ifmaPublish(&dst[0], r.n/64, &r.constants[0])
}

func (r *ringIFMA) INTT(dst, src []uint64) {
	checkLen("INTT", r.n, len(dst), len(src))
	copy(dst, src)
	ifmaInverseFirst(&dst[0], r.n/64, &r.constants[0])
	r.inverse(dst, dst, ifmaInverseLast, &prefetcher{})
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
func (r *ringIFMA) forward(a []uint64, last ifmaForwardLastFunc, p *prefetcher) {
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
		kernel(&a[0], &pass.twiddles[0], pass.blocks, pass.stride, c, next, step)
	}
	next, step := p.take(a, 256)
	last(&a[0], &r.forwardLast[0], r.n/64, c, next, step)
}

// inverse finishes the inverse transform of a after its first three stages, and
// writes or adds the result to dst with one of the kernels for the last stages.
func (r *ringIFMA) inverse(dst, a []uint64, last ifmaInverseLastFunc, p *prefetcher) {
	c := &r.constants[0]
	for _, pass := range r.inverses {
		kernel, step := ifmaInverse4, 128
		if pass.layers == 3 {
			kernel, step = ifmaInverse8, 256
		}
		next, step := p.take(a, step)
		kernel(&a[0], &pass.twiddles[0], pass.blocks, pass.stride, c, next, step)
	}
	next, step := p.take(a, 128)
	last(&dst[0], &a[0], &r.inverseLast[0], r.n/4, c, next, step)
}

// prefetcher hands out the part of a key that will be needed next to the passes, each of
// which fetches half as many words as the polynomial it works on.
type prefetcher struct{ key []uint64 }

// take returns the address where a pass over a starts to fetch and how many bytes it moves on
// with each group: nowhere when nothing is left.
func (p *prefetcher) take(a []uint64, step int) (*uint64, int) {
	words := len(a) / 2
	if len(p.key) < words {
		return &a[0], 0
	}
	next := &p.key[0]
	p.key = p.key[words:]
	return next, step
}
