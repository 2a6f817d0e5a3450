package integer

import (
	"math/bits"
	"slices"

	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/noise"
)

// not is the complement of every block with respect to its largest message.
func (r *run) not(a []fhe.LWE, top int64) []fhe.LWE {
	out := make([]fhe.LWE, len(a))
	for i, x := range a {
		out[i] = r.linear(top, fhe.Term{Weight: -1, LWE: x})
	}
	return out
}

// bitwise applies an operation of bitOps to every block: one bootstrap of
// 4a + b, of a + b where both are single bits, or of a where b is known.
func (r *run) bitwise(op Op, a, b []fhe.LWE) ([]fhe.LWE, error) {
	f := bitOps[op]
	a, b, err := r.refreshPairs(a, b, 4, 1)
	if err != nil {
		return nil, err
	}
	out := make([]fhe.LWE, len(a))
	var todo batch
	for i := range a {
		x, y := a[i], b[i]
		if isConstant(x) {
			x, y = y, x // every operation is symmetric
		}
		switch {
		case isConstant(y):
			plain := y.Bound.Min
			if done, ok := r.affine(x, func(m int64) int64 { return f(m, plain) }); ok {
				out[i] = done
			} else {
				todo.to(&out[i], x, r.tables.mask[op][plain])
			}
		case x.Bound.Max <= 1 && y.Bound.Max <= 1:
			todo.to(&out[i], r.sum(x, y), r.tables.bit[op])
		default:
			todo.to(&out[i], r.linear(0, fhe.Term{Weight: 4, LWE: x}, fhe.Term{Weight: 1, LWE: y}), r.tables.bits[op])
		}
	}
	return out, r.bootstrap(&todo)
}

// affine is f of a block without a bootstrap, if on the messages that the block
// can hold f is constant, or m or -m plus a constant.
func (r *run) affine(x fhe.LWE, f func(int64) int64) (fhe.LWE, bool) {
	lo, hi := x.Bound.Min, x.Bound.Max
	for _, slope := range []int64{0, 1, -1} {
		c := f(lo) - slope*lo
		same := true
		for m := lo; m <= hi; m++ {
			same = same && f(m) == slope*m+c
		}
		if same && slope == 0 {
			return constant(c), true
		}
		if same {
			return r.linear(c, fhe.Term{Weight: slope, LWE: x}), true
		}
	}
	return fhe.LWE{}, false
}

// choose returns a where the condition is 1 and b where it is 0. The forms of a
// block, by what is known of it and how noisy it is:
//
//	both plaintext    table(c), eight blocks per bootstrap
//	one plaintext     table(4c + x)
//	single bits       table(4c + 2a + b)
//	ciphertexts       b + table(7c + a - b)
//	with less room    the same, after one bootstrap of c to 7c for all of them
//	noisy ones        table(4c + a) + table(4c + b)
func (r *run) choose(c fhe.LWE, a, b []fhe.LWE) ([]fhe.LWE, error) {
	if isConstant(c) {
		if c.Bound.Min == 1 {
			return slices.Clone(a), nil
		}
		return slices.Clone(b), nil
	}
	a, b = slices.Clone(a), slices.Clone(b)
	out := make([]fhe.LWE, len(a))
	within := func(i int, result fhe.LWE) {
		if !isConstant(result) {
			result.Bound.Min = min(a[i].Bound.Min, b[i].Bound.Min)
			result.Bound.Max = max(a[i].Bound.Max, b[i].Bound.Max)
		}
		out[i] = result
	}
	fresh := fhe.LWE{Bound: noise.Bound{Variance: r.params.BootstrapVariance()}}
	var todo batch
	var known, scaled, apart []int
	loud := r.scaledBound() // of 7c as a bootstrap would give it
	outputFits := func(y fhe.LWE) bool { return r.fits(fhe.Term{Weight: 1, LWE: y}, fhe.Term{Weight: 1, LWE: fresh}) }
	for i, x := range a {
		y := b[i]
		switch {
		case sameBlock(x, y):
			out[i] = x
			continue
		case isConstant(x) && isConstant(y):
			known = append(known, i)
			continue
		case isConstant(x) || isConstant(y):
		case x.Bound.Max <= 1 && y.Bound.Max <= 1:
			in := r.linear(0, fhe.Term{Weight: 4, LWE: c}, fhe.Term{Weight: 2, LWE: x}, fhe.Term{Weight: 1, LWE: y})
			if r.quiet(in) {
				todo.add(in, r.tables.ifBit, func(o []fhe.LWE) { within(i, o[0]) })
				continue
			}
		default:
			in := r.linear(0, fhe.Term{Weight: 7, LWE: c}, fhe.Term{Weight: 1, LWE: x}, fhe.Term{Weight: -1, LWE: y})
			if r.quiet(in) && outputFits(y) {
				todo.add(in, r.tables.ifDiff, func(o []fhe.LWE) { within(i, r.sum(y, o[0])) })
				continue
			}
			if r.fits(fhe.Term{Weight: 1, LWE: loud}, fhe.Term{Weight: 1, LWE: x}, fhe.Term{Weight: -1, LWE: y}) && outputFits(y) {
				scaled = append(scaled, i)
				continue
			}
		}
		apart = append(apart, i)
	}

	if len(scaled) < 2 { // no cheaper than apart, and one bootstrap deeper
		apart = append(apart, scaled...)
		scaled = nil
	}
	var noisy batch
	if len(scaled) > 0 {
		noisy.add(c, r.tables.ifScale, func(seven []fhe.LWE) {
			for _, i := range scaled {
				in := r.linear(0, fhe.Term{Weight: 1, LWE: seven[0]}, fhe.Term{Weight: 1, LWE: a[i]}, fhe.Term{Weight: -1, LWE: b[i]})
				todo.add(in, r.tables.ifDiff, func(o []fhe.LWE) { within(i, r.sum(b[i], o[0])) })
			}
		})
	}
	refreshed := false
	for _, i := range apart {
		for _, x := range []*fhe.LWE{&a[i], &b[i]} {
			if !isConstant(*x) && !r.fits(fhe.Term{Weight: 4, LWE: c}, fhe.Term{Weight: 1, LWE: *x}) {
				r.refresh(&noisy, x)
				refreshed = true
			}
		}
	}
	if refreshed {
		r.refresh(&noisy, &c)
	}
	if err := r.bootstrap(&noisy); err != nil {
		return nil, err
	}

	for _, i := range apart {
		x, y := a[i], b[i]
		thenX := r.linear(0, fhe.Term{Weight: 4, LWE: c}, fhe.Term{Weight: 1, LWE: x})
		elseY := r.linear(0, fhe.Term{Weight: 4, LWE: c}, fhe.Term{Weight: 1, LWE: y})
		switch {
		case isConstant(x):
			todo.add(elseY, r.tables.ifThen[x.Bound.Min], func(o []fhe.LWE) { within(i, o[0]) })
		case isConstant(y):
			todo.add(thenX, r.tables.ifElse[y.Bound.Min], func(o []fhe.LWE) { within(i, o[0]) })
		default:
			todo.to(&out[i], thenX, r.tables.ifElse[0])
			todo.add(elseY, r.tables.ifThen[0], func(o []fhe.LWE) { within(i, r.sum(out[i], o[0])) })
		}
	}
	if err := r.chooseKnown(&todo, out, c, a, b, known); err != nil {
		return nil, err
	}
	return out, r.bootstrap(&todo)
}

// sum is x + y.
func (r *run) sum(x, y fhe.LWE) fhe.LWE {
	return r.linear(0, fhe.Term{Weight: 1, LWE: x}, fhe.Term{Weight: 1, LWE: y})
}

// chooseKnown chooses between different plaintexts in the given blocks. A
// condition has two messages, so that one table holds the functions of eight
// blocks.
func (r *run) chooseKnown(todo *batch, out []fhe.LWE, c fhe.LWE, a, b []fhe.LWE, blocks []int) error {
	if len(blocks) == 1 && a[blocks[0]].Bound.Min == 1 && b[blocks[0]].Bound.Min == 0 {
		out[blocks[0]] = c
		return nil
	}
	for group := range slices.Chunk(blocks, 8) {
		// The number of functions is a power of two: the last one is repeated.
		// Neighbours, which comparisons add up, are half a table apart, so that
		// their errors are independent.
		fs := make([]func(int64) int64, 1<<bits.Len(uint(len(group)-1)))
		place := func(j int) int { return j/2 + j%2*(len(fs)/2) }
		for j := range fs {
			i := group[min(j, len(group)-1)]
			whenTrue, whenFalse := a[i].Bound.Min, b[i].Bound.Min
			fs[place(j)] = func(m int64) int64 { return whenFalse + m*(whenTrue-whenFalse) }
		}
		lut, err := r.params.NewLUT(0, 1, fs...)
		if err != nil {
			return err
		}
		todo.add(c, lut, func(o []fhe.LWE) {
			for j, i := range group {
				out[i] = o[place(j)]
			}
		})
	}
	return nil
}

// sameBlock says that two blocks are one ciphertext or one constant.
func sameBlock(x, y fhe.LWE) bool {
	if isConstant(x) || isConstant(y) {
		return isConstant(x) && isConstant(y) && x.Bound.Min == y.Bound.Min
	}
	return slices.Equal(x.Value, y.Value)
}

// scaledBound is a ciphertext that has the bound of 7c after a bootstrap.
func (r *run) scaledBound() fhe.LWE {
	return fhe.LWE{Bound: r.tables.ifScale.OutputBound(0, r.params.BootstrapVariance(), 0)}
}
