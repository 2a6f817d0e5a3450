// Package keyring keeps what a service knows of its evaluation keys besides their bytes,
// which package store has: the parameters they are for, whether they are in use, the
// public key that belongs to each, and the migration of its ciphertexts to another one.
package keyring

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tacit-fhe/tacit/coprocessor/store"
)

// Key is what is known of one evaluation key. That of a key which nothing was written
// down of is the zero value: it is in use.
type Key struct {
	Parameters store.Digest `json:"parameters,omitzero"` // fingerprint; zero for those of the service
	Retired    bool         `json:"retired,omitempty"`
	Public     store.Digest `json:"public,omitzero"` // of the public key; zero when there is none
	Migration  *Migration   `json:"migration,omitempty"`
}

// Migration is how far the ciphertexts of a key have moved to another one.
type Migration struct {
	To       store.Digest   `json:"to"`
	Key      store.Digest   `json:"key"`              // of the migration key
	Pieces   []store.Digest `json:"pieces,omitempty"` // of those of the migration key, where it has several
	State    State          `json:"state"`
	Moved    uint64         `json:"moved,omitempty"`
	Waiting  uint64         `json:"waiting,omitempty"`
	Failed   uint64         `json:"failed,omitempty"`
	Failures []Failure      `json:"failures,omitempty"` // the first of them
	Created  time.Time      `json:"created"`
	Ended    time.Time      `json:"ended,omitzero"`
}

// Failure is a ciphertext that cannot be moved, and why.
type Failure struct {
	Handle  store.Digest `json:"handle"`
	Message string       `json:"message"`
}

// MaxFailures bounds Migration.Failures.
const MaxFailures = 16

// State is where a migration stands.
type State string

// The states of a migration, in their order.
const (
	Running   State = "running"
	Done      State = "done"
	Confirmed State = "confirmed"
)

// StateError refuses what the state of a key does not allow. Reason is in
// UPPER_SNAKE, for programs.
type StateError struct {
	ID              [32]byte
	Reason, Message string
}

func (e *StateError) Error() string { return fmt.Sprintf("key %x: %s", e.ID, e.Message) }

// ExistsError refuses to replace a public key or a migration key of an evaluation key.
type ExistsError struct {
	ID   [32]byte
	What string
}

func (e *ExistsError) Error() string { return fmt.Sprintf("key %x has another %s", e.ID, e.What) }

// NoneError reports a key without a public key or a migration.
type NoneError struct {
	ID   [32]byte
	What string
}

func (e *NoneError) Error() string { return fmt.Sprintf("key %x has no %s", e.ID, e.What) }

// Ring keeps a record of each key in the bucket "keyring", and public and migration keys
// in "keyring-data". It is safe for concurrent use, also by several processes.
type Ring struct {
	records *store.Bucket
	data    *store.Blobs
}

// Open opens the ring in js, creating it when it is absent.
func Open(ctx context.Context, js jetstream.JetStream) (*Ring, error) {
	records, err := store.OpenBucket(ctx, js, "keyring", 1)
	if err != nil {
		return nil, err
	}
	data, err := store.OpenBlobs(ctx, js, "keyring-data")
	if err != nil {
		return nil, err
	}
	return &Ring{records, data}, nil
}

// record is a key as it is stored.
type record struct {
	Version int `json:"version"`
	Key
}

const recordVersion = 1

func decodeRecord(data []byte) (Key, error) {
	var r record
	if err := json.Unmarshal(data, &r); err != nil {
		return Key{}, err
	}
	if r.Version != recordVersion {
		return Key{}, fmt.Errorf("version %d, want %d", r.Version, recordVersion)
	}
	if m := r.Migration; m != nil && m.State != Running && m.State != Done && m.State != Confirmed {
		return Key{}, fmt.Errorf("no state of a migration is named %.20q", m.State)
	}
	return r.Key, nil
}

func recordName(id [32]byte) string { return "key/" + hex.EncodeToString(id[:]) }

// Get returns what is known of a key.
func (r *Ring) Get(ctx context.Context, id [32]byte) (Key, error) {
	entry, err := r.records.Get(ctx, recordName(id))
	if err != nil || entry == nil {
		return Key{}, err
	}
	return r.decode(id, entry.Value())
}

func (r *Ring) decode(id [32]byte, data []byte) (Key, error) {
	k, err := decodeRecord(data)
	if err != nil {
		err = &store.DataLossError{Bucket: "keyring", Key: recordName(id), Detail: err.Error()}
	}
	return k, err
}

// Change replaces what is known of a key by what edit makes of it, and returns that. An
// error of edit changes nothing.
func (r *Ring) Change(ctx context.Context, id [32]byte, edit func(*Key) error) (Key, error) {
	var k Key
	err := r.records.Change(ctx, recordName(id), func(old []byte) ([]byte, error) {
		k = Key{}
		if old != nil {
			var err error
			if k, err = r.decode(id, old); err != nil {
				return nil, err
			}
		}
		if err := edit(&k); err != nil {
			return nil, err
		}
		return json.Marshal(record{recordVersion, k})
	})
	return k, err
}

// Retire ends the use of a key.
func (r *Ring) Retire(ctx context.Context, id [32]byte) (Key, error) {
	return r.Change(ctx, id, func(k *Key) error { k.Retired = true; return nil })
}

// Activate undoes Retire. A key whose ciphertexts move away stays retired: the error is
// a *StateError.
func (r *Ring) Activate(ctx context.Context, id [32]byte) (Key, error) {
	return r.Change(ctx, id, func(k *Key) error {
		if k.Migration != nil {
			return &StateError{id, "KEY_MIGRATED", fmt.Sprintf("its ciphertexts move to the key %x", k.Migration.To)}
		}
		k.Retired = false
		return nil
	})
}

// SetPublic stores the public key of an evaluation key. The same again is a no-op;
// another one is an *ExistsError.
func (r *Ring) SetPublic(ctx context.Context, id [32]byte, container []byte) (Key, error) {
	digest, err := r.data.Put(ctx, hex.EncodeToString(id[:]), container)
	if err != nil {
		return Key{}, err
	}
	return r.Change(ctx, id, func(k *Key) error {
		if k.Public != (store.Digest{}) && k.Public != digest {
			return &ExistsError{id, "public key"}
		}
		k.Public = digest
		return nil
	})
}

// Public returns the public key of an evaluation key, or a *NoneError.
func (r *Ring) Public(ctx context.Context, id [32]byte) ([]byte, error) {
	k, err := r.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	if k.Public == (store.Digest{}) {
		return nil, &NoneError{id, "public key"}
	}
	return r.data.Get(ctx, hex.EncodeToString(id[:]), k.Public)
}

// pieceSize is how many bytes of a migration key lie in one record.
const pieceSize = 4 << 20

// Migrate retires a key and writes down that its ciphertexts move to another one, with the
// container of a migration key, which has that SHA-256. The same migration again changes
// nothing, but repairs the migration key if it is damaged and still needed; another one is an
// *ExistsError.
func (r *Ring) Migrate(ctx context.Context, from, to, digest [32]byte, container io.Reader, now time.Time) (Key, error) {
	another := func(k Key) error {
		if m := k.Migration; m != nil && (m.To != to || m.Key != digest) {
			return &ExistsError{from, "migration"}
		}
		return nil
	}
	k, err := r.Get(ctx, from)
	if err == nil {
		err = another(k) // before anything is stored
	}
	if err != nil || k.Migration != nil && k.Migration.State == Confirmed {
		return k, err
	}
	pieces, err := r.putPieces(ctx, from, container)
	if err != nil {
		return Key{}, err
	}
	return r.Change(ctx, from, func(k *Key) error {
		if err := another(*k); err != nil {
			return err
		}
		k.Retired = true
		if k.Migration == nil {
			k.Migration = &Migration{To: to, Key: digest, Pieces: pieces, State: Running, Created: now.UTC()}
		}
		return nil
	})
}

// putPieces stores what belongs to a key in pieces, and returns the SHA-256 of each, or
// nothing where there is but one.
func (r *Ring) putPieces(ctx context.Context, id [32]byte, data io.Reader) (pieces []store.Digest, err error) {
	buf := make([]byte, pieceSize)
	for {
		n, err := io.ReadFull(data, buf)
		if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
			return nil, err
		}
		if n > 0 {
			digest, err := r.data.Put(ctx, hex.EncodeToString(id[:]), buf[:n])
			if err != nil {
				return nil, err
			}
			pieces = append(pieces, digest)
		}
		if err != nil {
			break
		}
	}
	if len(pieces) == 1 {
		pieces = nil
	}
	return pieces, nil
}

// pieces are the SHA-256 of the pieces of the migration key.
func (m *Migration) pieces() []store.Digest {
	if len(m.Pieces) == 0 {
		return []store.Digest{m.Key}
	}
	return m.Pieces
}

// DropMigrationKey removes the migration key of a migration that is confirmed, which nobody
// needs any more.
func (r *Ring) DropMigrationKey(ctx context.Context, from [32]byte, m *Migration) error {
	for _, digest := range m.pieces() {
		if err := r.data.Drop(ctx, hex.EncodeToString(from[:]), digest); err != nil {
			return err
		}
	}
	return nil
}

// MigrationKey returns the container of the migration key of a migration that is not
// confirmed.
func (r *Ring) MigrationKey(ctx context.Context, from [32]byte, m *Migration) ([]byte, error) {
	var container []byte
	for _, digest := range m.pieces() {
		piece, err := r.data.Get(ctx, hex.EncodeToString(from[:]), digest)
		if err != nil {
			return nil, err
		}
		container = append(container, piece...)
	}
	return container, nil
}

// ServiceKey is a public key that receipts are or were signed under.
type ServiceKey struct {
	Public  store.Digest `json:"public"`
	Retired time.Time    `json:"retired,omitzero"` // zero for one that signs
}

const serviceKeysName = "service-keys"

type serviceKeysRecord struct {
	Version int          `json:"version"`
	Keys    []ServiceKey `json:"keys"` // the newest first
}

func decodeServiceKeys(data []byte) ([]ServiceKey, error) {
	var r serviceKeysRecord
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, err
	}
	if r.Version != recordVersion {
		return nil, fmt.Errorf("version %d, want %d", r.Version, recordVersion)
	}
	return r.Keys, nil
}

// ServiceKeys returns the public keys of receipts, those that sign first.
func (r *Ring) ServiceKeys(ctx context.Context) ([]ServiceKey, error) {
	entry, err := r.records.Get(ctx, serviceKeysName)
	if err != nil || entry == nil {
		return nil, err
	}
	keys, err := decodeServiceKeys(entry.Value())
	if err != nil {
		return nil, &store.DataLossError{Bucket: "keyring", Key: serviceKeysName, Detail: err.Error()}
	}
	slices.SortStableFunc(keys, func(a, b ServiceKey) int { return compareRetired(a.Retired, b.Retired) })
	return keys, nil
}

// compareRetired puts what is not retired first and then what was retired last.
func compareRetired(a, b time.Time) int {
	switch {
	case a.IsZero() && b.IsZero():
		return 0
	case a.IsZero():
		return -1
	case b.IsZero():
		return 1
	}
	return b.Compare(a)
}

// Sign writes down that receipts are signed under a public key from now on, instead of
// another one if that is not zero.
func (r *Ring) Sign(ctx context.Context, public, instead [32]byte, now time.Time) error {
	return r.records.Change(ctx, serviceKeysName, func(old []byte) ([]byte, error) {
		var keys []ServiceKey
		if old != nil {
			var err error
			if keys, err = decodeServiceKeys(old); err != nil {
				return nil, &store.DataLossError{Bucket: "keyring", Key: serviceKeysName, Detail: err.Error()}
			}
		}
		changed, found := false, false
		for i := range keys {
			k := &keys[i]
			switch {
			case k.Public == public:
				found = true
				changed = changed || !k.Retired.IsZero()
				k.Retired = time.Time{}
			case k.Public == instead && k.Retired.IsZero():
				k.Retired, changed = now.UTC(), true
			}
		}
		if !found {
			keys, changed = append([]ServiceKey{{Public: public}}, keys...), true
		}
		if !changed {
			return nil, nil
		}
		return json.Marshal(serviceKeysRecord{recordVersion, keys})
	})
}

// All returns every key that something was written down of.
func (r *Ring) All(ctx context.Context) (map[[32]byte]Key, error) {
	names, err := r.records.Keys(ctx)
	if err != nil {
		return nil, err
	}
	all := make(map[[32]byte]Key, len(names))
	for _, name := range names {
		if name == serviceKeysName {
			continue
		}
		b, err := hex.DecodeString(strings.TrimPrefix(name, "key/"))
		if err != nil || len(b) != 32 {
			return nil, &store.DataLossError{Bucket: "keyring", Key: name, Detail: "not the name of a key"}
		}
		if all[[32]byte(b)], err = r.Get(ctx, [32]byte(b)); err != nil {
			return nil, err
		}
	}
	return all, nil
}
