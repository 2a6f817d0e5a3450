package integer

import (
	"errors"
	"iter"
	"slices"

	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/noise"
)

// run is one evaluation of one operation. In an estimate its ciphertexts are
// outlines; the decisions it takes are those of a run on ciphertexts.
type run struct {
	params   *fhe.Parameters
	tables   *tables
	boot     func([]fhe.PBS) error
	outlines bool
	strategy Strategy
}

// apply runs an operation on operands that have been checked. The blocks it
// returns are its caller's; those without a Value are constants.
func (r *run) apply(c *call) ([][]fhe.LWE, error) {
	in := c.in
	switch c.op {
	case OpAdd, OpSum:
		return one(r.addUp(in))
	case OpSub:
		return r.add(in[0], in[1], -1, false)
	case OpNeg:
		return r.add(constants(make([]int64, len(in[0]))), in[0], -1, false)
	case OpAddOverflow:
		return r.add(in[0], in[1], 1, true)
	case OpSubOverflow:
		return r.add(in[0], in[1], -1, true)
	case OpMul, OpMulOverflow:
		return r.multiply(in[0], in[1], c.op == OpMulOverflow)
	case OpDiv, OpRem, OpDivRem:
		return r.divide(c.op, in[0], in[1])
	case OpMulDiv:
		return one(r.multiplyDivide(in[0], in[1], plaintext(in[2])))
	case OpMin, OpMax:
		return one(r.extreme(c.op, in[0], in[1]))
	case OpShl, OpShr, OpRotl, OpRotr:
		return one(r.shift(c.op, in[0], in[1]))
	case OpCast:
		return one(r.cast(in[0], c.results[0]))
	case OpRand, OpRandBounded:
		return one(r.random(c))
	case OpIsIn:
		return one(r.isIn(in[0], in[1:]))
	case OpLookup:
		return one(r.lookup(in[0], c.table))
	case OpLookup2:
		return one(r.lookup(slices.Concat(in[1][:2], in[0][:2]), c.table))
	case OpEq, OpNe:
		if len(in[0]) == 1 { // Bool
			return one(r.bitwise(c.op, in[0], in[1]))
		}
		return one(r.equal(c.op == OpEq, in[0], in[1]))
	case OpLt, OpLe, OpGt, OpGe:
		return one(r.compare(c.op, in[0], in[1]))
	case OpNot:
		top := int64(3)
		if len(in[0]) == 1 { // Bool
			top = 1
		}
		return one(r.not(in[0], top), nil)
	case OpSelect:
		return one(r.choose(in[0][0], in[1], in[2]))
	}
	return one(r.bitwise(c.op, in[0], in[1]))
}

func one(blocks []fhe.LWE, err error) ([][]fhe.LWE, error) { return [][]fhe.LWE{blocks}, err }

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

// linear is Σ Weight·LWE + c. Constants fold into c, a ciphertext that nothing is
// done to comes back as it is, and one whose terms cancel is a constant: its mask
// is zero, and anyone can read it.
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
	}
	out := r.params.Combine(c, kept...)
	mask, body := out.Value[:len(out.Value)-1], out.Value[len(out.Value)-1]
	if slices.ContainsFunc(mask, func(x uint64) bool { return x != 0 }) {
		return out
	}
	m := r.params.Decode(body)
	if m < out.Bound.Min {
		m += 2 * int64(r.params.Boxes())
	}
	if m < out.Bound.Min || m > out.Bound.Max { // a message modulo the torus
		return out
	}
	return constant(m)
}

// trivial is a block of known message with residues.
func (r *run) trivial(m int64) fhe.LWE {
	if r.outlines {
		return fhe.LWE{Value: []uint64{0, r.params.Encode(m)}, Bound: noise.Bound{Min: m, Max: m}}
	}
	return r.params.Trivial(m)
}

// solid is a block that can be bootstrapped even if it is public.
func (r *run) solid(x fhe.LWE) fhe.LWE {
	if x.Value == nil {
		return r.trivial(x.Bound.Min)
	}
	return x
}

// values are the results of a call.
func (r *run) values(c *call, blocks [][]fhe.LWE) []*Value {
	out := make([]*Value, len(blocks))
	for i, b := range blocks {
		out[i] = r.value(c.results[i], b)
	}
	return out
}

// value makes ciphertexts of the blocks that came out constant.
func (r *run) value(t Type, blocks []fhe.LWE) *Value {
	for i := range blocks {
		blocks[i] = r.solid(blocks[i])
	}
	return &Value{t, blocks}
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

// batch collects bootstraps that do not depend on each other. Those of constants
// are not run.
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

// together runs parts that do not depend on each other, a round of bootstraps of
// all of them at a time. The first error of a part ends them all.
func (r *run) together(parts ...func(r *run) error) error {
	type running struct {
		next func() ([]fhe.PBS, bool)
		err  error // of the part
	}
	errEnded := errors.New("integer: another part has failed")
	var failed error // of the round before
	all := make([]running, len(parts))
	for i, part := range parts {
		next, stop := iter.Pull(func(yield func([]fhe.PBS) bool) {
			sub := *r
			sub.boot = func(tasks []fhe.PBS) error {
				if !yield(tasks) {
					return errEnded
				}
				return failed
			}
			all[i].err = part(&sub)
		})
		defer stop()
		all[i].next = next
	}
	for {
		var round []fhe.PBS
		var waiting [][]fhe.PBS
		for i := range all {
			tasks, ok := all[i].next()
			if all[i].err != nil {
				return all[i].err
			}
			if ok {
				waiting = append(waiting, tasks)
				round = append(round, tasks...)
			}
		}
		if len(waiting) == 0 {
			return nil
		}
		failed = r.boot(round)
		for _, tasks := range waiting {
			copy(tasks, round)
			round = round[len(tasks):]
		}
	}
}

// bootstrap runs a batch, if there is anything in it.
func (r *run) bootstrap(b *batch) error {
	if len(b.tasks) == 0 {
		return nil
	}
	tasks := make([]fhe.PBS, 0, len(b.tasks))
	for _, t := range b.tasks {
		if !foretold(t) {
			tasks = append(tasks, t)
		}
	}
	if len(tasks) > 0 {
		if err := r.boot(tasks); err != nil {
			return err
		}
	}
	for i, t := range b.tasks {
		if !foretold(t) {
			t, tasks = tasks[0], tasks[1:]
		}
		b.done[i](t.Out)
	}
	return nil
}

// foretold fills in the outputs of a bootstrap of a constant.
func foretold(t fhe.PBS) bool {
	if !isConstant(t.In) {
		return false
	}
	for i := range t.Out {
		y, ok := t.LUT.At(i, t.In.Bound.Min)
		if !ok {
			return false
		}
		t.Out[i] = constant(y)
	}
	return true
}

// refresh puts into the batch what makes a ciphertext as quiet as a bootstrap
// output, if it is not.
func (r *run) refresh(b *batch, x *fhe.LWE) {
	if x.Bound.Variance > r.params.BootstrapVariance() {
		r.renew(b, x)
	}
}

// renew puts into the batch the bootstrap that changes nothing but the error.
func (r *run) renew(b *batch, x *fhe.LWE) {
	old := x.Bound
	b.add(*x, r.tables.identity, func(out []fhe.LWE) {
		*x = out[0]
		x.Bound.Min, x.Bound.Max = old.Min, old.Max
	})
}

// refreshFor puts into the batch what makes a ciphertext quiet, and independent
// of all others, if it is too noisy to be weighted and added to another such term.
func (r *run) refreshFor(b *batch, x *fhe.LWE, weight int64) {
	if term := (fhe.Term{Weight: weight, LWE: *x}); isConstant(*x) || r.fits(term, term) {
		return
	}
	if x.Bound.Source != 0 {
		r.refresh(b, x)
	} else {
		r.renew(b, x)
	}
}

// refreshAll returns a with refreshFor done to all blocks.
func (r *run) refreshAll(a []fhe.LWE, weight int64) ([]fhe.LWE, error) {
	a = slices.Clone(a)
	var todo batch
	for i := range a {
		r.refreshFor(&todo, &a[i], weight)
	}
	return a, r.bootstrap(&todo)
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
