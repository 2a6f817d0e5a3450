package leveled

import "math"

// A Predictor has the operations of an [Evaluator] on the noise of ciphertexts instead of ciphertexts: it tells, without
// a key and in no time, what noise a computation would leave, and refuses what the evaluator would refuse, but for keys that are
// missing. Rotations are taken to be composed of those for powers of two.
type Predictor struct{ params *Parameters }

// NewPredictor returns a predictor for a parameter set.
func NewPredictor(p *Parameters) Predictor { return Predictor{p} }

// Parameters returns the parameter set of the predictor.
func (e Predictor) Parameters() *Parameters { return e.params }

// Add predicts Evaluator.Add, and every other method the one of its name.
func (e Predictor) Add(a, b Noise) (Noise, error)             { return e.params.PredictAdd(a, b) }
func (e Predictor) Sub(a, b Noise) (Noise, error)             { return e.params.PredictAdd(a, b) }
func (e Predictor) Mul(a, b Noise) (Noise, error)             { return e.params.PredictMul(a, b) }
func (e Predictor) Neg(a Noise) (Noise, error)                { return e.MulScalar(a, -1) }
func (e Predictor) MulScalar(a Noise, k int64) (Noise, error) { return e.params.PredictMulScalar(a, k) }
func (e Predictor) Rescale(a Noise) (Noise, error)            { return e.params.PredictRescale(a) }
func (e Predictor) Rotate(a Noise, k int) (Noise, error)      { return e.params.PredictRotate(a, k) }
func (e Predictor) InnerSum(a Noise, n int) (Noise, error)    { return e.params.PredictInnerSum(a, n) }
func (e Predictor) Bootstrap(a Noise) (Noise, error)          { return e.params.PredictBootstrap(a) }
func (e Predictor) Drop(a Noise, level int) (Noise, error)    { return e.params.PredictDrop(a, level) }
func (e Predictor) Polynomial(a Noise, f Polynomial) (Noise, error) {
	return e.params.PredictPolynomial(a, f)
}

// SwapRows predicts Evaluator.SwapRows.
func (e Predictor) SwapRows(a Noise) (Noise, error) {
	if !e.params.lit.Scheme.Integers() {
		return Noise{}, &SchemeError{"swap rows", e.params.lit.Scheme}
	}
	return e.params.PredictKeySwitch(a)
}

// AddIntegers predicts Evaluator.AddIntegers.
func (e Predictor) AddIntegers(a Noise, values []int64) (Noise, error) {
	if _, err := e.params.slotsOf(values); err != nil {
		return Noise{}, err
	}
	return e.params.PredictAddPlain(a, 0)
}

// MulIntegers predicts Evaluator.MulIntegers.
func (e Predictor) MulIntegers(a Noise, values []int64) (Noise, error) {
	if _, err := e.params.slotsOf(values); err != nil {
		return Noise{}, err
	}
	return e.params.PredictMulPlain(a, 0)
}

// AddReals predicts Evaluator.AddReals.
func (e Predictor) AddReals(a Noise, values []float64) (Noise, error) {
	slots, err := e.params.slotsOfReals(values, math.Exp2(MaxLogBound))
	if err != nil {
		return Noise{}, err
	}
	return e.params.PredictAddPlain(a, largest(slots))
}

// MulReals predicts Evaluator.MulReals.
func (e Predictor) MulReals(a Noise, values []float64) (Noise, error) {
	slots, err := e.params.slotsOfReals(values, math.Exp2(MaxLogBound))
	if err != nil {
		return Noise{}, err
	}
	return e.params.PredictMulPlain(a, largest(slots))
}
