package integer

import (
	"math/big"
	"slices"

	"github.com/tacit-fhe/tacit/fhe"
)

// divide returns the quotient, the remainder or both.
func (r *run) divide(op Op, a, b []fhe.LWE) ([][]fhe.LWE, error) {
	var quotient, remainder []fhe.LWE
	var err error
	d := plaintext(b)
	switch {
	case d == nil || d.Sign() == 0:
		quotient, remainder, err = r.longDivide(a, b)
	case d.BitLen()-1 == int(d.TrailingZeroBits()):
		if quotient, err = r.shiftBy(OpShr, a, d.BitLen()-1); err == nil && op != OpDiv {
			remainder, err = r.bitwise(OpAnd, a, constants(digitsOf(d.Sub(d, big.NewInt(1)), len(a))))
		}
	default:
		quotient, err = r.scale(a, big.NewInt(1), d, len(a))
		if err == nil && op != OpDiv {
			remainder, err = r.rest(a, quotient, d)
		}
	}
	switch op {
	case OpDiv:
		return [][]fhe.LWE{quotient}, err
	case OpRem:
		return [][]fhe.LWE{remainder}, err
	}
	return [][]fhe.LWE{quotient, remainder}, err
}

// rest returns a - q·d < d, of which only the places that d has are computed.
func (r *run) rest(a, q []fhe.LWE, d *big.Int) ([]fhe.LWE, error) {
	places := (new(big.Int).Sub(d, big.NewInt(1)).BitLen() + 1) / blockBits
	c := r.newColumns(places)
	c.addAll(1, a[:places])
	digits := signedDigits(d)
	for i := range digits {
		digits[i] = -digits[i]
	}
	if err := c.addMultiple(q, digits); err != nil {
		return nil, err
	}
	out, err := c.settle()
	return append(out, constants(make([]int64, len(a)-places))...), err
}

// multiplyDivide returns floor(a·b/d) modulo the range of a.
func (r *run) multiplyDivide(a, b []fhe.LWE, d *big.Int) ([]fhe.LWE, error) {
	if isPlain(a) {
		a, b = b, a
	}
	if m := plaintext(b); m != nil {
		return r.scale(a, m, d, len(a))
	}
	c := r.newColumns(2 * len(a))
	if err := c.addProduct(a, b); err != nil {
		return nil, err
	}
	product, err := c.settle()
	if err != nil {
		return nil, err
	}
	return r.scale(product, big.NewInt(1), d, len(a))
}

// scale returns the given number of blocks of floor(x·m/d), for public m ≥ 0 and
// d > 0.
//
// With s = ceil(m·2^N/d), e = s·d - m·2^N < d and x below 2^w, any y in [x·s,
// x·s + E] has floor(y/2^N) = floor(x·m/d) as long as e·x + d·E < 2^N: then x·m/d
// ≤ y/2^N < (x·m + 1)/d (Granlund and Montgomery, "Division by Invariant Integers
// using Multiplication", PLDI 1994, theorem 4.2). The room E leaves out the
// lowest columns of x·s: what they hold at most is added instead.
func (r *run) scale(x []fhe.LWE, m, d *big.Int, places int) ([]fhe.LWE, error) {
	one := big.NewInt(1)
	g := new(big.Int).GCD(nil, nil, m, d)
	m, d = new(big.Int).Quo(m, g), new(big.Int).Quo(d, g)
	if d.Cmp(one) == 0 {
		c := r.newColumns(places)
		if err := c.addMultiple(x, signedDigits(m)); err != nil {
			return nil, err
		}
		return c.settle()
	}
	width := blockBits * len(x)
	best := scaling{cost: 1 << 40}
	for more := range 5 {
		shift := (width+d.BitLen()+1)/2 + more // N = 2·shift
		s := new(big.Int).Lsh(m, uint(2*shift))
		s.Add(s, new(big.Int).Sub(d, one)).Quo(s, d)
		room := new(big.Int).Mul(s, d)
		room.Sub(room, new(big.Int).Lsh(m, uint(2*shift))) // e
		room.Mul(room, new(big.Int).Sub(new(big.Int).Lsh(one, uint(width)), one))
		room.Sub(new(big.Int).Sub(new(big.Int).Lsh(one, uint(2*shift)), room), one).Quo(room, d) // E
		if next := newScaling(signedDigits(s), len(x), shift, shift+places, room); next.cost < best.cost {
			best = next
		}
	}
	x, err := r.refreshAll(x, 3)
	if err != nil {
		return nil, err
	}
	c := r.newColumns(best.top - best.first)
	for j, digit := range best.digits {
		for i, b := range x {
			if place := i + j - best.first; place >= 0 {
				c.add(place, digit, b)
			}
		}
	}
	c.plain.Add(c.plain, best.extra)
	out, err := c.settle()
	if err != nil {
		return nil, err
	}
	return out[best.shift-best.first:], nil
}

// scaling is how a product by a public number is taken and shifted right.
type scaling struct {
	digits     []int64  // of the number, in base 4
	first, top int      // the places that are computed
	shift      int      // those below it are dropped in the end
	extra      *big.Int // added for those below first, in units of 4^first
	cost       int
}

// newScaling leaves out as many low places as there is room for.
func newScaling(digits []int64, blocks, shift, top int, room *big.Int) scaling {
	out := scaling{digits: digits, top: top, shift: shift, extra: new(big.Int)}
	below, least := new(big.Int), new(big.Int) // bounds of what is left out
	for place := 0; place <= top; place++ {
		// Without the places below this one, rounded up to a multiple of it.
		unit := new(big.Int).Lsh(big.NewInt(1), uint(blockBits*place))
		extra := new(big.Int).Add(below, unit)
		extra.Sub(extra, big.NewInt(1)).Quo(extra, unit)
		if y := new(big.Int).Mul(extra, unit); place <= shift && y.Sub(y, least).Cmp(room) <= 0 {
			out.first, out.extra, out.cost = place, extra, 0
		}
		var positive, negative int64
		for j := max(0, place-blocks+1); j <= min(place, len(digits)-1); j++ {
			positive += max(digits[j], 0)
			negative -= min(digits[j], 0)
		}
		below.Add(below, new(big.Int).Mul(unit, big.NewInt(3*positive)))
		least.Sub(least, new(big.Int).Mul(unit, big.NewInt(3*negative)))
		out.cost += int(positive + negative)
		out.cost += 2 // to settle the place
	}
	return out
}

// longDivide is schoolbook division in base 4, of an encrypted divisor. A step
// brings down a digit, compares the remainder with one, two and three times the
// divisor at once, and takes off as many as fit. The remainder before step i has
// i blocks: whether the divisor has more is found out once, and the digits of the
// quotient are masked with it. For a divisor of 0 every comparison holds and
// nothing is taken off: the quotient is all ones and the remainder the dividend.
func (r *run) longDivide(a, b []fhe.LWE) (quotient, remainder []fhe.LWE, err error) {
	n := len(a)
	b, err = r.refreshAll(b, 4)
	if err != nil {
		return nil, nil, err
	}
	var above []fhe.LWE        // whether the divisor has blocks there or above
	var divisor []factor       // its blocks
	var multiples [3][]fhe.LWE // one, two and three times it
	multiples[0] = append(slices.Clone(b), constant(0))
	err = r.together(
		func(r *run) (err error) {
			for i := 1; i < len(multiples) && err == nil; i++ {
				c := r.newColumns(n + 1)
				c.addAll(1, multiples[i-1])
				c.addAll(1, b)
				multiples[i], err = c.settle()
			}
			return err
		},
		func(r *run) (err error) {
			above, err = r.someAbove(b)
			return err
		},
		func(r *run) error {
			var todo batch
			divisor = r.factors(&todo, b, true)
			return r.bootstrap(&todo)
		},
	)
	if err != nil {
		return nil, nil, err
	}
	quotient = make([]fhe.LWE, n)
	for i := n - 1; i >= 0; i-- {
		rest := slices.Concat(a[i:i+1], remainder)
		quotient[i], err = r.divideStep(rest, divisor, multiples, above, func(left []fhe.LWE) { remainder = left })
		if err != nil {
			return nil, nil, err
		}
	}
	return quotient, remainder, nil
}

// divideStep returns the digit of the quotient that a partial remainder gives,
// and hands on what it leaves.
func (r *run) divideStep(rest []fhe.LWE, divisor []factor, multiples [3][]fhe.LWE, above []fhe.LWE, leave func([]fhe.LWE)) (fhe.LWE, error) {
	n := len(rest)
	var fits [len(multiples)]fhe.LWE
	var compare []func(r *run) error
	for k, m := range multiples {
		compare = append(compare, func(r *run) error {
			out, err := r.compare(OpGe, append(slices.Clone(rest), constant(0)), m[:n+1])
			if err == nil {
				fits[k] = out[0]
			}
			return err
		})
	}
	if err := r.together(compare...); err != nil {
		return fhe.LWE{}, err
	}
	mask := constant(0)
	if n < len(above) {
		mask = above[n]
	}
	in := r.linear(0, fhe.Term{Weight: 1, LWE: fits[0]}, fhe.Term{Weight: 1, LWE: fits[1]}, fhe.Term{Weight: 1, LWE: fits[2]}, fhe.Term{Weight: 4, LWE: mask})
	digit := factor{block: constant(quotientDigit(in.Bound.Min))}
	if !isConstant(in) {
		var step batch
		step.add(in, r.tables.quotientDigit, func(o []fhe.LWE) { digit = factor{o[0], o[1]} })
		if err := r.bootstrap(&step); err != nil {
			return fhe.LWE{}, err
		}
	}
	c := r.newColumns(n)
	c.addAll(1, rest)
	if err := c.addFactors(-1, []factor{digit}, divisor[:n], false); err != nil {
		return fhe.LWE{}, err
	}
	left, err := c.settle()
	leave(left)
	return digit.block, err
}
