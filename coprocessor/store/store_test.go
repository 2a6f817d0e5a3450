package store_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"go.uber.org/goleak"

	"github.com/tacit-fhe/tacit/coprocessor/store"
	"github.com/tacit-fhe/tacit/coprocessor/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func openCiphertexts(t *testing.T, n *store.Node) *store.Ciphertexts {
	t.Helper()
	s, err := store.OpenCiphertexts(t.Context(), n.JetStream())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func openKeys(t *testing.T, n *store.Node) *store.Keys {
	t.Helper()
	s, err := store.OpenKeys(t.Context(), n.JetStream(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// pattern returns n bytes that no other seed yields.
func pattern(seed byte, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

func TestCiphertexts(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	n := storetest.Start(t, dir)
	s := openCiphertexts(t, n)

	key := sha256.Sum256([]byte("key"))
	for _, size := range []int{0, 1, 6000, store.MaxRecord} {
		ct := store.Ciphertext{Handle: sha256.Sum256(pattern(1, size+1)), Type: 5, KeyID: key, Record: pattern(2, size)}
		notFound := (*store.NotFoundError)(nil)
		if _, err := s.Get(ctx, ct.Handle); !errors.As(err, &notFound) || notFound.Handle != ct.Handle {
			t.Fatalf("size %d: Get before Put: %v", size, err)
		}
		if _, err := s.Stat(ctx, ct.Handle); !errors.As(err, &notFound) {
			t.Fatalf("size %d: Stat before Put: %v", size, err)
		}
		for range 2 {
			if err := s.Put(ctx, ct); err != nil {
				t.Fatalf("size %d: %v", size, err)
			}
		}
		otherType, otherKey, otherBytes := ct, ct, ct
		otherType.Type = 4
		otherKey.KeyID[31] ^= 1
		otherBytes.Record = pattern(3, size+1)[:min(size+1, store.MaxRecord)]
		for name, other := range map[string]store.Ciphertext{"type": otherType, "key": otherKey, "bytes": otherBytes} {
			conflict := (*store.ConflictError)(nil)
			if err := s.Put(ctx, other); !errors.As(err, &conflict) || conflict.Handle != ct.Handle {
				t.Fatalf("size %d: Put with another %s: %v", size, name, err)
			}
		}
		want := store.Meta{Type: 5, KeyID: key, Digest: sha256.Sum256(ct.Record), Size: size}
		if got, err := s.Stat(ctx, ct.Handle); err != nil || got != want {
			t.Fatalf("size %d: Stat = %+v, %v", size, got, err)
		}
	}
	sizeErr := (*store.SizeError)(nil)
	if err := s.Put(ctx, store.Ciphertext{Record: make([]byte, store.MaxRecord+1)}); !errors.As(err, &sizeErr) {
		t.Fatalf("Put over the limit: %v", err)
	}

	// All of it is there after a restart.
	storetest.Stop(t, n)
	s = openCiphertexts(t, storetest.Start(t, dir))
	for _, size := range []int{0, 1, 6000, store.MaxRecord} {
		got, err := s.Get(ctx, sha256.Sum256(pattern(1, size+1)))
		if err != nil || !bytes.Equal(got, pattern(2, size)) {
			t.Fatalf("size %d after a restart: %d bytes, %v", size, len(got), err)
		}
	}
}

func TestPutAllStopsAndResumes(t *testing.T) {
	ctx := t.Context()
	s := openCiphertexts(t, storetest.Start(t, t.TempDir()))
	var cts []store.Ciphertext
	for i := range byte(4) {
		cts = append(cts, store.Ciphertext{Handle: [32]byte{i}, Record: pattern(i, 100)})
	}
	bad := append([]store.Ciphertext(nil), cts...)
	bad[2].Record = make([]byte, store.MaxRecord+1)
	sizeErr := (*store.SizeError)(nil)
	if err := s.PutAll(ctx, bad); !errors.As(err, &sizeErr) {
		t.Fatal(err)
	}
	notFound := (*store.NotFoundError)(nil)
	if _, err := s.Stat(ctx, cts[3].Handle); !errors.As(err, &notFound) {
		t.Fatalf("PutAll went on after an error: %v", err)
	}
	if err := s.PutAll(ctx, cts); err != nil {
		t.Fatal(err)
	}
	for i, ct := range cts {
		if got, err := s.Get(ctx, ct.Handle); err != nil || !bytes.Equal(got, ct.Record) {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// Writers that race for one handle: one record wins, and everybody who offered
// another one is told.
func TestPutRace(t *testing.T) {
	ctx := t.Context()
	s := openCiphertexts(t, storetest.Start(t, t.TempDir()))
	errs := make([]error, 8)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = s.Put(ctx, store.Ciphertext{Record: pattern(byte(i%2), 1000)}) })
	}
	wg.Wait()
	got, err := s.Get(ctx, [32]byte{})
	if err != nil {
		t.Fatal(err)
	}
	for i, err := range errs {
		conflict := (*store.ConflictError)(nil)
		if won := bytes.Equal(got, pattern(byte(i%2), 1000)); won && err != nil || !won && !errors.As(err, &conflict) {
			t.Errorf("writer %d, won %v: %v", i, won, err)
		}
	}
}

func TestDamagedCiphertext(t *testing.T) {
	for _, damaged := range []byte{0, 1, 2} {
		t.Run(fmt.Sprint(damaged), func(t *testing.T) {
			ctx := t.Context()
			dir := t.TempDir()
			n := storetest.Start(t, dir)
			s := openCiphertexts(t, n)
			for i := range byte(3) {
				if err := s.Put(ctx, store.Ciphertext{Handle: [32]byte{i}, Record: pattern(i, 1000)}); err != nil {
					t.Fatal(err)
				}
			}
			storetest.Stop(t, n)
			storetest.Flip(t, dir, pattern(damaged, 1000))
			s = openCiphertexts(t, storetest.Start(t, dir))

			check := func(want func(i byte, err error) bool) {
				t.Helper()
				for i := range byte(3) {
					if got, err := s.Get(ctx, [32]byte{i}); !want(i, err) || err == nil && !bytes.Equal(got, pattern(i, 1000)) {
						t.Errorf("Get %d: %v", i, err)
					}
				}
			}
			check(func(i byte, err error) bool {
				loss := (*store.DataLossError)(nil)
				return errors.As(err, &loss) == (i == damaged) && (err == nil) == (i != damaged)
			})
			// The same bytes again repair it.
			if err := s.Put(ctx, store.Ciphertext{Handle: [32]byte{damaged}, Record: pattern(damaged, 1000)}); err != nil {
				t.Fatal(err)
			}
			check(func(_ byte, err error) bool { return err == nil })
		})
	}
}

func TestDamagedMeta(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	n := storetest.Start(t, dir)
	s := openCiphertexts(t, n)
	ct := store.Ciphertext{KeyID: [32]byte(pattern(7, 32)), Record: []byte("record")}
	if err := s.Put(ctx, ct); err != nil {
		t.Fatal(err)
	}
	storetest.Stop(t, n)
	storetest.Flip(t, dir, ct.KeyID[:])
	s = openCiphertexts(t, storetest.Start(t, dir))
	loss := (*store.DataLossError)(nil)
	if _, err := s.Stat(ctx, ct.Handle); !errors.As(err, &loss) {
		t.Errorf("Stat: %v", err)
	}
	if _, err := s.Get(ctx, ct.Handle); !errors.As(err, &loss) {
		t.Errorf("Get: %v", err)
	}
}

// A record that changed in a way JetStream's own checksum does not see.
func TestAlteredRecord(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	n := storetest.Start(t, dir)
	s := openCiphertexts(t, n)
	record := pattern(1, 100)
	if err := s.Put(ctx, store.Ciphertext{Record: record}); err != nil {
		t.Fatal(err)
	}
	kv, err := n.JetStream().KeyValue(ctx, "ciphertexts")
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("%064x.%x", 0, sha256.Sum256(record))
	if _, err := kv.Put(ctx, name, pattern(2, 100)); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Get(ctx, [32]byte{}); err != nil || !bytes.Equal(got, record) {
		t.Fatalf("what was written here: %x, %v", got, err)
	}
	storetest.Stop(t, n)
	n = storetest.Start(t, dir)
	s = openCiphertexts(t, n)
	if kv, err = n.JetStream().KeyValue(ctx, "ciphertexts"); err != nil {
		t.Fatal(err)
	}
	loss := (*store.DataLossError)(nil)
	if _, err := s.Get(ctx, [32]byte{}); !errors.As(err, &loss) || loss.Bucket != "ciphertexts" || loss.Key != name {
		t.Fatalf("altered: %v", err)
	}
	if err := kv.Purge(ctx, name); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(ctx, [32]byte{}); !errors.As(err, &loss) {
		t.Fatalf("missing: %v", err)
	}
}

func TestKeys(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	n := storetest.Start(t, dir)
	s := openKeys(t, n)

	sizes := []int{0, 1, 4<<20 - 1, 4 << 20, 4<<20 + 1, 9 << 20}
	for i, size := range sizes {
		body := pattern(byte(i), size)
		id := sha256.Sum256(body)
		notFound := (*store.KeyNotFoundError)(nil)
		if _, _, err := s.Open(ctx, id); !errors.As(err, &notFound) || notFound.ID != id {
			t.Fatalf("size %d: Open before Put: %v", size, err)
		}

		// Uploads that fail leave nothing that can be seen.
		digest := (*store.DigestError)(nil)
		if err := s.Put(ctx, id, bytes.NewReader(append(body, 0)), 10<<20); !errors.As(err, &digest) {
			t.Fatalf("size %d: wrong content: %v", size, err)
		}
		sizeErr := (*store.SizeError)(nil)
		if err := s.Put(ctx, id, bytes.NewReader(body), int64(size)-1); size > 0 && !errors.As(err, &sizeErr) {
			t.Fatalf("size %d: over the limit: %v", size, err)
		}
		broken := io.MultiReader(bytes.NewReader(body), iotest.ErrReader(io.ErrClosedPipe))
		if err := s.Put(ctx, id, broken, 10<<20); !errors.Is(err, io.ErrClosedPipe) {
			t.Fatalf("size %d: broken upload: %v", size, err)
		}
		if _, _, err := s.Open(ctx, id); !errors.As(err, &notFound) {
			t.Fatalf("size %d: Open after failed uploads: %v", size, err)
		}

		if err := s.Put(ctx, id, bytes.NewReader(body), int64(size)); err != nil {
			t.Fatalf("size %d: %v", size, err)
		}
		if err := s.Put(ctx, id, iotest.ErrReader(errors.New("read")), 1); err != nil {
			t.Fatalf("size %d: again: %v", size, err)
		}
	}

	storetest.Stop(t, n)
	s = openKeys(t, storetest.Start(t, dir))
	list, err := s.List(ctx)
	if err != nil || len(list) != len(sizes) {
		t.Fatalf("List: %d keys, %v", len(list), err)
	}
	bySize := map[int64]store.KeyInfo{}
	for i, info := range list {
		bySize[info.Size] = info
		if i > 0 && bytes.Compare(list[i-1].ID[:], info.ID[:]) >= 0 {
			t.Errorf("List is not in order at %d", i)
		}
		if info.Uploaded.IsZero() {
			t.Errorf("key %x has no upload time", info.ID)
		}
	}
	for i, size := range sizes {
		body := pattern(byte(i), size)
		if bySize[int64(size)].ID != sha256.Sum256(body) {
			t.Errorf("size %d is not listed under its id", size)
		}
		r, n, err := s.Open(ctx, sha256.Sum256(body))
		if err != nil || n != int64(size) {
			t.Fatalf("Open: %d bytes, %v", n, err)
		}
		if err := iotest.TestReader(io.LimitReader(r, 100), body[:min(size, 100)]); err != nil {
			t.Error(err)
		}
		rest, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(rest, body[min(size, 100):]) {
			t.Errorf("size %d: read %d more bytes, %v", size, len(rest), err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if _, err := r.Read(make([]byte, 1)); err == nil || err == io.EOF {
			t.Errorf("Read after Close: %v", err)
		}
	}
}

func TestDamagedKey(t *testing.T) {
	body := pattern(1, 9<<20)
	id := sha256.Sum256(body)
	for _, at := range []int{0, 4 << 20, 8 << 20} {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			ctx := t.Context()
			dir := t.TempDir()
			n := storetest.Start(t, dir)
			s := openKeys(t, n)
			if err := s.Put(ctx, id, bytes.NewReader(body), 10<<20); err != nil {
				t.Fatal(err)
			}
			storetest.Stop(t, n)
			storetest.Flip(t, dir, body[at:at+1000])
			s = openKeys(t, storetest.Start(t, dir))
			read := func() ([]byte, error) {
				r, _, err := s.Open(ctx, id)
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				return io.ReadAll(r)
			}
			loss := (*store.DataLossError)(nil)
			if got, err := read(); !errors.As(err, &loss) || !bytes.Equal(got, body[:at]) {
				t.Fatalf("read %d bytes, %v", len(got), err)
			}
			if err := s.Put(ctx, id, bytes.NewReader(body), 10<<20); err != nil {
				t.Fatal(err)
			}
			if got, err := read(); err != nil || !bytes.Equal(got, body) {
				t.Fatalf("after the repair: %d bytes, %v", len(got), err)
			}
		})
	}
}

func TestPutKeyCancelled(t *testing.T) {
	s := openKeys(t, storetest.Start(t, t.TempDir()))
	ctx, cancel := context.WithCancel(t.Context())
	endless := readerFunc(func(p []byte) (int, error) {
		cancel()
		return len(p), nil
	})
	if err := s.Put(ctx, [32]byte{}, endless, 1<<40); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestDirectoryIsPrivateAndLocked(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "data")
	n := storetest.Start(t, dir)
	for _, d := range []string{dir, filepath.Join(dir, "jetstream")} {
		info, err := os.Stat(d)
		if err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: mode %v, %v", d, info.Mode(), err)
		}
	}
	locked := (*store.LockedError)(nil)
	if _, err := store.Embedded(t.Context(), store.EmbeddedOptions{Dir: dir}); !errors.As(err, &locked) || locked.Dir != dir {
		t.Fatalf("second node: %v", err)
	}

	// Another process is refused too, and lets go when it is killed.
	out, err := child(t, "TACIT_TEST_OPEN="+dir).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "in use by another process") {
		t.Fatalf("second process: %v\n%s", err, out)
	}
	storetest.Stop(t, n)
	storetest.Start(t, dir)
}

func child(t *testing.T, env string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChild$")
	cmd.Env = append(os.Environ(), env)
	return cmd
}

// TestChild is the body of the other process.
func TestChild(t *testing.T) {
	dir := os.Getenv("TACIT_TEST_OPEN")
	if dir == "" {
		t.Skip("runs in a child process only")
	}
	n, err := store.Embedded(t.Context(), store.EmbeddedOptions{Dir: dir})
	fmt.Println(err)
	if err == nil {
		storetest.Stop(t, n)
	}
}

func TestEmbeddedErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, opts := range map[string]store.EmbeddedOptions{
		"no directory":   {},
		"a file":         {Dir: file},
		"negative limit": {Dir: t.TempDir(), MaxStore: -1},
	} {
		if n, err := store.Embedded(t.Context(), opts); err == nil {
			storetest.Stop(t, n)
			t.Errorf("%s: no error", name)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	if n, err := store.Embedded(ctx, store.EmbeddedOptions{Dir: dir}); err == nil {
		storetest.Stop(t, n)
	} else if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	storetest.Start(t, dir) // A failed start has released the directory.
}

func TestFullStore(t *testing.T) {
	ctx := t.Context()
	n, err := store.Embedded(ctx, store.EmbeddedOptions{Dir: t.TempDir(), MaxStore: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer storetest.Stop(t, n)
	s := openCiphertexts(t, n)
	for i := range byte(20) {
		if err = s.Put(ctx, store.Ciphertext{Handle: [32]byte{i}, Record: pattern(i, 100<<10)}); err != nil {
			break
		}
	}
	if !errors.As(err, new(*store.FullError)) {
		t.Fatalf("2 MB into a store of 1 MB: %v", err)
	}
	if _, err := s.Get(ctx, [32]byte{0}); err != nil {
		t.Errorf("reading from a full store: %v", err)
	}
}
