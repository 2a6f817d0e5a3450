// Package acceltest is the conformance suite that every accel.Backend passes, bit
// for bit. Its models follow the definitions in package accel and share no code
// with any backend.
package acceltest

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"testing"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/accel/internal/xof"
)

// Q is the modulus that Tacit computes with.
const Q = 1<<48 - 393215

// Run runs the suite. newBackend is called once; Run closes the backend.
func Run(t *testing.T, newBackend func() accel.Backend) { run(t, newBackend, false) }

// RunSmall is Run without the largest shapes, for backends that are emulated.
func RunSmall(t *testing.T, newBackend func() accel.Backend) { run(t, newBackend, true) }

func run(t *testing.T, newBackend func() accel.Backend, small bool) {
	b := newBackend()
	defer func() {
		if err := b.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}()
	if b.Info().Name == "" {
		t.Error("Info has no name")
	}
	t.Run("SelfTest", func(t *testing.T) {
		if err := accel.SelfTest(b); err != nil {
			t.Error(err)
		}
	})
	t.Run("Ring", func(t *testing.T) { runRing(t, b) })
	t.Run("Rotator", func(t *testing.T) { runRotator(t, b, small) })
	t.Run("KeySwitcher", func(t *testing.T) { runKeySwitcher(t, b, small) })
}

// wantUnsupported fails unless err is an *accel.UnsupportedError for n and q.
func wantUnsupported(t *testing.T, err error, n int, q uint64) {
	t.Helper()
	var unsupported *accel.UnsupportedError
	if !errors.As(err, &unsupported) {
		t.Errorf("n=%d q=%d: error %v, want an UnsupportedError", n, q, err)
		return
	}
	if unsupported.N != n || unsupported.Q != q || unsupported.Reason == "" {
		t.Errorf("n=%d q=%d: incomplete error %+v", n, q, unsupported)
	}
}

// wantPanic fails unless f panics.
func wantPanic(t *testing.T, what string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if recover() == nil {
			t.Errorf("%s: no panic", what)
		}
	}()
	f()
}

// wantEqual fails at the first difference.
func wantEqual[W uint32 | uint64](t *testing.T, what string, got, want []W) {
	t.Helper()
	if slices.Equal(got, want) {
		return
	}
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("%s: value %d is %d, want %d", what, i, got[i], want[i])
		}
	}
}

// wantDigest fails unless the SHA-256 of the little-endian words is as given.
func wantDigest[W uint32 | uint64](t *testing.T, what string, words []W, want string) {
	t.Helper()
	h := sha256.New()
	if err := binary.Write(h, binary.LittleEndian, words); err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		t.Errorf("%s: digest %s, want %s", what, got, want)
	}
}

// residues returns n residues modulo q that depend on the label.
func residues(label string, n int, q uint64) []uint64 {
	dst := make([]uint64, n)
	xof.New(label).Residues(dst, q)
	return dst
}
