//go:build amd64 && !purego

package cpu

import (
	"testing"

	"github.com/tacit-fhe/tacit/accel"
	"golang.org/x/sys/cpu"
)

// TestDispatch fails where the flagship instructions are there and not used,
// which no comparison of results would notice.
func TestDispatch(t *testing.T) {
	if !cpu.X86.HasAVX512F || !cpu.X86.HasAVX512IFMA || !cpu.X86.HasAVX512VNNI {
		t.Skip("this processor has no AVX-512 IFMA and VNNI")
	}
	const q = 1<<48 - 393215
	b, err := Open("")
	if err != nil {
		t.Fatal(err)
	}
	if name := b.Info().Name; name != "avx512" {
		t.Fatalf("backend is %q, want avx512", name)
	}
	ring, err := b.Ring(2048, q)
	if _, ok := ring.(*ringIFMA); !ok {
		t.Errorf("ring is %T (%v)", ring, err)
	}
	for _, spec := range []accel.RotatorSpec{
		{N: 2048, Rank: 1, Q: q, BaseLog: 22, Levels: 1, Steps: 1},
		{N: 512, Rank: 4, Q: q, BaseLog: 22, Levels: 1, Steps: 1},
		{N: 8192, Rank: 1, Q: q, BaseLog: 15, Levels: 2, Steps: 1},
		{N: 2048, Rank: 1, Q: q, BaseLog: 22, Levels: 1, Steps: 1, Mode: accel.Unrolled, Terms: 7},
		{N: 2048, Rank: 1, Q: q, BaseLog: 22, Levels: 1, Steps: 1, Mode: accel.Block, Terms: 3},
	} {
		rotator, err := b.Rotator(spec, func(int, []uint64) {})
		if _, ok := rotator.(*rotatorIFMA); !ok {
			t.Errorf("rotator of %+v is %T (%v)", spec, rotator, err)
		}
	}
	switcher, err := b.KeySwitcher(accel.KeySwitchSpec{NIn: 1, NOut: 1, Q: q, BaseLog: 2, Levels: 8}, func(int, []uint32) {})
	if _, ok := switcher.(*keySwitcherPaired); !ok {
		t.Errorf("key switcher is %T (%v)", switcher, err)
	}
}
