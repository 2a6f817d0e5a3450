package integer

import (
	"context"
	"errors"
	flags "flag"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/noise"
)

var ctx = context.Background()

// apply runs one operation on plaintexts, encrypted where the bit of kinds is
// set, and checks the result, its bounds, that Cost knew what would be spent and
// that the operands are unchanged.
func apply(t testing.TB, e *Evaluator, m *mock, op Op, types []Type, kinds int, x ...*big.Int) {
	t.Helper()
	x = slices.Clone(x)
	operands := m.operands(op, types, kinds, x)
	before := make([]*Value, len(types))
	for i, o := range operands {
		if v, ok := o.(*Value); ok {
			before[i] = &Value{Type: v.Type, Blocks: make([]fhe.LWE, len(v.Blocks))}
			for j, b := range v.Blocks {
				before[i].Blocks[j] = fhe.LWE{Value: slices.Clone(b.Value), Bound: b.Bound}
			}
		}
	}
	results := checkResult(t, e, m, op, operands, types, x)
	// Results are nearly as clean as the operands were.
	loudest := 2.0
	if op == OpShl || op == OpShr || op == OpRotl || op == OpRotr {
		loudest = 4
	}
	for _, v := range results {
		for i, b := range v.Blocks {
			if norm := b.Bound.Variance / e.params.BootstrapVariance(); norm > loudest*1.000001 {
				t.Fatalf("%v %v %v %x: block %d of the result has a norm of %v", e.strategy, op, types, x, i, norm)
			}
		}
	}
	for i, b := range before {
		if b != nil {
			for j, block := range operands[i].(*Value).Blocks {
				if block.Bound != b.Blocks[j].Bound || !slices.Equal(block.Value, b.Blocks[j].Value) {
					t.Fatalf("%v %v %x, encrypted %b: operand %d has changed", op, types, x, kinds, i)
				}
			}
		}
	}
}

// checkResult runs one operation and checks its results, the bounds of those, and
// that the estimate knew both the bounds and what would be spent.
func checkResult(t testing.TB, e *Evaluator, m *mock, op Op, operands []Operand, types []Type, x []*big.Int) []*Value {
	t.Helper()
	got := checkPlaintext(t, e, m, op, operands, types, x)
	outlines, predicted, width, err := e.Estimate(op, operands...)
	if err != nil {
		t.Fatalf("estimate of %v %v %v %x: %v", e.strategy, op, types, x, err)
	}
	if m.spent != predicted || m.width != width {
		t.Fatalf("%v %v %v %x: spent %+v, %d at a time, predicted %+v, %d at a time", e.strategy, op, types, x, m.spent, m.width, predicted, width)
	}
	for i, v := range got {
		for j, b := range v.Blocks {
			got, estimated := b.Bound, outlines[i].Blocks[j].Bound
			if got.Source, estimated.Source = min(got.Source, 1), min(estimated.Source, 1); got != estimated {
				t.Fatalf("%v %v %v %x: block %d of result %d has the bound %+v, the estimate %+v", e.strategy, op, types, x, j, i, got, estimated)
			}
		}
	}
	return got
}

// checkPlaintext runs one operation and checks its results.
func checkPlaintext(t testing.TB, e *Evaluator, m *mock, op Op, operands []Operand, types []Type, x []*big.Int) []*Value {
	t.Helper()
	m.spent, m.width = Cost{}, 0
	got, err := e.ApplyAll(ctx, op, operands...)
	if err != nil {
		t.Fatalf("%v %v %v %x: %v", e.strategy, op, types, x, err)
	}
	results, _ := op.Results(types...)
	if len(got) != len(results) {
		t.Fatalf("%v %v: %d results, not %d", op, types, len(got), len(results))
	}
	wanted := want(op, types, x...)
	for i, v := range got {
		if v.Type != results[i] {
			t.Fatalf("%v %v %x: a %v, not a %v", op, types, x, v.Type, results[i])
		}
		y := m.decrypt(t, e, v)
		if wanted != nil && y.Cmp(wanted[i]) != 0 {
			t.Fatalf("%v %v %v %x, result %d: %x, want %x", e.strategy, op, types, x, i, y, wanted[i])
		}
		if op == OpRandBounded && y.Cmp(x[1]) >= 0 {
			t.Fatalf("%v below %x: %x", op, x[1], y)
		}
	}
	return got
}

var strategies = []Strategy{Throughput, Latency}

// Every pair of 8-bit operands of the operations that others are made of, and
// every eleventh of others, fewer of the slow ones; every third pair with a
// plaintext right operand as well, and some through all checks and by either
// strategy.
func TestExhaustive8Bit(t *testing.T) {
	for op := range opCount {
		types := shapes(op, Uint8)[0]
		if op.Operands() != 2 && op != OpSelect && op != OpNeg && op != OpNot || op == OpDiv || op == OpRem || op == OpMul || op == OpMulOverflow {
			continue // in TestVectors, or with OpDivRem
		}
		stride := 11
		switch op {
		case OpAdd, OpSub, OpLt, OpEq:
			stride = 1
		case OpDivRem, OpIsIn, OpRandBounded:
			stride = 61
		case OpLookup, OpCast:
			stride = 257
		}
		t.Run(op.String(), func(t *testing.T) {
			t.Parallel()
			e, m := newMock(t, small(t))
			var left, right [256]Operand
			for x := range left {
				left[x], right[x] = m.encrypt(Uint8, uint64(x)), m.encrypt(Uint8, uint64(x))
			}
			bits := []Operand{m.encrypt(Bool, 0), m.encrypt(Bool, 1)}
			for i := 0; i < 1<<16; i += stride {
				a, b := i&255, i>>8 // a stride that is odd meets all of them
				x := []*big.Int{big.NewInt(int64(a)), big.NewInt(int64(b))}
				turn := a-b+1 >= 0 && a-b+1 <= 2
				check := checkPlaintext
				if turn || i/stride%16 == 0 {
					check = checkResult
				}
				switch {
				case op.Operands() == 1:
					if b == 0 {
						checkResult(t, e, m, op, []Operand{left[a]}, types, x[:1])
					}
					x = x[:1]
				case op == OpSelect:
					for c, bit := range bits {
						check(t, e, m, op, []Operand{bit, left[a], right[b]}, types, []*big.Int{big.NewInt(int64(c)), x[0], x[1]})
					}
					x = append([]*big.Int{big.NewInt(int64(i / 23 & 1))}, x...)
				case stride <= 11:
					check(t, e, m, op, []Operand{left[a], right[b]}, types, x)
					if i%3 == 0 || turn {
						check(t, e, m, op, []Operand{left[a], Plain(Uint8, uint64(b))}, types, x)
					}
				}
				if stride > 11 || i/stride%23 == 0 {
					for len(x) < len(types) {
						x = append(x, big.NewInt(int64(i*7+len(x))&255))
					}
					apply(t, e.Using(strategies[i/23%2]), m, op, types, i/23/2%(1<<len(types)), x...)
				}
			}
		})
	}
}

// Pairs of 8-bit factors: every product of two blocks at every place.
func TestExhaustiveMul(t *testing.T) {
	e, m := newMock(t, small(t))
	for i := 0; i < 1<<16; i += 11 {
		x := []*big.Int{big.NewInt(int64(i & 255)), big.NewInt(int64(i >> 8))}
		for _, op := range []Op{OpMul, OpMulOverflow} {
			checkResult(t, e.Using(strategies[i%2]), m, op, []Operand{m.encryptBig(Uint8, x[0]), m.encryptBig(Uint8, x[1])}, []Type{Uint8, Uint8}, x)
		}
	}
}

func TestBool(t *testing.T) {
	e, m := newMock(t, small(t))
	for op := range opCount {
		for _, types := range shapes(op, Bool) {
			for i := range 1 << (2 * min(len(types), 3)) {
				x := []*big.Int{big.NewInt(int64(i & 1)), big.NewInt(int64(i >> 1 & 1)), big.NewInt(int64(i >> 2 & 1))}[:len(types)]
				apply(t, e, m, op, types, i>>len(types), x...)
			}
		}
	}
}

var full = flags.Bool("full", false, "run 240 vectors of every operation and type, which takes half an hour")

// vectors is how many random vectors of an operation a type gets, of every kind
// of operands and either strategy, before the edges: with -full 240, else 100, but
// for what takes too long.
func vectors(op Op, t Type) int {
	if *full {
		return 240
	}
	n := 100
	switch op {
	case OpMul, OpMulOverflow, OpMulDiv, OpDiv, OpRem, OpDivRem:
		// A product has (Bits/2)² pairs of blocks.
		n = min(n, 100*16*16/(t.Bits()*t.Bits()))
	case OpSum, OpIsIn, OpShl, OpShr, OpRotl, OpRotr, OpLookup, OpLookup2, OpRand, OpRandBounded, OpCast:
		n = min(n, max(12, 100*16/t.Bits()))
	default:
		n = min(n, max(30, 100*32/t.Bits()))
	}
	return max(n, 2)
}

func TestVectors(t *testing.T) {
	for _, typ := range allTypes[1:] {
		t.Run(typ.String(), func(t *testing.T) {
			t.Parallel()
			e, m := newMock(t, small(t))
			for op := range opCount {
				all := shapes(op, typ)
				if len(all) == 0 {
					continue
				}
				t.Run(op.String(), func(t *testing.T) {
					r := rand.New(rand.NewPCG(uint64(op), uint64(typ)))
					for n, types := range all {
						testVectors(t, e, m, r, op, types, vectors(op, typ)>>min(n, 3))
					}
				})
			}
		})
	}
}

func testVectors(t *testing.T, e *Evaluator, m *mock, r *rand.Rand, op Op, types []Type, count int) {
	x := make([]*big.Int, len(types))
	for i := range count {
		for j, typ := range types {
			x[j] = random(r, typ)
		}
		last := len(x) - 1
		if i%4 == 0 && last > 0 && types[last] == types[last-1] {
			x[last] = new(big.Int).Xor(x[last-1], new(big.Int).Lsh(big.NewInt(1), uint(r.IntN(types[last].Bits()))))
		}
		apply(t, e.Using(strategies[i%2]), m, op, types, i/2, x...)
	}
	values := edges(types[len(types)-1])
	for i, a := range values {
		for j := range values {
			if (i*len(values)+j)%max(1, 2*len(values)*len(values)/max(count, 1)) != 0 {
				continue
			}
			for k, typ := range types {
				x[k] = wrap(typ, values[(j+k)%len(values)])
			}
			x[len(x)-1] = a
			apply(t, e.Using(strategies[(i+j)%2]), m, op, types, 1<<len(types)-1, x...)
			apply(t, e.Using(strategies[(i+j+1)%2]), m, op, types, i+j, x...)
		}
	}
}

// The counts that the package stands for. A change here is a change of what
// every program costs.
func TestCost(t *testing.T) {
	e, _ := newMock(t, small(t))
	enc := func(t Type) Operand { return &Value{Type: t} }
	const pattern = 0x9249249249249249 // blocks 1, 2, 0, 1, 2, 0, …
	for _, tt := range []struct {
		op       Op
		operands []Operand
		want     Cost
	}{
		{OpAdd, []Operand{enc(Uint8), enc(Uint8)}, Cost{4, 4}},
		{OpAdd, []Operand{enc(Uint64), enc(Uint64)}, Cost{32, 32}},
		{OpAdd, []Operand{enc(Uint64), Plain(Uint64, 1)}, Cost{32, 32}},
		{OpAdd, []Operand{enc(Uint64), Plain(Uint64, 1<<32)}, Cost{16, 16}},
		{OpAdd, []Operand{enc(Uint64), Plain(Uint64, 0)}, Cost{}},
		{OpAdd, []Operand{Plain(Uint64, 3), Plain(Uint64, 4)}, Cost{}},
		{OpSub, []Operand{enc(Uint64), enc(Uint64)}, Cost{32, 32}},
		{OpSub, []Operand{enc(Uint64), Plain(Uint64, 1<<32)}, Cost{16, 16}},
		{OpSub, []Operand{Plain(Uint64, 1<<64-1), enc(Uint64)}, Cost{}},
		{OpNeg, []Operand{enc(Uint64)}, Cost{32, 32}},

		{OpLt, []Operand{enc(Uint8), enc(Uint8)}, Cost{2, 2}},
		{OpLt, []Operand{enc(Uint16), enc(Uint16)}, Cost{4, 4}},
		{OpLt, []Operand{enc(Uint32), enc(Uint32)}, Cost{8, 8}},
		{OpLt, []Operand{enc(Uint64), enc(Uint64)}, Cost{16, 16}},
		{OpLe, []Operand{enc(Uint64), enc(Uint64)}, Cost{16, 16}},
		{OpGt, []Operand{enc(Uint64), enc(Uint64)}, Cost{16, 16}},
		{OpGe, []Operand{enc(Uint64), enc(Uint64)}, Cost{16, 16}},
		{OpGe, []Operand{enc(Uint64), Plain(Uint64, pattern)}, Cost{16, 16}},
		{OpLt, []Operand{enc(Uint64), Plain(Uint64, 0)}, Cost{}},
		{OpGe, []Operand{enc(Uint64), Plain(Uint64, 0)}, Cost{}},
		{OpGt, []Operand{enc(Uint64), Plain(Uint64, 1<<64-1)}, Cost{}},
		{OpLe, []Operand{enc(Uint64), Plain(Uint64, 1<<64-1)}, Cost{}},
		{OpGt, []Operand{enc(Uint64), Plain(Uint64, 0)}, Cost{8, 2}},
		{OpLt, []Operand{enc(Uint64), Plain(Uint64, 1<<64-1)}, Cost{8, 2}},
		{OpLt, []Operand{enc(Uint64), Plain(Uint64, 1<<63)}, Cost{1, 1}},

		{OpEq, []Operand{enc(Uint8), enc(Uint8)}, Cost{3, 2}},
		{OpEq, []Operand{enc(Uint16), enc(Uint16)}, Cost{5, 2}},
		{OpEq, []Operand{enc(Uint32), enc(Uint32)}, Cost{9, 2}},
		{OpEq, []Operand{enc(Uint64), enc(Uint64)}, Cost{17, 2}},
		{OpNe, []Operand{enc(Uint64), enc(Uint64)}, Cost{17, 2}},
		{OpEq, []Operand{enc(Uint64), Plain(Uint64, 0)}, Cost{8, 2}},
		{OpNe, []Operand{enc(Uint64), Plain(Uint64, 1<<64-1)}, Cost{8, 2}},
		{OpEq, []Operand{enc(Uint8), Plain(Uint8, 0x0f)}, Cost{1, 1}},

		{OpAnd, []Operand{enc(Uint64), enc(Uint64)}, Cost{32, 1}},
		{OpOr, []Operand{enc(Uint64), enc(Uint64)}, Cost{32, 1}},
		{OpXor, []Operand{enc(Uint64), enc(Uint64)}, Cost{32, 1}},
		{OpAnd, []Operand{enc(Uint64), Plain(Uint64, 0xffff)}, Cost{}},
		{OpXor, []Operand{enc(Uint64), Plain(Uint64, 1<<64-1)}, Cost{}},
		{OpOr, []Operand{enc(Uint64), Plain(Uint64, 0x5)}, Cost{2, 1}},
		{OpNot, []Operand{enc(Uint64)}, Cost{}},

		{OpSelect, []Operand{enc(Bool), enc(Uint64), enc(Uint64)}, Cost{32, 1}},
		{OpSelect, []Operand{enc(Bool), enc(Uint64), Plain(Uint64, 0)}, Cost{32, 1}},
		{OpSelect, []Operand{enc(Bool), Plain(Uint64, 0), enc(Uint64)}, Cost{32, 1}},
		{OpSelect, []Operand{enc(Bool), Plain(Uint64, 1<<64-1), Plain(Uint64, 0)}, Cost{4, 1}},
		{OpSelect, []Operand{enc(Bool), Plain(Uint64, 7), Plain(Uint64, 6)}, Cost{1, 1}},
		{OpSelect, []Operand{enc(Bool), Plain(Uint64, 1), Plain(Uint64, 0)}, Cost{}},
		{OpSelect, []Operand{Plain(Bool, 1), enc(Uint64), enc(Uint64)}, Cost{}},

		{OpAnd, []Operand{enc(Bool), enc(Bool)}, Cost{1, 1}},
		{OpEq, []Operand{enc(Bool), enc(Bool)}, Cost{1, 1}},
		{OpEq, []Operand{enc(Bool), Plain(Bool, 0)}, Cost{}},
		{OpNot, []Operand{enc(Bool)}, Cost{}},
		{OpSelect, []Operand{enc(Bool), enc(Bool), enc(Bool)}, Cost{1, 1}},
	} {
		got, err := e.Cost(tt.op, tt.operands...)
		if err != nil || got != tt.want {
			t.Errorf("%v %v = %+v, %v, want %+v", tt.op, tt.operands, got, err, tt.want)
		}
	}
}

// What an operation may cost with the default parameters, on encrypted operands
// unless the name says otherwise. Select takes one bootstrap more than a block
// where the parameters have room for a norm of 34 only.
func TestBudgets(t *testing.T) {
	e, _ := newMock(t, preset(t, fhe.DefaultPreset))
	enc := func(t Type) Operand { return &Value{Type: t} }
	two := []Operand{enc(Uint64), enc(Uint64)}
	constant := Plain(Uint64, 0x9e3779b97f4a7c15)
	hundred := slices.Repeat([]Operand{enc(Uint64)}, 100)
	var plain []Operand
	for i := range uint64(100) {
		plain = append(plain, Plain(Uint64, i*i*i*i*i))
	}
	for _, tt := range []struct {
		name                string
		op                  Op
		operands            []Operand
		throughput, latency Cost // at most
	}{
		{"add", OpAdd, two, Cost{32, 32}, Cost{111, 4}},
		{"sub", OpSub, two, Cost{32, 32}, Cost{111, 4}},
		{"add of 256 bits", OpAdd, []Operand{enc(Uint256), enc(Uint256)}, Cost{128, 128}, Cost{556, 5}},
		{"eq", OpEq, two, Cost{17, 2}, Cost{17, 2}},
		{"lt", OpLt, two, Cost{16, 16}, Cost{21, 3}},
		{"lt of a plaintext", OpLt, []Operand{enc(Uint64), constant}, Cost{16, 16}, Cost{21, 3}},
		{"and", OpAnd, two, Cost{32, 1}, Cost{32, 1}},
		{"select", OpSelect, []Operand{enc(Bool), enc(Uint64), enc(Uint64)}, Cost{33, 2}, Cost{33, 2}},
		{"min", OpMin, two, Cost{49, 18}, Cost{54, 5}},
		{"shift", OpShl, two, Cost{128, 3}, Cost{128, 3}},
		{"rotation", OpRotr, two, Cost{128, 3}, Cost{128, 3}},
		{"shift by 2", OpShl, []Operand{enc(Uint64), Plain(Uint64, 2)}, Cost{}, Cost{}},
		{"shift by 3", OpShl, []Operand{enc(Uint64), Plain(Uint64, 3)}, Cost{31, 1}, Cost{31, 1}},
		{"mul", OpMul, two, Cost{920, 61}, Cost{1051, 10}},
		{"mul by a plaintext", OpMul, []Operand{enc(Uint64), constant}, Cost{180, 60}, Cost{310, 8}},
		{"32-bit division", OpDivRem, []Operand{enc(Uint32), enc(Uint32)}, Cost{591, 280}, Cost{1158, 148}},
		{"division by 10", OpDiv, []Operand{enc(Uint64), Plain(Uint64, 10)}, Cost{370, 80}, Cost{540, 9}},
		{"division by 16", OpDivRem, []Operand{enc(Uint64), Plain(Uint64, 16)}, Cost{}, Cost{}},
		{"sum of 100", OpSum, hundred, Cost{1270, 70}, Cost{1470, 9}},
		{"one of 100 plaintexts", OpIsIn, append([]Operand{enc(Uint64)}, plain...), Cost{124, 4}, Cost{124, 4}},
		{"byte to byte", OpLookup, []Operand{enc(Uint8), testTable(Uint8, Uint8)}, Cost{38, 3}, Cost{38, 3}},
		{"random", OpRand, []Operand{Seed{Type: Uint64}}, Cost{32, 1}, Cost{32, 1}},
	} {
		for s, most := range []Cost{tt.throughput, tt.latency} {
			got, err := e.Using(strategies[s]).Cost(tt.op, tt.operands...)
			if err != nil || got.Bootstraps > most.Bootstraps || got.Depth > most.Depth {
				t.Errorf("%s, %v: %+v, %v, want at most %+v", tt.name, strategies[s], got, err, most)
			}
		}
	}
}

// Every input of every operation on clean operands meets the failure bound of
// every secure parameter set: the heaviest combinations are those that the table
// names, by the room a set has, or others, which cost more.
func TestFailureProbability(t *testing.T) {
	for _, name := range fhe.PresetNames() {
		p := preset(t, name)
		if p.Literal().TestOnly || p.Literal().MessageBits != blockBits {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			heaviest := map[Op]float64{ // Σ w²
				OpAdd: 3, OpSub: 3, OpNeg: 2, OpEq: 34, OpNe: 34, OpLt: 35, OpLe: 35, OpGt: 35, OpGe: 35,
				OpAnd: 17, OpOr: 17, OpXor: 17, OpNot: 0, OpSelect: 51, OpMin: 51, OpMax: 51,
				OpShl: 20, OpShr: 20, OpRotl: 20, OpRotr: 20, OpRand: 0, OpRandBounded: 0,
				OpAddOverflow: 3, OpSubOverflow: 3, OpLookup: 21, OpLookup2: 21,
			}
			if p.Literal().NormSquared < 51 { // the condition of a select is scaled by a bootstrap
				heaviest[OpSelect], heaviest[OpMin], heaviest[OpMax] = 17, 35, 35
			}
			e, m := newMock(t, p)
			for op := range opCount {
				if heaviest[op] == 0 && op != OpNot && op != OpRand && op != OpRandBounded {
					continue // below
				}
				for n, types := range shapes(op, Uint32) {
					for kinds := range 1 << min(len(types), 4) {
						if op == OpSelect && kinds&1 == 0 {
							continue
						}
						m.loudest = 0
						x := make([]*big.Int, len(types))
						for i, typ := range types {
							x[i] = wrap(typ, new(big.Int).SetUint64(0x0123456789abcdef*uint64(2*i+1)))
						}
						apply(t, e, m, op, types, kinds, x...)
						exact := n == 0 && kinds == 1<<min(len(types), 4)-1 && (op != OpSelect || heaviest[op] == 51)
						checkLoudest(t, p, m, op, heaviest[op], exact)
					}
				}
			}
			// These sum up as much as there is room for.
			for _, strategy := range strategies {
				for _, op := range []Op{OpMul, OpMulOverflow, OpDiv, OpRem, OpDivRem, OpMulDiv, OpAdd, OpSub, OpSum, OpIsIn, OpCast} {
					for kinds := range 4 {
						m.loudest = 0
						x := []*big.Int{big.NewInt(0x9bdf), big.NewInt(0xcdef), big.NewInt(10), big.NewInt(0x9bdf)}
						types := shapes(op, Uint16)[0]
						apply(t, e.Using(strategy), m, op, types, kinds, x[:len(types)]...)
						checkLoudest(t, p, m, op, p.MaxVariance()/p.BootstrapVariance(), false)
					}
				}
			}
		})
	}
	// The packed forms again, each by its weights.
	for name, form := range map[string]struct {
		weights []float64
		all     bool // every set has room, not only those of norm 51
	}{
		"a + b + carry":               {[]float64{1, 1, 1}, true},
		"two blocks of a - b":         {[]float64{4, 1, 4, 1}, true},
		"the same less a borrow":      {[]float64{4, 1, 4, 1, 1}, true},
		"four scaled signs":           {[]float64{1, 1, 1, 1}, true},
		"sixteen flags":               {slices.Repeat([]float64{1}, 16), true},
		"4a + b":                      {[]float64{4, 1}, true},
		"a + b, single bits":          {[]float64{1, 1}, true},
		"7c + a - b":                  {[]float64{7, 1, 1}, false},
		"7c, scaled, + a - b":         {[]float64{1, 1, 1}, true},
		"4c + 2a + b, single bits":    {[]float64{4, 2, 1}, true},
		"4c + x":                      {[]float64{4, 1}, true},
		"two factors":                 {[]float64{1, 1}, true},
		"rest - product - borrow":     {[]float64{1, 1, 1, 1, 1}, true},
		"three comparisons and 4c":    {[]float64{1, 1, 1, 4}, true},
		"4s + what moved to a place":  {[]float64{4, 1, 1, 1, 1}, true},
		"4a + b and 16 times 4 bits":  {[]float64{4, 1, 1, 1, 1, 1}, true},
		"sixteen Walsh terms":         {slices.Repeat([]float64{1}, 16), true},
		"two folded messages and one": {append(slices.Repeat([]float64{1, 1, 1, -3}, 2), 1), true},
		"message and two statuses":    {[]float64{1, 4, 1}, true},
		"status and three below":      {[]float64{4, 1, 1, 1}, true},
	} {
		norm := 0.0
		for _, w := range form.weights {
			norm += w * w
		}
		for _, set := range fhe.PresetNames() {
			p := preset(t, set)
			if p.Literal().TestOnly || p.Literal().MessageBits != blockBits || !form.all && p.Literal().NormSquared < 51 {
				continue
			}
			if pf := p.FailureProbability(norm * p.BootstrapVariance()); pf > fhe.MaxFailureLog2 {
				t.Errorf("%s: %s: failure probability 2^%.2f", set, name, pf)
			}
		}
	}
}

func checkLoudest(t *testing.T, p *fhe.Parameters, m *mock, op Op, heaviest float64, exact bool) {
	t.Helper()
	if pf := p.FailureProbability(m.loudest); pf > fhe.MaxFailureLog2 {
		t.Errorf("%v: failure probability 2^%.2f", op, pf)
	}
	norm := m.loudest / p.BootstrapVariance()
	if norm > heaviest*1.000001 || exact && norm < heaviest*0.999999 {
		t.Errorf("%v: norm %.3f, expected %v", op, norm, heaviest)
	}
}

// Operands that are too noisy for the packed forms take the others, or are
// refreshed, and the results are the same.
func TestNoisyOperands(t *testing.T) {
	t.Run("small", func(t *testing.T) { testNoisyOperands(t, small(t)) })
	t.Run("tight", func(t *testing.T) { testNoisyOperands(t, tight(t)) })
}

func testNoisyOperands(t *testing.T, p *fhe.Parameters) {
	limit := p.MaxVariance() / p.BootstrapVariance()
	e, m := newMock(t, p)
	r := rand.New(rand.NewPCG(2, 2))
	for step, times := range []float64{1, 2, 5.8, 12, 30, limit * 0.999} {
		for op := range opCount {
			for _, typ := range []Type{Bool, Uint8, Uint16, Uint64} {
				if typ == Uint64 && vectors(op, typ) < 60 {
					continue
				}
				for _, types := range shapes(op, typ) {
					for noisy := range 1 << min(len(types), 3) {
						x := make([]*big.Int, len(types))
						kinds := 0
						for i, typ := range types {
							x[i] = random(r, typ)
							kinds |= int(truth(r.IntN(4) > 0)) << i
						}
						operands := m.operands(op, types, kinds|noisy, x)
						for i, o := range operands {
							if v, ok := o.(*Value); ok && noisy>>i&1 == 1 {
								operands[i] = m.noisy(v.Type, x[i], times)
							}
						}
						checkResult(t, e.Using(strategies[step%2]), m, op, operands, types, x)
					}
				}
			}
		}
	}
}

// Not is linear, and what it gives is as clean as what it was given.
func TestNotKeepsPackedForms(t *testing.T) {
	e, m := newMock(t, small(t))
	x := m.encrypt(Uint64, 12345)
	not, err := e.Not(ctx, x)
	if err != nil {
		t.Fatal(err)
	}
	m.spent = Cost{}
	y := new(big.Int).Xor(maximum(Uint64), big.NewInt(12345))
	checkResult(t, e, m, OpLt, []Operand{not, m.encrypt(Uint64, 9)}, []Type{Uint64, Uint64}, []*big.Int{y, big.NewInt(9)})
	clean, err := e.Cost(OpLt, &Value{Type: Uint64}, &Value{Type: Uint64})
	if err != nil || m.spent != clean {
		t.Errorf("spent %+v, want %+v, %v", m.spent, clean, err)
	}
}

// Where 7c + a - b has too large a norm, one more bootstrap scales the condition.
func TestSelectWithLessRoom(t *testing.T) {
	e, m := newMock(t, tight(t))
	for _, typ := range []Type{Uint8, Uint64} {
		for c := range int64(2) {
			for kinds := range 8 {
				apply(t, e, m, OpSelect, []Type{Bool, typ, typ}, kinds, big.NewInt(c), big.NewInt(0xa5), big.NewInt(0x3c))
			}
		}
		cost, err := e.Cost(OpSelect, &Value{Type: Bool}, &Value{Type: typ}, &Value{Type: typ})
		if want := (Cost{typ.Blocks() + 1, 2}); err != nil || cost != want {
			t.Errorf("%v: %+v, %v, want %+v", typ, cost, err, want)
		}
	}
}

// What the forms for noisy operands cost.
func TestNoisyCost(t *testing.T) {
	e, m := newMock(t, small(t))
	clean := func() *Value { return m.encrypt(Uint64, 5) }
	noisy := func(times float64) *Value { return m.noisy(Uint64, big.NewInt(6), times) }
	bit := func() *Value { return m.encrypt(Bool, 1) }
	// As loud as 4c + a may have it, where 7c + a - b is too loud even with 7c fresh.
	loud := math.Pow(math.Sqrt(e.params.MaxVariance()/e.params.BootstrapVariance())-4.01, 2)
	for _, tt := range []struct {
		name     string
		op       Op
		operands []Operand
		want     Cost
	}{
		{"output of select", OpAdd, []Operand{noisy(2), clean()}, Cost{32, 32}},
		{"refreshed", OpAdd, []Operand{noisy(49), clean()}, Cost{64, 33}},
		{"both refreshed", OpSub, []Operand{noisy(30), noisy(30)}, Cost{96, 33}},
		{"block by block", OpLt, []Operand{noisy(2), clean()}, Cost{32, 32}},
		{"block by block", OpEq, []Operand{noisy(2), clean()}, Cost{32 + 3, 3}},
		{"refreshed", OpEq, []Operand{noisy(50), clean()}, Cost{32 + 17, 3}},
		{"output of select", OpAnd, []Operand{noisy(2), noisy(2)}, Cost{32, 1}},
		{"refreshed", OpXor, []Operand{noisy(4), clean()}, Cost{64, 2}},
		{"condition scaled", OpSelect, []Operand{bit(), noisy(2), clean()}, Cost{33, 2}},
		{"condition scaled", OpSelect, []Operand{bit(), clean(), noisy(20)}, Cost{33, 2}},
		{"two tables", OpSelect, []Operand{bit(), noisy(loud), noisy(loud)}, Cost{64, 1}},
		{"refreshed", OpSelect, []Operand{bit(), clean(), noisy(50)}, Cost{96, 2}},
		{"condition refreshed", OpSelect, []Operand{m.noisy(Bool, big.NewInt(1), 4), clean(), Plain(Uint64, 0)}, Cost{33, 2}},
		{"single bits", OpSelect, []Operand{bit(), m.noisy(Bool, big.NewInt(1), 6), bit()}, Cost{2, 1}},
	} {
		m.spent = Cost{}
		if _, err := e.Apply(ctx, tt.op, tt.operands...); err != nil || m.spent != tt.want {
			t.Errorf("%s: %v costs %+v, %v, want %+v", tt.name, tt.op, m.spent, err, tt.want)
		}
	}
}

// A value meets itself, and results that share ciphertexts meet each other.
func TestSameCiphertextTwice(t *testing.T) {
	e, m := newMock(t, small(t))
	for op := range opCount {
		for _, typ := range []Type{Bool, Uint8, Uint16, Address} {
			for n, types := range shapes(op, typ) {
				for i, x := range edges(typ) {
					v := m.encryptBig(typ, x)
					xs := make([]*big.Int, len(types))
					for j, typ := range types {
						xs[j] = wrap(typ, x)
					}
					operands := m.operands(op, types, 1<<len(types)-1, xs)
					for j, o := range operands {
						if o, ok := o.(*Value); ok && o.Type == typ {
							operands[j] = v
						}
					}
					checkResult(t, e.Using(strategies[(i+n)%2]), m, op, operands, types, xs)
				}
			}
		}
	}
}

// Random programs: whatever an operation returns, every operation takes.
func TestPrograms(t *testing.T) {
	for seed := range uint64(6) {
		for name, p := range map[string]*fhe.Parameters{"small": small(t), "tight": tight(t)} {
			t.Run(fmt.Sprint(name, seed), func(t *testing.T) {
				t.Parallel()
				testProgram(t, p, rand.New(rand.NewPCG(seed, 3)), 1000)
			})
		}
	}
}

func testProgram(t *testing.T, p *fhe.Parameters, r *rand.Rand, steps int) {
	e, m := newMock(t, p)
	type variable struct {
		v *Value
		x *big.Int
	}
	pool := map[Type][]variable{}
	for _, typ := range []Type{Bool, Uint8, Uint16} {
		for range 3 {
			x := random(r, typ)
			pool[typ] = append(pool[typ], variable{m.encryptBig(typ, x), x})
		}
	}
	for range steps {
		op := Op(r.IntN(int(opCount)))
		all := shapes(op, []Type{Bool, Uint8, Uint16, Uint16}[r.IntN(4)])
		if len(all) == 0 {
			continue
		}
		types := all[r.IntN(len(all))]
		x := make([]*big.Int, len(types))
		for i, typ := range types {
			x[i] = random(r, typ)
		}
		operands := m.operands(op, types, 1<<len(types)-1, x)
		for i, o := range operands {
			if v, ok := o.(*Value); ok {
				if list := pool[v.Type]; len(list) > 0 && r.IntN(6) > 0 {
					pick := list[r.IntN(len(list))]
					operands[i], x[i] = pick.v, pick.x
				} else if op != OpDiv && op != OpRem && op != OpDivRem {
					operands[i] = PlainBig(v.Type, x[i])
				}
			}
		}
		for _, v := range checkResult(t, e.Using(strategies[r.IntN(2)]), m, op, operands, types, x) {
			next := variable{v, m.decrypt(t, e, v)}
			if list := pool[v.Type]; len(list) < 12 {
				pool[v.Type] = append(list, next)
			} else {
				list[r.IntN(len(list))] = next
			}
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	e, m := newMock(t, small(t))
	var wg sync.WaitGroup
	for op := range opCount {
		types := shapes(op, Uint8)[0]
		x := make([]*big.Int, len(types))
		for i, typ := range types {
			x[i] = wrap(typ, big.NewInt(int64(0xbe+i)))
		}
		operands := m.operands(op, types, 1<<len(types)-1, x)
		for _, s := range strategies {
			wg.Go(func() {
				got, err := e.Using(s).Apply(ctx, op, operands...)
				if err != nil {
					t.Errorf("%v: %v", op, err)
				} else if y, z := m.decrypt(t, e, got), want(op, types, x...); z != nil && y.Cmp(z[0]) != 0 {
					t.Errorf("%v = %x, want %x", op, y, z)
				}
			})
		}
	}
	wg.Wait()
}

func TestMethods(t *testing.T) {
	e, m := newMock(t, small(t))
	a, b, c := m.encrypt(Uint8, 200), m.encrypt(Uint8, 100), m.encrypt(Bool, 1)
	table := testTable(Uint8, Uint8)
	seed := Seed{Uint8, [fhe.SeedSize]byte{7}}
	two := func(first, second *Value, err error) func() ([]*Value, error) {
		return func() ([]*Value, error) { return []*Value{first, second}, err }
	}
	single := func(v *Value, err error) func() ([]*Value, error) {
		return func() ([]*Value, error) { return []*Value{v}, err }
	}
	for op, call := range map[Op]func() ([]*Value, error){
		OpAdd:         single(e.Add(ctx, a, b)),
		OpSub:         single(e.Sub(ctx, a, b)),
		OpNeg:         single(e.Neg(ctx, a)),
		OpEq:          single(e.Eq(ctx, a, b)),
		OpNe:          single(e.Ne(ctx, a, b)),
		OpLt:          single(e.Lt(ctx, a, b)),
		OpLe:          single(e.Le(ctx, a, b)),
		OpGt:          single(e.Gt(ctx, a, b)),
		OpGe:          single(e.Ge(ctx, a, b)),
		OpAnd:         single(e.And(ctx, a, b)),
		OpOr:          single(e.Or(ctx, a, b)),
		OpXor:         single(e.Xor(ctx, a, b)),
		OpNot:         single(e.Not(ctx, a)),
		OpSelect:      single(e.Select(ctx, c, a, b)),
		OpMul:         single(e.Mul(ctx, a, b)),
		OpDiv:         single(e.Div(ctx, a, b)),
		OpRem:         single(e.Rem(ctx, a, b)),
		OpDivRem:      two(e.DivRem(ctx, a, b)),
		OpMin:         single(e.Min(ctx, a, b)),
		OpMax:         single(e.Max(ctx, a, b)),
		OpShl:         single(e.Shl(ctx, a, b)),
		OpShr:         single(e.Shr(ctx, a, b)),
		OpRotl:        single(e.Rotl(ctx, a, b)),
		OpRotr:        single(e.Rotr(ctx, a, b)),
		OpCast:        single(e.Cast(ctx, a, Bool)),
		OpRand:        single(e.Rand(ctx, seed)),
		OpRandBounded: single(e.RandBounded(ctx, seed, Plain(Uint8, 8))),
		OpSum:         single(e.Sum(ctx, a, b, a)),
		OpIsIn:        single(e.IsIn(ctx, a, b, a)),
		OpMulDiv:      single(e.MulDiv(ctx, a, b, Plain(Uint8, 7))),
		OpAddOverflow: two(e.AddOverflow(ctx, a, b)),
		OpSubOverflow: two(e.SubOverflow(ctx, a, b)),
		OpMulOverflow: two(e.MulOverflow(ctx, a, b)),
		OpLookup:      single(e.Lookup(ctx, a, table)),
		OpLookup2:     single(e.Lookup2(ctx, a, b, table)),
	} {
		got, err := call()
		if err != nil {
			t.Fatalf("%v: %v", op, err)
		}
		x := map[Op][]int64{OpSelect: {1, 200, 100}, OpSum: {200, 100, 200}, OpIsIn: {200, 100, 200}, OpMulDiv: {200, 100, 7}}[op]
		if x == nil {
			x = []int64{200, 100}
		}
		types := shapes(op, Uint8)[0]
		if op == OpCast {
			types = []Type{Uint8, Bool}
		}
		var bigs []*big.Int
		for _, y := range x {
			bigs = append(bigs, big.NewInt(y))
		}
		for i, z := range want(op, types, bigs...) {
			if y := m.decrypt(t, e, got[i]); y.Cmp(z) != 0 {
				t.Errorf("%v = %d, want %d", op, y, z)
			}
		}
	}
	v, err := e.Trivial(Plain(Uint16, 0xabcd))
	if err != nil || v.Type != Uint16 || m.decrypt(t, e, v).Uint64() != 0xabcd || v.Blocks[0].Bound.Variance != 0 {
		t.Errorf("Trivial = %v, %v", v, err)
	}
	for _, f := range []func(context.Context, Operand, Operand) (*Value, *Value, error){e.DivRem, e.AddOverflow, e.SubOverflow, e.MulOverflow} {
		if x, y, err := f(ctx, a, c); x != nil || y != nil || err == nil {
			t.Errorf("two results of mixed types: %v, %v, %v", x, y, err)
		}
	}
}

// Random values: the same whenever the seed is, whatever the strategy, and every
// message of a block as often as it should be.
func TestRandom(t *testing.T) {
	e, m := newMock(t, small(t))
	var counts [4]int
	for i := range byte(60) {
		seed := Seed{Uint64, [fhe.SeedSize]byte{i}}
		one, err := e.Rand(ctx, seed)
		if err != nil {
			t.Fatal(err)
		}
		two, err := e.Using(Latency).Rand(ctx, seed)
		if err != nil || m.decrypt(t, e, one).Cmp(m.decrypt(t, e, two)) != 0 {
			t.Fatalf("seed %d: two values, %v", i, err)
		}
		for _, b := range one.Blocks {
			d, err := m.message(b)
			if err != nil {
				t.Fatal(err)
			}
			counts[d]++
		}
	}
	for d, n := range counts { // of 1920: expected 480, standard deviation 19
		if n < 400 || n > 560 {
			t.Errorf("message %d came %d times of 1920", d, n)
		}
	}
	for k := range 8 {
		for i := range byte(30) {
			v, err := e.RandBounded(ctx, Seed{Uint8, [fhe.SeedSize]byte{i, 1}}, Plain(Uint8, 1<<k))
			if err != nil || m.decrypt(t, e, v).Int64() >= 1<<k {
				t.Fatalf("below %d: %v, %v", 1<<k, m.decrypt(t, e, v), err)
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	p := small(t)
	e, m := newMock(t, p)
	var typeError *TypeError
	var rangeError *RangeError
	var scalarError *ScalarError
	var valueError *ValueError
	var noiseError *noise.NoiseError
	var messageError *noise.MessageError
	u8, u16, bit := m.encrypt(Uint8, 1), m.encrypt(Uint16, 1), m.encrypt(Bool, 1)
	changed := func(f func(v *Value)) *Value {
		v := m.encrypt(Uint8, 1)
		f(v)
		return v
	}
	for _, tt := range []struct {
		name     string
		op       Op
		operands []Operand
		as       any
		operand  int
	}{
		{"types differ", OpAdd, []Operand{u8, u16}, &typeError, 1},
		{"plaintext type differs", OpAdd, []Operand{u8, Plain(Uint16, 1)}, &typeError, 1},
		{"bool sum", OpAdd, []Operand{bit, bit}, &typeError, 0},
		{"bool order", OpLt, []Operand{bit, bit}, &typeError, 0},
		{"condition", OpSelect, []Operand{u8, u8, u8}, &typeError, 0},
		{"branches differ", OpSelect, []Operand{bit, u8, bit}, &typeError, 2},
		{"address sum", OpAdd, []Operand{&Value{Type: Address}, &Value{Type: Address}}, &typeError, 0},
		{"address bits", OpXor, []Operand{&Value{Type: Address}, &Value{Type: Address}}, &typeError, 0},
		{"bool list", OpIsIn, []Operand{bit, bit}, &typeError, 0},
		{"mixed list", OpSum, []Operand{u8, u8, u16}, &typeError, 2},
		{"list of nothing", OpIsIn, []Operand{u8}, &typeError, 1},
		{"list too long", OpSum, slices.Repeat([]Operand{u8}, MaxElements+1), &typeError, MaxElements},
		{"amount", OpShl, []Operand{u8, bit}, &typeError, 1},
		{"shifted bool", OpShl, []Operand{bit, u8}, &typeError, 0},
		{"no type to cast to", OpCast, []Operand{u8, u16}, &typeError, 1},
		{"cast of a type", OpCast, []Operand{To(Uint8), To(Uint8)}, &typeError, 0},
		{"cast to no type", OpCast, []Operand{u8, To(9)}, &typeError, 1},
		{"no seed", OpRand, []Operand{u8}, &typeError, 0},
		{"random address", OpRand, []Operand{Seed{Type: Address}}, &typeError, 0},
		{"encrypted bound", OpRandBounded, []Operand{Seed{Type: Uint8}, u8}, &typeError, 1},
		{"bound 0", OpRandBounded, []Operand{Seed{Type: Uint8}, Plain(Uint8, 0)}, &scalarError, 1},
		{"bound 6", OpRandBounded, []Operand{Seed{Type: Uint8}, Plain(Uint8, 6)}, &scalarError, 1},
		{"encrypted divisor", OpMulDiv, []Operand{u8, u8, u8}, &typeError, 2},
		{"division by zero", OpDiv, []Operand{u8, Plain(Uint8, 0)}, &scalarError, 1},
		{"remainder by zero", OpRem, []Operand{u8, Plain(Uint8, 0)}, &scalarError, 1},
		{"both by zero", OpDivRem, []Operand{Plain(Uint8, 3), Plain(Uint8, 0)}, &scalarError, 1},
		{"product by zero", OpMulDiv, []Operand{u8, u8, Plain(Uint8, 0)}, &scalarError, 2},
		{"no table", OpLookup, []Operand{u8, u8}, &typeError, 1},
		{"nil table", OpLookup, []Operand{u8, (*Table)(nil)}, &typeError, 1},
		{"table of another size", OpLookup, []Operand{u8, testTable(Bool, Uint8)}, &typeError, 1},
		{"table on 16 bits", OpLookup, []Operand{u16, testTable(Uint8, Uint8)}, &typeError, 0},
		{"table on a bit and a byte", OpLookup2, []Operand{u8, bit, testTable(Uint8, Uint8)}, &typeError, 1},
		{"missing", OpAdd, []Operand{u8}, &typeError, 1},
		{"too many", OpNot, []Operand{u8, u8}, &typeError, 1},
		{"nil", OpAdd, []Operand{u8, nil}, &typeError, 1},
		{"nil value", OpAdd, []Operand{(*Value)(nil), u8}, &typeError, 0},
		{"no such type", OpAdd, []Operand{u8, &Value{Type: 1}}, &typeError, 1},
		{"no such op", opCount, []Operand{u8, u8}, &typeError, 0},
		{"plaintext too wide", OpAdd, []Operand{u8, Plain(Uint8, 256)}, &rangeError, 1},
		{"negative plaintext", OpEq, []Operand{u8, PlainBig(Uint8, big.NewInt(-1))}, &rangeError, 1},
		{"bool plaintext", OpSelect, []Operand{Plain(Bool, 2), u8, u8}, &rangeError, 0},
		{"empty plaintext", OpAnd, []Operand{bit, Scalar{}}, &rangeError, 1},
		{"blocks", OpAdd, []Operand{u8, changed(func(v *Value) { v.Blocks = v.Blocks[:3] })}, &valueError, 1},
		{"residues", OpAdd, []Operand{changed(func(v *Value) { v.Blocks[2].Value = v.Blocks[2].Value[1:] }), u8}, &valueError, 0},
		{"no bound", OpAdd, []Operand{changed(func(v *Value) { v.Blocks[2].Bound.Min = 4 }), u8}, &valueError, 0},
		{"negative variance", OpNot, []Operand{changed(func(v *Value) { v.Blocks[2].Bound.Variance = -1 })}, &valueError, 0},
		{"message", OpAdd, []Operand{changed(func(v *Value) { v.Blocks[2].Bound.Max = 4 }), u8}, &messageError, 0},
		{"noise", OpAdd, []Operand{changed(func(v *Value) { v.Blocks[2].Bound.Variance = p.MaxVariance() * 1.01 }), u8}, &noiseError, 0},
	} {
		got, err := e.Apply(ctx, tt.op, tt.operands...)
		if got != nil || err == nil || !errors.As(err, tt.as) {
			t.Errorf("%s: %v, %v", tt.name, got, err)
			continue
		}
		operand := -1
		switch {
		case errors.As(err, &typeError):
			operand = typeError.Operand
		case errors.As(err, &rangeError):
			operand = rangeError.Operand
		case errors.As(err, &scalarError):
			operand = scalarError.Operand
		case errors.As(err, &valueError):
			operand = valueError.Operand
		}
		if operand != tt.operand {
			t.Errorf("%s: operand %d is refused, not %d: %v", tt.name, operand, tt.operand, err)
		}
	}
	if m.spent != (Cost{}) {
		t.Errorf("refused operations have spent %+v", m.spent)
	}
	if _, err := e.Cost(OpAdd, u8, u16); !errors.As(err, &typeError) {
		t.Errorf("Cost of mixed types: %v", err)
	}
	if _, err := e.Trivial(Plain(Uint8, 256)); !errors.As(err, &rangeError) {
		t.Errorf("Trivial of 256: %v", err)
	}
	if _, err := e.Trivial(Plain(1, 0)); !errors.As(err, &rangeError) {
		t.Errorf("Trivial of no type: %v", err)
	}
	var parametersError *fhe.ParametersError
	if _, err := New(preset(t, "tacit-bool-v1"), m); !errors.As(err, &parametersError) {
		t.Errorf("New with boolean parameters: %v", err)
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := e.Not(canceled, u8); !errors.Is(err, context.Canceled) {
		t.Errorf("Not after cancel: %v", err)
	}
	m.failWith = errors.New("no accelerator")
	for op := range opCount {
		types := shapes(op, Uint8)[0]
		x := make([]*big.Int, len(types))
		for i, typ := range types {
			x[i] = wrap(typ, big.NewInt(int64(3+i)))
		}
		operands := m.operands(op, types, 1<<len(types)-1, x)
		for _, s := range strategies {
			if _, err := e.Using(s).Apply(ctx, op, operands...); op != OpNot && op != OpCast && !errors.Is(err, m.failWith) {
				t.Errorf("%v hides the error of the bootstrapper: %v", op, err)
			}
		}
	}
	if _, err := NewTable(Uint8, []uint64{0, 256}); !errors.As(err, &rangeError) || rangeError.Operand != 1 {
		t.Errorf("a table with a value that does not fit: %v", err)
	}
}

func TestNames(t *testing.T) {
	for _, typ := range allTypes {
		if got, err := ParseType(typ.String()); got != typ || err != nil {
			t.Errorf("ParseType(%v) = %v, %v", typ, got, err)
		}
	}
	for op := range opCount {
		if got, err := ParseOp(op.String()); got != op || err != nil {
			t.Errorf("ParseOp(%v) = %v, %v", op, got, err)
		}
	}
	if _, err := ParseType("euint7"); err == nil {
		t.Error("ParseType takes euint7")
	}
	if _, err := ParseOp("mul "); err == nil {
		t.Error("ParseOp takes an unknown name")
	}
	if got := fmt.Sprint(Type(1), opCount, Type(9).Bits(), Address.Bits(), Uint256.Blocks(), Uint64.Bits(), Bool.Blocks(), Uint8.Blocks(), Uint64.Blocks()); got != fmt.Sprintf("type 1 operation %d 0 160 128 64 1 4 32", opCount) {
		t.Error(got)
	}
}
