//go:build slow

package leveled

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"
)

// TestBootstrap makes the keys of a set that bootstraps (4 GB), spends all levels and gets them back. Results have
// the precision that is predicted, at least 20 bits for values of mixed signs and 19 where all are 1, which is the worst for
// the sine, and the same bytes each time. So does a vector that a migration has brought to this key.
func TestBootstrap(t *testing.T) {
	p := must(ByName("ckks-16-boot"))
	keys := must(GenerateKeys(p, KeySpec{Rotations: []int{}, Bootstrapping: true}, nil))
	if n := keys.Evaluation.MemoryBytes(); n > 4<<30 {
		t.Errorf("the evaluation key takes %d bytes", n)
	}
	enc, dec, eval := NewEncryptor(keys.Secret), NewDecryptor(keys.Secret), NewEvaluator(keys.Evaluation)
	x := make([]float64, p.Slots())
	for i := range x {
		x[i] = 2*rand.Float64() - 1
	}
	measure := func(what string, c *Ciphertext, limit float64, want func(x float64) float64) {
		got := must(dec.Reals(c))
		sum, worst := 0.0, 0.0
		for i := range got {
			d := got[i] - want(x[i])
			sum, worst = sum+d*d, max(worst, math.Abs(d))
		}
		e := 0.5 * log2(sum/float64(len(got)))
		t.Logf("%s: error 2^%.2f, worst 2^%.2f, predicted 2^%.2f, level %d", what, e, log2(worst), p.LogError(c.noise), c.Level())
		if most := p.LogError(c.noise); e > most || e < most-5 || e > limit {
			t.Errorf("%s: error 2^%.2f, predicted 2^%.2f", what, e, most)
		}
	}
	ones := make([]float64, len(x))
	for i := range ones {
		ones[i] = 1
	}
	a := must(enc.Reals(x))
	for a.Level() > 0 {
		a = must(eval.Rescale(must(eval.MulReals(a, ones))))
	}
	before := must(MarshalCiphertexts(a))
	b := must(eval.Bootstrap(a))
	measure("bootstrapped", b, -20, func(x float64) float64 { return x })
	if b.Level() != p.Levels() {
		t.Errorf("%d levels, want %d", b.Level(), p.Levels())
	}
	if !bytes.Equal(before, must(MarshalCiphertexts(a))) {
		t.Error("bootstrapping changed its input")
	}
	measure("and squared", must(eval.Rescale(must(eval.Mul(b, b)))), -20, func(x float64) float64 { return x * x })
	alike := must(eval.Bootstrap(must(eval.Drop(must(enc.Reals(ones)), 0))))
	measure("ones", alike, -19, func(float64) float64 { return 1 })
	// A vector of another key without levels, which moves to this one.
	old := newSecretKey(p, newSeed(), KeyID{1})
	spent := must(NewEvaluator(&EvaluationKey{params: p, id: old.id}).Drop(must(NewEncryptor(old).Reals(x)), 0))
	moved := must(NewMigrator(must(NewMigrationKey(old, keys.Secret))).Migrate(spent))
	measure("moved and bootstrapped", must(eval.Bootstrap(moved)), -20, func(x float64) float64 { return x })
	if again := must(eval.Bootstrap(a)); !bytes.Equal(must(MarshalCiphertexts(again)), must(MarshalCiphertexts(b))) {
		t.Error("bootstrapping again gave other bytes")
	}
}
