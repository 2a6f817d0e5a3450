package store

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// Checked counts what a verification looked at.
type Checked struct {
	Records int   `json:"records"`
	Bytes   int64 `json:"bytes"`
}

// Add adds up.
func (c *Checked) Add(o Checked) {
	c.Records += o.Records
	c.Bytes += o.Bytes
}

// Verify reads every value of the bucket and tells bad of those that cannot be read,
// or that check finds wrong; a nil check finds nothing. Keys come in their order.
func (b *Bucket) Verify(ctx context.Context, check func(key string, value []byte) error, bad func(*DataLossError)) (c Checked, err error) {
	keys, err := b.Keys(ctx)
	if err != nil {
		return c, err
	}
	slices.Sort(keys)
	for _, key := range keys {
		entry, err := b.read(ctx, key)
		if loss := (*DataLossError)(nil); errors.As(err, &loss) {
			bad(loss)
			continue
		}
		if err != nil {
			return c, err
		}
		if entry == nil {
			continue // removed
		}
		c.Add(Checked{1, int64(len(entry.Value()))})
		if check == nil {
			continue
		}
		if err := check(key, entry.Value()); err != nil {
			bad(&DataLossError{Bucket: b.KV.Bucket(), Key: key, Detail: err.Error()})
		}
	}
	return c, nil
}

// Verify reads all byte strings, with the errors of Bucket.Verify.
func (s *Blobs) Verify(ctx context.Context, bad func(*DataLossError)) (Checked, error) {
	return s.b.Verify(ctx, checkDigest, bad)
}

// checkDigest compares a byte string with its name.
func checkDigest(key string, value []byte) error {
	name := key[strings.LastIndexByte(key, '.')+1:]
	if got := sha256.Sum256(value); hex.EncodeToString(got[:]) != name {
		return fmt.Errorf("SHA-256 of its bytes is %x", got)
	}
	return nil
}

// Verify reads every ciphertext and every description and tells bad of those that
// are damaged: a record with other bytes than it had, a description that cannot be
// read, and one whose record is not there.
func (s *Ciphertexts) Verify(ctx context.Context, bad func(*DataLossError)) (c Checked, err error) {
	sizes := make(map[string]int) // of records that are as they should be
	c, err = s.bodies.b.Verify(ctx, func(key string, value []byte) error {
		err := checkDigest(key, value)
		if err == nil {
			sizes[key] = len(value)
		}
		return err
	}, bad)
	if err != nil {
		return c, err
	}
	for _, b := range []*Bucket{s.meta, s.previous} {
		more, err := b.Verify(ctx, func(key string, value []byte) error {
			m, err := decodeMeta(value)
			if err != nil {
				return err
			}
			body := blobKey(key[strings.LastIndexByte(key, '.')+1:], m.Digest)
			if size, ok := sizes[body]; !ok {
				return fmt.Errorf("the record %x that it describes is damaged or not there", m.Digest)
			} else if size != m.Size {
				return fmt.Errorf("it describes a record of %d bytes, there are %d", m.Size, size)
			}
			return nil
		}, bad)
		if err != nil {
			return c, err
		}
		c.Add(more)
	}
	more, err := s.uses.bucket.Verify(ctx, nil, bad)
	c.Add(more)
	return c, err
}

// Repair writes the description of a ciphertext anew that is damaged, from its record,
// in which describe finds what it says. It says whether it could: there has to be one
// record of the handle, and it has to be whole.
func (s *Ciphertexts) Repair(ctx context.Context, handle [32]byte, describe func(record []byte) (typ uint8, keyID [32]byte, err error)) (bool, error) {
	name := hex.EncodeToString(handle[:])
	if entry, err := s.meta.Get(ctx, name); err == nil && entry != nil {
		if _, err := decodeMeta(entry.Value()); err == nil {
			return false, nil // the description is not what is damaged
		}
	} else if !errors.As(err, new(*DataLossError)) {
		return false, err
	}
	value, err := s.Describe(ctx, name, describe)
	if err != nil || value == nil {
		return false, err
	}
	return true, s.meta.put(ctx, name, value)
}

// Describe makes the description of a ciphertext anew, from its record, or returns nil
// where there is not one record of the handle that is whole. key is that of the
// description.
func (s *Ciphertexts) Describe(ctx context.Context, key string, describe func(record []byte) (typ uint8, keyID [32]byte, err error)) ([]byte, error) {
	keys, err := s.bodies.b.keys(ctx, key+".*")
	if err != nil || len(keys) != 1 {
		return nil, err
	}
	entry, err := s.bodies.b.Get(ctx, keys[0])
	if errors.As(err, new(*DataLossError)) || err == nil && (entry == nil || checkDigest(keys[0], entry.Value()) != nil) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m := Meta{Digest: sha256.Sum256(entry.Value()), Size: len(entry.Value())}
	if m.Type, m.KeyID, err = describe(entry.Value()); err != nil {
		return nil, nil // not the record of one ciphertext
	}
	return m.encode(), nil
}

// Verify reads every key and tells bad of those that are damaged.
func (s *Keys) Verify(ctx context.Context, bad func(*DataLossError)) (c Checked, err error) {
	whole := make(map[string]bool)
	c, err = s.chunks.b.Verify(ctx, func(key string, value []byte) error {
		err := checkDigest(key, value)
		whole[key] = err == nil
		return err
	}, bad)
	if err != nil {
		return c, err
	}
	more, err := s.manifest.Verify(ctx, func(key string, value []byte) error {
		m, err := decodeManifest(value)
		if err != nil {
			return err
		}
		id, ok := parseHandle(key)
		if !ok {
			return errors.New("not the name of a key")
		}
		for i, d := range m.chunks {
			if !whole[blobKey(key, d)] {
				return fmt.Errorf("part %d of %d is damaged or not there", i+1, len(m.chunks))
			}
		}
		return s.verify(ctx, id)
	}, bad)
	c.Add(more)
	return c, err
}

// Damaged says whether a key that was stored cannot be read as it was.
func (s *Keys) Damaged(ctx context.Context, id [32]byte) (bool, error) {
	err := s.verify(ctx, id)
	if errors.As(err, new(*DataLossError)) {
		return true, nil
	}
	return false, err
}

// Entry is a value of a bucket.
type Entry struct {
	Key      string
	Value    []byte
	Revision uint64
}

// Each calls visit for every value of a bucket, in the order of their revisions if
// sorted is set. It tells bad of those that cannot be read.
func (b *Bucket) Each(ctx context.Context, sorted bool, visit func(Entry) error, bad func(*DataLossError)) error {
	keys, err := b.Keys(ctx)
	if err != nil {
		return err
	}
	if sorted {
		revisions := make(map[string]uint64, len(keys))
		for _, key := range keys {
			entry, err := b.read(ctx, key)
			if err != nil && !errors.As(err, new(*DataLossError)) {
				return err
			}
			if entry != nil {
				revisions[key] = entry.Revision()
			}
		}
		slices.SortFunc(keys, func(x, y string) int { return cmp.Compare(revisions[x], revisions[y]) })
	} else {
		slices.Sort(keys)
	}
	for _, key := range keys {
		entry, err := b.read(ctx, key)
		if loss := (*DataLossError)(nil); errors.As(err, &loss) {
			bad(loss)
			continue
		}
		if err == nil && entry != nil {
			err = visit(Entry{key, entry.Value(), entry.Revision()})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Write writes the first value of a key, or leaves one that is the same; another one
// is an error.
func (b *Bucket) Write(ctx context.Context, key string, value []byte) error {
	err := b.create(ctx, key, value)
	if !errors.Is(err, jetstream.ErrKeyExists) {
		return err
	}
	entry, err := b.read(ctx, key)
	if err != nil {
		return err
	}
	if entry == nil || !bytes.Equal(entry.Value(), value) {
		return fmt.Errorf("store: %s/%s has another value", b.KV.Bucket(), key)
	}
	return nil
}

// OpenBucketAt is OpenBucket, but the revisions of a bucket that it creates begin at
// first.
func OpenBucketAt(ctx context.Context, js jetstream.JetStream, name string, history uint8, first uint64) (*Bucket, error) {
	b, ok := js.(buckets)
	if !ok {
		return nil, fmt.Errorf("store: bucket %s: not the JetStream of a Node", name)
	}
	b.first = first
	return OpenBucket(ctx, b, name, history)
}
