package integer

import (
	"github.com/tacit-fhe/tacit/fhe"
)

// extreme is the smaller or the greater value.
func (r *run) extreme(op Op, a, b []fhe.LWE) ([]fhe.LWE, error) {
	less, err := r.compare(OpLt, a, b)
	if err != nil {
		return nil, err
	}
	if op == OpMax {
		a, b = b, a
	}
	return r.choose(less[0], a, b)
}

// cast truncates or extends, or tests for 0.
func (r *run) cast(a []fhe.LWE, to Type) ([]fhe.LWE, error) {
	if to == Bool && len(a) > 1 {
		return r.equal(false, a, constants(make([]int64, len(a))))
	}
	out := constants(make([]int64, to.Blocks()))
	copy(out, a)
	return out, nil
}

// isIn tests whether a equals one of several values. Public ones share tests of
// pairs of blocks: one bootstrap gives a flag for every message that a pair can
// have, and an element counts those it asks for.
func (r *run) isIn(a []fhe.LWE, elements [][]fhe.LWE) ([]fhe.LWE, error) {
	found := make([]fhe.LWE, len(elements))
	var pairs [][]fhe.LWE
	var err error
	public := 0
	for _, e := range elements {
		public += int(truth(isPlain(e)))
	}
	if public > 1 && !isPlain(a) {
		if pairs, err = r.pairFlags(a); err != nil {
			return nil, err
		}
	}
	var tests []func(r *run) error
	for i, e := range elements {
		tests = append(tests, func(r *run) error {
			var out []fhe.LWE
			var err error
			if pairs != nil && isPlain(e) {
				flags := make([]fhe.LWE, len(pairs))
				for j := range flags {
					flags[j] = pairs[j][4*e[2*j+1].Bound.Min+e[2*j].Bound.Min]
				}
				out, err = r.all(true, flags)
			} else {
				out, err = r.equal(true, a, e)
			}
			if err == nil {
				found[i] = out[0]
			}
			return err
		})
	}
	if err := r.together(tests...); err != nil {
		return nil, err
	}
	out, err := r.some(found)
	return []fhe.LWE{out}, err
}

// pairFlags returns for every pair of blocks sixteen flags, of which the one of
// its message is 1.
func (r *run) pairFlags(a []fhe.LWE) ([][]fhe.LWE, error) {
	a, err := r.refreshAll(a, 3)
	if err != nil {
		return nil, err
	}
	out := make([][]fhe.LWE, len(a)/2)
	var step batch
	for i := range out {
		step.add(digitOver(r, a[2*i+1], a[2*i]), r.tables.oneHot, func(o []fhe.LWE) { out[i] = o })
	}
	return out, r.bootstrap(&step)
}
