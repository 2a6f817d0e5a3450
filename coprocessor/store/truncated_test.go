package store_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/tacit-fhe/tacit/coprocessor/store"
	"github.com/tacit-fhe/tacit/coprocessor/store/storetest"
)

// Files that are cut off lose what was in the part that is gone, and nothing else; no
// part of a ciphertext is taken for the whole, and whatever is lost can be stored again.
func TestTruncated(t *testing.T) {
	ctx := t.Context()
	const count = 8
	for _, keep := range []float64{0, 0.3, 0.7, 0.99} {
		dir := t.TempDir()
		n := storetest.Start(t, dir)
		s := openCiphertexts(t, n)
		for i := range byte(count) {
			if err := s.Put(ctx, store.Ciphertext{Handle: [32]byte{i}, Record: pattern(i, 10_000)}); err != nil {
				t.Fatal(err)
			}
		}
		storetest.Stop(t, n)
		// Cut the blocks of the records, and take away what the server could tell
		// their beginning from.
		err := filepath.WalkDir(filepath.Join(dir, "jetstream"), func(path string, d fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".blk" {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil || !bytes.Contains(data, pattern(0, 10_000)) {
				return err
			}
			return os.Truncate(path, int64(float64(len(data))*keep))
		})
		if err != nil {
			t.Fatal(err)
		}
		s = openCiphertexts(t, storetest.Start(t, dir))
		lost := 0
		for i := range byte(count) {
			got, err := s.Get(ctx, [32]byte{i})
			switch {
			case err == nil && bytes.Equal(got, pattern(i, 10_000)):
			case errors.As(err, new(*store.DataLossError)):
				lost++
			default:
				t.Errorf("%.0f %% kept: ciphertext %d: %d bytes, %v", 100*keep, i, len(got), err)
			}
		}
		if want := int(float64(count)*(1-keep) + 1); lost == 0 || lost > want {
			t.Errorf("%.0f %% kept: %d of %d are lost", 100*keep, lost, count)
		}
		for i := range byte(count) {
			if err := s.Put(ctx, store.Ciphertext{Handle: [32]byte{i}, Record: pattern(i, 10_000)}); err != nil {
				t.Fatalf("%.0f %% kept: storing ciphertext %d again: %v", 100*keep, i, err)
			}
			if got, err := s.Get(ctx, [32]byte{i}); err != nil || !bytes.Equal(got, pattern(i, 10_000)) {
				t.Errorf("%.0f %% kept: stored again: %v", 100*keep, err)
			}
		}
	}
}
