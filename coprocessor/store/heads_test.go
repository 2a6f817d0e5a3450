package store_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/tacit-fhe/tacit/coprocessor/store"
	"github.com/tacit-fhe/tacit/coprocessor/store/storetest"
)

// What is cut off from the end of a bucket is told of at every start until it is accepted,
// and what is only erased is not.
func TestTruncatedEnd(t *testing.T) {
	ctx, dir := t.Context(), t.TempDir()
	start := func() (*store.Node, *store.Bucket) {
		t.Helper()
		n := storetest.Start(t, dir)
		b, err := store.OpenBucket(ctx, n.JetStream(), "things", 1)
		if err != nil {
			t.Fatal(err)
		}
		return n, b
	}
	put := func(b *store.Bucket, keys ...string) {
		t.Helper()
		for _, key := range keys {
			if _, err := b.KV.Put(ctx, key, make([]byte, 1000)); err != nil {
				t.Fatal(err)
			}
		}
	}
	n, b := start()
	put(b, "a", "b", "c", "d", "e")
	if _, err := b.Erase(ctx, 5, "e"); err != nil {
		t.Fatal(err)
	}
	storetest.Stop(t, n)
	n, b = start()
	if gone := n.Truncated(); gone != nil {
		t.Fatalf("what was erased is missed: %v", gone)
	}
	put(b, "f", "g")
	storetest.Stop(t, n)

	blocks, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", "KV_things", "msgs", "*.blk"))
	if err != nil || len(blocks) == 0 {
		t.Fatal(blocks, err)
	}
	last := blocks[len(blocks)-1]
	info, err := os.Stat(last)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(last, info.Size()-1500); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		n, b = start()
		gone := n.Truncated()
		if len(gone) != 1 || gone[0].Bucket != "things" || gone[0].Missing != 3 {
			t.Fatalf("two changes are gone, after one that was erased, and of that is told %v", gone)
		}
		put(b, "h", "i", "j")
		storetest.Stop(t, n)
	}
	n, _ = start()
	if err := n.AcceptTruncated(); err != nil {
		t.Fatal(err)
	}
	storetest.Stop(t, n)
	n, _ = start()
	if gone := n.Truncated(); gone != nil {
		t.Errorf("after it was accepted: %v", gone)
	}
}
