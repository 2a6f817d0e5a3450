package noisebench

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/tacit-fhe/tacit/accel/cpu"
	"github.com/tacit-fhe/tacit/fhe"
)

func testSeed(label string) [fhe.SeedSize]byte { return sha256.Sum256([]byte("noise test " + label)) }

// check logs the tables and fails where a prediction is out of its interval, made
// half as wide again: of the hundred intervals of these tests one should miss at
// 99 %, and none at the 99.99 % that this is.
func check(t *testing.T, r *Report) {
	t.Helper()
	var b strings.Builder
	if err := r.Markdown(&b); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + b.String())
	inside := func(what string, i Interval, want float64) {
		t.Helper()
		margin := (i.High - i.Low) / 4
		if wide := (Interval{i.Low - margin, i.High + margin}); !wide.Contains(want) {
			t.Errorf("%s: %g is outside of %+v", what, want, wide)
		}
	}
	for _, s := range r.Steps {
		inside(s.Name+": variance", s.Pooled.Interval, s.Pooled.Predicted)
		inside(s.Name+": mean", s.MeanInterval, 0)
	}
	for _, d := range r.Decisions {
		inside(d.Name+": wrong decisions", d.Interval, d.Predicted)
	}
}

// TestTestPresets measures every way of blind rotation.
func TestTestPresets(t *testing.T) {
	for _, preset := range fhe.PresetNames() {
		if !strings.HasPrefix(preset, "insecure-test-") || preset == fhe.MockPreset {
			continue
		}
		t.Run(preset, func(t *testing.T) {
			o := Options{Preset: preset, Samples: 2000, Keys: 2, Seed: testSeed(preset), Workers: 1}
			r, err := Run(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			check(t, r)
			if len(r.Steps) != 12 || len(r.Decisions) != 3 || len(r.Keys) != 2 {
				t.Errorf("%d steps, %d decisions, %d keys", len(r.Steps), len(r.Decisions), len(r.Keys))
			}
			for _, s := range r.Steps {
				if s.Pooled.Count != 2000 {
					t.Errorf("%s: %d samples", s.Name, s.Pooled.Count)
				}
			}
			data, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			var back Report
			if err := json.Unmarshal(data, &back); err != nil || !reflect.DeepEqual(&back, r) {
				t.Errorf("the report does not come back from JSON: %v", err)
			}
		})
	}
}

// TestSecurePresets measures what needs no blind rotation.
func TestSecurePresets(t *testing.T) {
	if testing.Short() {
		t.Skip("makes keys of real size")
	}
	for _, preset := range []string{fhe.DefaultPreset, "tacit-bool-v1"} {
		t.Run(preset, func(t *testing.T) {
			r, err := Run(t.Context(), Options{Preset: preset, Samples: 2000, Keys: 1, Seed: testSeed(preset), SkipBootstraps: true})
			if err != nil {
				t.Fatal(err)
			}
			check(t, r)
		})
	}
}

// TestFiguresFollowFromTheSeed runs with other numbers of workers and with
// another seed.
func TestFiguresFollowFromTheSeed(t *testing.T) {
	run := func(seed string, workers int) []byte {
		last, calls := 0, 0
		r, err := Run(t.Context(), Options{Preset: fhe.TestPreset, Samples: 210, Keys: 2, Seed: testSeed(seed), Workers: workers,
			Progress: func(done, total int) {
				if done <= last || done > total {
					t.Errorf("progress %d of %d after %d", done, total, last)
				}
				last = done
				if calls++; done == total {
					calls = -1 << 20
				}
			}})
		if err != nil {
			t.Fatal(err)
		}
		if calls >= 0 {
			t.Error("progress did not reach its total")
		}
		data, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	one := run("a", 1)
	if !bytes.Equal(one, run("a", 3)) {
		t.Error("the number of workers changes the figures")
	}
	if bytes.Equal(one, run("b", 1)) {
		t.Error("the seed does not change the figures")
	}
}

// testKeys are keys to encrypt with.
func testKeys(t *testing.T, preset string) (*fhe.Parameters, *fhe.SecretKey, *fhe.Encrypter) {
	t.Helper()
	p, err := fhe.Preset(preset)
	if err != nil {
		t.Fatal(err)
	}
	backend, err := cpu.New()
	if err != nil {
		t.Fatal(err)
	}
	sk, pk, err := fhe.EncryptionKeys(p, testSeed("encryption keys"), backend)
	if err != nil {
		t.Fatal(err)
	}
	enc, err := pk.Encrypter(backend)
	if err != nil {
		t.Fatal(err)
	}
	return p, sk, enc
}

// TestFormulasAreTheBounds compares what is measured against with the bounds
// that ciphertexts carry.
func TestFormulasAreTheBounds(t *testing.T) {
	p, sk, enc := testKeys(t, fhe.TestPreset)
	m := newMeasurement(Options{Samples: MinPerKey, Keys: 1}, p, nil)
	messages := []int64{1, 2, 3}
	e := sk.Encrypt(testSeed("secret"), messages)
	var terms []fhe.Term
	for i, w := range []int64{7, 1, -1} {
		terms = append(terms, fhe.Term{Weight: w, LWE: e.LWE(p, i, 3)})
	}
	for s, ct := range map[*series]fhe.LWE{
		m.fresh:     terms[0].LWE,
		m.publicKey: enc.Encrypt(testSeed("public"), messages).LWE(p, 1, 3),
		m.linear:    p.Combine(0, terms...),
	} {
		if s.formula != ct.Bound.Variance {
			t.Errorf("%s: formula %g, bound %g", s.name, s.formula, ct.Bound.Variance)
		}
	}
}

// TestWeigh counts the ones of keys bit by bit.
func TestWeigh(t *testing.T) {
	for _, preset := range fhe.PresetNames() {
		p, sk, _ := testKeys(t, preset)
		var want Key
		size := p.Literal().LWEDimension / p.Rotation().Steps
		step := -1 // the last one with a bit set
		for i := range p.Literal().LWEDimension {
			lwe := make([]uint32, p.Literal().LWEDimension+1)
			lwe[i], lwe[len(lwe)-1] = 1, 1
			if sk.SmallPhase(lwe) == 1 {
				continue
			}
			want.SmallWeight++
			if i/size != step {
				step = i / size
				want.SetSteps++
			}
			want.FirstSet = want.FirstSet || step == 0
		}
		for i := range p.BigDimension() {
			ct := p.Trivial(0)
			ct.Value[i], ct.Value[p.BigDimension()] = 1, 1
			want.BigWeight += 1 - int(sk.Phase(ct))
		}
		if got := weigh(sk); got != want {
			t.Errorf("%s: got %+v, want %+v", preset, got, want)
		}
	}
}

func TestOptions(t *testing.T) {
	for option, o := range map[string]Options{
		"Samples": {Samples: -1},
		"Keys":    {Samples: 399},
		"Workers": {Workers: -1},
	} {
		var oerr *OptionError
		if _, err := Run(t.Context(), o); !errors.As(err, &oerr) || oerr.Option != option {
			t.Errorf("%+v: %v", o, err)
		}
	}
	for _, o := range []Options{{Samples: MaxSamples + 1}, {Samples: 100, Keys: -1}, {Preset: fhe.MockPreset}} {
		var oerr *OptionError
		if _, err := Run(t.Context(), o); !errors.As(err, &oerr) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	var perr *fhe.ParametersError
	if _, err := Run(t.Context(), Options{Preset: "none"}); !errors.As(err, &perr) {
		t.Errorf("unknown preset: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, Options{Preset: fhe.TestPreset}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestDecisions counts decisions on rounded Gaussian errors, of the right
// variance and of one 20 % over it.
func TestDecisions(t *testing.T) {
	p, err := fhe.Preset(fhe.DefaultPreset)
	if err != nil {
		t.Fatal(err)
	}
	const sigma = 4.0 // exponents, before the rounding
	twoN := float64(2 * p.Literal().PolynomialSize)
	rng := rand.New(rand.NewPCG(5, 6))
	for _, c := range []struct {
		scale  float64
		inside bool
	}{{1, true}, {1.2, false}} {
		s := newSeries("decision", (sigma*sigma+1.0/12)/twoN/twoN, 2, 20000)
		for _, errors := range s.errors {
			for i := range errors {
				errors[i] = math.Round(sigma*math.Sqrt(c.scale)*rng.NormFloat64()) / twoN
			}
		}
		d := newDecision(p, s)
		if d.Inside != c.inside || d.HalfBox != 8 || d.FullHalf != 64 || d.Wrong != d.PerKey[0]+d.PerKey[1] {
			t.Errorf("%v: %+v", c.scale, d)
		}
	}
}
