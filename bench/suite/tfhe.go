package suite

import (
	"bytes"
	"context"
	"errors"
	"math"
	"math/big"
	"sync"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/bench/setting"
	"github.com/tacit-fhe/tacit/bench/workloads"
	"github.com/tacit-fhe/tacit/bench/workloads/parity"
	"github.com/tacit-fhe/tacit/bootstrap"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/codec"
	"github.com/tacit-fhe/tacit/fhe/integer"
	"github.com/tacit-fhe/tacit/fhe/noise"
)

// tfhe is the scheme of fhe and bootstrap.
type tfhe struct {
	params  *fhe.Parameters
	backend accel.Backend
}

// NewTFHE returns the scheme with a parameter set of encrypted integers.
func NewTFHE(p *fhe.Parameters, backend accel.Backend) Scheme { return &tfhe{p, backend} }

func (s *tfhe) Name() string { return workloads.TFHE }

func (s *tfhe) Parallel() bool { return true }

func (s *tfhe) Set(w *workloads.Workload, _ int) (Set, error) {
	if w.Integers == nil && w.Bits == nil {
		return Set{}, &AbsentError{w.Name, workloads.TFHE, w.Absent[workloads.TFHE]}
	}
	p := s.params
	set := Set{
		Scheme: workloads.TFHE, Name: p.Name(), Library: "tacit", Assumption: p.Assumption(),
		Failure: p.FailureProbability(p.MaxVariance()), Description: setting.OfParameters(p),
	}
	switch l := p.Literal(); {
	case l.TestOnly:
	case l.BlockSize > 0:
		set.Security = 128
	default:
		set.Security = 132
	}
	return set, nil
}

func (s *tfhe) Keys(ctx context.Context, _ string) (Keys, error) {
	keys, err := fhe.GenerateKeys(ctx, s.params, fhe.NewSeed(), s.backend, nil)
	if err != nil {
		return nil, err
	}
	k := &tfheKeys{scheme: s, secret: keys.Secret}
	var wire bytes.Buffer
	if _, err := keys.Evaluation.WriteTo(&wire); err != nil {
		return nil, err
	}
	k.evaluation = wire.Bytes()
	return k, nil
}

// tfheKeys is the client.
type tfheKeys struct {
	scheme     *tfhe
	secret     *fhe.SecretKey
	evaluation []byte
}

func (k *tfheKeys) Sizes() (wire, memory, public int64) {
	p := k.scheme.params
	return int64(len(k.evaluation)), bootstrap.PreparedSize(p), p.PublicKeySize()
}

func (k *tfheKeys) Server(threads int) (Server, error) {
	p := k.scheme.params
	stream, err := fhe.StreamEvaluationKey(bytes.NewReader(k.evaluation), p)
	if err != nil {
		return nil, err
	}
	engine, err := bootstrap.NewEvaluator(stream, k.scheme.backend)
	if err != nil {
		return nil, err
	}
	id, err := stream.Close()
	if err != nil {
		return nil, err
	}
	s := &tfheServer{params: p, id: id, engine: engine, batcher: bootstrap.NewBatcher(engine, threads)}
	if s.eval, err = integer.New(p, s.batcher); err != nil {
		return nil, err
	}
	return s, nil
}

// bitMessages splits values into the messages of their bits.
func bitMessages(widths []int, in workloads.Values) (out []int64) {
	for i, w := range widths {
		for b := range w {
			out = append(out, parity.Half*int64(in[i].Bit(b)))
		}
	}
	return out
}

func (k *tfheKeys) Encrypt(j Job, items []workloads.Values) ([]byte, float64, error) {
	p := k.scheme.params
	bits := 0
	if program := j.Workload.Bits; program != nil {
		var messages []int64
		for _, in := range items {
			messages = append(messages, bitMessages(program.In(j.Size), in)...)
		}
		var out bytes.Buffer
		e := codec.NewEncoder(&out)
		k.secret.Encrypt(fhe.NewSeed(), messages).Encode(p, e)
		return out.Bytes(), float64(len(messages)) / 8, e.Err()
	}
	var scalars []integer.Scalar
	types := j.Workload.Integers.Types(j.Size)
	for _, in := range items {
		for i, x := range in {
			scalars = append(scalars, integer.PlainBig(types[i], x))
			bits += types[i].Bits()
		}
	}
	list, err := integer.Encrypt(p, k.secret.ID(), k.secret, fhe.NewSeed(), scalars...)
	if err != nil {
		return nil, 0, err
	}
	out, err := list.MarshalBinary()
	return out, float64(bits) / 8, err
}

// errorsOf collects the errors of blocks.
type errorsOf struct {
	squares, variance float64
	count             int
}

func (e *errorsOf) add(sk *fhe.SecretKey, c fhe.LWE) {
	x := sk.Noise(c)
	e.squares += x * x
	e.count++
	e.variance = max(e.variance, c.Bound.Variance)
}

func (e *errorsOf) quality() (q Quality) {
	if e.squares > 0 && e.variance > 0 {
		q.Measured = math.Log2(e.squares/float64(e.count)) / 2
		q.Predicted = math.Log2(e.variance) / 2
	}
	return q
}

func (k *tfheKeys) Check(j Job, response []byte, want []workloads.Values) (Quality, error) {
	p := k.scheme.params
	var noise errorsOf
	if program := j.Workload.Bits; program != nil {
		bits, err := decodeBits(p, response)
		if err != nil {
			return Quality{}, err
		}
		for item, values := range want {
			for i, w := range program.Out(j.Size) {
				if len(bits) < w {
					return Quality{}, errors.New("the response is short of bits")
				}
				got := new(big.Int)
				for b, c := range bits[:w] {
					got.SetBit(got, b, uint(k.secret.Decrypt(c)/parity.Half&1))
					noise.add(k.secret, c)
				}
				bits = bits[w:]
				if got.Cmp(values[i]) != 0 {
					return Quality{}, &WrongError{j, item, got.String(), values[i].String()}
				}
			}
		}
		return noise.quality(), nil
	}
	list, err := integer.UnmarshalList(response, p)
	if err != nil {
		return Quality{}, err
	}
	at := 0
	for item, values := range want {
		for _, x := range values {
			if at == list.Len() {
				return Quality{}, errors.New("the response is short of values")
			}
			v := list.Value(at)
			at++
			got := integer.Decrypt(k.secret, v).Big()
			if err := near(j, item, got, x, j.Workload.Tolerance); err != nil {
				return Quality{}, err
			}
			for _, b := range v.Blocks {
				noise.add(k.secret, b)
			}
		}
	}
	return noise.quality(), nil
}

// tfheServer computes.
type tfheServer struct {
	params  *fhe.Parameters
	id      fhe.KeyID
	engine  *bootstrap.Evaluator
	batcher *bootstrap.Batcher
	eval    *integer.Evaluator

	mu       sync.Mutex
	prepared *workloads.Workload // whose bits program is compute
	compute  func(ctx context.Context, size int, in []fhe.LWE) ([]fhe.LWE, error)
}

// maxBits bounds the bits of a request or response.
const maxBits = 1 << 16

func (s *tfheServer) Load(j Job, request []byte, items int) (any, error) {
	if program := j.Workload.Bits; program != nil {
		perItem := 0
		for _, w := range program.In(j.Size) {
			perItem += w
		}
		e, err := fhe.DecodeEncryption(s.params, codec.NewBytesDecoder(request), items*perItem)
		if err != nil {
			return nil, err
		}
		out := make([][]fhe.LWE, items)
		for i := range e.Len() {
			out[i/perItem] = append(out[i/perItem], e.LWE(s.params, i, parity.Half))
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.prepared != j.Workload {
			if s.compute, err = program.Prepare(s.params, s.batcher); err != nil {
				return nil, err
			}
			s.prepared = j.Workload
		}
		return out, nil
	}
	list, err := integer.UnmarshalList(request, s.params)
	if err != nil {
		return nil, err
	}
	out := make([][]*integer.Value, items)
	for i := range list.Len() {
		at := i * items / list.Len()
		out[at] = append(out[at], list.Value(i))
	}
	return out, nil
}

func (s *tfheServer) Compute(ctx context.Context, j Job, in any) (any, error) {
	if items, ok := in.([][]fhe.LWE); ok {
		return each(items, func(item []fhe.LWE) ([]fhe.LWE, error) { return s.compute(ctx, j.Size, item) })
	}
	return each(in.([][]*integer.Value), func(item []*integer.Value) ([]*integer.Value, error) {
		return j.Workload.Integers.Compute(ctx, s.eval, j.Size, item)
	})
}

// each computes items at the same time, so that their bootstraps share batches.
func each[T any](items [][]T, f func([]T) ([]T, error)) ([][]T, error) {
	out := make([][]T, len(items))
	failed := make([]error, len(items))
	var wg sync.WaitGroup
	for i, item := range items {
		wg.Go(func() { out[i], failed[i] = f(item) })
	}
	wg.Wait()
	return out, errors.Join(failed...)
}

func (s *tfheServer) Store(_ Job, out any) ([]byte, error) {
	if items, ok := out.([][]fhe.LWE); ok {
		var all []fhe.LWE
		for _, item := range items {
			all = append(all, item...)
		}
		return encodeBits(s.params, s.engine, all)
	}
	var all []*integer.Value
	for _, item := range out.([][]*integer.Value) {
		all = append(all, item...)
	}
	list, err := integer.Pack(s.params, s.id, s.engine, all...)
	if err != nil {
		return nil, err
	}
	return list.MarshalBinary()
}

func (s *tfheServer) Spent() Spent {
	n := s.batcher.Stats().Bootstraps
	return Spent{n, n}
}

func (s *tfheServer) Capacity(_ Job, spent Spent) int {
	// Enough for full batches until the last of them, where an item has few bootstraps
	// at a time as many as fill one batch.
	const batches = 32
	full := int64(s.batcher.Full())
	return int(min(full, max(2, batches*full/max(1, spent.Bootstraps))))
}

func (s *tfheServer) Close() { s.batcher.Close() }

// encodeBits packs ciphertexts of bits: their number, the variance, and an fhe.Packed.
func encodeBits(p *fhe.Parameters, packer integer.Packer, bits []fhe.LWE) ([]byte, error) {
	packed, err := packer.Pack(bits)
	if err != nil {
		return nil, err
	}
	worst := noise.Bound{Max: parity.Half}
	for _, c := range bits {
		worst.Variance = max(worst.Variance, c.Bound.Variance)
	}
	var out bytes.Buffer
	e := codec.NewEncoder(&out)
	e.U32(uint32(len(bits)))
	e.F64(p.PackedBound(worst).Variance)
	packed.Encode(p, e)
	return out.Bytes(), e.Err()
}

func decodeBits(p *fhe.Parameters, data []byte) ([]fhe.LWE, error) {
	d := codec.NewBytesDecoder(data)
	count := d.Count("bits", maxBits, 1)
	bound := noise.Bound{Variance: d.F64("variance"), Max: parity.Half}
	if d.Err() != nil {
		return nil, d.Err()
	}
	packed, err := fhe.DecodePacked(p, d, count)
	if err == nil {
		err = d.Finish()
	}
	if err != nil {
		return nil, err
	}
	out := make([]fhe.LWE, count)
	for i := range out {
		out[i] = packed.LWE(p, i, bound)
	}
	return out, nil
}
