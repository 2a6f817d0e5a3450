package integer

import (
	"context"
	"errors"
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
func apply(t testing.TB, e *Evaluator, m *mock, op Op, types []Type, kinds int, x ...uint64) {
	name := func() string { return fmt.Sprintf("%v %v %x, encrypted %03b", op, types, x, kinds) }
	operands := make([]Operand, len(types))
	before := make([]*Value, len(types))
	for i, typ := range types {
		if kinds>>i&1 == 1 {
			v := m.encrypt(typ, x[i])
			operands[i] = v
			before[i] = &Value{Type: typ, Blocks: make([]fhe.LWE, len(v.Blocks))}
			for j, b := range v.Blocks {
				before[i].Blocks[j] = fhe.LWE{Value: slices.Clone(b.Value), Bound: b.Bound}
			}
		} else {
			operands[i] = Plain(typ, x[i])
		}
	}
	predicted, err := e.Cost(op, operands...)
	if err != nil {
		t.Fatalf("%s: %v", name(), err)
	}
	m.spent = Cost{}
	checkResult(t, e, m, op, operands, types, x)
	if m.spent != predicted {
		t.Fatalf("%s: spent %+v, predicted %+v", name(), m.spent, predicted)
	}
	for i, b := range before {
		if b != nil {
			for j, block := range operands[i].(*Value).Blocks {
				if block.Bound != b.Blocks[j].Bound || !slices.Equal(block.Value, b.Blocks[j].Value) {
					t.Fatalf("%s: operand %d has changed", name(), i)
				}
			}
		}
	}
}

// checkResult runs one operation and checks its result and the bounds of that.
func checkResult(t testing.TB, e *Evaluator, m *mock, op Op, operands []Operand, types []Type, x []uint64) {
	t.Helper()
	got, err := e.Apply(ctx, op, operands...)
	if err != nil {
		t.Fatalf("%v %v %x: %v", op, types, x, err)
	}
	if typ, _ := op.Result(types...); got.Type != typ {
		t.Fatalf("%v %v %x: a %v, not a %v", op, types, x, got.Type, typ)
	}
	if y, z := m.decrypt(t, e, got), want(op, types[len(types)-1], x...); y != z {
		t.Fatalf("%v %v %x = %x, want %x", op, types, x, y, z)
	}
}

func TestExhaustive8Bit(t *testing.T) {
	for op := range opCount {
		types := operandTypes(op, Uint8)
		t.Run(op.String(), func(t *testing.T) {
			t.Parallel()
			e, m := newMock(t, small(t))
			var left, right [256]Operand
			for x := range left {
				left[x], right[x] = m.encrypt(Uint8, uint64(x)), m.encrypt(Uint8, uint64(x))
			}
			bits := []Operand{m.encrypt(Bool, 0), m.encrypt(Bool, 1)}
			for i := range 1 << 16 {
				x := []uint64{uint64(i & 255), uint64(i >> 8)}
				// Every third pair, and those at which a comparison turns.
				plaintextToo := i%3 == 0 || x[0]-x[1]+1 <= 2
				switch op.Operands() {
				case 1:
					if x[1] == 0 {
						checkResult(t, e, m, op, []Operand{left[x[0]]}, types, x[:1])
					}
					x = x[:1]
				case 2:
					checkResult(t, e, m, op, []Operand{left[x[0]], right[x[1]]}, types, x)
					if plaintextToo {
						checkResult(t, e, m, op, []Operand{left[x[0]], Plain(Uint8, x[1])}, types, x)
					}
				case 3:
					for c, bit := range bits {
						checkResult(t, e, m, op, []Operand{bit, left[x[0]], right[x[1]]}, types, []uint64{uint64(c), x[0], x[1]})
					}
					x = []uint64{uint64(i/23) & 1, x[0], x[1]}
				}
				// And some of them as plaintexts, or through all checks.
				if i%23 == 0 {
					apply(t, e, m, op, types, i/23%(1<<len(types)), x...)
				}
			}
		})
	}
}

func TestBool(t *testing.T) {
	e, m := newMock(t, small(t))
	for op := range opCount {
		types := operandTypes(op, Bool)
		for i := range 1 << (2 * len(types)) {
			x := []uint64{uint64(i & 1), uint64(i >> 1 & 1), uint64(i >> 2 & 1)}[:len(types)]
			if types != nil {
				apply(t, e, m, op, types, i>>len(types), x...)
			}
		}
	}
}

func TestWide(t *testing.T) {
	const vectors = 240
	for _, typ := range []Type{Uint16, Uint32, Uint64} {
		t.Run(typ.String(), func(t *testing.T) {
			t.Parallel()
			e, m := newMock(t, small(t))
			r := rand.New(rand.NewPCG(1, uint64(typ)))
			for op := range opCount {
				types := operandTypes(op, typ)
				x := make([]uint64, len(types))
				for i := range vectors {
					for j, typ := range types {
						x[j] = random(r, typ)
					}
					if i%4 == 0 && len(x) > 1 {
						x[len(x)-1] = x[len(x)-2] ^ 1<<r.IntN(typ.Bits())
					}
					apply(t, e, m, op, types, i%(1<<len(types)), x...)
				}
				last := len(x) - 1
				for i, a := range edges(typ) {
					x[last] = a
					for j, b := range edges(typ) {
						x[0] = b
						if last == 2 {
							x[0], x[1] = uint64(i+j)&1, b
						}
						apply(t, e, m, op, types, 1<<len(types)-1, x...)
						apply(t, e, m, op, types, (i+j)%(1<<len(types)), x...)
					}
				}
			}
		})
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

		{OpLt, []Operand{enc(Uint8), enc(Uint8)}, Cost{3, 2}},
		{OpLt, []Operand{enc(Uint16), enc(Uint16)}, Cost{6, 3}},
		{OpLt, []Operand{enc(Uint32), enc(Uint32)}, Cost{11, 3}},
		{OpLt, []Operand{enc(Uint64), enc(Uint64)}, Cost{22, 4}},
		{OpLe, []Operand{enc(Uint64), enc(Uint64)}, Cost{22, 4}},
		{OpGt, []Operand{enc(Uint64), enc(Uint64)}, Cost{22, 4}},
		{OpGe, []Operand{enc(Uint64), enc(Uint64)}, Cost{22, 4}},
		{OpGe, []Operand{enc(Uint64), Plain(Uint64, pattern)}, Cost{22, 4}},
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
		{OpEq, []Operand{enc(Uint64), enc(Uint64)}, Cost{18, 3}},
		{OpNe, []Operand{enc(Uint64), enc(Uint64)}, Cost{18, 3}},
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

// Every input of every operation on clean operands meets the failure bound of
// the default parameters, and the heaviest are those that the table names.
func TestFailureProbability(t *testing.T) {
	p := preset(t, "tacit-2m2c-v1")
	e, m := newMock(t, p)
	heaviest := map[Op]float64{ // Σ w²
		OpAdd: 3, OpSub: 3, OpNeg: 2, OpEq: 34, OpNe: 34, OpLt: 34, OpLe: 34, OpGt: 34, OpGe: 34,
		OpAnd: 17, OpOr: 17, OpXor: 17, OpNot: 0, OpSelect: 51,
	}
	for op := range opCount {
		types := operandTypes(op, Uint64)
		for kinds := range 1 << len(types) {
			if op == OpSelect && kinds&1 == 0 {
				continue
			}
			m.loudest = 0
			apply(t, e, m, op, types, kinds, []uint64{1, 0x0123456789abcdef, 0xfedcba9876543210}[:len(types)]...)
			if pf := p.FailureProbability(m.loudest); pf > fhe.MaxFailureLog2 {
				t.Errorf("%v, encrypted %03b: failure probability 2^%.2f", op, kinds, pf)
			}
			norm := m.loudest / p.BootstrapVariance()
			if norm > heaviest[op]*1.000001 {
				t.Errorf("%v, encrypted %03b: norm %.3f, expected at most %v", op, kinds, norm, heaviest[op])
			}
			if kinds == 1<<len(types)-1 && norm < heaviest[op]*0.999999 {
				t.Errorf("%v: norm %.3f, expected %v", op, norm, heaviest[op])
			}
		}
	}
	// The packed forms again, each by its weights.
	for name, weights := range map[string][]float64{
		"a + b + carry":            {1, 1, 1},
		"two blocks of a - b":      {4, 1, 4, 1},
		"four scaled signs":        {1, 1, 1, 1},
		"fifteen flags":            slices.Repeat([]float64{1}, 15),
		"4a + b":                   {4, 1},
		"a + b, single bits":       {1, 1},
		"7c + a - b":               {7, 1, 1},
		"4c + 2a + b, single bits": {4, 2, 1},
		"4c + x":                   {4, 1},
	} {
		norm := 0.0
		for _, w := range weights {
			norm += w * w
		}
		if pf := p.FailureProbability(norm * p.BootstrapVariance()); pf > fhe.MaxFailureLog2 {
			t.Errorf("%s: failure probability 2^%.2f", name, pf)
		}
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
	for _, times := range []float64{1, 2, 5.8, 12, 30, limit * 0.999} {
		e, m := newMock(t, p)
		r := rand.New(rand.NewPCG(2, uint64(times)))
		for op := range opCount {
			for _, typ := range allTypes {
				types := operandTypes(op, typ)
				for noisy := range 1 << len(types) {
					operands := make([]Operand, len(types))
					x := make([]uint64, len(types))
					for i, typ := range types {
						x[i] = random(r, typ)
						if noisy>>i&1 == 1 {
							operands[i] = m.noisy(typ, x[i], times)
						} else if r.IntN(4) == 0 {
							operands[i] = Plain(typ, x[i])
						} else {
							operands[i] = m.encrypt(typ, x[i])
						}
					}
					if types == nil {
						continue
					}
					checkResult(t, e, m, op, operands, types, x)
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
	checkResult(t, e, m, OpLt, []Operand{not, m.encrypt(Uint64, 9)}, []Type{Uint64, Uint64}, []uint64{^uint64(12345), 9})
	clean, err := e.Cost(OpLt, x, x)
	if err != nil || m.spent != clean {
		t.Errorf("spent %+v, want %+v, %v", m.spent, clean, err)
	}
}

// Where 7c + a - b has too large a norm, one more bootstrap scales the condition.
func TestSelectWithLessRoom(t *testing.T) {
	e, m := newMock(t, tight(t))
	for _, typ := range []Type{Uint8, Uint64} {
		for c := range uint64(2) {
			for kinds := range 8 {
				apply(t, e, m, OpSelect, []Type{Bool, typ, typ}, kinds, c, 0xa5, 0x3c)
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
	noisy := func(times float64) *Value { return m.noisy(Uint64, 6, times) }
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
		{"block by block", OpLt, []Operand{noisy(2), clean()}, Cost{32 + 11, 4}},
		{"block by block", OpEq, []Operand{noisy(2), clean()}, Cost{32 + 3, 3}},
		{"refreshed", OpEq, []Operand{noisy(50), clean()}, Cost{32 + 18, 4}},
		{"output of select", OpAnd, []Operand{noisy(2), noisy(2)}, Cost{32, 1}},
		{"refreshed", OpXor, []Operand{noisy(4), clean()}, Cost{64, 2}},
		{"condition scaled", OpSelect, []Operand{bit(), noisy(2), clean()}, Cost{33, 2}},
		{"condition scaled", OpSelect, []Operand{bit(), clean(), noisy(20)}, Cost{33, 2}},
		{"two tables", OpSelect, []Operand{bit(), noisy(loud), noisy(loud)}, Cost{64, 1}},
		{"refreshed", OpSelect, []Operand{bit(), clean(), noisy(50)}, Cost{96, 2}},
		{"condition refreshed", OpSelect, []Operand{m.noisy(Bool, 1, 4), clean(), Plain(Uint64, 0)}, Cost{33, 2}},
		{"single bits", OpSelect, []Operand{bit(), m.noisy(Bool, 1, 6), bit()}, Cost{2, 1}},
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
		for _, typ := range allTypes {
			types := operandTypes(op, typ)
			if types == nil {
				continue
			}
			for _, x := range edges(typ) {
				v := m.encrypt(typ, x)
				operands, xs := []Operand{v, v, v}[:len(types)], []uint64{x, x, x}[:len(types)]
				if op == OpSelect && typ != Bool {
					operands[0], xs[0] = m.encrypt(Bool, 1), 1
				}
				checkResult(t, e, m, op, operands, types, xs)
			}
		}
	}
}

// Random programs: whatever an operation returns, every operation takes.
func TestPrograms(t *testing.T) {
	e, m := newMock(t, small(t))
	r := rand.New(rand.NewPCG(3, 3))
	type variable struct {
		v *Value
		x uint64
	}
	pool := map[Type][]variable{}
	for _, typ := range []Type{Bool, Uint16} {
		for range 3 {
			x := random(r, typ)
			pool[typ] = append(pool[typ], variable{m.encrypt(typ, x), x})
		}
	}
	for step := range 4000 {
		op := Op(r.IntN(int(opCount)))
		typ := []Type{Bool, Uint16, Uint16}[r.IntN(3)]
		types := operandTypes(op, typ)
		if types == nil {
			continue
		}
		operands, x := make([]Operand, len(types)), make([]uint64, len(types))
		for i, typ := range types {
			if r.IntN(6) == 0 {
				x[i] = random(r, typ)
				operands[i] = Plain(typ, x[i])
			} else {
				pick := pool[typ][r.IntN(len(pool[typ]))]
				operands[i], x[i] = pick.v, pick.x
			}
		}
		got, err := e.Apply(ctx, op, operands...)
		if err != nil {
			t.Fatalf("step %d: %v", step, err)
		}
		y := want(op, typ, x...)
		if z := m.decrypt(t, e, got); z != y {
			t.Fatalf("step %d: %v %v %x = %x, want %x", step, op, typ, x, z, y)
		}
		list := pool[got.Type]
		if len(list) < 12 {
			pool[got.Type] = append(list, variable{got, y})
		} else {
			list[r.IntN(len(list))] = variable{got, y}
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	e, m := newMock(t, small(t))
	a, b, c := m.encrypt(Uint32, 0xdeadbeef), m.encrypt(Uint32, 0xdeadbeee), m.encrypt(Bool, 1)
	var wg sync.WaitGroup
	for op := range opCount {
		wg.Go(func() {
			operands, x := []Operand{a, b}[:min(2, op.Operands())], []uint64{0xdeadbeef, 0xdeadbeee}
			if op == OpSelect {
				operands, x = append([]Operand{c}, operands...), append([]uint64{1}, x...)
			}
			got, err := e.Apply(ctx, op, operands...)
			if err != nil {
				t.Errorf("%v: %v", op, err)
			} else if y, z := m.decrypt(t, e, got), want(op, Uint32, x...); y != z {
				t.Errorf("%v = %x, want %x", op, y, z)
			}
		})
	}
	wg.Wait()
}

func TestMethods(t *testing.T) {
	e, m := newMock(t, small(t))
	a, b, c := m.encrypt(Uint8, 200), m.encrypt(Uint8, 100), m.encrypt(Bool, 1)
	for op, call := range map[Op]func() (*Value, error){
		OpAdd:    func() (*Value, error) { return e.Add(ctx, a, b) },
		OpSub:    func() (*Value, error) { return e.Sub(ctx, a, b) },
		OpNeg:    func() (*Value, error) { return e.Neg(ctx, a) },
		OpEq:     func() (*Value, error) { return e.Eq(ctx, a, b) },
		OpNe:     func() (*Value, error) { return e.Ne(ctx, a, b) },
		OpLt:     func() (*Value, error) { return e.Lt(ctx, a, b) },
		OpLe:     func() (*Value, error) { return e.Le(ctx, a, b) },
		OpGt:     func() (*Value, error) { return e.Gt(ctx, a, b) },
		OpGe:     func() (*Value, error) { return e.Ge(ctx, a, b) },
		OpAnd:    func() (*Value, error) { return e.And(ctx, a, b) },
		OpOr:     func() (*Value, error) { return e.Or(ctx, a, b) },
		OpXor:    func() (*Value, error) { return e.Xor(ctx, a, b) },
		OpNot:    func() (*Value, error) { return e.Not(ctx, a) },
		OpSelect: func() (*Value, error) { return e.Select(ctx, c, a, b) },
	} {
		got, err := call()
		if err != nil {
			t.Fatalf("%v: %v", op, err)
		}
		x := []uint64{200, 100}
		if op == OpSelect {
			x = []uint64{1, 200, 100}
		}
		if y, z := m.decrypt(t, e, got), want(op, Uint8, x...); y != z {
			t.Errorf("%v = %d, want %d", op, y, z)
		}
	}
	v, err := e.Trivial(Plain(Uint16, 0xabcd))
	if err != nil || v.Type != Uint16 || m.decrypt(t, e, v) != 0xabcd || v.Blocks[0].Bound.Variance != 0 {
		t.Errorf("Trivial = %v, %v", v, err)
	}
}

func TestRefusals(t *testing.T) {
	p := small(t)
	e, m := newMock(t, p)
	var typeError *TypeError
	var rangeError *RangeError
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
		operands := []Operand{u8, m.encrypt(Uint8, 2)}[:min(2, op.Operands())]
		if op == OpSelect {
			operands = append([]Operand{bit}, operands...)
		}
		if _, err := e.Apply(ctx, op, operands...); op != OpNot && !errors.Is(err, m.failWith) {
			t.Errorf("%v hides the error of the bootstrapper: %v", op, err)
		}
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
	if got := fmt.Sprint(Type(1), opCount, Type(9).Bits(), Uint64.Bits(), Bool.Blocks(), Uint8.Blocks(), Uint64.Blocks()); got != fmt.Sprintf("type 1 operation %d 0 64 1 4 32", opCount) {
		t.Error(got)
	}
}
