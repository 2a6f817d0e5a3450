package boolean

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/noise"
)

// mock is a Bootstrapper for the secret key that is all zeros: the phase of a
// ciphertext is its body. It checks what a bootstrap checks.
type mock struct {
	params  *fhe.Parameters
	next    uint64
	spent   int
	rounds  int
	loudest float64
	fail    error
}

func (m *mock) fresh(body uint64) fhe.LWE {
	v := make([]uint64, m.params.BigDimension()+1)
	m.next++
	v[0] = m.next * 0x5851f42d4c95 % m.params.Modulus()
	v[len(v)-1] = body
	return fhe.LWE{Value: v, Bound: noise.Bound{Variance: m.params.BootstrapVariance(), Max: 1, Source: v[0] + 1}}
}

func (m *mock) bit(x int) fhe.LWE { return m.fresh(m.params.Encode(int64(x))) }

func (m *mock) Bootstrap(_ context.Context, tasks []fhe.PBS) error {
	if m.fail != nil {
		return m.fail
	}
	m.rounds++
	for i, t := range tasks {
		lo, hi := t.LUT.Domain()
		if err := m.params.CheckInput(t.In.Bound, lo, hi); err != nil {
			return fmt.Errorf("task %d: %w", i, err)
		}
		m.spent++
		m.loudest = max(m.loudest, t.In.Bound.Variance)
		poly := t.LUT.Polynomial()
		n, q := uint64(len(poly)), m.params.Modulus()
		at := (t.In.Value[len(t.In.Value)-1]*2*n + q/2) / q % (2 * n)
		body := poly[at%n]
		if at >= n && body != 0 {
			body = q - body
		}
		t.Out[0] = m.params.Output(t.LUT, 0, m.fresh(body).Value)
	}
	return nil
}

func (m *mock) decrypt(t *testing.T, x fhe.LWE) int {
	t.Helper()
	if x.Bound.Min < 0 || x.Bound.Max > 1 {
		t.Fatalf("the bound [%d, %d] is not that of a bit", x.Bound.Min, x.Bound.Max)
	}
	d := m.params.Decode(x.Value[len(x.Value)-1])
	if d != 0 && d != 1 {
		t.Fatalf("message %d", d)
	}
	return int(d)
}

func newMock(t *testing.T) (*Evaluator, *mock) {
	t.Helper()
	p, err := fhe.Preset("tacit-bool-v1")
	if err != nil {
		t.Fatal(err)
	}
	m := &mock{params: p}
	e, err := New(p, m)
	if err != nil {
		t.Fatal(err)
	}
	return e, m
}

func want(op Op, x []int) int {
	switch op {
	case And:
		return x[0] & x[1]
	case Or:
		return x[0] | x[1]
	case Xor:
		return x[0] ^ x[1]
	case Nand:
		return 1 ^ x[0]&x[1]
	case Nor:
		return 1 ^ (x[0] | x[1])
	case Xnor:
		return 1 ^ x[0] ^ x[1]
	case Not:
		return 1 ^ x[0]
	}
	if x[0] == 1 {
		return x[1]
	}
	return x[2]
}

var ctx = context.Background()

// Every gate on every input: fresh bits, outputs of the loudest gate, a
// ciphertext that meets itself, and a public one.
func TestGates(t *testing.T) {
	e, m := newMock(t)
	mux := func(x int) fhe.LWE {
		out, err := e.Apply(ctx, Gate{Mux, []fhe.LWE{m.bit(1), m.bit(x), m.bit(1 - x)}})
		if err != nil {
			t.Fatal(err)
		}
		return out[0]
	}
	for op := range opCount {
		for pattern := range 1 << op.Inputs() {
			x := make([]int, op.Inputs())
			for i := range x {
				x[i] = pattern >> i & 1
			}
			for name, make := range map[string]func(i int) fhe.LWE{
				"fresh":  func(i int) fhe.LWE { return m.bit(x[i]) },
				"mux":    func(i int) fhe.LWE { return mux(x[i]) },
				"public": func(i int) fhe.LWE { return m.params.Trivial(int64(x[i])) },
				"mixed": func(i int) fhe.LWE {
					if i == 1 {
						return mux(x[i])
					}
					return m.bit(x[i])
				},
			} {
				var in []fhe.LWE
				for i := range x {
					in = append(in, make(i))
				}
				m.spent, m.rounds = 0, 0
				out, err := e.Apply(ctx, Gate{op, in})
				if err != nil {
					t.Fatalf("%v %v, %s: %v", op, x, name, err)
				}
				if got := m.decrypt(t, out[0]); got != want(op, x) {
					t.Errorf("%v %v, %s = %d", op, x, name, got)
				}
				if name == "fresh" && (m.spent != op.Bootstraps() || m.rounds > 1) {
					t.Errorf("%v: %d bootstraps in %d rounds, want %d", op, m.spent, m.rounds, op.Bootstraps())
				}
			}
			if x[0] == x[len(x)-1] && x[0] == x[len(x)/2] {
				b := m.bit(x[0])
				out, err := e.Apply(ctx, Gate{op, []fhe.LWE{b, b, b}[:len(x)]})
				if err != nil || m.decrypt(t, out[0]) != want(op, x) {
					t.Errorf("%v of one ciphertext %v: %v", op, x, err)
				}
			}
		}
	}
	if pf := m.params.FailureProbability(m.loudest); pf > fhe.MaxFailureLog2 {
		t.Errorf("failure probability 2^%.2f", pf)
	}
	if norm := m.loudest / m.params.BootstrapVariance(); norm < 7.999 || norm > m.params.MaxVariance()/m.params.BootstrapVariance() {
		t.Errorf("the loudest input has a norm of %v", norm)
	}
}

// Every gate on every way to choose its inputs among two bits, their complements and
// the constants, by its output and what it costs.
func TestSimplified(t *testing.T) {
	e, m := newMock(t)
	for op := range opCount {
		for pattern := range 4 {
			x := []int{pattern & 1, pattern >> 1}
			a, b := m.bit(x[0]), m.bit(x[1])
			bits := []fhe.LWE{a, e.not(a), b, e.not(b), m.params.Trivial(0), m.params.Trivial(1)}
			values := []int{x[0], 1 - x[0], x[1], 1 - x[1], 0, 1}
			choices := 1
			for range op.Inputs() {
				choices *= len(bits)
			}
			for choice := range choices {
				var in []fhe.LWE
				var plain, index []int
				for i, rest := 0, choice; i < op.Inputs(); i, rest = i+1, rest/len(bits) {
					in = append(in, bits[rest%len(bits)])
					plain = append(plain, values[rest%len(bits)])
					index = append(index, rest%len(bits))
				}
				m.spent = 0
				out, err := e.Apply(ctx, Gate{op, in})
				if err != nil {
					t.Fatalf("%v of %v: %v", op, index, err)
				}
				if got := m.decrypt(t, out[0]); got != want(op, plain) {
					t.Errorf("%v of %v, %v = %d", op, index, plain, got)
				}
				if got := m.spent; got != simplest(op, index) {
					t.Errorf("%v of %v costs %d bootstraps, want %d", op, index, got, simplest(op, index))
				}
			}
		}
	}
}

// simplest is what a gate on inputs 0..5 of TestSimplified has to cost: nothing if
// it is a function of one bit, one bootstrap if it is one of two, which all gates are
// here.
func simplest(op Op, index []int) int {
	outputs := [4]int{}
	for pattern := range outputs {
		a, b := pattern&1, pattern>>1
		var x []int
		for _, i := range index {
			x = append(x, []int{a, 1 - a, b, 1 - b, 0, 1}[i])
		}
		outputs[pattern] = want(op, x)
	}
	if outputs[0] == outputs[1] && outputs[2] == outputs[3] || outputs[0] == outputs[2] && outputs[1] == outputs[3] {
		return 0
	}
	return 1
}

// The forms of the gates, by their weights.
func TestFailureProbability(t *testing.T) {
	_, m := newMock(t)
	for name, norm := range map[string]float64{"a + b": 2, "2a + 2b": 8} {
		if pf := m.params.FailureProbability(norm * m.params.BootstrapVariance()); pf > fhe.MaxFailureLog2 {
			t.Errorf("%s: failure probability 2^%.2f", name, pf)
		}
	}
}

// A level of a circuit is one round.
func TestLevel(t *testing.T) {
	e, m := newMock(t)
	a, b, c := m.bit(1), m.bit(0), m.bit(1)
	out, err := e.Apply(ctx, Gate{Xor, []fhe.LWE{a, b}}, Gate{Mux, []fhe.LWE{a, b, c}}, Gate{Not, []fhe.LWE{c}}, Gate{Nand, []fhe.LWE{a, c}})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{1, 0, 0, 0} {
		if got := m.decrypt(t, out[i]); got != want {
			t.Errorf("output %d is %d", i, got)
		}
	}
	if m.rounds != 1 || m.spent != 4 {
		t.Errorf("%d bootstraps in %d rounds", m.spent, m.rounds)
	}
}

func TestRefusals(t *testing.T) {
	e, m := newMock(t)
	a := m.bit(1)
	loud, wide, short := a, a, a
	loud.Bound.Variance = m.params.MaxVariance() * 1.01
	wide.Bound.Max = 2
	short.Value = a.Value[1:]
	for name, in := range map[string][]fhe.LWE{"missing": {a}, "noise": {a, loud}, "message": {wide, a}, "residues": {a, short}} {
		var gateError *GateError
		if out, err := e.Apply(ctx, Gate{Not, []fhe.LWE{a}}, Gate{Or, in}); out != nil || !errors.As(err, &gateError) || gateError.Gate != 1 {
			t.Errorf("%s: %v, %v", name, out, err)
		}
	}
	var noiseError *noise.NoiseError
	if _, err := e.Apply(ctx, Gate{Or, []fhe.LWE{a, loud}}); !errors.As(err, &noiseError) {
		t.Errorf("noise: %v", err)
	}
	if _, err := e.Apply(ctx, Gate{opCount, nil}); err == nil {
		t.Error("a gate that does not exist was computed")
	}
	m.fail = errors.New("no accelerator")
	if _, err := e.Apply(ctx, Gate{Xor, []fhe.LWE{a, m.bit(0)}}); !errors.Is(err, m.fail) {
		t.Errorf("the error of the bootstrapper is hidden: %v", err)
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := e.Apply(canceled, Gate{Not, []fhe.LWE{a}}); !errors.Is(err, context.Canceled) {
		t.Errorf("after cancel: %v", err)
	}
	integers, err := fhe.Preset(fhe.TestPreset)
	if err != nil {
		t.Fatal(err)
	}
	var parametersError *fhe.ParametersError
	if _, err := New(integers, m); !errors.As(err, &parametersError) {
		t.Errorf("New with integer parameters: %v", err)
	}
}

func TestNames(t *testing.T) {
	for op := range opCount {
		if got, err := ParseOp(op.String()); got != op || err != nil {
			t.Errorf("ParseOp(%v) = %v, %v", op, got, err)
		}
	}
	if _, err := ParseOp("imply"); err == nil {
		t.Error("ParseOp takes an unknown name")
	}
	if got := opCount.String(); got != "gate 8" {
		t.Error(got)
	}
}
