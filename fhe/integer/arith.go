package integer

import (
	"math/big"
	"slices"

	"github.com/tacit-fhe/tacit/fhe"
)

// add returns a + weight·b, weight 1 or -1, and whether the sum has left the
// range, if that is wanted.
func (r *run) add(a, b []fhe.LWE, weight int64, flag bool) ([][]fhe.LWE, error) {
	c := r.newColumns(len(a))
	c.spills = flag
	c.addAll(1, a)
	c.addAll(weight, b)
	out, err := c.settle()
	if err != nil || !flag {
		return [][]fhe.LWE{out}, err
	}
	// The sum, divided by 4^places and rounded down, is 0, or weight.
	terms := make([]fhe.Term, len(c.spill))
	for i, x := range c.spill {
		terms[i] = fhe.Term{Weight: weight, LWE: x}
	}
	over := r.linear(weight*c.spilled().Int64(), terms...)
	if !isConstant(over) {
		over.Bound.Min, over.Bound.Max = 0, 1
	}
	return [][]fhe.LWE{out, {over}}, nil
}

// spilled is the public part of what has left the last place.
func (c *columns) spilled() *big.Int {
	return new(big.Int).Rsh(c.plain, uint(blockBits*len(c.terms)))
}

// addUp is the sum of values.
func (r *run) addUp(values [][]fhe.LWE) ([]fhe.LWE, error) {
	c := r.newColumns(len(values[0]))
	for _, v := range values {
		c.addAll(1, v)
	}
	return c.settle()
}

// multiply returns a·b, and whether it has left the range, if that is wanted.
func (r *run) multiply(a, b []fhe.LWE, flag bool) ([][]fhe.LWE, error) {
	c := r.newColumns(len(a))
	c.spills = flag
	if isPlain(a) {
		a, b = b, a
	}
	var apart []fhe.LWE
	var err error
	switch m := plaintext(b); {
	case m != nil && flag:
		err = c.addMultiple(a, digitsOf(m, (m.BitLen()+1)/2))
	case m != nil:
		err = c.addMultiple(a, signedDigits(m))
	default:
		err = c.addProduct(a, b)
		if err == nil && flag {
			apart, err = r.farApart(a, b)
		}
	}
	if err != nil {
		return nil, err
	}
	out, err := c.settle()
	if err != nil || !flag {
		return [][]fhe.LWE{out}, err
	}
	over := constant(1)
	if c.spilled().Sign() == 0 {
		over, err = r.some(append(c.spill, apart...))
	}
	return [][]fhe.LWE{out, {over}}, err
}

// isPlain says that a value is public, plaintext what it is, or nil.
func isPlain(x []fhe.LWE) bool {
	return !slices.ContainsFunc(x, func(b fhe.LWE) bool { return !isConstant(b) })
}

func plaintext(x []fhe.LWE) *big.Int {
	if !isPlain(x) {
		return nil
	}
	out := new(big.Int)
	for i := len(x) - 1; i >= 0; i-- {
		out.Lsh(out, blockBits).Add(out, big.NewInt(x[i].Bound.Min))
	}
	return out
}

// signedDigits are digits of m ≥ 0 in base 4 from -2 to 2 with the least sum of
// magnitudes.
func signedDigits(m *big.Int) []int64 {
	digits := append(digitsOf(m, (m.BitLen()+1)/2), 0)
	// cost[c] is the least sum so far that leaves a carry of c, and came[i][c]
	// the digit and the carry in that lead there.
	type step struct{ digit, from int64 }
	came := make([][2]step, len(digits))
	cost := [2]int64{0, 1 << 40}
	for i, d := range digits {
		next := [2]int64{1 << 40, 1 << 40}
		for from := range int64(2) {
			for out := range int64(2) {
				digit := d + from - 4*out
				if digit >= -2 && digit <= 2 && cost[from]+abs(digit) < next[out] {
					next[out] = cost[from] + abs(digit)
					came[i][out] = step{digit, from}
				}
			}
		}
		cost = next
	}
	carry := int64(0)
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i], carry = came[i][carry].digit, came[i][carry].from
	}
	return digits
}

func abs(x int64) int64 { return max(x, -x) }

// addMultiple adds a·m, m given by its digits.
func (c *columns) addMultiple(a []fhe.LWE, digits []int64) error {
	a, err := c.r.refreshAll(a, 3)
	if err != nil {
		return err
	}
	for j, d := range digits {
		for i, x := range a {
			c.add(i+j, d, x)
		}
	}
	return nil
}

// addProduct adds a·b.
func (c *columns) addProduct(a, b []fhe.LWE) error {
	var first batch
	fa := c.r.factors(&first, a, slices.ContainsFunc(b, isConstant))
	if slices.EqualFunc(a, b, sameBlock) {
		if err := c.r.bootstrap(&first); err != nil {
			return err
		}
		return c.addFactors(1, fa, fa, true)
	}
	fb := c.r.factors(&first, b, slices.ContainsFunc(a, isConstant))
	if err := c.r.bootstrap(&first); err != nil {
		return err
	}
	return c.addFactors(1, fa, fb, false)
}

// factor is a block as products take it.
type factor struct {
	block fhe.LWE
	code  fhe.LWE // factors of it, where it is not public
}

// factors puts into the batch what makes blocks factors. If some will meet public
// ones, the blocks are made quiet enough to be weighted.
func (r *run) factors(todo *batch, blocks []fhe.LWE, weighted bool) []factor {
	out := make([]factor, len(blocks))
	for i, x := range blocks {
		out[i].block = x
		if isConstant(x) {
			continue
		}
		todo.to(&out[i].code, x, r.tables.factor)
		if weighted {
			r.refreshFor(todo, &out[i].block, 3)
		}
	}
	return out
}

// addFactors adds or subtracts a·b: two digits, low and high, for every pair of
// blocks, from one bootstrap of the sum of their factors. Half of the pairs of a
// square are those of the other half.
func (c *columns) addFactors(sign int64, a, b []factor, square bool) error {
	var step batch
	for i, x := range a {
		for j, y := range b {
			if i+j >= len(c.terms) { // the flag of overflow looks at these pairs by itself
				continue
			}
			weight := sign
			switch {
			case isConstant(x.block):
				c.add(i+j, sign*x.block.Bound.Min, y.block)
				continue
			case isConstant(y.block):
				c.add(i+j, sign*y.block.Bound.Min, x.block)
				continue
			case square && j < i:
				continue
			case square && j > i:
				weight *= 2
			}
			lo, hi := productBound(x.block, y.block)
			step.add(c.r.sum(x.code, y.code), c.r.tables.product, func(o []fhe.LWE) {
				for n, bound := range [][2]int64{lo, hi} {
					if !isConstant(o[n]) {
						o[n].Bound.Min, o[n].Bound.Max = bound[0], bound[1]
					}
					c.add(i+j+n, weight, o[n])
				}
			})
		}
	}
	return c.r.bootstrap(&step)
}

// productBound bounds the low and the high part of the product of two blocks.
func productBound(x, y fhe.LWE) (lo, hi [2]int64) {
	lo[0], hi[0] = 3, 3
	for a := x.Bound.Min; a <= x.Bound.Max; a++ {
		for b := y.Bound.Min; b <= y.Bound.Max; b++ {
			lo[0], lo[1] = min(lo[0], a*b%4), max(lo[1], a*b%4)
			hi[0], hi[1] = min(hi[0], a*b/4), max(hi[1], a*b/4)
		}
	}
	return lo, hi
}
