package integer

import (
	"math/bits"
	"slices"

	"github.com/tacit-fhe/tacit/fhe"
)

// lookaheadReach is the greatest sum of a block that a carry of 1 from below
// carries over only if it is 3. The lowest block may reach one more.
const lookaheadReach = 6

// compress splits the blocks of all columns at once until every column is within
// lookaheadReach.
func (c *columns) compress() error {
	for {
		var step batch
		var incoming int64 // what the column below may carry over in this step
		for k, terms := range c.terms {
			plain := c.digit(k)
			in := c.r.total(plain, terms)
			limit := int64(lookaheadReach)
			if k == 0 {
				limit++
			}
			carried := incoming
			incoming = 0
			if quiet := c.r.quiet(in); quiet && (in.Bound.Max+carried <= limit || in.Bound.Max <= 3) {
				continue
			}
			c.addPlain(k, -plain)
			var kept []fhe.LWE
			for rest := terms; len(rest) > 0; plain = 0 {
				var group []fhe.LWE
				group, rest = c.r.gather(rest, foldReach-plain)
				sum := plain + c.r.total(0, group).Bound.Max
				if sum <= 3 && len(group) == 1 && group[0].Bound.Variance <= c.r.params.BootstrapVariance() {
					kept = append(kept, group...)
					c.addPlain(k, plain)
					continue
				}
				c.split(&step, k, plain, group, false, func(x fhe.LWE) { c.add(k, 1, x) })
				incoming += sum / 4
			}
			c.terms[k], c.folded[k] = kept, true
		}
		if len(step.tasks) == 0 {
			return nil
		}
		if err := c.r.bootstrap(&step); err != nil {
			return err
		}
	}
}

// status is what a run of blocks does to the carry that comes in from below: -1
// if none leaves it, 1 if one does, 0 if it is passed on. The ciphertext holds
// that times scale.
type status struct {
	x     fhe.LWE
	scale int64
}

// known is a public status.
func known(s int64) status { return status{constant(s), 1} }

// settled says that nothing below matters.
func (s status) settled() bool { return isConstant(s.x) && s.x.Bound.Min != 0 }

// scaled is the status times a multiple of its scale.
func (s status) scaled(to int64) fhe.Term { return fhe.Term{Weight: to / s.scale, LWE: s.x} }

// lookahead settles columns within lookaheadReach by a parallel prefix: the
// status of blocks k..0 is the sign of the most significant status that is not 0,
// which one bootstrap finds of four at a time, as compare does (radix-4 Sklansky).
// The last two runs of blocks are joined by the bootstrap that adds the carry.
func (c *columns) lookahead() ([]fhe.LWE, error) {
	n := len(c.terms)
	r, t := c.r, c.r.tables
	levels := 0
	for 2<<(2*levels) < n {
		levels++
	}
	half := 1 << (2 * levels)
	place := func(k, level int) int { return k >> (2 * (level - 1)) & 3 }
	// wanted is the scale in which the level above takes the status of a block.
	wanted := func(k, level int) int64 {
		switch {
		case level < levels:
			return 1 << place(k, level+1)
		case k < half:
			return 2
		}
		return 4
	}

	out := make([]fhe.LWE, n)    // messages without the carry from below
	carry := make([]status, n)   // of blocks k..0 in the end
	exposed := make([]bool, n+1) // a carry may come in
	must := false
	var first batch
	for k := range n {
		in := r.total(c.digit(k), c.terms[k])
		must = in.Bound.Min+truth(must) >= 4
		exposed[k+1] = in.Bound.Max+truth(exposed[k]) >= 4
		q := in.Bound.Min / 4
		plain := q == in.Bound.Max/4 && !c.loud(k, in)
		if plain {
			out[k] = r.linear(-4*q, fhe.Term{Weight: 1, LWE: in})
		}
		switch scale := wanted(k, 0); {
		case must || !exposed[k+1]:
			carry[k] = known(2*truth(must) - 1)
			if !plain {
				first.to(&out[k], in, t.message[0])
			}
		case isConstant(in):
			carry[k] = known(0)
		case c.last(k):
			first.to(&out[k], in, t.message[0])
		default:
			first.add(in, t.status[logOf(scale)][truth(exposed[k])], func(o []fhe.LWE) {
				out[k], carry[k] = o[0], status{o[1], scale}
			})
		}
	}
	if err := r.bootstrap(&first); err != nil {
		return nil, err
	}

	for level := 1; level <= levels; level++ {
		below := slices.Clone(carry)
		var step batch
		for k := range n {
			if c.last(k) || below[k].settled() {
				continue
			}
			own, scale := below[k], wanted(k, level)
			var terms []fhe.Term
			for sub := range place(k, level) {
				end := k>>(2*level)<<(2*level) + (sub+1)<<(2*(level-1)) - 1
				terms = append(terms, below[end].scaled(1<<sub))
			}
			if len(terms) == 0 && scale/own.scale <= 4 {
				continue // it can be scaled where it is used
			}
			in := r.linear(0, append(terms, own.scaled(1<<place(k, level)))...)
			if isConstant(in) {
				carry[k] = known(signOf(in.Bound.Min))
				continue
			}
			step.add(in, t.sign[logOf(scale)], func(o []fhe.LWE) { carry[k] = status{o[0], scale} })
		}
		if err := r.bootstrap(&step); err != nil {
			return nil, err
		}
	}

	var last batch
	for k := range n {
		if !exposed[k] || carry[k-1].settled() && carry[k-1].x.Bound.Min < 0 {
			continue
		}
		in, lut, f := r.linear(2, fhe.Term{Weight: 1, LWE: out[k]}, carry[k-1].scaled(2)), t.carryIn, carryIn
		if k-1 >= half && !carry[k-1].settled() {
			in, lut, f = r.linear(6, fhe.Term{Weight: 1, LWE: out[k]}, carry[k-1].scaled(4), carry[half-1].scaled(2)), t.carryIn2, carryIn2
		}
		if isConstant(in) {
			out[k] = constant(f(in.Bound.Min))
			continue
		}
		last.to(&out[k], in, lut)
	}
	if c.spills && exposed[n] {
		terms := []fhe.Term{carry[n-1].scaled(4)}
		if n > half && !carry[n-1].settled() {
			terms = append(terms, carry[half-1].scaled(2))
		}
		if in := r.linear(0, terms...); isConstant(in) {
			c.addPlain(n, truth(in.Bound.Min > 0))
		} else {
			last.add(in, t.predicate[OpGt], func(o []fhe.LWE) { c.spill = append(c.spill, o[0]) })
		}
	}
	return out, r.bootstrap(&last)
}

func logOf(scale int64) int { return bits.Len64(uint64(scale)) - 1 }
