// Package boolean computes on encrypted bits, gate by gate, for circuits that
// come as netlists. It is for parameter sets without carries, such as
// tacit-bool-v1, whose bootstraps are the cheapest there are; numbers are better
// off in package integer.
//
// A bit is one ciphertext of 0 or 1. The torus has four boxes and a table is
// negacyclic, F(m + 2) = -F(m). What is 0 or 1 is so with a bias of 1/2: the sum
// of two bits in 0..2 carries and, or and their complements, twice the sum, which
// is 0 or 2 modulo 4, carries xor. Every gate but Not is one bootstrap, Mux two.
// What is public of the inputs, or that two of them are the same bit or one the
// complement of the other, is used before anything is bootstrapped.
//
// What may not enter here: running bootstraps (package bootstrap), words of bits.
package boolean

import (
	"context"
	"fmt"
	"slices"

	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/noise"
)

// Op names a gate.
type Op uint8

// The gates. Mux takes a condition and two bits and yields the first of them if
// the condition is 1.
const (
	And Op = iota
	Or
	Xor
	Nand
	Nor
	Xnor
	Not
	Mux
	opCount
)

var opNames = [opCount]string{"and", "or", "xor", "nand", "nor", "xnor", "not", "mux"}

// String returns the name of the gate, such as nand.
func (op Op) String() string {
	if op < opCount {
		return opNames[op]
	}
	return fmt.Sprintf("gate %d", uint8(op))
}

// ParseOp returns the gate with the given name.
func ParseOp(name string) (Op, error) {
	for op, n := range opNames {
		if n == name {
			return Op(op), nil
		}
	}
	return 0, fmt.Errorf("no gate is named %q", name)
}

// Valid says whether op is one of the gates.
func (op Op) Valid() bool { return op < opCount }

// Inputs is the number of bits that the gate takes.
func (op Op) Inputs() int {
	switch op {
	case Not:
		return 1
	case Mux:
		return 3
	}
	return 2
}

// Bootstraps is what the gate costs, with different inputs that are encryptions or
// come from gates of one bootstrap. What comes from a Mux may be bootstrapped once
// more before its next gate. With a public input, or one twice, a gate costs
// nothing, and Mux with a public bit one bootstrap.
func (op Op) Bootstraps() int {
	switch op {
	case Not:
		return 0
	case Mux:
		return 2
	}
	return 1
}

// Gate is one gate of a circuit.
type Gate struct {
	Op Op
	In []fhe.LWE // Op.Inputs() bits, with message bounds within 0..1
}

// GateError refuses a gate, counted from 0.
type GateError struct {
	Gate   int
	Op     Op
	Reason string
	Err    error // *noise.NoiseError or *noise.MessageError where a bound is the reason
}

func (e *GateError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("gate %d (%v): %s: %v", e.Gate, e.Op, e.Reason, e.Err)
	}
	return fmt.Sprintf("gate %d (%v): %s", e.Gate, e.Op, e.Reason)
}

func (e *GateError) Unwrap() error { return e.Err }

// Bootstrapper runs programmable bootstraps, see integer.Bootstrapper.
type Bootstrapper interface {
	Bootstrap(ctx context.Context, tasks []fhe.PBS) error
}

// Evaluator computes gates. It is immutable and safe for concurrent use if its
// Bootstrapper is.
type Evaluator struct {
	params    *fhe.Parameters
	boot      Bootstrapper
	identity  *fhe.LUT
	gates     [Not]gate // of two bits
	then      gate      // c and a
	otherwise gate      // not c and b
}

// gate is a look-up of weights·inputs.
type gate struct {
	weights [2]int64
	lut     *fhe.LUT
}

// New returns an evaluator for a parameter set with one message bit and no carry
// bits. For others the error is a *fhe.ParametersError.
func New(params *fhe.Parameters, boot Bootstrapper) (*Evaluator, error) {
	l := params.Literal()
	if l.MessageBits != 1 || l.CarryBits != 0 {
		return nil, &fhe.ParametersError{
			Name: l.Name, Field: "MessageBits",
			Reason: fmt.Sprintf("gates need blocks of 1+0 bits, not %d+%d", l.MessageBits, l.CarryBits),
		}
	}
	e := &Evaluator{params: params, boot: boot}
	var failed error
	lut := func(lo, hi int64, f func(m int64) int64) *fhe.LUT {
		t, err := params.NewLUT(lo, hi, f)
		if err != nil {
			failed = err
		}
		return t
	}
	e.identity = lut(0, 1, func(m int64) int64 { return m })
	both := func(m int64) int64 { return m >> 1 }       // of a + b
	some := func(m int64) int64 { return (m + 1) >> 1 } // of a + b
	differ := func(m int64) int64 { return m >> 1 & 1 } // of 2a + 2b
	less := func(m int64) int64 { return (m + 1) >> 1 } // of b - c
	not := func(f func(int64) int64) func(int64) int64 { return func(m int64) int64 { return 1 - f(m) } }
	e.gates = [Not]gate{
		And:  {[2]int64{1, 1}, lut(0, 2, both)},
		Or:   {[2]int64{1, 1}, lut(0, 2, some)},
		Xor:  {[2]int64{2, 2}, lut(0, 4, differ)},
		Nand: {[2]int64{1, 1}, lut(0, 2, not(both))},
		Nor:  {[2]int64{1, 1}, lut(0, 2, not(some))},
		Xnor: {[2]int64{2, 2}, lut(0, 4, not(differ))},
	}
	e.then = e.gates[And]
	e.otherwise = gate{[2]int64{-1, 1}, lut(-1, 1, less)}
	return e, failed
}

// Apply runs gates that do not depend on each other, such as a level of a circuit,
// and returns their outputs. Inputs that are too noisy for their gate, or that
// share an error with another one, are bootstrapped first, all in one round. The
// error is a *GateError, or comes from the Bootstrapper or the context.
func (e *Evaluator) Apply(ctx context.Context, gates ...Gate) ([]fhe.LWE, error) {
	var fresh, tasks []fhe.PBS
	var patch []func()
	out := make([]fhe.LWE, len(gates))
	simple := make([]Gate, len(gates))
	in := make([][]fhe.LWE, len(gates))
	for i, g := range gates {
		if err := e.check(i, g); err != nil {
			return nil, err
		}
		g, out[i] = e.simplify(g)
		simple[i] = g
		in[i] = append(in[i], g.In...)
		if !e.fits(g) {
			for j, x := range g.In {
				shared := slices.ContainsFunc(g.In[:j], func(y fhe.LWE) bool { return y.Bound.Source == x.Bound.Source })
				if x.Bound.Variance > e.params.BootstrapVariance() || x.Bound.Variance > 0 && (shared || x.Bound.Source == 0) {
					at := len(fresh)
					fresh = append(fresh, fhe.PBS{In: x, LUT: e.identity, Out: make([]fhe.LWE, 1)})
					patch = append(patch, func() { in[i][j] = fresh[at].Out[0] })
				}
			}
		}
	}
	if err := e.bootstrap(ctx, fresh); err != nil {
		return nil, err
	}
	for _, f := range patch {
		f()
	}
	var done []func()
	look := func(g gate, a, b fhe.LWE) int {
		x := e.params.Combine(0, fhe.Term{Weight: g.weights[0], LWE: a}, fhe.Term{Weight: g.weights[1], LWE: b})
		tasks = append(tasks, fhe.PBS{In: x, LUT: g.lut, Out: make([]fhe.LWE, 1)})
		return len(tasks) - 1
	}
	for i, g := range simple {
		switch x := in[i]; {
		case x == nil: // there is nothing left to do
		case g.Op == Mux:
			a, b := look(e.then, x[0], x[1]), look(e.otherwise, x[0], x[2])
			done = append(done, func() { out[i] = e.either(tasks[a].Out[0], tasks[b].Out[0]) })
		default:
			at := look(e.gates[g.Op], x[0], x[1])
			done = append(done, func() { out[i] = tasks[at].Out[0] })
		}
	}
	if err := e.bootstrap(ctx, tasks); err != nil {
		return nil, err
	}
	for _, f := range done {
		f()
	}
	return out, nil
}

// truths are the gates of two bits.
var truths = [Not]func(a, b int64) int64{
	And:  func(a, b int64) int64 { return a & b },
	Or:   func(a, b int64) int64 { return a | b },
	Xor:  func(a, b int64) int64 { return a ^ b },
	Nand: func(a, b int64) int64 { return 1 ^ a&b },
	Nor:  func(a, b int64) int64 { return 1 ^ (a | b) },
	Xnor: func(a, b int64) int64 { return 1 ^ a ^ b },
}

// simplify returns a gate with the same output that needs fewer bootstraps, if
// there is one, or no gate and the output where none is needed.
func (e *Evaluator) simplify(g Gate) (Gate, fhe.LWE) {
	switch g.Op {
	case Not:
		return Gate{}, e.not(g.In[0])
	case Mux:
		return e.simplifyMux(g)
	}
	f, a, b := truths[g.Op], g.In[0], g.In[1]
	if public(a) {
		a, b = b, a // every gate is symmetric
	}
	// What the gate is of a alone, given what b is of it.
	of := func(b func(a int64) int64) (Gate, fhe.LWE) {
		switch zero, one := f(0, b(0)), f(1, b(1)); {
		case zero == one:
			return Gate{}, e.params.Trivial(zero)
		case public(a):
			return Gate{}, e.params.Trivial(f(a.Bound.Min, b(a.Bound.Min)))
		case one == 1:
			return Gate{}, a
		}
		return Gate{}, e.not(a)
	}
	switch {
	case public(b):
		return of(func(int64) int64 { return b.Bound.Min })
	case same(a, b):
		return of(func(a int64) int64 { return a })
	case same(a, e.not(b)):
		return of(func(a int64) int64 { return 1 - a })
	}
	return g, fhe.LWE{}
}

// simplifyMux is simplify of a Mux: a where c is 1, else b.
func (e *Evaluator) simplifyMux(g Gate) (Gate, fhe.LWE) {
	c, a, b := g.In[0], g.In[1], g.In[2]
	notC := e.not(c)
	gate := func(op Op, x, y fhe.LWE) (Gate, fhe.LWE) { return e.simplify(Gate{op, []fhe.LWE{x, y}}) }
	switch {
	case public(c) && c.Bound.Min == 1 || same(a, b):
		return Gate{}, a
	case public(c):
		return Gate{}, b
	case public(a) && a.Bound.Min == 1 || same(a, c):
		return gate(Or, c, b)
	case public(a) || same(a, notC):
		return gate(And, notC, b)
	case public(b) && b.Bound.Min == 0 || same(b, c):
		return gate(And, c, a)
	case public(b) || same(b, notC):
		return gate(Or, notC, a)
	case same(a, e.not(b)):
		return gate(Xnor, c, a)
	}
	return g, fhe.LWE{}
}

// public says that the message of a bit is known.
func public(x fhe.LWE) bool { return x.Bound.Min == x.Bound.Max }

// same says that two bits are one ciphertext, or one message.
func same(x, y fhe.LWE) bool {
	if public(x) || public(y) {
		return x.Bound.Min == y.Bound.Min && x.Bound.Max == y.Bound.Max
	}
	return slices.Equal(x.Value, y.Value)
}

// not is 1 - x.
func (e *Evaluator) not(x fhe.LWE) fhe.LWE {
	if public(x) {
		return e.params.Trivial(1 - x.Bound.Min)
	}
	return e.params.Combine(1, fhe.Term{Weight: -1, LWE: x})
}

// either is the sum of two bits of which one at most is 1, and which are used
// nowhere else, so that its error is independent of all others.
func (e *Evaluator) either(a, b fhe.LWE) fhe.LWE {
	out := e.params.Combine(0, fhe.Term{Weight: 1, LWE: a}, fhe.Term{Weight: 1, LWE: b})
	out.Bound.Max, out.Bound.Source = 1, a.Bound.Source
	return out
}

func (e *Evaluator) bootstrap(ctx context.Context, tasks []fhe.PBS) error {
	if len(tasks) == 0 {
		return ctx.Err()
	}
	return e.boot.Bootstrap(ctx, tasks)
}

// check refuses a gate that cannot be computed.
func (e *Evaluator) check(i int, g Gate) error {
	if !g.Op.Valid() {
		return &GateError{i, g.Op, "there is no such gate", nil}
	}
	if len(g.In) != g.Op.Inputs() {
		return &GateError{i, g.Op, fmt.Sprintf("has %d inputs, not %d", len(g.In), g.Op.Inputs()), nil}
	}
	for j, x := range g.In {
		if len(x.Value) != e.params.BigDimension()+1 {
			return &GateError{i, g.Op, fmt.Sprintf("input %d has %d residues, not %d", j, len(x.Value), e.params.BigDimension()+1), nil}
		}
		if err := e.params.CheckInput(x.Bound, 0, 1); err != nil {
			return &GateError{i, g.Op, fmt.Sprintf("input %d", j), err}
		}
	}
	return nil
}

// fits says that the sums of a gate may enter a bootstrap.
func (e *Evaluator) fits(g Gate) bool {
	fits := func(t gate, a, b fhe.LWE) bool {
		bound := noise.Combine(0, noise.Term{Weight: t.weights[0], Bound: a.Bound}, noise.Term{Weight: t.weights[1], Bound: b.Bound})
		return bound.Variance <= e.params.MaxVariance()
	}
	switch {
	case g.In == nil:
		return true
	case g.Op == Mux:
		return fits(e.then, g.In[0], g.In[1]) && fits(e.otherwise, g.In[0], g.In[2])
	}
	return fits(e.gates[g.Op], g.In[0], g.In[1])
}
