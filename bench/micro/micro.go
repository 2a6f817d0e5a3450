// Package micro times the parts of the engine: transforms, one step of a blind
// rotation, the key switch, whole bootstraps at several batch sizes on one core,
// their throughput on several, and packing for rest. Every operation is checked to be right before
// it is timed, keys and ciphertexts are real, and a figure is the distribution of
// many samples, not one number.
package micro

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"time"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/bench/setting"
	"github.com/tacit-fhe/tacit/bootstrap"
	"github.com/tacit-fhe/tacit/fhe"
)

// Options of a Run.
type Options struct {
	Params  []*fhe.Parameters
	Backend accel.Backend
	// Batches are the numbers of ciphertexts that share a pass over the keys.
	Batches []int
	// Workers are the numbers of cores of the throughput figures.
	Workers []int
	// Samples is how often everything is timed; 0 means 20.
	Samples int
	// Progress, if not nil, is told of the share that is done.
	Progress func(done, total int)
}

// DefaultBatches and DefaultWorkers are what the command measures when it is not
// told.
var (
	DefaultBatches = []int{1, 2, 4, 8, 16}
	DefaultWorkers = []int{1, 2}
)

// DefaultSamples is the number of samples of each figure.
const DefaultSamples = 20

// packedCount is how many ciphertexts a packing sample is: those of a 64-bit integer.
const packedCount = 32

// throughputTasks is how many bootstraps a throughput sample is.
const throughputTasks = 64

// Report is what a Run measured. Times are in seconds.
type Report struct {
	CPU     setting.CPU `json:"cpu"`
	Go      string      `json:"go"`
	Samples int         `json:"samples"`
	Sets    []Set       `json:"sets"`
}

// Set holds the figures of one parameter set.
type Set struct {
	Parameters setting.Parameters `json:"parameters"`
	// Clock is the estimated clock of the core in GHz, right after transforms.
	Clock   float64  `json:"clock_ghz"`
	Figures []Figure `json:"figures"`
}

// Figure is the time of one operation, per ciphertext where it works on a batch.
type Figure struct {
	Name    string  `json:"name"`
	Batch   int     `json:"batch,omitempty"`
	Workers int     `json:"workers,omitempty"`
	Min     float64 `json:"min"`
	Median  float64 `json:"median"`
	P95     float64 `json:"p95"`
}

// Run measures. The error is of the backend or the context, or says that an
// operation does not compute right.
func Run(ctx context.Context, o Options) (*Report, error) {
	if o.Samples == 0 {
		o.Samples = DefaultSamples
	}
	if o.Samples < 1 {
		return nil, fmt.Errorf("%d samples", o.Samples)
	}
	report := &Report{CPU: setting.OfCPU(o.Backend), Go: runtime.Version(), Samples: o.Samples}
	total := len(o.Params) * (5 + 2*len(o.Batches) + len(o.Workers))
	for _, p := range o.Params {
		if p.Packs() {
			total++
		}
	}
	done := 0
	for _, p := range o.Params {
		m := &measurement{ctx: ctx, options: o, params: p, done: func() {
			if done++; o.Progress != nil {
				o.Progress(done, total)
			}
		}}
		if err := m.run(); err != nil {
			return nil, fmt.Errorf("%s: %w", p.Name(), err)
		}
		report.Sets = append(report.Sets, Set{setting.OfParameters(p), m.clock, m.figures})
	}
	return report, nil
}

// measurement is the work on one parameter set.
type measurement struct {
	ctx     context.Context
	options Options
	params  *fhe.Parameters
	done    func()
	clock   float64
	figures []Figure

	keys *fhe.KeySet
	eval *bootstrap.Evaluator
	lut  *fhe.LUT
}

func (m *measurement) run() (err error) {
	seed := fhe.NewSeed()
	if err := m.time(Figure{Name: "key generation"}, 3, 1, func() (err error) {
		m.keys, err = fhe.GenerateKeys(m.ctx, m.params, seed, m.options.Backend, nil)
		return err
	}); err != nil {
		return err
	}
	if m.eval, err = bootstrap.NewEvaluator(m.keys.Evaluation, m.options.Backend); err != nil {
		return err
	}
	top := int64(m.params.Boxes()) - 1
	if m.lut, err = m.params.NewLUT(0, top, func(x int64) int64 { return top - x }); err != nil {
		return err
	}
	for _, step := range []func() error{m.ring, m.batches, m.throughput, m.packing} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// time takes samples of a run that does so many operations, after one run that
// is not counted.
func (m *measurement) time(f Figure, samples, operations int, run func() error) error {
	if err := run(); err != nil {
		return err
	}
	times := make([]float64, samples)
	for i := range times {
		if err := m.ctx.Err(); err != nil {
			return err
		}
		start := time.Now()
		if err := run(); err != nil {
			return err
		}
		times[i] = time.Since(start).Seconds() / float64(operations)
	}
	slices.Sort(times)
	f.Min, f.Median, f.P95 = times[0], times[len(times)/2], times[(len(times)*95+99)/100-1]
	m.figures = append(m.figures, f)
	m.done()
	return nil
}

// ring times the transforms and the pointwise product.
func (m *measurement) ring() error {
	n := m.params.Literal().PolynomialSize
	ring, err := m.options.Backend.Ring(n, m.params.Modulus())
	if err != nil {
		return err
	}
	a, b, acc := make([]uint64, n), make([]uint64, n), make([]uint64, n)
	for i := range a {
		a[i] = uint64(i) * 0x9e3779b97f4a7c15 % m.params.Modulus()
	}
	ring.NTT(b, a)
	ring.INTT(b, b)
	if !slices.Equal(a, b) {
		return fmt.Errorf("the inverse transform does not undo the transform")
	}
	for _, op := range []struct {
		name string
		run  func()
	}{
		{"NTT", func() { ring.NTT(b, b) }},
		{"inverse NTT", func() { ring.INTT(b, b) }},
		{"multiply-accumulate", func() { ring.MulAcc(acc, a, b) }},
	} {
		const repeat = 100
		if err := m.time(Figure{Name: op.name}, 10*m.options.Samples, repeat, func() error {
			for range repeat {
				op.run()
			}
			return nil
		}); err != nil {
			return err
		}
	}
	m.clock = clock(func() { ring.NTT(b, b) })
	// The external product of one step, with all that goes with it.
	spec := m.params.Rotation()
	spec.Steps = min(16, spec.Steps) // a key that stays in the cache
	rotator, err := m.options.Backend.Rotator(spec, m.keys.Evaluation.GGSW)
	if err != nil {
		return err
	}
	accumulator := make([]uint64, m.params.BigDimension()+n)
	exponents := make([]uint32, spec.Steps*spec.Exponents())
	for i := range exponents {
		exponents[i] = uint32(2*i + 1)
	}
	return m.time(Figure{Name: "step of a blind rotation"}, 5*m.options.Samples, spec.Steps, func() error {
		rotator.Rotate([][]uint64{accumulator}, [][]uint32{exponents})
		return nil
	})
}

// check decrypts the outputs of tasks.
func (m *measurement) check(tasks []fhe.PBS) error {
	top := int64(m.params.Boxes()) - 1
	for i, t := range tasks {
		want := top - int64(i)&m.params.MessageMax()
		if got := m.keys.Secret.Decrypt(t.Out[0]); got != want {
			return fmt.Errorf("bootstrap %d of %d gave %d, want %d", i, len(tasks), got, want)
		}
	}
	return nil
}

// batches times the key switch and the whole bootstrap on one core.
func (m *measurement) batches() error {
	switcher, err := m.options.Backend.KeySwitcher(m.params.KeySwitch(), m.keys.Evaluation.KeySwitchRows)
	if err != nil {
		return err
	}
	for _, batch := range m.options.Batches {
		tasks := setting.Bootstraps(m.keys.Secret, m.lut, batch)
		in, out := make([][]uint64, batch), make([][]uint32, batch)
		for i := range tasks {
			in[i], out[i] = tasks[i].In.Value, make([]uint32, m.params.Literal().LWEDimension+1)
		}
		if err := m.time(Figure{Name: "key switch", Batch: batch}, m.options.Samples, batch, func() error {
			switcher.Switch(out, in)
			return nil
		}); err != nil {
			return err
		}
		if err := m.time(Figure{Name: "key switch and bootstrap", Batch: batch}, m.options.Samples, batch, func() error {
			return m.eval.Bootstrap(m.ctx, tasks)
		}); err != nil {
			return err
		}
		if err := m.check(tasks); err != nil {
			return err
		}
	}
	return nil
}

// throughput times many bootstraps on several cores.
func (m *measurement) throughput() error {
	for _, workers := range m.options.Workers {
		b := bootstrap.NewBatcher(m.eval, workers)
		tasks := setting.Bootstraps(m.keys.Secret, m.lut, throughputTasks)
		err := m.time(Figure{Name: "throughput", Workers: workers}, m.options.Samples, throughputTasks, func() error { return b.Bootstrap(m.ctx, tasks) })
		b.Close()
		if err == nil {
			err = m.check(tasks)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// packing times the packing of as many ciphertexts as a 64-bit integer has.
func (m *measurement) packing() error {
	if !m.params.Packs() {
		return nil
	}
	in := make([]fhe.LWE, packedCount)
	for i, t := range setting.Bootstraps(m.keys.Secret, m.lut, packedCount) {
		in[i] = t.In
	}
	var packed *fhe.Packed
	if err := m.time(Figure{Name: "packing", Batch: packedCount}, m.options.Samples, packedCount, func() (err error) {
		packed, err = m.eval.Pack(in)
		return err
	}); err != nil {
		return err
	}
	for i, x := range in {
		want := int64(i) & m.params.MessageMax()
		if got := m.keys.Secret.Decrypt(packed.LWE(m.params, i, m.params.PackedBound(x.Bound))); got != want {
			return fmt.Errorf("packed ciphertext %d holds %d, want %d", i, got, want)
		}
	}
	return nil
}

// Markdown writes the report as tables, with times in units that suit them.
func (r *Report) Markdown(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s, %s %v, %s, %d samples; times per ciphertext.\n", r.CPU.Model, r.CPU.Backend, r.CPU.Features, r.Go, r.Samples)
	for _, s := range r.Sets {
		if err == nil {
			_, err = fmt.Fprintf(w, "\n## %s, clock about %.2f GHz\n\n| operation | batch | cores | min | median | p95 |\n|---|---|---|---|---|---|\n", s.Parameters.Name, s.Clock)
		}
		for _, f := range s.Figures {
			if err == nil {
				_, err = fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s |\n", f.Name, count(f.Batch), count(f.Workers), seconds(f.Min), seconds(f.Median), seconds(f.P95))
			}
		}
	}
	return err
}

func count(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

func seconds(s float64) string {
	switch {
	case s < 1e-3:
		return fmt.Sprintf("%.2f µs", s*1e6)
	case s < 1:
		return fmt.Sprintf("%.2f ms", s*1e3)
	}
	return fmt.Sprintf("%.2f s", s)
}
