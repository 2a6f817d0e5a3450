package noisebench

import (
	"context"
	"crypto/sha3"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/accel/cpu"
	"github.com/tacit-fhe/tacit/bench/setting"
	"github.com/tacit-fhe/tacit/bootstrap"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/noise"
)

// Defaults and bounds of Options.
const (
	DefaultSamples = 2000
	DefaultKeys    = 4
	MinPerKey      = 100 // samples per key
	MaxSamples     = 1 << 24
)

// Options says what to measure.
type Options struct {
	Preset  string             // parameter set; fhe.DefaultPreset if empty
	Samples int                // of each step, over all keys; DefaultSamples if 0
	Keys    int                // key sets; DefaultKeys if 0
	Seed    [fhe.SeedSize]byte // of all keys and ciphertexts
	Workers int                // goroutines that measure; 1 if 0

	// SkipBootstraps leaves out the steps that need blind rotations, which take
	// nearly all of the time.
	SkipBootstraps bool

	// Progress, if not nil, is told of the share that is done. Calls do not
	// overlap.
	Progress func(done, total int)
}

// OptionError refuses an option.
type OptionError struct {
	Option, Reason string
}

func (e *OptionError) Error() string {
	return fmt.Sprintf("noise benchmark: %s: %s", e.Option, e.Reason)
}

// Costs of a sample in the units of Options.Progress.
const (
	costSwitch    = 1
	costBootstrap = 8
)

// heaviest returns the weights of w·x + y - z with the greatest w that the
// parameters allow before a bootstrap, 7 for the selection between integers.
func heaviest(p *fhe.Parameters) [3]int64 {
	return [3]int64{int64(math.Sqrt(max(p.Literal().NormSquared-2, 1))), 1, -1}
}

// Run measures. The figures follow from the options and not from the machine or
// the number of workers. An error is an *OptionError, a *fhe.ParametersError, a
// *cpu.UnavailableError or that of ctx.
func Run(ctx context.Context, o Options) (*Report, error) {
	if o.Preset == "" {
		o.Preset = fhe.DefaultPreset
	}
	if o.Samples == 0 {
		o.Samples = DefaultSamples
	}
	if o.Keys == 0 {
		o.Keys = DefaultKeys
	}
	switch {
	case o.Samples < 0 || o.Samples > MaxSamples:
		return nil, &OptionError{"Samples", fmt.Sprintf("%d is outside [%d, %d]", o.Samples, MinPerKey, MaxSamples)}
	case o.Keys < 0 || o.Samples/o.Keys < MinPerKey:
		return nil, &OptionError{"Keys", fmt.Sprintf("%d samples over %d keys are fewer than %d per key", o.Samples, o.Keys, MinPerKey)}
	case o.Workers < 0:
		return nil, &OptionError{"Workers", fmt.Sprintf("%d is negative", o.Workers)}
	}
	p, err := fhe.Preset(o.Preset)
	if err != nil {
		return nil, err
	}
	if p.Literal().Clear {
		return nil, &OptionError{"Preset", p.Name() + " has keys of zeros: there is no noise to measure"}
	}
	backend, err := cpu.New()
	if err != nil {
		return nil, err
	}
	defer backend.Close()
	m := newMeasurement(o, p, backend)
	if err := m.public(ctx); err != nil {
		return nil, err
	}
	for k := range o.Keys {
		if err := m.key(ctx, k); err != nil {
			return nil, err
		}
	}
	return m.report(), nil
}

// series are the errors of one step, and what is predicted of them.
type series struct {
	name    string
	formula float64
	perKey  []float64   // variance predicted for each key
	errors  [][]float64 // for each key
}

func newSeries(name string, formula float64, keys, perKey int) *series {
	s := &series{name: name, formula: formula, perKey: make([]float64, keys), errors: make([][]float64, keys)}
	for k := range s.errors {
		s.perKey[k] = formula
		s.errors[k] = make([]float64, perKey)
	}
	return s
}

// measurement is a run under way.
type measurement struct {
	Options
	params  *fhe.Parameters
	backend accel.Backend
	weights [3]int64 // of the linear combinations
	norm    float64  // Σ w² of them
	perKey  int      // samples
	made    []Key

	fresh, publicKey, linear, keySwitch, modSwitch *series
	packing                                        *series // what it adds, rounding at rest included; nil for a set without packing keys
	one                                            *series // output of a table of one function
	two                                            [2]*series
	decisions                                      [3]*series // from fresh inputs, from packed ones, from combinations of outputs

	mu          sync.Mutex
	done, total int // of Options.Progress
}

func newMeasurement(o Options, p *fhe.Parameters, backend accel.Backend) *measurement {
	m := &measurement{Options: o, params: p, backend: backend, weights: heaviest(p), perKey: (o.Samples + o.Keys - 1) / o.Keys}
	of := func(name string, formula float64) *series { return newSeries(name, formula, o.Keys, m.perKey) }
	ks, ms, pbs := p.KeySwitchVariance(), p.ModSwitchVariance(), p.BootstrapVariance()
	var terms []noise.Term
	for _, w := range m.weights {
		m.norm += float64(w * w)
		terms = append(terms, noise.Term{Weight: w, Bound: noise.Bound{Variance: p.FreshVariance(), Source: uint64(len(terms) + 1)}})
	}
	m.fresh = of("secret-key encryption", p.FreshVariance())
	m.publicKey = newSeries("public-key encryption", p.PublicVariance(), 1, o.Keys*m.perKey)
	combination := fmt.Sprintf("%dx + y - z", m.weights[0])
	m.linear = of(combination+" of encryptions", noise.Combine(0, terms...).Variance)
	m.keySwitch = of("key switch", ks)
	m.modSwitch = of("centred modulus switch", ms)
	m.decisions[0] = of("encryption, switched to 2N", p.FreshVariance()+ks+ms)
	m.total = m.perKey * o.Keys * 2 * costSwitch
	if p.Packs() {
		packing := p.PackedBound(noise.Bound{}).Variance
		m.packing = of("packing", packing)
		m.decisions[1] = of("packed encryption, switched to 2N", p.FreshVariance()+packing+ks+ms)
	}
	if !o.SkipBootstraps {
		m.one = of("bootstrap", pbs)
		m.two[0] = of("bootstrap, first of two outputs", pbs)
		m.two[1] = of("bootstrap, second of two outputs", pbs)
		m.decisions[2] = of(combination+" of bootstraps, switched to 2N", m.norm*pbs+ks+ms)
		m.total += m.perKey * o.Keys * 2 * costBootstrap
	}
	return m
}

// seed derives the seed of one purpose, another one for each parameter set.
func (m *measurement) seed(label string, indices ...int) (out [fhe.SeedSize]byte) {
	h := sha3.NewSHAKE256()
	h.Write(m.Seed[:])
	fingerprint := m.params.Fingerprint()
	h.Write(fingerprint[:])
	h.Write([]byte(label))
	for _, i := range indices {
		h.Write(binary.LittleEndian.AppendUint64(nil, uint64(i)))
	}
	h.Read(out[:])
	return out
}

// chunk is how many samples a worker takes at a time.
const chunk = 32

// chunks calls f for ranges [lo, hi) that cover [0, n), n >= MinPerKey, each of
// more than chunk/2 samples, on all workers.
func (m *measurement) chunks(ctx context.Context, n, cost int, f func(lo, hi int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(max(m.Workers, 1))
	parts := (n + chunk - 1) / chunk
	for i := range parts {
		lo, hi := i*n/parts, (i+1)*n/parts
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := f(lo, hi); err != nil {
				return err
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			m.done += cost * (hi - lo)
			if m.Progress != nil {
				m.Progress(m.done, m.total)
			}
			return nil
		})
	}
	return group.Wait()
}

// public measures encryption under a public key, a new key pair and a new
// ciphertext for each sample, the slots in turn.
func (m *measurement) public(ctx context.Context) error {
	errors := m.publicKey.errors[0]
	return m.chunks(ctx, len(errors), costSwitch, func(lo, hi int) error {
		for i := lo; i < hi; i++ {
			sk, pk, err := fhe.EncryptionKeys(m.params, m.seed("encryption keys", i), m.backend)
			if err != nil {
				return err
			}
			enc, err := pk.Encrypter(m.backend)
			if err != nil {
				return err
			}
			messages := make([]int64, 1+i%m.params.Literal().PolynomialSize)
			slot := len(messages) - 1
			messages[slot] = message(i, m.params.MessageMax())
			ct := enc.Encrypt(m.seed("public-key encryption", i), messages).LWE(m.params, slot, m.params.MessageMax())
			errors[i] = m.distance(sk.Phase(ct), m.params.Encode(messages[slot]))
		}
		return nil
	})
}

// message is the message of sample i: all of [0, max] in turn.
func message(i int, max int64) int64 { return int64(i) % (max + 1) }

// distance is (x-y)/q, in (-1/2, 1/2).
func (m *measurement) distance(x, y uint64) float64 {
	q := int64(m.params.Modulus())
	d := int64(x) - int64(y)
	switch {
	case d > q/2:
		d -= q
	case d < -q/2:
		d += q
	}
	return float64(d) / float64(q)
}

// wrap is the representative of x modulo 1 in [-1/2, 1/2].
func wrap(x float64) float64 { return x - math.Round(x) }

// keyed measures under one key.
type keyed struct {
	*measurement
	index  int
	secret *fhe.SecretKey
	eval   *bootstrap.Evaluator
}

// key makes key set k and measures under it.
func (m *measurement) key(ctx context.Context, k int) error {
	seed := m.seed("keys", k)
	keys, err := fhe.GenerateKeys(ctx, m.params, seed, m.backend, nil)
	if err != nil {
		return err
	}
	eval, err := bootstrap.NewEvaluator(keys.Evaluation, m.backend)
	if err != nil {
		return err
	}
	made := weigh(keys.Secret)
	made.Seed, made.ID = hex.EncodeToString(seed[:]), keys.Secret.ID().String()
	m.made = append(m.made, made)
	m.predict(k, made)
	r := &keyed{m, k, keys.Secret, eval}
	if err := m.chunks(ctx, m.perKey, costSwitch, r.switches); err != nil || m.SkipBootstraps {
		return err
	}
	if err := r.bootstraps(ctx, 1, r.oneOutput); err != nil {
		return err
	}
	return r.bootstraps(ctx, 2, r.twoOutputs)
}

// weigh counts what the noise depends on in a key. The phase of a ciphertext with
// the body 0 and -1 in the mask where bits count is their sum.
func weigh(sk *fhe.SecretKey) (key Key) {
	p := sk.Parameters()
	n, steps := p.Literal().LWEDimension, p.Rotation().Steps
	for i := range steps {
		ones := make([]uint32, n+1)
		for j := i * n / steps; j < (i+1)*n/steps; j++ {
			ones[j] = 1<<32 - 1
		}
		weight := int(sk.SmallPhase(ones))
		key.SmallWeight += weight
		if weight > 0 {
			key.SetSteps++
			key.FirstSet = key.FirstSet || i == 0
		}
	}
	all := p.Trivial(0)
	for i := range all.Value[:p.BigDimension()] {
		all.Value[i] = p.Modulus() - 1
	}
	key.BigWeight = int(sk.Phase(all))
	return key
}

// predict moves the formulas to key k; see the package comment.
func (m *measurement) predict(k int, key Key) {
	l := m.params.Literal()
	steps, dimension := float64(m.params.Rotation().Steps), float64(m.params.BigDimension())
	cases, keys := 2.0, 1.0     // of a step, and the GGSW errors that it adds
	always, whenSet := 0.0, 1.0 // rounding errors that a step adds
	set := float64(key.SetSteps)
	switch {
	case l.Unroll > 0:
		cases = math.Exp2(float64(l.Unroll))
		keys, always, whenSet = cases, 1, 0
	case l.BlockSize > 0:
		cases = float64(l.BlockSize + 1)
		keys, whenSet = float64(2*l.BlockSize), 2
	}
	first := always // that the first step does
	if key.FirstSet {
		first += whenSet
	}
	rounding := func(g noise.Gadget) float64 { return math.Ldexp(1, -2*g.BaseLog*g.Levels) / 12 }
	surplus := set - steps*(cases-1)/cases // of steps with a bit set over their mean

	ks := (float64(key.BigWeight) - dimension/2) * rounding(l.KeySwitchGadget)
	w := float64(2 * l.PolynomialSize)
	ms := surplus * (cases - 2) / cases / (12 * w * w)
	m.keySwitch.perKey[k] += ks
	m.modSwitch.perKey[k] += ms
	m.decisions[0].perKey[k] += ks + ms
	if m.packing != nil {
		n := float64(l.PolynomialSize)
		packing := (float64(key.BigWeight) - dimension/2) * rounding(l.PackingGadget) * (n*n - 1) / 3
		m.packing.perKey[k] += packing
		m.decisions[1].perKey[k] += packing + ks + ms
	}
	if m.SkipBootstraps {
		return
	}
	average := steps * (always + whenSet*(cases-1)/cases)
	actual := steps*always + set*whenSet - first
	pbs := (actual*float64(1+key.BigWeight) - average*(1+dimension/2)) * rounding(l.BootstrapGadget)
	// The mask digits of the first step; see the package comment.
	pbs -= keys * l.BootstrapGadget.Digits() * dimension * m.params.FreshVariance()
	m.one.perKey[k] += pbs
	m.two[0].perKey[k] += pbs
	m.two[1].perKey[k] += pbs
	m.decisions[2].perKey[k] += ks + ms + m.norm*pbs
}

// switches measures samples [lo, hi) of what needs no blind rotation.
func (r *keyed) switches(lo, hi int) error {
	p, k, q := r.params, r.index, int64(r.params.Modulus())
	messages := make([]int64, len(r.weights)*(hi-lo))
	for j := range messages {
		messages[j] = message(lo+j, p.MessageMax())
	}
	e := r.secret.Encrypt(r.seed("switches", k, lo), messages)
	first := make([]fhe.LWE, hi-lo) // of each sample's ciphertexts
	for i := lo; i < hi; i++ {
		var terms []fhe.Term
		var sum int64 // of the encoded messages, small multiples of q; their rounding is no noise
		for j, w := range r.weights {
			at := len(r.weights)*(i-lo) + j
			terms = append(terms, fhe.Term{Weight: w, LWE: e.LWE(p, at, p.MessageMax())})
			sum += w * int64(p.Encode(messages[at]))
		}
		in := terms[0].LWE
		first[i-lo] = in
		at := len(r.weights) * (i - lo)
		r.fresh.errors[k][i] = r.distance(r.secret.Phase(in), p.Encode(messages[at]))
		r.linear.errors[k][i] = r.distance(r.secret.Phase(p.Combine(0, terms...)), uint64((sum%q+q)%q))
		before, switched, after := r.phases(in)
		r.keySwitch.errors[k][i] = wrap(switched - before)
		r.modSwitch.errors[k][i] = wrap(after - switched)
		r.decisions[0].errors[k][i] = wrap(after - r.torus(messages[at]))
	}
	if r.packing == nil {
		return nil
	}
	list, err := r.eval.Pack(first)
	if err != nil {
		return err
	}
	for j, in := range first {
		packed := list.LWE(p, j, p.PackedBound(in.Bound))
		r.packing.errors[k][lo+j] = r.distance(r.secret.Phase(packed), r.secret.Phase(in))
		_, _, after := r.phases(packed)
		r.decisions[1].errors[k][lo+j] = wrap(after - r.torus(messages[len(r.weights)*j]))
	}
	return nil
}

// torus is the exact encoding of a message.
func (r *keyed) torus(m int64) float64 { return float64(m) / float64(2*r.params.Boxes()) }

// phases are those of a ciphertext, of it after the key switch and of that after
// the modulus switch, relative to the modulus of each.
func (r *keyed) phases(in fhe.LWE) (before, switched, after float64) {
	l := r.params.Literal()
	small := r.eval.KeySwitch(in)
	spec := r.params.Rotation()
	exps := make([]uint32, spec.Steps*spec.Exponents())
	body := r.eval.ModSwitch(exps, small)
	return float64(r.secret.Phase(in)) / float64(l.Modulus),
		math.Ldexp(float64(r.secret.SmallPhase(small)), -32),
		float64(r.secret.RotationPhase(exps, body)) / float64(2*l.PolynomialSize)
}

// bootstraps runs tables with the given number of outputs on fresh ciphertexts and
// hands each chunk to record: lo is the sample of its first task, wants[i] the
// messages that the outputs of task i encrypt.
func (r *keyed) bootstraps(ctx context.Context, outputs int, record func(lo int, tasks []fhe.PBS, wants [][]int64)) error {
	p := r.params
	top := int64(p.Boxes()/outputs) - 1
	bound := min(top, p.MessageMax())
	return r.chunks(ctx, r.perKey, costBootstrap, func(lo, hi int) error {
		messages := make([]int64, hi-lo)
		for i := range messages {
			messages[i] = message(lo+i, bound)
		}
		e := r.secret.Encrypt(r.seed("bootstraps", r.index, outputs, lo), messages)
		tasks := make([]fhe.PBS, len(messages))
		wants := make([][]int64, len(messages))
		for i := range tasks {
			var fs []func(int64) int64
			for j := range outputs {
				f := r.function(top, r.index, outputs, lo+i, j)
				fs = append(fs, f)
				wants[i] = append(wants[i], f(messages[i]))
			}
			lut, err := p.NewLUT(0, top, fs...)
			if err != nil {
				return err
			}
			tasks[i] = fhe.PBS{In: e.LWE(p, i, bound), LUT: lut}
		}
		if err := r.eval.Bootstrap(ctx, tasks); err != nil {
			return err
		}
		record(lo, tasks, wants)
		return nil
	})
}

// function draws a function from [0, top] to what lies in (-Boxes, Boxes) but
// zero. With 0 or -Boxes a table may be constant on the whole torus; blind
// rotation leaves such a table as it is, without any noise.
func (m *measurement) function(top int64, indices ...int) func(int64) int64 {
	seed := m.seed("function", indices...)
	bytes := sha3.SumSHAKE256(seed[:], int(top)+1)
	boxes := int64(m.params.Boxes())
	return func(v int64) int64 {
		magnitude, sign := 1+int64(bytes[v]>>1)%(boxes-1), 1-2*int64(bytes[v]&1)
		return sign * magnitude
	}
}

// oneOutput records bootstraps, and decisions on combinations of their outputs.
// Each output enters three combinations, once with the great weight. That relates
// two of them by some per cent of the bootstraps' part in their variance, which is
// the least part.
func (r *keyed) oneOutput(lo int, tasks []fhe.PBS, wants [][]int64) {
	p, k := r.params, r.index
	for i, t := range tasks {
		r.one.errors[k][lo+i] = r.distance(r.secret.Phase(t.Out[0]), p.Encode(wants[i][0]))
		var terms []fhe.Term
		var sum int64
		for j, w := range r.weights {
			at := (i + j) % len(tasks)
			terms = append(terms, fhe.Term{Weight: w, LWE: tasks[at].Out[0]})
			sum += w * wants[at][0]
		}
		_, _, after := r.phases(p.Combine(0, terms...))
		r.decisions[2].errors[k][lo+i] = wrap(after - r.torus(sum))
	}
}

// twoOutputs records both outputs of bootstraps.
func (r *keyed) twoOutputs(lo int, tasks []fhe.PBS, wants [][]int64) {
	for i, t := range tasks {
		for j, out := range t.Out {
			r.two[j].errors[r.index][lo+i] = r.distance(r.secret.Phase(out), r.params.Encode(wants[i][j]))
		}
	}
}

// report sums up.
func (m *measurement) report() *Report {
	r := &Report{
		Parameters: setting.OfParameters(m.params), CPU: setting.OfCPU(m.backend), Seed: hex.EncodeToString(m.Seed[:]),
		Samples: m.perKey * m.Keys, Confidence: confidence, Keys: m.made,
	}
	for _, s := range []*series{m.fresh, m.publicKey, m.linear, m.keySwitch, m.modSwitch, m.decisions[0], m.packing, m.decisions[1], m.one, m.two[0], m.two[1], m.decisions[2]} {
		if s != nil {
			r.Steps = append(r.Steps, newStep(s.name, s.formula, s.perKey, s.errors))
		}
	}
	for _, s := range m.decisions {
		if s != nil {
			r.Decisions = append(r.Decisions, newDecision(m.params, s))
		}
	}
	return r
}
