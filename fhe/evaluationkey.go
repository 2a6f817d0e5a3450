package fhe

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/bits"
	"sync/atomic"

	"github.com/tacit-fhe/tacit/fhe/codec"
)

// EvaluationKey is what a server needs to bootstrap: a bootstrapping key, GGSW
// ciphertexts of every bit of the small key, or of every pattern of a group of
// its bits, under the GLWE key, a
// key-switching key, LWE ciphertexts modulo 2^32 of the gadget multiples of
// every bit of the big key under the small key, and, in sets that pack, a
// GLWE key-switching key for each of the automorphisms X -> X^(2^j+1). It is kept
// seeded: only bodies are stored, masks are expanded when a backend prepares the
// key.
type EvaluationKey struct {
	params *Parameters
	seed   [SeedSize]byte
	ggsw   []uint64 // n·(k+1)·levels bodies of N residues
	rows   []uint32 // k·N·levels bodies
	packs  []uint64 // log2(N)·k·levels bodies of N residues
}

func (g *generator) evaluationKey(ctx context.Context, progress func(done, total int)) (*EvaluationKey, error) {
	l := g.params.lit
	evk := newEvaluationKey(g.params)
	evk.seed = deriveSeed(g.seed, "evaluation key", 0)
	steps := g.params.Rotation().Steps
	total := steps + g.params.BigDimension()/64 + g.params.PackingKeys()
	var done atomic.Int64
	tell := func() {
		if d := done.Add(1); progress != nil {
			progress(int(d), total)
		}
	}
	err := parallel(ctx, steps, func() func(int) {
		mask := make([]uint64, g.params.BigDimension())
		return func(i int) {
			g.encryptStep(evk, i, mask)
			tell()
		}
	})
	if err != nil {
		return nil, err
	}
	err = parallel(ctx, g.params.BigDimension()/64, func() func(int) {
		mask := make([]uint32, l.LWEDimension)
		return func(i int) {
			for j := i * 64; j < (i+1)*64; j++ {
				g.keySwitchRows(evk, j, mask)
			}
			tell()
		}
	})
	if err != nil {
		return nil, err
	}
	err = parallel(ctx, g.params.PackingKeys(), func() func(int) {
		mask := make([]uint64, g.params.BigDimension())
		return func(j int) {
			g.packingRows(evk, j, mask)
			tell()
		}
	})
	if err != nil {
		return nil, err
	}
	return evk, nil
}

// encryptStep makes the bodies of the GGSW ciphertexts of a step.
func (g *generator) encryptStep(evk *EvaluationKey, step int, mask []uint64) {
	count := g.params.Rotation().GGSWs()
	for j := range count {
		g.encryptBit(evk, step*count+j, g.indicator(step, j), mask)
	}
}

// encryptBit makes the bodies of GGSW ciphertext i, of the bit whose mask is bit.
// Row (c, j) is an encryption of zero whose phase is moved by -bit·g_j·S_c for a
// mask component c and by bit·g_j for the body, which is the same as adding
// bit·g_j to component c of the row.
func (g *generator) encryptBit(evk *EvaluationKey, i int, bit uint64, mask []uint64) {
	l := g.params.lit
	n, q := l.PolynomialSize, l.Modulus
	rows := (l.Rank + 1) * l.BootstrapGadget.Levels
	for r := range rows {
		index := i*rows + r
		body := evk.ggsw[index*n : (index+1)*n]
		newStream(evk.seed, "ggsw mask", uint64(index)).residues(mask, q)
		g.encryptZero(body, mask, newStream(g.seed, "ggsw error", uint64(index)))
		c, level := r/l.BootstrapGadget.Levels, r%l.BootstrapGadget.Levels+1
		gadget := uint64(1) << (48 - l.BootstrapGadget.BaseLog*level) % q & bit
		if c == l.Rank {
			body[0] = AddMod(body[0], gadget, q)
			continue
		}
		for j, s := range g.big[c*n : (c+1)*n] {
			body[j] = SubMod(body[j], gadget&s, q)
		}
	}
}

// keySwitchRows makes the bodies of the rows of coefficient i of the big key:
// encryptions of S_i·2^(32-BaseLog·j) under the small key modulo 2^32.
func (g *generator) keySwitchRows(evk *EvaluationKey, i int, mask []uint32) {
	levels := g.params.lit.KeySwitchGadget.Levels
	g.encryptGadget(evk.rows[i*levels:(i+1)*levels], g.big[i],
		newStream(evk.seed, "key switch mask", uint64(i)), newStream(g.seed, "key switch error", uint64(i)), mask)
}

// encryptGadget makes the bodies of encryptions of 2^(32-BaseLog·j), j = 1, 2, ...,
// where the mask bit is set, of 0 where it is not, under the small key modulo 2^32.
func (sk *SecretKey) encryptGadget(bodies []uint32, bit uint64, masks, errs *stream, mask []uint32) {
	for j := range bodies {
		masks.words(mask)
		body := uint32(errs.tuniform(sk.params.lit.LWENoise))
		for x, a := range mask {
			body += a & uint32(sk.small[x])
		}
		bodies[j] = body + uint32(1<<(32-sk.params.lit.KeySwitchGadget.BaseLog*(j+1)))&uint32(bit)
	}
}

// packingRows makes the bodies of packing key j, for τ: X -> X^(2^(j+1)+1): row
// (u, level) is an encryption of g_level·τ(S_u).
func (g *generator) packingRows(evk *EvaluationKey, j int, mask []uint64) {
	l := g.params.lit
	n, q := l.PolynomialSize, l.Modulus
	for r := range l.Rank * l.PackingGadget.Levels {
		index := j*l.Rank*l.PackingGadget.Levels + r
		body := evk.packs[index*n : (index+1)*n]
		newStream(evk.seed, "packing mask", uint64(index)).residues(mask, q)
		g.encryptZero(body, mask, newStream(g.seed, "packing error", uint64(index)))
		u, level := r/l.PackingGadget.Levels, r%l.PackingGadget.Levels+1
		gadget := uint64(1) << (48 - l.PackingGadget.BaseLog*level) % q
		for i, s := range g.big[u*n : (u+1)*n] {
			// X^i goes to ±X^at, and the sign depends on i alone.
			at := i * (2<<j + 1) & (2*n - 1)
			if at < n {
				body[at] = AddMod(body[at], gadget&s, q)
			} else {
				body[at-n] = SubMod(body[at-n], gadget&s, q)
			}
		}
	}
}

func newEvaluationKey(p *Parameters) *EvaluationKey {
	gadgets, rows, packs := p.evaluationKeyLen()
	return &EvaluationKey{params: p, ggsw: make([]uint64, gadgets), rows: make([]uint32, rows), packs: make([]uint64, packs)}
}

// Parameters returns the parameter set of the key.
func (k *EvaluationKey) Parameters() *Parameters { return k.params }

// GGSW fills dst with the GGSW ciphertexts of a step of the blind rotation in the
// coefficient domain, in the layout of accel.Backend.Rotator.
func (k *EvaluationKey) GGSW(step int, dst []uint64) {
	size := k.params.stepBodies()
	k.params.expandGGSW(k.seed, step, k.ggsw[step*size:(step+1)*size], dst)
}

// KeySwitchRows fills dst with the rows of coefficient i of the big key, in the
// layout of accel.Backend.KeySwitcher.
func (k *EvaluationKey) KeySwitchRows(i int, dst []uint32) {
	levels := k.params.lit.KeySwitchGadget.Levels
	k.params.expandKeySwitchRows(k.seed, i, k.rows[i*levels:(i+1)*levels], dst)
}

// PackingRows fills dst with the rows of packing key j in [0, PackingKeys), of the
// automorphism τ: X -> X^(2^(j+1)+1), in the coefficient domain: row u·Levels +
// level-1 is a GLWE ciphertext, (k+1)·N residues, of 2^(48-BaseLog·level)·τ(S_u), for
// the Levels digits of BaseLog bits of the PackingGadget.
func (k *EvaluationKey) PackingRows(j int, dst []uint64) {
	size := k.params.packingBodies()
	k.params.expandPackingRows(k.seed, j, k.packs[j*size:(j+1)*size], dst)
}

// PackingKeys is the number of packing keys: log2(N), or 0 in a set that does not
// pack.
func (p *Parameters) PackingKeys() int {
	if !p.Packs() {
		return 0
	}
	return bits.Len(uint(p.lit.PolynomialSize)) - 1
}

// packingBodies is the number of residues in the bodies of a packing key.
func (p *Parameters) packingBodies() int {
	return p.lit.Rank * p.lit.PackingGadget.Levels * p.lit.PolynomialSize
}

// stepBodies is the number of residues in the bodies of a step.
func (p *Parameters) stepBodies() int {
	return p.Rotation().GGSWs() * (p.lit.Rank + 1) * p.lit.BootstrapGadget.Levels * p.lit.PolynomialSize
}

// expandGGSW puts the masks before the bodies of a step.
func (p *Parameters) expandGGSW(seed [SeedSize]byte, step int, bodies, dst []uint64) {
	p.expandGLWE(seed, "ggsw mask", step, bodies, dst)
}

// expandPackingRows puts the masks before the bodies of a packing key.
func (p *Parameters) expandPackingRows(seed [SeedSize]byte, j int, bodies, dst []uint64) {
	p.expandGLWE(seed, "packing mask", j, bodies, dst)
}

// expandGLWE puts the masks before the bodies of item i of a sequence of GLWE
// ciphertexts, as many for each item.
func (p *Parameters) expandGLWE(seed [SeedSize]byte, label string, i int, bodies, dst []uint64) {
	n, size := p.lit.PolynomialSize, p.BigDimension()
	rows := len(bodies) / n
	for r := range rows {
		row := dst[r*(size+n) : (r+1)*(size+n)]
		newStream(seed, label, uint64(i*rows+r)).residues(row[:size], p.lit.Modulus)
		copy(row[size:], bodies[r*n:(r+1)*n])
	}
}

// expandKeySwitchRows puts the masks before the bodies of a coefficient's rows.
func (p *Parameters) expandKeySwitchRows(seed [SeedSize]byte, i int, bodies, dst []uint32) {
	p.expandRows(newStream(seed, "key switch mask", uint64(i)), bodies, dst)
}

// expandRows puts masks before the bodies of rows under the small key.
func (p *Parameters) expandRows(masks *stream, bodies, dst []uint32) {
	n := p.lit.LWEDimension
	for j, body := range bodies {
		row := dst[j*(n+1) : (j+1)*(n+1)]
		masks.words(row[:n])
		row[n] = body
	}
}

// EvaluationKeySize is the number of bytes in the container of an evaluation key.
func (p *Parameters) EvaluationKeySize() int64 {
	gadgets, rows, packs := p.evaluationKeyLen()
	return codec.Overhead + int64(SeedSize+codec.ResidueSize*(gadgets+packs)+4*rows)
}

// evaluationKeyLen is the number of residues of the bootstrapping key, of words of
// the key-switching key and of residues of the packing keys.
func (p *Parameters) evaluationKeyLen() (gadgets, rows, packs int) {
	return p.Rotation().Steps * p.stepBodies(), p.BigDimension() * p.lit.KeySwitchGadget.Levels, p.PackingKeys() * p.packingBodies()
}

// Size is the number of bytes that WriteTo writes.
func (k *EvaluationKey) Size() int64 { return k.params.EvaluationKeySize() }

// WriteTo writes the container of the key.
func (k *EvaluationKey) WriteTo(w io.Writer) (int64, error) {
	c := codec.NewWriter(w, codec.EvaluationKey, k.params.fingerprint, uint64(k.Size())-codec.Overhead)
	e := codec.NewEncoder(c)
	e.Bytes(k.seed[:])
	e.Residues(k.ggsw, k.params.lit.Modulus)
	e.U32s(k.rows)
	e.Residues(k.packs, k.params.lit.Modulus)
	if err := errors.Join(e.Err(), c.Close()); err != nil {
		return 0, err
	}
	return k.Size(), nil
}

// ID returns the id of the key set, the SHA-256 of what WriteTo writes.
func (k *EvaluationKey) ID() (id KeyID) {
	h := sha256.New()
	k.WriteTo(h) // writing to a hash does not fail
	h.Sum(id[:0])
	return id
}
