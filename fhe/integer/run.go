package integer

import (
	"slices"

	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/noise"
)

// run is one evaluation of one operation. With boundsOnly its ciphertexts are
// nothing but bounds, and the decisions it takes, which depend on bounds alone,
// are those of a real run on clean operands.
type run struct {
	params     *fhe.Parameters
	tables     *tables
	boot       func([]fhe.PBS) error
	boundsOnly bool
}

// apply runs an operation on operands that have been checked. The blocks it
// returns are its caller's; those without a Value are constants.
func (r *run) apply(op Op, in [][]fhe.LWE) ([]fhe.LWE, error) {
	switch op {
	case OpAdd:
		return r.ripple(in[0], in[1], false)
	case OpSub:
		return r.ripple(in[0], in[1], true)
	case OpNeg:
		return r.ripple(constants(make([]int64, len(in[0]))), in[0], true)
	case OpEq, OpNe:
		if len(in[0]) == 1 { // Bool
			return r.bitwise(op, in[0], in[1])
		}
		return r.equal(op == OpEq, in[0], in[1])
	case OpLt, OpLe, OpGt, OpGe:
		return r.compare(op, in[0], in[1])
	case OpNot:
		top := int64(3)
		if len(in[0]) == 1 { // Bool
			top = 1
		}
		return r.not(in[0], top), nil
	case OpSelect:
		return r.choose(in[0][0], in[1], in[2])
	}
	return r.bitwise(op, in[0], in[1])
}

// constant is a block of known message. Nothing reads its residues, and it gets
// them only in a result.
func constant(m int64) fhe.LWE { return fhe.LWE{Bound: noise.Bound{Min: m, Max: m}} }

func constants(digits []int64) []fhe.LWE {
	out := make([]fhe.LWE, len(digits))
	for i, m := range digits {
		out[i] = constant(m)
	}
	return out
}

// isConstant says that the message of a block is public, whatever its error.
func isConstant(x fhe.LWE) bool { return x.Bound.Min == x.Bound.Max }

// linear is Σ Weight·LWE + c. Constants fold into c, and a ciphertext that
// nothing is done to comes back as it is.
func (r *run) linear(c int64, terms ...fhe.Term) fhe.LWE {
	kept := make([]fhe.Term, 0, len(terms))
	for _, t := range terms {
		if isConstant(t.LWE) {
			c += t.Weight * t.LWE.Bound.Min
		} else {
			kept = append(kept, t)
		}
	}
	switch {
	case len(kept) == 0:
		return constant(c)
	case len(kept) == 1 && kept[0].Weight == 1 && c == 0:
		return kept[0].LWE
	case r.boundsOnly:
		bounds := make([]noise.Term, len(kept))
		for i, t := range kept {
			bounds[i] = noise.Term{Weight: t.Weight, Bound: t.LWE.Bound}
		}
		return fhe.LWE{Bound: noise.Combine(c, bounds...)}
	}
	return r.params.Combine(c, kept...)
}

// quiet says that a ciphertext may enter a bootstrap as far as noise goes.
func (r *run) quiet(x fhe.LWE) bool { return x.Bound.Variance <= r.params.MaxVariance() }

// fits says that a combination may enter a bootstrap even if all its errors are
// the same.
func (r *run) fits(terms ...fhe.Term) bool {
	bounds := make([]noise.Term, len(terms))
	for i, t := range terms {
		bounds[i] = noise.Term{Weight: t.Weight, Bound: t.LWE.Bound}
	}
	return noise.Correlated(bounds...) <= r.params.MaxVariance()
}

// batch collects bootstraps that do not depend on each other.
type batch struct {
	tasks []fhe.PBS
	done  []func(out []fhe.LWE)
}

// add puts one bootstrap into the batch; done receives its outputs.
func (b *batch) add(in fhe.LWE, lut *fhe.LUT, done func(out []fhe.LWE)) {
	b.tasks = append(b.tasks, fhe.PBS{In: in, LUT: lut, Out: make([]fhe.LWE, lut.Outputs())})
	b.done = append(b.done, done)
}

// to puts one bootstrap with one output into the batch.
func (b *batch) to(dst *fhe.LWE, in fhe.LWE, lut *fhe.LUT) {
	b.add(in, lut, func(out []fhe.LWE) { *dst = out[0] })
}

// bootstrap runs a batch, if there is anything in it.
func (r *run) bootstrap(b *batch) error {
	if len(b.tasks) == 0 {
		return nil
	}
	if err := r.boot(b.tasks); err != nil {
		return err
	}
	for i, t := range b.tasks {
		b.done[i](t.Out)
	}
	return nil
}

// refresh puts into the batch what makes a ciphertext as quiet as a bootstrap
// output, if it is not.
func (r *run) refresh(b *batch, x *fhe.LWE) {
	if old := x.Bound; old.Variance > r.params.BootstrapVariance() {
		b.add(*x, r.tables.identity, func(out []fhe.LWE) {
			*x = out[0]
			x.Bound.Min, x.Bound.Max = old.Min, old.Max
		})
	}
}

// refreshPairs returns a and b with the blocks refreshed for which the
// combination wa·a + wb·b + more does not fit.
func (r *run) refreshPairs(a, b []fhe.LWE, wa, wb int64, more ...fhe.Term) ([]fhe.LWE, []fhe.LWE, error) {
	a, b = slices.Clone(a), slices.Clone(b)
	var todo batch
	for i := range a {
		if !r.fits(append([]fhe.Term{{Weight: wa, LWE: a[i]}, {Weight: wb, LWE: b[i]}}, more...)...) {
			r.refresh(&todo, &a[i])
			r.refresh(&todo, &b[i])
		}
	}
	return a, b, r.bootstrap(&todo)
}
