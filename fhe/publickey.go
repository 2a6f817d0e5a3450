package fhe

import (
	"github.com/tacit-fhe/tacit/fhe/codec"
)

// PublicKey is a GLWE public key (a module-LWE encryption key of rank k, as in
// Regev, 2005, with a binary ephemeral secret): A a k×k matrix of polynomials
// expanded from a seed, and b = A·S + e.
type PublicKey struct {
	params *Parameters
	id     KeyID
	seed   [SeedSize]byte
	body   [][]uint64 // k polynomials
}

func (g *generator) publicKey() *PublicKey {
	k, n := g.params.lit.Rank, g.ring.N()
	pk := &PublicKey{params: g.params, id: g.id, seed: deriveSeed(g.seed, "public key", 0), body: make([][]uint64, k)}
	mask := make([]uint64, k*n)
	for u := range pk.body {
		pk.body[u] = make([]uint64, n)
		newStream(pk.seed, "public mask", uint64(u)).residues(mask, g.params.lit.Modulus)
		g.encryptZero(pk.body[u], mask, newStream(g.seed, "public error", uint64(u)))
	}
	return pk
}

// Parameters returns the parameter set of the key.
func (pk *PublicKey) Parameters() *Parameters { return pk.params }

// ID returns the id of the key set.
func (pk *PublicKey) ID() KeyID { return pk.id }

// MarshalBinary returns the container of the key.
func (pk *PublicKey) MarshalBinary() ([]byte, error) {
	b := new(sliceWriter)
	e := codec.NewEncoder(b)
	e.Bytes(pk.id[:])
	e.Bytes(pk.seed[:])
	for _, poly := range pk.body {
		e.Residues(poly, pk.params.lit.Modulus)
	}
	return codec.Encode(codec.PublicKey, pk.params.fingerprint, *b), e.Err()
}

// UnmarshalPublicKey reads the container of a public key of any preset.
func UnmarshalPublicKey(data []byte) (*PublicKey, error) {
	p, body, err := decode(data, codec.PublicKey, 1<<20)
	if err != nil {
		return nil, err
	}
	pk := &PublicKey{params: p, body: make([][]uint64, p.lit.Rank)}
	d := codec.NewBytesDecoder(body)
	copy(pk.id[:], d.Bytes("key id", len(pk.id)))
	copy(pk.seed[:], d.Bytes("seed", SeedSize))
	for u := range pk.body {
		d.Enter("body", u)
		pk.body[u] = d.Residues("residues", p.lit.PolynomialSize, p.lit.Modulus)
		d.Leave()
	}
	if err := d.Finish(); err != nil {
		return nil, err
	}
	return pk, nil
}

// PublicKeySize is the number of bytes in the container of a public key.
func (p *Parameters) PublicKeySize() int64 {
	return codec.Overhead + int64(len(KeyID{})+SeedSize+codec.ResidueSize*p.BigDimension())
}
