package keyring

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/tacit-fhe/tacit/bench/fuzztest"
	"github.com/tacit-fhe/tacit/coprocessor/store"
	"github.com/tacit-fhe/tacit/coprocessor/store/storetest"
)

func open(t *testing.T) *Ring {
	t.Helper()
	r, err := Open(t.Context(), storetest.Start(t, t.TempDir()).JetStream())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestKeys(t *testing.T) {
	r, ctx := open(t), t.Context()
	a, b := [32]byte{1}, [32]byte{2}
	if k, err := r.Get(ctx, a); err != nil || k.Retired || k.Migration != nil || k.Public != (store.Digest{}) {
		t.Errorf("a key that nothing is known of: %+v, %v", k, err)
	}
	if k, err := r.Retire(ctx, a); err != nil || !k.Retired {
		t.Errorf("%+v, %v", k, err)
	}
	if k, err := r.Activate(ctx, a); err != nil || k.Retired {
		t.Errorf("%+v, %v", k, err)
	}
	if _, err := r.Public(ctx, a); !errors.As(err, new(*NoneError)) {
		t.Errorf("no public key: %v", err)
	}
	for range 2 {
		if _, err := r.SetPublic(ctx, a, []byte("public")); err != nil {
			t.Error(err)
		}
	}
	if _, err := r.SetPublic(ctx, a, []byte("another")); !errors.As(err, new(*ExistsError)) {
		t.Errorf("another public key: %v", err)
	}
	if got, err := r.Public(ctx, a); err != nil || string(got) != "public" {
		t.Errorf("%q, %v", got, err)
	}
	now := time.Unix(1, 0)
	migrate := func(from, to [32]byte, container []byte) (Key, error) {
		return r.Migrate(ctx, from, to, sha256.Sum256(container), bytes.NewReader(container), now)
	}
	for range 2 {
		k, err := migrate(a, b, []byte("key"))
		if err != nil || !k.Retired || k.Migration.To != b || k.Migration.State != Running || !k.Migration.Created.Equal(now) || k.Migration.Pieces != nil {
			t.Fatalf("%+v, %v", k, err)
		}
		if got, err := r.MigrationKey(ctx, a, k.Migration); err != nil || string(got) != "key" {
			t.Errorf("%q, %v", got, err)
		}
	}
	if _, err := migrate(a, b, []byte("another")); !errors.As(err, new(*ExistsError)) {
		t.Errorf("another migration key: %v", err)
	}
	if _, err := migrate(a, [32]byte{3}, []byte("key")); !errors.As(err, new(*ExistsError)) {
		t.Errorf("another migration: %v", err)
	}
	if _, err := r.Activate(ctx, a); !errors.As(err, new(*StateError)) {
		t.Errorf("activating a key that is migrated: %v", err)
	}
	// Large ones lie in pieces.
	large := make([]byte, 2*pieceSize+1)
	for i := range large {
		large[i] = byte(i / 1000)
	}
	for i, size := range []int{pieceSize - 1, pieceSize, pieceSize + 1, len(large)} {
		id := [32]byte{byte(10 + i)}
		k, err := migrate(id, b, large[:size])
		if err != nil || len(k.Migration.Pieces) != map[bool]int{true: (size + pieceSize - 1) / pieceSize}[size > pieceSize] {
			t.Fatalf("%d bytes: %+v, %v", size, k.Migration, err)
		}
		if k, err = r.Get(ctx, id); err != nil {
			t.Fatal(err)
		}
		if got, err := r.MigrationKey(ctx, id, k.Migration); err != nil || !bytes.Equal(got, large[:size]) {
			t.Errorf("%d bytes come back as %d, %v", size, len(got), err)
		}
		// The same again repairs what is missing, until the migration is confirmed.
		drop := func(confirm bool) {
			t.Helper()
			if k, err = r.Change(ctx, id, func(k *Key) error {
				if confirm {
					k.Migration.State = Confirmed
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if err := r.DropMigrationKey(ctx, id, k.Migration); err != nil {
				t.Error(err)
			}
			if _, err := r.MigrationKey(ctx, id, k.Migration); !errors.As(err, new(*store.DataLossError)) {
				t.Errorf("%d bytes that were dropped: %v", size, err)
			}
		}
		drop(false)
		if _, err := migrate(id, b, large[:size]); err != nil {
			t.Error(err)
		}
		if got, err := r.MigrationKey(ctx, id, k.Migration); err != nil || !bytes.Equal(got, large[:size]) {
			t.Errorf("%d bytes come back as %d, %v", size, len(got), err)
		}
		drop(true)
		if _, err := migrate(id, b, large[:size]); err != nil {
			t.Error(err)
		}
		if _, err := r.MigrationKey(ctx, id, k.Migration); !errors.As(err, new(*store.DataLossError)) {
			t.Errorf("%d bytes are stored that nobody needs: %v", size, err)
		}
	}
	if err := r.Sign(ctx, [32]byte{9}, [32]byte{}, now); err != nil { // not a key in All
		t.Fatal(err)
	}
	if all, err := r.All(ctx); err != nil || len(all) != 5 || all[a].Migration == nil {
		t.Errorf("%v, %v", all, err)
	}
}

func TestServiceKeys(t *testing.T) {
	r, ctx := open(t), t.Context()
	a, b, c := [32]byte{1}, [32]byte{2}, [32]byte{3}
	sign := func(public, instead [32]byte, at int64) {
		t.Helper()
		if err := r.Sign(ctx, public, instead, time.Unix(at, 0)); err != nil {
			t.Fatal(err)
		}
	}
	want := func(keys ...[32]byte) {
		t.Helper()
		got, err := r.ServiceKeys(ctx)
		if err != nil || len(got) != len(keys) {
			t.Fatalf("%v, %v", got, err)
		}
		for i, k := range got {
			if k.Public != store.Digest(keys[i]) || k.Retired.IsZero() != (i == 0) {
				t.Errorf("key %d is %+v, want %x", i, k, keys[i])
			}
		}
	}
	sign(a, [32]byte{}, 1)
	want(a)
	sign(a, [32]byte{}, 2)
	want(a)
	sign(b, a, 3)
	want(b, a)
	sign(c, b, 4)
	want(c, b, a)
	sign(a, c, 5) // an old key file came back
	want(a, c, b)
}

// FuzzDecodeRecord feeds the decoders of what is stored.
func FuzzDecodeRecord(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 64 << 10, PerByte: 128})
	full, err := json.Marshal(record{recordVersion, Key{Retired: true, Public: store.Digest{1}, Migration: &Migration{State: Done, Pieces: []store.Digest{{1}, {2}}, Failures: []Failure{{Message: "x"}}}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(full)
	f.Add([]byte(`{"version":1,"keys":[{"public":"00"}]}`))
	f.Add([]byte(`{"version":2}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		decodeServiceKeys(data)
		if k, err := decodeRecord(data); err == nil {
			again, err := json.Marshal(record{recordVersion, k})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := decodeRecord(again); err != nil {
				t.Errorf("%s: %v", again, err)
			}
		}
	})
}
