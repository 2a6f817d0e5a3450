package upkeep

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tacit-fhe/tacit/coprocessor/jobs"
	"github.com/tacit-fhe/tacit/coprocessor/store"
)

// Damage is something that was stored and is not what it was.
type Damage struct {
	Bucket   string `json:"bucket"`
	Key      string `json:"key"`
	Detail   string `json:"detail"`
	Repaired bool   `json:"repaired"`
}

// Verified is what Verify found.
type Verified struct {
	store.Checked
	Damage []Damage `json:"damage"`
}

// Verify reads everything, compares every byte with the SHA-256 that it is stored
// under, and looks for everything that is referred to. With repair it writes anew
// what can be made from the rest: descriptions of ciphertexts. progress, if not nil, is
// told of each bucket that is read. It may run while others work; what is written or
// removed meanwhile is no damage, but may be taken for it.
func Verify(ctx context.Context, js jetstream.JetStream, repair bool, progress func(bucket string)) (out Verified, err error) {
	if progress == nil {
		progress = func(string) {}
	}
	out.Damage = []Damage{}
	bad := func(e *store.DataLossError) {
		out.Damage = append(out.Damage, Damage{e.Bucket, e.Key, e.Detail, false})
	}
	add := func(c store.Checked, err error) error {
		out.Add(c)
		return err
	}

	q, err := jobs.Open(ctx, js, jobs.Options{})
	if err != nil {
		return out, err
	}
	defer q.Close()
	progress(jobs.Records)
	if err := add(q.Verify(ctx, bad)); err != nil {
		return out, err
	}
	cts, err := store.OpenCiphertexts(ctx, js)
	if err != nil {
		return out, err
	}
	progress("ciphertexts")
	if err := add(cts.Verify(ctx, bad)); err != nil {
		return out, err
	}
	keys, err := store.OpenKeys(ctx, js, "")
	if err != nil {
		return out, err
	}
	progress("keys")
	if err := add(keys.Verify(ctx, bad)); err != nil {
		return out, err
	}
	for _, b := range buckets {
		if slices.Contains([]string{jobs.Records, "ciphertexts", "ciphertext-meta", "ciphertext-previous", "ciphertext-use", "keys", "key-chunks"}, b.name) {
			continue
		}
		progress(b.name)
		var c store.Checked
		if b.blobs {
			var s *store.Blobs
			if s, err = store.OpenBlobs(ctx, js, b.name); err == nil {
				c, err = s.Verify(ctx, bad)
			}
		} else {
			var s *store.Bucket
			if s, err = store.OpenBucket(ctx, js, b.name, b.history); err == nil {
				c, err = s.Verify(ctx, nil, bad)
			}
		}
		if err := add(c, err); err != nil {
			return out, err
		}
	}
	if !repair {
		return out, nil
	}
	for i, d := range out.Damage {
		handle, err := hex.DecodeString(d.Key)
		if d.Bucket != "ciphertext-meta" || err != nil || len(handle) != 32 {
			continue
		}
		if out.Damage[i].Repaired, err = cts.Repair(ctx, [32]byte(handle), describe); err != nil {
			return out, err
		}
	}
	return out, nil
}

// ErrDamaged reports that something was damaged.
var ErrDamaged = errors.New("upkeep: the store is damaged")
