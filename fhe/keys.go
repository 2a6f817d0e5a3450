package fhe

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/fhe/codec"
)

// KeyID names a set of keys: the SHA-256 of the encoding of its evaluation key.
// Every ciphertext carries the id of the keys it was made under.
type KeyID [32]byte

func (id KeyID) String() string { return hex.EncodeToString(id[:]) }

// KeySet is everything that key generation makes.
type KeySet struct {
	Secret     *SecretKey
	Public     *PublicKey
	Evaluation *EvaluationKey
}

// NewSeed draws a seed from the operating system.
func NewSeed() (seed [SeedSize]byte) {
	rand.Read(seed[:]) // never fails since Go 1.24
	return seed
}

// GenerateKeys makes the keys that belong to a seed. The seed is the secret:
// whoever knows it knows the keys, and the same seed gives the same bytes on
// every machine. progress, if not nil, is told of the share that is done from
// time to time, by several goroutines.
func GenerateKeys(ctx context.Context, p *Parameters, seed [SeedSize]byte, backend accel.Backend, progress func(done, total int)) (*KeySet, error) {
	ring, err := backend.Ring(p.lit.PolynomialSize, p.lit.Modulus)
	if err != nil {
		return nil, err
	}
	sk := newSecretKey(p, seed, KeyID{})
	g := &generator{SecretKey: sk, ring: ring, secret: sk.transformed(ring)}
	evk, err := g.evaluationKey(ctx, progress)
	if err != nil {
		return nil, err
	}
	sk.id = evk.ID()
	return &KeySet{sk, g.publicKey(), evk}, nil
}

// generator makes the keys that are encryptions under the secret key.
type generator struct {
	*SecretKey
	ring   accel.Ring
	secret [][]uint64 // GLWE key in the evaluation domain
}

// encryptZero sets body = Σ mask_u·S_u + e for the k polynomials of mask, which
// are overwritten. errs is the source of the error.
func (g *generator) encryptZero(body, mask []uint64, errs *stream) {
	n, q := g.ring.N(), g.ring.Modulus()
	clear(body)
	for u, s := range g.secret {
		a := mask[u*n : (u+1)*n]
		g.ring.NTT(a, a)
		g.ring.MulAcc(body, a, s)
	}
	g.ring.INTT(body, body)
	for i := range body {
		body[i] = AddMod(body[i], residue(errs.tuniform(g.params.lit.GLWENoise), q), q)
	}
}

// residue maps an error of absolute value below q to [0, q) without a branch.
func residue(e int64, q uint64) uint64 { return uint64(e) + q&uint64(e>>63) }

// parallel calls the function that worker makes for each i in [0, n), on all
// processors, until ctx ends.
func parallel(ctx context.Context, n int, worker func() func(i int)) error {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			do := worker()
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				do(i)
			}
		})
	}
	wg.Wait()
	return ctx.Err()
}

// decode opens a container in memory of one of the presets.
func decode(data []byte, kind codec.Kind, limit int) (*Parameters, []byte, error) {
	body, _, err := codec.Decode(data, codec.Want{Kind: kind, Limit: uint64(limit)})
	if err != nil {
		return nil, nil, err
	}
	p, err := PresetByFingerprint([32]byte(data[8:40]))
	return p, body, err
}

type sliceWriter []byte

func (w *sliceWriter) Write(p []byte) (int, error) {
	*w = append(*w, p...)
	return len(p), nil
}
