package integer

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime/debug"
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
	loudest  float64 // variance of the noisiest input
	failWith error
}

// fresh is a ciphertext with a mask like no other.
func (m *mock) fresh(body uint64, b noise.Bound) fhe.LWE {
	v := make([]uint64, m.params.BigDimension()+1)
	// Multiples of a large constant: no small combination of them is zero.
	m.next++
	b.Source = m.next
	v[0] = m.next * 0x5851f42d4c95 % m.params.Modulus()
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
	for _, t := range tasks {
		m.loudest = max(m.loudest, t.In.Bound.Variance)
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
			fresh := m.fresh(body, noise.Bound{})
			t.Out[i] = m.params.Output(t.LUT, i, fresh.Value)
			t.Out[i].Bound.Source = fresh.Bound.Source
		}
	}
	return nil
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
func (m *mock) encrypt(t Type, x uint64) *Value {
	m.mu.Lock()
	defer m.mu.Unlock()
	v := &Value{Type: t, Blocks: make([]fhe.LWE, t.Blocks())}
	for i, d := range Plain(t, x).digits() {
		v.Blocks[i] = m.fresh(m.params.Encode(d), noise.Bound{Variance: m.params.BootstrapVariance(), Max: t.blockMax()})
	}
	return v
}

// noisy is encrypt with errors that other ciphertexts may share, and a variance
// of the given multiple of that of a bootstrap output.
func (m *mock) noisy(t Type, x uint64, times float64) *Value {
	v := m.encrypt(t, x)
	for i := range v.Blocks {
		v.Blocks[i].Bound.Source = 0
		v.Blocks[i].Bound.Variance *= times
	}
	return v
}

// decrypt returns the plaintext of a result, after it has checked that the
// result is one that operations take.
func (m *mock) decrypt(t testing.TB, e *Evaluator, v *Value) uint64 {
	t.Helper()
	if err := e.check(0, v); err != nil {
		t.Fatal(err)
	}
	var x uint64
	for i, b := range v.Blocks {
		d, err := m.message(b)
		if err != nil {
			t.Fatal(err)
		}
		x |= uint64(d) << (blockBits * i)
	}
	return x
}

func newMock(t testing.TB, p *fhe.Parameters) (*Evaluator, *mock) {
	t.Helper()
	m := &mock{params: p}
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

func mask(t Type) uint64 { return math.MaxUint64 >> (64 - t.Bits()) }

// want is the reference for every operation, on plaintexts of type t.
func want(op Op, t Type, x ...uint64) uint64 {
	flag := func(b bool) uint64 {
		if b {
			return 1
		}
		return 0
	}
	switch op {
	case OpAdd:
		return (x[0] + x[1]) & mask(t)
	case OpSub:
		return (x[0] - x[1]) & mask(t)
	case OpNeg:
		return -x[0] & mask(t)
	case OpEq:
		return flag(x[0] == x[1])
	case OpNe:
		return flag(x[0] != x[1])
	case OpLt:
		return flag(x[0] < x[1])
	case OpLe:
		return flag(x[0] <= x[1])
	case OpGt:
		return flag(x[0] > x[1])
	case OpGe:
		return flag(x[0] >= x[1])
	case OpAnd:
		return x[0] & x[1]
	case OpOr:
		return x[0] | x[1]
	case OpXor:
		return x[0] ^ x[1]
	case OpNot:
		return x[0] ^ mask(t)
	case OpSelect:
		if x[0] == 1 {
			return x[1]
		}
		return x[2]
	}
	panic(op)
}

// operandTypes are the types of an operation on values of type t, or nothing if
// it does not take them.
func operandTypes(op Op, t Type) []Type {
	types := []Type{t, t, t}[:op.Operands()]
	if op == OpSelect {
		types[0] = Bool
	}
	if _, err := op.Result(types...); err != nil {
		return nil
	}
	return types
}

var allTypes = []Type{Bool, Uint8, Uint16, Uint32, Uint64}

// edges are plaintexts at which carries, signs and plaintext folding change.
func edges(t Type) []uint64 {
	m := mask(t)
	all := []uint64{0, 1, 2, 3, 4, 5, 15, 16, m / 2, m/2 + 1, m - 1, m, 0x5555555555555555 & m, 0xaaaaaaaaaaaaaaaa & m, m - 3, m &^ 15, 0x10 << (t.Bits() / 2) & m, 0x0123456789abcdef & m}
	var out []uint64
	for _, x := range all {
		if x <= m {
			out = append(out, x)
		}
	}
	return out
}

func random(r *rand.Rand, t Type) uint64 {
	x := r.Uint64() & mask(t)
	switch r.IntN(4) {
	case 0:
		x >>= r.IntN(t.Bits()) // short
	case 1:
		x = x << r.IntN(t.Bits()) & mask(t) // trailing zeros
	}
	return x
}
