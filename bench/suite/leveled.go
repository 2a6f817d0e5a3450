package suite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"

	"github.com/tacit-fhe/tacit/bench/workloads"
	"github.com/tacit-fhe/tacit/fhe/leveled"
)

// vectors is one of the leveled schemes.
type vectors struct{ scheme leveled.Scheme }

// NewLeveled returns BGV, BFV or CKKS.
func NewLeveled(s leveled.Scheme) Scheme { return &vectors{s} }

func (s *vectors) Name() string {
	switch s.scheme {
	case leveled.BGV:
		return workloads.BGV
	case leveled.BFV:
		return workloads.BFV
	}
	return workloads.CKKS
}

func (s *vectors) Parallel() bool { return false }

// Set returns the smallest set that is deep enough and whose numbers are large enough.
func (s *vectors) Set(w *workloads.Workload, size int) (Set, error) {
	if w.Vectors == nil || w.Vectors.Real && s.scheme != leveled.CKKS {
		return Set{}, &AbsentError{w.Name, s.Name(), w.Absent[s.Name()]}
	}
	for _, name := range leveled.Names() {
		p, err := leveled.ByName(name)
		if err != nil {
			return Set{}, err
		}
		if p.Scheme() != s.scheme || p.Bootstraps() != w.Vectors.Bootstraps || !roomFor(p, w.Vectors, size) {
			continue
		}
		return describeVectors(p), nil
	}
	return Set{}, &AbsentError{w.Name, s.Name(), fmt.Sprintf("no parameter set has %d levels and numbers up to %d", w.Vectors.Depth(size), w.Vectors.Max(size))}
}

func describeVectors(p *leveled.Parameters) Set {
	security := p.Security()
	assumption := fmt.Sprintf("%d bits: ring-LWE with a ternary key, %.0f of %.0f bits of modulus", security.Bits, security.LogQP, security.Limit)
	if security.SparseLimit > 0 {
		assumption += fmt.Sprintf(", a sparse one for bootstrapping, %.0f of %.0f bits", security.SparseLogQP, security.SparseLimit)
	}
	return Set{
		Scheme: (&vectors{p.Scheme()}).Name(), Name: p.Name(), Library: "tacit over lattigo v5.0.7",
		Security: float64(security.Bits), Assumption: assumption + " (" + security.Source + ")",
		Description: p.Literal(),
	}
}

// bfvLevel is about how many bits of the modulus a multiplication takes in BFV.
const bfvLevel = 36

// roomFor says whether a program of a size fits a set.
func roomFor(p *leveled.Parameters, v *workloads.Vectors, size int) bool {
	depth := v.Depth(size)
	if t := p.PlaintextModulus(); t != 0 && int64(t/2) < v.Max(size) {
		return false
	}
	if p.Scheme() != leveled.BFV {
		if p.Scheme() == leveled.CKKS {
			depth += v.Spare
		}
		return p.Levels() >= depth
	}
	total := 0
	for _, bits := range p.Literal().LogQ {
		total += bits
	}
	return total >= 60+bfvLevel*depth
}

func (s *vectors) Keys(_ context.Context, set string) (Keys, error) {
	p, err := leveled.ByName(set)
	if err != nil {
		return nil, err
	}
	spec := leveled.KeySpec{}
	if p.Bootstraps() { // which has keys enough without those for rotations
		spec = leveled.KeySpec{Bootstrapping: true, Rotations: []int{}}
	}
	keys, err := leveled.GenerateKeys(p, spec, nil)
	if err != nil {
		return nil, err
	}
	return &vectorKeys{p, keys}, nil
}

// vectorKeys is the client. It keeps the evaluation key, which is public, to send it.
type vectorKeys struct {
	params *leveled.Parameters
	keys   *leveled.KeySet
}

func (k *vectorKeys) Sizes() (wire, memory, public int64) {
	return k.keys.Evaluation.Size(), k.keys.Evaluation.MemoryBytes(), k.params.PublicKeySize()
}

func (k *vectorKeys) Server(int) (Server, error) {
	r, w := io.Pipe()
	go func() {
		_, err := k.keys.Evaluation.WriteTo(w)
		w.CloseWithError(err)
	}()
	key, err := leveled.ReadEvaluationKey(r, k.params)
	if err != nil {
		r.CloseWithError(err)
		return nil, err
	}
	return &vectorServer{eval: leveled.NewEvaluator(key)}, nil
}

// lay puts the vectors of items behind each other, a stride apart.
func lay(j Job, items []workloads.Values) (all [][]int64, stride int) {
	for i, in := range items {
		v := j.Workload.Vectors.Vectors(j.Size, in)
		if i == 0 {
			all, stride = make([][]int64, len(v)), workloads.Stride(v)
		}
		for c, x := range v {
			all[c] = append(append(all[c], x...), make([]int64, stride-len(x))...)
		}
	}
	return all, stride
}

func (k *vectorKeys) Encrypt(j Job, items []workloads.Values) ([]byte, float64, error) {
	all, _ := lay(j, items)
	e := leveled.NewEncryptor(k.keys.Secret)
	var out []*leveled.Ciphertext
	bits := 0.0
	for _, v := range all {
		var c *leveled.Ciphertext
		var err error
		if k.params.Scheme() == leveled.CKKS {
			c, err = e.Reals(divide(v, j.Workload.Vectors.Bits))
			bits += 64 * float64(len(v))
		} else {
			c, err = e.Integers(v)
			bits += math.Log2(float64(k.params.PlaintextModulus())) * float64(len(v))
		}
		if err != nil {
			return nil, 0, err
		}
		out = append(out, c)
	}
	data, err := leveled.MarshalCiphertexts(out...)
	return data, bits / 8, err
}

// divide returns v/2^bits.
func divide(v []int64, bits int) []float64 {
	out := make([]float64, len(v))
	for i, x := range v {
		out[i] = math.Ldexp(float64(x), -bits)
	}
	return out
}

// stride is the number of slots of an item.
func (j Job) stride() int {
	_, stride := lay(j, []workloads.Values{j.Workload.Inputs(source(0), j.Size)})
	return stride
}

// minPrecision is the fewest bits that a result of CKKS must have.
const minPrecision = 10

// tolerance is how far result i of an item may be from the oracle's.
func (j Job) tolerance(reals bool, i int) float64 {
	if v := j.Workload.Vectors; reals && v != nil {
		return max(j.Workload.Tolerance, v.Unit(i/v.Values(j.Size))*math.Exp2(-minPrecision))
	}
	return j.Workload.Tolerance
}

func (k *vectorKeys) Check(j Job, response []byte, want []workloads.Values) (Quality, error) {
	cs, err := leveled.UnmarshalCiphertexts(response, k.params)
	if err != nil {
		return Quality{}, err
	}
	program, stride := j.Workload.Vectors, j.stride()
	perItem := program.Values(j.Size)
	if len(want[0]) != len(cs)*perItem {
		return Quality{}, errors.New("the response has another number of results")
	}
	slot := func(item, v int) int { return item*stride + program.Slot(j.Size, v) }
	d := leveled.NewDecryptor(k.keys.Secret)
	q := Quality{Measured: math.Inf(-1), Predicted: math.Inf(-1)}
	worst, squares, count := 0.0, 0.0, 0.0
	for i, c := range cs {
		if c, err = c.Resize(k.params.Slots()); err != nil {
			return Quality{}, err
		}
		if k.params.Scheme() == leveled.CKKS {
			got, err := d.Reals(c)
			if err != nil {
				return Quality{}, err
			}
			unit := program.Unit(i)
			for item, values := range want {
				for v := range perItem {
					oracle, _ := new(big.Float).SetInt(values[i*perItem+v]).Float64()
					miss := math.Abs(got[slot(item, v)]*unit - oracle)
					if !(miss <= j.tolerance(true, i*perItem+v)) {
						return Quality{}, &WrongError{j, item, fmt.Sprint(got[slot(item, v)] * unit), fmt.Sprint(oracle)}
					}
					worst = max(worst, miss/unit)
					squares += miss / unit * miss / unit
					count++
				}
			}
			q.Predicted = max(q.Predicted, k.params.LogError(c.Noise()))
			continue
		}
		got, err := d.Integers(c)
		if err != nil {
			return Quality{}, err
		}
		t := int64(k.params.PlaintextModulus())
		for item, values := range want {
			for v := range perItem {
				x := (got[slot(item, v)] + t) % t
				if err := near(j, item, big.NewInt(x), values[i*perItem+v], j.Workload.Tolerance); err != nil {
					return Quality{}, err
				}
			}
		}
		measured, err := d.MeasureIntegers(c)
		if err != nil {
			return Quality{}, err
		}
		q.Predicted, q.Measured = max(q.Predicted, c.Noise().LogSigma), max(q.Measured, measured)
	}
	if k.params.Scheme() == leveled.CKKS {
		const finest = 1.0 / (1 << 52) // of a float64
		q.Precision = -math.Log2(max(worst, finest))
		q.Measured = math.Log2(max(math.Sqrt(squares/count), finest))
	}
	return q, nil
}

// vectorServer computes.
type vectorServer struct {
	eval   *leveled.Evaluator
	counts workloads.Counts
}

func (s *vectorServer) Load(_ Job, request []byte, _ int) (any, error) {
	return leveled.UnmarshalCiphertexts(request, s.eval.Parameters())
}

func (s *vectorServer) Compute(ctx context.Context, j Job, in any) (any, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	e := workloads.NewVectorEvaluator(s.eval, j.Workload.Vectors, j.stride(), &s.counts)
	out := j.Workload.Vectors.Compute(e, j.Size, in.([]*leveled.Ciphertext))
	return out, e.Err()
}

func (s *vectorServer) Store(_ Job, out any) ([]byte, error) {
	return leveled.MarshalCiphertexts(out.([]*leveled.Ciphertext)...)
}

func (s *vectorServer) Spent() Spent {
	return Spent{s.counts.Bootstraps.Load(), s.counts.KeySwitches.Load()}
}

// Capacity fills the slots.
func (s *vectorServer) Capacity(j Job, _ Spent) int { return s.eval.Parameters().Slots() / j.stride() }

func (s *vectorServer) Close() {}
