package fhe

import (
	"math/bits"

	"github.com/tacit-fhe/tacit/fhe/codec"
	"github.com/tacit-fhe/tacit/fhe/noise"
)

// Packed is a list of LWE ciphertexts at rest: one GLWE ciphertext for each group of
// up to N of them, its body cut to the coefficients that hold one and its residues
// to PackedBits bits. What is left of a residue of a mask stands for the middle of the
// residues that it is left of: multiples of a power of two would be halfway between two
// digits of the key switch far too often, and round to the same side every time.
type Packed struct {
	counts []int      // of the ciphertexts of a group
	masks  [][]uint64 // k·N residues a group, less the middle with their low bits zero
	bodies []uint64   // one residue a ciphertext, their low bits zero
}

// PackedStride is the distance between the coefficients that hold the ciphertexts of
// a group of count in [1, N]: N divided by the next power of two.
func (p *Parameters) PackedStride(count int) int {
	return p.lit.PolynomialSize >> bits.Len(uint(count-1))
}

// NewPacked rounds GLWE ciphertexts of (k+1)·N residues, each with a group of the
// count ciphertexts at the coefficients that are multiples of PackedStride.
func (p *Parameters) NewPacked(glwes [][]uint64, count int) *Packed {
	n, size := p.lit.PolynomialSize, p.BigDimension()
	c := &Packed{bodies: make([]uint64, 0, count)}
	for _, glwe := range glwes {
		mask, round := p.cut(glwe[:size])
		group := min(count-len(c.bodies), n)
		stride := p.PackedStride(group)
		for i := range group {
			c.bodies = append(c.bodies, round(i*stride, glwe[size+i*stride]))
		}
		c.counts = append(c.counts, group)
		c.masks = append(c.masks, mask)
	}
	return c
}

// cut rounds the mask of a GLWE ciphertext, k·N residues, to PackedBits bits each, and
// returns the function that rounds coefficient h of its body to the same number of bits.
//
// Rounding is centred: it changes a mask A by E, and a phase by E·S, of which
// E·Σ X^i/2 is the mean over the keys and public. That is taken out of the body
// (noise.PackedRounding).
func (p *Parameters) cut(mask []uint64) (cut []uint64, round func(h int, body uint64) uint64) {
	n, q := p.lit.PolynomialSize, p.lit.Modulus
	cut = make([]uint64, len(mask))
	shift := make([]int64, n) // coefficients of E·Σ X^i
	for u := 0; u < len(mask); u += n {
		// Coefficient h of E·Σ X^i is Σ_{i<=h} e_i - Σ_{i>h} e_i. With at
		// most 16 polynomials of 2^16 errors of at most 2^31 nothing overflows.
		var sum int64
		for i, a := range mask[u : u+n] {
			cut[u+i] = AddMod(a>>p.packedDrop<<p.packedDrop, p.packedMiddle(), q)
			sum += centred(SubMod(a, cut[u+i], q), q)
			shift[i] += 2 * sum
		}
		for i := range shift {
			shift[i] -= sum
		}
	}
	return cut, func(h int, body uint64) uint64 {
		return p.round(SubMod(body, residue(shift[h]>>1%int64(q), q), q))
	}
}

// JoinPacked returns the ciphertexts of several lists in one, which shares their
// memory.
func JoinPacked(lists ...*Packed) *Packed {
	out := new(Packed)
	for _, c := range lists {
		out.counts = append(out.counts, c.counts...)
		out.masks = append(out.masks, c.masks...)
		out.bodies = append(out.bodies, c.bodies...)
	}
	return out
}

// round returns the multiple of 2^packedDrop that is nearest to a residue, as a
// residue: those at the end of the range go to 0.
func (p *Parameters) round(x uint64) uint64 {
	if p.packedDrop == 0 {
		return x
	}
	y := (x + 1<<(p.packedDrop-1)) >> p.packedDrop << p.packedDrop
	if y >= p.lit.Modulus {
		return 0
	}
	return y
}

// packedMiddle is half of what is dropped of a residue.
func (p *Parameters) packedMiddle() uint64 { return 1 << p.packedDrop >> 1 }

// centred lifts a residue to (-q/2, q/2).
func centred(x, q uint64) int64 {
	if x > q/2 {
		return int64(x) - int64(q)
	}
	return int64(x)
}

// Len is the number of ciphertexts.
func (c *Packed) Len() int { return len(c.bodies) }

// LWE extracts ciphertext i, with the bound given. No key is needed.
func (c *Packed) LWE(p *Parameters, i int, bound noise.Bound) LWE {
	size := p.BigDimension()
	out := LWE{Value: make([]uint64, size+1), Bound: bound}
	out.Value[size] = c.bodies[i]
	group := 0
	for i >= c.counts[group] {
		i -= c.counts[group]
		group++
	}
	p.ExtractMask(out.Value, c.masks[group], i*p.PackedStride(c.counts[group]))
	return out
}

// Encode appends the ciphertexts, without their number and bounds, to a body: the
// number of groups and the size of each, 4 bytes each, all masks, and all bodies, cut
// to PackedBits.
func (c *Packed) Encode(p *Parameters, e *codec.Encoder) {
	e.U32(uint32(len(c.counts)))
	for _, n := range c.counts {
		e.U32(uint32(n))
	}
	p.encodeCut(e, c.masks, c.bodies)
}

// encodeCut appends masks and bodies that were cut.
func (p *Parameters) encodeCut(e *codec.Encoder, masks [][]uint64, bodies []uint64) {
	cut := make([]uint64, p.BigDimension())
	for _, m := range masks {
		for i, x := range m {
			cut[i] = SubMod(x, p.packedMiddle(), p.lit.Modulus)
		}
		e.CutResidues(cut, p.packedDrop, p.lit.Modulus)
	}
	e.CutResidues(bodies, p.packedDrop, p.lit.Modulus)
}

// decodeCut reads what encodeCut wrote.
func (p *Parameters) decodeCut(d *codec.Decoder, groups, count int) (masks [][]uint64, bodies []uint64) {
	for g := 0; g < groups && d.Err() == nil; g++ {
		d.Enter("mask", g)
		mask := d.CutResidues("residues", p.BigDimension(), p.packedDrop, p.lit.Modulus)
		for i, x := range mask {
			mask[i] = AddMod(x, p.packedMiddle(), p.lit.Modulus)
		}
		masks = append(masks, mask)
		d.Leave()
	}
	if d.Err() == nil {
		bodies = d.CutResidues("bodies", count, p.packedDrop, p.lit.Modulus)
	}
	return masks, bodies
}

// DecodePacked reads count packed ciphertexts, at most MaxSlots.
func DecodePacked(p *Parameters, d *codec.Decoder, count int) (*Packed, error) {
	c := new(Packed)
	if d.Err() == nil && count > MaxSlots {
		d.Fail("bodies", &codec.LimitError{What: "messages", Got: uint64(count), Max: MaxSlots})
	}
	left := count
	for range d.Count("groups", count, 4) {
		n := d.U32("group")
		if most := min(left, p.lit.PolynomialSize); d.Err() == nil && (n < 1 || int64(n) > int64(most)) {
			d.Fail("group", &codec.LimitError{What: "ciphertexts", Got: uint64(n), Max: uint64(most)})
		}
		if d.Err() != nil {
			return nil, d.Err()
		}
		c.counts = append(c.counts, int(n))
		left -= int(n)
	}
	if left > 0 {
		d.Fail("groups", &codec.TruncatedError{Place: "groups", Need: uint64(count), Have: uint64(count - left)})
	}
	c.masks, c.bodies = p.decodeCut(d, len(c.counts), count)
	return c, d.Err()
}
