package leveled

import (
	"fmt"
	"math"
	"math/bits"

	"github.com/tuneinsight/lattigo/v5/core/rlwe"
	"github.com/tuneinsight/lattigo/v5/he/hefloat"
	"github.com/tuneinsight/lattigo/v5/utils/bignum"
)

const (
	// MaxDegree is the highest degree of a polynomial that is evaluated.
	MaxDegree = 1023
	// maxCoefficient bounds the absolute value of a coefficient.
	maxCoefficient = 1 << 30
)

// A Polynomial is evaluated on every slot of a CKKS ciphertext.
type Polynomial struct {
	// Coeffs holds 2 to MaxDegree + 1 coefficients, that of degree 0 first.
	Coeffs []float64
	// Chebyshev says that the coefficients belong to Chebyshev polynomials of the first kind on
	// the interval [A, B], the basis to prefer from degree 8 or so on: they stay small where powers
	// grow. Values outside the interval give meaningless results.
	Chebyshev bool
	A, B      float64
}

// Approximate returns the polynomial of a degree in [1, MaxDegree] that agrees with f in the Chebyshev nodes of [a, b].
func Approximate(f func(float64) float64, a, b float64, degree int) Polynomial {
	n := degree + 1
	values := make([]float64, n)
	angle := func(j int) float64 { return math.Pi * (float64(j) + 0.5) / float64(n) }
	for j := range values {
		values[j] = f((a+b)/2 + (b-a)/2*math.Cos(angle(j)))
	}
	coeffs := make([]float64, n)
	for k := range coeffs {
		for j, v := range values {
			coeffs[k] += 2 / float64(n) * v * math.Cos(float64(k)*angle(j))
		}
	}
	coeffs[0] /= 2
	return Polynomial{Coeffs: coeffs, Chebyshev: true, A: a, B: b}
}

// Degree returns the degree that the length of Coeffs says.
func (f Polynomial) Degree() int { return len(f.Coeffs) - 1 }

// Depth returns how many levels an evaluation takes: ⌈log2(degree + 1)⌉, and one more for
// Chebyshev polynomials on another interval than [-1, 1].
func (f Polynomial) Depth() int {
	d := bits.Len(uint(f.Degree()))
	if f.moves() {
		d++
	}
	return d
}

func (f Polynomial) moves() bool { return f.Chebyshev && (f.A != -1 || f.B != 1) }

// At evaluates the polynomial at x in the clear.
func (f Polynomial) At(x float64) float64 {
	y := 0.0
	if !f.Chebyshev {
		for k := f.Degree(); k >= 0; k-- {
			y = y*x + f.Coeffs[k]
		}
		return y
	}
	u := (2*x - f.A - f.B) / (f.B - f.A)
	t0, t1 := 1.0, u
	for _, c := range f.Coeffs {
		y += c * t0
		t0, t1 = t1, 2*u*t1-t0
	}
	return y
}

// Check returns a *ValueError for a polynomial that cannot be evaluated.
func (f Polynomial) Check() error {
	if d := f.Degree(); d < 1 || d > MaxDegree {
		return &ValueError{"polynomial", fmt.Sprintf("degree %d, want 1 to %d", d, MaxDegree)}
	}
	for k, c := range f.Coeffs {
		if !(math.Abs(c) <= maxCoefficient) {
			return &ValueError{"polynomial", fmt.Sprintf("coefficient %d is %v", k, c)}
		}
	}
	if f.Chebyshev && !(f.B-f.A >= 1.0/1024 && math.Abs(f.A) <= 1<<MaxLogBound && math.Abs(f.B) <= 1<<MaxLogBound) {
		return &ValueError{"polynomial", fmt.Sprintf("interval [%v, %v]", f.A, f.B)}
	}
	return nil
}

// PredictPolynomial returns the noise of f(a). It bounds the error by that of every term: an error δ of x
// becomes at most k²·δ in the k-th Chebyshev polynomial and k·M^(k-1)·δ in a power, |x| <= M.
func (p *Parameters) PredictPolynomial(a Noise, f Polynomial) (Noise, error) {
	if p.lit.Scheme != CKKS {
		return Noise{}, &SchemeError{"polynomial", p.lit.Scheme}
	}
	if err := f.Check(); err != nil {
		return Noise{}, err
	}
	if d := f.Depth(); a.Level < d {
		return Noise{}, &LevelError{"polynomial", a.Level, d}
	}
	scale := math.Exp2(float64(p.lit.LogScale))
	if r := a.Scale / scale; !(r > 0.5 && r < 2) {
		return Noise{}, &ScaleError{"polynomial", a.Scale, scale}
	}
	slots := math.Sqrt(float64(p.N()) / 2)
	// What one product adds: a key switch and a rounding.
	step := math.Sqrt(p.keySwitchVariance(a.Level)+p.roundingVariance()) * slots / scale
	delta, m := math.Exp2(p.LogError(a)), math.Max(1, a.bound())
	if f.moves() {
		delta = delta*2/(f.B-f.A) + step
	}
	delta += 4 * step
	sum, err := 0.0, step
	for k, c := range f.Coeffs {
		c, k := math.Abs(c), float64(k)
		if f.Chebyshev {
			sum += c
			err += c * (k*k*delta + step)
		} else {
			sum += c * math.Pow(m, k)
			err += c * (k*math.Pow(m, math.Max(0, k-1))*delta + step)
		}
	}
	n := Noise{Level: a.Level - f.Depth(), Scale: scale, LogBound: log2(math.Max(sum, 1.0/1024))}
	n.LogSigma = log2(err * scale / slots)
	return p.check("polynomial", n)
}

// Polynomial returns f(a), slot by slot, by the algorithm of Paterson and Stockmeyer as lattigo has it
// (with the scale of every term chosen so that all additions are exact). Slots past the end of the vector
// hold f(0).
func (e *Evaluator) Polynomial(a *Ciphertext, f Polynomial) (*Ciphertext, error) {
	if err := e.check(a); err != nil {
		return nil, err
	}
	n, err := e.params.PredictPolynomial(a.noise, f)
	if err != nil {
		return nil, err
	}
	x := a
	basis, interval := bignum.Monomial, [2]float64{}
	if f.Chebyshev {
		basis, interval = bignum.Chebyshev, [2]float64{-1, 1}
	}
	if f.moves() {
		factor, offset := make([]float64, e.params.Slots()), make([]float64, e.params.Slots())
		for i := range factor {
			factor[i], offset[i] = 2/(f.B-f.A), -(f.A+f.B)/(f.B-f.A)
		}
		if x, err = e.MulReals(x, factor); err != nil {
			return nil, err
		}
		if x, err = e.Rescale(x); err != nil {
			return nil, err
		}
		if x, err = e.AddReals(x, offset); err != nil {
			return nil, err
		}
	}
	var out *rlwe.Ciphertext
	err = e.workers.do(func(w *worker) error {
		poly := bignum.NewPolynomial(basis, f.Coeffs, interval)
		// The power basis keeps the ciphertext it is given, which stays as it is.
		out, err = hefloat.NewPolynomialEvaluator(e.params.ckks, w.ckks).Evaluate(x.ct, poly, e.params.scale(n.Scale))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("leveled: polynomial: %w", err)
	}
	if got := out.Level(); got != n.Level {
		return nil, &LevelError{"polynomial", got, n.Level}
	}
	return e.wrap(out, n, a.length), nil
}
