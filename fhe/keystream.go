package fhe

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"sync"

	"github.com/tacit-fhe/tacit/fhe/codec"
)

// KeyStream is an evaluation key that is read while a backend prepares it, so that
// there is no second copy of it in memory. GGSW, KeySwitchRows and PackingRows are
// those of an EvaluationKey, for callers that ask for every step once, in about
// ascending order, then for every coefficient likewise, and then for every packing
// key. They may be called by several goroutines. What they gave may be used only after Close has returned no error.
type KeyStream struct {
	params    *Parameters
	container *codec.Reader
	decoder   *codec.Decoder
	hash      hash.Hash
	seed      [SeedSize]byte

	mu    sync.Mutex
	steps inOrder[uint64]
	rows  inOrder[uint32]
	packs inOrder[uint64]
}

// inOrder deals out the items of a sequence that can only be read one after the
// other.
type inOrder[T any] struct {
	next  int
	early map[int][]T // read for somebody who has not asked yet
}

// take returns item i; read returns the next one of the sequence.
func (o *inOrder[T]) take(i int, read func(i int) []T) []T {
	for o.next <= i {
		if o.early == nil {
			o.early = make(map[int][]T)
		}
		o.early[o.next] = read(o.next)
		o.next++
	}
	item := o.early[i]
	delete(o.early, i)
	return item
}

// StreamEvaluationKey begins to read the container of an evaluation key with the
// given parameters, or of any preset if p is nil. The length is compared with that
// of the parameters.
func StreamEvaluationKey(r io.Reader, p *Parameters) (*KeyStream, error) {
	s := &KeyStream{hash: sha256.New()}
	want := codec.Want{Kind: codec.EvaluationKey, Limit: 1 << 30}
	if p != nil {
		want.Fingerprint = &p.fingerprint
	}
	c, err := codec.NewReader(io.TeeReader(r, s.hash), want)
	if err != nil {
		return nil, err
	}
	if p == nil {
		if p, err = PresetByFingerprint(c.Header().Fingerprint); err != nil {
			return nil, err
		}
	}
	length, need := c.Header().Length, uint64(p.EvaluationKeySize()-codec.Overhead)
	switch {
	case length < need:
		return nil, &codec.TruncatedError{Place: "evaluation key", Need: need, Have: length}
	case length > need:
		return nil, &codec.LimitError{What: "evaluation key", Got: length, Max: need}
	}
	s.params, s.container, s.decoder = p, c, c.Decoder()
	copy(s.seed[:], s.decoder.Bytes("seed", SeedSize))
	return s, s.decoder.Err()
}

// Parameters returns the parameter set of the key.
func (s *KeyStream) Parameters() *Parameters { return s.params }

// GGSW fills dst as EvaluationKey.GGSW does. After an error, which Close returns,
// what it fills in means nothing.
func (s *KeyStream) GGSW(step int, dst []uint64) {
	s.mu.Lock()
	bodies := s.steps.take(step, func(i int) []uint64 {
		bodies := make([]uint64, s.params.stepBodies())
		s.readBodies("bootstrapping key", i, bodies)
		return bodies
	})
	s.mu.Unlock()
	s.params.expandGGSW(s.seed, step, bodies, dst)
}

// KeySwitchRows fills dst as EvaluationKey.KeySwitchRows does, after the last
// GGSW.
func (s *KeyStream) KeySwitchRows(i int, dst []uint32) {
	s.mu.Lock()
	bodies := s.rows.take(i, func(i int) []uint32 {
		bodies := make([]uint32, s.params.lit.KeySwitchGadget.Levels)
		s.readRows(i, bodies)
		return bodies
	})
	s.mu.Unlock()
	s.params.expandKeySwitchRows(s.seed, i, bodies, dst)
}

// PackingRows fills dst as EvaluationKey.PackingRows does, after the last
// KeySwitchRows.
func (s *KeyStream) PackingRows(j int, dst []uint64) {
	s.mu.Lock()
	bodies := s.packs.take(j, func(i int) []uint64 {
		bodies := make([]uint64, s.params.packingBodies())
		s.readBodies("packing key", i, bodies)
		return bodies
	})
	s.mu.Unlock()
	s.params.expandPackingRows(s.seed, j, bodies, dst)
}

// readBodies reads the bodies of the next item of a sequence of GLWE ciphertexts,
// as many for each item: step i, or packing key i.
func (s *KeyStream) readBodies(what string, i int, bodies []uint64) {
	n := s.params.lit.PolynomialSize
	for at := 0; at < len(bodies) && s.decoder.Err() == nil; at += n {
		s.decoder.Enter(what, (i*len(bodies)+at)/n)
		s.decoder.ResiduesTo("body", bodies[at:at+n], s.params.lit.Modulus)
		s.decoder.Leave()
	}
}

// readRows reads the bodies of the next coefficient.
func (s *KeyStream) readRows(i int, bodies []uint32) {
	s.decoder.Enter("key-switching key", i)
	s.decoder.U32sTo("bodies", bodies)
	s.decoder.Leave()
}

// Close checks that everything was read and that the digest is right, and returns
// the id of the key.
func (s *KeyStream) Close() (id KeyID, err error) {
	if err := s.decoder.Finish(); err != nil {
		return id, fmt.Errorf("evaluation key: %w", err)
	}
	if _, err := s.container.Verify(); err != nil {
		return id, fmt.Errorf("evaluation key: %w", err)
	}
	s.hash.Sum(id[:0])
	return id, nil
}

// ReadEvaluationKey reads the container of an evaluation key with the given
// parameters, or of any preset if p is nil, and returns it with its id. The length
// is compared with that of the parameters before memory is taken.
func ReadEvaluationKey(r io.Reader, p *Parameters) (*EvaluationKey, KeyID, error) {
	s, err := StreamEvaluationKey(r, p)
	if err != nil {
		return nil, KeyID{}, err
	}
	k := newEvaluationKey(s.params)
	k.seed = s.seed
	size, levels, packing := s.params.stepBodies(), s.params.lit.KeySwitchGadget.Levels, s.params.packingBodies()
	id, err := s.readAll(
		func(step int) []uint64 { return k.ggsw[step*size : (step+1)*size] },
		func(i int) []uint32 { return k.rows[i*levels : (i+1)*levels] },
		func(j int) []uint64 { return k.packs[j*packing : (j+1)*packing] },
	)
	if err != nil {
		return nil, KeyID{}, err
	}
	return k, id, nil
}

// CheckEvaluationKey reads what ReadEvaluationKey reads, with the same errors, and
// keeps none of it.
func CheckEvaluationKey(r io.Reader, p *Parameters) (KeyID, error) {
	s, err := StreamEvaluationKey(r, p)
	if err != nil {
		return KeyID{}, err
	}
	bodies := make([]uint64, s.params.stepBodies())
	rows := make([]uint32, s.params.lit.KeySwitchGadget.Levels)
	packs := make([]uint64, s.params.packingBodies())
	return s.readAll(func(int) []uint64 { return bodies }, func(int) []uint32 { return rows }, func(int) []uint64 { return packs })
}

// readAll reads the key into the memory that the functions give for each step,
// each coefficient and each packing key.
func (s *KeyStream) readAll(bodies func(step int) []uint64, rows func(i int) []uint32, packs func(j int) []uint64) (KeyID, error) {
	for step := range s.params.Rotation().Steps {
		s.readBodies("bootstrapping key", step, bodies(step))
	}
	for i := 0; i < s.params.BigDimension() && s.decoder.Err() == nil; i++ {
		s.readRows(i, rows(i))
	}
	for j := range s.params.PackingKeys() {
		s.readBodies("packing key", j, packs(j))
	}
	return s.Close()
}
