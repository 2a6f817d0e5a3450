package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

// Offsets into the constants that every floating-point kernel gets, in words.
// Package cpu fills them in the same order (fpConstants).
const (
	fpQ          = iota
	fpQInv       // 1/q, rounded
	fpMagic      // 1.5*2^52: adding and subtracting it rounds to an integer
	fpOffset     // 2^52: a non-negative integer below it is added to its last bits
	fpHalf       // 0.5
	fpDigitScale // 2^-(48 - b*l)
	fpBase       // 2^b
	fpBaseInv    // 2^-b
	fpSignMask   // -0.0
	fpRoots      // ψ^-(n/4), ψ^-(n/2), ψ^-(3n/4)
)

// avx2 writes the kernels for AVX2 with FMA.
//
// Every vector holds four residues modulo a prime q < 2^48, as integers in double
// precision: exact below 2^53, of either sign. Bounds count in units of q.
//
// mul(y, w) with |w| <= q/2 and |y| <= Y*q, Y < 16: h = y*w rounded, k = y*w/q rounded to
// an integer, l = y*w - h exactly, and the result is (h - k*q) + l. The quotient comes
// from y and the rounded w/q for a twiddle, from h and the rounded 1/q for other factors.
//   - |y*w/q| < 16*q/2 < 2^51, which the rounding by fpMagic allows. The error from the
//     rounded factor, and from h, is at most |y*w/q|*2^-53 <= Y*q*2^-54 < Y/64 each, so
//     |h - k*q| <= (1/2 + Y/64)*q and more by Y/64 for other factors; it is
//     an integer below 2^53, and exact.
//   - |l| <= |h|*2^-53 <= Y*q^2*2^-54 < (Y/64)*q.
//
// So the result is y*w mod q, exact, with magnitude at most 1/2 + Y/32 for a twiddle and
// 1/2 + 3Y/64 for other factors. (The
// technique is in van der Hoeven and Lecerf, "Modular SIMD arithmetic in
// Mathemagix", 2016.)
//
// reduce(x) subtracts the nearest integer to x/q times q. For |x| <= 16q the error of
// x/q is at most 16*2^-53 = 2^-49 < 1/(2q), and because q is odd no x/q is nearer than
// 1/(2q) to the middle of two integers. So the result is the unique one in (-q/2, q/2).
//
// A butterfly turns bounds X and Y into X + 1/2 + Y/32: if all values of a layer are
// below X, those of the next one are below X*33/32 + 1/2. From 1 that is below 7.9
// after 11 layers and below 11.9 after 16, always less than 16, so that the forward
// transform reduces nothing. The inverse transform starts from sums reduced to 1/2 (in a
// Ring, from 1); its first two stages are additions, at most 4; its remaining
// layers reach 4*(33/32)^14 + 16*((33/32)^14-1) < 14.8.
func avx2() {
	fpForward(8)
	fpForward(4)
	fpForwardLast()
	fpPublish()
	fpInverseFirst()
	fpMultiplyInverseFirst()
	fpMonomials()
	fpCombine()
	fpInverse(8)
	fpInverse(4)
	fpInverseLast("fpInverseLast", false)
	fpInverseLast("fpInverseLastAdd", true)
	fpDigits()
	fpSplit()
	fpImport()
	fpExport()
	fpMulAcc()
	pairedKeySwitch()
}

// fp holds the broadcast constants of a kernel.
type fp struct {
	base     gp
	q, magic vec
}

func loadFP() *fp {
	c := &fp{base: Load(Param("c"), GP64()).(gp)}
	c.q, c.magic = c.constant(fpQ), c.constant(fpMagic)
	return c
}

// constant broadcasts a constant.
func (c *fp) constant(i int) vec { return fpBroadcast(Mem{Base: c.base, Disp: 8 * i}) }

func fpBroadcast(m Mem) vec {
	v := YMM()
	VBROADCASTSD(m, v)
	return v
}

func fpLoad(m Mem) vec {
	v := YMM()
	VMOVUPD(m, v)
	return v
}

// fpTwiddle loads vectors of twiddles and ratios, fpBroadcastTwiddle broadcasts one.
func fpTwiddle(base gp, disp int) twiddle {
	return twiddle{fpLoad(Mem{Base: base, Disp: disp}), fpLoad(Mem{Base: base, Disp: disp + 32})}
}

func fpBroadcastTwiddle(base gp, disp int) twiddle {
	return twiddle{fpBroadcast(Mem{Base: base, Disp: disp}), fpBroadcast(Mem{Base: base, Disp: disp + 8})}
}

// quotient returns the integer next to x/q.
func (c *fp) quotient(x vec) vec { return c.round(x, c.constant(fpQInv)) }

// round returns the integer next to x*y.
func (c *fp) round(x, y vec) vec {
	k := YMM()
	VMOVAPD(c.magic, k)
	VFMADD231PD(y, x, k)
	VSUBPD(c.magic, k, k)
	return k
}

// twiddle is w and the rounded w/q.
type twiddle struct{ w, ratio vec }

// mul returns y*w mod q and destroys y.
func (c *fp) mul(y vec, t twiddle) vec {
	k, h := c.round(y, t.ratio), YMM()
	VMULPD(t.w, y, h)
	return c.remainder(y, t.w, h, k)
}

// mulFactor is mul for a factor w without w/q.
func (c *fp) mulFactor(y, w vec) vec {
	h := YMM()
	VMULPD(w, y, h)
	return c.remainder(y, w, h, c.quotient(h))
}

// remainder returns (h - k*q) + (y*w - h) and destroys y.
func (c *fp) remainder(y, w, h, k vec) vec {
	VFMSUB213PD(h, w, y)
	VFNMADD231PD(c.q, k, h)
	VADDPD(y, h, h)
	return h
}

// reduce subtracts the nearest multiple of q.
func (c *fp) reduce(x vec) { VFNMADD231PD(c.q, c.quotient(x), x) }

// butterfly does (x, y) = (x + y*w, x - y*w).
func (c *fp) butterfly(x, y vec, t twiddle) {
	r := c.mul(y, t)
	VSUBPD(r, x, y)
	VADDPD(r, x, x)
}

// fpTrivial does (x, y) = (x + y, x - y).
func fpTrivial(x, y *vec) {
	d := YMM()
	VSUBPD(*y, *x, d)
	VADDPD(*y, *x, *x)
	*y = d
}

// fpGroup loads the elements of a group.
func fpGroup(s strided, radix int) []vec {
	x := make([]vec, radix)
	for k := range x {
		x[k] = fpLoad(s.at(k))
	}
	return x
}

// fpForward is three or two layers of the forward transform.
func fpForward(radix int) {
	name := fmt.Sprintf("fpForward%d", radix)
	kernel(name, passSignature("float64"))
	Doc(fmt.Sprintf("%s runs log2(%d) layers of the forward transform over blocks of %d*stride words.", name, radix, radix))
	passLoop(radix, 32, (radix-1)*16, 0, loadFP, func(c *fp, s strided, tw gp) {
		x := fpGroup(s, radix)
		c.decimate(x, func(i int) twiddle { return fpBroadcastTwiddle(tw, 16*i) })
		for k := range x {
			VMOVUPD(x[k], s.at(k))
		}
	})
}

// decimate runs the layers of a forward group; see constants.decimate.
func (c *fp) decimate(x []vec, twiddleAt func(i int) twiddle) {
	i := 0
	for half := len(x) / 2; half >= 1; half /= 2 {
		for start := 0; start < len(x); start += 2 * half {
			w := twiddleAt(i)
			for k := start; k < start+half; k++ {
				c.butterfly(x[k], x[k+half], w)
			}
			i++
		}
	}
}

// fpInverse is three or two stages of the inverse transform.
func fpInverse(radix int) {
	name := fmt.Sprintf("fpInverse%d", radix)
	kernel(name, passSignature("float64"))
	Doc(fmt.Sprintf("%s runs log2(%d) stages of the inverse transform over blocks of %d*stride words.", name, radix, radix))
	passLoop(radix, 32, 0, (radix-1)*64, loadFP, func(c *fp, s strided, tw gp) {
		x := fpGroup(s, radix)
		for half := 1; half < radix; half *= 2 {
			for k := range half {
				w := fpTwiddle(tw, 64*(half-1+k))
				for start := 0; start < radix; start += 2 * half {
					c.butterfly(x[start+k], x[start+k+half], w)
				}
			}
		}
		for k := range x {
			VMOVUPD(x[k], s.at(k))
		}
	})
}

// fpTranspose returns the transposed 4 by 4 matrix of words.
func fpTranspose(x []vec) []vec {
	t, o := make([]vec, 4), make([]vec, 4)
	for i := range t {
		t[i] = YMM()
	}
	for i := 0; i < 4; i += 2 {
		VUNPCKLPD(x[i+1], x[i], t[i])
		VUNPCKHPD(x[i+1], x[i], t[i+1])
	}
	for i := range o {
		o[i] = YMM()
		VPERM2F128(Imm(uint64(0x20+i/2*0x11)), t[2+i%2], t[i%2], o[i])
	}
	return o
}

// fpVectors loads the four vectors at base.
func fpVectors(base gp) []vec {
	x := make([]vec, 4)
	for k := range x {
		x[k] = fpLoad(Mem{Base: base, Disp: 32 * k})
	}
	return x
}

func fpStore(x []vec, base gp) {
	for k := range x {
		VMOVUPD(x[k], Mem{Base: base, Disp: 32 * k})
	}
}

// fpGroups runs the body for groups of 16 words of a.
func fpGroups(advance []gp, body func()) {
	groups := Load(Param("groups"), GP64())
	Label("group")
	body()
	for _, p := range advance {
		ADDQ(U32(128), p)
	}
	DECQ(groups)
	JNZ(LabelRef("group"))
	VZEROUPPER()
	RET()
}

// fpForwardLast is the last two layers, inside blocks of four words: a transposition
// of four blocks turns them into those of fpForward. The internal order leaves
// word k of block i at 4k+i within the 16 words.
func fpForwardLast() {
	kernel("fpForwardLast", "func(a, tw *float64, groups int, c, next *float64, step int)")
	Doc("fpForwardLast runs the last two layers of the forward transform over groups of 16 words and leaves values in internal order.")
	a := Load(Param("a"), GP64()).(gp)
	tw := Load(Param("tw"), GP64()).(gp)
	c := loadFP()
	pf := loadPrefetch()
	fpGroups([]gp{a}, func() {
		pf.lines(1)
		x := fpTranspose(fpVectors(a))
		c.decimate(x, func(i int) twiddle { return fpTwiddle(tw, 64*i) })
		fpStore(x, a)
		ADDQ(U32(3*64), tw)
	})
}

// export turns x into canonical residues in integer form.
func (c *fp) export(x, offset vec) {
	c.reduce(x)
	negative := YMM()
	zero := YMM()
	VXORPD(zero, zero, zero)
	VCMPPD(Imm(1), zero, x, negative) // x < 0
	VANDPD(c.q, negative, negative)
	VADDPD(negative, x, x)
	VADDPD(offset, x, x)
	VXORPD(offset, x, x)
}

// fpPublish ends a public forward transform.
func fpPublish() {
	kernel("fpPublish", "func(a *float64, groups int, c *float64)")
	Doc("fpPublish turns values in internal order into canonical residues, as integers, in the order of accel.Ring.")
	a := Load(Param("a"), GP64()).(gp)
	c := loadFP()
	offset := c.constant(fpOffset)
	fpGroups([]gp{a}, func() {
		x := fpTranspose(fpVectors(a))
		for k := range x {
			c.export(x[k], offset)
		}
		fpStore(x, a)
	})
}

// firstStages runs the stages with distance 1 and 2 on transposed blocks; three of
// their four butterflies have the twiddle 1.
func (c *fp) firstStages(x []vec) {
	fpTrivial(&x[0], &x[1])
	fpTrivial(&x[2], &x[3])
	fpTrivial(&x[0], &x[2])
	c.butterfly(x[1], x[3], c.root(2))
}

func (c *fp) root(i int) twiddle { return fpBroadcastTwiddle(c.base, 8*(fpRoots+2*(i-1))) }

// fpInverseFirst starts a public inverse transform.
func fpInverseFirst() {
	kernel("fpInverseFirst", "func(a *float64, groups int, c *float64)")
	Doc("fpInverseFirst runs the first two stages of the inverse transform over groups of 16 words, which are in the order of accel.Ring.")
	a := Load(Param("a"), GP64()).(gp)
	c := loadFP()
	fpGroups([]gp{a}, func() {
		x := fpTranspose(fpVectors(a))
		c.firstStages(x)
		fpStore(fpTranspose(x), a)
	})
}

// fpMultiplyInverseFirst adds products of at most 1/2 + 3*12/64 < 1.07 each, so up to 14
// rows stay below 15, and reduces the sums.
func fpMultiplyInverseFirst() {
	kernel("fpMultiplyInverseFirst", "func(out, digits, key *float64, groups, n, rows, outs int, c *float64)")
	Doc("fpMultiplyInverseFirst multiplies groups of 16 words of rows polynomials of digits, at most 14, with the key and runs the first two stages of the inverse transform on the outs sums; the polynomials lie n words apart. " +
		"Digits and key are in internal order; the key holds, for each group of 16 words, each output and each row, 16 words of magnitude at most q/2.")
	out := Load(Param("out"), GP64()).(gp)
	digits := Load(Param("digits"), GP64()).(gp)
	key := Load(Param("key"), GP64()).(gp)
	groups := Load(Param("groups"), GP64()).(gp)
	n := Load(Param("n"), GP64()).(gp)
	c := loadFP()
	SHLQ(Imm(3), n) // bytes of a polynomial
	o, row, dst, src := GP64(), GP64(), GP64(), GP64()
	Label("group")
	MOVQ(out, dst)
	Load(Param("outs"), o)
	Label("output")
	sums := make([]vec, 4)
	for k := range sums {
		sums[k] = YMM()
		VXORPD(sums[k], sums[k], sums[k])
	}
	MOVQ(digits, src)
	Load(Param("rows"), row)
	Label("row")
	for k := range sums {
		r := c.mulFactor(fpLoad(Mem{Base: src, Disp: 32 * k}), fpLoad(Mem{Base: key, Disp: 32 * k}))
		VADDPD(r, sums[k], sums[k])
	}
	ADDQ(U32(128), key)
	ADDQ(n, src)
	DECQ(row)
	JNZ(LabelRef("row"))
	for k := range sums {
		c.reduce(sums[k])
	}
	c.firstStages(sums)
	fpStore(fpTranspose(sums), dst)
	ADDQ(n, dst)
	DECQ(o)
	JNZ(LabelRef("output"))
	ADDQ(U32(128), out)
	ADDQ(U32(128), digits)
	DECQ(groups)
	JNZ(LabelRef("group"))
	VZEROUPPER()
	RET()
}

// fpMonomials is monomials with groups of 16 words: word 4k+i of group b is the point
// ψ^(2*brv(16b+4i+k)+1). The products of powers are below 0.54q.
func fpMonomials() {
	kernel("fpMonomials", "func(w, factors *float64, exps, odd *uint64, powers *float64, terms, groups int, add float64, mask uint64, c *float64)")
	Doc("fpMonomials writes for each group of 16 words and each of the terms the values of X^e plus a constant in internal order. " +
		"The factors of a term are 4 words for the lanes and 4 pairs for the vectors of a group, the first of which is not used, odd has a word 2*brv(b)+1 for each group, powers the pairs of ψ^i for i up to the mask 2n-1.")
	w := Load(Param("w"), GP64()).(gp)
	factors := Load(Param("factors"), GP64()).(gp)
	exps := Load(Param("exps"), GP64()).(gp)
	odd := Load(Param("odd"), GP64()).(gp)
	powers := Load(Param("powers"), GP64()).(gp)
	groups := Load(Param("groups"), GP64()).(gp)
	mask := Load(Param("mask"), GP64()).(gp)
	add := fpBroadcast(NewParamAddr("add", 56))
	c := loadFP()
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
	v := c.mul(fpLoad(Mem{Base: f}), fpBroadcastTwiddle(at, 0))
	for k := range 4 {
		x := YMM()
		VMOVAPD(v, x)
		if k > 0 {
			x = c.mul(x, fpBroadcastTwiddle(f, 32+16*k))
		}
		VADDPD(add, x, x)
		VMOVUPD(x, Mem{Base: w, Disp: 32 * k})
	}
	ADDQ(U32(128), w)
	ADDQ(Imm(8), e)
	ADDQ(Imm(96), f)
	DECQ(term)
	JNZ(LabelRef("term"))
	ADDQ(Imm(8), odd)
	DECQ(groups)
	JNZ(LabelRef("group"))
	VZEROUPPER()
	RET()
}

// fpCombine adds at most 15 products below 0.54q and a ciphertext below q/2, and reduces
// the sums to q/2, because they are factors next.
func fpCombine() {
	kernel("fpCombine", "func(sums, key, w *float64, polys, terms, groups, plain int, c *float64)")
	Doc("fpCombine computes, for each of the groups of 16 words and each of polys polynomials, the sum of the products of the terms' monomials, at most 15, with the key. " +
		"The key has for each group and polynomial 16 words that are added as they are, if plain is not 0, and then 16 words for each term.")
	sums := Load(Param("sums"), GP64()).(gp)
	key := Load(Param("key"), GP64()).(gp)
	w := Load(Param("w"), GP64()).(gp)
	terms := Load(Param("terms"), GP64()).(gp)
	groups := Load(Param("groups"), GP64()).(gp)
	plain := Load(Param("plain"), GP64()).(gp)
	c := loadFP()
	poly, term, mono := GP64(), GP64(), GP64()
	Label("group")
	Load(Param("polys"), poly)
	Label("poly")
	x := make([]vec, 4)
	for k := range x {
		x[k] = YMM()
		VXORPD(x[k], x[k], x[k])
	}
	TESTQ(plain, plain)
	JZ(LabelRef("start"))
	for k := range x {
		VMOVUPD(Mem{Base: key, Disp: 32 * k}, x[k])
	}
	ADDQ(U32(128), key)
	Label("start")
	MOVQ(terms, term)
	MOVQ(w, mono)
	Label("term")
	for k := range x {
		r := c.mulFactor(fpLoad(Mem{Base: mono, Disp: 32 * k}), fpLoad(Mem{Base: key, Disp: 32 * k}))
		VADDPD(r, x[k], x[k])
	}
	ADDQ(U32(128), key)
	ADDQ(U32(128), mono)
	DECQ(term)
	JNZ(LabelRef("term"))
	for k := range x {
		c.reduce(x[k])
		VMOVUPD(x[k], Mem{Base: sums, Disp: 32 * k})
	}
	ADDQ(U32(128), sums)
	DECQ(poly)
	JNZ(LabelRef("poly"))
	MOVQ(mono, w)
	DECQ(groups)
	JNZ(LabelRef("group"))
	VZEROUPPER()
	RET()
}

// fpInverseLast is the last two stages and the factors ψ^-i/n, as in inverseLast. The
// products of the inputs with the twiddles are at most 1, so the factors of the
// roots are at most 4 and every result, with what it is added to, is below 5.
func fpInverseLast(name string, add bool) {
	kernel(name, "func(dst, a, tw *float64, stride int, c, next *float64, step int)")
	Doc(name + " runs the last two stages of the inverse transform on 4*stride words of a, and " +
		map[bool]string{false: "writes the results, of magnitude at most q/2, to dst, which may be a.", true: "adds the results to dst, of magnitude at most q/2 before and after."}[add])
	dst := Load(Param("dst"), GP64()).(gp)
	a := Load(Param("a"), GP64()).(gp)
	tw := Load(Param("tw"), GP64()).(gp)
	stride := Load(Param("stride"), GP64()).(gp)
	c := loadFP()
	pf := loadPrefetch()
	SHLQ(Imm(3), stride)
	src, to := newStrided(a, stride, 4), newStrided(dst, stride, 4)
	column := GP64()
	MOVQ(stride, column)
	Label("column")
	pf.lines(1)
	x := fpGroup(src, 4)
	for k := range x {
		x[k] = c.mul(x[k], fpTwiddle(tw, 64*k))
	}
	c.firstStages(x)
	for k := range x {
		if k > 0 {
			x[k] = c.mul(x[k], c.root(k))
		}
		if add {
			VADDPD(to.at(k), x[k], x[k])
		}
		c.reduce(x[k])
		VMOVUPD(x[k], to.at(k))
	}
	ADDQ(Imm(32), a)
	ADDQ(Imm(32), dst)
	ADDQ(U32(256), tw)
	SUBQ(Imm(32), column)
	JNZ(LabelRef("column"))
	VZEROUPPER()
	RET()
}

// fpVectorLoop runs the body for each vector.
func fpVectorLoop(advance []gp, body func()) {
	vectors := Load(Param("vectors"), GP64())
	Label("vector")
	body()
	for _, p := range advance {
		ADDQ(Imm(32), p)
	}
	DECQ(vectors)
	JNZ(LabelRef("vector"))
	VZEROUPPER()
	RET()
}

// fpDigits computes floor(c/2^(48-bl) + 1/2) for the difference c reduced to
// (-q/2, q/2): the division is exact, the sum has at most 49 bits.
func fpDigits() {
	kernel("fpDigits", "func(dst, rot, acc *float64, vectors int, sign float64, c *float64)")
	Doc("fpDigits rounds sign*rot - acc, a difference below 2q, to the top b*l bits, as accel.Rotator defines it.")
	dst := Load(Param("dst"), GP64()).(gp)
	rot := Load(Param("rot"), GP64()).(gp)
	acc := Load(Param("acc"), GP64()).(gp)
	c := loadFP()
	half, scale, sign := c.constant(fpHalf), c.constant(fpDigitScale), YMM()
	VBROADCASTSD(NewParamAddr("sign", 32), sign)
	fpVectorLoop([]gp{dst, rot, acc}, func() {
		d := fpLoad(Mem{Base: rot})
		VFMSUB213PD(Mem{Base: acc}, sign, d)
		c.reduce(d)
		VFMADD213PD(half, scale, d)
		VROUNDPD(Imm(9), d, d)
		VMOVUPD(d, Mem{Base: dst})
	})
}

// fpSplit takes off the lowest digit of a rounded value v. With m =
// ceil(|v|/B - 1/2), |v| - m*B is in (-B/2, B/2], which is the digit of the
// magnitude; m and the digit take the sign of v. All steps are exact.
func fpSplit() {
	kernel("fpSplit", "func(rest, digit *float64, vectors int, c *float64)")
	Doc("fpSplit moves the digit of the lowest b bits of each value, as accel.Rotator defines it, from rest to digit.")
	rest := Load(Param("rest"), GP64()).(gp)
	digit := Load(Param("digit"), GP64()).(gp)
	c := &fp{base: Load(Param("c"), GP64()).(gp)}
	half, base, inverse, mask := c.constant(fpHalf), c.constant(fpBase), c.constant(fpBaseInv), c.constant(fpSignMask)
	fpVectorLoop([]gp{rest, digit}, func() {
		v, m, s := fpLoad(Mem{Base: rest}), YMM(), YMM()
		VANDNPD(v, mask, m)
		VANDPD(v, mask, s)
		VFMSUB213PD(half, inverse, m)
		VROUNDPD(Imm(10), m, m)
		VANDNPD(m, mask, m)
		VORPD(s, m, m)
		VFNMADD231PD(base, m, v)
		VMOVUPD(v, Mem{Base: digit})
		VMOVUPD(m, Mem{Base: rest})
	})
}

// fpImport puts an integer below 2^52 into the last bits of 2^52 and subtracts that.
func fpImport() {
	kernel("fpImport", "func(dst *float64, src *uint64, vectors int, c *float64)")
	Doc("fpImport converts integers below 2^52; dst may be src.")
	dst := Load(Param("dst"), GP64()).(gp)
	src := Load(Param("src"), GP64()).(gp)
	offset := (&fp{base: Load(Param("c"), GP64()).(gp)}).constant(fpOffset)
	fpVectorLoop([]gp{dst, src}, func() { VMOVUPD(fpConvert(Mem{Base: src}, offset), Mem{Base: dst}) })
}

func fpConvert(m Mem, offset vec) vec {
	x := YMM()
	VORPD(m, offset, x)
	VSUBPD(offset, x, x)
	return x
}

func fpExport() {
	kernel("fpExport", "func(dst *uint64, src *float64, vectors int, c *float64)")
	Doc("fpExport converts values of magnitude at most 16q to canonical residues; dst may be src.")
	dst := Load(Param("dst"), GP64()).(gp)
	src := Load(Param("src"), GP64()).(gp)
	c := loadFP()
	offset := c.constant(fpOffset)
	fpVectorLoop([]gp{dst, src}, func() {
		x := fpLoad(Mem{Base: src})
		c.export(x, offset)
		VMOVUPD(x, Mem{Base: dst})
	})
}

// fpMulAcc reduces b to q/2 because mul wants that of one factor.
func fpMulAcc() {
	kernel("fpMulAcc", "func(acc, a, b *uint64, vectors int, c *float64)")
	Doc("fpMulAcc sets acc = acc + a*b mod q, all canonical.")
	acc := Load(Param("acc"), GP64()).(gp)
	a := Load(Param("a"), GP64()).(gp)
	b := Load(Param("b"), GP64()).(gp)
	c := loadFP()
	offset := c.constant(fpOffset)
	fpVectorLoop([]gp{acc, a, b}, func() {
		x, y := fpConvert(Mem{Base: a}, offset), fpConvert(Mem{Base: b}, offset)
		c.reduce(y)
		r := c.mulFactor(x, y)
		z := fpConvert(Mem{Base: acc}, offset)
		VADDPD(z, r, r)
		c.export(r, offset)
		VMOVUPD(r, Mem{Base: acc})
	})
}

// pairedKeySwitch is keySwitch for one ciphertext and VPMADDWD, which leaves the addition
// of the sums of two products to another instruction.
func pairedKeySwitch() {
	kernel("avx2KeySwitch", "func(acc *uint32, key *int16, digits *uint32, pairs int)")
	Doc("avx2KeySwitch adds the products of pairs of digits with the key to the accumulators: 16 low and 16 high sums of columns 0 to 15, and those of columns 16 to 31.")
	acc := Load(Param("acc"), GP64()).(gp)
	key := Load(Param("key"), GP64()).(gp)
	digits := Load(Param("digits"), GP64()).(gp)
	pairs := Load(Param("pairs"), GP64()).(gp)
	sums := make([]vec, 8)
	for i := range sums {
		sums[i] = YMM()
		VMOVDQU(Mem{Base: acc, Disp: 32 * i}, sums[i])
	}
	Label("pair")
	digit := YMM()
	VPBROADCASTD(Mem{Base: digits}, digit)
	for i := range sums {
		if i%2 == 0 {
			PREFETCHT0(Mem{Base: key, Disp: 32*i + 4096})
		}
		p := YMM()
		VPMADDWD(Mem{Base: key, Disp: 32 * i}, digit, p)
		VPADDD(p, sums[i], sums[i])
	}
	ADDQ(U32(256), key)
	ADDQ(Imm(4), digits)
	DECQ(pairs)
	JNZ(LabelRef("pair"))
	for i := range sums {
		VMOVDQU(sums[i], Mem{Base: acc, Disp: 32 * i})
	}
	VZEROUPPER()
	RET()
}
