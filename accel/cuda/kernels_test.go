package cuda

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/accel/cpu"
	"github.com/tacit-fhe/tacit/accel/cuda/internal/emulated"
	"github.com/tacit-fhe/tacit/accel/internal/xof"
)

// TestEveryBarrierIsNeeded takes each barrier out of the blind rotations in turn: the
// emulator has to find the race.
func TestEveryBarrierIsNeeded(t *testing.T) {
	if testing.Short() {
		t.Skip("some seconds of emulation")
	}
	const barrier = "bar.sync \t0;"
	processor, err := cpu.New()
	if err != nil {
		t.Fatal(err)
	}
	whole := rotatePTX
	defer func() { rotatePTX = whole }()
	for _, kernel := range []struct {
		name  string
		mode  accel.RotatorMode
		batch int
	}{{"rotate_cmux", accel.CMux, 4}, {"rotate_combining", accel.Block, 4}, {"rotate_combined_few", accel.Block, 1}, {"rotate_cmux_few", accel.CMux, 1}} {
		begin := strings.Index(whole, ".visible .entry "+kernel.name+"(")
		end := begin + strings.Index(whole[begin:], "\n}\n")
		count := strings.Count(whole[begin:end], barrier)
		if count < 4 {
			t.Fatalf("%s has %d barriers", kernel.name, count)
		}
		for i := range count {
			at := begin
			for range i + 1 {
				at += strings.Index(whole[at:end], barrier) + 1
			}
			rotatePTX = whole[:at-1] + whole[at-1+len(barrier):]
			var reports []error
			b, err := Open(emulated.New(1), Options{Host: processor, Report: func(err error) { reports = append(reports, err) }})
			if err != nil {
				t.Fatal(err)
			}
			// Three passes a transform, and two warps that the race is between.
			spec := accel.RotatorSpec{N: 512, Rank: 1, Q: 1<<48 - 393215, BaseLog: 12, Levels: 2, Steps: 2, Mode: kernel.mode}
			if kernel.mode != accel.CMux {
				spec.Terms = 1
			}
			r, err := b.Rotator(spec, func(i int, dst []uint64) { xof.New(fmt.Sprint(i)).Residues(dst, spec.Q) })
			if err != nil {
				t.Fatal(err)
			}
			acc, exps := make([][]uint64, kernel.batch), make([][]uint32, kernel.batch)
			for j := range acc {
				acc[j], exps[j] = make([]uint64, 2*spec.N), []uint32{5, 300}
			}
			r.Rotate(acc, exps)
			if len(reports) != 1 || !strings.Contains(reports[0].Error(), "race") {
				t.Errorf("%s without barrier %d of %d: %v", kernel.name, i+1, count, reports)
			}
		}
	}
}

// TestKernelsAreNamed compares the kernels of the texts with those that are loaded.
func TestKernelsAreNamed(t *testing.T) {
	for _, text := range kernelNames {
		var found []string
		for line := range strings.Lines(*text.ptx) {
			if name, ok := strings.CutPrefix(line, ".visible .entry "); ok {
				found = append(found, strings.TrimSuffix(strings.TrimSpace(name), "("))
			}
		}
		want := slices.Concat(text.names, text.fused)
		slices.Sort(found)
		slices.Sort(want)
		if !slices.Equal(found, want) {
			t.Errorf("the text has %v, loaded are %v", found, want)
		}
	}
}
