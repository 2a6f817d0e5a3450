// Package storetest helps to test what lies over package store: servers that end
// with the test, and damage.
package storetest

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/tacit-fhe/tacit/coprocessor/store"
)

// Start starts an embedded server over dir that stops when the test ends.
func Start(t testing.TB, dir string) *store.Node {
	t.Helper()
	n, err := store.Embedded(t.Context(), store.EmbeddedOptions{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { Stop(t, n) })
	return n
}

// Stop stops a server before the test ends.
func Stop(t testing.TB, n *store.Node) {
	t.Helper()
	if err := n.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

// Flip inverts one bit in the middle of want, which must occur in exactly one
// of the files below dir. No server may have the directory open.
func Flip(t *testing.T, dir string, want []byte) {
	t.Helper()
	if found := flip(t, dir, want); found != 1 {
		t.Fatalf("the bytes to damage are in %d files", found)
	}
}

// FlipAll is Flip for bytes that may occur several times, all of which are damaged.
func FlipAll(t *testing.T, dir string, want []byte) {
	t.Helper()
	if found := flip(t, dir, want); found == 0 {
		t.Fatal("the bytes to damage are nowhere")
	}
}

// flip inverts a bit of each occurrence and returns in how many files there were any.
func flip(t *testing.T, dir string, want []byte) (found int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(b, want) {
			return err
		}
		found++
		for at := bytes.Index(b, want); at >= 0; at = bytes.Index(b, want) {
			b[at+len(want)/2] ^= 1
		}
		return os.WriteFile(path, b, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
