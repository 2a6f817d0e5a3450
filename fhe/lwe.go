package fhe

import (
	"github.com/tacit-fhe/tacit/fhe/noise"
)

// LWE is a ciphertext under the big key: BigDimension mask residues followed by
// the body, all in [0, q), and what is publicly known of its error and message.
// The zero value is not a ciphertext. Functions never change an LWE they are
// given.
type LWE struct {
	Value []uint64
	Bound noise.Bound
}

// Trivial returns a noiseless ciphertext of m with a zero mask. Anyone can read
// it.
func (p *Parameters) Trivial(m int64) LWE {
	v := make([]uint64, p.BigDimension()+1)
	v[p.BigDimension()] = p.Encode(m)
	return LWE{v, noise.Bound{Min: m, Max: m}}
}

// Uniform returns LWE ciphertext number index of a seed: all its residues are
// drawn from the XOF, so that it encrypts a uniform phase that nobody knows
// without the key. Its message is anywhere on the torus.
func (p *Parameters) Uniform(seed [SeedSize]byte, index uint64) LWE {
	boxes := int64(p.Boxes())
	out := LWE{Value: make([]uint64, p.BigDimension()+1), Bound: noise.Bound{Min: -boxes, Max: boxes - 1}}
	newStream(seed, "uniform lwe", index).residues(out.Value, p.lit.Modulus)
	return out
}

// Term is one weighted ciphertext of a linear combination.
type Term struct {
	Weight int64
	LWE    LWE
}

// Combine returns Σ Weight·LWE + constant, with the bound of the result
// (noise.Combine). Weights lie in [-2^14, 2^14]. It has as many residues as the
// first term, and the others have no fewer.
func (p *Parameters) Combine(constant int64, terms ...Term) LWE {
	n, q := p.BigDimension()+1, p.lit.Modulus
	if len(terms) > 0 {
		n = len(terms[0].LWE.Value)
	}
	out := LWE{Value: make([]uint64, n)}
	bounds := make([]noise.Term, len(terms))
	for i, t := range terms {
		bounds[i] = noise.Term{Weight: t.Weight, Bound: t.LWE.Bound}
		addScaled(out.Value, t.LWE.Value[:n], t.Weight, q)
	}
	out.Value[n-1] = AddMod(out.Value[n-1], p.Encode(constant), q)
	out.Bound = noise.Combine(constant, bounds...)
	return out
}

// SourceOf is the source of an error that belongs to this ciphertext alone.
func SourceOf(c LWE) uint64 { return source(c.Value[0]) }

// source names a fresh error by residues of the mask that came with it, one or, of a
// mask that was cut, three: masks are uniform, so that these tell them apart but for
// one pair in 2^48, which is then bounded more cautiously.
func source(residues ...uint64) (name uint64) {
	for _, x := range residues {
		name = name*0x9e3779b97f4a7c15 + x + 1
	}
	return name
}

// addScaled adds w·src to dst modulo q.
func addScaled(dst, src []uint64, w int64, q uint64) {
	dst = dst[:len(src)]
	switch w {
	case 1:
		for i, x := range src {
			dst[i] = AddMod(dst[i], x, q)
		}
	case -1:
		for i, x := range src {
			dst[i] = SubMod(dst[i], x, q)
		}
	default:
		m := uint64(w)
		if w < 0 {
			m = uint64(-w)
		}
		for i, x := range src {
			// x < 2^48 and |w| <= 2^14: the product stays below 2^62.
			y := x * m % q
			if w < 0 {
				dst[i] = SubMod(dst[i], y, q)
			} else {
				dst[i] = AddMod(dst[i], y, q)
			}
		}
	}
}
