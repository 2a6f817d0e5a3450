package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
)

// A migration moves ciphertexts from an old key to a new one: the handle stays, and
// names a ciphertext of the new key with another digest from then on. The description
// of the version before lies in the bucket "ciphertext-previous", under the handle and
// the old key, until it is dropped, and its record stays as long.

// previousKey names the version of a handle under a key.
func previousKey(handle, keyID [32]byte) string {
	return hex.EncodeToString(keyID[:]) + "." + hex.EncodeToString(handle[:])
}

// Replace makes a handle name ct, the same value under another key, instead of the
// ciphertext that old describes. The old version can still be read with StatUnder and
// GetUnder. It is a no-op when it was done before; a handle that names neither of the
// two gives *ConflictError.
func (s *Ciphertexts) Replace(ctx context.Context, old Meta, ct Ciphertext) error {
	name := hex.EncodeToString(ct.Handle[:])
	want := Meta{Type: ct.Type, KeyID: ct.KeyID, Digest: sha256.Sum256(ct.Record), Size: len(ct.Record)}
	if _, err := s.bodies.Renew(ctx, name, ct.Record); err != nil {
		return err
	}
	// Before the handle changes, so that the old version is never out of reach.
	previous := previousKey(ct.Handle, old.KeyID)
	if _, err := s.previous.KV.Put(ctx, previous, old.encode()); err != nil {
		return fmt.Errorf("store: writing %s/%s: %w", s.previous.KV.Bucket(), previous, err)
	}
	return s.meta.Change(ctx, name, func(now []byte) ([]byte, error) {
		if now == nil {
			return nil, &NotFoundError{Handle: ct.Handle} // collected meanwhile
		}
		m, err := decodeMeta(now)
		switch {
		case err != nil:
			return nil, &DataLossError{Bucket: s.meta.KV.Bucket(), Key: name, Detail: err.Error()}
		case m == want:
			return nil, nil
		case m != old:
			return nil, &ConflictError{Handle: ct.Handle}
		}
		return want.encodeOf(makerIn(now), [32]byte{}), nil
	})
}

// StatUnder describes the version of a ciphertext under a key: the present one, or one
// that was replaced and not dropped. It gives *NotFoundError for a handle without such
// a version.
func (s *Ciphertexts) StatUnder(ctx context.Context, handle, keyID [32]byte) (Meta, error) {
	m, err := s.Stat(ctx, handle)
	if err != nil || m.KeyID == keyID {
		return m, err
	}
	key := previousKey(handle, keyID)
	entry, err := s.previous.Get(ctx, key)
	if err != nil {
		return Meta{}, err
	}
	if entry == nil {
		return Meta{}, &NotFoundError{Handle: handle}
	}
	if m, err = decodeMeta(entry.Value()); err != nil {
		return Meta{}, &DataLossError{Bucket: s.previous.KV.Bucket(), Key: key, Detail: err.Error()}
	}
	return m, nil
}

// GetUnder returns the record of the version of a ciphertext under a key, with the
// errors of StatUnder and Get.
func (s *Ciphertexts) GetUnder(ctx context.Context, handle, keyID [32]byte) ([]byte, error) {
	m, err := s.StatUnder(ctx, handle, keyID)
	if err != nil {
		return nil, err
	}
	return s.bodies.Get(ctx, hex.EncodeToString(handle[:]), m.Digest)
}

// Under yields the handles whose present versions are under a key, in their order, and
// what describes them. A ciphertext whose description cannot be read is skipped: it is
// under no key. Any other error ends the sequence.
func (s *Ciphertexts) Under(ctx context.Context, keyID [32]byte) iter.Seq2[[32]byte, error] {
	return func(yield func([32]byte, error) bool) {
		names, err := s.meta.Keys(ctx)
		if err != nil {
			yield([32]byte{}, err)
			return
		}
		slices.Sort(names)
		for _, name := range names {
			b, err := hex.DecodeString(name)
			if err != nil || len(b) != 32 {
				continue
			}
			m, _, err := s.look(ctx, [32]byte(b))
			switch {
			case errors.As(err, new(*DataLossError)), errors.As(err, new(*NotFoundError)):
			case err != nil:
				yield([32]byte{}, err)
				return
			case m.KeyID == keyID:
				if !yield([32]byte(b), nil) {
					return
				}
			}
		}
	}
}

// CountPrevious is the number of versions under a key that were replaced.
func (s *Ciphertexts) CountPrevious(ctx context.Context, keyID [32]byte) (int, error) {
	keys, err := s.previous.keys(ctx, hex.EncodeToString(keyID[:])+".*")
	return len(keys), err
}

// DropPrevious removes the versions under a key that were replaced, with their records.
func (s *Ciphertexts) DropPrevious(ctx context.Context, keyID [32]byte) error {
	keys, err := s.previous.keys(ctx, hex.EncodeToString(keyID[:])+".*")
	if err != nil {
		return err
	}
	for _, key := range keys {
		_, name, _ := strings.Cut(key, ".")
		entry, err := s.previous.Get(ctx, key)
		if err != nil {
			return err
		}
		if entry == nil {
			continue
		}
		m, err := decodeMeta(entry.Value())
		if err != nil {
			return &DataLossError{Bucket: s.previous.KV.Bucket(), Key: key, Detail: err.Error()}
		}
		// The record first: what is left after a crash is found by its description.
		if err := s.bodies.b.erase(ctx, blobKey(name, m.Digest)); err != nil {
			return err
		}
		if err := s.previous.erase(ctx, key); err != nil {
			return err
		}
	}
	return nil
}
