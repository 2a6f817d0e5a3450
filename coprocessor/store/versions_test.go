package store_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/tacit-fhe/tacit/coprocessor/store"
	"github.com/tacit-fhe/tacit/coprocessor/store/storetest"
)

func under(t *testing.T, s *store.Ciphertexts, key [32]byte) (handles [][32]byte) {
	t.Helper()
	for h, err := range s.Under(t.Context(), key) {
		if err != nil {
			t.Fatal(err)
		}
		handles = append(handles, h)
	}
	return handles
}

func TestReplace(t *testing.T) {
	ctx := t.Context()
	s, err := store.OpenCiphertexts(ctx, storetest.Start(t, t.TempDir()).JetStream())
	if err != nil {
		t.Fatal(err)
	}
	h, other := [32]byte{1}, [32]byte{2}
	oldKey, newKey, third := [32]byte{10}, [32]byte{11}, [32]byte{12}
	before := store.Ciphertext{Handle: h, Type: 5, KeyID: oldKey, Record: []byte("before"), Maker: "maker", Origin: [32]byte{20}}
	after := store.Ciphertext{Handle: h, Type: 5, KeyID: newKey, Record: []byte("after")}
	if err := s.PutAll(ctx, []store.Ciphertext{before, {Handle: other, KeyID: newKey, Record: []byte("other")}}); err != nil {
		t.Fatal(err)
	}
	old, err := s.Stat(ctx, h)
	if err != nil {
		t.Fatal(err)
	}
	madeFrom := func(handle, origin [32]byte, maker string) {
		t.Helper()
		if o, err := s.Origin(ctx, handle); err != nil || o != origin {
			t.Errorf("the origin is %x, %v, want %x", o, err, origin)
		}
		if m, err := s.Maker(ctx, handle); err != nil || m != maker {
			t.Errorf("the maker is %q, %v, want %q", m, err, maker)
		}
	}
	again := before
	again.Maker, again.Origin = "", [32]byte{21}
	if err := s.Put(ctx, again); err != nil {
		t.Fatal(err)
	}
	madeFrom(h, [32]byte{20}, "maker")
	madeFrom(other, [32]byte{}, "")
	madeFrom(third, [32]byte{}, "")
	defer madeFrom(h, [32]byte{}, "maker")
	for range 2 {
		if err := s.Replace(ctx, old, after); err != nil {
			t.Fatal(err)
		}
	}
	changed := after
	changed.Record = []byte("another")
	if err := s.Replace(ctx, old, changed); !errors.As(err, new(*store.ConflictError)) {
		t.Errorf("another replacement: %v", err)
	}
	get := func(want string, got []byte, err error) {
		t.Helper()
		if err != nil || string(got) != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	record, err := s.Get(ctx, h)
	get("after", record, err)
	record, err = s.GetUnder(ctx, h, newKey)
	get("after", record, err)
	record, err = s.GetUnder(ctx, h, oldKey)
	get("before", record, err)
	if _, err := s.GetUnder(ctx, h, third); !errors.As(err, new(*store.NotFoundError)) {
		t.Errorf("under another key: %v", err)
	}
	// A job that runs once more stores what it stored.
	for _, ct := range []store.Ciphertext{before, after} {
		if err := s.Put(ctx, ct); err != nil {
			t.Errorf("%s again: %v", ct.Record, err)
		}
	}
	changed.KeyID = oldKey
	if err := s.Put(ctx, changed); !errors.As(err, new(*store.ConflictError)) {
		t.Errorf("another record: %v", err)
	}
	if got := under(t, s, oldKey); len(got) != 0 {
		t.Errorf("under the old key: %x", got)
	}
	if got := under(t, s, newKey); !slices.Equal(got, [][32]byte{h, other}) {
		t.Errorf("under the new key: %x", got)
	}
	if n, err := s.CountPrevious(ctx, oldKey); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	for range 2 {
		if err := s.DropPrevious(ctx, oldKey); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := s.CountPrevious(ctx, oldKey); n != 0 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := s.GetUnder(ctx, h, oldKey); !errors.As(err, new(*store.NotFoundError)) {
		t.Errorf("dropped: %v", err)
	}
	record, err = s.Get(ctx, h)
	get("after", record, err)
	// A record that comes back is stored like any other.
	if err := s.Replace(ctx, old, after); err != nil {
		t.Errorf("after all: %v", err)
	}
}
