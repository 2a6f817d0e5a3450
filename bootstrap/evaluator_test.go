package bootstrap

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/accel/cpu"
	"github.com/tacit-fhe/tacit/accel/cuda"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/noise"
)

// fixture is one key set and what the tests compute with; every preset has one
// for the whole package.
type fixture struct {
	params *fhe.Parameters
	keys   *fhe.KeySet
	eval   *Evaluator
}

var fixtures sync.Map // preset name -> func() *fixture

func load(t testing.TB, preset string) *fixture {
	t.Helper()
	once, _ := fixtures.LoadOrStore(preset, sync.OnceValues(func() (*fixture, error) {
		p, err := fhe.Preset(preset)
		if err != nil {
			return nil, err
		}
		backend, err := testBackend()
		if err != nil {
			return nil, err
		}
		keys, err := fhe.GenerateKeys(context.Background(), p, testSeed("keys"), backend, nil)
		if err != nil {
			return nil, err
		}
		eval, err := NewEvaluator(keys.Evaluation, backend)
		return &fixture{p, keys, eval}, err
	}))
	f, err := once.(func() (*fixture, error))()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// testBackend is the processor, or the GPUs of this machine where TACIT_TEST_DEVICE
// is cuda: then all tests bootstrap on them, and a GPU that fails ends the tests.
var testBackend = sync.OnceValues(func() (accel.Backend, error) {
	processor, err := cpu.New()
	if err != nil || os.Getenv("TACIT_TEST_DEVICE") != "cuda" {
		return processor, err
	}
	b, err := cuda.New(cuda.Options{Host: processor, Report: func(err error) { panic(err) }})
	if err != nil {
		return nil, err
	}
	return b, nil
})

func testSeed(label string) [fhe.SeedSize]byte {
	return sha256.Sum256([]byte("bootstrap test " + label))
}

// encrypt returns fresh ciphertexts under the secret key.
func (f *fixture) encrypt(label string, max int64, messages ...int64) []fhe.LWE {
	e := f.keys.Secret.Encrypt(testSeed(label), messages)
	out := make([]fhe.LWE, len(messages))
	for i := range out {
		out[i] = e.LWE(f.params, i, max)
	}
	return out
}

func (f *fixture) lut(t testing.TB, lo, hi int64, fs ...func(int64) int64) *fhe.LUT {
	t.Helper()
	lut, err := f.params.NewLUT(lo, hi, fs...)
	if err != nil {
		t.Fatal(err)
	}
	return lut
}

// tables are the kinds of look-up table a preset can hold.
func (f *fixture) tables(t testing.TB) []*fhe.LUT {
	b := int64(f.params.Boxes())
	square := func(m int64) int64 { return m * m % b }
	tables := []*fhe.LUT{
		f.lut(t, 0, b-1, square),
		f.lut(t, 1-b, b-1, func(m int64) int64 { return max(-1, min(1, m)) }),
		f.lut(t, 0, b/2-1, square, func(m int64) int64 { return b - 1 - m }),
	}
	if b >= 4 {
		tables = append(tables, f.lut(t, 0, b/4-1, square, square, func(m int64) int64 { return m + 1 }, square))
	}
	return tables
}

// TestBootstrapEveryMessage runs every kind of table on every message of its
// domain.
func TestBootstrapEveryMessage(t *testing.T) {
	for _, preset := range fhe.PresetNames() {
		t.Run(preset, func(t *testing.T) {
			f := load(t, preset)
			var tasks []fhe.PBS
			var messages []int64
			for _, lut := range f.tables(t) {
				lo, hi := lut.Domain()
				for m := lo; m <= hi; m++ {
					if testing.Short() && f.params.BigDimension() > 512 && (m-lo)%7 != 0 {
						continue
					}
					in := f.params.Combine(lo, fhe.Term{Weight: 1, LWE: f.encrypt("message", hi-lo, m-lo)[0]})
					tasks = append(tasks, fhe.PBS{In: in, LUT: lut})
					messages = append(messages, m)
				}
			}
			if err := f.eval.Bootstrap(context.Background(), tasks); err != nil {
				t.Fatal(err)
			}
			for i, task := range tasks {
				for o, out := range task.Out {
					want := reference(f.params, task.LUT, o, messages[i])
					if got := f.keys.Secret.Decrypt(out); got != want {
						t.Errorf("table %d outputs, output %d at %d: got %d, want %d", task.LUT.Outputs(), o, messages[i], got, want)
					}
					if e := f.keys.Secret.Noise(out); e*e > 100*out.Bound.Variance {
						t.Errorf("output %d at %d: error %g is beyond ten standard deviations", o, messages[i], e)
					}
				}
			}
		})
	}
}

// reference reads a table at a message as the plaintext definition says.
func reference(p *fhe.Parameters, lut *fhe.LUT, output int, m int64) int64 {
	n := p.Literal().PolynomialSize
	at := (int(m)*(n/p.Boxes()) + lut.Offset(output)) & (2*n - 1)
	v := lut.Polynomial()[at&(n-1)]
	if at >= n && v != 0 {
		v = p.Modulus() - v
	}
	bound := lut.OutputBound(output, 0, 0)
	d := p.Decode(v)
	for d < bound.Min {
		d += int64(2 * p.Boxes())
	}
	return d
}

func TestBootstrapChecksInputs(t *testing.T) {
	f := load(t, fhe.TestPreset)
	lut := f.lut(t, 0, 15, func(m int64) int64 { return m })
	good := f.encrypt("input", 3, 1)[0]
	noisy := good
	noisy.Bound.Variance = f.params.MaxVariance() * 1.01
	tasks := []fhe.PBS{{In: good, LUT: lut}, {In: noisy, LUT: lut}}
	var task *TaskError
	var nerr *noise.NoiseError
	if err := f.eval.Bootstrap(context.Background(), tasks); !errors.As(err, &task) || task.Index != 1 || !errors.As(err, &nerr) {
		t.Errorf("noise past the bound: %v", err)
	}
	if tasks[0].Out != nil {
		t.Error("work was started although an input was refused")
	}
	wide := f.params.Combine(0, fhe.Term{Weight: 6, LWE: good})
	var merr *noise.MessageError
	if err := f.eval.Bootstrap(context.Background(), []fhe.PBS{{In: wide, LUT: lut}}); !errors.As(err, &merr) || merr.GotMax != 18 {
		t.Errorf("message past the domain: %v", err)
	}
}

// TestModSwitchIsCentred gives every rounding error its largest value and asks
// that their mean over the keys of each kind leaves the body.
func TestModSwitchIsCentred(t *testing.T) {
	for preset, cases := range map[string]int64{
		fhe.TestPreset:             2,
		"insecure-test-unroll2-v1": 4,
		"insecure-test-unroll3-v1": 8,
		"insecure-test-block3-v1":  4,
	} {
		f := load(t, preset)
		l, spec := f.params.Literal(), f.params.Rotation()
		const shift = 22 // 2^32/2N for N = 512
		exps := make([]uint32, spec.Steps*spec.Exponents())
		lwe := make([]uint32, l.LWEDimension+1)
		switch body := f.eval.ModSwitch(exps, lwe); {
		case body != 0, slices.Max(exps) != 0:
			t.Errorf("%s: zero is switched to %d, %d", preset, body, exps)
		}
		// The first word of each step is just below a half above a multiple.
		const e = 1<<(shift-1) - 1
		for i := 0; i < l.LWEDimension; i += l.LWEDimension / spec.Steps {
			lwe[i] = 5<<shift + e
		}
		touched := int64(1)
		if l.Unroll > 0 {
			touched = 1 << (l.Unroll - 1) // patterns with the first bit
		}
		mean := int64(spec.Steps) * touched * e / cases
		lwe[l.LWEDimension] = uint32(mean) + 1<<(shift-1) - 1
		if body := f.eval.ModSwitch(exps, lwe); body != 0 {
			t.Errorf("%s: body %d, want 0", preset, body)
		}
		lwe[l.LWEDimension] += 2
		if body := f.eval.ModSwitch(exps, lwe); body != 1 {
			t.Errorf("%s: body %d, want 1", preset, body)
		}
		for i, x := range exps[:spec.Exponents()] {
			set := l.Unroll == 0 && i == 0 || l.Unroll > 0 && i%2 == 0 // pattern i+1 has the first bit
			if set != (x == 5) || !set && x != 0 {
				t.Errorf("%s: exponent %d is %d", preset, i, x)
			}
		}
		clear(lwe)
		lwe[0], lwe[l.LWEDimension] = 1<<32-1, 1<<32-1
		if body := f.eval.ModSwitch(exps, lwe); body != 0 || slices.Max(exps) != 0 {
			t.Errorf("%s: 2^32-1 must round to 0 modulo 2N: %d", preset, body)
		}
	}
}

// TestKnownAnswers pins the bytes of keys, ciphertexts and results: they are the
// same on every machine and backend.
func TestKnownAnswers(t *testing.T) {
	want := map[string][4]string{
		"tacit-2m2c-v1":            {"99958a896a375cedf19d1fca872e1ef7df7acc4292c8b65daa79b389ea89ab9d", "ff75eea80b6b518191263b2bd7f3a7de", "ed82a66d385f49b13a40c1dca8dcb217", "a1a67a0cf9cef86f893749ab34f53950"},
		"tacit-bool-v1":            {"96e088ce50f31e16dc8c766d63ea42d90247ed8da13d1ffbf98ebbf125ea8b21", "4196e6dac41aa268de3664e72e88582d", "28f6be76f4a43a6f37c673b46b2246c4"},
		"tacit-2m2c-unroll3-v1":    {"91321b2b7f4527df0cd2bdf4e39b2ffb3b1e096a2f54c62769a0ab1b53ac1ebe", "ff75eea80b6b518191263b2bd7f3a7de", "0c8c57dd79423b2d66b5e1d5d0550a28", "d5f84a7b077594eff2dc9dd5f640fdc0"},
		"tacit-2m2c-block2-v1":     {"0a9e0818148f2e82a48e0dd6b5f2a83f90d992c8183b0a6faf9e9272afb65dbd", "ff75eea80b6b518191263b2bd7f3a7de", "d901ae81a743112773327c927afca8da", "c8c71af29653e7589f0dafff874e1c6e"},
		"tacit-2m2c-block3-v1":     {"6aeba6a3ed2997af8d707fa9e2f42b67f9c9ae03642d58151290628436d8f2e0", "ff75eea80b6b518191263b2bd7f3a7de", "e324c0a69d39edf67b34308fb78cfcee", "1955da8940b1ef01fbcea58876c715b5"},
		"insecure-test-unroll2-v1": {"7e83ec90677d12723dc05435fab1aad1bb1007a099f439ab0d31aab21fa6aa71", "6ef5189abd6e27deae9c881e67164159", "23efeaa2702cb99c03f681bb2117aad2", "2868c3a2a5f8c157b62998a33b3eec01"},
		"insecure-test-unroll3-v1": {"a275796a7e9771b08d06227852f5093d20b4672b0cc9b1495ffbc9333eeec128", "6ef5189abd6e27deae9c881e67164159", "ed8e074e3f5d447607d396ab5ce082c6", "f212185c2dd2261b88dd5c551f947ee9"},
		"insecure-test-block3-v1":  {"1efb347ec203ace36c811231a21b0a1aa3dbf1ef5fd65eac9b343258cf00837b", "6ef5189abd6e27deae9c881e67164159", "95b1caad27ae6933363d13bf3049f083", "c0bb89f246f9e3da640a9e9b7e358842"},
		fhe.MockPreset:             {"ad9933febc5ec27b61a75fc87e21a7f76992198d1989f4ece3b3b692cc21376f", "286debcf6b584b13392cf874baa4ca3d", "683153912b91a6ba69322487def4068b", "1c0a2331a87e715b13ddfa8c58a7e364"},
		fhe.TestPreset:             {"bb7d8c7a27be46ac48538308f1d7fa0d36f0f6e37d5a8ce4d89bb1ba9a1971a7", "6ef5189abd6e27deae9c881e67164159", "b1e6636f54e32448f57ca055312462fb", "6c166283f35742ad93a3a94313d8b3eb"},
	}
	for _, preset := range fhe.PresetNames() {
		f := load(t, preset)
		lut := f.lut(t, 0, int64(f.params.Boxes())-1, func(m int64) int64 { return m })
		in := f.encrypt("known answer", f.params.MessageMax(), 1, 0)
		tasks := []fhe.PBS{{In: in[0], LUT: lut}, {In: in[1], LUT: lut}}
		if err := f.eval.Bootstrap(context.Background(), tasks); err != nil {
			t.Fatal(err)
		}
		outs := []fhe.LWE{tasks[0].Out[0], tasks[1].Out[0]}
		got := [4]string{f.keys.Evaluation.ID().String(), digest(in), digest(outs)}
		if f.params.Packs() {
			got[3] = digest(f.packed(t, outs))
		}
		if got != want[preset] {
			t.Errorf("%s:\n got %q\nwant %q", preset, got, want[preset])
		}
	}
}

func digest(cts []fhe.LWE) string {
	h := sha256.New()
	for _, c := range cts {
		binary.Write(h, binary.LittleEndian, c.Value)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

func TestEvaluatorIsSafeForConcurrentUse(t *testing.T) {
	f := load(t, fhe.TestPreset)
	lut := f.lut(t, 0, 15, func(m int64) int64 { return 15 - m })
	in := f.encrypt("concurrent", 3, 0, 1, 2, 3, 0, 1, 2, 3, 0)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			tasks := make([]fhe.PBS, len(in))
			for i := range tasks {
				tasks[i] = fhe.PBS{In: in[i], LUT: lut}
			}
			if err := f.eval.Bootstrap(context.Background(), tasks); err != nil {
				t.Error(err)
				return
			}
			for i, task := range tasks {
				if got := f.keys.Secret.Decrypt(task.Out[0]); got != 15-int64(i%4) {
					t.Errorf("task %d: %d", i, got)
				}
			}
		})
	}
	wg.Wait()
}

func TestUnsupportedBackend(t *testing.T) {
	f := load(t, fhe.TestPreset)
	var unsupported *accel.UnsupportedError
	if _, err := NewEvaluator(f.keys.Evaluation, refusing{}); !errors.As(err, &unsupported) {
		t.Errorf("got %v", err)
	}
}

type refusing struct{ accel.Backend }

func (refusing) Rotator(spec accel.RotatorSpec, _ func(int, []uint64)) (accel.Rotator, error) {
	return nil, &accel.UnsupportedError{Object: "rotator", N: spec.N, Q: spec.Q, Reason: "it refuses"}
}

func BenchmarkPBS(b *testing.B) {
	for _, preset := range fhe.PresetNames() {
		f := load(b, preset)
		if f.params.Literal().TestOnly {
			continue
		}
		lut := f.lut(b, 0, int64(f.params.Boxes())-1, func(m int64) int64 { return m })
		for _, size := range []int{1, 2, 4, 8, 16} {
			b.Run(fmt.Sprintf("%s/batch=%d", preset, size), func(b *testing.B) {
				tasks := make([]fhe.PBS, size)
				for i := range tasks {
					tasks[i] = fhe.PBS{In: f.encrypt(fmt.Sprint("benchmark", i), f.params.MessageMax(), 1)[0], LUT: lut}
				}
				for b.Loop() {
					if err := f.eval.Bootstrap(context.Background(), tasks); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*size)/1e6, "ms/PBS")
			})
		}
	}
}

// TestKeyStream prepares a key while it is read, and asks for the same bits.
func TestKeyStream(t *testing.T) {
	for _, preset := range []string{fhe.TestPreset, "insecure-test-unroll3-v1"} {
		f := load(t, preset)
		var key bytes.Buffer
		if _, err := f.keys.Evaluation.WriteTo(&key); err != nil {
			t.Fatal(err)
		}
		prepare := func(data []byte) (*Evaluator, fhe.KeyID, error) {
			backend, err := cpu.New()
			if err != nil {
				t.Fatal(err)
			}
			s, err := fhe.StreamEvaluationKey(bytes.NewReader(data), nil)
			if err != nil {
				t.Fatal(err)
			}
			eval, err := NewEvaluator(s, backend)
			if err != nil {
				t.Fatal(err)
			}
			id, err := s.Close()
			return eval, id, err
		}
		eval, id, err := prepare(key.Bytes())
		if err != nil || id != f.keys.Secret.ID() {
			t.Fatalf("%s: %v, %v", preset, id, err)
		}
		lut := f.lut(t, 0, 15, func(m int64) int64 { return m })
		want := []fhe.PBS{{In: f.encrypt("stream", 3, 2)[0], LUT: lut}}
		got := slices.Clone(want)
		if err := errors.Join(f.eval.Bootstrap(t.Context(), want), eval.Bootstrap(t.Context(), got)); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(want[0].Out[0].Value, got[0].Out[0].Value) {
			t.Errorf("%s: another result than with the key in memory", preset)
		}
		for _, at := range []int{100, key.Len() / 2, key.Len() - 100} {
			damaged := bytes.Clone(key.Bytes())
			damaged[at] ^= 1
			if _, _, err := prepare(damaged); err == nil {
				t.Errorf("%s: damage at %d went unnoticed", preset, at)
			}
		}
	}
}

// TestEveryImplementation runs whole bootstraps on every implementation that this
// machine has: the results are the same to the bit.
func TestEveryImplementation(t *testing.T) {
	for _, preset := range []string{fhe.TestPreset, "insecure-test-block3-v1", fhe.DefaultPreset, "tacit-2m2c-block3-v1"} {
		f := load(t, preset)
		lut := f.lut(t, 0, 7, func(m int64) int64 { return m & 3 }, func(m int64) int64 { return m >> 2 })
		in := f.encrypt("implementations", 3, 0, 1, 2, 3, 2)
		run := func(eval *Evaluator) string {
			tasks := make([]fhe.PBS, len(in))
			for i := range tasks {
				tasks[i] = fhe.PBS{In: in[i], LUT: lut}
			}
			if err := eval.Bootstrap(t.Context(), tasks); err != nil {
				t.Fatal(err)
			}
			var out []fhe.LWE
			for _, task := range tasks {
				out = append(out, task.Out...)
			}
			return digest(out)
		}
		want := run(f.eval)
		for _, name := range cpu.Available() {
			backend, err := cpu.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			eval, err := NewEvaluator(f.keys.Evaluation, backend)
			if err != nil {
				t.Fatal(err)
			}
			if got := run(eval); got != want {
				t.Errorf("%s on %s: %s, want %s", preset, name, got, want)
			}
		}
	}
}
