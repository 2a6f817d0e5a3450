package leveled

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
)

// A setting is a parameter set with keys, made once for all tests.
type setting struct {
	p    *Parameters
	keys *KeySet
	sk   *Encryptor
	pk   *Encryptor
	dec  *Decryptor
	eval *Evaluator
}

var settings sync.Map

func use(t testing.TB, name string) *setting {
	t.Helper()
	once, _ := settings.LoadOrStore(name, sync.OnceValue(func() *setting {
		p, err := ByName(name)
		if err != nil {
			panic(err)
		}
		keys, err := GenerateKeys(p, KeySpec{SwapRows: p.Scheme().Integers()}, nil)
		if err != nil {
			panic(err)
		}
		return &setting{p, keys, NewEncryptor(keys.Secret), NewPublicEncryptor(keys.Public), NewDecryptor(keys.Secret), NewEvaluator(keys.Evaluation)}
	}))
	return once.(func() *setting)()
}

// The error that is measured in a ciphertext may exceed the predicted one by no more than chance
// explains (N coefficients give its standard deviation to a percent or two), and may fall short of it by what the
// bound of the operation is wide.
const above = 0.1

func tracked(t *testing.T, what string, n Noise, measured, below float64) {
	t.Helper()
	if d := measured - n.LogSigma; d > above || d < -below {
		t.Errorf("%s: error 2^%.2f, predicted 2^%.2f, allowed from -%.1f to +%.1f", what, measured, n.LogSigma, below, above)
	}
}

// integers drives operations on integers and compares values and error with a computation in the clear.
type integers struct {
	*testing.T
	s *setting
}

type known struct {
	c *Ciphertext
	v []int64
}

func (it integers) check(what string, c *Ciphertext, err error, below float64, want func(i int) int64) known {
	it.Helper()
	if err != nil {
		it.Fatalf("%s: %v", what, err)
	}
	got, err := it.s.dec.Integers(c)
	if err != nil {
		it.Fatalf("%s: %v", what, err)
	}
	v := make([]int64, len(got))
	for i := range got {
		if v[i] = it.s.p.center(want(i)); got[i] != v[i] {
			it.Fatalf("%s: slot %d is %d, want %d", what, i, got[i], v[i])
		}
	}
	m, err := it.s.dec.MeasureIntegers(c)
	if err != nil {
		it.Fatal(err)
	}
	tracked(it.T, what, c.noise, m, below)
	return known{c, v}
}

func TestIntegers(t *testing.T) {
	for _, name := range []string{"bgv-13", "bfv-13", "bfv-14-t32"} {
		t.Run(name, func(t *testing.T) {
			s := use(t, name)
			it, T := integers{t, s}, int64(s.p.PlaintextModulus())
			random := func() []int64 {
				v := make([]int64, s.p.Slots())
				for i := range v {
					v[i] = rand.Int64N(T) - T/2
				}
				return v
			}
			x, y := random(), random()
			c, err := s.pk.Integers(x)
			a := it.check("public", c, err, 0.2, func(i int) int64 { return x[i] })
			c, err = s.sk.Integers(y)
			b := it.check("secret", c, err, 0.2, func(i int) int64 { return y[i] })
			c, err = s.eval.Add(a.c, b.c)
			it.check("add", c, err, 0.5, func(i int) int64 { return x[i] + y[i] })
			c, err = s.eval.Sub(a.c, b.c)
			it.check("sub", c, err, 0.5, func(i int) int64 { return x[i] - y[i] })
			c, err = s.eval.Add(a.c, a.c)
			it.check("double", c, err, 0.2, func(i int) int64 { return 2 * x[i] })
			c, err = s.eval.Neg(a.c)
			it.check("neg", c, err, 0.2, func(i int) int64 { return -x[i] })
			c, err = s.eval.MulScalar(a.c, -1234)
			it.check("scalar", c, err, 0.2, func(i int) int64 { return -1234 * x[i] })
			c, err = s.eval.AddIntegers(a.c, y[:100])
			it.check("add plain", c, err, 0.2, func(i int) int64 {
				if i < 100 {
					return x[i] + y[i]
				}
				return x[i]
			})
			c, err = s.eval.MulIntegers(a.c, y)
			it.check("mul plain", c, err, 1.2, func(i int) int64 { return mulMod(s.p, x[i], y[i]) })
			row := s.p.Row()
			for _, k := range []int{1, -1, 37, row - 1, row + 2} {
				c, err = s.eval.Rotate(b.c, k)
				it.check(fmt.Sprint("rotate ", k), c, err, 1.3, func(i int) int64 { return y[i/row*row+((i+k)%row+row)%row] })
			}
			c, err = s.eval.SwapRows(b.c)
			it.check("swap", c, err, 1.3, func(i int) int64 { return y[(i+row)%(2*row)] })
			// Sums are bounded as if all summands were the same.
			c, err = s.eval.InnerSum(b.c, 64)
			it.check("inner sum", c, err, 6, func(i int) int64 {
				sum := int64(0)
				for j := range 64 {
					sum += y[i/row*row+(i+j)%row]
				}
				return sum
			})
			// Multiply until it is refused; the last result still decrypts.
			c, err = s.eval.Mul(a.c, b.c)
			p := it.check("mul", c, err, 2.2, func(i int) int64 { return mulMod(s.p, x[i], y[i]) })
			depth := 1
			for ; ; depth++ {
				if s.p.Scheme() == BGV {
					c, err = s.eval.Rescale(p.c)
					p = it.check("rescale", c, err, 0.2, func(i int) int64 { return p.v[i] })
				}
				if c, err = s.eval.Mul(p.c, p.c); err != nil {
					break
				}
				v := p.v
				p = it.check("square", c, err, 5.5, func(i int) int64 { return mulMod(s.p, v[i], v[i]) })
			}
			if !errors.As(err, new(*BudgetError)) {
				t.Errorf("got %v, want a BudgetError", err)
			}
			if want := map[string]int{"bgv-13": 3, "bfv-13": 4, "bfv-14-t32": 6}[name]; depth != want {
				t.Errorf("%d multiplications one after the other, want %d", depth, want)
			}
			// Ciphertexts of different scales.
			if s.p.Scheme() == BGV {
				c, err = s.eval.Sub(p.c, a.c)
				it.check("mixed", c, err, 0.4, func(i int) int64 { return p.v[i] - x[i] })
				if _, err := s.eval.Rescale(p.c); !errors.As(err, new(*LevelError)) {
					t.Errorf("got %v, want a LevelError", err)
				}
			}
		})
	}
}

func mulMod(p *Parameters, x, y int64) int64 { return int64(p.mulMod(p.residue(x), p.residue(y))) }

func TestReals(t *testing.T) {
	s := use(t, "ckks-13")
	n := s.p.Slots()
	x, y := make([]float64, n), make([]float64, n)
	for i := range x {
		x[i], y[i] = 2*rand.Float64()-1, 2*rand.Float64()-1
	}
	check := func(what string, c *Ciphertext, err error, below float64, want func(i int) float64) *Ciphertext {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		v := make([]float64, n)
		for i := range v {
			v[i] = want(i)
		}
		m, err := s.dec.MeasureReals(c, v)
		if err != nil {
			t.Fatal(err)
		}
		tracked(t, what, c.noise, m, below)
		got, err := s.dec.Reals(c)
		if err != nil {
			t.Fatal(err)
		}
		sum := 0.0
		for i := range got {
			sum += (got[i] - v[i]) * (got[i] - v[i])
			if math.Abs(v[i]) > c.noise.bound() {
				t.Fatalf("%s: slot %d is %v, over the bound 2^%.2f", what, i, v[i], c.noise.LogBound)
			}
		}
		if e, most := 0.5*log2(sum/float64(n)), s.p.LogError(c.noise); e > most+above || e < most-below-0.2 {
			t.Errorf("%s: error of the values 2^%.2f, predicted 2^%.2f", what, e, most)
		}
		return c
	}
	c, err := s.pk.Reals(x)
	a := check("public", c, err, 0.2, func(i int) float64 { return x[i] })
	c, err = s.sk.Reals(y)
	b := check("secret", c, err, 0.2, func(i int) float64 { return y[i] })
	c, err = s.eval.Add(a, b)
	check("add", c, err, 0.5, func(i int) float64 { return x[i] + y[i] })
	c, err = s.eval.Sub(a, b)
	check("sub", c, err, 0.5, func(i int) float64 { return x[i] - y[i] })
	c, err = s.eval.MulScalar(a, 3)
	check("scalar", c, err, 0.2, func(i int) float64 { return 3 * x[i] })
	c, err = s.eval.AddReals(a, y)
	check("add plain", c, err, 0.2, func(i int) float64 { return x[i] + y[i] })
	c, err = s.eval.Rotate(b, 5)
	check("rotate", c, err, 1, func(i int) float64 { return y[(i+5)%n] })
	c, err = s.eval.InnerSum(b, 16)
	check("inner sum", c, err, 4, func(i int) float64 {
		sum := 0.0
		for j := range 16 {
			sum += y[(i+j)%n]
		}
		return sum
	})
	// The bound takes all values as large as they may be; these have a mean square of 1/3.
	c, err = s.eval.MulReals(a, y)
	c = check("mul plain", c, err, 1.2, func(i int) float64 { return x[i] * y[i] })
	c, err = s.eval.Rescale(c)
	c = check("rescale", c, err, 1, func(i int) float64 { return x[i] * y[i] })
	if c.noise.Scale != a.noise.Scale {
		t.Errorf("scale %v after a product with known values, was %v", c.noise.Scale, a.noise.Scale)
	}
	c, err = s.eval.Mul(a, b)
	p := check("mul", c, err, 2, func(i int) float64 { return x[i] * y[i] })
	if _, err := s.eval.Add(p, a); !errors.As(err, new(*ScaleError)) {
		t.Errorf("got %v, want a ScaleError", err)
	}
	c, err = s.eval.Rescale(p)
	p = check("rescale", c, err, 1.5, func(i int) float64 { return x[i] * y[i] })
	// Scales that differ a little: the difference is part of the error.
	c, err = s.eval.Add(p, a)
	check("mixed", c, err, 2, func(i int) float64 { return x[i]*y[i] + x[i] })
	for p.Level() > 0 {
		if p, err = s.eval.Mul(p, p); err != nil {
			t.Fatal(err)
		}
		if p, err = s.eval.Rescale(p); err != nil {
			t.Fatal(err)
		}
	}
	check("eighth", p, nil, 4, func(i int) float64 { return math.Pow(x[i]*y[i], 4) })
	if _, err = s.eval.Mul(p, p); !errors.As(err, new(*BudgetError)) {
		t.Errorf("got %v, want a BudgetError", err)
	}
	if _, err = s.eval.MulReals(p, x); !errors.As(err, new(*LevelError)) {
		t.Errorf("got %v, want a LevelError", err)
	}
	// Values of 2^20 fit, but not their squares after the last rescale.
	big := make([]float64, n)
	for i := range big {
		big[i] = 1<<20*rand.Float64() - 1<<19
	}
	if c, err = s.sk.BoundedReals(big, 20); err != nil {
		t.Fatal(err)
	}
	check("large", c, nil, 0.2, func(i int) float64 { return big[i] })
	for err == nil {
		if c, err = s.eval.Mul(c, c); err == nil {
			c, err = s.eval.Rescale(c)
		}
	}
	if !errors.As(err, new(*BudgetError)) {
		t.Errorf("got %v, want a BudgetError", err)
	}
}

func TestPolynomial(t *testing.T) {
	s := use(t, "ckks-14")
	x := make([]float64, s.p.Slots())
	for i := range x {
		x[i] = 2*rand.Float64() - 1
	}
	a, err := s.pk.Reals(x)
	if err != nil {
		t.Fatal(err)
	}
	sigmoid := func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
	for i, f := range []Polynomial{
		{Coeffs: []float64{0, 1}},
		{Coeffs: []float64{0.5, 0.25, 0, -1.0 / 48}},
		{Coeffs: []float64{1, 2, 3, 4, 5, 6, 7, 8}},
		Approximate(sigmoid, -1, 1, 7),
		Approximate(sigmoid, -8, 8, 31),
	} {
		c, err := s.eval.Polynomial(a, f)
		if err != nil {
			t.Fatal(i, err)
		}
		if got := s.p.Levels() - f.Depth(); c.Level() != got {
			t.Errorf("%d: level %d, want %d", i, c.Level(), got)
		}
		got, err := s.dec.Reals(c)
		if err != nil {
			t.Fatal(err)
		}
		sum := 0.0
		for j := range got {
			sum += (got[j] - f.At(x[j])) * (got[j] - f.At(x[j]))
		}
		if e, most := 0.5*log2(sum/float64(len(got))), s.p.LogError(c.noise); e > most || e < most-7 {
			t.Errorf("%d: error 2^%.2f, predicted 2^%.2f", i, e, most)
		}
	}
	if f := Approximate(sigmoid, -8, 8, 31); math.Abs(f.At(3)-sigmoid(3)) > 1e-5 || math.Abs(f.At(-8)-sigmoid(-8)) > 1e-4 {
		t.Errorf("Approximate: %v and %v", f.At(3)-sigmoid(3), f.At(-8)-sigmoid(-8))
	}
	for _, f := range []Polynomial{{}, {Coeffs: []float64{1}}, {Coeffs: []float64{1, math.NaN()}}, {Coeffs: []float64{1, 2}, Chebyshev: true}, {Coeffs: make([]float64, MaxDegree+2)}} {
		if _, err := s.eval.Polynomial(a, f); !errors.As(err, new(*ValueError)) {
			t.Errorf("%v: got %v, want a ValueError", f, err)
		}
	}
	if _, err := s.eval.Polynomial(a, Approximate(sigmoid, -1, 1, 511)); !errors.As(err, new(*LevelError)) {
		t.Errorf("got %v, want a LevelError", err)
	}
}

// TestRoundedNoise has what processors compute a little differently: the account is the same.
func TestRoundedNoise(t *testing.T) {
	p := use(t, "bgv-13").p
	fresh, err := p.FreshNoise(true, 0)
	if err != nil {
		t.Fatal(err)
	}
	square, err := p.PredictMul(fresh, fresh)
	if err != nil {
		t.Fatal(err)
	}
	fresh.LogSigma *= 1 + 0x1p-50
	other, err := p.PredictMul(fresh, fresh)
	if err != nil || other != square || square.LogSigma*(1<<20) != math.Trunc(square.LogSigma*(1<<20)) {
		t.Errorf("%v and %v, %v", square, other, err)
	}
}

// TestDeterministic runs operations at once and again: same inputs, same bytes.
func TestDeterministic(t *testing.T) {
	for _, name := range []string{"bgv-13", "bfv-13", "ckks-13"} {
		s := use(t, name)
		var a *Ciphertext
		var err error
		if s.p.Scheme().Integers() {
			a, err = s.pk.Integers([]int64{1, 2, 3})
		} else {
			a, err = s.pk.Reals([]float64{1, 0.5, -0.25})
		}
		if err != nil {
			t.Fatal(err)
		}
		before, _ := MarshalCiphertexts(a)
		run := func() []byte {
			b, err := s.eval.Mul(a, a)
			if err == nil && s.p.Scheme() != BFV {
				b, err = s.eval.Rescale(b)
			}
			if err == nil && s.p.Scheme() == CKKS {
				b, err = s.eval.MulReals(b, []float64{0.1, 0.2})
			} else if err == nil {
				b, err = s.eval.MulIntegers(b, []int64{4, 5})
			}
			if err == nil {
				b, err = s.eval.InnerSum(b, 8)
			}
			if err != nil {
				t.Error(err)
				return nil
			}
			data, err := MarshalCiphertexts(b)
			if err != nil {
				t.Error(err)
			}
			return data
		}
		results := make([][]byte, 4)
		var wg sync.WaitGroup
		for i := range results {
			wg.Go(func() { results[i] = run() })
		}
		wg.Wait()
		for i := range results {
			if !bytes.Equal(results[i], results[0]) {
				t.Errorf("%s: run %d gave other bytes", name, i)
			}
		}
		if after, _ := MarshalCiphertexts(a); !bytes.Equal(before, after) {
			t.Errorf("%s: an operation changed its input", name)
		}
	}
}

func TestRefusals(t *testing.T) {
	bgv, bfv, ckks := use(t, "bgv-13"), use(t, "bfv-13"), use(t, "ckks-13")
	a, _ := bgv.pk.Integers([]int64{1})
	other, err := GenerateKeys(bgv.p, KeySpec{Rotations: []int{3}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := NewEncryptor(other.Secret).Integers([]int64{1})
	f, _ := bfv.pk.Integers([]int64{1})
	c, _ := ckks.pk.Reals([]float64{1})
	second := func(_ any, err error) error { return err }
	T := int64(bgv.p.PlaintextModulus())
	for _, test := range []struct {
		what string
		got  error
		want any
	}{
		{"other key", second(bgv.eval.Add(a, b)), new(*MismatchError)},
		{"other parameters", second(bgv.eval.Add(a, f)), new(*MismatchError)},
		{"decrypt other key", second(bgv.dec.Integers(b)), new(*MismatchError)},
		{"decrypt other parameters", second(bgv.dec.Integers(f)), new(*MismatchError)},
		{"reals", second(bgv.pk.Reals([]float64{1})), new(*SchemeError)},
		{"integers", second(ckks.pk.Integers([]int64{1})), new(*SchemeError)},
		{"decrypt reals", second(bgv.dec.Reals(a)), new(*SchemeError)},
		{"decrypt integers", second(ckks.dec.Integers(c)), new(*SchemeError)},
		{"rescale", second(bfv.eval.Rescale(f)), new(*SchemeError)},
		{"polynomial", second(bgv.eval.Polynomial(a, Polynomial{Coeffs: []float64{1, 1}})), new(*SchemeError)},
		{"swap", second(ckks.eval.SwapRows(c)), new(*SchemeError)},
		{"no key to swap", second(NewEvaluator(other.Evaluation).SwapRows(b)), new(*MissingKeyError)},
		{"no key to rotate", second(NewEvaluator(other.Evaluation).Rotate(b, 1)), new(*MissingKeyError)},
		{"empty", second(bgv.pk.Integers(nil)), new(*ValueError)},
		{"too many", second(bgv.pk.Integers(make([]int64, bgv.p.Slots()+1))), new(*ValueError)},
		{"t", second(bgv.pk.Integers([]int64{T})), new(*ValueError)},
		{"-t", second(bgv.pk.Integers([]int64{-T})), new(*ValueError)},
		{"over the bound", second(ckks.pk.Reals([]float64{1.01})), new(*ValueError)},
		{"NaN", second(ckks.pk.Reals([]float64{math.NaN()})), new(*ValueError)},
		{"bound", second(ckks.pk.BoundedReals([]float64{1}, MaxLogBound+1)), new(*ValueError)},
		{"inner sum", second(bgv.eval.InnerSum(a, 3)), new(*ValueError)},
		{"inner sum over a row", second(bgv.eval.InnerSum(a, bgv.p.Slots())), new(*ValueError)},
		{"drop", second(bgv.eval.Drop(a, 4)), new(*LevelError)},
		{"bootstrapping", second(GenerateKeys(ckks.p, KeySpec{Bootstrapping: true}, nil)), new(*ValueError)},
		{"rows of ckks", second(GenerateKeys(ckks.p, KeySpec{SwapRows: true}, nil)), new(*SchemeError)},
		{"length", second(a.Resize(0)), new(*ValueError)},
	} {
		if !errors.As(test.got, test.want) {
			t.Errorf("%s: got %v, want %T", test.what, test.got, test.want)
		}
	}
	if c, err := NewEvaluator(other.Evaluation).Rotate(b, 3); err != nil || c.Level() != 3 {
		t.Errorf("rotation by 3: %v", err)
	}
}
