package cpu

import (
	"math/bits"
	"sync"

	"github.com/tacit-fhe/tacit/accel"
)

// keySwitcherGeneric is the portable accel.KeySwitcher.
type keySwitcherGeneric struct {
	spec    accel.KeySwitchSpec
	mask    modulusSwitch // to BaseLog*Levels bits
	body    modulusSwitch // to 32 bits
	key     []uint32      // NIn * Levels rows of NOut+1 words
	scratch sync.Pool     // *[]uint32, the digits of one coefficient
}

func newKeySwitcherGeneric(spec accel.KeySwitchSpec, rows func(i int, dst []uint32)) *keySwitcherGeneric {
	size := spec.Levels * (spec.NOut + 1)
	k := &keySwitcherGeneric{
		spec: spec,
		mask: newModulusSwitch(spec.Q, spec.BaseLog*spec.Levels),
		body: newModulusSwitch(spec.Q, 32),
		key:  make([]uint32, spec.NIn*size),
	}
	hugePages(k.key)
	k.scratch.New = func() any {
		digits := make([]uint32, spec.Levels)
		return &digits
	}
	parallel(spec.NIn, func(next func() (int, bool)) {
		for i, ok := next(); ok; i, ok = next() {
			rows(i, k.key[i*size:][:size:size])
		}
	})
	return k
}

func (k *keySwitcherGeneric) Switch(out [][]uint32, in [][]uint64) {
	checkSwitch(k.spec, out, in)
	digits := k.scratch.Get().(*[]uint32)
	for t := range out {
		clear(out[t])
		out[t][k.spec.NOut] = k.body.round(in[t][k.spec.NIn])
	}
	width := k.spec.NOut + 1
	size := k.spec.Levels * width
	for i := range k.spec.NIn {
		rows := k.key[i*size:][:size]
		for t := range out {
			switchDigits(*digits, k.mask.round(in[t][i]), k.spec.BaseLog)
			subScaled(out[t], rows, *digits)
		}
	}
	k.scratch.Put(digits)
}

// checkSwitch panics unless the slices have the lengths of the specification.
func checkSwitch(spec accel.KeySwitchSpec, out [][]uint32, in [][]uint64) {
	checkLen("Switch: in", len(out), len(in))
	for t := range out {
		checkLen("Switch: output", spec.NOut+1, len(out[t]))
		checkLen("Switch: input", spec.NIn+1, len(in[t]))
	}
}

// modulusSwitch rounds residues modulo q to multiples of q/2^w.
type modulusSwitch struct {
	q, reciprocal uint64 // floor(2^(64+w)/q)
	w             int
}

// newModulusSwitch takes 2^32 < q < 2^50 and w <= 32.
func newModulusSwitch(q uint64, w int) modulusSwitch {
	return modulusSwitch{q, divide(1<<w, 0, q), w}
}

// round returns floor((x*2^w + (q-1)/2)/q) mod 2^32 for x < q. The estimate
// floor(x*reciprocal/2^64) is below x*2^w/q by less than x/2^64 + 1 < 1 + 2^-14, so it
// is the result or one less, and the remainder, below 2q, tells.
func (m modulusSwitch) round(x uint64) uint32 {
	estimate, _ := bits.Mul64(x, m.reciprocal)
	remainder := x<<m.w + m.q/2 - estimate*m.q
	if remainder >= m.q {
		estimate++
	}
	return uint32(estimate)
}

// switchDigits writes the digits, as defined by accel.KeySwitcher, of a rounded
// coefficient, whose bits above b*len(digits) do not count. Level 1 comes first.
func switchDigits(digits []uint32, v uint32, b int) {
	l := len(digits)
	unused := uint(32-b*l) & 31
	// The lift to (-2^(bl-1), 2^(bl-1)] by an arithmetic shift sends 2^(bl-1) to
	// its negative, whose magnitude is the same; only the sign is wrong.
	lifted := uint32(int32(v<<unused) >> unused)
	sign := -(lifted >> 31)
	v = (lifted ^ sign) - sign
	if v == 1<<(b*l-1) {
		sign = 0
	}
	mask, half := uint32(1)<<b-1, uint32(1)<<b>>1
	for level := l - 1; level > 0; level-- {
		d := v & mask
		carry := (half - d) >> 31
		v = v>>b + carry
		d -= carry << b
		digits[level] = (d ^ sign) - sign
	}
	digits[0] = (v ^ sign) - sign
}

// subScaled subtracts from out the rows, one after the other in rows, times
// their digits.
func subScaled(out, rows, digits []uint32) {
	width := len(out)
	for len(digits) >= 4 {
		r0, r1, r2, r3 := rows[:width], rows[width:][:width], rows[2*width:][:width], rows[3*width:][:width]
		d0, d1, d2, d3 := digits[0], digits[1], digits[2], digits[3]
		for m := range out {
			out[m] -= d0*r0[m] + d1*r1[m] + d2*r2[m] + d3*r3[m]
		}
		digits, rows = digits[4:], rows[4*width:]
	}
	for i, d := range digits {
		row := rows[i*width:][:width]
		for m := range out {
			out[m] -= d * row[m]
		}
	}
}
