package acceltest

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/tacit-fhe/tacit/accel"
)

// Benchmark measures a backend: transforms, one step of a blind rotation per
// ciphertext with a key of true size, and a key switch per ciphertext.
func Benchmark(b *testing.B, backend accel.Backend) {
	ring, err := backend.Ring(2048, Q)
	if err != nil {
		b.Fatal(err)
	}
	x, y, z := residues("x", 2048, Q), residues("y", 2048, Q), residues("z", 2048, Q)
	b.Run("NTT/2048", func(b *testing.B) { measure(b, func() { ring.NTT(x, x) }) })
	b.Run("INTT/2048", func(b *testing.B) { measure(b, func() { ring.INTT(x, x) }) })
	b.Run("MulAcc/2048", func(b *testing.B) { measure(b, func() { ring.MulAcc(x, y, z) }) })
	// The shapes of plain binary keys, of groups of three of their bits, and of
	// block-binary keys, for messages of two bits and two carry bits.
	for _, c := range []struct {
		name         string
		mode         accel.RotatorMode
		terms, steps int
	}{{"CMux", accel.CMux, 0, 862}, {"Unrolled3", accel.Unrolled, 7, 288}, {"Block3", accel.Block, 3, 300}} {
		spec := accel.RotatorSpec{N: 2048, Rank: 1, Q: Q, BaseLog: 22, Levels: 1, Steps: c.steps, Mode: c.mode, Terms: c.terms}
		b.Run("Rotate"+c.name, func(b *testing.B) { benchmarkRotate(b, backend, spec) })
	}
	b.Run("Switch", func(b *testing.B) { benchmarkSwitch(b, backend) })
}

// measure runs f and reports, next to the mean, the shortest time of a call, which
// says more than the mean where others use the machine. It returns that time in
// nanoseconds.
func measure(b *testing.B, f func()) float64 {
	best := math.Inf(1)
	for b.Loop() {
		start := time.Now()
		f()
		best = min(best, float64(time.Since(start).Nanoseconds()))
	}
	b.ReportMetric(best, "min-ns")
	return best
}

func benchmarkRotate(b *testing.B, backend accel.Backend, spec accel.RotatorSpec) {
	rows := (spec.Rank + 1) * spec.Levels
	step := residues("GGSW", spec.GGSWs()*rows*(spec.Rank+1)*spec.N, Q)
	r, err := backend.Rotator(spec, func(_ int, dst []uint64) { copy(dst, step) })
	if err != nil {
		b.Fatal(err)
	}
	for _, batch := range []int{1, 2, 4, 8} {
		acc, exps := make([][]uint64, batch), make([][]uint32, batch)
		for t := range acc {
			acc[t] = residues(fmt.Sprintf("accumulator %d", t), 2*spec.N, Q)
			exps[t] = make([]uint32, spec.Steps*spec.Exponents())
			for i, e := range residues(fmt.Sprintf("exponents %d", t), len(exps[t]), uint64(2*spec.N)) {
				exps[t][i] = uint32(e)
			}
		}
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			perCiphertext := measure(b, func() { r.Rotate(acc, exps) }) / float64(batch)
			b.ReportMetric(perCiphertext*1e-6, "min-ms/ciphertext")
			b.ReportMetric(perCiphertext/float64(spec.Steps), "min-ns/step")
		})
	}
}

func benchmarkSwitch(b *testing.B, backend accel.Backend) {
	spec := accel.KeySwitchSpec{NIn: 2048, NOut: 862, Q: Q, BaseLog: 2, Levels: 8}
	row := make([]uint32, spec.Levels*(spec.NOut+1))
	keySwitchKey(0, row)
	k, err := backend.KeySwitcher(spec, func(_ int, dst []uint32) { copy(dst, row) })
	if err != nil {
		b.Fatal(err)
	}
	for _, batch := range []int{1, 8} {
		out, in := make([][]uint32, batch), make([][]uint64, batch)
		for t := range out {
			out[t] = make([]uint32, spec.NOut+1)
			in[t] = residues(fmt.Sprintf("LWE %d", t), spec.NIn+1, Q)
		}
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			perCiphertext := measure(b, func() { k.Switch(out, in) }) / float64(batch)
			b.ReportMetric(perCiphertext*1e-6, "min-ms/ciphertext")
		})
	}
}
