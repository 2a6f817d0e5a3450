package integer

import (
	"math/big"
	"slices"

	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/noise"
)

const (
	foldReach = 15 // messages of a sum that one bootstrap splits, noisily
	pairReach = 10 // messages above the least one of a sum that one splits cleanly
)

// columns is a sum of blocks that wait at their places: Σ 4^place·block, modulo
// 4^places. Carries move when a column has filled a block, and not before.
type columns struct {
	r      *run
	terms  [][]fhe.LWE // ciphertexts by place, each with messages from 0 on
	plain  *big.Int    // the public part of the sum
	folded []bool      // the column has seen a bootstrap
	spill  []fhe.LWE   // what leaves the last place, in units of 4^places
	spills bool        // whether that is wanted
}

func (r *run) newColumns(places int) *columns {
	return &columns{r: r, terms: make([][]fhe.LWE, places), plain: new(big.Int), folded: make([]bool, places)}
}

// add adds weight·x at a place, |weight| at most 5. Places beyond the last are
// spilled.
func (c *columns) add(place int, weight int64, x fhe.LWE) {
	least := min(weight*x.Bound.Min, weight*x.Bound.Max)
	if least != 0 {
		c.addPlain(place, least)
	}
	if weight == 0 || isConstant(x) {
		return
	}
	term := c.r.linear(-least, fhe.Term{Weight: weight, LWE: x})
	if place < len(c.terms) {
		c.terms[place] = append(c.terms[place], term)
	} else if c.spills {
		c.spill = append(c.spill, term)
	}
}

func (c *columns) addAll(weight int64, blocks []fhe.LWE) {
	for i, x := range blocks {
		c.add(i, weight, x)
	}
}

func (c *columns) addPlain(place int, x int64) {
	y := big.NewInt(x)
	c.plain.Add(c.plain, y.Lsh(y, uint(blockBits*place)))
}

// digit is what the public part adds to a column now.
func (c *columns) digit(place int) int64 {
	return int64(c.plain.Bit(blockBits*place)) + 2*int64(c.plain.Bit(blockBits*place+1))
}

// reach is the greatest message of the ciphertexts of a column.
func (c *columns) reach(place int) (sum int64) {
	for _, x := range c.terms[place] {
		sum += x.Bound.Max
	}
	return sum
}

// last says that what leaves a place is of no interest.
func (c *columns) last(place int) bool { return place == len(c.terms)-1 && !c.spills }

// total is the sum of terms, and a constant.
func (r *run) total(c int64, terms []fhe.LWE) fhe.LWE {
	all := make([]fhe.Term, len(terms))
	for i, x := range terms {
		all[i] = fhe.Term{Weight: 1, LWE: x}
	}
	return r.linear(c, all...)
}

// merge is a combination that nothing else shares an error with, since its terms
// are used nowhere else, and whose messages are known to lie in [lo, hi].
func (r *run) merge(lo, hi, c int64, terms ...fhe.Term) fhe.LWE {
	out := r.linear(c, terms...)
	if !isConstant(out) {
		out.Bound.Min, out.Bound.Max = lo, hi
		for _, t := range terms {
			if !isConstant(t.LWE) {
				out.Bound.Source = t.LWE.Bound.Source
			}
		}
	}
	return out
}

// gather takes terms of a sum of at most reach out of a column, as much as fits,
// quiet enough for a bootstrap. It looks at the first terms only, if there are
// many.
func (r *run) gather(terms []fhe.LWE, reach int64) (group, rest []fhe.LWE) {
	const window = 32
	var more []fhe.LWE
	if len(terms) > window {
		terms, more = terms[:window], terms[window:]
	}
	terms = slices.Clone(terms)
	slices.SortStableFunc(terms, func(a, b fhe.LWE) int { return int(b.Bound.Max - a.Bound.Max) })
	var best uint64 // the terms taken, by bits
	var most int64
	// Leaving out some of the greatest terms may let the others fill up better.
	for skip := 0; skip < min(4, len(terms)) && most < reach; skip++ {
		taken, sum := uint64(0), int64(0)
		bounds := make([]noise.Term, 0, reach)
		for i := skip; i < len(terms) && sum < reach; i++ {
			if sum+terms[i].Bound.Max > reach {
				continue
			}
			bounds = append(bounds, noise.Term{Weight: 1, Bound: terms[i].Bound})
			if noise.Combine(0, bounds...).Variance > r.params.MaxVariance() {
				bounds = bounds[:len(bounds)-1]
				continue
			}
			taken |= 1 << i
			sum += terms[i].Bound.Max
		}
		if sum > most {
			best, most = taken, sum
		}
	}
	rest = make([]fhe.LWE, 0, len(terms)+len(more))
	for i, x := range terms {
		if best>>i&1 == 1 {
			group = append(group, x)
		} else {
			rest = append(rest, x)
		}
	}
	return group, append(rest, more...)
}

// split puts into the batch what splits a sum of a column, c + the group, into a
// message, which stays, and a carry. A clean message has the error of one
// bootstrap output. The forms, by the reach of the group, for c in 0..3:
//
//	last place   message
//	to 8         message and carry, of one bootstrap
//	to about 10  the same, the carry being a difference of two outputs
//	to 15        the same, the message being made of four outputs
//	to 15 clean  message and carry, a bootstrap each
func (c *columns) split(b *batch, place int, plain int64, group []fhe.LWE, clean bool, stay func(x fhe.LWE)) {
	r := c.r
	in := r.total(plain, group)
	lo, hi := in.Bound.Min, in.Bound.Max
	t := r.tables
	carry := func(x fhe.LWE) { c.add(place+1, 1, x) }
	switch {
	case lo == hi: // terms have cancelled, and nothing is run
		b.add(constant(lo&3), t.identity, func(o []fhe.LWE) {
			stay(o[0])
			carry(constant(lo >> 2))
		})
	case c.last(place):
		b.add(in, t.message[lo], func(o []fhe.LWE) { stay(bounded(o[0], lo, hi, message)) })
	case hi-lo <= 8 && lo <= 3:
		b.add(in, t.halves[lo], func(o []fhe.LWE) {
			stay(bounded(o[0], lo, hi, message))
			carry(bounded(o[1], lo, hi, quarter))
		})
	case hi <= pairReach+min(lo, 1):
		b.add(in, t.pair[min(lo, 1)], func(o []fhe.LWE) {
			stay(o[0])
			carry(r.merge(lo/4, hi/4, 1, fhe.Term{Weight: 1, LWE: o[1]}, fhe.Term{Weight: -1, LWE: o[2]}))
		})
	case clean:
		b.add(in, t.message[lo], func(o []fhe.LWE) { stay(o[0]) })
		b.add(in, t.quarter[lo], func(o []fhe.LWE) { carry(bounded(o[0], lo, hi, quarter)) })
	default:
		b.add(in, t.stairs, func(o []fhe.LWE) {
			// The message shares the error of o[0] with the carry. They are
			// never terms of one combination, since they are in two columns and
			// such a message is no result. Its errors are correlated in a way
			// that leaves less than a norm of 12 (see fhe.LUT).
			stay(r.merge(0, 3, 0, fhe.Term{Weight: 1, LWE: o[1]}, fhe.Term{Weight: 1, LWE: o[2]}, fhe.Term{Weight: 1, LWE: o[3]}, fhe.Term{Weight: -3, LWE: o[0]}))
			carry(bounded(o[0], lo, hi, quarter))
		})
	}
}

// bounded narrows the bound of an output to the values of f on [lo, hi].
func bounded(x fhe.LWE, lo, hi int64, f func(int64) int64) fhe.LWE {
	if isConstant(x) {
		return x
	}
	x.Bound.Min, x.Bound.Max = f(lo), f(lo)
	for m := lo; m <= hi; m++ {
		x.Bound.Min, x.Bound.Max = min(x.Bound.Min, f(m)), max(x.Bound.Max, f(m))
	}
	return x
}

// fill bootstraps full blocks of all columns at once, as long as there are any.
// While a column holds more than a block, what noise leaves room for is one too.
func (c *columns) fill() error {
	const full = foldReach - 1
	for {
		var step batch
		for k := range c.terms {
			reach, last := int64(foldReach), c.last(k)
			for c.reach(k) > reach || c.reach(k) >= full && !last {
				group, rest := c.r.gather(c.terms[k], reach)
				if c.reach(k) <= foldReach && c.r.total(0, group).Bound.Max < full {
					break
				}
				c.terms[k], c.folded[k] = rest, true
				// The message comes back when the step has run.
				c.split(&step, k, 0, group, false, func(x fhe.LWE) { c.add(k, 1, x) })
			}
		}
		if len(step.tasks) == 0 {
			return nil
		}
		if err := c.r.bootstrap(&step); err != nil {
			return err
		}
	}
}

// calm refreshes the terms of columns that are about to be summed up and are too
// noisy for that, whatever the errors have to do with each other.
func (c *columns) calm() error {
	anyCarry := fhe.LWE{Bound: noise.Bound{Variance: 2 * c.r.params.BootstrapVariance(), Max: 1}}
	var step batch
	for _, terms := range c.terms {
		in := c.r.total(0, terms)
		if in.Bound.Max > foldReach {
			// Terms are chosen so that they fit, if any two of them do.
			for i := range terms {
				one := fhe.Term{Weight: 1, LWE: terms[i]}
				if !c.r.fits(one, one, fhe.Term{Weight: 1, LWE: anyCarry}) {
					c.r.refresh(&step, &terms[i])
				}
			}
			continue
		}
		if noise.Combine(0, noise.Term{Weight: 1, Bound: in.Bound}, noise.Term{Weight: 1, Bound: anyCarry.Bound}).Variance > c.r.params.MaxVariance() {
			for i := range terms {
				c.r.refresh(&step, &terms[i])
			}
		}
	}
	return c.r.bootstrap(&step)
}

// settle returns the blocks of the sum, modulo 4^places.
func (c *columns) settle() ([]fhe.LWE, error) {
	if err := c.calm(); err != nil {
		return nil, err
	}
	if c.r.strategy == Latency {
		if err := c.compress(); err != nil {
			return nil, err
		}
		return c.lookahead()
	}
	if err := c.fill(); err != nil {
		return nil, err
	}
	return c.ripple()
}

// loud says that the sum of a column holds a message that was made of several
// outputs, and so must not be a result.
func (c *columns) loud(place int, sum fhe.LWE) bool {
	return c.folded[place] && sum.Bound.Variance > 2*c.r.params.BootstrapVariance()
}

// ripple settles column after column, least significant first. A block whose
// bounds leave no doubt of its carry needs no bootstrap: the sum is its message.
func (c *columns) ripple() ([]fhe.LWE, error) {
	out := make([]fhe.LWE, len(c.terms))
	for k := range out {
		for done := false; !done; {
			var step batch
			plain := c.digit(k)
			in := c.r.total(plain, c.terms[k])
			stay := func(x fhe.LWE) { out[k] = x }
			done = true
			switch carry := in.Bound.Min / 4; {
			case carry == in.Bound.Max/4 && !c.loud(k, in):
				out[k] = c.r.linear(-4*carry, fhe.Term{Weight: 1, LWE: in})
				c.addPlain(k+1, carry)
			case in.Bound.Max-plain <= foldReach && c.r.quiet(in):
				c.split(&step, k, plain, c.terms[k], true, stay)
			default:
				var group []fhe.LWE
				group, c.terms[k] = c.r.gather(c.terms[k], foldReach)
				c.folded[k] = true
				c.split(&step, k, 0, group, false, func(x fhe.LWE) { c.add(k, 1, x) })
				done = false
			}
			if err := c.r.bootstrap(&step); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}
