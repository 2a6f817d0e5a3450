package fhe

import "math/bits"

// A parameter set that is Clear has keys of zeros: the phase of a ciphertext is its body,
// and everybody can read it. It is for tests of what is built over ciphertexts: all
// formats, bounds and rules are those of other sets, encryption and decryption too, but a
// bootstrap and packing need neither keys nor transforms. What this file computes is what
// a bootstrap computes but for the masks, which mean nothing under such keys, and the
// errors, which are none.

// BootstrapClear computes a programmable bootstrap under a Clear parameter set.
func (p *Parameters) BootstrapClear(task *PBS) {
	size, n := p.BigDimension(), uint64(p.lit.PolynomialSize)
	body := task.In.Value[size]
	// floor(body·2N/q + 1/2), the exponent of the rotation.
	hi, lo := bits.Mul64(body, 2*n)
	lo, carry := bits.Add64(lo, p.lit.Modulus/2, 0)
	e, _ := bits.Div64(hi+carry, lo, p.lit.Modulus)
	poly := task.LUT.poly
	// The mask tells outputs apart, as masks do: by input and table, of which every box counts.
	table := mix(task.In.Value[0] ^ mix(body))
	for at := 0; at < len(poly); at += len(poly) / p.Boxes() {
		table = mix(table ^ poly[at])
	}
	task.Out = make([]LWE, len(task.LUT.outputs))
	for i, o := range task.LUT.outputs {
		value := make([]uint64, size+1)
		at := (e + uint64(o.offset)) % (2 * n)
		if value[size] = poly[at%n]; at >= n {
			value[size] = SubMod(0, value[size], p.lit.Modulus)
		}
		value[0] = mix(table^uint64(i+1)) % p.lit.Modulus
		task.Out[i] = p.Output(task.LUT, i, value)
	}
}

// mix is the finalizer of SplitMix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom
// Number Generators", 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// PackClear packs ciphertexts of a Clear parameter set.
func (p *Parameters) PackClear(in []LWE) *Packed {
	size, n := p.BigDimension(), p.lit.PolynomialSize
	var glwes [][]uint64
	for left := in; len(left) > 0; {
		group := left[:min(len(left), n)]
		left = left[len(group):]
		glwe := make([]uint64, size+n)
		for i := range size {
			glwe[i] = p.packedMiddle() // which rounds to itself
		}
		stride := p.PackedStride(len(group))
		for i, x := range group {
			glwe[size+i*stride] = x.Value[size]
		}
		glwes = append(glwes, glwe)
	}
	return p.NewPacked(glwes, len(in))
}

// Clear says that the keys of the set are zeros, so that everybody can read its
// ciphertexts.
func (p *Parameters) Clear() bool { return p.lit.Clear }
