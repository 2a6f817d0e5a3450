package access

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tacit-fhe/tacit/coprocessor/store"
)

const (
	// SignatureWindow is how far the time of a signed call may be from ours, in
	// either direction.
	SignatureWindow = time.Minute
	// maxNonces bounds the calls that one key signs within the window.
	maxNonces = 1 << 17
)

// Replay refuses signed calls that were made before. It remembers the nonces of
// each key for as long as the time of their calls is acceptable; calls from
// before it was made, which it cannot remember, it refuses. What other processes
// accept, Nonces remembers. It is safe for concurrent use.
type Replay struct {
	window time.Duration
	limit  int
	start  time.Time

	mu   sync.Mutex
	keys map[[32]byte]*nonces
}

// nonces are those of one key, in two generations: each call is in the generation
// of the time when it came, and a generation is dropped when all of its calls are
// too old.
type nonces struct {
	since       time.Time // the beginning of now
	now, before map[[16]byte]struct{}
}

// NewReplay returns a Replay that accepts calls from now on.
func NewReplay(now time.Time) *Replay {
	return &Replay{window: SignatureWindow, limit: maxNonces, start: now, keys: make(map[[32]byte]*nonces)}
}

// ReplayReason says why a signed call is refused.
type ReplayReason string

// The reasons.
const (
	Stale    ReplayReason = "its time is too far from ours"
	Repeated ReplayReason = "it was made before"
	TooMany  ReplayReason = "the key signs too many calls"
)

// ReplayError reports a signed call that is refused for its time or nonce.
type ReplayError struct {
	Reason ReplayReason
}

func (e *ReplayError) Error() string {
	return fmt.Sprintf("access: a signed call is refused: %s", string(e.Reason))
}

// Check accepts a call that was signed by a key at a time, once. The signature
// must have been verified, so that nobody fills the memory in another's name.
func (r *Replay) Check(key [32]byte, nonce [16]byte, signed, now time.Time) error {
	if signed.Before(r.start) || signed.Before(now.Add(-r.window)) || signed.After(now.Add(r.window)) {
		return &ReplayError{Stale}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.keys[key]
	if n == nil {
		n = &nonces{since: now, now: make(map[[16]byte]struct{})}
		r.keys[key] = n
	}
	// A call that comes at t is acceptable until t + 2 windows at most: signed by
	// a clock one window ahead.
	if age := now.Sub(n.since); age >= 2*r.window {
		n.before, n.now, n.since = n.now, make(map[[16]byte]struct{}), now
		if age >= 4*r.window {
			n.before = nil
		}
	}
	_, a := n.now[nonce]
	_, b := n.before[nonce]
	switch {
	case a || b:
		return &ReplayError{Repeated}
	case len(n.now)+len(n.before) >= r.limit:
		return &ReplayError{TooMany}
	}
	n.now[nonce] = struct{}{}
	return nil
}

// Nonces are those of the signed calls that any of several processes has accepted, in the
// bucket "nonces". They are forgotten when no process accepts their calls any more, also
// one whose clock differs from that of the store by a window.
type Nonces struct {
	bucket *store.Bucket
}

// OpenNonces opens them in js, creating the bucket when it is absent.
func OpenNonces(ctx context.Context, js jetstream.JetStream) (*Nonces, error) {
	b, err := store.OpenExpiring(ctx, js, "nonces", 4*SignatureWindow)
	if err != nil {
		return nil, err
	}
	return &Nonces{b}, nil
}

// Take notes a call that Replay has accepted, and gives a *ReplayError where another
// process has noted it before. A call that cannot be noted must not be made.
func (n *Nonces) Take(ctx context.Context, key [32]byte, nonce [16]byte) error {
	name := sha256.Sum256(append(key[:], nonce[:]...))
	_, err := n.bucket.KV.Create(ctx, hex.EncodeToString(name[:]), nil)
	if errors.Is(err, jetstream.ErrKeyExists) {
		return &ReplayError{Repeated}
	}
	if err != nil {
		return fmt.Errorf("access: noting a signed call: %w", err)
	}
	return nil
}
