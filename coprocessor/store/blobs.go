package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Blobs is a bucket of immutable byte strings, each named by a prefix of the
// caller's and its own SHA-256. It is safe for concurrent use.
type Blobs struct {
	b *Bucket
}

// OpenBlobs opens the bucket of that name (letters, digits, '-' and '_'),
// creating it when it is absent.
func OpenBlobs(ctx context.Context, js jetstream.JetStream, name string) (*Blobs, error) {
	b, err := openOnce(ctx, js, name)
	if err != nil {
		return nil, err
	}
	if m := memoryOf(js); m != nil && b.memory == nil {
		b.remember(m) // whoever else writes it, a byte string does not change
	}
	return &Blobs{b: b}, nil
}

func blobKey(prefix string, digest [32]byte) string {
	return prefix + "." + hex.EncodeToString(digest[:])
}

// Put stores data, at most MaxRecord bytes, under the prefix and returns its
// SHA-256. Storing the same bytes again is a no-op, and repairs them when they
// were damaged. The prefix holds letters, digits and any of "-_=/".
func (s *Blobs) Put(ctx context.Context, prefix string, data []byte) ([32]byte, error) {
	digest := sha256.Sum256(data)
	if len(data) > MaxRecord {
		return digest, &SizeError{What: s.b.KV.Bucket() + "/" + prefix, Size: int64(len(data)), Limit: MaxRecord}
	}
	key := blobKey(prefix, digest)
	err := s.b.create(ctx, key, data)
	if errors.Is(err, jetstream.ErrKeyExists) {
		_, err = s.Get(ctx, prefix, digest)
		if loss := (*DataLossError)(nil); !errors.As(err, &loss) {
			return digest, err
		}
		err = s.b.put(ctx, key, data)
	}
	if err != nil {
		return digest, fmt.Errorf("store: writing %s/%s: %w", s.b.KV.Bucket(), key, err)
	}
	return digest, nil
}

// Renew is Put, but writes data also when they are there: whoever erases what was
// written before does not erase these.
func (s *Blobs) Renew(ctx context.Context, prefix string, data []byte) ([32]byte, error) {
	digest := sha256.Sum256(data)
	if len(data) > MaxRecord {
		return digest, &SizeError{What: s.b.KV.Bucket() + "/" + prefix, Size: int64(len(data)), Limit: MaxRecord}
	}
	key := blobKey(prefix, digest)
	if err := s.b.put(ctx, key, data); err != nil {
		return digest, fmt.Errorf("store: writing %s/%s: %w", s.b.KV.Bucket(), key, err)
	}
	return digest, nil
}

// Erase removes all that was stored under prefixes up to a revision of the bucket.
func (s *Blobs) Erase(ctx context.Context, revision uint64, prefixes ...string) error {
	keys := make([]string, len(prefixes))
	for i, prefix := range prefixes {
		keys[i] = prefix + ".*"
	}
	_, err := s.b.Erase(ctx, revision, keys...)
	return err
}

// Drop removes what was stored under a prefix with a digest, if it is there.
func (s *Blobs) Drop(ctx context.Context, prefix string, digest [32]byte) error {
	return s.b.erase(ctx, blobKey(prefix, digest))
}

// Digests returns the names of what is stored under a prefix and can be read.
func (s *Blobs) Digests(ctx context.Context, prefix string) ([][32]byte, error) {
	keys, err := s.b.keys(ctx, prefix+".*")
	if err != nil {
		return nil, err
	}
	slices.Sort(keys)
	var out [][32]byte
	for _, key := range keys {
		digest, ok := parseHandle(key[len(prefix)+1:])
		if !ok {
			continue
		}
		if _, err := s.Get(ctx, prefix, digest); errors.As(err, new(*DataLossError)) {
			continue
		} else if err != nil {
			return nil, err
		}
		out = append(out, digest)
	}
	return out, nil
}

// Names returns the digests of everything that is stored, by prefix.
func (s *Blobs) Names(ctx context.Context) (map[string][][32]byte, error) {
	keys, err := s.b.Keys(ctx)
	if err != nil {
		return nil, err
	}
	names := make(map[string][][32]byte)
	for _, key := range keys {
		prefix, name, _ := strings.Cut(key, ".")
		if digest, ok := parseHandle(name); ok {
			names[prefix] = append(names[prefix], digest)
		}
	}
	return names, nil
}

// EraseOld removes what was stored under a prefix with a digest, unless that was, or was
// renewed, after a time, and reports whether it did; with dry, whether it would.
func (s *Blobs) EraseOld(ctx context.Context, prefix string, digest [32]byte, before time.Time, dry bool) (bool, error) {
	key := blobKey(prefix, digest)
	entry, err := s.b.Get(ctx, key)
	if loss := (*DataLossError)(nil); errors.As(err, &loss) || err == nil && entry == nil {
		return false, nil
	}
	if err != nil || entry.Created().After(before) {
		return false, err
	}
	if !dry {
		_, err = s.b.Erase(ctx, entry.Revision(), key)
	}
	return err == nil, err
}

// Last returns the latest revision of the bucket.
func (s *Blobs) Last(ctx context.Context) (uint64, error) { return s.b.Last(ctx) }

// Get returns the bytes that Put stored under the prefix with that digest,
// verified. Bytes that are absent or altered give *DataLossError: a caller knows
// a digest only after Put returned it.
func (s *Blobs) Get(ctx context.Context, prefix string, digest [32]byte) ([]byte, error) {
	key := blobKey(prefix, digest)
	entry, err := s.b.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	if entry == nil {
		return nil, &DataLossError{Bucket: s.b.KV.Bucket(), Key: key, Detail: "its record is missing"}
	}
	data := entry.Value()
	if got := sha256.Sum256(data); got != digest {
		if s.b.memory != nil {
			s.b.memory.forget(s.b.KV.Bucket(), newFilter(key)) // it may be repaired
		}
		return nil, &DataLossError{Bucket: s.b.KV.Bucket(), Key: key, Detail: fmt.Sprintf("SHA-256 of its bytes is %x", got)}
	}
	return data, nil
}
