package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"

	"github.com/tacit-fhe/tacit/accel/cpu"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/noise"
)

// packed packs ciphertexts and extracts them again, with the bounds they then have.
func (f *fixture) packed(t testing.TB, in []fhe.LWE) []fhe.LWE {
	t.Helper()
	packed, err := f.eval.Pack(in)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]fhe.LWE, packed.Len())
	for i := range out {
		out[i] = packed.LWE(f.params, i, f.params.PackedBound(in[i].Bound))
	}
	return out
}

// TestPack packs numbers of ciphertexts around powers of two and around a whole
// group, from fresh ones, trivial ones and bootstrap outputs.
func TestPack(t *testing.T) {
	for _, preset := range fhe.PresetNames() {
		f := load(t, preset)
		if !f.params.Packs() {
			continue
		}
		n := f.params.Literal().PolynomialSize
		counts := []int{0, 1, 2, 3, 4, 5, 32, 33}
		if n < 2048 {
			counts = append(counts, 128, n-1, n, n+1, 2*n+5)
		}
		lut := f.lut(t, 0, 3, func(m int64) int64 { return 3 - m })
		boot := []fhe.PBS{{In: f.encrypt("pack", 3, 1)[0], LUT: lut}}
		if err := f.eval.Bootstrap(t.Context(), boot); err != nil {
			t.Fatal(err)
		}
		for _, count := range counts {
			messages := make([]int64, count)
			for i := range messages {
				messages[i] = int64(i*i+i/4) % 4
			}
			in := f.encrypt(fmt.Sprint("pack", count), 3, messages...)
			if count > 2 {
				in[1], messages[1] = boot[0].Out[0], 2
				in[2], messages[2] = f.params.Trivial(3), 3
			}
			for i, out := range f.packed(t, in) {
				if got := f.keys.Secret.Decrypt(out); got != messages[i] {
					t.Fatalf("%s: ciphertext %d of %d holds %d, want %d", preset, i, count, got, messages[i])
				}
				if e := f.keys.Secret.Noise(out); e*e > 50*out.Bound.Variance {
					t.Errorf("%s: ciphertext %d of %d: error %g, variance %g", preset, i, count, e, out.Bound.Variance)
				}
			}
		}
		var lut2 []fhe.PBS
		for _, x := range f.packed(t, f.encrypt("after", 3, 0, 1, 2, 3)) {
			lut2 = append(lut2, fhe.PBS{In: x, LUT: lut})
		}
		if err := f.eval.Bootstrap(t.Context(), lut2); err != nil {
			t.Fatal(err)
		}
		for i, task := range lut2 {
			if got := f.keys.Secret.Decrypt(task.Out[0]); got != 3-int64(i) {
				t.Errorf("%s: a bootstrap of packed %d gives %d", preset, i, got)
			}
		}
	}
}

// The packed bytes are the same on every backend.
func TestPackIsDeterministic(t *testing.T) {
	f := load(t, fhe.TestPreset)
	in := f.encrypt("deterministic", 3, 1, 2, 3, 0, 1)
	want := f.packed(t, in)
	const known = "a2076c2c7bbb44a916158533fc052177"
	if got := digest(want); got != known {
		t.Errorf("digest %s, want %s", got, known)
	}
	for _, name := range cpu.Available() {
		backend, err := cpu.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		pk, err := NewPacker(f.keys.Evaluation, backend)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				got, err := pk.Pack(in)
				if err != nil {
					t.Error(err)
					return
				}
				for i := range in {
					if !slices.Equal(got.LWE(f.params, i, noise.Bound{}).Value, want[i].Value) {
						t.Errorf("%s: ciphertext %d differs", name, i)
					}
				}
			})
		}
		wg.Wait()
	}
}

func TestPackRefuses(t *testing.T) {
	f := load(t, "tacit-bool-v1")
	var perr *fhe.ParametersError
	if _, err := f.eval.Pack(nil); !errors.As(err, &perr) || perr.Field != "PackingGadget" {
		t.Errorf("got %v", err)
	}
	backend, err := cpu.New()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewPacker(f.keys.Evaluation, backend); !errors.As(err, &perr) {
		t.Errorf("got %v", err)
	}
	f = load(t, fhe.TestPreset)
	if _, err := f.eval.Pack(make([]fhe.LWE, fhe.MaxSlots+1)); err == nil {
		t.Error("too many ciphertexts were packed")
	}
}

// packingFixture is the default preset with a small key that is short, which
// packing does not touch, so that keys are made quickly; and with another rank.
func packingFixture(t testing.TB, label string, rank int) *fixture {
	t.Helper()
	p, err := fhe.Preset(fhe.DefaultPreset)
	if err != nil {
		t.Fatal(err)
	}
	l := p.Literal()
	l.Name, l.TestOnly, l.LWEDimension = "insecure-test-packing", true, 3
	l.PolynomialSize /= rank
	l.Rank = rank
	if p, err = fhe.NewParameters(l); err != nil {
		t.Fatal(err)
	}
	backend, err := cpu.New()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := fhe.GenerateKeys(context.Background(), p, testSeed(label), backend, nil)
	if err != nil {
		t.Fatal(err)
	}
	eval, err := NewEvaluator(keys.Evaluation, backend)
	if err != nil {
		t.Fatal(err)
	}
	return &fixture{p, keys, eval}
}

// TestPackingNoise compares what packing adds to the errors, before its result is
// rounded, with the formula: the sample variance lies within its 99 % interval. What
// rounding adds is measured in package fhe.
func TestPackingNoise(t *testing.T) {
	for _, c := range []struct{ rank, count, packs int }{{1, 32, 64}, {1, 2048, 1}, {2, 64, 32}} {
		var squares, samples float64
		var params *fhe.Parameters
		for _, label := range []string{"noise a", "noise b"} {
			f := packingFixture(t, label, c.rank)
			params = f.params
			q := f.params.Modulus()
			size := f.params.BigDimension()
			for round := range c.packs {
				in := f.encrypt(fmt.Sprint("noise", round), 3, make([]int64, c.count)...)
				glwe := f.eval.packer.pack(in)[0]
				stride := f.params.PackedStride(c.count)
				for i, x := range in {
					exact := fhe.LWE{Value: make([]uint64, size+1)}
					f.params.ExtractMask(exact.Value, glwe[:size], i*stride)
					exact.Value[size] = glwe[size+i*stride]
					before, after := f.keys.Secret.Phase(x), f.keys.Secret.Phase(exact)
					added := relative(after-before, q)
					squares += added * added
					samples++
				}
			}
		}
		// The variance of a sample variance is 2/n of its square for a Gaussian, and the
		// errors of the rows of two keys leave about 1 % more.
		within := 2.576 * math.Hypot(math.Sqrt(2/samples), 0.008)
		ratio := squares / samples / params.PackingVariance()
		t.Logf("rank %d, %d: 2^%.2f, measured/predicted %.3f ± %.3f over %.0f", c.rank, c.count, math.Log2(params.PackingVariance()), ratio, within, samples)
		if math.Abs(ratio-1) > within {
			t.Errorf("rank %d, %d ciphertexts: packing adds %.3f times its variance, outside 1 ± %.3f", c.rank, c.count, ratio, within)
		}
	}
}

// relative is a difference of residues modulo 2^64 as a fraction of q, in (-1/2, 1/2).
func relative(d, q uint64) float64 {
	x := math.Mod(float64(int64(d)), float64(q)) / float64(q)
	return x - math.Round(x)
}

func BenchmarkPack(b *testing.B) {
	f := packingFixture(b, "benchmark", 1)
	for _, count := range []int{1, 4, 32, 1024, 2048} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			in := f.encrypt("benchmark", 3, make([]int64, count)...)
			for b.Loop() {
				if _, err := f.eval.Pack(in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestPackedSwitchesWithoutBias takes ciphertexts that were packed alone through the
// key switch: its error has mean zero. Of residues whose low bits are all zero one in
// many is halfway between two digits and always goes to the same side.
func TestPackedSwitchesWithoutBias(t *testing.T) {
	f := load(t, fhe.DefaultPreset)
	const samples = 64
	sum := 0.0
	for i := range samples {
		in := f.encrypt(fmt.Sprint("bias ", i), 3, 1)
		packed, err := f.eval.Pack(in)
		if err != nil {
			t.Fatal(err)
		}
		x := packed.LWE(f.params, 0, f.params.PackedBound(in[0].Bound))
		before := f.keys.Secret.Noise(x) + float64(f.params.Encode(1))/float64(f.params.Modulus())
		sum += float64(f.keys.Secret.SmallPhase(f.eval.KeySwitch(x)))/(1<<32) - before
	}
	mean := sum / samples / math.Sqrt(f.params.KeySwitchVariance())
	t.Logf("mean %.3f standard deviations", mean)
	if math.Abs(mean) > 5/math.Sqrt(samples) {
		t.Errorf("the errors have the mean %.3f, in standard deviations of one", mean)
	}
}
