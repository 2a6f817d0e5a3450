//go:build linux

package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/tacit-fhe/tacit/coprocessor/store"
	"github.com/tacit-fhe/tacit/coprocessor/store/storetest"
)

const diskVariable = "TACIT_TEST_DISK"

// inNamespace runs a test of this package again as root of a namespace of its own,
// where it may mount file systems.
func inNamespace(t *testing.T) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), diskVariable+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}, GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EINVAL) || bytes.Contains(out, []byte("--- SKIP")) {
		t.Skipf("no namespaces here: %v", err)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// disk mounts a file system of so many bytes.
func disk(t *testing.T, size int) string {
	t.Helper()
	dir := os.Getenv(diskVariable)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Skipf("nothing can be mounted: %v", err)
	}
	return dir
}

// A disk that is full, which the limit of the store keeps away from otherwise: the
// write fails, what was acknowledged is there, also after room was made.
func TestFullDisk(t *testing.T) {
	if os.Getenv(diskVariable) == "" {
		inNamespace(t)
		return
	}
	ctx := t.Context()
	dir := disk(t, 8<<20)
	n, err := store.Embedded(ctx, store.EmbeddedOptions{Dir: dir, MaxStore: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	s := openCiphertexts(t, n)
	stored := 0
	for ; err == nil; stored++ {
		short, cancel := context.WithTimeout(ctx, time.Second) // the server no longer answers
		defer cancel()
		err = s.Put(short, store.Ciphertext{Handle: [32]byte{byte(stored)}, Record: pattern(byte(stored), 300_000)})
	}
	stored-- // the last one failed
	t.Logf("%d ciphertexts, then: %v", stored, err)
	if stored < 10 || errors.As(err, new(*store.NotFoundError)) || errors.As(err, new(*store.ConflictError)) {
		t.Fatalf("%d ciphertexts on a disk of 8 MB, then %v", stored, err)
	}
	storetest.Stop(t, n)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, fmt.Sprint("size=", 64<<20)); err != nil {
		t.Fatal(err)
	}
	s = openCiphertexts(t, storetest.Start(t, dir))
	for i := range stored {
		if got, err := s.Get(ctx, [32]byte{byte(i)}); err != nil || !bytes.Equal(got, pattern(byte(i), 300_000)) {
			t.Errorf("ciphertext %d, which was acknowledged: %v", i, err)
		}
	}
	if err := s.Put(ctx, store.Ciphertext{Handle: [32]byte{byte(stored)}, Record: pattern(byte(stored), 300_000)}); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

// A disk that takes no writes: opening fails, and so does writing to a store that was
// open before. Nothing that was not stored is there.
func TestReadOnlyDisk(t *testing.T) {
	if os.Getenv(diskVariable) == "" {
		inNamespace(t)
		return
	}
	ctx := t.Context()
	dir := disk(t, 64<<20)
	n := storetest.Start(t, dir)
	s := openCiphertexts(t, n)
	if err := s.Put(ctx, store.Ciphertext{Handle: [32]byte{1}, Record: pattern(1, 1000)}); err != nil {
		t.Fatal(err)
	}
	storetest.Stop(t, n)
	remount := func(flags uintptr) {
		t.Helper()
		if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	remount(syscall.MS_RDONLY)
	if n, err := store.Embedded(ctx, store.EmbeddedOptions{Dir: dir}); err == nil {
		storetest.Stop(t, n)
		t.Error("a store that takes no writes is opened")
	} else if !errors.Is(err, syscall.EROFS) {
		t.Errorf("opened read-only: %v", err)
	}
	remount(0)
	if got, err := openCiphertexts(t, storetest.Start(t, dir)).Get(ctx, [32]byte{1}); err != nil || !bytes.Equal(got, pattern(1, 1000)) {
		t.Errorf("with a disk that takes writes again: %v", err)
	}
}
