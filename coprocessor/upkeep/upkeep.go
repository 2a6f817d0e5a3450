// Package upkeep looks after a store as a whole: it removes what nobody needs any more,
// verifies everything, copies it to another store and writes and reads backups. It
// knows what refers to what; how each thing is stored is known where it is stored.
package upkeep

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tacit-fhe/tacit/coprocessor/access"
	"github.com/tacit-fhe/tacit/coprocessor/jobs"
	"github.com/tacit-fhe/tacit/coprocessor/store"
	"github.com/tacit-fhe/tacit/fhe/integer"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// bucket is one of those that make a store.
type bucket struct {
	name    string
	history uint8
	blobs   bool // keys end with the SHA-256 of their values
	sorted  bool // the order of revisions means something
}

// buckets are all there are. What refers to something comes before it and was written
// after it, so that who copies them in this order, while others write, has everything
// that is referred to.
var buckets = []bucket{
	{name: jobs.Records, history: 1, sorted: true},
	{name: "job-data", history: 64, blobs: true},
	{name: "programs", history: 1},
	{name: "access", history: 1},
	{name: "ciphertext-use", history: 1},
	{name: "ciphertext-previous", history: 1},
	{name: "ciphertext-meta", history: 64},
	{name: "ciphertexts", history: 64, blobs: true},
	{name: "keyring", history: 1},
	{name: "keyring-data", history: 64, blobs: true},
	{name: "keys", history: 64},
	{name: "key-chunks", history: 64, blobs: true},
	{name: "upkeep", history: 1},
}

// Buckets are the names of all buckets of a store.
func Buckets() []string {
	names := make([]string, len(buckets))
	for i, b := range buckets {
		names[i] = b.name
	}
	return names
}

// Policy says what Collect removes.
type Policy struct {
	// Jobs are those that have ended and are kept.
	Jobs jobs.Retention
	// Unused is how long a ciphertext stays that nobody uses and no job that has not
	// ended needs or makes; zero keeps all. It is at least two store.UseIntervals.
	Unused time.Duration
	// Dry removes nothing.
	Dry bool
}

// orphanAge is how long what a crash left behind stays.
const orphanAge = 24 * time.Hour

// Collected is what Collect removed, or would.
type Collected struct {
	Jobs  int `json:"jobs"`
	Lists int `json:"lists"` // access lists of ciphertexts that are not there any more
	// Adopted are ciphertexts that had no owner, since the attempt that stored them, or
	// the upload, was cut off; whoever they were stored for owns them now.
	Adopted int `json:"adopted"`
	// Parts are specifications and results that no job has, since what wrote them was.
	Parts int `json:"parts"`
	store.Collected
}

// Collect removes jobs and ciphertexts that the policy does not keep, what crashes and
// cancelled jobs have left, and the access lists
// of ciphertexts that were removed, by whatever process. removed is told of
// each ciphertext; nil is not. It may run while others work.
func Collect(ctx context.Context, q *jobs.Queue, cts *store.Ciphertexts, lists *access.Lists, p Policy, removed func(handle [32]byte, m store.Meta)) (out Collected, err error) {
	if out.Jobs, err = q.Prune(ctx, p.Jobs, p.Dry); err != nil {
		return out, err
	}
	if out.Parts, err = q.Sweep(ctx, orphanAge, p.Dry); err != nil {
		return out, err
	}
	if out.Adopted, err = adopt(ctx, cts, lists, p.Dry); err != nil {
		return out, err
	}
	live := make(map[[32]byte]bool)
	err = q.Live(ctx, func(id string, data []byte, made []jobs.Made) error {
		spec := new(tacitv1.JobSpec)
		if err := proto.Unmarshal(data, spec); err != nil {
			return &store.DataLossError{Bucket: jobs.Records, Key: id, Detail: err.Error()}
		}
		names(spec.ProtoReflect(), live)
		for _, m := range made {
			live[m.Name] = true
		}
		return nil
	})
	if err != nil {
		return out, err
	}
	out.Collected, err = cts.Collect(ctx, store.Collection{
		Unused: p.Unused, Orphaned: orphanAge, Dry: p.Dry, Removed: removed,
		Live: func(h [32]byte) bool { return live[h] },
	})
	if err != nil {
		return out, err
	}
	out.Lists, err = lists.CollectCiphertexts(ctx, cts.Exists, p.Dry)
	return out, err
}

// adopt gives ciphertexts that have no owner to those they were stored for, who have
// shown to have their bytes: between the two writes there is time for a crash.
func adopt(ctx context.Context, cts *store.Ciphertexts, lists *access.Lists, dry bool) (adopted int, err error) {
	handles, err := cts.Handles(ctx)
	if err != nil {
		return 0, err
	}
	if handles, err = lists.Unlisted(ctx, handles); err != nil {
		return 0, err
	}
	for _, h := range handles {
		maker, err := cts.Maker(ctx, h)
		if err != nil {
			return adopted, err
		}
		if maker == "" {
			continue
		}
		if !dry {
			if err := lists.Own(ctx, maker, access.Ciphertext(h)); err != nil {
				return adopted, err
			}
		}
		adopted++
	}
	return adopted, nil
}

// names finds everything in a spec that could be a handle.
func names(m protoreflect.Message, found map[[32]byte]bool) {
	add := func(b []byte) {
		if len(b) == 32 {
			found[[32]byte(b)] = true
		}
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap():
		case f.IsList():
			for i := range v.List().Len() {
				switch f.Kind() {
				case protoreflect.MessageKind:
					names(v.List().Get(i).Message(), found)
				case protoreflect.BytesKind:
					add(v.List().Get(i).Bytes())
				}
			}
		case f.Kind() == protoreflect.MessageKind:
			names(v.Message(), found)
		case f.Kind() == protoreflect.BytesKind:
			add(v.Bytes())
		}
		return true
	})
}

// Turn decides which of several processes does a piece of upkeep: one of them, once in
// each interval.
type Turn struct{ bucket *store.Bucket }

// OpenTurn opens it in js.
func OpenTurn(ctx context.Context, js jetstream.JetStream) (*Turn, error) {
	b, err := store.OpenBucket(ctx, js, "upkeep", 1)
	if err != nil {
		return nil, err
	}
	return &Turn{b}, nil
}

// Take says that it is this process's turn at what is named, which nobody else has within
// the interval.
func (t *Turn) Take(ctx context.Context, what string, interval time.Duration) (bool, error) {
	entry, err := t.bucket.Get(ctx, what)
	if err != nil {
		return false, err
	}
	if entry == nil {
		_, err = t.bucket.KV.Create(ctx, what, []byte{1})
	} else {
		if time.Since(entry.Created()) < interval {
			return false, nil
		}
		_, err = t.bucket.KV.Update(ctx, what, []byte{1}, entry.Revision())
	}
	if errors.Is(err, jetstream.ErrKeyExists) || errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		return false, nil
	}
	return err == nil, err
}

// describe reads what the description of a ciphertext says off its record.
func describe(record []byte) (typ uint8, keyID [32]byte, err error) {
	list, err := integer.UnmarshalList(record, nil)
	if err != nil {
		return 0, keyID, err
	}
	if list.Len() != 1 {
		return 0, keyID, fmt.Errorf("a list of %d ciphertexts", list.Len())
	}
	return uint8(list.Type(0)), list.KeyID(), nil
}

// sum is the SHA-256 of a value.
func sum(value []byte) [32]byte { return sha256.Sum256(value) }
