package integer

import (
	"math"
	"slices"

	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/noise"
)

// digit is the difference of two blocks, a - b, with what is known of it.
type digit struct {
	terms  []fhe.Term
	lo, hi int64
}

// decided says that the difference is not zero.
func (d digit) decided() bool { return d.lo > 0 || d.hi < 0 }

func (d digit) negated() digit {
	out := digit{lo: -d.hi, hi: -d.lo}
	for _, t := range d.terms {
		out.terms = append(out.terms, fhe.Term{Weight: -t.Weight, LWE: t.LWE})
	}
	return out
}

// digits returns the differences of the blocks, least significant first, each
// quiet enough for a bootstrap of its own.
func (r *run) digits(a, b []fhe.LWE) ([]digit, error) {
	a, b, err := r.refreshPairs(a, b, 1, -1)
	if err != nil {
		return nil, err
	}
	out := make([]digit, len(a))
	for i := range a {
		terms := []fhe.Term{{Weight: 1, LWE: a[i]}, {Weight: -1, LWE: b[i]}}
		difference := r.linear(0, terms...).Bound
		out[i] = digit{terms, difference.Min, difference.Max}
	}
	return out, nil
}

// pack joins neighbouring digits, none of them decided, into combinations
// within [-15, 15] whose sign is that of their most significant digit that is
// not zero. Two blocks of either operand fit, and more where a digit can only
// have one sign, as when it is compared with 0. A combination that would be too
// noisy is left at the digits it has.
func (r *run) pack(digits []digit) []packed {
	var out []packed
	var current packed
	for _, d := range digits {
		if current.terms != nil {
			// The digits below reach from Min ≤ 0 to Max ≥ 0. The new one, if it
			// is not zero, must outweigh them.
			low := current.sum.Bound
			weight := int64(1)
			if d.lo < 0 {
				weight = max(weight, 1+low.Max)
			}
			if d.hi > 0 {
				weight = max(weight, 1-low.Min)
			}
			more := slices.Clone(current.terms)
			for _, t := range d.terms {
				more = append(more, fhe.Term{Weight: weight * t.Weight, LWE: t.LWE})
			}
			if low.Min+weight*d.lo >= -signReach && low.Max+weight*d.hi <= signReach {
				if joined := r.linear(0, more...); r.quiet(joined) && !isConstant(joined) {
					current = packed{more, joined}
					continue
				}
			}
			out = append(out, current)
		}
		current = packed{d.terms, r.linear(0, d.terms...)}
	}
	if current.terms != nil {
		out = append(out, current)
	}
	return out
}

// packed is a combination of digits.
type packed struct {
	terms []fhe.Term
	sum   fhe.LWE
}

// equal tests a = b, or a ≠ b.
func (r *run) equal(want bool, a, b []fhe.LWE) ([]fhe.LWE, error) {
	digits, err := r.digits(a, b)
	if err != nil {
		return nil, err
	}
	return r.allZero(want, digits)
}

// allZero tests whether all digits are zero, or whether one is not. Zero tests
// of packed digits give flags, and up to 16 flags are counted by one more.
func (r *run) allZero(want bool, digits []digit) ([]fhe.LWE, error) {
	// Digits of one sign go first, as many positive ones pack into one sum.
	var oneSided, others []digit
	for _, d := range digits {
		switch {
		case d.decided():
			return constants([]int64{truth(!want)}), nil
		case d.lo == d.hi:
		case d.lo == 0:
			oneSided = append(oneSided, d)
		case d.hi == 0:
			oneSided = append(oneSided, d.negated())
		default:
			others = append(others, d)
		}
	}
	leaves := r.pack(append(oneSided, others...))
	f := isZero
	if !want {
		f = notZero
	}
	if len(leaves) == 1 {
		if out, err := r.direct(leaves[0].sum, f); out != nil || err != nil {
			return out, err
		}
	}
	flags := make([]fhe.LWE, len(leaves))
	var tests batch
	for i, x := range leaves {
		tests.to(&flags[i], x.sum, r.tables.isZero)
	}
	if err := r.bootstrap(&tests); err != nil {
		return nil, err
	}
	return r.all(want, flags)
}

// all tests whether all flags are 1, or whether one is not. The same flag twice
// counts once: sums of flags are quiet as long as those are independent.
func (r *run) all(want bool, flags []fhe.LWE) ([]fhe.LWE, error) {
	const most = 16
	var distinct []fhe.LWE
	for _, x := range flags {
		if !slices.ContainsFunc(distinct, func(y fhe.LWE) bool { return sameBlock(x, y) }) {
			distinct = append(distinct, x)
		}
	}
	flags = distinct
	for len(flags) > most {
		var joins batch
		var next []fhe.LWE
		// Every join takes away most-1 flags.
		n := min((len(flags)-2)/(most-1), len(flags)/most)
		for i := range n {
			joins.add(r.missing(flags[i*most:(i+1)*most]), r.tables.allFlags, func(o []fhe.LWE) { next = append(next, o[0]) })
		}
		if err := r.bootstrap(&joins); err != nil {
			return nil, err
		}
		flags = append(next, flags[n*most:]...)
	}
	in := r.missing(flags)
	if isConstant(in) {
		return constants([]int64{truth((in.Bound.Min == 0) == want)}), nil
	}
	lut := r.tables.allFlags
	if !want {
		lut = r.tables.someFlag
	}
	out := make([]fhe.LWE, 1)
	var final batch
	final.to(&out[0], in, lut)
	return out, r.bootstrap(&final)
}

// missing is minus the number of flags that are 0.
func (r *run) missing(flags []fhe.LWE) fhe.LWE {
	terms := make([]fhe.Term, len(flags))
	for i, x := range flags {
		terms[i] = fhe.Term{Weight: 1, LWE: x}
	}
	return r.linear(-int64(len(flags)), terms...)
}

// direct applies a predicate to one combination in one bootstrap, or returns
// nothing if its range is too wide for a table.
func (r *run) direct(x fhe.LWE, f func(int64) int64) ([]fhe.LWE, error) {
	lut, err := r.params.NewLUT(x.Bound.Min, x.Bound.Max, f)
	if err != nil {
		return nil, nil
	}
	out := make([]fhe.LWE, 1)
	var b batch
	b.to(&out[0], x, lut)
	return out, r.bootstrap(&b)
}

// compare tests a < b and its kin. Packed digits borrow from each other, or their
// signs are joined, most significant first, by sign(8·s3 + 4·s2 + 2·s1 + s0), and
// the last join applies the predicate.
func (r *run) compare(op Op, a, b []fhe.LWE) ([]fhe.LWE, error) {
	digits, err := r.digits(a, b)
	if err != nil {
		return nil, err
	}
	op, digits = relevant(op, digits)
	positive, negative := true, true
	for _, d := range digits {
		positive = positive && d.lo >= 0
		negative = negative && d.hi <= 0
	}
	switch {
	case len(digits) == 0:
		return constants([]int64{signPredicates[op](0)}), nil
	case positive, negative:
		// A predicate that one sign alone does not decide tells zero from that
		// sign.
		return r.allZero(op == OpLe || op == OpGe, digits)
	}
	leaves := r.pack(digits)
	if len(leaves) == 1 {
		if out, err := r.direct(leaves[0].sum, signPredicates[op]); out != nil || err != nil {
			return out, err
		}
	}
	if r.strategy == Throughput {
		if out, err := r.borrow(leaves, op); out != nil || err != nil {
			return out, err
		}
	}
	return r.joinSigns(leaves, op)
}

// borrow compares as a subtraction does, least significant combination first: a
// combination less the borrow of those below is in [-16, 15], where being
// negative is negacyclic up to a constant. It returns nothing if noise leaves no
// room for the borrow.
func (r *run) borrow(combinations []packed, op Op) ([]fhe.LWE, error) {
	anyBorrow := noise.Term{Weight: 1, Bound: noise.Bound{Variance: r.params.BootstrapVariance(), Source: math.MaxUint64}}
	for _, x := range combinations {
		bounds := []noise.Term{anyBorrow}
		for _, t := range x.terms {
			bounds = append(bounds, noise.Term{Weight: t.Weight, Bound: t.LWE.Bound})
		}
		if noise.Combine(0, bounds...).Variance > r.params.MaxVariance() {
			return nil, nil
		}
	}
	borrow := constant(truth(op == OpLe || op == OpGt)) // a ≤ b is a - b - 1 < 0
	for i, x := range combinations {
		lut := r.tables.negative
		if i == len(combinations)-1 && (op == OpGt || op == OpGe) {
			lut = r.tables.notNegative
		}
		var step batch
		step.to(&borrow, r.linear(0, append(slices.Clone(x.terms), fhe.Term{Weight: -1, LWE: borrow})...), lut)
		if err := r.bootstrap(&step); err != nil {
			return nil, err
		}
	}
	return []fhe.LWE{borrow}, nil
}

// relevant drops the digits that the comparison does not depend on: those below
// a decided one, which settles what happens when the digits above it are all
// zero, those that are zero, and the lowest ones as long as they can only have
// the sign that the predicate does not tell from zero.
func relevant(op Op, digits []digit) (Op, []digit) {
	var kept []digit
	for _, d := range digits {
		switch {
		case d.decided():
			kept = kept[:0]
			switch less := d.hi < 0; op {
			case OpLt, OpLe:
				op = OpLt
				if less {
					op = OpLe
				}
			default:
				op = OpGe
				if less {
					op = OpGt
				}
			}
		case d.lo != d.hi:
			kept = append(kept, d)
		}
	}
	for len(kept) > 0 {
		low := kept[0]
		if op == OpLt || op == OpGe {
			if low.lo < 0 {
				break
			}
		} else if low.hi > 0 {
			break
		}
		kept = kept[1:]
	}
	return op, kept
}

// signNode is a sign test in a tree of joins: of a packed combination, or of the
// signs of its children, least significant first.
type signNode struct {
	children []*signNode
	in       fhe.LWE
	place    int // the weight at its parent is 2^place
	level    int // 0 for a leaf
	out      fhe.LWE
}

func newJoin(children []*signNode) *signNode {
	n := &signNode{children: children}
	for i, c := range children {
		c.place = i
		n.level = max(n.level, c.level+1)
	}
	return n
}

// joinSigns applies a predicate to the sign of the most significant combination
// that is not zero.
func (r *run) joinSigns(combinations []packed, op Op) ([]fhe.LWE, error) {
	const wide = 4 // children that fit in [-15, 15]
	items := make([]*signNode, len(combinations))
	for i, x := range combinations {
		items[i] = &signNode{in: x.sum}
	}
	all := slices.Clone(items)
	for len(items) > wide {
		// Every join takes away wide-1 items.
		joins := (len(items) - 2) / (wide - 1)
		var next []*signNode
		for ; joins > 0 && len(items) > 1; joins-- {
			k := min(wide, len(items))
			next = append(next, newJoin(items[:k]))
			items = items[k:]
		}
		all = append(all, next...)
		items = append(next, items...)
	}
	root := newJoin(items)
	for level := range root.level {
		var step batch
		for _, n := range all {
			if n.level == level {
				if n.children != nil {
					n.in = r.sumOfChildren(n)
				}
				step.to(&n.out, n.in, r.tables.sign[n.place])
			}
		}
		if err := r.bootstrap(&step); err != nil {
			return nil, err
		}
	}
	out := make([]fhe.LWE, 1)
	var final batch
	final.to(&out[0], r.sumOfChildren(root), r.tables.predicate[op])
	return out, r.bootstrap(&final)
}

// sumOfChildren joins signs that their tables have already scaled.
func (r *run) sumOfChildren(n *signNode) fhe.LWE {
	terms := make([]fhe.Term, len(n.children))
	for i, c := range n.children {
		terms[i] = fhe.Term{Weight: 1, LWE: c.out}
	}
	return r.linear(0, terms...)
}
