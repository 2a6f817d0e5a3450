package upkeep

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tacit-fhe/tacit/coprocessor/jobs"
	"github.com/tacit-fhe/tacit/coprocessor/store"
)

// NotEmptyError refuses to write into a store that has something in it.
type NotEmptyError struct {
	Bucket string
}

func (e *NotEmptyError) Error() string {
	return fmt.Sprintf("upkeep: the store is not empty: there is something in bucket %s", e.Bucket)
}

// Copied is what Copy or a backup did.
type Copied struct {
	store.Checked
	Damage []Damage `json:"damage"` // what could not be read, and was left out unless it was repaired
}

// entry is a value on its way from one store to another.
type entry struct {
	bucket string
	key    string
	value  []byte
}

// source yields the values of a store.
type source interface {
	// first is the revision that the bucket begins with in another store.
	first(ctx context.Context, b bucket) (uint64, error)
	// each yields all values, bucket by bucket.
	each(ctx context.Context, visit func(entry) error) error
}

// Copy copies everything from one store to another, which is empty. Jobs keep their
// order. What is damaged is left out, but for what can be made from the rest. It may run
// while others work in the first store: what it copies is then the state of some moments
// after it began, with everything that is referred to. progress, if not nil, is told how
// much has been copied.
func Copy(ctx context.Context, from, to jetstream.JetStream, progress func(store.Checked)) (out Copied, err error) {
	out.Damage = []Damage{}
	s := &live{js: from, damage: func(d Damage) { out.Damage = append(out.Damage, d) }}
	out.Checked, err = write(ctx, s, to, progress)
	return out, err
}

// write writes what a source yields into an empty store.
func write(ctx context.Context, s source, to jetstream.JetStream, progress func(store.Checked)) (c store.Checked, err error) {
	open := make(map[string]*store.Bucket, len(buckets))
	for _, b := range buckets {
		first, err := s.first(ctx, b)
		if err != nil {
			return c, err
		}
		if open[b.name], err = store.OpenBucketAt(ctx, to, b.name, b.history, first); err != nil {
			return c, err
		}
		keys, err := open[b.name].Keys(ctx)
		if err != nil {
			return c, err
		}
		if len(keys) > 0 {
			return c, &NotEmptyError{Bucket: b.name}
		}
	}
	err = s.each(ctx, func(e entry) error {
		b := open[e.bucket]
		if b == nil {
			return fmt.Errorf("upkeep: there is no bucket %.40q", e.bucket)
		}
		if err := b.Write(ctx, e.key, e.value); err != nil {
			return err
		}
		c.Add(store.Checked{Records: 1, Bytes: int64(len(e.value))})
		if progress != nil {
			progress(c)
		}
		return nil
	})
	return c, err
}

// live is a store that is read.
type live struct {
	js     jetstream.JetStream
	damage func(Damage)
}

func (l *live) first(ctx context.Context, b bucket) (uint64, error) {
	if !b.sorted {
		return 0, nil
	}
	s, err := store.OpenBucket(ctx, l.js, b.name, b.history)
	if err != nil {
		return 0, err
	}
	last, err := s.Last(ctx)
	return last + 1, err
}

func (l *live) each(ctx context.Context, visit func(entry) error) error {
	for _, b := range buckets {
		s, err := store.OpenBucket(ctx, l.js, b.name, b.history)
		if err != nil {
			return err
		}
		var bad []*store.DataLossError
		err = s.Each(ctx, b.sorted, func(e store.Entry) (err error) {
			if b.blobs && !named(e.Key, e.Value) {
				bad = append(bad, &store.DataLossError{Bucket: b.name, Key: e.Key, Detail: "its bytes have another SHA-256"})
				return nil
			}
			if b.name == jobs.Records {
				if e.Value, err = jobs.Transplant(e.Key, e.Value, e.Revision); err != nil {
					bad = append(bad, &store.DataLossError{Bucket: b.name, Key: e.Key, Detail: err.Error()})
					return nil
				}
			}
			return visit(entry{b.name, e.Key, e.Value})
		}, func(e *store.DataLossError) { bad = append(bad, e) })
		if err != nil {
			return err
		}
		for _, e := range bad {
			made, err := l.salvage(ctx, b, e.Key, visit)
			if err != nil {
				return err
			}
			l.damage(Damage{b.name, e.Key, e.Detail, made})
		}
	}
	return nil
}

// salvage yields what can be made from the rest in the place of a damaged value.
func (l *live) salvage(ctx context.Context, b bucket, key string, visit func(entry) error) (bool, error) {
	var value []byte
	switch b.name {
	case jobs.Records:
		data, err := store.OpenBlobs(ctx, l.js, "job-data")
		if err != nil {
			return false, err
		}
		if value, err = jobs.Salvage(ctx, data, key); err != nil {
			return false, err
		}
	case "ciphertext-meta":
		cts, err := store.OpenCiphertexts(ctx, l.js)
		if err != nil {
			return false, err
		}
		if value, err = cts.Describe(ctx, key, describe); err != nil {
			return false, err
		}
	}
	if value == nil {
		return false, nil
	}
	return true, visit(entry{b.name, key, value})
}

// ErrTruncated reports a backup that ends before it should.
var ErrTruncated = errors.New("upkeep: the backup is cut off")
