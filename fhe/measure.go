package fhe

import "github.com/tacit-fhe/tacit/accel"

// This file is for measuring noise with keys that are made for that and thrown
// away. It opens what no computation needs.

// SmallPhase returns b - <a, s> modulo 2^32 of an LWE ciphertext under the small
// key, LWEDimension mask words and the body. Modulo a divisor of 2^32, 2N among
// them, it is also the phase of a ciphertext that was switched to that modulus.
func (sk *SecretKey) SmallPhase(lwe []uint32) uint32 {
	phase := lwe[len(sk.small)]
	for i, a := range lwe[:len(sk.small)] {
		phase -= a & uint32(sk.small[i])
	}
	return phase
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
