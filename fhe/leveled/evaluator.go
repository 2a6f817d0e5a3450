package leveled

import (
	"fmt"
	"math"
	"math/bits"
	"sync"

	"github.com/tuneinsight/lattigo/v5/core/rlwe"
	"github.com/tuneinsight/lattigo/v5/he/hefloat"
	"github.com/tuneinsight/lattigo/v5/he/hefloat/bootstrapping"
	"github.com/tuneinsight/lattigo/v5/schemes/bgv"
)

// An Evaluator computes on ciphertexts with an evaluation key. Results are new
// ciphertexts and, inputs and key given, always the same bytes on one kind of processor; those of
// operations that encode real numbers may differ in the last bit where a processor
// fuses floating-point operations. It is safe for concurrent use.
type Evaluator struct {
	params  *Parameters
	key     *EvaluationKey
	workers *pool[*worker]

	bootMu sync.Mutex
	boot   *bootstrapping.Evaluator
}

// A pool has the buffers of running operations, as many as have run at once.
type pool[W any] struct {
	make func() W

	mu   sync.Mutex
	free []W
}

// do runs one operation with buffers of its own.
func (p *pool[W]) do(f func(w W) error) error {
	p.mu.Lock()
	var w W
	n := len(p.free)
	if n > 0 {
		w, p.free = p.free[n-1], p.free[:n-1]
	}
	p.mu.Unlock()
	if n == 0 {
		w = p.make()
	}
	err := f(w)
	p.mu.Lock()
	p.free = append(p.free, w)
	p.mu.Unlock()
	return err
}

// A worker has the buffers of one running operation.
type worker struct {
	*encoder
	bgv  *bgv.Evaluator
	ckks *hefloat.Evaluator
}

// NewEvaluator returns an evaluator for a key.
func NewEvaluator(key *EvaluationKey) *Evaluator {
	return &Evaluator{params: key.params, key: key, workers: &pool[*worker]{make: func() *worker { return newWorker(key) }}}
}

func newWorker(key *EvaluationKey) *worker {
	w := &worker{encoder: newEncoder(key.params)}
	if key.params.lit.Scheme.Integers() {
		w.bgv = bgv.NewEvaluator(key.params.bgv, key.set)
	} else {
		w.ckks = hefloat.NewEvaluator(key.params.ckks, key.set)
	}
	return w
}

// Parameters returns the parameter set of the evaluator.
func (e *Evaluator) Parameters() *Parameters { return e.params }

// Key returns the evaluation key of the evaluator.
func (e *Evaluator) Key() *EvaluationKey { return e.key }

// check refuses ciphertexts of other parameters or keys.
func (e *Evaluator) check(cs ...*Ciphertext) error {
	for _, c := range cs {
		if c.params != e.params {
			return &MismatchError{"parameters", c.params.String(), e.params.String()}
		}
		if c.id != e.key.id {
			return &MismatchError{"key", c.id.String(), e.key.id.String()}
		}
	}
	return nil
}

// result returns a new ciphertext for an operation to fill.
func (e *Evaluator) result(n Noise) *rlwe.Ciphertext {
	ct := rlwe.NewCiphertext(e.params.rlwe, 1, e.params.chainLevel(n.Level))
	ct.MetaData = e.params.metadata(n.Scale)
	return ct
}

func (e *Evaluator) wrap(ct *rlwe.Ciphertext, n Noise, length int) *Ciphertext {
	return e.params.wrap(ct, e.key.id, n, length)
}

// Add returns a + b, slot by slot, at the lower level of the two.
func (e *Evaluator) Add(a, b *Ciphertext) (*Ciphertext, error) { return e.linear(a, b, false) }

// Sub returns a - b, slot by slot, at the lower level of the two.
func (e *Evaluator) Sub(a, b *Ciphertext) (*Ciphertext, error) { return e.linear(a, b, true) }

func (e *Evaluator) linear(a, b *Ciphertext, minus bool) (*Ciphertext, error) {
	if err := e.check(a, b); err != nil {
		return nil, err
	}
	n, err := e.params.PredictAdd(a.noise, b.noise)
	if err != nil {
		return nil, err
	}
	out := e.result(n)
	ringQ := e.params.rlwe.RingQ().AtLevel(out.Level())
	f, g := int64(1), int64(1)
	if e.params.lit.Scheme.Integers() && a.noise.Scale != b.noise.Scale {
		f, g = e.params.match(uint64(a.noise.Scale), uint64(b.noise.Scale))
	}
	if minus {
		g = -g
	}
	for i := range out.Value {
		switch {
		case f == 1 && g == 1:
			ringQ.Add(a.ct.Value[i], b.ct.Value[i], out.Value[i])
		case f == 1 && g == -1:
			ringQ.Sub(a.ct.Value[i], b.ct.Value[i], out.Value[i])
		default:
			ringQ.MulScalar(a.ct.Value[i], uint64(f), out.Value[i])
			if g > 0 {
				ringQ.MulScalarThenAdd(b.ct.Value[i], uint64(g), out.Value[i])
			} else {
				ringQ.MulScalarThenSub(b.ct.Value[i], uint64(-g), out.Value[i])
			}
		}
	}
	return e.wrap(out, n, max(a.length, b.length)), nil
}

// Neg returns -a.
func (e *Evaluator) Neg(a *Ciphertext) (*Ciphertext, error) { return e.MulScalar(a, -1) }

// Mul returns a·b, slot by slot, relinearised, at the lower level of the two. For BGV and CKKS the
// error (CKKS: and the scale) has grown by about the size of a prime: a Rescale should
// follow, at the latest before the next Mul.
func (e *Evaluator) Mul(a, b *Ciphertext) (*Ciphertext, error) {
	if err := e.check(a, b); err != nil {
		return nil, err
	}
	n, err := e.params.PredictMul(a.noise, b.noise)
	if err != nil {
		return nil, err
	}
	out := e.result(n)
	err = e.workers.do(func(w *worker) error {
		switch e.params.lit.Scheme {
		case BGV:
			return w.bgv.MulRelin(a.ct, b.ct, out)
		case BFV:
			return w.bgv.MulRelinScaleInvariant(a.ct, b.ct, out)
		}
		return w.ckks.MulRelin(a.ct, b.ct, out)
	})
	if err != nil {
		return nil, fmt.Errorf("leveled: mul: %w", err)
	}
	return e.wrap(out, n, max(a.length, b.length)), nil
}

// MulScalar returns k·a. It costs no level.
func (e *Evaluator) MulScalar(a *Ciphertext, k int64) (*Ciphertext, error) {
	if err := e.check(a); err != nil {
		return nil, err
	}
	n, err := e.params.PredictMulScalar(a.noise, k)
	if err != nil {
		return nil, err
	}
	if e.params.lit.Scheme.Integers() {
		k = e.params.center(k)
	}
	out := e.result(n)
	ringQ := e.params.rlwe.RingQ().AtLevel(out.Level())
	for i := range out.Value {
		if k < 0 {
			ringQ.MulScalar(a.ct.Value[i], -uint64(k), out.Value[i])
			ringQ.Neg(out.Value[i], out.Value[i])
		} else {
			ringQ.MulScalar(a.ct.Value[i], uint64(k), out.Value[i])
		}
	}
	return e.wrap(out, n, a.length), nil
}

// AddIntegers returns a + values, for BGV and BFV. Slots past the end of values stay.
func (e *Evaluator) AddIntegers(a *Ciphertext, values []int64) (*Ciphertext, error) {
	slots, err := e.params.slotsOf(values)
	if err != nil {
		return nil, err
	}
	return e.addPlain(a, slots, nil, 0)
}

// AddReals returns a + values, for CKKS. Slots past the end of values stay.
func (e *Evaluator) AddReals(a *Ciphertext, values []float64) (*Ciphertext, error) {
	slots, err := e.params.slotsOfReals(values, math.Exp2(MaxLogBound))
	if err != nil {
		return nil, err
	}
	return e.addPlain(a, nil, slots, largest(slots))
}

func largest(values []float64) (m float64) {
	for _, v := range values {
		m = max(m, math.Abs(v))
	}
	return m
}

func (e *Evaluator) addPlain(a *Ciphertext, ints []uint64, reals []float64, bound float64) (*Ciphertext, error) {
	if err := e.check(a); err != nil {
		return nil, err
	}
	n, err := e.params.PredictAddPlain(a.noise, bound)
	if err != nil {
		return nil, err
	}
	out := e.result(n)
	err = e.workers.do(func(w *worker) error {
		pt, err := w.encode(ints, reals, out.Level(), n.Scale)
		if err == nil {
			e.params.rlwe.RingQ().AtLevel(out.Level()).Add(a.ct.Value[0], pt.Value, out.Value[0])
			out.Value[1].Copy(a.ct.Value[1])
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("leveled: add: %w", err)
	}
	return e.wrap(out, n, a.length), nil
}

// MulIntegers returns a·values, slot by slot, for BGV and BFV. Slots past the end of values
// become 0.
func (e *Evaluator) MulIntegers(a *Ciphertext, values []int64) (*Ciphertext, error) {
	slots, err := e.params.slotsOf(values)
	if err != nil {
		return nil, err
	}
	return e.mulPlain(a, slots, nil, 0)
}

// MulReals returns a·values, slot by slot, for CKKS. The values are encoded at the scale of
// the last prime: the next Rescale gives back the scale that a has. Slots past the end of values become 0.
func (e *Evaluator) MulReals(a *Ciphertext, values []float64) (*Ciphertext, error) {
	slots, err := e.params.slotsOfReals(values, math.Exp2(MaxLogBound))
	if err != nil {
		return nil, err
	}
	return e.mulPlain(a, nil, slots, largest(slots))
}

func (e *Evaluator) mulPlain(a *Ciphertext, ints []uint64, reals []float64, bound float64) (*Ciphertext, error) {
	if err := e.check(a); err != nil {
		return nil, err
	}
	n, err := e.params.PredictMulPlain(a.noise, bound)
	if err != nil {
		return nil, err
	}
	out := e.result(n)
	err = e.workers.do(func(w *worker) error {
		if w.bgv == nil {
			return w.ckks.Mul(a.ct, reals, out)
		}
		factor, err := w.factor(ints, out.Level())
		if err == nil {
			ringQ := e.params.rlwe.RingQ().AtLevel(out.Level())
			for i := range out.Value {
				ringQ.MulCoeffsMontgomery(a.ct.Value[i], factor, out.Value[i])
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("leveled: mul: %w", err)
	}
	return e.wrap(out, n, a.length), nil
}

// Rescale divides the ciphertext by the last prime of its chain, which brings error (and, for CKKS, scale)
// down again and costs a level. The values stay.
func (e *Evaluator) Rescale(a *Ciphertext) (*Ciphertext, error) {
	if err := e.check(a); err != nil {
		return nil, err
	}
	n, err := e.params.PredictRescale(a.noise)
	if err != nil {
		return nil, err
	}
	// lattigo divides into a ciphertext of the level that it comes from.
	out := rlwe.NewCiphertext(e.params.rlwe, 1, a.ct.Level())
	out.MetaData = e.params.metadata(n.Scale)
	err = e.workers.do(func(w *worker) error {
		if w.bgv != nil {
			return w.bgv.Rescale(a.ct, out)
		}
		return w.ckks.Rescale(a.ct, out)
	})
	if err != nil {
		return nil, fmt.Errorf("leveled: rescale: %w", err)
	}
	return e.wrap(out, n, a.length), nil
}

// Drop returns the ciphertext at a lower level, without dividing. It makes operations with
// ciphertexts of that level cheaper and nothing else.
func (e *Evaluator) Drop(a *Ciphertext, level int) (*Ciphertext, error) {
	if err := e.check(a); err != nil {
		return nil, err
	}
	n, err := e.params.PredictDrop(a.noise, level)
	if err != nil {
		return nil, err
	}
	out := e.result(n)
	for i := range out.Value {
		out.Value[i].CopyLvl(out.Level(), a.ct.Value[i])
	}
	return e.wrap(out, n, a.length), nil
}

// Rotate moves every slot k places to the left, cyclically within a row (see
// [Parameters.Row]); k may be negative. Without a key for k itself the rotation is composed of those for powers of two; the
// error is a *MissingKeyError when there are none.
func (e *Evaluator) Rotate(a *Ciphertext, k int) (*Ciphertext, error) {
	if err := e.check(a); err != nil {
		return nil, err
	}
	k = e.params.reduceRotation(k)
	steps := []int{k}
	if !e.key.has(k) {
		steps = steps[:0]
		for rest := k; rest != 0; rest &= rest - 1 {
			step := 1 << bits.TrailingZeros(uint(rest))
			if !e.key.has(step) {
				return nil, &MissingKeyError{"rotate", fmt.Sprintf("key for a rotation by %d or by %d", k, step)}
			}
			steps = append(steps, step)
		}
	}
	var err error
	for _, step := range steps {
		if a, err = e.automorphism(a, e.params.rlwe.GaloisElement(step)); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// SwapRows exchanges the two rows of BGV and BFV.
func (e *Evaluator) SwapRows(a *Ciphertext) (*Ciphertext, error) {
	if !e.params.lit.Scheme.Integers() {
		return nil, &SchemeError{"swap rows", e.params.lit.Scheme}
	}
	if err := e.check(a); err != nil {
		return nil, err
	}
	if !e.key.spec.SwapRows {
		return nil, &MissingKeyError{"swap rows", "key for it"}
	}
	return e.automorphism(a, e.params.rlwe.GaloisElementOrderTwoOrthogonalSubgroup())
}

func (e *Evaluator) automorphism(a *Ciphertext, element uint64) (*Ciphertext, error) {
	n, err := e.params.PredictKeySwitch(a.noise)
	if err != nil {
		return nil, err
	}
	out := e.result(n)
	err = e.workers.do(func(w *worker) error {
		if w.bgv != nil {
			return w.bgv.Automorphism(a.ct, element, out)
		}
		return w.ckks.Automorphism(a.ct, element, out)
	})
	if err != nil {
		return nil, fmt.Errorf("leveled: rotate: %w", err)
	}
	return e.wrap(out, n, a.length), nil
}

// InnerSum returns a ciphertext that holds in every slot i the sum of the n slots from i on, cyclically within a row; n is a
// power of two, at most a row. It takes log2(n) rotations and additions.
func (e *Evaluator) InnerSum(a *Ciphertext, n int) (*Ciphertext, error) {
	if err := e.check(a); err != nil {
		return nil, err
	}
	if _, err := e.params.PredictInnerSum(a.noise, n); err != nil {
		return nil, err
	}
	for step := 1; step < n; step *= 2 {
		b, err := e.Rotate(a, step)
		if err != nil {
			return nil, err
		}
		if a, err = e.Add(a, b); err != nil {
			return nil, err
		}
	}
	return a, nil
}
