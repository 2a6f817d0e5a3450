package integer

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/noise"
)

// Cost is what an operation spends.
type Cost struct {
	Bootstraps int
	Depth      int // calls of the Bootstrapper, each after the one before
}

// An outline stands for a ciphertext in an estimate. It has the bound of the
// ciphertext and two residues, the first one of the mask and the body: as they are
// combined as all residues are, whether two combinations are the same, or have the
// same error, comes out as it would with ciphertexts.

const outlineSize = 2

// newOutline is an outline of a ciphertext whose mask is drawn from a word.
func newOutline(p *fhe.Parameters, word uint64, b noise.Bound) fhe.LWE {
	mask, body := word%p.Modulus(), scramble(word)%p.Modulus()
	return fhe.LWE{Value: []uint64{mask, body}, Bound: b}
}

// Outline returns a stand-in for an encrypted value of type t whose blocks have
// the given bounds, or those of bootstrap outputs if there are none. Outlines of
// different ids stand for different ciphertexts. The error is a *ValueError.
func (e *Evaluator) Outline(t Type, id [32]byte, bounds []noise.Bound) (*Value, error) {
	v := &Value{Type: t, Blocks: make([]fhe.LWE, t.Blocks())}
	if bounds != nil && len(bounds) != len(v.Blocks) {
		return nil, &ValueError{0, len(bounds), fmt.Errorf("%v has %d blocks", t, len(v.Blocks))}
	}
	for i := range v.Blocks {
		v.Blocks[i] = newOutline(e.params, mix(uint64(i), id[:]), noise.Bound{Variance: e.params.BootstrapVariance(), Max: t.blockMax()})
		if v.Blocks[i].Bound.Source = fhe.SourceOf(v.Blocks[i]); bounds != nil {
			v.Blocks[i].Bound = bounds[i]
		}
		if err := e.checkBound(t, v.Blocks[i]); err != nil {
			return nil, &ValueError{0, i, err}
		}
	}
	return v, nil
}

// OutlineTrivial is the outline of what Trivial returns.
func (e *Evaluator) OutlineTrivial(s Scalar) (*Value, error) {
	return e.trivial(s, true)
}

// Cost predicts exactly what Apply spends, see Estimate.
func (e *Evaluator) Cost(op Op, operands ...Operand) (Cost, error) {
	_, c, _, err := e.Estimate(op, operands...)
	return c, err
}

// Estimate predicts exactly what Apply spends, without ciphertexts, and returns
// outlines of the results, for estimates of what is done with them, and the most
// bootstraps of one call of the Bootstrapper, with which grows what Apply holds in
// memory. Plaintext operands count with their value. Of a Value it takes the bounds and
// whether ciphertexts are the same. A Value without blocks stands for one that is clean
// and like no other. Errors are those of Apply.
func (e *Evaluator) Estimate(op Op, operands ...Operand) (results []*Value, c Cost, width int, err error) {
	call, err := newCall(op, operands)
	if err != nil {
		return nil, Cost{}, 0, err
	}
	for i, o := range operands {
		v, ok := o.(*Value)
		switch {
		case !ok:
			continue
		case v.Blocks == nil:
			if v, err = e.Outline(v.Type, [32]byte{31: byte(i)}, nil); err != nil {
				return nil, Cost{}, 0, err
			}
		case len(v.Blocks) != v.Type.Blocks():
			return nil, Cost{}, 0, &ValueError{i, len(v.Blocks), fmt.Errorf("%v has %d blocks", v.Type, v.Type.Blocks())}
		}
		call.in[i] = make([]fhe.LWE, len(v.Blocks))
		for b, x := range v.Blocks {
			if err := e.checkBound(v.Type, x); err != nil {
				return nil, Cost{}, 0, &ValueError{i, b, err}
			}
			if call.in[i][b], err = outlineOf(x); err != nil {
				return nil, Cost{}, 0, &ValueError{i, b, err}
			}
		}
	}
	r := &run{
		params: e.params, tables: e.tables, strategy: e.strategy, outlines: true,
		boot: func(tasks []fhe.PBS) error {
			c.Bootstraps += len(tasks)
			c.Depth++
			width = max(width, len(tasks))
			for i, t := range tasks {
				lo, hi := t.LUT.Domain()
				if err := e.params.CheckInput(t.In.Bound, lo, hi); err != nil {
					return fmt.Errorf("bootstrap %d: %w", i, err)
				}
				bootstrapOutline(e.params, t)
			}
			return nil
		},
	}
	blocks, err := r.apply(call)
	if err != nil {
		return nil, Cost{}, 0, fmt.Errorf("%v: %w", op, err)
	}
	return r.values(call, blocks), c, width, nil
}

// outlineOf is the outline of a ciphertext.
func outlineOf(x fhe.LWE) (fhe.LWE, error) {
	switch n := len(x.Value); {
	case n == outlineSize:
		return x, nil
	case n < outlineSize:
		return x, fmt.Errorf("the ciphertext has %d residues", n)
	}
	return fhe.LWE{Value: []uint64{x.Value[0], x.Value[len(x.Value)-1]}, Bound: x.Bound}, nil
}

// bootstrapOutline fills the outputs of a bootstrap, the same ones for the same
// ciphertext, and trivial ones for a trivial one.
func bootstrapOutline(p *fhe.Parameters, t fhe.PBS) {
	mask, body := t.In.Value[0], t.In.Value[1]
	for i := range t.Out {
		x := fhe.LWE{Value: []uint64{0, 0}}
		if mask != 0 {
			x = newOutline(p, scramble(scramble(mask)^body)^scramble(t.LUT.ID()+uint64(t.LUT.Offset(i))), noise.Bound{})
		}
		t.Out[i] = p.Output(t.LUT, i, x.Value)
	}
}

// uniform is block i of what a random value is made from.
func (r *run) uniform(seed [fhe.SeedSize]byte, i int) fhe.LWE {
	if !r.outlines {
		return r.params.Uniform(seed, uint64(i))
	}
	boxes := int64(r.params.Boxes())
	return newOutline(r.params, mix(uint64(i), seed[:]), noise.Bound{Min: -boxes, Max: boxes - 1})
}

// mix maps a number and bytes, a multiple of eight, to a word.
func mix(x uint64, b []byte) uint64 {
	for ; len(b) > 0; b = b[8:] {
		x = scramble(x + binary.LittleEndian.Uint64(b))
	}
	return x
}

// scramble is a permutation of words without structure (the finaliser of
// MurmurHash3, with a constant that moves 0).
func scramble(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	x = (x ^ x>>33) * 0xc4ceb9fe1a85ec53
	return bits.RotateLeft64(x^x>>33, 1)
}
