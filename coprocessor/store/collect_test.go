package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/tacit-fhe/tacit/coprocessor/store"
	"github.com/tacit-fhe/tacit/coprocessor/store/storetest"
)

// until waits for a time by the wall clock.
func until(t time.Time) { time.Sleep(time.Until(t)) }

func TestCollect(t *testing.T) {
	ctx := t.Context()
	n := storetest.Start(t, t.TempDir())
	s := openCiphertexts(t, n)
	const unused = 200 * time.Millisecond
	s.SetUseInterval(unused / 2)
	put := func(i byte) store.Ciphertext {
		t.Helper()
		ct := store.Ciphertext{Handle: [32]byte{i}, Record: pattern(i, 1000)}
		if err := s.Put(ctx, ct); err != nil {
			t.Fatal(err)
		}
		return ct
	}
	for i := range byte(5) {
		put(i)
	}
	// A record without a description, as a crash leaves it.
	orphans, err := store.OpenBlobs(ctx, n.JetStream(), "ciphertexts")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := orphans.Put(ctx, fmt.Sprintf("%064x", 99), pattern(99, 500)); err != nil {
		t.Fatal(err)
	}
	policy := store.Collection{Unused: unused, Orphaned: unused, Live: func(h [32]byte) bool { return h == [32]byte{1} }}

	// Nothing is old yet.
	if got, err := s.Collect(ctx, policy); err != nil || got != (store.Collected{Ciphertexts: 5}) {
		t.Fatalf("at once: %+v, %v", got, err)
	}
	until(time.Now().Add(unused))
	put(5)
	if _, err := s.Get(ctx, [32]byte{2}); err != nil { // a use
		t.Fatal(err)
	}
	put(3) // a use as well

	want := store.Collected{Ciphertexts: 6, Removed: 2, Orphans: 1, Bytes: 2500}
	dry := policy
	dry.Dry = true
	if got, err := s.Collect(ctx, dry); err != nil || got != want {
		t.Fatalf("dry: %+v, %v", got, err)
	}
	var removed []byte
	policy.Removed = func(h [32]byte, m store.Meta) {
		if m.Size != 1000 {
			t.Errorf("%x: %+v", h, m)
		}
		removed = append(removed, h[0])
	}
	if got, err := s.Collect(ctx, policy); err != nil || got != want || !bytes.Equal(removed, []byte{0, 4}) {
		t.Fatalf("%+v, removed %v, %v", got, removed, err)
	}
	for i := range byte(6) {
		got, err := s.Get(ctx, [32]byte{i})
		if gone := i == 0 || i == 4; gone != errors.As(err, new(*store.NotFoundError)) || !gone && !bytes.Equal(got, pattern(i, 1000)) {
			t.Errorf("%d: %v", i, err)
		}
	}

	// What was collected can be stored again, under the same handle or as another.
	if got, err := s.Get(ctx, put(0).Handle); err != nil || !bytes.Equal(got, pattern(0, 1000)) {
		t.Error(err)
	}
	if err := s.Put(ctx, store.Ciphertext{Handle: [32]byte{4}, Record: []byte("another")}); err != nil {
		t.Error(err)
	}
	// Without a limit nothing is removed, however old.
	until(time.Now().Add(unused))
	if got, err := s.Collect(ctx, store.Collection{}); err != nil || got.Removed != 0 || got.Ciphertexts != 6 {
		t.Errorf("%+v, %v", got, err)
	}
}

// Ciphertexts are stored, looked up and collected at the same time. Whoever was told
// that one is there finds it for as long as it takes to be unused.
func TestCollectRace(t *testing.T) {
	ctx := t.Context()
	n := storetest.Start(t, t.TempDir())
	const handles, unused = 4, 200 * time.Millisecond
	stores := make([]*store.Ciphertexts, 4)
	for i := range stores {
		stores[i] = openCiphertexts(t, n)
		stores[i].SetUseInterval(unused / 2)
	}
	done := make(chan struct{})
	var collecting, using sync.WaitGroup
	removed := 0
	collecting.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			got, err := stores[0].Collect(ctx, store.Collection{Unused: unused, Live: func([32]byte) bool { return false }})
			if err != nil {
				t.Error(err)
				return
			}
			removed += got.Removed
		}
	})
	for u, s := range stores[1:] {
		using.Go(func() {
			for round := range 12 {
				ct := store.Ciphertext{Handle: [32]byte{byte((u + round) % handles)}, Record: pattern(byte((u+round)%handles), 1000)}
				begin := time.Now()
				if _, err := s.Stat(ctx, ct.Handle); errors.As(err, new(*store.NotFoundError)) {
					err = s.Put(ctx, ct)
					if err != nil {
						t.Errorf("Put: %v", err)
						return
					}
				} else if err != nil {
					t.Errorf("Stat: %v", err)
					return
				}
				got, err := s.Get(ctx, ct.Handle)
				for errors.As(err, new(*store.NotFoundError)) && time.Since(begin) < unused/2 {
					got, err = s.Get(ctx, ct.Handle) // it comes back
				}
				if time.Since(begin) < unused/2 && (err != nil || !bytes.Equal(got, ct.Record)) {
					t.Errorf("a ciphertext that is used cannot be read: %v", err)
					return
				}
				until(begin.Add(time.Duration(40+23*((u+3*round)%7)) * time.Millisecond))
			}
		})
	}
	using.Wait()
	close(done)
	collecting.Wait()
	t.Logf("%d removed", removed)
}
