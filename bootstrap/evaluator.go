// Package bootstrap runs programmable bootstraps: KeySwitch to the small key,
// ModSwitch to 2N, BlindRotate and SampleExtract back to the big key
// (Chillotti, Joye, Paillier, "Programmable Bootstrapping Enables Efficient
// Homomorphic Inference of Deep Neural Networks", 2021/091, section 3). Evaluator
// computes a batch on the calling goroutine; Batcher keeps all cores busy with
// the bootstraps of everyone who waits. Packer packs results into the few residues
// in which they are kept. What a bootstrap is used for is not known here.
package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"runtime"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/fhe"
)

// MaxBatch is how many ciphertexts one pass of a processor over the bootstrapping
// key serves. A device takes more.
const MaxBatch = 8

// Evaluator bootstraps under one evaluation key. It is safe for concurrent use.
type Evaluator struct {
	params   *fhe.Parameters
	switcher accel.KeySwitcher // the processor's, as rotator is
	rotator  accel.Rotator
	packer   *Packer   // nil if the parameters do not pack
	scratch  sync.Pool // *scratch

	backend  accel.Backend
	device   accel.PBS     // or nil if the backend runs no whole bootstraps on a device
	resident accel.Rotator // the backend's
	release  []any         // what Close closes
}

// scratch is the memory of one batch.
type scratch struct {
	in    [][]uint64
	small [][]uint32 // n+1 words
	exps  [][]uint32 // the exponents of all steps
	acc   [][]uint64 // (k+1)·N residues
}

// Key is what an evaluator is made of: an *fhe.EvaluationKey, or an
// *fhe.KeyStream, which must be closed without an error before the evaluator is
// used.
type Key interface {
	Parameters() *fhe.Parameters
	GGSW(step int, dst []uint64)
	KeySwitchRows(i int, dst []uint32)
	PackingRows(j int, dst []uint64)
}

// NewEvaluator prepares an evaluation key on a backend. The key itself is not
// needed afterwards. Close gives back what the evaluator holds on devices.
func NewEvaluator(key Key, backend accel.Backend) (*Evaluator, error) {
	p := key.Parameters()
	l := p.Literal()
	spec := p.Rotation()
	rotator, err := backend.Rotator(spec, key.GGSW)
	if err != nil {
		return nil, fmt.Errorf("prepare the bootstrapping key: %w", err)
	}
	switcher, err := backend.KeySwitcher(p.KeySwitch(), key.KeySwitchRows)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("prepare the key-switching key: %w", err), closeAll(rotator))
	}
	e := &Evaluator{params: p, switcher: switcher, rotator: rotator, backend: backend, resident: rotator, release: []any{rotator, switcher}}
	if engine, ok := backend.(accel.PBSEngine); ok {
		if e.device, err = engine.PBS(rotator, switcher); err != nil {
			return nil, errors.Join(fmt.Errorf("prepare bootstraps on the device: %w", err), e.Close())
		}
		e.rotator, e.switcher = e.device.Host()
	}
	if p.Packs() {
		if e.packer, err = NewPacker(key, backend); err != nil {
			return nil, errors.Join(err, e.Close())
		}
	}
	e.scratch.New = func() any {
		s := &scratch{in: make([][]uint64, MaxBatch)}
		for range MaxBatch {
			s.small = append(s.small, make([]uint32, l.LWEDimension+1))
			s.exps = append(s.exps, make([]uint32, spec.Steps*spec.Exponents()))
			s.acc = append(s.acc, make([]uint64, (l.Rank+1)*l.PolynomialSize))
		}
		return s
	}
	return e, nil
}

// Close gives the memory of devices back, when the calls under way have ended. Calls
// that come later are computed by the processor.
func (e *Evaluator) Close() error { return closeAll(e.release...) }

// closeAll closes those of prepared keys that hold something.
func closeAll(keys ...any) (err error) {
	for _, key := range keys {
		if c, ok := key.(io.Closer); ok {
			err = errors.Join(err, c.Close())
		}
	}
	return err
}

// PreparedSize is about how many bytes an evaluator of a parameter set takes: those of
// the residues and words that a backend keeps, whatever its form of them.
func PreparedSize(p *fhe.Parameters) int64 {
	r := p.Rotation()
	glwe := int64(8 * (r.Rank + 1) * r.N)
	size := int64(r.Steps*r.GGSWs()*(r.Rank+1)*r.Levels) * glwe
	if p.Packs() {
		size += int64(p.PackingKeys()*r.Rank*p.Literal().PackingGadget.Levels) * glwe
	}
	return size + switchSize(p.KeySwitch())
}

// switchSize is the number of bytes of a prepared key-switching key.
func switchSize(k accel.KeySwitchSpec) int64 { return int64(4 * k.NIn * k.Levels * (k.NOut + 1)) }

// Parameters returns the parameter set of the key.
func (e *Evaluator) Parameters() *fhe.Parameters { return e.params }

// limits returns how many ciphertexts run takes at a time, and how many calls of it
// keep the backend busy, 0 if as many as there are cores.
func (e *Evaluator) limits() (batch, workers int) {
	if e.device != nil {
		return e.device.Batch(), e.device.Calls()
	}
	return MaxBatch, 0
}

// Bootstrap runs the tasks, as many at a time as the backend takes: on the calling
// goroutine, or on the device that the backend has, and then on all cores if that fails.
// It sets their outputs. Every input is checked before the first bootstrap: the
// error is a *TaskError. It stops between batches when ctx ends.
func (e *Evaluator) Bootstrap(ctx context.Context, tasks []fhe.PBS) error {
	if err := e.check(tasks); err != nil {
		return err
	}
	return e.inBatches(ctx, tasks, e.run)
}

// inBatches runs tasks, as many at a time as limits says, until ctx ends.
func (e *Evaluator) inBatches(ctx context.Context, tasks []fhe.PBS, run func([]*fhe.PBS)) error {
	size, _ := e.limits()
	batch := make([]*fhe.PBS, 0, min(size, len(tasks)))
	for i := range tasks {
		batch = append(batch, &tasks[i])
		if len(batch) == size || i == len(tasks)-1 {
			if err := ctx.Err(); err != nil {
				return err
			}
			run(batch)
			batch = batch[:0]
		}
	}
	return nil
}

// Pack packs ciphertexts as Packer.Pack does. The error is a *fhe.ParametersError for
// parameters without packing keys.
func (e *Evaluator) Pack(in []fhe.LWE) (*fhe.Packed, error) {
	if e.packer == nil {
		return nil, noPacking(e.params)
	}
	return e.packer.Pack(in)
}

// TaskError names the task of a call that is refused.
type TaskError struct {
	Index int
	Err   error // *noise.NoiseError or *noise.MessageError
}

func (e *TaskError) Error() string { return fmt.Sprintf("bootstrap %d: %v", e.Index, e.Err) }

func (e *TaskError) Unwrap() error { return e.Err }

func (e *Evaluator) check(tasks []fhe.PBS) error { return checkTasks(e.params, tasks) }

// checkTasks refuses tasks whose inputs are too noisy or outside the domain.
func checkTasks(p *fhe.Parameters, tasks []fhe.PBS) error {
	for i, t := range tasks {
		lo, hi := t.LUT.Domain()
		if err := p.CheckInput(t.In.Bound, lo, hi); err != nil {
			return &TaskError{i, err}
		}
	}
	return nil
}

// run bootstraps checked tasks, as many as limits says.
func (e *Evaluator) run(batch []*fhe.PBS) { e.runAll(e.device, e.switcher, batch) }

// runOnHost bootstraps at most MaxBatch checked tasks on the calling goroutine.
func (e *Evaluator) runOnHost(batch []*fhe.PBS) { e.runFrom(e.switcher, batch) }

// runAll bootstraps on a device, or on the processor where there is none or it fails: a
// small batch on the calling goroutine, a larger one on all cores. device begins with
// the key switch of switcher.
func (e *Evaluator) runAll(device accel.PBS, switcher accel.KeySwitcher, batch []*fhe.PBS) {
	if device != nil && e.runOnDevice(device, batch) == nil {
		return
	}
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for piece := range slices.Chunk(batch, MaxBatch) {
		if len(piece) == len(batch) {
			e.runFrom(switcher, piece)
			return
		}
		group.Go(func() error {
			e.runFrom(switcher, piece)
			return nil
		})
	}
	group.Wait()
}

// runOnDevice is run on the device. The backend reports what its error is about.
func (e *Evaluator) runOnDevice(device accel.PBS, batch []*fhe.PBS) error {
	width := e.params.BigDimension() + 1
	tasks := make([]accel.PBSTask, len(batch))
	for t, task := range batch {
		to := accel.PBSTask{In: task.In.Value, Test: task.LUT.Polynomial()}
		for i := range task.LUT.Outputs() {
			to.Offsets = append(to.Offsets, task.LUT.Offset(i))
			to.Out = append(to.Out, make([]uint64, width))
		}
		tasks[t] = to
	}
	if err := device.Bootstrap(tasks); err != nil {
		return err
	}
	for t, task := range batch {
		task.Out = make([]fhe.LWE, len(tasks[t].Out))
		for i, value := range tasks[t].Out {
			task.Out[i] = e.params.Output(task.LUT, i, value)
		}
	}
	return nil
}

// runFrom bootstraps at most MaxBatch ciphertexts that a key switch, of this or of
// another key, takes to the small key.
func (e *Evaluator) runFrom(switcher accel.KeySwitcher, batch []*fhe.PBS) {
	s := e.scratch.Get().(*scratch)
	defer e.scratch.Put(s)
	for t, task := range batch {
		s.in[t] = task.In.Value
	}
	switcher.Switch(s.small[:len(batch)], s.in[:len(batch)])
	n := e.params.Literal().PolynomialSize
	for t, task := range batch {
		body := e.ModSwitch(s.exps[t], s.small[t])
		acc := s.acc[t]
		clear(acc[:len(acc)-n])
		rotate(acc[len(acc)-n:], task.LUT.Polynomial(), body, e.params.Modulus())
	}
	e.rotator.Rotate(s.acc[:len(batch)], s.exps[:len(batch)])
	for t, task := range batch {
		task.Out = make([]fhe.LWE, task.LUT.Outputs())
		for i := range task.Out {
			task.Out[i] = e.extract(s.acc[t], task.LUT, i)
		}
		s.in[t] = nil
	}
}

// KeySwitch returns the LWE ciphertext of the small key modulo 2^32, n mask
// words and the body, that encrypts the message of a ciphertext of the big key.
func (e *Evaluator) KeySwitch(in fhe.LWE) []uint32 {
	out := make([]uint32, e.params.Literal().LWEDimension+1)
	e.switcher.Switch([][]uint32{out}, [][]uint64{in.Value})
	return out
}

// ModSwitch rounds an LWE ciphertext modulo 2^32, n mask words and the body, to
// the modulus 2N: exps receives the exponents of the blind rotation and that of
// the body is returned. It is centred: with a_i = exps_i·2^32/2N + e_i the
// rounding shifts the phase by the errors that the key picks out, whose mean over
// the keys is known to everyone and is taken out of the body first, so that only
// its variance is left (noise.Classic, noise.Unrolled, noise.BlockBinary).
func (e *Evaluator) ModSwitch(exps, lwe []uint32) (body uint32) {
	l := e.params.Literal()
	s := newModulus(l.PolynomialSize)
	mask := lwe[:l.LWEDimension]
	var mean int64
	switch {
	case l.Unroll > 0:
		for g := 0; g < len(mask); g += l.Unroll {
			// The exponent of pattern j is the rounded sum over its bits.
			for j := 1; j < 1<<l.Unroll; j++ {
				var sum uint32
				for b := range l.Unroll {
					sum += mask[g+b] & -uint32(j>>b&1)
				}
				mean += s.round(&exps[0], sum)
				exps = exps[1:]
			}
		}
		mean >>= l.Unroll
	default:
		for i, a := range mask {
			mean += s.round(&exps[i], a)
		}
		mean = floorDiv(mean, int64(max(l.BlockSize, 1)+1))
	}
	s.round(&body, lwe[len(mask)]-uint32(mean))
	return body
}

// modulus rounds words modulo 2^32 to the modulus 2N.
type modulus struct {
	shift int
	mask  uint32
}

func newModulus(polynomialSize int) modulus {
	return modulus{32 - bits.Len(uint(polynomialSize)), uint32(2*polynomialSize - 1)}
}

// round sets dst to the multiple of 2^32/2N nearest to a, and returns a less it.
func (m modulus) round(dst *uint32, a uint32) int64 {
	x := (a + 1<<(m.shift-1)) >> m.shift
	*dst = x & m.mask
	return int64(int32(a - x<<m.shift))
}

// floorDiv returns floor(x/d) for d > 0.
func floorDiv(x, d int64) int64 {
	q := x / d
	if x%d < 0 {
		q--
	}
	return q
}

// rotate sets dst = X^-e·src for e in [0, 2N).
func rotate(dst, src []uint64, e uint32, q uint64) {
	n := uint32(len(src))
	negate := e >= n
	e &= n - 1
	for i := range dst {
		j := uint32(i) + e
		neg := negate
		if j >= n {
			j, neg = j-n, !neg
		}
		v := src[j]
		if neg && v != 0 {
			v = q - v
		}
		dst[i] = v
	}
}

// extract is SampleExtract of output i of a table from a rotated accumulator.
func (e *Evaluator) extract(acc []uint64, lut *fhe.LUT, i int) fhe.LWE {
	size := e.params.BigDimension()
	h := lut.Offset(i)
	value := make([]uint64, size+1)
	e.params.ExtractMask(value, acc[:size], h)
	value[size] = acc[size+h]
	return e.params.Output(lut, i, value)
}
