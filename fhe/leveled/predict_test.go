package leveled

import (
	"errors"
	"testing"
)

// TestPredictor follows the same computations with and without ciphertexts.
func TestPredictor(t *testing.T) {
	for _, name := range []string{"bgv-13", "bfv-13", "ckks-13"} {
		s := use(t, name)
		pre := NewPredictor(s.p)
		integers := s.p.Scheme().Integers()
		var c *Ciphertext
		if integers {
			c = must(s.pk.Integers([]int64{1, 2, 3}))
		} else {
			c = must(s.pk.Reals([]float64{0.1, 0.2, 0.3}))
		}
		n := c.Noise()
		same := func(what string, d *Ciphertext, derr error, m Noise, merr error) {
			t.Helper()
			if (derr == nil) != (merr == nil) || derr != nil && derr.Error() != merr.Error() {
				t.Fatalf("%s %s: %v, predicted %v", name, what, derr, merr)
			}
			if derr == nil && d.Noise() != m {
				t.Errorf("%s %s: noise %+v, predicted %+v", name, what, d.Noise(), m)
			}
		}
		do := func(what string, f func(a *Ciphertext) (*Ciphertext, error), g func(a Noise) (Noise, error)) (*Ciphertext, Noise) {
			t.Helper()
			d, derr := f(c)
			m, merr := g(n)
			same(what, d, derr, m, merr)
			return d, m
		}
		do("add", func(a *Ciphertext) (*Ciphertext, error) { return s.eval.Add(a, a) }, func(a Noise) (Noise, error) { return pre.Add(a, a) })
		do("sub", func(a *Ciphertext) (*Ciphertext, error) { return s.eval.Sub(a, a) }, func(a Noise) (Noise, error) { return pre.Sub(a, a) })
		do("neg", s.eval.Neg, pre.Neg)
		do("rotate", func(a *Ciphertext) (*Ciphertext, error) { return s.eval.Rotate(a, 5) }, func(a Noise) (Noise, error) { return pre.Rotate(a, 5) })
		do("inner sum", func(a *Ciphertext) (*Ciphertext, error) { return s.eval.InnerSum(a, 8) }, func(a Noise) (Noise, error) { return pre.InnerSum(a, 8) })
		do("swap", s.eval.SwapRows, pre.SwapRows)
		do("rescale", s.eval.Rescale, pre.Rescale)
		do("drop", func(a *Ciphertext) (*Ciphertext, error) { return s.eval.Drop(a, 1) }, func(a Noise) (Noise, error) { return pre.Drop(a, 1) })
		do("bootstrap", s.eval.Bootstrap, pre.Bootstrap)
		f := Polynomial{Coeffs: []float64{1, 0.5, 0.25}}
		do("polynomial", func(a *Ciphertext) (*Ciphertext, error) { return s.eval.Polynomial(a, f) }, func(a Noise) (Noise, error) { return pre.Polynomial(a, f) })
		for _, v := range [][]int64{{1, -2}, {1 << 40}, nil} {
			do("add integers", func(a *Ciphertext) (*Ciphertext, error) { return s.eval.AddIntegers(a, v) }, func(a Noise) (Noise, error) { return pre.AddIntegers(a, v) })
			do("mul integers", func(a *Ciphertext) (*Ciphertext, error) { return s.eval.MulIntegers(a, v) }, func(a Noise) (Noise, error) { return pre.MulIntegers(a, v) })
		}
		for _, v := range [][]float64{{0.5, -2}, {0}, {1e10}, nil} {
			do("add reals", func(a *Ciphertext) (*Ciphertext, error) { return s.eval.AddReals(a, v) }, func(a Noise) (Noise, error) { return pre.AddReals(a, v) })
			do("mul reals", func(a *Ciphertext) (*Ciphertext, error) { return s.eval.MulReals(a, v) }, func(a Noise) (Noise, error) { return pre.MulReals(a, v) })
		}
		for i := 0; ; i++ {
			d, m := do("mul", func(a *Ciphertext) (*Ciphertext, error) { return s.eval.Mul(a, a) }, func(a Noise) (Noise, error) { return pre.Mul(a, a) })
			if d == nil {
				if _, err := pre.Mul(n, n); !errors.As(err, new(*BudgetError)) || i == 0 {
					t.Errorf("%s: refused product %d: %v", name, i, err)
				}
				break
			}
			if c, n = d, m; s.p.Scheme() != BFV && c.Level() > 0 {
				c, n = do("rescale", s.eval.Rescale, pre.Rescale)
			}
		}
	}
}
