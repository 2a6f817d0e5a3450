package cpu

import (
	"math/bits"
	"sync"

	"github.com/tacit-fhe/tacit/accel"
)

// rotatorGeneric is the portable accel.Rotator.
type rotatorGeneric struct {
	spec accel.RotatorSpec
	ring *ringGeneric
	rows int // (Rank+1)*Levels
	// key[((i*GGSWs+g)*(Rank+1)+o)*rows+r] * N is where polynomial o of row r of
	// ciphertext g of step i starts: transformed, times 2^64 mod q (Montgomery
	// form).
	key     []uint64
	qInv    uint64   // q^-1 mod 2^64
	powers  []uint64 // ψ^i for i < 2N in Montgomery form, for modes with several ciphertexts
	odd     []uint32 // 2*brv(j)+1
	scratch sync.Pool
}

// rotatorScratch is what one blind rotation needs next to its accumulator.
type rotatorScratch struct {
	digits []uint64 // rows polynomials
	poly   []uint64
	bundle []uint64 // (Rank+1)*rows polynomials, in the modes with several ciphertexts
	mono   []uint64 // a monomial in the evaluation domain, in Montgomery form
}

func newRotatorGeneric(spec accel.RotatorSpec, ggsw func(i int, dst []uint64)) *rotatorGeneric {
	k1 := spec.Rank + 1
	n, rows := spec.N, k1*spec.Levels
	r := &rotatorGeneric{
		spec: spec,
		ring: newRingGeneric(n, spec.Q),
		rows: rows,
		key:  make([]uint64, spec.Steps*spec.GGSWs()*k1*rows*n),
		qInv: inverseMod2to64(spec.Q),
	}
	hugePages(r.key)
	r.scratch.New = func() any {
		s := &rotatorScratch{digits: make([]uint64, rows*n), poly: make([]uint64, n)}
		if spec.Mode != accel.CMux {
			s.bundle, s.mono = make([]uint64, k1*rows*n), make([]uint64, n)
		}
		return s
	}
	_, montgomery := bits.Div64(1, 0, spec.Q)
	toForm := newTwiddle(montgomery, spec.Q)
	parallel(spec.Steps, func(next func() (int, bool)) {
		rowsIn := make([]uint64, spec.GGSWs()*rows*k1*n)
		for i, ok := next(); ok; i, ok = next() {
			ggsw(i, rowsIn)
			for row := range spec.GGSWs() * rows {
				g, row, from := row/rows, row%rows, row*k1*n
				for o := range k1 {
					dst := r.key[(((i*spec.GGSWs()+g)*k1+o)*rows+row)*n:][:n]
					copy(dst, rowsIn[from+o*n:])
					r.ring.forward(dst)
					for j, x := range dst {
						dst[j] = reduceOnce(toForm.mul(x, spec.Q), spec.Q)
					}
				}
			}
		}
	})
	if spec.Mode != accel.CMux {
		r.powers, r.odd = make([]uint64, 2*n), make([]uint32, n)
		psi := newTwiddle(accel.RootOfUnity(n, spec.Q), spec.Q)
		power := montgomery
		for i := range r.powers {
			r.powers[i] = power
			power = reduceOnce(psi.mul(power, spec.Q), spec.Q)
		}
		for j := range r.odd {
			r.odd[j] = 2*(bits.Reverse32(uint32(j))>>(32-bits.Len(uint(n-1)))) + 1
		}
	}
	return r
}

// inverseMod2to64 returns q^-1 mod 2^64 for odd q: each of Newton's steps
// doubles the number of right bits, from the 3 of q itself.
func inverseMod2to64(q uint64) uint64 {
	x := q
	for range 5 {
		x *= 2 - q*x
	}
	return x
}

func (r *rotatorGeneric) Rotate(acc [][]uint64, exps [][]uint32) {
	checkRotate(r.spec, acc, exps)
	s := r.scratch.Get().(*rotatorScratch)
	for i := range r.spec.Steps {
		for t := range acc {
			if r.spec.Mode == accel.CMux {
				r.step(acc[t], i, exps[t][i], s)
			} else {
				r.bundled(acc[t], i, exps[t][i*r.spec.Terms:][:r.spec.Terms], s)
			}
		}
	}
	r.scratch.Put(s)
}

// checkRotate panics unless the slices have the lengths of the specification.
func checkRotate(spec accel.RotatorSpec, acc [][]uint64, exps [][]uint32) {
	checkLen("Rotate: exps", len(acc), len(exps))
	for t := range acc {
		checkLen("Rotate: accumulator", (spec.Rank+1)*spec.N, len(acc[t]))
		checkLen("Rotate: exponents", spec.Steps*spec.Exponents(), len(exps[t]))
	}
}

// step does acc += GGSW_i ⊡ (X^e*acc - acc).
func (r *rotatorGeneric) step(acc []uint64, i int, e uint32, s *rotatorScratch) {
	n, q, k1, l := r.spec.N, r.spec.Q, r.spec.Rank+1, r.spec.Levels
	for c := range k1 {
		rotateSub(s.poly, acc[c*n:][:n], e, q)
		decomposeGeneric(s.digits[c*l*n:][:l*n], s.poly, q, r.spec.BaseLog, l)
	}
	for row := range r.rows {
		r.ring.forward(s.digits[row*n:][:n])
	}
	for o := range k1 {
		r.product(s.poly, s.digits, r.key[(i*k1+o)*r.rows*n:][:r.rows*n])
		r.ring.inverse(s.poly)
		dst := acc[o*n:][:n]
		for j, x := range s.poly[:len(dst)] {
			dst[j] = reduceOnce(dst[j]+x, q)
		}
	}
}

// bundled does a step of the modes with several ciphertexts: their combination,
// and then one external product with it.
func (r *rotatorGeneric) bundled(acc []uint64, i int, exps []uint32, s *rotatorScratch) {
	n, q, k1, l := r.spec.N, r.spec.Q, r.spec.Rank+1, r.spec.Levels
	r.combine(s.bundle, i, exps, s.mono)
	for c := range k1 {
		decomposeGeneric(s.digits[c*l*n:][:l*n], acc[c*n:][:n], q, r.spec.BaseLog, l)
	}
	for row := range r.rows {
		r.ring.forward(s.digits[row*n:][:n])
	}
	for o := range k1 {
		r.product(s.poly, s.digits, s.bundle[o*r.rows*n:][:r.rows*n])
		r.ring.inverse(s.poly)
		dst := acc[o*n:][:n]
		if r.spec.Mode == accel.Unrolled {
			copy(dst, s.poly)
			continue
		}
		for j, x := range s.poly[:len(dst)] {
			dst[j] = reduceOnce(dst[j]+x, q)
		}
	}
}

// combine sets bundle to the combination of the ciphertexts of a step, canonical
// and in Montgomery form. X^e is ψ^(e*(2*brv(j)+1)) at point j.
func (r *rotatorGeneric) combine(bundle []uint64, i int, exps []uint32, mono []uint64) {
	n, q := r.spec.N, r.spec.Q
	size := len(bundle)
	ggsw := r.key[i*r.spec.GGSWs()*size:]
	if r.spec.Mode == accel.Unrolled {
		copy(bundle, ggsw)
		ggsw = ggsw[size:]
	} else {
		clear(bundle)
	}
	one := r.powers[0]
	for _, e := range exps {
		for j, odd := range r.odd {
			mono[j] = r.powers[e*odd&uint32(2*n-1)]
			if r.spec.Mode == accel.Block {
				mono[j] = reduceOnce(mono[j]+q-one, q)
			}
		}
		for at := 0; at < size; at += n {
			dst, key := bundle[at:][:n], ggsw[at:][:n]
			for j, m := range mono[:n] {
				// Montgomery's product of residues below q is in (0, 2q).
				hi, lo := bits.Mul64(m, key[j])
				t, _ := bits.Mul64(lo*r.qInv, q)
				dst[j] = reduceOnce(dst[j]+reduceOnce(hi-t+q, q), q)
			}
		}
		ggsw = ggsw[size:]
	}
}

// rotateSub sets dst = X^e*a - a, canonical, in Z_q[X]/(X^N+1); e counts modulo 2N.
func rotateSub(dst, a []uint64, e uint32, q uint64) {
	n := len(a)
	shift := int(e) & (n - 1)
	// Coefficient j of X^shift*a is a[j-shift], with the sign changed for
	// j < shift; X^N changes it once more.
	wrapped, straight := dst[:shift], dst[shift:]
	if e&uint32(n) == 0 {
		subSum(wrapped, a[n-shift:], a[:shift], q)
		subDifference(straight, a[:n-shift], a[shift:], q)
	} else {
		subDifference(wrapped, a[n-shift:], a[:shift], q)
		subSum(straight, a[:n-shift], a[shift:], q)
	}
}

// subSum sets dst = -x - y mod q.
func subSum(dst, x, y []uint64, q uint64) {
	x, y = x[:len(dst)], y[:len(dst)]
	for j := range dst {
		// 2q - x - y lies in (0, 2q].
		dst[j] = reduceOnce(reduceOnce(2*q-x[j]-y[j], q), q)
	}
}

// subDifference sets dst = x - y mod q.
func subDifference(dst, x, y []uint64, q uint64) {
	x, y = x[:len(dst)], y[:len(dst)]
	for j := range dst {
		d, borrow := bits.Sub64(x[j], y[j], 0)
		dst[j] = d + q&-borrow
	}
}

// decomposeGeneric writes the digits of the canonical residues x as defined by
// accel.Rotator, each plus q and so in (0, 2q), level 1 first: digits holds
// levels*len(x) values.
func decomposeGeneric(digits, x []uint64, q uint64, baseLog, levels int) {
	n := len(x)
	shift := uint(48-baseLog*levels) & 63
	round := uint64(1) << shift >> 1
	mask, half := uint64(1)<<baseLog-1, uint64(1)<<baseLog>>1
	top := digits[:n]
	for j, x := range x {
		// x - (q if x > q/2), rounded; then sign (all ones if negative) and
		// magnitude.
		c := x - q&-((q/2-x)>>63)
		v := uint64(int64(c+round) >> shift)
		sign := -(v >> 63)
		v = (v ^ sign) - sign
		for level := levels - 1; level > 0; level-- {
			d := v & mask
			carry := (half - d) >> 63
			v = v>>baseLog + carry
			d -= carry << baseLog
			digits[level*n+j] = (d ^ sign) - sign + q
		}
		top[j] = (v ^ sign) - sign + q
	}
}

// product sets out = Σ_row digits_row * key_row pointwise, in (0, 2q), for digits below
// 34q and keys in Montgomery form. A sum of at most 17*48 products is below
// 816*34*q^2 < 2^64*q because q < 2^48, so its high word is below q; Montgomery's
// reduction subtracts a value below q from it.
func (r *rotatorGeneric) product(out, digits, key []uint64) {
	n, q, qInv := r.spec.N, r.spec.Q, r.qInv
	out = out[:n]
	if r.rows == 2 {
		d0, d1, k0, k1 := digits[:n], digits[n:][:n], key[:n], key[n:][:n]
		for j := range out {
			h0, l0 := bits.Mul64(d0[j], k0[j])
			h1, l1 := bits.Mul64(d1[j], k1[j])
			lo, carry := bits.Add64(l0, l1, 0)
			t, _ := bits.Mul64(lo*qInv, q)
			out[j] = h0 + h1 + carry - t + q
		}
		return
	}
	for j := range out {
		var hi, lo uint64
		for at := j; at < len(digits) && at < len(key); at += n {
			h, l := bits.Mul64(digits[at], key[at])
			var carry uint64
			lo, carry = bits.Add64(lo, l, 0)
			hi += h + carry
		}
		t, _ := bits.Mul64(lo*qInv, q)
		out[j] = hi - t + q
	}
}
