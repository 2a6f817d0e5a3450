package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tacit-fhe/tacit/coprocessor/internal/failpoint"
)

// Ciphertext is a record to store: the canonical encoding of one ciphertext and
// what a reader wants to know about it without reading it.
type Ciphertext struct {
	Handle [32]byte
	Type   uint8    // fhEVM type code: 0 ebool, 2 euint8, ... 5 euint64
	KeyID  [32]byte // SHA-256 of the evaluation key it is computed under
	Record []byte   // at most MaxRecord bytes
	// Maker is for whom it is stored, at most 255 bytes; empty for nobody.
	Maker string
	// Origin is a digest of what it was computed from, where the handle is that of a
	// computation; else zero. Whoever stores the ciphertext again changes neither.
	Origin [32]byte
}

// Meta describes a stored ciphertext.
type Meta struct {
	Type   uint8
	KeyID  [32]byte
	Digest [32]byte // SHA-256 of the record
	Size   int      // length of the record in bytes
}

// A meta record is a format version, the type code, the key id, the digest and
// the size as 8 big-endian bytes; in version 2 the maker follows, in version 3 the
// origin and the maker, which may be empty.
const (
	metaVersion  = 1
	metaOfMaker  = 2
	metaOfOrigin = 3
	metaSize     = 1 + 1 + 32 + 32 + 8
	maxMakerSize = 255
)

// encode is the record of what has neither maker nor origin.
func (m Meta) encode() []byte { return m.encodeOf("", [32]byte{}) }

func (m Meta) encodeOf(maker string, origin [32]byte) []byte {
	b := make([]byte, 0, metaSize+len(origin)+len(maker))
	version := byte(metaVersion)
	switch {
	case origin != [32]byte{}:
		version = metaOfOrigin
	case maker != "":
		version = metaOfMaker
	}
	b = append(b, version, m.Type)
	b = append(b, m.KeyID[:]...)
	b = append(b, m.Digest[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(m.Size))
	if version == metaOfOrigin {
		b = append(b, origin[:]...)
	}
	return append(b, maker...)
}

// originIn is the origin in a meta record that can be decoded.
func originIn(b []byte) (origin [32]byte) {
	if b[0] == metaOfOrigin {
		copy(origin[:], b[metaSize:])
	}
	return origin
}

// makerIn is the maker in a meta record that can be decoded.
func makerIn(b []byte) string {
	if b[0] == metaOfOrigin {
		return string(b[metaSize+32:])
	}
	return string(b[metaSize:])
}

func decodeMeta(b []byte) (Meta, error) {
	ok := false
	if len(b) >= metaSize {
		switch rest := len(b) - metaSize; b[0] {
		case metaVersion:
			ok = rest == 0
		case metaOfMaker:
			ok = rest > 0 && rest <= maxMakerSize
		case metaOfOrigin:
			ok = rest >= 32 && rest <= 32+maxMakerSize && originIn(b) != [32]byte{}
		}
	}
	if !ok {
		return Meta{}, errors.New("not a meta record of version 1, 2 or 3")
	}
	size := binary.BigEndian.Uint64(b[66:])
	if size > MaxRecord {
		return Meta{}, fmt.Errorf("size %d over the limit of %d", size, MaxRecord)
	}
	return Meta{Type: b[1], KeyID: [32]byte(b[2:34]), Digest: [32]byte(b[34:66]), Size: int(size)}, nil
}

// Ciphertexts maps handles to ciphertexts, once and for all: a handle never
// changes which value it names, and only Replace changes the key it is under. Records lie in the bucket "ciphertexts"; a small record
// in "ciphertext-meta" is written after them, and its presence is what makes a
// ciphertext exist. Ciphertexts is safe for concurrent use, also by several
// processes.
type Ciphertexts struct {
	bodies   *Blobs
	meta     *Bucket
	previous *Bucket
	uses     *uses
}

// OpenCiphertexts opens the store of ciphertexts, creating it when it is absent.
func OpenCiphertexts(ctx context.Context, js jetstream.JetStream) (*Ciphertexts, error) {
	bodies, err := OpenBlobs(ctx, js, "ciphertexts")
	if err != nil {
		return nil, err
	}
	meta, err := openOnce(ctx, js, "ciphertext-meta")
	if err != nil {
		return nil, err
	}
	previous, err := OpenBucket(ctx, js, "ciphertext-previous", 1)
	if err != nil {
		return nil, err
	}
	use, err := OpenBucket(ctx, js, "ciphertext-use", 1)
	if err != nil {
		return nil, err
	}
	return &Ciphertexts{bodies: bodies, meta: meta, previous: previous, uses: newUses(use)}, nil
}

// Put stores a ciphertext under its handle. The same ciphertext again is a
// no-op, also after it was replaced; another one under the same handle gives *ConflictError and changes
// nothing. A record over MaxRecord gives *SizeError.
func (s *Ciphertexts) Put(ctx context.Context, ct Ciphertext) error {
	return s.PutAll(ctx, []Ciphertext{ct})
}

// PutAll stores several ciphertexts, at most MaxWrites, with the errors of Put: all of
// them, or, after an error, none that was not there before, also when several are stored
// at the same time under the same handles and when the process or the server dies
// meanwhile. After an error that is none of those of Put they may all be stored.
func (s *Ciphertexts) PutAll(ctx context.Context, cts []Ciphertext) error {
	if len(cts) > MaxWrites {
		return &SizeError{What: "list of ciphertexts", Size: int64(len(cts)), Limit: MaxWrites}
	}
	for _, ct := range cts {
		if len(ct.Maker) > maxMakerSize {
			return &SizeError{What: fmt.Sprintf("maker of ciphertext %x", ct.Handle), Size: int64(len(ct.Maker)), Limit: maxMakerSize}
		}
		if len(ct.Record) > MaxRecord {
			return &SizeError{What: fmt.Sprintf("ciphertext %x", ct.Handle), Size: int64(len(ct.Record)), Limit: MaxRecord}
		}
	}
	renewed := make(map[[32]byte]bool, len(cts)) // records that a collection leaves
	for try := 1; ; {
		writes, err := s.describe(ctx, cts, renewed)
		if err != nil || len(writes) == 0 {
			return err
		}
		_, err = s.meta.WriteAll(ctx, writes)
		switch {
		case errors.Is(err, jetstream.ErrKeyRevisionMismatch):
			// Somebody has stored one of them meanwhile: the same, or another one.
		case transient(err) && try < askTries && ctx.Err() == nil:
			try++
			time.Sleep(electionPause)
		default:
			return err
		}
	}
}

// describe writes the records of ciphertexts, and returns the descriptions that make
// those exist that do not yet.
func (s *Ciphertexts) describe(ctx context.Context, cts []Ciphertext, renewed map[[32]byte]bool) ([]Write, error) {
	// Looking first keeps conflicting records out of the store; writing the
	// descriptions decides when several race.
	var writes []Write
	want := make(map[[32]byte]Meta, len(cts))
	there := make(map[[32]byte]bool, len(cts))
	for _, ct := range cts {
		m := Meta{Type: ct.Type, KeyID: ct.KeyID, Digest: sha256.Sum256(ct.Record), Size: len(ct.Record)}
		if twin, ok := want[ct.Handle]; ok {
			if twin != m {
				return nil, &ConflictError{Handle: ct.Handle}
			}
			continue
		}
		want[ct.Handle] = m
		var err error
		if there[ct.Handle], err = s.same(ctx, ct.Handle, m); err != nil {
			return nil, err
		}
		if !there[ct.Handle] {
			writes = append(writes, Write{Key: hex.EncodeToString(ct.Handle[:]), Value: m.encodeOf(ct.Maker, ct.Origin)})
		}
	}
	for _, ct := range cts {
		var err error
		switch name := hex.EncodeToString(ct.Handle[:]); {
		case there[ct.Handle]:
			_, err = s.bodies.Put(ctx, name, ct.Record)
		case !renewed[ct.Handle]:
			// What lies there without a description may be about to be collected.
			_, err = s.bodies.Renew(ctx, name, ct.Record)
			renewed[ct.Handle] = true
		}
		if err != nil {
			return nil, err
		}
		if len(cts) > 1 {
			failpoint.Hit(failpoint.StoreBetween)
		}
	}
	return writes, nil
}

// same reports whether a handle names the ciphertext that want describes, or did before
// it was replaced. It gives *ConflictError for one that names another ciphertext.
func (s *Ciphertexts) same(ctx context.Context, handle [32]byte, want Meta) (bool, error) {
	if s.meta.absent(ctx, hex.EncodeToString(handle[:])) {
		return false, nil
	}
	have, err := s.Stat(ctx, handle)
	switch {
	case errors.As(err, new(*NotFoundError)):
		return false, nil
	case err != nil || have == want:
		return err == nil, err
	}
	if before, err := s.StatUnder(ctx, handle, want.KeyID); err == nil && before == want {
		return true, nil
	}
	return false, &ConflictError{Handle: handle}
}

// Stat describes a ciphertext without reading it, which counts as a use of it. It gives
// *NotFoundError for a handle that was never stored, *DataLossError for a description
// that cannot be read.
func (s *Ciphertexts) Stat(ctx context.Context, handle [32]byte) (Meta, error) {
	m, stored, err := s.look(ctx, handle)
	if err == nil && s.uses.note(ctx, hex.EncodeToString(handle[:]), stored) {
		// It may have been collected before the use was known.
		m, _, err = s.look(ctx, handle)
	}
	return m, err
}

// look describes a ciphertext, and says when it was stored.
func (s *Ciphertexts) look(ctx context.Context, handle [32]byte) (Meta, time.Time, error) {
	name := hex.EncodeToString(handle[:])
	entry, err := s.meta.Get(ctx, name)
	if err != nil {
		return Meta{}, time.Time{}, err
	}
	if entry == nil {
		return Meta{}, time.Time{}, &NotFoundError{Handle: handle}
	}
	m, err := decodeMeta(entry.Value())
	if err != nil {
		return Meta{}, time.Time{}, &DataLossError{Bucket: s.meta.KV.Bucket(), Key: name, Detail: err.Error()}
	}
	return m, entry.Created(), nil
}

// Exists reports whether a handle names a ciphertext, which may be damaged, and is no use
// of it.
func (s *Ciphertexts) Exists(ctx context.Context, handle [32]byte) (bool, error) {
	_, _, err := s.look(ctx, handle)
	switch {
	case errors.As(err, new(*NotFoundError)):
		return false, nil
	case errors.As(err, new(*DataLossError)):
		return true, nil
	}
	return err == nil, err
}

// Handles returns the handles of all ciphertexts, in no order.
func (s *Ciphertexts) Handles(ctx context.Context) ([][32]byte, error) {
	names, err := s.meta.Keys(ctx)
	if err != nil {
		return nil, err
	}
	handles := make([][32]byte, 0, len(names))
	for _, name := range names {
		if h, ok := parseHandle(name); ok {
			handles = append(handles, h)
		}
	}
	return handles, nil
}

// Maker returns for whom a ciphertext was stored, and is no use of it. It is empty for
// nobody, and for one that is not there or whose description cannot be read.
func (s *Ciphertexts) Maker(ctx context.Context, handle [32]byte) (string, error) {
	description, err := s.description(ctx, handle)
	if description == nil {
		return "", err
	}
	return makerIn(description), nil
}

// Origin returns the digest of what a ciphertext was computed from, and is no use of it.
// It is zero where that is not known, also since the ciphertext was replaced, and for one
// that is not there or whose description cannot be read.
func (s *Ciphertexts) Origin(ctx context.Context, handle [32]byte) ([32]byte, error) {
	description, err := s.description(ctx, handle)
	if description == nil {
		return [32]byte{}, err
	}
	return originIn(description), nil
}

// description returns the meta record of a ciphertext, or nil where there is none that
// can be decoded.
func (s *Ciphertexts) description(ctx context.Context, handle [32]byte) ([]byte, error) {
	entry, err := s.meta.Get(ctx, hex.EncodeToString(handle[:]))
	if loss := (*DataLossError)(nil); errors.As(err, &loss) || err == nil && entry == nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if _, err := decodeMeta(entry.Value()); err != nil {
		return nil, nil
	}
	return entry.Value(), nil
}

// Get returns a ciphertext's record, verified against its digest. It gives
// *NotFoundError for a handle that was never stored, *DataLossError for one that
// was and cannot be returned.
func (s *Ciphertexts) Get(ctx context.Context, handle [32]byte) ([]byte, error) {
	m, err := s.Stat(ctx, handle)
	if err != nil {
		return nil, err
	}
	return s.bodies.Get(ctx, hex.EncodeToString(handle[:]), m.Digest)
}
