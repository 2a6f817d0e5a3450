package integer

import (
	"context"
	"errors"
	"fmt"

	"github.com/tacit-fhe/tacit/fhe"
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
	params   *fhe.Parameters
	boot     Bootstrapper
	tables   *tables
	strategy Strategy
}

// Strategy is what an evaluator spends least of. The plaintext of a result is
// the same with either, its ciphertexts are not, and each is deterministic.
type Strategy uint8

const (
	// Throughput spends the fewest bootstraps: for machines that are busy.
	Throughput Strategy = iota
	// Latency takes the fewest rounds of bootstraps that wait for each other:
	// for machines with many idle lanes.
	Latency
)

// String returns the name of the strategy.
func (s Strategy) String() string {
	switch s {
	case Throughput:
		return "throughput"
	case Latency:
		return "latency"
	}
	return fmt.Sprintf("strategy %d", uint8(s))
}

// New returns an evaluator for a parameter set with 2 message and 2 carry bits,
// whose strategy is Throughput.
// For others the error is a *fhe.ParametersError.
func New(params *fhe.Parameters, boot Bootstrapper) (*Evaluator, error) {
	if err := checkParameters(params); err != nil {
		return nil, err
	}
	t, err := newTables(params)
	if err != nil {
		return nil, err
	}
	return &Evaluator{params: params, boot: boot, tables: t}, nil
}

// Parameters returns the parameter set of the values.
func (e *Evaluator) Parameters() *fhe.Parameters { return e.params }

// Using returns the evaluator with another strategy.
func (e *Evaluator) Using(s Strategy) *Evaluator {
	using := *e
	using.strategy = s
	return &using
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

// Mul returns a · b modulo 2^Bits.
func (e *Evaluator) Mul(ctx context.Context, a, b Operand) (*Value, error) {
	return e.Apply(ctx, OpMul, a, b)
}

// Div returns floor(a/b), all ones where an encrypted b is 0. For a plaintext 0 the
// error is a *ScalarError.
func (e *Evaluator) Div(ctx context.Context, a, b Operand) (*Value, error) {
	return e.Apply(ctx, OpDiv, a, b)
}

// Rem returns a - b·floor(a/b), a where an encrypted b is 0. For a plaintext 0 the
// error is a *ScalarError.
func (e *Evaluator) Rem(ctx context.Context, a, b Operand) (*Value, error) {
	return e.Apply(ctx, OpRem, a, b)
}

// DivRem returns what Div and Rem return, for little more than one of them.
func (e *Evaluator) DivRem(ctx context.Context, a, b Operand) (quotient, remainder *Value, err error) {
	return e.applyTwo(ctx, OpDivRem, a, b)
}

// Min returns the smaller of a and b.
func (e *Evaluator) Min(ctx context.Context, a, b Operand) (*Value, error) {
	return e.Apply(ctx, OpMin, a, b)
}

// Max returns the greater of a and b.
func (e *Evaluator) Max(ctx context.Context, a, b Operand) (*Value, error) {
	return e.Apply(ctx, OpMax, a, b)
}

// Shl returns a shifted left by b modulo Bits.
func (e *Evaluator) Shl(ctx context.Context, a, b Operand) (*Value, error) {
	return e.Apply(ctx, OpShl, a, b)
}

// Shr returns a shifted right by b modulo Bits.
func (e *Evaluator) Shr(ctx context.Context, a, b Operand) (*Value, error) {
	return e.Apply(ctx, OpShr, a, b)
}

// Rotl returns a rotated left by b modulo Bits.
func (e *Evaluator) Rotl(ctx context.Context, a, b Operand) (*Value, error) {
	return e.Apply(ctx, OpRotl, a, b)
}

// Rotr returns a rotated right by b modulo Bits.
func (e *Evaluator) Rotr(ctx context.Context, a, b Operand) (*Value, error) {
	return e.Apply(ctx, OpRotr, a, b)
}

// Cast returns a as a value of type t: truncated, or extended with zeros. As a
// Bool it is whether a is not 0.
func (e *Evaluator) Cast(ctx context.Context, a Operand, t Type) (*Value, error) {
	return e.Apply(ctx, OpCast, a, To(t))
}

// Rand returns a uniform value that nobody knows and that is the same whenever
// the seed is.
func (e *Evaluator) Rand(ctx context.Context, seed Seed) (*Value, error) {
	return e.Apply(ctx, OpRand, seed)
}

// RandBounded is Rand on [0, bound). The error is a *ScalarError if the bound is
// not a power of two.
func (e *Evaluator) RandBounded(ctx context.Context, seed Seed, bound Scalar) (*Value, error) {
	return e.Apply(ctx, OpRandBounded, seed, bound)
}

// Sum returns the sum of 1 to MaxElements values modulo 2^Bits.
func (e *Evaluator) Sum(ctx context.Context, values ...Operand) (*Value, error) {
	return e.Apply(ctx, OpSum, values...)
}

// IsIn returns the Bool that says whether a equals one of 1 to MaxElements
// elements. Plaintext elements cost little.
func (e *Evaluator) IsIn(ctx context.Context, a Operand, elements ...Operand) (*Value, error) {
	return e.Apply(ctx, OpIsIn, append([]Operand{a}, elements...)...)
}

// MulDiv returns floor(a·b/d) modulo 2^Bits; the product does not wrap. For a d
// of 0 the error is a *ScalarError.
func (e *Evaluator) MulDiv(ctx context.Context, a, b Operand, d Scalar) (*Value, error) {
	return e.Apply(ctx, OpMulDiv, a, b, d)
}

// AddOverflow returns a + b modulo 2^Bits and the Bool a + b ≥ 2^Bits.
func (e *Evaluator) AddOverflow(ctx context.Context, a, b Operand) (sum, overflow *Value, err error) {
	return e.applyTwo(ctx, OpAddOverflow, a, b)
}

// SubOverflow returns a - b modulo 2^Bits and the Bool a < b.
func (e *Evaluator) SubOverflow(ctx context.Context, a, b Operand) (difference, overflow *Value, err error) {
	return e.applyTwo(ctx, OpSubOverflow, a, b)
}

// MulOverflow returns a · b modulo 2^Bits and the Bool a · b ≥ 2^Bits.
func (e *Evaluator) MulOverflow(ctx context.Context, a, b Operand) (product, overflow *Value, err error) {
	return e.applyTwo(ctx, OpMulOverflow, a, b)
}

// Lookup returns the value of a function of a Bool or a Uint8.
func (e *Evaluator) Lookup(ctx context.Context, a Operand, table *Table) (*Value, error) {
	return e.Apply(ctx, OpLookup, a, table)
}

// Lookup2 returns the value of a function of the lower four bits of two Uint8.
func (e *Evaluator) Lookup2(ctx context.Context, a, b Operand, table *Table) (*Value, error) {
	return e.Apply(ctx, OpLookup2, a, b, table)
}

// Trivial returns the noiseless ciphertexts of a plaintext, which anyone can
// read. The error is a *RangeError.
func (e *Evaluator) Trivial(s Scalar) (*Value, error) {
	return e.trivial(s, false)
}

func (e *Evaluator) trivial(s Scalar, outlines bool) (*Value, error) {
	if !s.fits() {
		return nil, &RangeError{0, s.typ, s.x}
	}
	r := &run{params: e.params, outlines: outlines}
	return r.value(s.typ, constants(s.digits())), nil
}

// Apply runs one operation and returns its result, the first where there are
// two. Any value may be a plaintext; where they all are, so is the result, as a
// trivial ciphertext. The error is a *TypeError, *RangeError, *ScalarError or
// *ValueError, or comes from the Bootstrapper or the context.
func (e *Evaluator) Apply(ctx context.Context, op Op, operands ...Operand) (*Value, error) {
	out, err := e.ApplyAll(ctx, op, operands...)
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// ApplyAll is Apply for all results.
func (e *Evaluator) ApplyAll(ctx context.Context, op Op, operands ...Operand) ([]*Value, error) {
	c, err := newCall(op, operands)
	if err != nil {
		return nil, err
	}
	for i, o := range operands {
		if v, ok := o.(*Value); ok {
			if err := e.check(i, v); err != nil {
				return nil, err
			}
			c.in[i] = v.Blocks
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r := &run{
		params: e.params, tables: e.tables, strategy: e.strategy,
		boot: func(tasks []fhe.PBS) error { return e.boot.Bootstrap(ctx, tasks) },
	}
	blocks, err := r.apply(c)
	if err != nil {
		return nil, fmt.Errorf("%v: %w", op, err)
	}
	return r.values(c, blocks), nil
}

func (e *Evaluator) applyTwo(ctx context.Context, op Op, operands ...Operand) (first, second *Value, err error) {
	out, err := e.ApplyAll(ctx, op, operands...)
	if err != nil {
		return nil, nil, err
	}
	return out[0], out[1], nil
}

// call is an operation with its operands. Blocks of ciphertexts are filled in by
// who made it.
type call struct {
	op      Op
	in      [][]fhe.LWE // blocks of values, nothing of other operands
	results []Type
	seed    [fhe.SeedSize]byte
	table   *Table
}

// newCall checks the operands of an operation but for the ciphertexts.
func newCall(op Op, operands []Operand) (*call, error) {
	types := make([]Type, len(operands))
	for i, o := range operands {
		missing := o == nil
		switch o := o.(type) {
		case *Value:
			missing = o == nil
		case *Table:
			missing = o == nil
		}
		if missing {
			return nil, &TypeError{op, i, "is nil"}
		}
		types[i] = o.operandType()
	}
	results, err := op.Results(types...)
	if err != nil {
		return nil, err
	}
	c := &call{op: op, in: make([][]fhe.LWE, len(operands)), results: results}
	for i, o := range operands {
		if err := op.checkKind(i, o); err != nil {
			return nil, err
		}
		switch o := o.(type) {
		case Scalar:
			if !o.fits() {
				return nil, &RangeError{i, o.typ, o.x}
			}
			if err := op.checkScalar(i, o); err != nil {
				return nil, err
			}
			c.in[i] = constants(o.digits())
		case Seed:
			c.seed = o.Bytes
		case *Table:
			want := 1 << 8
			if types[0] == Bool {
				want = 2
			}
			if len(o.values) != want {
				return nil, &TypeError{op, i, fmt.Sprintf("the table has %d values, not %d", len(o.values), want)}
			}
			c.table = o
		}
	}
	return c, nil
}

// checkScalar refuses plaintexts that only the operation minds.
func (op Op) checkScalar(i int, s Scalar) error {
	switch op {
	case OpDiv, OpRem, OpDivRem, OpMulDiv:
		if i == op.Operands()-1 && s.x.Sign() == 0 {
			return &ScalarError{op, i, s.x, "is no divisor"}
		}
	case OpRandBounded:
		if s.x.Sign() == 0 || int(s.x.TrailingZeroBits()) != s.x.BitLen()-1 {
			return &ScalarError{op, i, s.x, "is not a power of two"}
		}
	}
	return nil
}

// check refuses a value that cannot be computed on.
func (e *Evaluator) check(operand int, v *Value) error {
	if len(v.Blocks) != v.Type.Blocks() {
		return &ValueError{operand, len(v.Blocks), fmt.Errorf("%v has %d blocks", v.Type, v.Type.Blocks())}
	}
	for i, b := range v.Blocks {
		err := e.checkBound(v.Type, b)
		if len(b.Value) != e.params.BigDimension()+1 {
			err = fmt.Errorf("the ciphertext has %d residues, not %d", len(b.Value), e.params.BigDimension()+1)
		}
		if err != nil {
			return &ValueError{operand, i, err}
		}
	}
	return nil
}

// checkBound refuses a block with a bound that no block of the type may have.
func (e *Evaluator) checkBound(t Type, b fhe.LWE) error {
	if b.Bound.Variance < 0 || b.Bound.Min > b.Bound.Max {
		return errors.New("the bound is not one")
	}
	return e.params.CheckInput(b.Bound, 0, t.blockMax())
}
