package fhe

import "github.com/tacit-fhe/tacit/accel"

// This file is for measuring noise with keys that are made for that and thrown
// away. It opens what no computation needs.

// SmallPhase returns b - <a, s> modulo 2^32 of an LWE ciphertext under the small
// key, LWEDimension mask words and the body.
func (sk *SecretKey) SmallPhase(lwe []uint32) uint32 {
	phase := lwe[len(sk.small)]
	for i, a := range lwe[:len(sk.small)] {
		phase -= a & uint32(sk.small[i])
	}
	return phase
}

// RotationPhase returns, modulo 2N, the phase of an LWE ciphertext after the
// modulus switch: the body's exponent less those that the key picks out of the
// exponents of each step.
func (sk *SecretKey) RotationPhase(exps []uint32, body uint32) uint32 {
	spec := sk.params.Rotation()
	first := spec.GGSWs() - spec.Exponents() // 1 where a ciphertext has no exponent
	for i, e := range exps {
		step, j := i/spec.Exponents(), i%spec.Exponents()
		body -= e & uint32(sk.indicator(step, first+j))
	}
	return body & uint32(2*spec.N-1)
}

// EncryptionKeys returns the secret and the public key that GenerateKeys makes
// from the seed, without the evaluation key, which is most of the work, and
// therefore without the id that names the key set: nothing made under them
// belongs to a server.
func EncryptionKeys(p *Parameters, seed [SeedSize]byte, backend accel.Backend) (*SecretKey, *PublicKey, error) {
	ring, err := backend.Ring(p.lit.PolynomialSize, p.lit.Modulus)
	if err != nil {
		return nil, nil, err
	}
	sk := newSecretKey(p, seed, KeyID{})
	g := &generator{SecretKey: sk, ring: ring, secret: sk.transformed(ring)}
	return sk, g.publicKey(), nil
}
