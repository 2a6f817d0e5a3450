//go:build amd64 && !purego

package cpu

import (
	"fmt"
	"testing"

	"github.com/tacit-fhe/tacit/accel"
	"golang.org/x/sys/cpu"
)

// TestDispatch fails where the instructions are there and not used, which no
// comparison of results would notice.
func TestDispatch(t *testing.T) {
	const q = 1<<48 - 393215
	best := "portable"
	for _, c := range []struct {
		name                    string
		present                 bool
		ring, rotator, switcher any
	}{
		{"avx2", cpu.X86.HasAVX2 && cpu.X86.HasFMA,
			&ringFP{}, &vectorRotator[float64]{}, &keySwitcherPaired{}},
		{"avx512", cpu.X86.HasAVX512F && cpu.X86.HasAVX512IFMA && cpu.X86.HasAVX512VNNI,
			&ringIFMA{}, &vectorRotator[uint64]{}, &keySwitcherPaired{}},
	} {
		if !c.present {
			continue
		}
		best = c.name
		b, err := Open(c.name)
		if err != nil {
			t.Fatal(err)
		}
		ring, err := b.Ring(2048, q)
		wantType(t, c.name, ring, err, c.ring)
		for _, spec := range []accel.RotatorSpec{
			{N: 2048, Rank: 1, Q: q, BaseLog: 22, Levels: 1, Steps: 1},
			{N: 512, Rank: 4, Q: q, BaseLog: 22, Levels: 1, Steps: 1},
			{N: 8192, Rank: 1, Q: q, BaseLog: 15, Levels: 2, Steps: 1},
			{N: 2048, Rank: 1, Q: q, BaseLog: 22, Levels: 1, Steps: 1, Mode: accel.Unrolled, Terms: 7},
			{N: 2048, Rank: 1, Q: q, BaseLog: 22, Levels: 1, Steps: 1, Mode: accel.Block, Terms: 3},
		} {
			rotator, err := b.Rotator(spec, func(int, []uint64) {})
			wantType(t, fmt.Sprintf("%s: %+v", c.name, spec), rotator, err, c.rotator)
		}
		switcher, err := b.KeySwitcher(accel.KeySwitchSpec{NIn: 1, NOut: 1, Q: q, BaseLog: 2, Levels: 8}, func(int, []uint32) {})
		wantType(t, c.name, switcher, err, c.switcher)
	}
	b, err := Open("")
	if err != nil {
		t.Fatal(err)
	}
	if name := b.Info().Name; name != best {
		t.Errorf("backend is %q, want %q", name, best)
	}
}

func wantType(t *testing.T, what string, got any, err error, want any) {
	t.Helper()
	if g, w := fmt.Sprintf("%T", got), fmt.Sprintf("%T", want); err != nil || g != w {
		t.Errorf("%s: %s, error %v, want %s", what, g, err, w)
	}
}
