package integer

import (
	"slices"

	"github.com/tacit-fhe/tacit/fhe"
)

// some tests whether one of several blocks, each with messages from 0 on, is not
// 0. Sums up to signReach are tested at once.
func (r *run) some(blocks []fhe.LWE) (fhe.LWE, error) {
	for {
		blocks = slices.DeleteFunc(slices.Clone(blocks), func(x fhe.LWE) bool { return x.Bound.Max == 0 })
		switch {
		case len(blocks) == 0:
			return constant(0), nil
		case slices.ContainsFunc(blocks, func(x fhe.LWE) bool { return x.Bound.Min > 0 }):
			return constant(1), nil
		case len(blocks) == 1 && blocks[0].Bound.Max == 1:
			return blocks[0], nil
		}
		var flags []fhe.LWE
		var step batch
		for rest := range slices.Chunk(blocks, 4*signReach) {
			for len(rest) > 0 {
				var group []fhe.LWE
				group, rest = r.gather(rest, signReach)
				if len(group) == 1 && group[0].Bound.Max == 1 && len(step.tasks) > 0 {
					flags = append(flags, group[0]) // nothing to gain
					continue
				}
				step.add(r.total(0, group), r.tables.notZero, func(o []fhe.LWE) { flags = append(flags, bounded(o[0], 0, 1, message)) })
			}
		}
		if err := r.bootstrap(&step); err != nil {
			return fhe.LWE{}, err
		}
		blocks = flags
	}
}

// someAbove returns for every place whether a block there or above is not 0.
func (r *run) someAbove(blocks []fhe.LWE) ([]fhe.LWE, error) {
	n := len(blocks)
	blocks, err := r.refreshAll(blocks, 3)
	if err != nil {
		return nil, err
	}
	out := slices.Clone(blocks)
	if r.strategy == Throughput {
		above := constant(0)
		for i := n - 1; i >= 0; i-- {
			if above, err = r.some([]fhe.LWE{r.sum(above, blocks[i])}); err != nil {
				return nil, err
			}
			out[i] = above
		}
		return out, nil
	}
	// Sums of five blocks, then of fifteen flags, a doubling of 5, 75, 1125.
	for span, radix := 1, 5; span < n || span == 1; span, radix = span*radix, 15 {
		var step batch
		next := slices.Clone(out)
		for i := range out {
			var terms []fhe.LWE
			for j := i; j < n && j < i+span*radix; j += span {
				terms = append(terms, out[j])
			}
			in := r.total(0, terms)
			if isConstant(in) {
				next[i] = constant(truth(in.Bound.Min != 0))
				continue
			}
			step.add(in, r.tables.notZero, func(o []fhe.LWE) { next[i] = bounded(o[0], 0, 1, message) })
		}
		if err := r.bootstrap(&step); err != nil {
			return nil, err
		}
		out = next
	}
	return out, nil
}

// farApart returns flags of which one is 1 if some a_i and b_j with i+j ≥ places
// are not 0, so that the product reaches 4^places.
func (r *run) farApart(a, b []fhe.LWE) ([]fhe.LWE, error) {
	n := len(a)
	above, err := r.someAbove(a[1:]) // from place 1 on
	if err != nil {
		return nil, err
	}
	b, err = r.refreshAll(b, 3)
	if err != nil {
		return nil, err
	}
	var flags []fhe.LWE
	var step batch
	for j := 1; j < n; j++ {
		x, y := above[n-j-1], b[j]
		switch {
		case x.Bound.Max == 0 || y.Bound.Max == 0:
		case x.Bound.Min > 0:
			flags = append(flags, y)
		case y.Bound.Min > 0:
			flags = append(flags, x)
		default:
			step.add(r.linear(0, fhe.Term{Weight: 4, LWE: x}, fhe.Term{Weight: 1, LWE: y}), r.tables.both, func(o []fhe.LWE) { flags = append(flags, o[0]) })
		}
	}
	return flags, r.bootstrap(&step)
}
