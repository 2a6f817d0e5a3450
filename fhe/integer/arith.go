package integer

import (
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/noise"
)

// ripple adds b to a, or subtracts it, block by block. One bootstrap gives the
// message and the carry or borrow of a block. A block whose bounds leave no
// doubt of its carry needs none: the sum is its message.
func (r *run) ripple(a, b []fhe.LWE, subtract bool) ([]fhe.LWE, error) {
	// s is a + b + carry, or a - b - borrow. Where it is looked up it is moved
	// to [0, 7].
	sign, shift, both, last := int64(1), int64(0), r.tables.sum, r.tables.sumLast
	if subtract {
		sign, shift, both, last = -1, 4, r.tables.difference, r.tables.differenceLast
	}
	anyCarry := fhe.LWE{Bound: noise.Bound{Variance: r.params.BootstrapVariance(), Max: 1}}
	a, b, err := r.refreshPairs(a, b, 1, sign, fhe.Term{Weight: sign, LWE: anyCarry})
	if err != nil {
		return nil, err
	}
	out := make([]fhe.LWE, len(a))
	carry := constant(0)
	for i := range a {
		terms := []fhe.Term{{Weight: 1, LWE: a[i]}, {Weight: sign, LWE: b[i]}, {Weight: sign, LWE: carry}}
		s := r.linear(0, terms...)
		var step batch
		switch {
		case s.Bound.Min >= 0 && s.Bound.Max <= 3:
			out[i], carry = s, constant(0)
		case s.Bound.Min >= 4 || s.Bound.Max < 0:
			out[i], carry = r.linear(-4*sign, terms...), constant(1)
		case i == len(a)-1:
			step.to(&out[i], r.linear(shift, terms...), last)
		default:
			step.add(r.linear(shift, terms...), both, func(o []fhe.LWE) { out[i], carry = o[0], o[1] })
		}
		if err := r.bootstrap(&step); err != nil {
			return nil, err
		}
	}
	return out, nil
}
