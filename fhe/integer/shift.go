package integer

import (
	"math/bits"
	"slices"

	"github.com/tacit-fhe/tacit/fhe"
)

// shift shifts or rotates by an amount modulo the width. An encrypted amount is
// taken a digit in base 4 at a time: the first one shifts within blocks, every
// other one moves blocks, and so does the top bit of a width that is not a power
// of 4. One bootstrap of 4s + x gives what a block leaves at all the places where
// the digit may move it; all but one of them are 0, so that what meets at a place
// adds up.
func (r *run) shift(op Op, a, amount []fhe.LWE) ([]fhe.LWE, error) {
	log := bits.Len(uint(blockBits*len(a))) - 1
	amount = slices.Clone(amount[:(log+1)/2])
	a = slices.Clone(a)
	if s := plaintext(amount); s != nil {
		return r.shiftBy(op, a, int(s.Int64())%(blockBits*len(a)))
	}
	var first batch
	if top := &amount[len(amount)-1]; log%2 == 1 {
		if isConstant(*top) {
			*top = constant(top.Bound.Min & 1)
		} else {
			first.to(top, *top, r.tables.lowBit)
		}
	}
	for i := range amount[:log/2] {
		r.refreshFor(&first, &amount[i], 3)
	}
	for i := range a {
		r.refreshFor(&first, &a[i], 2)
	}
	if err := r.bootstrap(&first); err != nil {
		return nil, err
	}
	a, err := r.shiftWithin(op, a, amount[0])
	for d := 1; d < len(amount) && err == nil; d++ {
		lut := r.tables.pick
		if d >= log/2 {
			lut = r.tables.pick2
		}
		m := newMoves(op, len(a))
		var step batch
		for i, x := range a {
			step.add(digitOver(r, amount[d], x), lut, func(o []fhe.LWE) {
				for v, y := range o {
					m.put(i, v<<(2*d-1), y)
				}
			})
		}
		if err = r.bootstrap(&step); err == nil {
			a = m.join(r)
		}
	}
	return a, err
}

// digitOver is 4s + x.
func digitOver(r *run, s, x fhe.LWE) fhe.LWE {
	return r.linear(0, fhe.Term{Weight: 4, LWE: s}, fhe.Term{Weight: 1, LWE: x})
}

// shiftWithin shifts by one encrypted digit.
func (r *run) shiftWithin(op Op, a []fhe.LWE, s fhe.LWE) ([]fhe.LWE, error) {
	t := r.tables.shiftLeft
	if op == OpShr || op == OpRotr {
		t = r.tables.shiftRight
	}
	m := newMoves(op, len(a))
	var step batch
	for i, x := range a {
		if isConstant(x) && x.Bound.Min == 0 {
			continue
		}
		in := digitOver(r, s, x)
		step.add(in, t.kept, func(o []fhe.LWE) {
			m.put(i, 0, o[0])
			m.put(i, 1, o[1])
		})
		step.add(in, t.moved, func(o []fhe.LWE) {
			m.put(i, 1, o[0])
			m.put(i, 2, o[1])
		})
	}
	if err := r.bootstrap(&step); err != nil {
		return nil, err
	}
	return m.join(r), nil
}

// moves collects what arrives at every place.
type moves struct {
	op    Op
	terms [][]fhe.Term
}

func newMoves(op Op, places int) *moves { return &moves{op, make([][]fhe.Term, places)} }

// put moves a block from a place by a distance: out of the value, or around.
func (m *moves) put(from, distance int, x fhe.LWE) {
	if to, ok := target(m.op, len(m.terms), from, distance); ok {
		m.terms[to] = append(m.terms[to], fhe.Term{Weight: 1, LWE: x})
	}
}

// target is the place that a block moves to.
func target(op Op, places, from, distance int) (int, bool) {
	if op == OpShr || op == OpRotr {
		distance = -distance
	}
	to := from + distance
	if op == OpShl || op == OpShr {
		return to, to >= 0 && to < places
	}
	return (to%places + places) % places, true
}

// join adds up what has arrived, of which one at most is not 0 at every place.
func (m *moves) join(r *run) []fhe.LWE {
	out := make([]fhe.LWE, len(m.terms))
	for i, terms := range m.terms {
		var hi int64
		for _, t := range terms {
			hi = max(hi, t.LWE.Bound.Max)
		}
		out[i] = r.merge(0, hi, 0, terms...)
	}
	return out
}

// shiftBy shifts or rotates by a public amount below the width. Blocks move for
// nothing; an odd amount takes a bootstrap of two neighbours for every block.
func (r *run) shiftBy(op Op, a []fhe.LWE, amount int) ([]fhe.LWE, error) {
	n := len(a)
	left := op == OpShl || op == OpRotl
	moved := constants(make([]int64, n+1)) // one more, beyond the end that bits come in from
	distance := amount / blockBits
	for i, x := range a {
		if to, ok := target(op, n, i, distance); ok {
			moved[to] = x
		}
	}
	if amount%2 == 0 {
		return moved[:n], nil
	}
	if op == OpRotl || op == OpRotr {
		moved[n] = moved[0]
		if left {
			moved[n] = moved[n-1]
		}
	}
	if left { // the neighbour comes from below
		moved = append(moved[n:], moved[:n]...)
	}
	var first, step batch
	for i := range moved {
		r.refreshFor(&first, &moved[i], 3)
	}
	if err := r.bootstrap(&first); err != nil {
		return nil, err
	}
	out := make([]fhe.LWE, n)
	for i := range out {
		step.to(&out[i], digitOver(r, moved[i+1], moved[i]), r.tables.middle)
	}
	return out, r.bootstrap(&step)
}
