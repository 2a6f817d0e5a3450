package workloads

import (
	"context"
	"sync"

	"github.com/tacit-fhe/tacit/fhe/integer"
)

// group runs functions that do not depend on each other at the same time, so that
// their bootstraps share batches, and returns the first error.
type group struct {
	wait  sync.WaitGroup
	once  sync.Once
	first error
}

func (g *group) run(f func() error) {
	g.wait.Go(func() {
		if err := f(); err != nil {
			g.once.Do(func() { g.first = err })
		}
	})
}

// set runs an operation and keeps its result in dst.
func (g *group) set(dst **integer.Value, f func() (*integer.Value, error)) {
	g.run(func() (err error) {
		*dst, err = f()
		return err
	})
}

func (g *group) end() error {
	g.wait.Wait()
	return g.first
}

// Transfer moves an amount from one balance to another if the first covers it, and
// nothing otherwise. It returns the balances after it and whether it went through.
func Transfer(ctx context.Context, e *integer.Evaluator, from, to, amount *integer.Value) (newFrom, newTo, ok *integer.Value, err error) {
	if ok, err = e.Ge(ctx, from, amount); err != nil {
		return nil, nil, nil, err
	}
	sent, err := e.Select(ctx, ok, amount, integer.Plain(amount.Type, 0))
	if err != nil {
		return nil, nil, nil, err
	}
	var g group
	g.set(&newFrom, func() (*integer.Value, error) { return e.Sub(ctx, from, sent) })
	g.set(&newTo, func() (*integer.Value, error) { return e.Add(ctx, to, sent) })
	return newFrom, newTo, ok, g.end()
}

// Auction returns the highest of up to 256 bids and the index of the bid that
// wins, the first of the highest ones, as a Uint8. Nothing is learnt of the others.
func Auction(ctx context.Context, e *integer.Evaluator, bids []*integer.Value) (highest, winner *integer.Value, err error) {
	type entry struct {
		bid   *integer.Value
		index integer.Operand
	}
	round := make([]entry, len(bids))
	for i, b := range bids {
		round[i] = entry{b, integer.Plain(integer.Uint8, uint64(i))}
	}
	for len(round) > 1 { // a knock-out: the winners of pairs go on
		next := make([]entry, (len(round)+1)/2)
		var g group
		for i := range next {
			if 2*i+1 == len(round) {
				next[i] = round[2*i]
				continue
			}
			a, b := round[2*i], round[2*i+1]
			g.run(func() error {
				above, err := e.Gt(ctx, b.bid, a.bid)
				if err != nil {
					return err
				}
				var pair group
				var index *integer.Value
				pair.set(&next[i].bid, func() (*integer.Value, error) { return e.Select(ctx, above, b.bid, a.bid) })
				pair.set(&index, func() (*integer.Value, error) { return e.Select(ctx, above, b.index, a.index) })
				err = pair.end()
				next[i].index = index
				return err
			})
		}
		if err := g.end(); err != nil {
			return nil, nil, err
		}
		round = next
	}
	winner, ok := round[0].index.(*integer.Value)
	if !ok { // a lone bid
		winner, err = e.Trivial(integer.Plain(integer.Uint8, 0))
	}
	return round[0].bid, winner, err
}

// Tally counts the ballots that are true, at most 2^16 - 1 of them, as a Uint16.
func Tally(ctx context.Context, e *integer.Evaluator, ballots []*integer.Value) (*integer.Value, error) {
	terms := make([]integer.Operand, len(ballots))
	for i, b := range ballots {
		wide, err := e.Cast(ctx, b, integer.Uint16)
		if err != nil {
			return nil, err
		}
		terms[i] = wide
	}
	return sum(ctx, e, terms)
}

// sum is the sum of any number of values of one type.
func sum(ctx context.Context, e *integer.Evaluator, terms []integer.Operand) (*integer.Value, error) {
	for len(terms) > integer.MaxElements {
		sums := make([]*integer.Value, (len(terms)+integer.MaxElements-1)/integer.MaxElements)
		var g group
		for i := range sums {
			part := terms[i*integer.MaxElements : min(len(terms), (i+1)*integer.MaxElements)]
			g.set(&sums[i], func() (*integer.Value, error) { return e.Sum(ctx, part...) })
		}
		if err := g.end(); err != nil {
			return nil, err
		}
		terms = operands(sums)
	}
	return e.Sum(ctx, terms...)
}

// MedianOfFive returns the third of five values in order of size: of two pairs the
// least of all and the greatest of all cannot be it, and it is the median of the
// other three.
func MedianOfFive(ctx context.Context, e *integer.Evaluator, v [5]*integer.Value) (*integer.Value, error) {
	pairs, err := exchange(ctx, e, pair{v[0], v[1]}, pair{v[2], v[3]})
	if err != nil {
		return nil, err
	}
	var rest pair // the greater of the smaller ones, the smaller of the greater ones
	var g group
	g.set(&rest[0], func() (*integer.Value, error) { return e.Max(ctx, pairs[0][0], pairs[1][0]) })
	g.set(&rest[1], func() (*integer.Value, error) { return e.Min(ctx, pairs[0][1], pairs[1][1]) })
	if err := g.end(); err != nil {
		return nil, err
	}
	ordered, err := exchange(ctx, e, rest)
	if err != nil {
		return nil, err
	}
	inner, err := e.Min(ctx, v[4], ordered[0][1])
	if err != nil {
		return nil, err
	}
	return e.Max(ctx, ordered[0][0], inner)
}

type pair [2]*integer.Value

// exchange returns pairs with the smaller value first, all at the same time.
func exchange(ctx context.Context, e *integer.Evaluator, pairs ...pair) ([]pair, error) {
	out := make([]pair, len(pairs))
	var g group
	for i, p := range pairs {
		g.set(&out[i][0], func() (*integer.Value, error) { return e.Min(ctx, p[0], p[1]) })
		g.set(&out[i][1], func() (*integer.Value, error) { return e.Max(ctx, p[0], p[1]) })
	}
	return out, g.end()
}

// Sort returns the values in ascending order, by the odd-even merge network of
// Batcher ("Sorting Networks and Their Applications", 1968), whose comparisons do
// not depend on the values.
func Sort(ctx context.Context, e *integer.Evaluator, values []*integer.Value) ([]*integer.Value, error) {
	out := append([]*integer.Value(nil), values...)
	for _, layer := range network(len(values)) {
		var pairs []pair
		for _, at := range layer {
			pairs = append(pairs, pair{out[at[0]], out[at[1]]})
		}
		sorted, err := exchange(ctx, e, pairs...)
		if err != nil {
			return nil, err
		}
		for i, at := range layer {
			out[at[0]], out[at[1]] = sorted[i][0], sorted[i][1]
		}
	}
	return out, nil
}

// network is the merge network of n wires: layers of comparisons that do not touch
// each other. Comparisons with wires past the last one, which would hold the
// greatest value, are left out.
func network(n int) (layers [][][2]int) {
	for p := 1; p < n; p *= 2 {
		for k := p; k >= 1; k /= 2 {
			var layer [][2]int
			for j := k % p; j+k < n; j += 2 * k {
				for i := range k {
					if a, b := i+j, i+j+k; b < n && a/(2*p) == b/(2*p) {
						layer = append(layer, [2]int{a, b})
					}
				}
			}
			layers = append(layers, layer)
		}
	}
	return layers
}

// Find looks a key up among others, which differ from each other. It returns the
// value that belongs to it, 0 if there is none, and whether there is one.
func Find(ctx context.Context, e *integer.Evaluator, key *integer.Value, keys, values []*integer.Value) (value, found *integer.Value, err error) {
	hits, chosen := make([]*integer.Value, len(keys)), make([]*integer.Value, len(keys))
	var g group
	for i := range keys {
		g.run(func() (err error) {
			if hits[i], err = e.Eq(ctx, key, keys[i]); err != nil {
				return err
			}
			chosen[i], err = e.Select(ctx, hits[i], values[i], integer.Plain(values[i].Type, 0))
			return err
		})
	}
	if err := g.end(); err != nil {
		return nil, nil, err
	}
	g.set(&value, func() (*integer.Value, error) { return sum(ctx, e, operands(chosen)) })
	g.set(&found, func() (*integer.Value, error) {
		count, err := Tally(ctx, e, hits)
		if err != nil {
			return nil, err
		}
		return e.Cast(ctx, count, integer.Bool)
	})
	return value, found, g.end()
}

func operands(values []*integer.Value) []integer.Operand {
	out := make([]integer.Operand, len(values))
	for i, v := range values {
		out[i] = v
	}
	return out
}

// widen casts values. Of those that were narrower, the upper part is known to be 0
// and costs nothing.
func widen(ctx context.Context, e *integer.Evaluator, t integer.Type, in []*integer.Value) ([]*integer.Value, error) {
	out := make([]*integer.Value, len(in))
	for i, v := range in {
		x, err := e.Cast(ctx, v, t)
		if err != nil {
			return nil, err
		}
		out[i] = x
	}
	return out, nil
}

// weighted is Σ weights·in modulo the range of t: what is added, less what is
// taken away.
func weighted(ctx context.Context, e *integer.Evaluator, t integer.Type, weights []int64, in []*integer.Value) (*integer.Value, error) {
	in, err := widen(ctx, e, t, in)
	if err != nil {
		return nil, err
	}
	terms := make([]*integer.Value, len(in))
	var g group
	for i, w := range weights {
		g.set(&terms[i], func() (*integer.Value, error) {
			return e.Mul(ctx, in[i], integer.Plain(t, uint64(max(w, -w))))
		})
	}
	if err := g.end(); err != nil {
		return nil, err
	}
	side := func(sign int64) (*integer.Value, error) {
		of := []integer.Operand{integer.Plain(t, 0)}
		for i, w := range weights {
			if w*sign > 0 {
				of = append(of, terms[i])
			}
		}
		return e.Sum(ctx, of...)
	}
	var plus, minus *integer.Value
	g.set(&plus, func() (*integer.Value, error) { return side(1) })
	g.set(&minus, func() (*integer.Value, error) { return side(-1) })
	if err := g.end(); err != nil {
		return nil, err
	}
	return e.Sub(ctx, plus, minus)
}
