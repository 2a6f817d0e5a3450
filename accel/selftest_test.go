package accel_test

import (
	"strings"
	"testing"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/accel/cpu"
)

// faulty wraps a backend and flips one bit of one result.
type faulty struct {
	accel.Backend
	what string
}

type faultyRing struct{ accel.Ring }

func (r faultyRing) NTT(dst, src []uint64) {
	r.Ring.NTT(dst, src)
	dst[2000] ^= 1
}

type faultyRotator struct{ accel.Rotator }

func (r faultyRotator) Rotate(acc [][]uint64, exps [][]uint32) {
	r.Rotator.Rotate(acc, exps)
	acc[0][3] ^= 1
}

type faultySwitcher struct{ accel.KeySwitcher }

func (k faultySwitcher) Switch(out [][]uint32, in [][]uint64) {
	k.KeySwitcher.Switch(out, in)
	out[0][70] ^= 1 << 31
}

func (f faulty) Ring(n int, q uint64) (accel.Ring, error) {
	r, err := f.Backend.Ring(n, q)
	if f.what == "NTT" {
		r = faultyRing{r}
	}
	return r, err
}

func (f faulty) Rotator(spec accel.RotatorSpec, ggsw func(i int, dst []uint64)) (accel.Rotator, error) {
	r, err := f.Backend.Rotator(spec, ggsw)
	if f.what == "Rotate" {
		r = faultyRotator{r}
	}
	return r, err
}

func (f faulty) KeySwitcher(spec accel.KeySwitchSpec, rows func(i int, dst []uint32)) (accel.KeySwitcher, error) {
	k, err := f.Backend.KeySwitcher(spec, rows)
	if f.what == "Switch" {
		k = faultySwitcher{k}
	}
	return k, err
}

func TestSelfTestNoticesFaults(t *testing.T) {
	b, err := cpu.New()
	if err != nil {
		t.Fatal(err)
	}
	if err := accel.SelfTest(faulty{b, "nothing"}); err != nil {
		t.Error(err)
	}
	for _, what := range []string{"NTT", "Rotate", "Switch"} {
		if err := accel.SelfTest(faulty{b, what}); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("one wrong bit in %s: error %v", what, err)
		}
	}
}
