package integer

import (
	"context"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sync"
	"testing"

	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/noise"
)

// The tests keep next to nothing and allocate much.
func TestMain(m *testing.M) {
	debug.SetGCPercent(1000)
	m.Run()
}

// mock is a Bootstrapper for the secret key that is all zeros: the phase of a
// ciphertext is its body, whatever the mask. It checks what a bootstrap checks,
// and that every message lies within its bound.
type mock struct {
	params *fhe.Parameters

	mu       sync.Mutex
	next     uint64 // first residue of the next ciphertext
	spent    Cost
	width    int     // the most tasks of one call
	loudest  float64 // variance of the noisiest input
	byTable  map[*fhe.LUT]float64
	failWith error
}

// fresh is a ciphertext with a mask like no other.
func (m *mock) fresh(body uint64, b noise.Bound) fhe.LWE {
	m.next++
	x := m.masked(scramble(m.next), body, b)
	x.Bound.Source = m.next
	return x
}

// masked is a ciphertext whose first residue is that of a mask, in the order of
// its words.
func (m *mock) masked(mask, body uint64, b noise.Bound) fhe.LWE {
	v := make([]uint64, m.params.BigDimension()+1)
	v[0] = mask % m.params.Modulus()
	v[len(v)-1] = body
	return fhe.LWE{Value: v, Bound: b}
}

func (m *mock) Bootstrap(_ context.Context, tasks []fhe.PBS) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failWith != nil {
		return m.failWith
	}
	for i, t := range tasks {
		lo, hi := t.LUT.Domain()
		if err := m.params.CheckInput(t.In.Bound, lo, hi); err != nil {
			return fmt.Errorf("task %d: %w", i, err)
		}
		if len(t.Out) != t.LUT.Outputs() {
			return fmt.Errorf("task %d: room for %d outputs of %d", i, len(t.Out), t.LUT.Outputs())
		}
		if _, err := m.message(t.In); err != nil {
			return fmt.Errorf("task %d: input: %w", i, err)
		}
	}
	m.spent.Bootstraps += len(tasks)
	m.spent.Depth++
	m.width = max(m.width, len(tasks))
	for k := range tasks {
		t := &tasks[k]
		t.Out = make([]fhe.LWE, t.LUT.Outputs()) // as the real one does
		m.loudest = max(m.loudest, t.In.Bound.Variance)
		m.byTable[t.LUT] = max(m.byTable[t.LUT], t.In.Bound.Variance)
		poly := t.LUT.Polynomial()
		n := uint64(len(poly))
		phase := t.In.Value[len(t.In.Value)-1]
		rotation := (phase*2*n + m.params.Modulus()/2) / m.params.Modulus()
		for i := range t.Out {
			at := (rotation + uint64(t.LUT.Offset(i))) % (2 * n)
			body := poly[at%n]
			if at >= n && body != 0 {
				body = m.params.Modulus() - body
			}
			// The same bootstrap gives the same ciphertext, and a trivial one of a
			// trivial one.
			var mask uint64
			if t.In.Value[0] != 0 {
				mask = scramble(t.In.Value[0] ^ scramble(phase^scramble(uint64(t.LUT.Offset(i))^polyHash(poly))))
			}
			t.Out[i] = m.params.Output(t.LUT, i, m.masked(mask, body, noise.Bound{}).Value)
		}
	}
	return nil
}

// polyHash tells test polynomials apart.
func polyHash(poly []uint64) (h uint64) {
	for i := 0; i < len(poly); i += max(1, len(poly)/64) {
		h = scramble(h ^ poly[i])
	}
	return h
}

// message decrypts one block and holds it against its bound.
func (m *mock) message(x fhe.LWE) (int64, error) {
	got := m.params.Decode(x.Value[len(x.Value)-1])
	for _, alias := range []int64{got - 32, got, got + 32} {
		if alias >= x.Bound.Min && alias <= x.Bound.Max {
			return alias, nil
		}
	}
	return 0, fmt.Errorf("message %d is outside its bound [%d, %d]", got, x.Bound.Min, x.Bound.Max)
}

// encrypt returns a clean value, as noisy as a bootstrap output.
func (m *mock) encrypt(t Type, x uint64) *Value { return m.encryptBig(t, new(big.Int).SetUint64(x)) }

func (m *mock) encryptBig(t Type, x *big.Int) *Value {
	m.mu.Lock()
	defer m.mu.Unlock()
	v := &Value{Type: t, Blocks: make([]fhe.LWE, t.Blocks())}
	for i, d := range PlainBig(t, x).digits() {
		v.Blocks[i] = m.fresh(m.params.Encode(d), noise.Bound{Variance: m.params.BootstrapVariance(), Max: t.blockMax()})
	}
	return v
}

// noisy is encrypt with errors that other ciphertexts may share, and a variance
// of the given multiple of that of a bootstrap output.
func (m *mock) noisy(t Type, x *big.Int, times float64) *Value {
	v := m.encryptBig(t, x)
	for i := range v.Blocks {
		v.Blocks[i].Bound.Source = 0
		v.Blocks[i].Bound.Variance *= times
	}
	return v
}

// decrypt returns the plaintext of a result, after it has checked that the
// result is one that operations take.
func (m *mock) decrypt(t testing.TB, e *Evaluator, v *Value) *big.Int {
	t.Helper()
	if err := e.check(0, v); err != nil {
		t.Fatal(err)
	}
	x := new(big.Int)
	for i := len(v.Blocks) - 1; i >= 0; i-- {
		d, err := m.message(v.Blocks[i])
		if err != nil {
			t.Fatal(err)
		}
		x.Lsh(x, blockBits).Add(x, big.NewInt(d))
	}
	return x
}

func newMock(t testing.TB, p *fhe.Parameters) (*Evaluator, *mock) {
	t.Helper()
	m := &mock{params: p, byTable: make(map[*fhe.LUT]float64)}
	e, err := New(p, m)
	if err != nil {
		t.Fatal(err)
	}
	return e, m
}

func preset(t testing.TB, name string) *fhe.Parameters {
	t.Helper()
	p, err := fhe.Preset(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// small is a parameter set with the smallest polynomials there can be, for tests
// that run many operations. It bootstraps so noisily that it refuses what real
// parameters refuse.
func small(t testing.TB) *fhe.Parameters { return limited(t, 51) }

// tight is small with room for combinations of squared norm 34 only, as in the
// unrolled preset.
func tight(t testing.TB) *fhe.Parameters { return limited(t, 34) }

func limited(t testing.TB, normSquared float64) *fhe.Parameters {
	t.Helper()
	l := preset(t, fhe.TestPreset).Literal()
	l.Name, l.PolynomialSize, l.LWEDimension = "insecure-test-small", 256, 8
	l.NormSquared = normSquared
	l.PackingGadget.BaseLog, l.PackingGadget.Levels = 0, 0 // which would set the limit
	largest := func(field *int) (p *fhe.Parameters) {
		for ; ; *field++ {
			next, err := fhe.NewParameters(l)
			if err != nil {
				*field--
				return p
			}
			p = next
		}
	}
	largest(&l.GLWENoise)
	p := largest(&l.LWEDimension)
	if limit := p.MaxVariance() / p.BootstrapVariance(); limit < normSquared || limit > normSquared+9 {
		t.Fatalf("the noise limit is %v bootstrap outputs", limit)
	}
	return p
}

// wrap is x modulo the range of a type.
func wrap(t Type, x *big.Int) *big.Int {
	return new(big.Int).And(x, maximum(t))
}

func maximum(t Type) *big.Int {
	m := new(big.Int).Lsh(big.NewInt(1), uint(t.Bits()))
	return m.Sub(m, big.NewInt(1))
}

// want is the reference for every operation on plaintexts of the given types, or
// nothing for random values.
func want(op Op, types []Type, x ...*big.Int) []*big.Int {
	flag := func(b bool) []*big.Int {
		if b {
			return []*big.Int{big.NewInt(1)}
		}
		return []*big.Int{big.NewInt(0)}
	}
	t := types[len(types)-1]
	var z big.Int
	is := func(x *big.Int) []*big.Int { return []*big.Int{wrap(t, x)} }
	over := func(x *big.Int) []*big.Int { return append(is(x), flag(wrap(t, x).Cmp(x) != 0)...) }
	rotate := func(left uint) []*big.Int {
		right := new(big.Int).Rsh(x[0], uint(types[0].Bits())-left)
		return []*big.Int{wrap(types[0], z.Or(z.Lsh(x[0], left), right))}
	}
	switch op {
	case OpAdd:
		return is(z.Add(x[0], x[1]))
	case OpSub:
		return is(z.Sub(x[0], x[1]))
	case OpMul:
		return is(z.Mul(x[0], x[1]))
	case OpAddOverflow:
		return over(z.Add(x[0], x[1]))
	case OpSubOverflow:
		return over(z.Sub(x[0], x[1]))
	case OpMulOverflow:
		return over(z.Mul(x[0], x[1]))
	case OpSum:
		for _, y := range x {
			z.Add(&z, y)
		}
		return is(&z)
	case OpDiv, OpRem, OpDivRem:
		q, r := maximum(t), x[0]
		if x[1].Sign() != 0 {
			q, r = new(big.Int).QuoRem(x[0], x[1], new(big.Int))
		}
		return map[Op][]*big.Int{OpDiv: {q}, OpRem: {r}, OpDivRem: {q, r}}[op]
	case OpMulDiv:
		return is(z.Quo(z.Mul(x[0], x[1]), x[2]))
	case OpMin:
		if x[0].Cmp(x[1]) < 0 {
			return x[:1]
		}
		return x[1:]
	case OpMax:
		if x[0].Cmp(x[1]) > 0 {
			return x[:1]
		}
		return x[1:]
	case OpNeg:
		return is(z.Neg(x[0]))
	case OpEq:
		return flag(x[0].Cmp(x[1]) == 0)
	case OpNe:
		return flag(x[0].Cmp(x[1]) != 0)
	case OpLt:
		return flag(x[0].Cmp(x[1]) < 0)
	case OpLe:
		return flag(x[0].Cmp(x[1]) <= 0)
	case OpGt:
		return flag(x[0].Cmp(x[1]) > 0)
	case OpGe:
		return flag(x[0].Cmp(x[1]) >= 0)
	case OpIsIn:
		return flag(slices.ContainsFunc(x[1:], func(y *big.Int) bool { return x[0].Cmp(y) == 0 }))
	case OpAnd:
		return is(z.And(x[0], x[1]))
	case OpOr:
		return is(z.Or(x[0], x[1]))
	case OpXor:
		return is(z.Xor(x[0], x[1]))
	case OpNot:
		return is(z.Not(x[0]))
	case OpSelect:
		if x[0].Sign() == 1 {
			return x[1:2]
		}
		return x[2:]
	case OpShl, OpShr, OpRotl, OpRotr:
		width := int64(types[0].Bits())
		s := uint(new(big.Int).Mod(x[1], big.NewInt(width)).Int64())
		switch op {
		case OpShl:
			return []*big.Int{wrap(types[0], z.Lsh(x[0], s))}
		case OpShr:
			return []*big.Int{z.Rsh(x[0], s)}
		case OpRotl:
			return rotate(s)
		}
		return rotate((uint(width) - s) % uint(width))
	case OpCast:
		if t == Bool {
			return flag(x[0].Sign() != 0)
		}
		return is(x[0])
	case OpLookup:
		return []*big.Int{new(big.Int).SetUint64(testTable(types[0], t).values[x[0].Int64()])}
	case OpLookup2:
		return []*big.Int{new(big.Int).SetUint64(testTable(types[0], t).values[x[0].Int64()&15<<4+x[1].Int64()&15])}
	case OpRand, OpRandBounded:
		return nil
	}
	panic(op)
}

// testTable is a function without structure of a Bool or eight bits.
func testTable(from, to Type) *Table {
	values := make([]uint64, 1<<min(from.Bits(), 8))
	r := rand.New(rand.NewPCG(4, uint64(to)))
	for i := range values {
		values[i] = r.Uint64() & wrap(to, new(big.Int).SetUint64(math.MaxUint64)).Uint64()
	}
	table, err := NewTable(to, values)
	if err != nil {
		panic(err)
	}
	return table
}

// shapes are lists of operand types of an operation on values of type t: the
// plain one first, then those of other lengths and other results.
func shapes(op Op, t Type) (all [][]Type) {
	same := slices.Repeat([]Type{t}, 8)
	switch op {
	case OpSelect:
		all = [][]Type{{Bool, t, t}}
	case OpShl, OpShr, OpRotl, OpRotr:
		all = [][]Type{{t, t}, {t, Uint8}}
	case OpCast:
		for _, to := range allTypes {
			all = append(all, []Type{t, to})
		}
	case OpSum:
		all = [][]Type{same[:3], same[:1], same[:2], same}
	case OpIsIn:
		all = [][]Type{same[:4], same[:2]}
	case OpLookup:
		all = [][]Type{{t, Uint8}, {t, Bool}, {t, Uint32}}
	case OpLookup2:
		all = [][]Type{{t, t, Uint8}, {t, t, Bool}}
	default:
		all = [][]Type{same[:op.Operands()]}
	}
	return slices.DeleteFunc(all, func(types []Type) bool {
		_, err := op.Results(types...)
		return err != nil
	})
}

// operands are the operands of an operation on plaintexts, encrypted where the
// bit of kinds is set and the operation takes ciphertexts. It changes plaintexts
// that the operation does not take.
func (m *mock) operands(op Op, types []Type, kinds int, x []*big.Int) []Operand {
	out := make([]Operand, len(types))
	for i, t := range types {
		out[i] = PlainBig(t, x[i])
		if kinds>>i&1 == 1 {
			out[i] = m.encryptBig(t, x[i])
		}
		switch {
		case op == OpCast && i == 1:
			out[i] = To(t)
		case (op == OpRand || op == OpRandBounded) && i == 0:
			seed := Seed{Type: t}
			x[i].FillBytes(seed.Bytes[:])
			out[i] = seed
		case op == OpRandBounded:
			x[i] = new(big.Int).Lsh(big.NewInt(1), uint(x[i].Bit(0)+2*x[i].Bit(1)+4*x[i].Bit(2))%uint(t.Bits()))
			out[i] = PlainBig(t, x[i])
		case (op == OpLookup || op == OpLookup2) && i == op.Operands()-1:
			out[i] = testTable(types[0], t)
		case op == OpMulDiv && i == 2:
			if x[i].Sign() == 0 {
				x[i] = big.NewInt(1)
			}
			out[i] = PlainBig(t, x[i])
		case (op == OpDiv || op == OpRem || op == OpDivRem) && i == 1 && x[i].Sign() == 0:
			out[i] = m.encryptBig(t, x[i])
		}
	}
	return out
}

var allTypes = []Type{Bool, Uint8, Uint16, Uint32, Uint64, Uint128, Address, Uint256}

// edges are plaintexts at which carries, signs and plaintext folding change.
func edges(t Type) []*big.Int {
	m := maximum(t)
	half := new(big.Int).Rsh(m, 1)
	fives := new(big.Int).Quo(m, big.NewInt(3))
	out := []*big.Int{m, half, fives}
	for _, d := range []int64{1, 3, 15} {
		out = append(out, new(big.Int).Sub(m, big.NewInt(d)), new(big.Int).Add(half, big.NewInt(d)))
	}
	out = append(out, new(big.Int).Lsh(fives, 1), new(big.Int).Lsh(big.NewInt(16), uint(t.Bits()/2)), new(big.Int).AndNot(m, big.NewInt(15)))
	for _, d := range []int64{0, 1, 2, 3, 4, 5, 10, 15, 16} {
		out = append(out, big.NewInt(d))
	}
	return slices.DeleteFunc(out, func(x *big.Int) bool { return x.Sign() < 0 || x.Cmp(m) > 0 })
}

func random(r *rand.Rand, t Type) *big.Int {
	x := new(big.Int)
	for range (t.Bits() + 63) / 64 {
		x.Lsh(x, 64).Or(x, new(big.Int).SetUint64(r.Uint64()))
	}
	x = wrap(t, x)
	switch r.IntN(4) {
	case 0:
		x.Rsh(x, uint(r.IntN(t.Bits()))) // short
	case 1:
		x = wrap(t, x.Lsh(x, uint(r.IntN(t.Bits())))) // trailing zeros
	}
	return x
}
