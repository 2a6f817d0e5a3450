package fhe

import (
	"errors"
	"math"
	"math/big"
	"testing"

	"github.com/tacit-fhe/tacit/fhe/noise"
)

// preset returns a named parameter set or stops the test.
func preset(t testing.TB, name string) *Parameters {
	t.Helper()
	p, err := Preset(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPresetsMeetTheirLines(t *testing.T) {
	for _, name := range PresetNames() {
		p := preset(t, name)
		pf := p.FailureProbability(p.Literal().NormSquared * p.BootstrapVariance())
		if !(pf <= MaxFailureLog2) {
			t.Errorf("%s: failure probability 2^%.2f", name, pf)
		}
		if got := p.FailureProbability(p.MaxVariance()); math.Abs(got-MaxFailureLog2) > 1e-6 {
			t.Errorf("%s: failure probability at MaxVariance is 2^%v", name, got)
		}
		lwe, glwe := p.SecurityMargins()
		if secure := lwe >= 0 && glwe >= 0; secure == p.Literal().TestOnly {
			t.Errorf("%s: margins %.3f and %.3f bits over the security line", name, lwe, glwe)
		}
		t.Logf("%s: 2^%.2f at norm² %.0f, norm² up to %.1f", name, pf, p.Literal().NormSquared, p.MaxVariance()/p.BootstrapVariance())
	}
}

func TestNewParametersRefuses(t *testing.T) {
	good := preset(t, DefaultPreset).Literal()
	for field, change := range map[string]func(*Literal){
		"Name":            func(l *Literal) { l.TestOnly = true },
		"PolynomialSize":  func(l *Literal) { l.PolynomialSize = 2000 },
		"Modulus":         func(l *Literal) { l.Modulus -= 1 << 17 },
		"Rank":            func(l *Literal) { l.Rank = 0 },
		"LWEDimension":    func(l *Literal) { l.LWEDimension = 1 << 20 },
		"BootstrapGadget": func(l *Literal) { l.BootstrapGadget = noise.Gadget{BaseLog: 1 << 40, Levels: 1 << 40} },
		"KeySwitchGadget": func(l *Literal) { l.KeySwitchGadget.Levels = 17 },
		"PackingGadget":   func(l *Literal) { l.PackingGadget.Levels = 0 },
		"LWENoise":        func(l *Literal) { l.LWENoise-- },
		"GLWENoise":       func(l *Literal) { l.GLWENoise-- },
		"MessageBits":     func(l *Literal) { l.MessageBits = 9 },
		"NormSquared":     func(l *Literal) { l.NormSquared = math.NaN() },
	} {
		l := good
		change(&l)
		var perr *ParametersError
		if _, err := NewParameters(l); !errors.As(err, &perr) || perr.Field != field {
			t.Errorf("%s: got %v", field, err)
		}
	}
	l := good
	l.PackingGadget = noise.Gadget{BaseLog: 10, Levels: 2}
	var perr *ParametersError
	if _, err := NewParameters(l); !errors.As(err, &perr) || perr.Field != "PackingGadget" {
		t.Errorf("packing that is too noisy: %v", err)
	}
	l = good
	l.NormSquared = 80
	if _, err := NewParameters(l); err == nil {
		t.Error("a combination that fails too often was accepted")
	}
}

func TestEncodeDecode(t *testing.T) {
	for _, name := range PresetNames() {
		p := preset(t, name)
		b := int64(p.Boxes())
		half := p.Modulus() / uint64(4*b)
		for m := -3 * b; m < 3*b; m++ {
			want := ((m+b)%(2*b)+2*b)%(2*b) - b
			e := p.Encode(m)
			if e >= p.Modulus() {
				t.Fatalf("%s: Encode(%d) = %d", name, m, e)
			}
			for _, err := range []uint64{0, half - 2, p.Modulus() - half + 2} {
				if got := p.Decode((e + err) % p.Modulus()); got != want {
					t.Errorf("%s: Decode(Encode(%d)+%d) = %d, want %d", name, m, err, got, want)
				}
			}
		}
	}
}

func TestLUTRules(t *testing.T) {
	p := preset(t, TestPreset)
	sign := func(m int64) int64 { return max(-1, min(1, m)) }
	one := func(int64) int64 { return 1 }
	square := func(m int64) int64 { return m * m }
	for _, c := range []struct {
		name   string
		lo, hi int64
		fs     []func(int64) int64
		ok     bool
	}{
		{"any function on 16 messages", 0, 15, []func(int64) int64{one}, true},
		{"a negacyclic function on 31", -15, 15, []func(int64) int64{sign}, true},
		{"a constant on the whole torus", -16, 15, []func(int64) int64{one}, true},
		{"zero or not on 31", -15, 15, []func(int64) int64{func(m int64) int64 { return m * m * 3 / max(1, m*m*3) }}, true},
		{"any function on 17", 0, 16, []func(int64) int64{square}, true},
		{"a function on 18", 0, 17, []func(int64) int64{square}, false},
		{"two functions on 8", 0, 7, []func(int64) int64{one, sign}, true},
		{"two functions on 9", 0, 8, []func(int64) int64{square, sign}, true},
		{"two functions on 10", 0, 9, []func(int64) int64{square, sign}, false},
		{"quotient and rest on 9", 3, 11, []func(int64) int64{func(m int64) int64 { return m % 4 }, func(m int64) int64 { return m / 4 }}, true},
		{"three functions", 0, 1, []func(int64) int64{one, one, one}, false},
		{"no function", 0, 1, nil, false},
		{"empty domain", 1, 0, []func(int64) int64{one}, false},
	} {
		lut, err := p.NewLUT(c.lo, c.hi, c.fs...)
		var lerr *LUTError
		if (err == nil) != c.ok || err != nil && !errors.As(err, &lerr) {
			t.Errorf("%s: %v", c.name, err)
		}
		if err != nil {
			continue
		}
		checkLUT(t, p, c.name, lut, 1, c.fs)
	}
}

// checkLUT reads the test polynomial as X^-phase would place it, and wants every
// output at every error of up to half a box.
func checkLUT(t *testing.T, p *Parameters, name string, lut *LUT, unit int64, fs []func(int64) int64) {
	t.Helper()
	n := int64(p.Literal().PolynomialSize)
	w := n / int64(p.Boxes())
	lo, hi := lut.Domain()
	for i, f := range fs {
		for m := lo; m <= hi; m++ {
			for _, e := range []int64{-w / 2, 0, w/2 - 1} {
				at := ((m*w+e+int64(lut.Offset(i)))%(2*n) + 2*n) % (2 * n)
				value := make([]uint64, p.BigDimension()+1)
				value[len(value)-1] = lut.Polynomial()[at%n]
				if at >= n {
					value[len(value)-1] = SubMod(0, value[len(value)-1], p.Modulus())
				}
				out := p.Output(lut, i, value)
				got := value[len(value)-1]
				want := new(big.Int).Mul(big.NewInt(f(m)), new(big.Int).SetUint64(p.Modulus()))
				want.Mod(want.Div(want, big.NewInt(int64(2*p.Boxes())*unit)), new(big.Int).SetUint64(p.Modulus()))
				// Two roundings are within 1 of one of them.
				if d := (got - want.Uint64() + 2 + p.Modulus()) % p.Modulus(); d > 4 {
					t.Fatalf("%s: output %d of %d%+d/%d is %d, want %d", name, i, m, e, w, got, want)
				}
				if out.Bound.Min*unit > f(m) || out.Bound.Max*unit < f(m) {
					t.Fatalf("%s: output %d of %d is %d/%d, the bound [%d, %d]", name, i, m, f(m), unit, out.Bound.Min, out.Bound.Max)
				}
			}
		}
	}
}

func TestShiftedAndFractionLUTs(t *testing.T) {
	p := preset(t, TestPreset)
	digit := func(v int64) func(int64) int64 {
		return func(m int64) int64 {
			if m/4 == v {
				return m % 4
			}
			return 0
		}
	}
	quarter := func(c int64) func(int64) int64 { return func(m int64) int64 { return (m + c) / 4 } }
	for _, c := range []struct {
		name   string
		hi     int64
		shifts []int64
		fs     []func(int64) int64
		ok     bool
	}{
		{"the digit chosen by another", 15, []int64{0, -4, -8, -12}, []func(int64) int64{digit(0), digit(1), digit(2), digit(3)}, true},
		{"a staircase and its steps", 15, []int64{0, 1, 2, 3}, []func(int64) int64{quarter(0), quarter(1), quarter(2), quarter(3)}, true},
		{"a staircase with too many", 15, []int64{0, 5}, []func(int64) int64{quarter(0), quarter(5)}, false},
		{"shifts are missing", 3, []int64{0}, []func(int64) int64{digit(0), digit(1)}, false},
		{"no function", 3, nil, nil, false},
	} {
		lut, err := p.NewShiftedLUT(0, c.hi, c.shifts, c.fs...)
		var lerr *LUTError
		if (err == nil) != c.ok || err != nil && !errors.As(err, &lerr) {
			t.Errorf("%s: %v", c.name, err)
		}
		if err == nil {
			checkLUT(t, p, c.name, lut, 1, c.fs)
		}
	}
	odd := func(m int64) int64 { return 7*m - 50 }
	for log := range maxFraction + 1 {
		lut, err := p.NewFractionLUT(-3, 12, log, odd)
		if err != nil {
			t.Fatal(err)
		}
		checkLUT(t, p, "fractions", lut, 1<<log, []func(int64) int64{odd})
	}
	if _, err := p.NewFractionLUT(0, 3, maxFraction+1, odd); err == nil {
		t.Error("a fraction that is too fine was accepted")
	}
}

func TestCombineBounds(t *testing.T) {
	p := preset(t, TestPreset)
	a := LWE{Value: make([]uint64, p.BigDimension()+1), Bound: noise.Bound{Variance: 1e-6, Max: 3}}
	b := LWE{Value: make([]uint64, p.BigDimension()+1), Bound: noise.Bound{Variance: 1e-6, Max: 3}}
	a.Value[0], b.Value[0] = 7, 9
	a.Bound.Source, b.Bound.Source = SourceOf(a), SourceOf(b)
	sum := p.Combine(-2, Term{4, a}, Term{-1, b})
	if v := sum.Bound.Variance; math.Abs(v-17e-6) > 1e-15 || sum.Bound.Min != -5 || sum.Bound.Max != 10 {
		t.Errorf("independent: %+v", sum.Bound)
	}
	if sum.Value[0] != 4*7-9 {
		t.Errorf("value %d", sum.Value[0])
	}
	if v := p.Combine(0, Term{1, a}, Term{1, a}).Bound.Variance; math.Abs(v-4e-6) > 1e-15 {
		t.Errorf("the same ciphertext twice: variance %v, want 4e-6", v)
	}
	if v := p.Combine(0, Term{1, sum}, Term{1, b}).Bound.Variance; v < 25e-6 {
		t.Errorf("a shared error was taken as independent: %v", v)
	}
	not := p.Combine(3, Term{-1, a})
	if v := p.Combine(0, Term{4, not}, Term{1, b}).Bound.Variance; math.Abs(v-17e-6) > 1e-15 {
		t.Errorf("a negated ciphertext lost its source: variance %v, want 17e-6", v)
	}
	if v := p.Combine(0, Term{1, not}, Term{1, a}).Bound.Variance; math.Abs(v-4e-6) > 1e-15 {
		t.Errorf("a ciphertext and its negation: variance %v, want at most 4e-6", v)
	}
}
