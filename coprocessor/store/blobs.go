package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// bucket is one key-value bucket together with the stream under it, whose
// index tells a record that is lost from one that never was.
type bucket struct {
	name   string
	kv     jetstream.KeyValue
	stream jetstream.Stream
}

func openBucket(ctx context.Context, js jetstream.JetStream, name, description string) (*bucket, error) {
	kv, err := js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket:       name,
		Description:  description,
		MaxValueSize: MaxRecord + headroom/2,
		// Every key is written once. A damaged record is repaired by writing it
		// again; the server must not have to remove the damaged one for that,
		// because it cannot, and the write would hang.
		History: jetstream.KeyValueMaxHistory,
	})
	if err != nil {
		return nil, fmt.Errorf("store: opening bucket %s: %w", name, err)
	}
	stream, err := js.Stream(ctx, "KV_"+name)
	if err != nil {
		return nil, fmt.Errorf("store: opening bucket %s: %w", name, err)
	}
	return &bucket{name: name, kv: kv, stream: stream}, nil
}

// get returns an entry, or nil when the key was never stored. A key that the
// server indexes but cannot read gives *DataLossError.
func (b *bucket) get(ctx context.Context, key string) (jetstream.KeyValueEntry, error) {
	for indexed := false; ; indexed = true {
		entry, err := b.kv.Get(ctx, key)
		if err == nil {
			return entry, nil
		}
		if !errors.Is(err, jetstream.ErrKeyNotFound) {
			return nil, fmt.Errorf("store: reading %s/%s: %w", b.name, key, err)
		}
		if indexed {
			return nil, &DataLossError{Bucket: b.name, Key: key, Detail: "indexed, but its record cannot be read"}
		}
		subject := b.subject(key)
		info, err := b.stream.Info(ctx, jetstream.WithSubjectFilter(subject))
		if err != nil {
			return nil, fmt.Errorf("store: reading %s/%s: %w", b.name, key, err)
		}
		if info.State.Subjects[subject] == 0 {
			return nil, nil
		}
		// The key may have been stored between the two questions: ask again.
	}
}

func (b *bucket) subject(key string) string { return "$KV." + b.name + "." + key }

// Blobs is a bucket of immutable byte strings, each named by a prefix of the
// caller's and its own SHA-256. It is safe for concurrent use.
type Blobs struct {
	b *bucket
}

// OpenBlobs opens the bucket of that name (letters, digits, '-' and '_'),
// creating it when it is absent.
func OpenBlobs(ctx context.Context, js jetstream.JetStream, name string) (*Blobs, error) {
	b, err := openBucket(ctx, js, name, "byte strings named by their SHA-256")
	if err != nil {
		return nil, err
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
		return digest, &SizeError{What: s.b.name + "/" + prefix, Size: int64(len(data)), Limit: MaxRecord}
	}
	key := blobKey(prefix, digest)
	_, err := s.b.kv.Create(ctx, key, data)
	if errors.Is(err, jetstream.ErrKeyExists) {
		_, err = s.Get(ctx, prefix, digest)
		if loss := (*DataLossError)(nil); !errors.As(err, &loss) {
			return digest, err
		}
		_, err = s.b.kv.Put(ctx, key, data)
	}
	if err != nil {
		return digest, fmt.Errorf("store: writing %s/%s: %w", s.b.name, key, err)
	}
	return digest, nil
}

// Get returns the bytes that Put stored under the prefix with that digest,
// verified. Bytes that are absent or altered give *DataLossError: a caller knows
// a digest only after Put returned it.
func (s *Blobs) Get(ctx context.Context, prefix string, digest [32]byte) ([]byte, error) {
	key := blobKey(prefix, digest)
	entry, err := s.b.get(ctx, key)
	if err != nil {
		return nil, err
	}
	if entry == nil {
		return nil, &DataLossError{Bucket: s.b.name, Key: key, Detail: "its record is missing"}
	}
	data := entry.Value()
	if got := sha256.Sum256(data); got != digest {
		return nil, &DataLossError{Bucket: s.b.name, Key: key, Detail: fmt.Sprintf("SHA-256 of its bytes is %x", got)}
	}
	return data, nil
}
