package leveled

import (
	"fmt"
	"math"

	"github.com/tuneinsight/lattigo/v5/core/rlwe"
	"github.com/tuneinsight/lattigo/v5/he/hefloat"
	"github.com/tuneinsight/lattigo/v5/he/hefloat/bootstrapping"
	"github.com/tuneinsight/lattigo/v5/ring"
)

const (
	// logMessageRatio is log2 of q0 over the scale: how far the message stays from the modulus when the
	// modulus is raised, where a sine stands for the reduction modulo q0. A coefficient m of the message, in
	// units of the scale, comes out as m - m³·sineError: little for values of mixed signs, whose coefficients are small,
	// and the most where all values are the same. More bits here make that less, and all other errors more.
	logMessageRatio = 11

	// The cosine that is evaluated: degree 30 on [-15, 15], then three double angles (Han, Ki,
	// 2019/688, for q0·I + m with |I| < 16, which a secret of weight 32 exceeds with probability 2^-138).
	mod1Interval, mod1Degree, mod1DoubleAngle = 16, 30, 3
)

// sineError is how far a coefficient of 1 comes out from 1: sin(x)/x is 1 - x²/6 near 0, for x = 2π over the
// message ratio.
var sineError = math.Pow(2*math.Pi/math.Exp2(logMessageRatio), 2) / 6

// bootstrapParameters gives lattigo every parameter of the circuit, none by default.
func bootstrapParameters(lit *Literal) (bootstrapping.Parameters, error) {
	b := lit.Bootstrap
	if lit.LogQ[0]-lit.LogScale < logMessageRatio {
		return bootstrapping.Parameters{}, fmt.Errorf("the first prime has to have %d bits more than the scale", logMessageRatio)
	}
	if b.LogSlots < 1 || b.LogSlots > lit.LogN-1 || len(b.SlotsToCoeffs) == 0 || len(b.CoeffsToSlots) == 0 {
		return bootstrapping.Parameters{}, fmt.Errorf("the circuit needs 1 to %d slots as log2 and both transforms", lit.LogN-1)
	}
	xs, xe := ring.Ternary{P: 2.0 / 3}, ring.DiscreteGaussian{Sigma: sigma, Bound: sigmaBound}
	residual, err := hefloat.NewParametersFromLiteral(hefloat.ParametersLiteral{
		LogN: lit.LogN, LogQ: lit.LogQ, LogP: lit.LogP, Xe: xe, Xs: xs, LogDefaultScale: lit.LogScale,
	})
	if err != nil {
		return bootstrapping.Parameters{}, err
	}
	each := func(bits []int) (levels [][]int) {
		for _, b := range bits {
			levels = append(levels, []int{b})
		}
		return levels
	}
	ratio, interval, degree, angle, zero, weight := logMessageRatio, mod1Interval, mod1Degree, mod1DoubleAngle, 0, sparseWeight
	return bootstrapping.NewParametersFromLiteral(residual, bootstrapping.ParametersLiteral{
		LogN: &lit.LogN, LogP: lit.LogP, Xs: xs, Xe: xe, LogSlots: &b.LogSlots,
		CoeffsToSlotsFactorizationDepthAndLogScales: each(b.CoeffsToSlots),
		SlotsToCoeffsFactorizationDepthAndLogScales: each(b.SlotsToCoeffs),
		EvalModLogScale:       &b.EvalMod,
		EphemeralSecretWeight: &weight,
		Mod1Type:              hefloat.CosDiscrete,
		LogMessageRatio:       &ratio, K: &interval, Mod1Degree: &degree, DoubleAngle: &angle, Mod1InvDegree: &zero,
	})
}

// newBootstrapper prepares the circuit: its matrices and polynomials.
func newBootstrapper(key *EvaluationKey) (*bootstrapping.Evaluator, error) {
	return bootstrapping.NewEvaluator(key.params.boot, &bootstrapping.EvaluationKeys{
		EvkDenseToSparse:    key.find(denseToSparse),
		EvkSparseToDense:    key.find(sparseToDense),
		MemEvaluationKeySet: key.set,
	})
}

// PredictBootstrap returns the noise after a bootstrapping, which takes values of absolute value at
// most 1 and gives back all levels. What it adds to the error is a constant of the set, and the error of the sine, of which
// the worst is assumed: that all values are alike and as large as the bound.
func (p *Parameters) PredictBootstrap(a Noise) (Noise, error) {
	if !p.Bootstraps() {
		return Noise{}, &SchemeError{"bootstrap", p.lit.Scheme}
	}
	if a.LogBound > 0 {
		return Noise{}, &ValueError{"bootstrap", fmt.Sprintf("values may be as large as 2^%.1f, at most 1 can be bootstrapped", a.LogBound)}
	}
	// The scale is brought to q0 over the message ratio by an integer factor at the level where the ciphertext is.
	if room := p.capacity(a.Level) + 1 - log2(a.Scale); room < logMessageRatio-0.5 {
		return Noise{}, &BudgetError{Op: "bootstrap", Need: log2(a.Scale) + logMessageRatio, Room: p.capacity(a.Level) + 1}
	}
	n := Noise{Level: p.levels, Scale: math.Exp2(float64(p.lit.LogScale))}
	// A slot's error is the old one and what the circuit adds; the bound grows by it.
	added, old := math.Exp2(p.lit.Bootstrap.LogError), math.Exp2(p.LogError(a))
	sine := sineError * math.Exp2(3*a.LogBound)
	n.LogSigma = log2(math.Hypot(math.Hypot(added, old), sine)*n.Scale) - 0.5*float64(p.lit.LogN-1)
	return p.check("bootstrap", n)
}

// Bootstrap returns a ciphertext of the same values with all levels: the modulus is raised under a sparse
// secret that only two switching keys know (2022/024), the multiples of q0 that this adds are
// removed by a homomorphic sine (2020/1203). One runs at a time, on one core.
func (e *Evaluator) Bootstrap(a *Ciphertext) (*Ciphertext, error) {
	if err := e.check(a); err != nil {
		return nil, err
	}
	n, err := e.params.PredictBootstrap(a.noise)
	if err != nil {
		return nil, err
	}
	if !e.key.spec.Bootstrapping {
		return nil, &MissingKeyError{"bootstrap", "keys for it"}
	}
	e.bootMu.Lock()
	defer e.bootMu.Unlock()
	if e.boot == nil {
		if e.boot, err = newBootstrapper(e.key); err != nil {
			return nil, fmt.Errorf("leveled: bootstrap: %w", err)
		}
	}
	var out *rlwe.Ciphertext
	// The circuit works in the ciphertext that it is given.
	if out, err = e.boot.Evaluate(a.ct.CopyNew()); err != nil {
		return nil, fmt.Errorf("leveled: bootstrap: %w", err)
	}
	if got := out.Level(); got < n.Level {
		return nil, &LevelError{"bootstrap", got, n.Level}
	}
	out.Resize(out.Degree(), n.Level)
	return e.wrap(out, n, a.length), nil
}
