package cpu

import (
	"math/bits"

	"github.com/tacit-fhe/tacit/accel"
)

// twiddle is a constant factor w < q with its companion p = floor(w*2^64/q)
// (Shoup's trick; Harvey, "Faster arithmetic for number-theoretic transforms",
// 2014, Algorithm 3).
type twiddle struct{ w, p uint64 }

func newTwiddle(w, q uint64) twiddle {
	return twiddle{w, divide(w, 0, q)}
}

// mul returns x*w mod q in [0, 2q) for every x < 2^64: with
// h = floor(x*p/2^64) we have x*w - h*q < q*(1 + x/2^64).
func (t twiddle) mul(x, q uint64) uint64 {
	h, _ := bits.Mul64(x, t.p)
	return x*t.w - h*q
}

// reduceOnce returns x - q if x >= q, else x.
func reduceOnce(x, q uint64) uint64 {
	r, borrow := bits.Sub64(x, q, 0)
	return r + q&-borrow
}

// divide returns floor((hi*2^64 + lo) / q) for hi < q.
func divide(hi, lo, q uint64) uint64 {
	quo, _ := bits.Div64(hi, lo, q)
	return quo
}

// log2 returns floor(log2(n)) for n > 0.
func log2(n int) int { return bits.Len(uint(n)) - 1 }

// mulMod returns x*y mod q for x, y < q.
func mulMod(x, y, q uint64) uint64 {
	hi, lo := bits.Mul64(x, y)
	_, r := bits.Div64(hi, lo, q)
	return r
}

// powMod returns x^e mod q for x < q.
func powMod(x, e, q uint64) uint64 {
	r := uint64(1)
	for ; e != 0; e >>= 1 {
		if e&1 != 0 {
			r = mulMod(r, x, q)
		}
		x = mulMod(x, x, q)
	}
	return r
}

// powersReversed returns [1, x, ..., x^(n-1)] mod q in bit-reversed order.
func powersReversed(x uint64, n int, q uint64) []uint64 {
	shift := 64 - log2(n)
	out := make([]uint64, n)
	for i, p := 0, uint64(1); i < n; i++ {
		out[bits.Reverse64(uint64(i)<<shift)] = p
		p = mulMod(p, x, q)
	}
	return out
}

// ringGeneric is the portable accel.Ring. The transforms are the merged
// negacyclic ones of Longa and Naehrig, "Speeding up the Number Theoretic
// Transform for Faster Ideal Lattice-Based Cryptography", 2016, Algorithms 1
// and 2, two layers per pass over the data.
//
// L is log2(n) <= 16 in all bounds below, and q < 2^50.
type ringGeneric struct {
	n       int
	q       uint64
	barrett uint64    // floor(2^64/q)
	mu      uint64    // floor(2^2k/q), k the length of q in bits
	fwd     []twiddle // ψ^brv(i)
	inv     []twiddle // ψ^-brv(i)
	scale   twiddle   // 1/n
	scaleW  twiddle   // inv[1]/n, for the last inverse layer
}

func newRingGeneric(n int, q uint64) *ringGeneric {
	psi := accel.RootOfUnity(n, q)
	nInv := powMod(uint64(n), q-2, q)
	r := &ringGeneric{n: n, q: q, fwd: make([]twiddle, n), inv: make([]twiddle, n)}
	r.barrett = divide(1, 0, q)
	hi, lo := bits.Mul64(1<<bits.Len64(q), 1<<bits.Len64(q))
	r.mu = divide(hi, lo, q)
	for i, w := range powersReversed(psi, n, q) {
		r.fwd[i] = newTwiddle(w, q)
	}
	for i, w := range powersReversed(powMod(psi, q-2, q), n, q) {
		r.inv[i] = newTwiddle(w, q)
	}
	r.scale = newTwiddle(nInv, q)
	r.scaleW = newTwiddle(mulMod(nInv, r.inv[1].w, q), q)
	return r
}

func (r *ringGeneric) N() int          { return r.n }
func (r *ringGeneric) Modulus() uint64 { return r.q }

func (r *ringGeneric) NTT(dst, src []uint64) {
	checkLen("NTT", r.n, len(dst), len(src))
	copy(dst, src)
	r.forward(dst)
	for i, x := range dst {
		dst[i] = r.reduce(x)
	}
}

func (r *ringGeneric) INTT(dst, src []uint64) {
	checkLen("INTT", r.n, len(dst), len(src))
	copy(dst, src)
	r.inverse(dst)
}

func (r *ringGeneric) MulAcc(acc, a, b []uint64) {
	checkLen("MulAcc", r.n, len(acc), len(a), len(b))
	a, b = a[:len(acc)], b[:len(acc)]
	// Barrett's reduction of p = a*b + acc < q^2 < 2^2k, k the length of q:
	// with mu = floor(2^2k/q), h = floor(floor(p/2^(k-1)) * mu / 2^(k+1)) is at most
	// 2 below floor(p/q) (Menezes et al., Handbook of Applied Cryptography, 14.43).
	q, mu := r.q, r.mu
	k := uint(bits.Len64(q))
	s1, s2, t1, t2 := (k-1)&63, (k+1)&63, (65-k)&63, (63-k)&63
	for i, c := range acc {
		hi, lo := bits.Mul64(a[i], b[i])
		lo, carry := bits.Add64(lo, c, 0)
		hi += carry
		h1, h0 := bits.Mul64(hi<<t1|lo>>s1, mu)
		x := lo - (h1<<t2|h0>>s2)*q
		acc[i] = reduceOnce(reduceOnce(x, q), q)
	}
}

// reduce returns x mod q for x < 2^63. With h = floor(x*barrett/2^64),
// x - h*q < q*(1 + x/2^64) < 2q.
func (r *ringGeneric) reduce(x uint64) uint64 {
	h, _ := bits.Mul64(x, r.barrett)
	return reduceOnce(x-h*r.q, r.q)
}

// forward transforms values below 2q into values below (2L+2)q <= 34q < 2^56:
// each layer replaces (x, y) by (x+t, x-t+2q) with t = w*y mod q in [0, 2q),
// so the bound grows by 2q and nothing needs reducing on the way.
func (r *ringGeneric) forward(a []uint64) {
	q, q2 := r.q, 2*r.q
	size, m := r.n, 1 // m blocks of this size
	if bits.Len(uint(r.n))%2 == 0 {
		// An odd number of layers: one on its own.
		w := r.fwd[1]
		h := size / 2
		x, y := a[:h:h], a[h:][:h]
		for j := range x {
			t := w.mul(y[j], q)
			x[j], y[j] = x[j]+t, x[j]-t+q2
		}
		size, m = h, 2
	}
	for ; size > 4; size, m = size/4, 4*m {
		h := size / 4
		for i := range m {
			w1, w2, w3 := r.fwd[m+i], r.fwd[2*(m+i)], r.fwd[2*(m+i)+1]
			block := a[i*size:][:size]
			b0, b1, b2, b3 := block[:h], block[h:][:h], block[2*h:][:h], block[3*h:][:h]
			for j := range b0 {
				x0, x1 := b0[j], b1[j]
				t2, t3 := w1.mul(b2[j], q), w1.mul(b3[j], q)
				x2, x3 := x0-t2+q2, x1-t3+q2
				x0, x1 = x0+t2, x1+t3
				t1, t3 := w2.mul(x1, q), w3.mul(x3, q)
				b0[j], b1[j] = x0+t1, x0-t1+q2
				b2[j], b3[j] = x2+t3, x2-t3+q2
			}
		}
	}
	// The last two layers work inside groups of four.
	first, second := r.fwd[m:][:m], r.fwd[2*m:][:2*m]
	for len(a) >= 4 && len(first) >= 1 && len(second) >= 2 {
		x0, x1 := a[0], a[1]
		t2, t3 := first[0].mul(a[2], q), first[0].mul(a[3], q)
		x2, x3 := x0-t2+q2, x1-t3+q2
		x0, x1 = x0+t2, x1+t3
		t1, t3 := second[0].mul(x1, q), second[1].mul(x3, q)
		a[0], a[1] = x0+t1, x0-t1+q2
		a[2], a[3] = x2+t3, x2-t3+q2
		a, first, second = a[4:], first[1:], second[2:]
	}
}

// inverse transforms values below 2q into canonical residues, the factor 1/n
// included. Each layer replaces (x, y) by (x+y, w*(x-y+bound)): the bound of
// the sums doubles, that of the products is 2q. After layer l (from 1) all values
// are below 2^l*2q, so 13 layers stay below 2^14*2^50 = 2^64; larger rings reduce once
// after eight layers.
func (r *ringGeneric) inverse(a []uint64) {
	q := r.q
	bound := 2 * q // multiple of q above every value
	m := r.n / 4   // pairs of layers: 2m and then m blocks
	size := 4
	for ; m > 1; m, size = m/4, size*4 {
		if size == 4 {
			inverseGroups(a, r.inv[m:][:m], r.inv[2*m:][:2*m], q, bound)
		} else {
			h := size / 4
			for i := range m {
				w1, w2, w3 := r.inv[m+i], r.inv[2*(m+i)], r.inv[2*(m+i)+1]
				block := a[i*size:][:size]
				b0, b1, b2, b3 := block[:h], block[h:][:h], block[2*h:][:h], block[3*h:][:h]
				for j := range b0 {
					x0, x1, x2, x3 := b0[j], b1[j], b2[j], b3[j]
					x0, x1 = x0+x1, w2.mul(x0-x1+bound, q)
					x2, x3 = x2+x3, w3.mul(x2-x3+bound, q)
					b0[j], b2[j] = x0+x2, w1.mul(x0-x2+2*bound, q)
					b1[j], b3[j] = x1+x3, w1.mul(x1-x3+2*bound, q)
				}
			}
		}
		bound *= 4
		if size == 256 && r.n > 8192 {
			for j, x := range a {
				a[j] = r.reduce(x)
			}
			bound = 2 * q
		}
	}
	if m == 1 {
		// An even number of layers: the last but one on its own.
		h := r.n / 4
		b0, b1, b2, b3 := a[:h:h], a[h:][:h], a[2*h:][:h], a[3*h:][:h]
		w2, w3 := r.inv[2], r.inv[3]
		for j := range b0 {
			b0[j], b1[j] = b0[j]+b1[j], w2.mul(b0[j]-b1[j]+bound, q)
			b2[j], b3[j] = b2[j]+b3[j], w3.mul(b2[j]-b3[j]+bound, q)
		}
		bound *= 2
	}
	h := r.n / 2
	x, y := a[:h:h], a[h:][:h]
	for j := range x {
		s, d := x[j]+y[j], x[j]-y[j]+bound
		x[j] = reduceOnce(r.scale.mul(s, q), q)
		y[j] = reduceOnce(r.scaleW.mul(d, q), q)
	}
}

// inverseGroups runs the first two inverse layers, inside groups of four.
func inverseGroups(a []uint64, second, first []twiddle, q, bound uint64) {
	for len(a) >= 4 && len(second) >= 1 && len(first) >= 2 {
		x0, x1, x2, x3 := a[0], a[1], a[2], a[3]
		x0, x1 = x0+x1, first[0].mul(x0-x1+bound, q)
		x2, x3 = x2+x3, first[1].mul(x2-x3+bound, q)
		a[0], a[2] = x0+x2, second[0].mul(x0-x2+2*bound, q)
		a[1], a[3] = x1+x3, second[0].mul(x1-x3+2*bound, q)
		a, second, first = a[4:], second[1:], first[2:]
	}
}
