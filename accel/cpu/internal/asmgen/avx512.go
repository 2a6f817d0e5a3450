package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
	"github.com/mmcloughlin/avo/x86"
)

// Offsets into the constants that every kernel gets, in words. Package cpu fills
// them in the same order (ifmaConstants).
const (
	constQ = iota
	const2Q
	const4Q
	const5Q
	const6Q
	const7Q
	const8Q
	const9Q
	constNegQ   // 2^52 - q
	constMinus2 // -2, -4, -6: the start of a reduction that adds 2q, 4q, 6q
	constMinus4
	constMinus6
	constSixteen   // 16
	constThirtyTwo // 32
	constMask      // 2^52 - 1
	constMu        // floor(2^99/q)
	constQInv      // q^-1 mod 2^52
	constDigitAdd  // see digits
	constDigitSub
	constDigitLow
	constDigitHigh
	constDigitShift
	constDigitBase
	constSplitAdd   // 2^(b-1) - 1
	constSplitShift // b
	constRoots      // pairs of ψ^-(n/4), ψ^-(n/2), ψ^-(3n/4)
)

// avx512 writes the kernels for AVX-512 with IFMA.
//
// Every vector holds eight residues modulo a prime q just below 2^48, so that
// 2^52 - 2^24 < 16q < 2^52. A residue is represented by any value below 16q in the
// low 52 bits of its lane; the upper 12 bits hold carries that mean nothing, and
// IFMA does not read them. Additions and subtractions are those of Z/2^52.
//
// mul(y, w) with y < 2^52 and p = floor(w*2^52/q): t = floor(y*p/2^52), and
// y*w - t*q < q*(1 + y/2^52) < 2q. It is three IFMAs and may start from any
// accumulator, so adding a multiple of q to a product is free.
//
// reduce(x, c): t = floor(x/2^48) = floor(16x/2^52) <= 15, and
// x - t*q + c*q = (x mod 2^48) + t*(2^48-q) + c*q. This lies in
// [cq, (c+1)q + 2^24), because 16*(2^48-q) <= 2^24; package cpu checks q for
// that. The bounds below count in units of q and write ε for such an excess; a bound
// that reaches 16 never has an ε.
//
// The butterfly is (x, y) -> (x + mul(y,w), x - mul(y,w)): three IFMAs, an
// addition and a subtraction. The difference may not become negative, so x carries
// a bias, a multiple of q, from the start of a pass: as many times 2q as there
// are subtractions ahead of it.
func avx512() {
	forward8("ifmaForward8First", false)
	forward8("ifmaForward8", true)
	forward4()
	forwardLast("ifmaForwardLast", false)
	forwardLast("ifmaForwardLastReduced", true)
	publish()
	inverseFirst()
	multiplyInverseFirst()
	monomials()
	combine()
	inverse8()
	inverse4()
	inverseLast("ifmaInverseLast", false)
	inverseLast("ifmaInverseLastAdd", true)
	digits()
	split()
	mulAcc()
	for _, batch := range []int{1, 2, 4} {
		keySwitch(batch)
	}
}

// pair is a twiddle: w and floor(w*2^52/q), both memory operands, broadcast or
// whole vectors.
type pair struct {
	w, p      Mem
	broadcast bool
}

func bcast(base Register, disp int) pair {
	return pair{Mem{Base: base, Disp: disp}, Mem{Base: base, Disp: disp + 8}, true}
}

func whole(base Register, disp int) pair {
	return pair{Mem{Base: base, Disp: disp}, Mem{Base: base, Disp: disp + 64}, false}
}

// constants loads and keeps the constants a kernel uses.
type constants struct {
	base gp
	have map[int]vec
}

// needing returns a function that loads the constants of a pass.
func needing(indices ...int) func() *constants {
	return func() *constants {
		c := loadConstants()
		c.need(indices...)
		return c
	}
}

func loadConstants() *constants {
	return &constants{Load(Param("c"), GP64()).(gp), map[int]vec{}}
}

// need broadcasts constants; it must run before the loops.
func (c *constants) need(indices ...int) {
	for _, i := range indices {
		v := ZMM()
		VPBROADCASTQ(Mem{Base: c.base, Disp: 8 * i}, v)
		c.have[i] = v
	}
}

func (c *constants) get(i int) vec {
	v, ok := c.have[i]
	if !ok {
		panic(fmt.Sprintf("constant %d was not loaded", i))
	}
	return v
}

// root returns ψ^-(i*n/4), i = 1, 2, 3.
func (c *constants) root(i int) pair { return bcast(c.base, 8*constRoots+16*(i-1)) }

// zero returns a cleared vector. The library does not know that VPXORQ of a register
// with itself reads nothing, and would keep the register alive in loops.
func zero() vec {
	v := ZMM()
	clear, err := x86.VPXORQ(v, v, v)
	if err != nil {
		panic(err)
	}
	clear.Inputs = nil
	Instruction(clear)
	return v
}

func copyOf(v vec) vec {
	d := ZMM()
	VMOVDQA64(v, d)
	return d
}

func load(m Mem) vec {
	v := ZMM()
	VMOVDQU64(m, v)
	return v
}

func store(v vec, m Mem) { VMOVDQU64(v, m) }

func (p pair) hi(y, acc vec) {
	if p.broadcast {
		VPMADD52HUQ_BCST(p.p, y, acc)
	} else {
		VPMADD52HUQ(p.p, y, acc)
	}
}

func (p pair) lo(y, acc vec) {
	if p.broadcast {
		VPMADD52LUQ_BCST(p.w, y, acc)
	} else {
		VPMADD52LUQ(p.w, y, acc)
	}
}

// mulInto does acc += y*w mod q, a value below 2q.
func (c *constants) mulInto(acc, y vec, w pair) {
	t := zero()
	w.hi(y, t)
	w.lo(y, acc)
	VPMADD52LUQ(c.get(constNegQ), t, acc)
}

// mul returns y*w mod q plus a multiple of q, the constant bias (0 for none).
func (c *constants) mul(y vec, w pair, bias int) vec {
	acc := zero()
	if bias != 0 {
		acc = copyOf(c.get(bias))
	}
	c.mulInto(acc, y, w)
	return acc
}

// butterfly does (x, y) = (x + y*w, x - y*w).
func (c *constants) butterfly(x, y vec, w pair) {
	twice := ZMM()
	VPADDQ(x, x, twice)
	c.mulInto(x, y, w)
	VPSUBQ(x, twice, y)
}

// trivial does (x, y) = (x + y, x - y).
func trivial(x, y *vec) {
	d := ZMM()
	VPSUBQ(*y, *x, d)
	VPADDQ(*y, *x, *x)
	*y = d
}

// reduce reduces x and adds a multiple of q; bias is 0 or the constant -c.
func (c *constants) reduce(x vec, bias int) {
	t := zero()
	if bias != 0 {
		t = copyOf(c.get(bias))
	}
	VPMADD52HUQ(c.get(constSixteen), x, t)
	VPMADD52LUQ(c.get(constNegQ), t, x)
}

// once subtracts the constant from x if x is not below it; x has no carries in
// its upper bits.
func (c *constants) once(x vec, constant int) {
	d := ZMM()
	VPSUBQ(c.get(constant), x, d)
	VPMINUQ(d, x, x)
}

// loadGroup loads the elements of a group.
func loadGroup(s strided, radix int) []vec {
	x := make([]vec, radix)
	for k := range x {
		x[k] = load(s.at(k))
	}
	return x
}

// loadVectors loads the eight vectors at base.
func loadVectors(base gp) []vec {
	x := make([]vec, 8)
	for k := range x {
		x[k] = load(Mem{Base: base, Disp: 64 * k})
	}
	return x
}

// storeVectors stores eight vectors at base.
func storeVectors(x []vec, base gp) {
	for k := range x {
		store(x[k], Mem{Base: base, Disp: 64 * k})
	}
}

// forward8 is three layers of the forward transform. An output is
// x0 ± r1 ± r2 ± r3 with products r < 2q, a factor of the third layer
// x1 ± r1 ± r2, one of the second x2 ± r1 or x3 ± r1. So x0, x1, x2, x3 carry the
// biases 6q, 4q, 2q, 2q. In the first pass all inputs are below 2q, the others
// reduce x0..x3 to [0, 1+ε]: the factors are below 2+4+4 = 10q and the outputs below
// 2+6+6 = 14q in both.
func forward8(name string, reduceInputs bool) {
	kernel(name, passSignature("uint64"))
	comment := "takes values below 2q"
	needs := []int{constNegQ, const6Q, const4Q, const2Q}
	if reduceInputs {
		comment = "takes values below 16q"
		needs = []int{constNegQ, constSixteen, constMinus6, constMinus4, constMinus2}
	}
	Doc(fmt.Sprintf("%s runs three layers of the forward transform over blocks of 8*stride words; it %s and leaves values below 14q.", name, comment))
	passLoop(8, 64, 7*16, 0, needing(needs...), func(c *constants, s strided, tw gp) {
		x := loadGroup(s, 8)
		if reduceInputs {
			c.reduce(x[0], constMinus6)
			c.reduce(x[1], constMinus4)
			c.reduce(x[2], constMinus2)
			c.reduce(x[3], constMinus2)
		} else {
			VPADDQ(c.get(const6Q), x[0], x[0])
			VPADDQ(c.get(const4Q), x[1], x[1])
			VPADDQ(c.get(const2Q), x[2], x[2])
			VPADDQ(c.get(const2Q), x[3], x[3])
		}
		c.decimate(x, func(i int) pair { return bcast(tw, 16*i) })
		for k := range x {
			store(x[k], s.at(k))
		}
	})
}

// decimate runs the layers of a forward group of 2^r elements: in layer l, 2^l
// twiddles, each for the butterflies of one sub-block.
func (c *constants) decimate(x []vec, twiddle func(i int) pair) {
	i := 0
	for half := len(x) / 2; half >= 1; half /= 2 {
		for start := 0; start < len(x); start += 2 * half {
			for k := start; k < start+half; k++ {
				c.butterfly(x[k], x[k+half], twiddle(i))
			}
			i++
		}
	}
}

// forward4 is two layers: biases 4q on x0 and 2q on x1, outputs below
// 1+4+4 = 9q and ε.
func forward4() {
	kernel("ifmaForward4", passSignature("uint64"))
	Doc("ifmaForward4 runs two layers of the forward transform over blocks of 4*stride words; it takes values below 16q and leaves values below 10q.")
	passLoop(4, 64, 3*16, 0, needing(constNegQ, constSixteen, constMinus4, constMinus2), func(c *constants, s strided, tw gp) {
		x := loadGroup(s, 4)
		c.reduce(x[0], constMinus4)
		c.reduce(x[1], constMinus2)
		c.decimate(x, func(i int) pair { return bcast(tw, 16*i) })
		for k := range x {
			store(x[k], s.at(k))
		}
	})
}

// transpose returns the transposed 8 by 8 matrix of words.
func transpose(x []vec) []vec {
	t, u, o := make([]vec, 8), make([]vec, 8), make([]vec, 8)
	for i := range t {
		t[i], u[i], o[i] = ZMM(), ZMM(), ZMM()
	}
	for i := 0; i < 8; i += 2 {
		VPUNPCKLQDQ(x[i+1], x[i], t[i])
		VPUNPCKHQDQ(x[i+1], x[i], t[i+1])
	}
	for h := 0; h < 8; h += 4 {
		VSHUFI64X2(Imm(0x88), t[h+2], t[h], u[h])
		VSHUFI64X2(Imm(0x88), t[h+3], t[h+1], u[h+1])
		VSHUFI64X2(Imm(0xdd), t[h+2], t[h], u[h+2])
		VSHUFI64X2(Imm(0xdd), t[h+3], t[h+1], u[h+3])
	}
	for i := range 4 {
		VSHUFI64X2(Imm(0x88), u[4+i], u[i], o[i])
		VSHUFI64X2(Imm(0xdd), u[4+i], u[i], o[4+i])
	}
	return o
}

// forwardLast is the last three layers, inside blocks of eight words: a transposition
// of eight blocks turns them into those of forward8. The internal order leaves
// word k of block i at 8k+i within the 64 words.
func forwardLast(name string, reduced bool) {
	kernel(name, "func(a, tw *uint64, groups int, c, next *uint64, step int)")
	Doc(name + " runs the last three layers of the forward transform over groups of 64 words; it takes values below 16q and leaves values " +
		map[bool]string{false: "below 13q + 2^24", true: "below q + 2^24"}[reduced] + " in internal order.")
	a := Load(Param("a"), GP64()).(gp)
	tw := Load(Param("tw"), GP64()).(gp)
	groups := Load(Param("groups"), GP64()).(gp)
	c := loadConstants()
	c.need(constNegQ, constSixteen, constMinus6, constMinus4, constMinus2)
	pf := loadPrefetch()
	Label("group")
	pf.lines(4)
	x := transpose(loadVectors(a))
	c.reduce(x[0], constMinus6)
	c.reduce(x[1], constMinus4)
	c.reduce(x[2], constMinus2)
	c.reduce(x[3], constMinus2)
	c.decimate(x, func(i int) pair { return whole(tw, 128*i) })
	if reduced {
		for k := range x {
			c.reduce(x[k], 0)
		}
	}
	storeVectors(x, a)
	ADDQ(U32(512), a)
	ADDQ(U32(7*128), tw)
	DECQ(groups)
	JNZ(LabelRef("group"))
	VZEROUPPER()
	RET()
}

// publish is a pass of its own because the last layers and this are one long chain of
// dependent instructions, too long to overlap with the next group.
func publish() {
	kernel("ifmaPublish", "func(a *uint64, groups int, c *uint64)")
	Doc("ifmaPublish turns values below 16q in internal order into canonical residues in the order of accel.Ring.")
	a := Load(Param("a"), GP64()).(gp)
	groups := Load(Param("groups"), GP64()).(gp)
	c := loadConstants()
	c.need(constNegQ, constSixteen, constMask, constQ)
	Label("group")
	x := transpose(loadVectors(a))
	for k := range x {
		c.reduce(x[k], 0)
		VPANDQ(c.get(constMask), x[k], x[k])
		c.once(x[k], constQ)
	}
	storeVectors(x, a)
	ADDQ(U32(512), a)
	DECQ(groups)
	JNZ(LabelRef("group"))
	VZEROUPPER()
	RET()
}

// The inverse transform is a decimation in time of the cyclic transform, followed
// by the factors ψ^-i/n: its butterflies are those of the forward transform, its
// first twiddles are 1, and its values grow by additions instead of doubling.

// firstBiases are what firstStages wants added to x0, x2, x4, x6.
var firstBiases = [4]int{const8Q, const4Q, const6Q, const4Q}

// firstStages runs the stages of distance 1, 2 and 4 on transposed blocks. In
// units of q, with inputs in [0, 4) and the biases added:
//
//	distance 1: u0 = x0+x1 in [8,16)        v1 = x0-x1 in (4,12)
//	            u2 = x2+x3 in [4,12)        v3 = x2-x3 in (0,8)
//	            u4 = x4+x5 in [6,14)        v5 = x4-x5 in (2,10)
//	            u6 = x6+x7 in [4,12)        v7 = x6-x7 in (0,8)
//	reduced:    u0 in [6,7+ε]  u2 in [0,1+ε]  u4 in [2,3+ε]  u6 in [0,1+ε]
//	distance 2: s0 = u0+u2 in [6,8+2ε]      s2 = u0-u2 in [5-ε,7+ε]
//	            s4 = u4+u6 in [2,4+2ε]      s6 = u4-u6 in [1-ε,3+ε]
//	            s1, s3 = v1 ± r in (2,14)   s5, s7 = v5 ± r in (0,12)
//	distance 4: s0+s4 in [8,12+4ε]          s0-s4 in [2-2ε,6+2ε]
//	            s2 ± r in (2,10)            s1 ± r, s3 ± r in (0,16)
func (c *constants) firstStages(x []vec) {
	for k := 0; k < 8; k += 2 {
		trivial(&x[k], &x[k+1])
	}
	c.reduce(x[0], constMinus6)
	c.reduce(x[2], 0)
	c.reduce(x[4], constMinus2)
	c.reduce(x[6], 0)
	trivial(&x[0], &x[2])
	trivial(&x[4], &x[6])
	c.butterfly(x[1], x[3], c.root(2))
	c.butterfly(x[5], x[7], c.root(2))
	trivial(&x[0], &x[4])
	c.butterfly(x[1], x[5], c.root(1))
	c.butterfly(x[2], x[6], c.root(2))
	c.butterfly(x[3], x[7], c.root(3))
}

var firstStagesNeeds = []int{constNegQ, constSixteen, constMinus6, constMinus2}

// inverseFirst takes canonical residues in the order of accel.Ring.
func inverseFirst() {
	kernel("ifmaInverseFirst", "func(a *uint64, groups int, c *uint64)")
	Doc("ifmaInverseFirst runs the first three stages of the inverse transform over groups of 64 words; it takes values below q in the order of accel.Ring and leaves values below 16q.")
	a := Load(Param("a"), GP64()).(gp)
	groups := Load(Param("groups"), GP64()).(gp)
	c := loadConstants()
	c.need(firstStagesNeeds...)
	c.need(const4Q, const6Q, const8Q)
	Label("group")
	x := transpose(loadVectors(a))
	for i, bias := range firstBiases {
		VPADDQ(c.get(bias), x[2*i], x[2*i])
	}
	c.firstStages(x)
	storeVectors(transpose(x), a)
	ADDQ(U32(512), a)
	DECQ(groups)
	JNZ(LabelRef("group"))
	VZEROUPPER()
	RET()
}

// montgomery sets hi to s/2^52 mod q for the sum s = hi*2^52 + lo of products. With
// m = lo/q mod 2^52 that is hi + floor(lo/2^52) - floor(m*q/2^52), exactly because
// the low halves of lo and m*q agree; it exceeds -q and is at most s/2^52. The halves are
// sums of fewer than 2^12 terms below 2^52 and do not overflow.
func (c *constants) montgomery(lo, hi vec) {
	m, t := zero(), zero()
	VPMADD52LUQ(c.get(constQInv), lo, m)
	VPSRLQ(Imm(52), lo, lo)
	VPMADD52HUQ(c.get(constQ), m, t)
	VPADDQ(lo, hi, hi)
	VPSUBQ(t, hi, hi)
}

// multiplyInverseFirst sums the products of digits and key and reduces them by
// Montgomery's method. For digits below d*q, keys below f*q and r rows the result lies in
// (-q, r*d*f*q^2/2^52) and q^2/2^52 < q/16; q is added. So it is below 4q, as
// firstStages wants it, while r*d*f <= 48.
func multiplyInverseFirst() {
	kernel("ifmaMultiplyInverseFirst", "func(out, digits, key *uint64, groups, n, rows, outs int, c *uint64)")
	Doc("ifmaMultiplyInverseFirst multiplies groups of 64 words of rows polynomials of digits with the key and runs the first three stages of the inverse transform on the outs sums; the polynomials lie n words apart. " +
		"Digits and key are in internal order; the key holds, for each group of 64 words, each output and each row, 64 words times 2^52 mod q. " +
		"The number of rows times the bounds of digits and key in units of q is at most 48. It leaves values below 16q.")
	out := Load(Param("out"), GP64()).(gp)
	digits := Load(Param("digits"), GP64()).(gp)
	key := Load(Param("key"), GP64()).(gp)
	groups := Load(Param("groups"), GP64()).(gp)
	n := Load(Param("n"), GP64()).(gp)
	c := loadConstants()
	c.need(firstStagesNeeds...)
	c.need(constQ, constQInv, const5Q, const7Q, const9Q)
	SHLQ(Imm(3), n) // bytes of a polynomial
	o, row, dst, src := GP64(), GP64(), GP64(), GP64()
	Label("group")
	MOVQ(out, dst)
	Load(Param("outs"), o)
	Label("output")
	lo, hi := make([]vec, 8), make([]vec, 8)
	for k := range lo {
		lo[k] = zero()
		start := constQ
		if k%2 == 0 {
			// q and the bias of firstStages.
			start = map[int]int{const8Q: const9Q, const4Q: const5Q, const6Q: const7Q}[firstBiases[k/2]]
		}
		hi[k] = copyOf(c.get(start))
	}
	MOVQ(digits, src)
	Load(Param("rows"), row)
	Label("row")
	for k := range lo {
		factor := load(Mem{Base: key, Disp: 64 * k})
		digit := load(Mem{Base: src, Disp: 64 * k})
		VPMADD52LUQ(factor, digit, lo[k])
		VPMADD52HUQ(factor, digit, hi[k])
	}
	ADDQ(U32(512), key)
	ADDQ(n, src)
	DECQ(row)
	JNZ(LabelRef("row"))
	for k := range lo {
		c.montgomery(lo[k], hi[k])
	}
	c.firstStages(hi)
	storeVectors(transpose(hi), dst)
	ADDQ(n, dst)
	DECQ(o)
	JNZ(LabelRef("output"))
	ADDQ(U32(512), out)
	ADDQ(U32(512), digits)
	DECQ(groups)
	JNZ(LabelRef("group"))
	VZEROUPPER()
	RET()
}

// monomials computes X^e at all points. Word 8k+i of group b, in internal order, is
// the point ψ^(2*brv(64b+8i+k)+1), so X^e is there the product of three powers of
// ψ: with exponent e*(2*brv(b)+1) for the group, looked up, and two that depend on the lane i
// and on k, the factors. The products are below 2q, after the addition below 3q.
func monomials() {
	kernel("ifmaMonomials", "func(w, factors, exps, odd, powers *uint64, terms, groups int, add, mask uint64, c *uint64)")
	Doc("ifmaMonomials writes for each group of 64 words and each of the terms the values of X^e plus a constant, below 3q in internal order. " +
		"The factors of a term are 8 words for the lanes and 8 pairs for the vectors of a group, the first of which is not used, odd has a word 2*brv(b)+1 for each group, powers the pairs of ψ^i for i up to the mask 2n-1.")
	w := Load(Param("w"), GP64()).(gp)
	factors := Load(Param("factors"), GP64()).(gp)
	exps := Load(Param("exps"), GP64()).(gp)
	odd := Load(Param("odd"), GP64()).(gp)
	powers := Load(Param("powers"), GP64()).(gp)
	groups := Load(Param("groups"), GP64()).(gp)
	mask := Load(Param("mask"), GP64()).(gp)
	add := ZMM()
	VPBROADCASTQ(NewParamAddr("add", 56), add)
	c := loadConstants()
	c.need(constNegQ)
	term, e, f, at := GP64(), GP64(), GP64(), GP64()
	Label("group")
	Load(Param("terms"), term)
	MOVQ(exps, e)
	MOVQ(factors, f)
	Label("term")
	MOVQ(Mem{Base: e}, at)
	IMULQ(Mem{Base: odd}, at)
	ANDQ(mask, at)
	SHLQ(Imm(4), at)
	ADDQ(powers, at)
	v := c.mul(load(Mem{Base: f}), bcast(at, 0), 0)
	for k := range 8 {
		x := copyOf(add)
		if k == 0 {
			VPADDQ(v, x, x)
		} else {
			c.mulInto(x, v, bcast(f, 64+16*k))
		}
		store(x, Mem{Base: w, Disp: 64 * k})
	}
	ADDQ(U32(512), w)
	ADDQ(Imm(8), e)
	ADDQ(U32(192), f)
	DECQ(term)
	JNZ(LabelRef("term"))
	ADDQ(Imm(8), odd)
	DECQ(groups)
	JNZ(LabelRef("group"))
	VZEROUPPER()
	RET()
}

// combine sums the products of t monomials below 3q with ciphertexts below q by
// Montgomery's method: the results are below (1 + 3t/16)*q, plus q for a ciphertext that is
// added as it is. The key is what a bootstrap alone spends most of its time to wait for,
// so its words have six bytes, and a permutation of bytes that clears the others
// spreads them.
func combine() {
	kernel("ifmaCombine", "func(sums, key, w *uint64, polys, terms, groups, plain int, spread *[64]byte, c *uint64)")
	Doc("ifmaCombine computes, for each of the groups of 64 words and each of polys polynomials, the sum of the products of the terms' monomials with the key, divided by 2^52. " +
		"The key has for each group and polynomial 64 words that are added as they are, if plain is not 0, and then 64 words for each term, all of six bytes; 16 bytes behind it are read. " +
		"Spread has the 64 indices of the bytes of a vector of words among those of the packed one.")
	sums := Load(Param("sums"), GP64()).(gp)
	key := Load(Param("key"), GP64()).(gp)
	w := Load(Param("w"), GP64()).(gp)
	terms := Load(Param("terms"), GP64()).(gp)
	groups := Load(Param("groups"), GP64()).(gp)
	plain := Load(Param("plain"), GP64()).(gp)
	spread, low, bits := ZMM(), K(), GP64()
	VMOVDQU64(Mem{Base: Load(Param("spread"), GP64()).(gp)}, spread)
	MOVQ(U64(0x3f3f3f3f3f3f3f3f), bits)
	KMOVQ(bits, low)
	word := func(k int) vec {
		x := ZMM()
		VPERMB_Z(Mem{Base: key, Disp: 48 * k}, spread, low, x)
		return x
	}
	c := loadConstants()
	c.need(constQ, constQInv)
	poly, term, mono := GP64(), GP64(), GP64()
	Label("group")
	Load(Param("polys"), poly)
	Label("poly")
	lo, hi := make([]vec, 8), make([]vec, 8)
	for k := range lo {
		lo[k] = zero()
		hi[k] = copyOf(c.get(constQ))
	}
	TESTQ(plain, plain)
	JZ(LabelRef("start"))
	for k := range hi {
		VPADDQ(word(k), hi[k], hi[k])
	}
	ADDQ(U32(384), key)
	Label("start")
	MOVQ(terms, term)
	MOVQ(w, mono)
	Label("term")
	for k := range lo {
		x := load(Mem{Base: mono, Disp: 64 * k})
		factor := word(k)
		VPMADD52LUQ(factor, x, lo[k])
		VPMADD52HUQ(factor, x, hi[k])
	}
	ADDQ(U32(384), key)
	ADDQ(U32(512), mono)
	DECQ(term)
	JNZ(LabelRef("term"))
	for k := range lo {
		c.montgomery(lo[k], hi[k])
		store(hi[k], Mem{Base: sums, Disp: 64 * k})
	}
	ADDQ(U32(512), sums)
	DECQ(poly)
	JNZ(LabelRef("poly"))
	MOVQ(mono, w)
	DECQ(groups)
	JNZ(LabelRef("group"))
	VZEROUPPER()
	RET()
}

// recombine runs the stages of an inverse group of 2^r elements; twiddle 0 is
// that of the first stage, 1 and 2 those of the second, and so on.
func (c *constants) recombine(x []vec, twiddle func(i int) pair) {
	for half := 1; half < len(x); half *= 2 {
		for start := 0; start < len(x); start += 2 * half {
			for k := range half {
				c.butterfly(x[start+k], x[start+k+half], twiddle(half-1+k))
			}
		}
	}
}

// inverse8 is three stages. An output is x0 ± r1 ± r2 ± r3; factors of the third
// stage are x4 ± r1 ± r2, of the second x2 ± r1 and x6 ± r1. So x0, x2, x4, x6 are
// reduced to [0, 1+ε] with the biases 6, 2, 4, 2, and the outputs are below 14q.
func inverse8() {
	kernel("ifmaInverse8", passSignature("uint64"))
	Doc("ifmaInverse8 runs three stages of the inverse transform over blocks of 8*stride words; it takes values below 16q and leaves values below 14q.")
	passLoop(8, 64, 0, 7*128, needing(constNegQ, constSixteen, constMinus6, constMinus4, constMinus2), func(c *constants, s strided, tw gp) {
		x := loadGroup(s, 8)
		c.reduce(x[0], constMinus6)
		c.reduce(x[2], constMinus2)
		c.reduce(x[4], constMinus4)
		c.reduce(x[6], constMinus2)
		c.recombine(x, func(i int) pair { return whole(tw, 128*i) })
		for k := range x {
			store(x[k], s.at(k))
		}
	})
}

// inverse4 is two stages, with the biases 4 on x0 and 2 on x2.
func inverse4() {
	kernel("ifmaInverse4", passSignature("uint64"))
	Doc("ifmaInverse4 runs two stages of the inverse transform over blocks of 4*stride words; it takes values below 16q and leaves values below 10q.")
	passLoop(4, 64, 0, 3*128, needing(constNegQ, constSixteen, constMinus4, constMinus2), func(c *constants, s strided, tw gp) {
		x := loadGroup(s, 4)
		c.reduce(x[0], constMinus4)
		c.reduce(x[2], constMinus2)
		c.recombine(x, func(i int) pair { return whole(tw, 128*i) })
		for k := range x {
			store(x[k], s.at(k))
		}
	})
}

// inverseLast is the last two stages and the factors ψ^-i/n. With the stride
// h = n/4 and column j, the twiddles of both stages and the factor ψ^-j/n, which the
// four elements share, multiply the inputs; what remains are the powers of the
// root ι = ψ^-(n/2) and the factors ψ^-(ch) of the outputs c = 0..3:
//
//	t0 in [6,8)   t1 in [0,2)   t2 in [2,4)   t3 in [0,2)
//	s = t0+t1 in [6,10)         d = t0-t1 in (4,8)
//	e = t2+t3 in [2,6)          f = t2-t3 in (0,4)
//	out0 = s+e in [8,16)        out2 = (s-e)*ψ^-2h, s-e in (0,8)
//	out1 = (d+ι*f)*ψ^-h         out3 = (d-ι*f)*ψ^-3h, both factors in (2,10)
func inverseLast(name string, add bool) {
	kernel(name, "func(dst, a, tw *uint64, stride int, c, next *uint64, step int)")
	Doc(name + " runs the last two stages of the inverse transform on 4*stride words of a, which are below 16q, and " +
		map[bool]string{false: "writes canonical residues to dst, which may be a.", true: "adds the result to the canonical residues in dst."}[add])
	dst := Load(Param("dst"), GP64()).(gp)
	a := Load(Param("a"), GP64()).(gp)
	tw := Load(Param("tw"), GP64()).(gp)
	stride := Load(Param("stride"), GP64()).(gp)
	c := loadConstants()
	c.need(constNegQ, constSixteen, constMask, constQ, const2Q, const6Q)
	pf := loadPrefetch()
	SHLQ(Imm(3), stride)
	src, to := newStrided(a, stride, 4), newStrided(dst, stride, 4)
	column := GP64()
	MOVQ(stride, column)
	Label("column")
	pf.lines(2)
	x := loadGroup(src, 4)
	biases := []int{const6Q, 0, const2Q, 0}
	for k := range x {
		x[k] = c.mul(x[k], whole(tw, 128*k), biases[k])
	}
	trivial(&x[0], &x[1])
	trivial(&x[2], &x[3])
	trivial(&x[0], &x[2])
	c.butterfly(x[1], x[3], c.root(2))
	c.reduce(x[0], 0)
	if add {
		VPADDQ(to.at(0), x[0], x[0])
	}
	for k := 1; k < 4; k++ {
		y := x[k]
		if add {
			x[k] = load(to.at(k))
		} else {
			x[k] = zero()
		}
		c.mulInto(x[k], y, c.root(k))
	}
	for k := range x {
		// Below 2q, and below q more with what was there.
		VPANDQ(c.get(constMask), x[k], x[k])
		if add {
			c.once(x[k], constQ)
		}
		c.once(x[k], constQ)
		store(x[k], to.at(k))
	}
	ADDQ(Imm(64), a)
	ADDQ(Imm(64), dst)
	ADDQ(U32(4*128), tw)
	SUBQ(Imm(64), column)
	JNZ(LabelRef("column"))
	VZEROUPPER()
	RET()
}

// digits rounds to the top bl bits. For residues x and y the difference d = x - y lies in
// (-q, q), the one for a negated x, d = q - x - y, in (-q, q]. It becomes
// t = d + 2^47 + 2^(47-bl), or that ± q if d is not in (-q/2, q/2); then
// floor(t / 2^(48-bl)) = v + 2^(bl-1) for the rounded v of accel.Rotator, and
// q - 2^(bl-1) is added.
func digits() {
	kernel("ifmaDigits", "func(dst, rot, acc *uint64, vectors, negate int, c *uint64)")
	Doc("ifmaDigits rounds rot - acc, or -rot - acc if negate is not 0, to the top b*l bits, as accel.Rotator defines it, and adds q; the results are in (0, 2q).")
	dst := Load(Param("dst"), GP64()).(gp)
	rot := Load(Param("rot"), GP64()).(gp)
	acc := Load(Param("acc"), GP64()).(gp)
	vectors := Load(Param("vectors"), GP64()).(gp)
	negate := Load(Param("negate"), GP64()).(gp)
	c := loadConstants()
	c.need(constDigitAdd, constDigitSub, constDigitLow, constDigitHigh, constDigitShift, constDigitBase, constQ)
	TESTQ(negate, negate)
	JNZ(LabelRef("negated"))
	for _, label := range []string{"straight", "negated"} {
		Label(label)
		t, down, up := ZMM(), K(), K()
		if label == "straight" {
			VPADDQ(Mem{Base: rot}, c.get(constDigitAdd), t)
		} else {
			VPSUBQ(Mem{Base: rot}, c.get(constDigitSub), t)
		}
		VPSUBQ(Mem{Base: acc}, t, t)
		VPCMPGTQ(c.get(constDigitHigh), t, down)
		VPCMPGTQ(t, c.get(constDigitLow), up)
		VPSUBQ(c.get(constQ), t, down, t)
		VPADDQ(c.get(constQ), t, up, t)
		VPSRLVQ(c.get(constDigitShift), t, t)
		VPADDQ(c.get(constDigitBase), t, t)
		store(t, Mem{Base: dst})
		ADDQ(Imm(64), dst)
		ADDQ(Imm(64), rot)
		ADDQ(Imm(64), acc)
		DECQ(vectors)
		JNZ(LabelRef(label))
		VZEROUPPER()
		RET()
	}
}

// split takes off the lowest digit of a rounded value v. With
// m = floor((|v| + B/2 - 1) / B), |v| - m*B is in (-B/2, B/2], which is the digit of the
// magnitude; m and the digit take the sign of v.
func split() {
	kernel("ifmaSplit", "func(rest, digit *uint64, vectors int, c *uint64)")
	Doc("ifmaSplit moves the digit of the lowest b bits of each value, as accel.Rotator defines it, from rest to digit; all have q added.")
	rest := Load(Param("rest"), GP64()).(gp)
	digit := Load(Param("digit"), GP64()).(gp)
	vectors := Load(Param("vectors"), GP64()).(gp)
	c := loadConstants()
	c.need(constQ, constSplitAdd, constSplitShift)
	Label("vector")
	v, sign, m, d := load(Mem{Base: rest}), ZMM(), ZMM(), ZMM()
	VPSUBQ(c.get(constQ), v, v)
	VPSRAQ(Imm(63), v, sign)
	VPABSQ(v, v)
	VPADDQ(c.get(constSplitAdd), v, m)
	VPSRLVQ(c.get(constSplitShift), m, m)
	VPSLLVQ(c.get(constSplitShift), m, d)
	VPSUBQ(d, v, d)
	for _, x := range []struct {
		v  vec
		to gp
	}{{d, digit}, {m, rest}} {
		VPXORQ(sign, x.v, x.v)
		VPSUBQ(sign, x.v, x.v)
		VPADDQ(c.get(constQ), x.v, x.v)
		store(x.v, Mem{Base: x.to})
		ADDQ(Imm(64), x.to)
	}
	DECQ(vectors)
	JNZ(LabelRef("vector"))
	VZEROUPPER()
	RET()
}

// mulAcc is Barrett's reduction. With p = a*b < 2^96, t = floor(p/2^47) and
// mu = floor(2^99/q) < 2^52, h = floor(t*mu/2^52) is at most 3 below p/q:
// the three roundings lose less than 2^47/q < 1, 2^49/2^52 and 1. So p - h*q is in
// [0, 4q).
func mulAcc() {
	kernel("ifmaMulAcc", "func(acc, a, b *uint64, vectors int, c *uint64)")
	Doc("ifmaMulAcc sets acc = acc + a*b mod q, all canonical.")
	acc := Load(Param("acc"), GP64()).(gp)
	a := Load(Param("a"), GP64()).(gp)
	b := Load(Param("b"), GP64()).(gp)
	vectors := Load(Param("vectors"), GP64()).(gp)
	c := loadConstants()
	c.need(constQ, const2Q, constNegQ, constMu, constThirtyTwo, constMask)
	Label("vector")
	x := load(Mem{Base: a})
	y := load(Mem{Base: b})
	lo, hi, t, h := zero(), zero(), ZMM(), zero()
	VPMADD52LUQ(y, x, lo)
	VPMADD52HUQ(y, x, hi)
	VPSRLQ(Imm(47), lo, t)
	VPMADD52LUQ(c.get(constThirtyTwo), hi, t)
	VPMADD52HUQ(c.get(constMu), t, h)
	VPMADD52LUQ(c.get(constNegQ), h, lo)
	VPANDQ(c.get(constMask), lo, lo)
	c.once(lo, const2Q)
	c.once(lo, constQ)
	VPADDQ(Mem{Base: acc}, lo, lo)
	c.once(lo, constQ)
	store(lo, Mem{Base: acc})
	ADDQ(Imm(64), acc)
	ADDQ(Imm(64), a)
	ADDQ(Imm(64), b)
	DECQ(vectors)
	JNZ(LabelRef("vector"))
	VZEROUPPER()
	RET()
}

// keySwitch multiplies pairs of digits with pairs of key words, which are cut into
// signed halves of 16 bits, lo + hi*2^16, because VPDPWSSD multiplies those: 16 times
// two products a lane and one addition to 32 bits, all modulo 2^32. A pair has two vectors of
// 16 columns, low halves before high halves.
func keySwitch(batch int) {
	kernel(fmt.Sprintf("vnniKeySwitch%d", batch), "func(acc *uint32, key *int16, digits *uint32, pairs int)")
	Doc(fmt.Sprintf("vnniKeySwitch%d adds the products of pairs of digits of %d ciphertexts, which alternate, with the key to the accumulators: for each ciphertext 16 low and 16 high sums of columns 0 to 15, and those of columns 16 to 31.", batch, batch))
	acc := Load(Param("acc"), GP64()).(gp)
	key := Load(Param("key"), GP64()).(gp)
	digits := Load(Param("digits"), GP64()).(gp)
	pairs := Load(Param("pairs"), GP64()).(gp)
	sums := make([]vec, 4*batch)
	for i := range sums {
		sums[i] = load(Mem{Base: acc, Disp: 64 * i})
	}
	Label("pair")
	var words [4]vec
	for i := range words {
		words[i] = load(Mem{Base: key, Disp: 64 * i})
		PREFETCHT0(Mem{Base: key, Disp: 64*i + 4096})
	}
	for t := range batch {
		digit := ZMM()
		VPBROADCASTD(Mem{Base: digits, Disp: 4 * t}, digit)
		for i, w := range words {
			VPDPWSSD(w, digit, sums[4*t+i])
		}
	}
	ADDQ(U32(256), key)
	ADDQ(Imm(uint64(4*batch)), digits)
	DECQ(pairs)
	JNZ(LabelRef("pair"))
	for i := range sums {
		store(sums[i], Mem{Base: acc, Disp: 64 * i})
	}
	VZEROUPPER()
	RET()
}
