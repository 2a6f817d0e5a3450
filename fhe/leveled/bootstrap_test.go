package leveled

import (
	"errors"
	"math/big"
	"testing"

	"github.com/tuneinsight/lattigo/v5/core/rlwe"
	"github.com/tuneinsight/lattigo/v5/ring/ringqp"
)

// TestSparseSwitchingKeys checks what is encrypted under the sparse secret of bootstrapping: one row, modulo
// q0·p0 and nothing longer, really under that secret; and the way back, at the full modulus, under the dense one.
// lattigo 5.0.7 generates the first at the full modulus, with a secret that is zero in all rows but
// the first, which leaves the dense secret in the open.
func TestSparseSwitchingKeys(t *testing.T) {
	p, err := ByName("ckks-16-boot")
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Security(); got.SparseLogQP > 121 || got.SparseLogQP < 100 {
		t.Fatalf("%+v", got)
	}
	sk := newSecretKey(p, newSeed(), KeyID{})
	sparse := newSparseKey(p)
	if n := weight(p, sparse); n != sparseWeight {
		t.Errorf("the sparse secret has weight %d, want %d", n, sparseWeight)
	}
	if n := weight(p, sk.key); n < p.N()*6/10 || n > p.N()*7/10 {
		t.Errorf("the dense secret has weight %d of %d, want about two thirds", n, p.N())
	}
	to := sk.part(denseToSparse, sparse).key
	if rows := len(to.Value); rows != 1 || to.LevelQ() != 0 || to.LevelP() != 0 {
		t.Errorf("the key to the sparse secret has %d rows at levels %d and %d, want 1 at 0 and 0", rows, to.LevelQ(), to.LevelP())
	}
	back := sk.part(sparseToDense, sparse).key
	if back.LevelQ() != p.rlwe.MaxLevelQ() || back.LevelP() != p.rlwe.MaxLevelP() {
		t.Errorf("the key from the sparse secret is at levels %d and %d", back.LevelQ(), back.LevelP())
	}
	for what, test := range map[string]struct {
		key     *rlwe.EvaluationKey
		in, out *rlwe.SecretKey
	}{"to sparse": {to, sk.key, sparse}, "from sparse": {back, sparse, sk.key}} {
		checkRows(t, p, what, test.key, test.in, test.out)
	}
}

// weight counts the coefficients of a secret that are not zero.
func weight(p *Parameters, sk *rlwe.SecretKey) (n int) {
	poly := p.rlwe.RingQ().AtLevel(0).NewPoly()
	p.rlwe.RingQ().AtLevel(0).IMForm(sk.Value.Q, poly)
	p.rlwe.RingQ().AtLevel(0).INTT(poly, poly)
	for _, c := range poly.Coeffs[0] {
		if c != 0 {
			n++
		}
	}
	return n
}

// checkRows decrypts every row of a switching key under out, takes off the gadget multiple of in, and expects an
// error of standard deviation sigma modulo every prime: a row made with another secret, or none, leaves a uniform rest.
func checkRows(t *testing.T, p *Parameters, what string, key *rlwe.EvaluationKey, in, out *rlwe.SecretKey) {
	t.Helper()
	r := p.rlwe.RingQP().AtLevel(key.LevelQ(), key.LevelP())
	special := big.NewInt(1)
	for _, x := range p.rlwe.P()[:key.LevelP()+1] {
		special.Mul(special, new(big.Int).SetUint64(x))
	}
	secret := r.RingQ.NewPoly()
	r.RingQ.MulScalarBigint(in.Value.Q, special, secret) // P·in, NTT and Montgomery form as the key
	for i, digit := range key.Value {
		phase := ringqp.Poly(r.NewPoly())
		r.MulCoeffsMontgomery(digit[0][1], out.Value, phase)
		r.Add(phase, digit[0][0], phase)
		for j := i * (key.LevelP() + 1); j < min((i+1)*(key.LevelP()+1), key.LevelQ()+1); j++ {
			s := r.RingQ.SubRings[j]
			s.Sub(phase.Q.Coeffs[j], secret.Coeffs[j], phase.Q.Coeffs[j])
		}
		r.IMForm(phase, phase)
		r.INTT(phase, phase)
		rows, primes := append(phase.Q.Coeffs[:key.LevelQ()+1:key.LevelQ()+1], phase.P.Coeffs[:key.LevelP()+1]...), append(p.rlwe.Q()[:key.LevelQ()+1], p.rlwe.P()[:key.LevelP()+1]...)
		for j, row := range rows {
			worst := uint64(0)
			for _, c := range row {
				worst = max(worst, min(c, primes[j]-c))
			}
			if worst > 20 || worst < 8 {
				t.Fatalf("%s: row %d modulo prime %d: error up to %d, want 8 to 20", what, i, j, worst)
			}
		}
	}
}

// TestKeysAreEncryptions does the same for the keys of every set, small ones in full.
func TestKeysAreEncryptions(t *testing.T) {
	s := use(t, "bgv-13")
	sk := s.keys.Secret
	square := rlwe.NewSecretKey(s.p.rlwe)
	s.p.rlwe.RingQ().MulCoeffsMontgomery(sk.key.Value.Q, sk.key.Value.Q, square.Value.Q)
	checkRows(t, s.p, "relinearisation", s.keys.Evaluation.find(relinearization), square, sk.key)
}

func TestBootstrapRefuses(t *testing.T) {
	p := must(ByName("ckks-16-boot"))
	fresh := must(p.FreshNoise(true, 0))
	if n, err := p.PredictBootstrap(fresh); err != nil || n.Level != p.Levels() || p.LogError(n) > -19 {
		t.Errorf("%+v, %v", n, err)
	}
	half := fresh // the error of the sine is an eighth
	half.LogBound = -1
	if n, err := p.PredictBootstrap(half); err != nil || p.LogError(n) > -21.5 {
		t.Errorf("%+v, %v", n, err)
	}
	if _, err := p.PredictBootstrap(must(p.FreshNoise(true, 1))); !errors.As(err, new(*ValueError)) {
		t.Errorf("values up to 2: %v, want a ValueError", err)
	}
	low := must(p.PredictDrop(fresh, 0))
	if _, err := p.PredictBootstrap(low); err != nil {
		t.Error(err)
	}
	low.Scale *= 1 << 12
	if _, err := p.PredictBootstrap(low); !errors.As(err, new(*BudgetError)) {
		t.Errorf("a scale of 2^57: %v, want a BudgetError", err)
	}
	s := use(t, "ckks-13")
	if _, err := s.eval.Bootstrap(must(s.sk.Reals([]float64{1}))); !errors.As(err, new(*SchemeError)) {
		t.Errorf("got %v, want a SchemeError", err)
	}
}
