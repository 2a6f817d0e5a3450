package integer

import (
	"context"
	"errors"
	"fmt"

	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/noise"
)

// Bootstrapper runs programmable bootstraps. It fills the Out of every task, or
// refuses them all, before it starts, when an input is past the bounds of the
// parameters or of its table (*noise.NoiseError, *noise.MessageError). No task
// depends on another of the same call.
type Bootstrapper interface {
	Bootstrap(ctx context.Context, tasks []fhe.PBS) error
}

// Evaluator computes on encrypted values. It is immutable and safe for
// concurrent use if its Bootstrapper is.
type Evaluator struct {
	params *fhe.Parameters
	boot   Bootstrapper
	tables *tables
}

// New returns an evaluator for a parameter set with 2 message and 2 carry bits.
// For others the error is a *fhe.ParametersError.
func New(params *fhe.Parameters, boot Bootstrapper) (*Evaluator, error) {
	if err := checkParameters(params); err != nil {
		return nil, err
	}
	t, err := newTables(params)
	if err != nil {
		return nil, err
	}
	return &Evaluator{params, boot, t}, nil
}

// checkParameters refuses parameters whose blocks integers are not made of.
func checkParameters(p *fhe.Parameters) error {
	if l := p.Literal(); l.MessageBits != blockBits || l.CarryBits != 2 {
		return &fhe.ParametersError{
			Name: l.Name, Field: "MessageBits",
			Reason: fmt.Sprintf("integers need blocks of 2+2 bits, not %d+%d", l.MessageBits, l.CarryBits),
		}
	}
	return nil
}

// Add returns a + b modulo 2^Bits.
func (e *Evaluator) Add(ctx context.Context, a, b Operand) (*Value, error) {
	return e.Apply(ctx, OpAdd, a, b)
}

// Sub returns a - b modulo 2^Bits.
func (e *Evaluator) Sub(ctx context.Context, a, b Operand) (*Value, error) {
	return e.Apply(ctx, OpSub, a, b)
}

// Neg returns -a modulo 2^Bits.
func (e *Evaluator) Neg(ctx context.Context, a Operand) (*Value, error) {
	return e.Apply(ctx, OpNeg, a)
}

// Eq returns the Bool a = b.
func (e *Evaluator) Eq(ctx context.Context, a, b Operand) (*Value, error) {
	return e.Apply(ctx, OpEq, a, b)
}

// Ne returns the Bool a ≠ b.
func (e *Evaluator) Ne(ctx context.Context, a, b Operand) (*Value, error) {
	return e.Apply(ctx, OpNe, a, b)
}

// Lt returns the Bool a < b.
func (e *Evaluator) Lt(ctx context.Context, a, b Operand) (*Value, error) {
	return e.Apply(ctx, OpLt, a, b)
}

// Le returns the Bool a ≤ b.
func (e *Evaluator) Le(ctx context.Context, a, b Operand) (*Value, error) {
	return e.Apply(ctx, OpLe, a, b)
}

// Gt returns the Bool a > b.
func (e *Evaluator) Gt(ctx context.Context, a, b Operand) (*Value, error) {
	return e.Apply(ctx, OpGt, a, b)
}

// Ge returns the Bool a ≥ b.
func (e *Evaluator) Ge(ctx context.Context, a, b Operand) (*Value, error) {
	return e.Apply(ctx, OpGe, a, b)
}

// And returns the bitwise a AND b.
func (e *Evaluator) And(ctx context.Context, a, b Operand) (*Value, error) {
	return e.Apply(ctx, OpAnd, a, b)
}

// Or returns the bitwise a OR b.
func (e *Evaluator) Or(ctx context.Context, a, b Operand) (*Value, error) {
	return e.Apply(ctx, OpOr, a, b)
}

// Xor returns the bitwise a XOR b.
func (e *Evaluator) Xor(ctx context.Context, a, b Operand) (*Value, error) {
	return e.Apply(ctx, OpXor, a, b)
}

// Not returns the bitwise complement of a.
func (e *Evaluator) Not(ctx context.Context, a Operand) (*Value, error) {
	return e.Apply(ctx, OpNot, a)
}

// Select returns a if the Bool cond is true and b if not.
func (e *Evaluator) Select(ctx context.Context, cond, a, b Operand) (*Value, error) {
	return e.Apply(ctx, OpSelect, cond, a, b)
}

// Trivial returns the noiseless ciphertexts of a plaintext, which anyone can
// read. The error is a *RangeError.
func (e *Evaluator) Trivial(s Scalar) (*Value, error) {
	if !s.fits() {
		return nil, &RangeError{0, s.typ, s.x}
	}
	return e.finish(s.typ, constants(s.digits())), nil
}

// Apply runs one operation. Any operand may be a plaintext; where they all are,
// so is the result, as a trivial ciphertext. The error is a *TypeError,
// *RangeError or *ValueError, or comes from the Bootstrapper or the context.
func (e *Evaluator) Apply(ctx context.Context, op Op, operands ...Operand) (*Value, error) {
	t, err := resultType(op, operands)
	if err != nil {
		return nil, err
	}
	in := make([][]fhe.LWE, len(operands))
	for i, o := range operands {
		if v, ok := o.(*Value); ok {
			if err := e.check(i, v); err != nil {
				return nil, err
			}
			in[i] = v.Blocks
		} else {
			in[i] = constants(o.(Scalar).digits())
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r := &run{
		params: e.params, tables: e.tables,
		boot: func(tasks []fhe.PBS) error { return e.boot.Bootstrap(ctx, tasks) },
	}
	out, err := r.apply(op, in)
	if err != nil {
		return nil, fmt.Errorf("%v: %w", op, err)
	}
	return e.finish(t, out), nil
}

// Cost is what an operation spends.
type Cost struct {
	Bootstraps int
	Depth      int // calls of the Bootstrapper, each after the one before
}

// Cost predicts exactly what Apply spends. Plaintext operands count with their
// value. Of a Value only the type is looked at: its blocks are taken to be
// clean, independent and of unknown message.
func (e *Evaluator) Cost(op Op, operands ...Operand) (Cost, error) {
	if _, err := resultType(op, operands); err != nil {
		return Cost{}, err
	}
	in := make([][]fhe.LWE, len(operands))
	var sources uint64
	for i, o := range operands {
		if v, ok := o.(*Value); ok {
			in[i] = make([]fhe.LWE, v.Type.Blocks())
			for b := range in[i] {
				sources++
				in[i][b].Bound = noise.Bound{Variance: e.params.BootstrapVariance(), Max: v.Type.blockMax(), Source: sources}
			}
		} else {
			in[i] = constants(o.(Scalar).digits())
		}
	}
	var c Cost
	r := &run{
		params: e.params, tables: e.tables, boundsOnly: true,
		boot: func(tasks []fhe.PBS) error {
			c.Bootstraps += len(tasks)
			c.Depth++
			for _, t := range tasks {
				for i := range t.Out {
					sources++
					t.Out[i].Bound = t.LUT.OutputBound(i, e.params.BootstrapVariance(), sources)
				}
			}
			return nil
		},
	}
	_, err := r.apply(op, in)
	return c, err
}

// resultType checks the operands of an operation but for the ciphertexts.
func resultType(op Op, operands []Operand) (Type, error) {
	types := make([]Type, len(operands))
	for i, o := range operands {
		if v, ok := o.(*Value); o == nil || ok && v == nil {
			return 0, &TypeError{op, i, "is nil"}
		}
		types[i] = o.operandType()
	}
	t, err := op.Result(types...)
	if err != nil {
		return 0, err
	}
	for i, o := range operands {
		if s, ok := o.(Scalar); ok && !s.fits() {
			return 0, &RangeError{i, s.typ, s.x}
		}
	}
	return t, nil
}

// check refuses a value that cannot be computed on.
func (e *Evaluator) check(operand int, v *Value) error {
	if len(v.Blocks) != v.Type.Blocks() {
		return &ValueError{operand, len(v.Blocks), fmt.Errorf("%v has %d blocks", v.Type, v.Type.Blocks())}
	}
	for i, b := range v.Blocks {
		err := e.params.CheckInput(b.Bound, 0, v.Type.blockMax())
		switch {
		case len(b.Value) != e.params.BigDimension()+1:
			err = fmt.Errorf("the ciphertext has %d residues, not %d", len(b.Value), e.params.BigDimension()+1)
		case b.Bound.Variance < 0 || b.Bound.Min > b.Bound.Max:
			err = errors.New("the bound is not one")
		}
		if err != nil {
			return &ValueError{operand, i, err}
		}
	}
	return nil
}

// finish makes ciphertexts of the blocks that came out constant.
func (e *Evaluator) finish(t Type, blocks []fhe.LWE) *Value {
	for i, b := range blocks {
		if b.Value == nil {
			blocks[i] = e.params.Trivial(b.Bound.Min)
		}
	}
	return &Value{t, blocks}
}
