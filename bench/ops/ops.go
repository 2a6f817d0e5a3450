// Package ops says what the operations on encrypted integers cost: the bootstraps
// and the depth that the evaluator will spend, and the time that they take on
// this machine.
package ops

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/bench/setting"
	"github.com/tacit-fhe/tacit/bootstrap"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/integer"
)

// Row is one operation at one width.
type Row struct {
	Op        string  `json:"op"`
	Operands  string  `json:"operands"` // what they are: "encrypted", or "plaintext" for the last one
	Type      string  `json:"type"`
	Strategy  string  `json:"strategy"`
	Cost      Cost    `json:"cost"`
	Seconds   Times   `json:"seconds,omitzero"`     // of one operation, at the given concurrency
	PerSecond float64 `json:"per_second,omitempty"` // operations finished in a second, over all that ran at a time
}

// Cost is what an operation spends.
type Cost struct {
	Bootstraps int `json:"bootstraps"`
	Depth      int `json:"depth"`
}

// Times is a distribution.
type Times struct {
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	Max    float64 `json:"max"`
}

// Report is a table of operations.
type Report struct {
	Parameters  setting.Parameters `json:"parameters"`
	CPU         setting.CPU        `json:"cpu,omitzero"` // of timed reports
	Go          string             `json:"go,omitempty"`
	Concurrency int                `json:"concurrency,omitempty"`
	Rounds      int                `json:"rounds,omitempty"`
	Budgets     []Budget           `json:"budgets,omitempty"` // of counts
	Rows        []Row              `json:"rows"`
}

// timed are the operations that Run times when it is not told.
var timed = []integer.Op{integer.OpAdd, integer.OpLt, integer.OpEq, integer.OpAnd, integer.OpSelect, integer.OpMul}

// counted are the types of a table of costs.
var counted = []integer.Type{integer.Bool, integer.Uint8, integer.Uint16, integer.Uint32, integer.Uint64, integer.Uint128, integer.Address, integer.Uint256}

// plaintext stands for an unknown plaintext: alternating bits, which no operation
// has a shortcut for.
func plaintext(t integer.Type) integer.Scalar {
	x := new(big.Int)
	for i := 0; i < t.Bits(); i += 2 {
		x.SetBit(x, i, 1)
	}
	return integer.PlainBig(t, x)
}

// operands are those of an operation on a type, the last one a plaintext if plain
// is set; ok is false where the operation does not take them.
func operands(op integer.Op, t integer.Type, plain bool) (out []integer.Operand, ok bool) {
	value := func(t integer.Type) *integer.Value { return &integer.Value{Type: t} }
	switch op {
	case integer.OpSelect:
		out = []integer.Operand{value(integer.Bool), value(t), value(t)}
	case integer.OpCast:
		out = []integer.Operand{value(integer.Uint64), integer.To(t)}
	case integer.OpRand:
		out = []integer.Operand{integer.Seed{Type: t}}
	case integer.OpRandBounded:
		out = []integer.Operand{integer.Seed{Type: t}, integer.Plain(t, 2)}
	case integer.OpMulDiv:
		out = []integer.Operand{value(t), value(t), plaintext(t)}
	case integer.OpSum, integer.OpIsIn:
		for range 10 {
			out = append(out, value(t))
		}
	case integer.OpLookup, integer.OpLookup2:
		out = []integer.Operand{value(integer.Uint8), value(integer.Uint8)}[:op.Operands()-1]
		table, ok := table(t)
		return append(out, table), ok && !plain
	default:
		for range op.Operands() {
			out = append(out, value(t))
		}
	}
	if plain {
		last, isValue := out[len(out)-1].(*integer.Value)
		if !isValue || len(out) < 2 {
			return nil, false
		}
		out[len(out)-1] = plaintext(last.Type)
	}
	return out, true
}

// table is a function of eight bits without structure; ok is false where there is
// none with values of that type.
func table(t integer.Type) (_ *integer.Table, ok bool) {
	values := make([]uint64, 256)
	if t.Bits() == 0 || t.Bits() > 64 {
		return nil, false
	}
	for x := range values {
		h := sha256.Sum256([]byte{byte(x)})
		values[x] = binary.BigEndian.Uint64(h[:]) >> (64 - t.Bits())
	}
	out, err := integer.NewTable(t, values)
	return out, err == nil
}

// Count returns the cost of every operation, type, kind of last operand and
// strategy, computed by the evaluator itself on bounds alone.
func Count(p *fhe.Parameters) (*Report, error) {
	eval, err := integer.New(p, nil)
	if err != nil {
		return nil, err
	}
	r := &Report{Parameters: setting.OfParameters(p)}
	if r.Budgets, err = Budgets(p); err != nil {
		return nil, err
	}
	for op := integer.Op(0); op.Valid(); op++ {
		for _, plain := range []bool{false, true} {
			for _, t := range counted {
				in, ok := operands(op, t, plain)
				if !ok {
					continue
				}
				for _, s := range []integer.Strategy{integer.Throughput, integer.Latency} {
					c, err := eval.Using(s).Cost(op, in...)
					if errors.As(err, new(*integer.TypeError)) {
						break // not an operation of this type
					}
					if err != nil {
						return nil, fmt.Errorf("%v %v: %w", op, t, err)
					}
					r.Rows = append(r.Rows, row(op, t, s, plain, c))
				}
			}
		}
	}
	return r, nil
}

func row(op integer.Op, t integer.Type, s integer.Strategy, plain bool, c integer.Cost) Row {
	kinds := "encrypted"
	if plain {
		kinds = "plaintext"
	}
	return Row{Op: op.String(), Operands: kinds, Type: t.String(), Strategy: s.String(), Cost: Cost{c.Bootstraps, c.Depth}}
}

// Options of a Run.
type Options struct {
	Params  *fhe.Parameters
	Backend accel.Backend
	// Ops are the operations, on encrypted operands; none means the common ones.
	Ops  []integer.Op
	Type integer.Type
	// Strategy is that of the evaluator.
	Strategy integer.Strategy
	// Workers is the number of cores; 0 means all.
	Workers int
	// Concurrency is how many of an operation run at a time; 0 means enough to
	// fill the batches of all workers.
	Concurrency int
	// Rounds is how often that many run; 0 means 3.
	Rounds int
	// Progress, if not nil, is told of the share that is done.
	Progress func(done, total int)
}

// Run times operations on real ciphertexts with a new key set. Every result is
// decrypted and compared with that of a second strategy before it counts: both
// must decrypt to the same plaintext.
func Run(ctx context.Context, o Options) (*Report, error) {
	if o.Workers == 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.Rounds == 0 {
		o.Rounds = 3
	}
	if len(o.Ops) == 0 {
		o.Ops = timed
	}
	keys, err := fhe.GenerateKeys(ctx, o.Params, fhe.NewSeed(), o.Backend, nil)
	if err != nil {
		return nil, err
	}
	engine, err := bootstrap.NewEvaluator(keys.Evaluation, o.Backend)
	if err != nil {
		return nil, err
	}
	batcher := bootstrap.NewBatcher(engine, o.Workers)
	defer batcher.Close()
	if o.Concurrency == 0 {
		o.Concurrency = batcher.Full()
	}
	eval, err := integer.New(o.Params, batcher)
	if err != nil {
		return nil, err
	}
	r := &Report{
		Parameters: setting.OfParameters(o.Params), CPU: setting.OfCPU(o.Backend), Go: runtime.Version(),
		Concurrency: o.Concurrency, Rounds: o.Rounds,
	}
	for i, op := range o.Ops {
		measured, err := o.time(ctx, eval, keys.Secret, op)
		if err != nil {
			return nil, fmt.Errorf("%v: %w", op, err)
		}
		r.Rows = append(r.Rows, measured)
		if o.Progress != nil {
			o.Progress(i+1, len(o.Ops))
		}
	}
	return r, nil
}

// time runs an operation many times at once.
func (o Options) time(ctx context.Context, eval *integer.Evaluator, sk *fhe.SecretKey, op integer.Op) (Row, error) {
	in, ok := operands(op, o.Type, false)
	if !ok {
		return Row{}, fmt.Errorf("%v is not timed", op)
	}
	for i, operand := range in {
		if v, ok := operand.(*integer.Value); ok {
			x := new(big.Int).Rsh(plaintext(v.Type).Big(), uint(i))
			list, err := integer.Encrypt(o.Params, sk.ID(), sk, fhe.NewSeed(), integer.PlainBig(v.Type, x))
			if err != nil {
				return Row{}, err
			}
			in[i] = list.Value(0)
		}
	}
	cost, err := eval.Using(o.Strategy).Cost(op, in...)
	if err != nil {
		return Row{}, err
	}
	other := integer.Latency
	if o.Strategy == integer.Latency {
		other = integer.Throughput
	}
	want, err := eval.Using(other).Apply(ctx, op, in...)
	if err != nil {
		return Row{}, err
	}
	times := make([]float64, o.Rounds*o.Concurrency)
	failures := make(chan error, len(times))
	start := time.Now()
	for round := range o.Rounds {
		var wg sync.WaitGroup
		for i := range o.Concurrency {
			wg.Go(func() {
				begin := time.Now()
				got, err := eval.Using(o.Strategy).Apply(ctx, op, in...)
				times[round*o.Concurrency+i] = time.Since(begin).Seconds()
				if err == nil && integer.Decrypt(sk, got).String() != integer.Decrypt(sk, want).String() {
					err = fmt.Errorf("%v with one strategy, %v with the other", integer.Decrypt(sk, got), integer.Decrypt(sk, want))
				}
				if err != nil {
					failures <- err
				}
			})
		}
		wg.Wait()
		select {
		case err := <-failures:
			return Row{}, err
		default:
		}
	}
	took := time.Since(start).Seconds()
	slices.Sort(times)
	out := row(op, o.Type, o.Strategy, false, cost)
	out.Seconds = Times{times[0], times[len(times)/2], times[len(times)-1]}
	out.PerSecond = float64(len(times)) / took
	return out, nil
}

// Markdown writes the report as a table.
func (r *Report) Markdown(w io.Writer) error {
	p := &printer{w: w}
	if r.Rounds == 0 {
		p.printf("Bootstraps and depth of operations on encrypted integers, parameters %s. Budgets are for the fewest bootstraps; a\ntransfer is ge, select, sub and add.\n\n", r.Parameters.Name)
		p.budgetTable(r.Budgets)
		p.printf("\nEvery operation; lists have ten elements, look-ups eight bits and the type of the result.\n\n")
		p.printf("| operation | last operand | type | throughput: bootstraps | depth | latency: bootstraps | depth |\n|---|---|---|---|---|---|---|\n")
		for i := 0; i+1 < len(r.Rows); i += 2 {
			a, b := r.Rows[i], r.Rows[i+1]
			p.printf("| %s | %s | %s | %d | %d | %d | %d |\n", a.Op, a.Operands, a.Type, a.Cost.Bootstraps, a.Cost.Depth, b.Cost.Bootstraps, b.Cost.Depth)
		}
		return p.err
	}
	p.printf("%s, %s, %s, %s; %d at a time, %d rounds. Per operation is the wall time divided by the operations done in it.\n\n",
		r.CPU.Model, r.CPU.Backend, r.Go, r.Parameters.Name, r.Concurrency, r.Rounds)
	p.printf("| operation | type | strategy | bootstraps | per operation | each, median | operations per second |\n|---|---|---|---|---|---|---|\n")
	for _, row := range r.Rows {
		p.printf("| %s | %s | %s | %d | %.1f ms | %.1f ms | %.2f |\n", row.Op, row.Type, row.Strategy, row.Cost.Bootstraps, 1e3/row.PerSecond, 1e3*row.Seconds.Median, row.PerSecond)
	}
	return p.err
}

type printer struct {
	w   io.Writer
	err error
}

func (p *printer) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}
