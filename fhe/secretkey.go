package fhe

import (
	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/fhe/codec"
)

// SecretKey holds the two binary secrets: the small LWE key, n bits, and the
// GLWE key, k·N bits, which is also the big LWE key of all ciphertexts at work.
// Both come from one seed.
type SecretKey struct {
	params *Parameters
	id     KeyID
	seed   [SeedSize]byte
	small  []uint64 // n masks, 0 or 2^64-1
	big    []uint64 // k·N masks, 0 or 2^64-1
}

func newSecretKey(p *Parameters, seed [SeedSize]byte, id KeyID) *SecretKey {
	sk := &SecretKey{
		params: p, id: id, seed: seed,
		small: make([]uint64, p.lit.LWEDimension),
		big:   make([]uint64, p.BigDimension()),
	}
	if p.lit.Clear {
		return sk
	}
	if size := p.lit.BlockSize; size > 0 {
		newStream(seed, "lwe key", 0).blocks(sk.small, size)
	} else {
		newStream(seed, "lwe key", 0).masks(sk.small)
	}
	newStream(seed, "glwe key", 0).masks(sk.big)
	return sk
}

// transformed returns the k polynomials of the GLWE key in the evaluation
// domain.
func (sk *SecretKey) transformed(ring accel.Ring) [][]uint64 {
	out := make([][]uint64, sk.params.lit.Rank)
	for u := range out {
		out[u] = make([]uint64, ring.N())
		for i, m := range sk.big[u*ring.N() : (u+1)*ring.N()] {
			out[u][i] = m & 1
		}
		ring.NTT(out[u], out[u])
	}
	return out
}

// indicator is what ciphertext j of a step encrypts, as a mask of 0 or 2^64-1: a
// bit of the key, or, of an unrolled group, whether its bits form the pattern j.
func (sk *SecretKey) indicator(step, j int) uint64 {
	u := sk.params.lit.Unroll
	if u == 0 {
		return sk.small[step*sk.params.Rotation().Exponents()+j]
	}
	all := ^uint64(0)
	for b, s := range sk.small[step*u : (step+1)*u] {
		all &= s ^ (uint64(j>>b)&1 - 1)
	}
	return all
}

// Parameters returns the parameter set of the key.
func (sk *SecretKey) Parameters() *Parameters { return sk.params }

// ID returns the id of the key set.
func (sk *SecretKey) ID() KeyID { return sk.id }

// MarshalBinary returns the container of the key. It is secret.
func (sk *SecretKey) MarshalBinary() ([]byte, error) {
	return codec.Encode(codec.SecretKey, sk.params.fingerprint, append(sk.id[:], sk.seed[:]...)), nil
}

// UnmarshalSecretKey reads the container of a secret key of any preset.
func UnmarshalSecretKey(data []byte) (*SecretKey, error) {
	const size = len(KeyID{}) + SeedSize
	p, body, err := decode(data, codec.SecretKey, size)
	if err != nil {
		return nil, err
	}
	d := codec.NewBytesDecoder(body)
	id, seed := d.Bytes("key id", len(KeyID{})), d.Bytes("seed", SeedSize)
	if err := d.Finish(); err != nil {
		return nil, err
	}
	return newSecretKey(p, [SeedSize]byte(seed), KeyID(id)), nil
}
