package access

import (
	"context"
	"errors"
	"testing"

	"github.com/tacit-fhe/tacit/coprocessor/store"
)

// The lists of ciphertexts that are gone go too, and no others: a later owner of the
// handle shares it with nobody.
func TestCollectCiphertexts(t *testing.T) {
	ctx := t.Context()
	s, _ := lists(t)
	gone, kept, again := Ciphertext([32]byte{1}), Ciphertext([32]byte{2}), Ciphertext([32]byte{3})
	key, program := EvaluationKey([32]byte{1}), Program([32]byte{1})
	for _, o := range []Object{gone, kept, again, key, program} {
		if err := s.Own(ctx, "alice", o); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Grant(ctx, user("alice"), o, "carol", Read); err != nil {
			t.Fatal(err)
		}
	}
	looks := 0
	exists := func(_ context.Context, h [32]byte) (bool, error) {
		if h == again.ID {
			looks++ // it is stored again while its list is removed
			return looks > 1, nil
		}
		return h == kept.ID, nil
	}
	if n, err := s.CollectCiphertexts(ctx, exists, true); n != 2 || err != nil {
		t.Errorf("dry: %d, %v", n, err)
	}
	looks = 0
	if n, err := s.CollectCiphertexts(ctx, exists, false); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	for _, o := range []Object{kept, again, key, program} {
		if r, err := s.Rights(ctx, user("carol"), o); r != Read || err != nil {
			t.Errorf("%v: carol may %v, %v", o, r, err)
		}
	}
	if err := s.Own(ctx, "bob", gone); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"alice", "carol"} {
		if r, err := s.Rights(ctx, user(name), gone); r != 0 || err != nil {
			t.Errorf("%s may %v what bob stored, %v", name, r, err)
		}
	}
	// The store does not answer: nothing is removed.
	away := errors.New("away")
	if n, err := s.CollectCiphertexts(ctx, func(context.Context, [32]byte) (bool, error) { return false, away }, false); n != 0 || !errors.Is(err, away) {
		t.Errorf("%d, %v", n, err)
	}
	if r, err := s.Rights(ctx, user("bob"), gone); r != All || err != nil {
		t.Errorf("bob may %v, %v", r, err)
	}
	// A list that is damaged stays, and gives no rights.
	broken := Ciphertext([32]byte{4})
	if _, err := s.bucket.KV.Create(ctx, broken.String(), []byte("{")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CollectCiphertexts(ctx, func(_ context.Context, h [32]byte) (bool, error) { return true, nil }, false); err != nil {
		t.Error(err)
	}
	if _, err := s.Rights(ctx, user("bob"), broken); !errors.As(err, new(*store.DataLossError)) {
		t.Errorf("a damaged list: %v", err)
	}
}
