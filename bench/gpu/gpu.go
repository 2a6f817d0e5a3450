// Package gpu measures bootstraps and transforms on GPUs: how many a second by batch
// size and kernel, how long one takes, what is moved, and how near that is to the
// bound that the kernels' double-precision instructions set. Results are compared
// bit for bit with those of the processor.
package gpu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/accel/cuda"
	"github.com/tacit-fhe/tacit/bench/setting"
	"github.com/tacit-fhe/tacit/bootstrap"
	"github.com/tacit-fhe/tacit/fhe"
)

// Options of a Run.
type Options struct {
	Params  []*fhe.Parameters
	Backend *cuda.Backend
	// Host computes what the device's results are compared with.
	Host accel.Backend
	// Batches are the numbers of ciphertexts of a call.
	Batches []int
	// Samples is how often everything is timed; 0 means DefaultSamples.
	Samples int
	// Compare is how many bootstraps of the first parameter set are computed on
	// the processor as well, on all cores; every other set gets one batch.
	Compare int
	// Rings are the dimensions that transforms are timed for, as many polynomials at a
	// time as have Coefficients together; 0 means DefaultCoefficients.
	Rings        []int
	Coefficients int
	// Progress, if not nil, is told of the share that is done.
	Progress func(done, total int)
}

// Defaults of the command.
var (
	DefaultBatches = []int{1, 2, 4, 8, 16, 32, 64, 132, 264, 528, 1056}
	DefaultRings   = []int{1024, 2048, 4096, 8192, 16384, 32768, 65536}
)

// DefaultSamples is the number of samples of each figure, and DefaultCoefficients that of
// the coefficients of a call that transforms.
const (
	DefaultSamples      = 10
	DefaultCoefficients = 1 << 22
)

// Report is what a Run measured. Times are in seconds.
type Report struct {
	Devices []cuda.Device `json:"devices"`
	Driver  string        `json:"driver"`  // its implementation
	Kernels string        `json:"kernels"` // SHA-256 of the PTX
	Commit  string        `json:"commit"`
	CPU     setting.CPU   `json:"cpu"` // of the host
	Go      string        `json:"go"`
	Samples int           `json:"samples"`
	Sets    []Set         `json:"sets"`
	Rings   []Transforms  `json:"rings"`
}

// Set holds the figures of one parameter set.
type Set struct {
	Parameters setting.Parameters `json:"parameters"`
	KeyBytes   int64              `json:"key_bytes"` // on each device
	KeyLoad    float64            `json:"key_load"`  // from the key in memory, host's copy included
	// Bound is what the double-precision instructions of the throughput kernel leave
	// room for on all devices, bootstraps a second; 0 for devices whose rate is unknown.
	Bound float64 `json:"bound"`
	// LatencyBound is what the instructions of the latency kernel take for one ciphertext,
	// in seconds, on the first device.
	LatencyBound float64  `json:"latency_bound"`
	BytesUp      int      `json:"bytes_up"`   // of a bootstrap with one output
	BytesDown    int      `json:"bytes_down"` // likewise
	Compared     int      `json:"compared"`   // bootstraps equal to the processor's, bit for bit
	Figures      []Figure `json:"figures"`
}

// Figure is key switch and bootstrap of a batch, transfers included.
type Figure struct {
	Kernel string `json:"kernel"` // throughput or latency
	Batch  int    `json:"batch"`
	// Times of a call that has the device for itself.
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	P95    float64 `json:"p95"`
	// PerSecond is the number of bootstraps a second when as many calls run at a time
	// as the device takes, and Share that of the bound.
	PerSecond float64 `json:"per_second"`
	Share     float64 `json:"share"`
}

// Transforms holds the rates of forward transforms.
type Transforms struct {
	N         int     `json:"n"`
	Batch     int     `json:"batch"`
	PerSecond float64 `json:"per_second"` // of polynomials that stay on the device
	// Moved is the rate when every polynomial comes from the host and goes back there, as
	// it would for the leveled schemes, and Core that of one core of the host.
	Moved float64 `json:"moved"`
	Core  float64 `json:"core"`
}

// Run measures. The error is of the backend or the context, or says which result
// differs from the processor's; with one, the report has what came before.
func Run(ctx context.Context, o Options) (*Report, error) {
	if o.Samples == 0 {
		o.Samples = DefaultSamples
	}
	if o.Samples < 1 || slices.ContainsFunc(o.Batches, func(b int) bool { return b < 1 }) {
		return nil, errors.New("samples and batches are at least 1")
	}
	info := o.Backend.Info()
	r := &Report{
		Devices: o.Backend.Devices(), Driver: info.Features[0], Kernels: cuda.KernelDigest(), Commit: commit(),
		CPU: setting.OfCPU(o.Host), Go: runtime.Version(), Samples: o.Samples, Sets: make([]Set, len(o.Params)),
	}
	done, total := 0, len(o.Rings)+len(o.Params)*(2+len(kernels)*len(o.Batches))
	step := func() {
		if done++; o.Progress != nil {
			o.Progress(done, total)
		}
	}
	for i, p := range o.Params {
		m := &measurement{ctx: ctx, options: o, params: p, devices: r.Devices, step: step, set: &r.Sets[i]}
		if i > 0 {
			m.options.Compare = 0
		}
		if err := m.run(); err != nil {
			r.Sets = r.Sets[:i+1]
			return r, fmt.Errorf("%s: %w", p.Name(), err)
		}
	}
	for _, n := range o.Rings {
		if err := ctx.Err(); err != nil {
			return r, err
		}
		t, err := transforms(o, n)
		if err != nil {
			return r, err
		}
		r.Rings = append(r.Rings, t)
		step()
	}
	return r, nil
}

// transforms times one dimension.
func transforms(o Options, n int) (t Transforms, err error) {
	if o.Coefficients == 0 {
		o.Coefficients = DefaultCoefficients
	}
	ring, err := o.Backend.BatchRing(n, fhe.DefaultModulus)
	if err != nil {
		return t, err
	}
	host, err := o.Host.Ring(n, fhe.DefaultModulus)
	if err != nil {
		return t, err
	}
	t = Transforms{N: n, Batch: max(1, o.Coefficients/n)}
	rate := func(times int, took time.Duration) float64 { return float64(times*t.Batch) / took.Seconds() }
	took, err := ring.Time(t.Batch, o.Samples)
	if err != nil {
		return t, err
	}
	t.PerSecond = rate(o.Samples, took)
	batches := make([][][]uint64, ring.Calls())
	for i := range batches {
		for range t.Batch {
			batches[i] = append(batches[i], make([]uint64, n))
		}
		ring.NTTs(batches[i], batches[i]) // allocates
	}
	var wg sync.WaitGroup
	start := time.Now()
	for _, batch := range batches {
		wg.Go(func() {
			for range o.Samples {
				ring.NTTs(batch, batch)
			}
		})
	}
	wg.Wait()
	t.Moved = rate(o.Samples*len(batches), time.Since(start))
	start = time.Now()
	for _, p := range batches[0] {
		host.NTT(p, p)
	}
	t.Core = rate(1, time.Since(start))
	return t, nil
}

// commit is the revision that the program was built from.
func commit() string {
	revision, dirty := "unknown", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision":
				revision = s.Value
			case s.Key == "vcs.modified" && s.Value == "true":
				dirty = "+changes"
			}
		}
	}
	return revision + dirty
}

// kernels are the ones that there is a choice of.
var kernels = []cuda.Kernel{cuda.ThroughputKernel, cuda.LatencyKernel}

// measurement is the work on one parameter set.
type measurement struct {
	ctx     context.Context
	options Options
	params  *fhe.Parameters
	devices []cuda.Device
	step    func()
	set     *Set

	keys *fhe.KeySet
	lut  *fhe.LUT
	pbs  *cuda.PBS
	host *bootstrap.Batcher
}

func (m *measurement) run() (err error) {
	if m.keys, err = fhe.GenerateKeys(m.ctx, m.params, fhe.NewSeed(), m.options.Host, nil); err != nil {
		return err
	}
	top := int64(m.params.Boxes()) - 1
	if m.lut, err = m.params.NewLUT(0, top, func(x int64) int64 { return top - x }); err != nil {
		return err
	}
	rotation, keySwitch := m.params.Rotation(), m.params.KeySwitch()
	start := time.Now()
	rotator, err := m.options.Backend.Rotator(rotation, m.keys.Evaluation.GGSW)
	if err != nil {
		return err
	}
	switcher, err := m.options.Backend.KeySwitcher(keySwitch, m.keys.Evaluation.KeySwitchRows)
	if err != nil {
		return err
	}
	load := time.Since(start).Seconds()
	pbs, err := m.options.Backend.PBS(rotator, switcher)
	if err != nil {
		return err
	}
	m.pbs = pbs.(*cuda.PBS)
	k1 := rotation.Rank + 1
	*m.set = Set{
		Parameters: setting.OfParameters(m.params), KeyLoad: load,
		KeyBytes: 8*int64(rotation.Steps*rotation.GGSWs()*k1*k1*rotation.Levels*rotation.N) + 4*int64(keySwitch.NIn*keySwitch.Levels*(keySwitch.NOut+1)),
		BytesUp:  8*(keySwitch.NIn+1) + 12, BytesDown: 8 * (rotation.Rank*rotation.N + 1),
		Bound: bound(rotation, m.devices), LatencyBound: latencyBound(rotation, m.devices[0]),
	}
	m.step()
	evaluator, err := bootstrap.NewEvaluator(m.keys.Evaluation, m.options.Host)
	if err != nil {
		return err
	}
	m.host = bootstrap.NewBatcher(evaluator, runtime.GOMAXPROCS(0))
	defer m.host.Close()
	for m.set.Compared < max(m.options.Compare, 1) {
		if err := m.compare(min(m.pbs.Batch()*m.pbs.Calls(), max(m.options.Compare, 1)-m.set.Compared)); err != nil {
			return err
		}
	}
	m.step()
	for _, kernel := range kernels {
		for _, batch := range m.options.Batches {
			if err := m.time(kernel, batch); err != nil {
				return err
			}
			m.step()
		}
	}
	return nil
}

// fp64 is the number of double-precision lanes of a multiprocessor by compute
// capability, of those that are made for them.
var fp64 = map[int]int{80: 32, 90: 64}

// rate is how many double-precision instructions a multiprocessor does a second.
func rate(d cuda.Device) float64 { return float64(fp64[d.Capability]) * float64(d.ClockKHz) * 1e3 }

// instructions are the double-precision instructions of a blind rotation, 8 for a
// butterfly (6 of its product) and 7 for a product with an addition: those of its steps, and
// those that combine ciphertexts for them.
func instructions(s accel.RotatorSpec) (steps, combinations float64) {
	k1, logN := s.Rank+1, bits.Len(uint(s.N))-1
	rows := k1 * s.Levels
	each := (rows+k1)*logN*4 + rows*k1*7 // for each coefficient and step
	combining := 0
	if s.Mode != accel.CMux {
		combining = s.Terms * (rows*k1*7 + k1*6) // each monomial, by every output polynomial
	}
	all := float64(s.N) * float64(s.Steps)
	return float64(each) * all, float64(combining) * all
}

// bound is what the double-precision instructions of a blind rotation leave room for.
func bound(s accel.RotatorSpec, devices []cuda.Device) (perSecond float64) {
	steps, combinations := instructions(s)
	for _, d := range devices {
		perSecond += rate(d) * float64(d.Multiprocessors) / (steps + combinations)
	}
	return perSecond
}

// latencyBound is how long one multiprocessor takes for the steps of one rotation, and
// all of them for its combinations; 0 for devices whose rate is unknown.
func latencyBound(s accel.RotatorSpec, d cuda.Device) (seconds float64) {
	if rate(d) == 0 {
		return 0
	}
	steps, combinations := instructions(s)
	return (steps + combinations/float64(d.Multiprocessors)) / rate(d)
}

// onDevice is the form of tasks that the device takes, with room for the outputs.
func (m *measurement) onDevice(tasks []fhe.PBS) []accel.PBSTask {
	device := make([]accel.PBSTask, len(tasks))
	for i, t := range tasks {
		device[i] = accel.PBSTask{
			In: t.In.Value, Test: t.LUT.Polynomial(), Offsets: []int{t.LUT.Offset(0)}, Out: [][]uint64{make([]uint64, m.params.BigDimension()+1)},
		}
	}
	return device
}

// calls runs f so often at a time as the device takes.
func (m *measurement) calls(f func() error) error {
	errs := make([]error, m.pbs.Calls())
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = f() })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// compare runs new bootstraps on the device, with each kernel in turn, and on the
// processor, and decrypts them.
func (m *measurement) compare(count int) error {
	if err := m.ctx.Err(); err != nil {
		return err
	}
	tasks := setting.Bootstraps(m.keys.Secret, m.lut, count)
	device := m.onDevice(tasks)
	var fromDevice error
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; len(device) > i*m.pbs.Batch() && fromDevice == nil; i++ {
			part := device[i*m.pbs.Batch() : min((i+1)*m.pbs.Batch(), len(device))]
			fromDevice = m.pbs.With(kernels[i%len(kernels)]).Bootstrap(part)
		}
	})
	err := m.host.Bootstrap(m.ctx, tasks)
	wg.Wait()
	if err := errors.Join(fromDevice, err); err != nil {
		return err
	}
	top := int64(m.params.Boxes()) - 1
	for i, t := range tasks {
		if !slices.Equal(device[i].Out[0], t.Out[0].Value) {
			return fmt.Errorf("bootstrap %d differs from that of the processor", m.set.Compared+i)
		}
		if got, want := m.keys.Secret.Decrypt(t.Out[0]), top-int64(i)&m.params.MessageMax(); got != want {
			return fmt.Errorf("bootstrap %d gave %d, want %d", m.set.Compared+i, got, want)
		}
	}
	m.set.Compared += count
	return nil
}

// time measures one batch size with one kernel.
func (m *measurement) time(kernel cuda.Kernel, batch int) error {
	pbs := m.pbs.With(kernel)
	device := m.onDevice(setting.Bootstraps(m.keys.Secret, m.lut, batch))
	if err := pbs.Bootstrap(device); err != nil { // allocates
		return err
	}
	times := make([]float64, m.options.Samples)
	for i := range times {
		if err := m.ctx.Err(); err != nil {
			return err
		}
		start := time.Now()
		if err := pbs.Bootstrap(device); err != nil {
			return err
		}
		times[i] = time.Since(start).Seconds()
	}
	slices.Sort(times)
	var mu sync.Mutex
	var all [][]accel.PBSTask // for each call, outputs of its own
	for range pbs.Calls() {
		all = append(all, m.onDevice(setting.Bootstraps(m.keys.Secret, m.lut, batch)))
	}
	round := func(count int) error {
		next := all
		return m.calls(func() error {
			mu.Lock()
			tasks := next[0]
			next = next[1:]
			mu.Unlock()
			for range count {
				if err := pbs.Bootstrap(tasks); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := round(1); err != nil {
		return err
	}
	start := time.Now()
	if err := round(m.options.Samples); err != nil {
		return err
	}
	f := Figure{
		Kernel: kernel.String(), Batch: batch, Min: times[0], Median: times[len(times)/2], P95: times[(len(times)*95+99)/100-1],
		PerSecond: float64(batch*m.options.Samples*pbs.Calls()) / time.Since(start).Seconds(),
	}
	if m.set.Bound > 0 {
		f.Share = f.PerSecond / m.set.Bound
	}
	m.set.Figures = append(m.set.Figures, f)
	return nil
}

// Markdown writes the report as tables.
func (r *Report) Markdown(w io.Writer) error {
	var err error
	printf := func(format string, args ...any) {
		if err == nil {
			_, err = fmt.Fprintf(w, format, args...)
		}
	}
	for _, d := range r.Devices {
		printf("%s, %d multiprocessors at up to %d MHz, CUDA %d.%d by %s. ", d.Name, d.Multiprocessors, d.ClockKHz/1000, d.Driver/1000, d.Driver%1000/10, r.Driver)
	}
	printf("Kernels %.16s, commit %.12s, %s, %d samples; host %s, %s.\n", r.Kernels, r.Commit, r.Go, r.Samples, r.CPU.Model, r.CPU.Backend)
	for _, s := range r.Sets {
		printf("\n## %s\n\nKey %d MB, loaded in %.2f s. A bootstrap moves %d bytes to the device and %d back. %d bootstraps have the bits of the processor. Bound %.0f/s, %.2f ms for one.\n\n",
			s.Parameters.Name, s.KeyBytes>>20, s.KeyLoad, s.BytesUp, s.BytesDown, s.Compared, s.Bound, 1e3*s.LatencyBound)
		printf("| kernel | batch | min | median | p95 | bootstraps/s | of the bound |\n|---|---|---|---|---|---|---|\n")
		for _, f := range s.Figures {
			printf("| %s | %d | %.3f ms | %.3f ms | %.3f ms | %.0f | %.0f %% |\n", f.Kernel, f.Batch, 1e3*f.Min, 1e3*f.Median, 1e3*f.P95, f.PerSecond, 100*f.Share)
		}
	}
	if len(r.Rings) > 0 {
		printf("\n## Transforms a second\n\n| N | batch | staying on the device | moved there and back | by one core | cores that are as fast as moving |\n|---|---|---|---|---|---|\n")
	}
	for _, t := range r.Rings {
		printf("| %d | %d | %.0f | %.0f | %.0f | %.1f |\n", t.N, t.Batch, t.PerSecond, t.Moved, t.Core, t.Moved/t.Core)
	}
	return err
}
