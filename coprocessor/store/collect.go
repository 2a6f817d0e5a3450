package store

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Ciphertexts that nobody uses can be collected. Whoever looks one up uses it; that
// is written down in the bucket "ciphertext-use", at most once in UseInterval by each
// process, and to be stored is a use too. Collect removes the description of a
// ciphertext before it looks whether the ciphertext has been used meanwhile, and
// whoever looks one up notes the use before the second look at the description: of
// the two, one sees what the other did, and a ciphertext that was used is described
// again: it may be missed for that moment, which is no longer than a few requests.

// UseInterval is how exactly the time of the last use is known.
const UseInterval = time.Hour

// maxNoted bounds the uses that a process remembers to have noted.
const maxNoted = 1 << 16

// uses notes when ciphertexts are used.
type uses struct {
	bucket *Bucket
	every  time.Duration

	mu    sync.Mutex
	noted map[string]time.Time // by handle
}

func newUses(b *Bucket) *uses {
	return &uses{bucket: b, every: UseInterval, noted: make(map[string]time.Time)}
}

// note writes down that a ciphertext is used that was stored at some time, and says
// whether it did. A store that takes no writes still answers.
func (u *uses) note(ctx context.Context, name string, stored time.Time) bool {
	now := time.Now()
	if now.Sub(stored) < u.every {
		return false
	}
	u.mu.Lock()
	known := now.Sub(u.noted[name]) < u.every
	u.mu.Unlock()
	if known {
		return false
	}
	if err := u.bucket.put(ctx, name, []byte{1}); err != nil {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.noted) >= maxNoted {
		clear(u.noted)
	}
	u.noted[name] = now
	return true
}

// last returns when a ciphertext was last used as far as is written down, and the
// revision that says so; zero for neither.
func (u *uses) last(ctx context.Context, name string) (time.Time, uint64, error) {
	entry, err := u.bucket.Get(ctx, name)
	if loss := (*DataLossError)(nil); errors.As(err, &loss) {
		// Somebody used it, nobody knows when: now, at the latest.
		return time.Now(), 0, nil
	}
	if err != nil || entry == nil {
		return time.Time{}, 0, err
	}
	return entry.Created(), entry.Revision(), nil
}

// Collection says what Collect is to remove.
type Collection struct {
	// Unused is how long a ciphertext has not been used, at least two UseIntervals;
	// zero means that none is removed for that.
	Unused time.Duration
	// Orphaned is how long a record lies without a description, as a crash leaves
	// it, before it is removed; at least two UseIntervals.
	Orphaned time.Duration
	// Live says that a ciphertext is to stay.
	Live func(handle [32]byte) bool
	// Dry removes nothing.
	Dry bool
	// Removed is told of each ciphertext that is removed, or would be; nil is not.
	Removed func(handle [32]byte, m Meta)
}

// Collected is what Collect did, or would do.
type Collected struct {
	Ciphertexts int   `json:"ciphertexts"` // that were there
	Removed     int   `json:"removed"`
	Orphans     int   `json:"orphans"` // records without a description
	Bytes       int64 `json:"bytes"`   // of those removed and the orphans
}

// written is the latest revisions of buckets.
type written struct{ bodies, previous uint64 }

// Collect removes ciphertexts that are not used and records that nothing refers to.
// It may run at any time, in several processes too. A ciphertext that is collected is
// one that was never stored.
func (s *Ciphertexts) Collect(ctx context.Context, c Collection) (out Collected, err error) {
	c.Orphaned = max(c.Orphaned, 2*s.uses.every)
	if c.Unused > 0 {
		c.Unused = max(c.Unused, 2*s.uses.every)
	}
	// What is written from now on has a later revision, and stays.
	var last written
	if last.bodies, err = s.bodies.Last(ctx); err != nil {
		return out, err
	}
	if last.previous, err = s.previous.Last(ctx); err != nil {
		return out, err
	}
	names, err := s.meta.Keys(ctx)
	if err != nil {
		return out, err
	}
	slices.Sort(names)
	out.Ciphertexts = len(names)
	if c.Unused > 0 {
		for _, name := range names {
			if err := s.collect(ctx, c, name, last, &out); err != nil {
				return out, err
			}
		}
	}
	return out, s.collectOrphans(ctx, c, last, &out)
}

// collect removes one ciphertext if it is not used.
func (s *Ciphertexts) collect(ctx context.Context, c Collection, name string, last written, out *Collected) error {
	handle, ok := parseHandle(name)
	if !ok {
		return nil
	}
	before := time.Now().Add(-c.Unused)
	entry, err := s.meta.Get(ctx, name)
	if loss := (*DataLossError)(nil); errors.As(err, &loss) {
		return nil // a matter of Verify
	}
	if err != nil || entry == nil || entry.Created().After(before) {
		return err
	}
	m, err := decodeMeta(entry.Value())
	if err != nil {
		return nil
	}
	used, use, err := s.uses.last(ctx, name)
	if err != nil || used.After(before) || c.Live(handle) {
		return err
	}
	if !c.Dry {
		if _, err := s.meta.Erase(ctx, entry.Revision(), name); err != nil {
			return err
		}
		_, now, err := s.uses.last(ctx, name)
		if err != nil || now != use {
			// It is used, or may be: it is as it was.
			return errors.Join(err, s.restore(ctx, name, entry.Value()))
		}
		if now, err := s.meta.Get(ctx, name); err != nil || now != nil {
			return err // stored or replaced meanwhile
		}
		if err := s.bodies.Erase(ctx, last.bodies, name); err != nil {
			return err
		}
		if _, err := s.previous.Erase(ctx, last.previous, "*."+name); err != nil {
			return err
		}
		if _, err := s.uses.bucket.Erase(ctx, use, name); err != nil {
			return err
		}
	}
	out.Removed++
	out.Bytes += int64(m.Size)
	if c.Removed != nil {
		c.Removed(handle, m)
	}
	return nil
}

// restore writes a description again that was erased, unless there is one.
func (s *Ciphertexts) restore(ctx context.Context, name string, value []byte) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	for {
		err := s.meta.create(ctx, name, value)
		if err == nil || errors.Is(err, jetstream.ErrKeyExists) {
			return nil
		}
		select {
		case <-time.After(electionPause):
		case <-ctx.Done():
			return err
		}
	}
}

// collectOrphans removes records that lie without a description.
func (s *Ciphertexts) collectOrphans(ctx context.Context, c Collection, last written, out *Collected) error {
	keys, err := s.bodies.b.Keys(ctx)
	if err != nil {
		return err
	}
	names, err := s.meta.Keys(ctx)
	if err != nil {
		return err
	}
	described := make(map[string]bool, len(names))
	for _, name := range names {
		described[name] = true
	}
	before := time.Now().Add(-c.Orphaned)
	for _, key := range keys {
		name, _, _ := strings.Cut(key, ".")
		if described[name] {
			continue
		}
		entry, err := s.bodies.b.Get(ctx, key)
		if loss := (*DataLossError)(nil); errors.As(err, &loss) || err == nil && entry == nil {
			continue
		}
		if err != nil {
			return err
		}
		if entry.Revision() > last.bodies || entry.Created().After(before) {
			continue
		}
		if !c.Dry {
			if _, err := s.bodies.b.Erase(ctx, entry.Revision(), key); err != nil {
				return err
			}
		}
		out.Orphans++
		out.Bytes += int64(len(entry.Value()))
	}
	versions, err := s.previous.Keys(ctx)
	if err != nil {
		return err
	}
	for _, key := range versions {
		if _, name, _ := strings.Cut(key, "."); !described[name] && !c.Dry {
			if _, err := s.previous.Erase(ctx, last.previous, key); err != nil {
				return err
			}
		}
	}
	return nil
}

func parseHandle(name string) (handle [32]byte, ok bool) {
	b, err := hex.DecodeString(name)
	if err != nil || len(b) != len(handle) {
		return handle, false
	}
	return [32]byte(b), true
}
