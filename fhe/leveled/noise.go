package leveled

import (
	"math"
	"math/bits"
)

const (
	// logTail is log2 of the number of standard deviations that have to fit: 16, which a
	// Gaussian error exceeds with probability 2^-190 per coefficient. Errors of products are sums of
	// N products and Gaussian only nearly, hence more than the 13.5 of 2^-128.
	logTail = 4

	// minPrecision is how many bits of a CKKS message of at most max(1, bound) have to
	// stand above the standard deviation of the error.
	minPrecision = 4

	// maxScaleError is the largest relative difference of two scales that an addition takes
	// as equal. The difference becomes part of the tracked error.
	maxScaleError = 1.0 / (1 << 12)

	// MaxLogBound is the largest bound, as log2, that may be declared for the values of a
	// fresh CKKS ciphertext.
	MaxLogBound = 20
)

// Noise is the public account of a ciphertext. It depends on how the ciphertext was made, never
// on what is in it.
//
// With c0 + c1·s the decryption of a ciphertext before decoding, the error is the polynomial e
// in, for CKKS,
//
//	c0 + c1·s = Scale·m + e (mod Q_Level)
//
// and, for BGV and BFV, where lattigo keeps messages divided by t,
//
//	t·(c0 + c1·s) = Scale·m + t·e (mod Q_Level), with |Scale·m mod t| <= t/2.
//
// LogSigma and LogBound are multiples of 2^-20, rounded up.
//
// LogSigma bounds the standard deviation of the coefficients of e, under the usual heuristic
// that errors of different origin are independent and products spread (Costache, Smart,
// 2015/889; for CKKS Costache et al., 2020/1486). Summands are taken as fully correlated, since
// nothing keeps a job from adding a value to itself.
type Noise struct {
	Level    int     // rescales that are left; always 0 for BFV
	LogSigma float64 // log2 of the standard deviation of the error's coefficients
	LogBound float64 // CKKS: log2 of a bound on the absolute values in the slots; else 0
	Scale    float64 // CKKS: the scale; BGV, BFV: a residue modulo t, not 0
}

func (n Noise) sigma() float64 { return math.Exp2(n.LogSigma) }
func (n Noise) bound() float64 { return math.Exp2(n.LogBound) }

// meanSquare is E[u²] of a coefficient of u = e + m/t for BGV and BFV, for the worst m.
func (n Noise) meanSquare() float64 { return n.sigma()*n.sigma() + 0.25 }

// roundingVariance is that of the error of dividing a ciphertext by a prime and rounding: a rounding
// error in c0 and one in c1 times a ternary secret of 2N/3 coefficients.
func (p *Parameters) roundingVariance() float64 { return (2*float64(p.N())/3 + 1) / 12 }

// keySwitchVariance is that of one key switch (hybrid, Han and Ki, 2019/688): digits of as
// many primes as the key-switching modulus P has, extended without exact reduction, so
// that a digit is below (#P+1)/2 times its modulus in absolute value, times the error of the key,
// divided by P and rounded.
func (p *Parameters) keySwitchVariance(level int) float64 {
	q, special := p.rlwe.Q()[:p.chainLevel(level)+1], p.rlwe.P()
	logP := 0.0
	for _, x := range special {
		logP += log2(float64(x))
	}
	variance := 0.0
	for i := 0; i < len(q); i += len(special) {
		logB := 0.0
		for _, x := range q[i:min(i+len(special), len(q))] {
			logB += log2(float64(x))
		}
		spread := float64(len(special)*len(special)) / 12
		variance += math.Exp2(2*(logB-logP)) * spread * float64(p.N()) * sigma * sigma
	}
	return variance + p.roundingVariance()
}

// Room returns how many bits of the modulus message and error of a ciphertext leave unused. An
// operation is refused when its result has less than nothing left.
func (p *Parameters) Room(n Noise) float64 { return p.capacity(n.Level) - p.need(n) }

// capacity is log2 of half the modulus.
func (p *Parameters) capacity(level int) float64 { return p.logQ[p.chainLevel(level)] - 1 }

func (p *Parameters) need(n Noise) float64 {
	tail := math.Exp2(logTail) * n.sigma()
	if p.lit.Scheme == CKKS {
		return log2(n.Scale*n.bound() + tail)
	}
	return log2(float64(p.lit.PlaintextModulus)) + log2(tail+0.5)
}

// LogError returns, for CKKS, log2 of the standard deviation of the error of a decrypted value.
// The bits of precision are its negative for values of size 1. For BGV and BFV, which are exact, it is -Inf.
func (p *Parameters) LogError(n Noise) float64 {
	if p.lit.Scheme != CKKS {
		return math.Inf(-1)
	}
	// A slot is the sum of N coefficients, each times a root of unity of which the real part counts.
	return n.LogSigma + 0.5*float64(p.lit.LogN-1) - log2(n.Scale)
}

// roundUp rounds a logarithm up to a multiple of 2^-20. Processors compute it with other last
// bits, since some fuse a product and a sum and have an exponential function of their own;
// what is written in a ciphertext has to be the same on all.
func roundUp(log float64) float64 { return math.Ceil(log*(1<<20)) / (1 << 20) }

// check returns n, rounded, if a ciphertext with it would decrypt.
func (p *Parameters) check(op string, n Noise) (Noise, error) {
	n.LogSigma, n.LogBound = roundUp(n.LogSigma), roundUp(n.LogBound)
	if need, room := p.need(n), p.capacity(n.Level); !(need < room) { // NaN and Inf are refused
		return Noise{}, &BudgetError{Op: op, Need: need, Room: room}
	}
	if p.lit.Scheme == CKKS {
		if got, most := p.LogError(n), math.Max(0, n.LogBound)-minPrecision; got > most {
			return Noise{}, &BudgetError{Op: op, Need: got, Room: most, Err: ErrPrecision}
		}
	}
	return n, nil
}

// FreshNoise returns the noise of an encryption with the public key or, if not, with the secret
// key. logBound is, for CKKS, log2 of the declared bound on the absolute values, in [0, MaxLogBound], and
// has to be 0 otherwise. The error is a *ValueError or, when the set has no room for such
// values, a *BudgetError.
func (p *Parameters) FreshNoise(public bool, logBound int) (Noise, error) {
	n := Noise{Level: p.levels, LogSigma: log2(sigma), Scale: 1}
	if p.lit.Scheme == CKKS {
		if logBound < 0 || logBound > MaxLogBound {
			return Noise{}, &ValueError{"bound", "log2 of it has to be between 0 and 20"}
		}
		n.Scale, n.LogBound = math.Exp2(float64(p.lit.LogScale)), float64(logBound)
		// The encoding rounds every coefficient.
		n.LogSigma = 0.5 * log2(sigma*sigma+1.0/12)
	} else if logBound != 0 {
		return Noise{}, &ValueError{"bound", "belongs to CKKS"}
	}
	if public {
		// The encryption of zero under the public key is made modulo p0 more and divided by it, which
		// leaves the error of rounding and next to nothing of the key's.
		n.LogSigma = 0.5 * log2(math.Exp2(2*n.LogSigma)+p.roundingVariance()+p.publicVariance())
	}
	return p.check("encrypt", n)
}

// publicVariance is what is left of u·e + e0 + e1·s after the division by p0.
func (p *Parameters) publicVariance() float64 {
	p0 := float64(p.rlwe.P()[0])
	return (4*float64(p.N())/3 + 1) * sigma * sigma / (p0 * p0)
}

// inverse is that of x modulo t.
func (p *Parameters) inverse(x uint64) uint64 { return p.power(x, p.lit.PlaintextModulus-2) }

func (p *Parameters) power(x, e uint64) uint64 {
	r := uint64(1)
	for ; e > 0; e >>= 1 {
		if e&1 == 1 {
			r = p.mulMod(r, x)
		}
		x = p.mulMod(x, x)
	}
	return r
}

// mulMod returns x·y mod t for x, y below t.
func (p *Parameters) mulMod(x, y uint64) uint64 {
	hi, lo := bits.Mul64(x, y)
	_, r := bits.Div64(hi, lo, p.lit.PlaintextModulus)
	return r
}

// match returns small factors f, g, not 0 modulo t, with f·a ≡ ±g·b: rational reconstruction of
// b/a by half of Euclid's algorithm. g is negative where the sign is.
func (p *Parameters) match(a, b uint64) (f, g int64) {
	t := p.lit.PlaintextModulus
	r0, r1 := int64(t), int64(p.mulMod(b, p.inverse(a)))
	s0, s1 := int64(0), int64(1)
	// Invariant: r1 ≡ s1·b/a. Stop when r1 and |s1| are both about √t.
	for r1 > int64(math.Sqrt(float64(t))) {
		q := r0 / r1
		r0, r1 = r1, r0-q*r1
		s0, s1 = s1, s0-q*s1
	}
	return r1, s1
}

// PredictAdd returns the noise of a sum or difference. BGV and BFV ciphertexts of different
// scales are brought to one scale by small factors, which the noise grows by; CKKS ciphertexts
// whose scales differ by more than a 2^-12th are a *ScaleError.
func (p *Parameters) PredictAdd(a, b Noise) (Noise, error) {
	n := Noise{Level: min(a.Level, b.Level), Scale: a.Scale}
	if p.lit.Scheme == CKKS {
		d := math.Abs(a.Scale-b.Scale) / a.Scale
		if !(d <= maxScaleError) {
			return Noise{}, &ScaleError{"add", a.Scale, b.Scale}
		}
		n.LogBound = log2(a.bound() + b.bound())
		// b is read at the scale of a: off by d times its value, as coefficients Scale·bound·d/√N.
		n.LogSigma = log2(a.sigma() + b.sigma() + d*b.bound()*b.Scale/math.Sqrt(float64(p.N())))
		return p.check("add", n)
	}
	f, g := int64(1), int64(1)
	if a.Scale != b.Scale {
		f, g = p.match(uint64(a.Scale), uint64(b.Scale))
		n.Scale = float64(p.mulMod(p.residue(f), uint64(a.Scale)))
	}
	n.LogSigma = log2(math.Abs(float64(f))*math.Sqrt(a.meanSquare()) + math.Abs(float64(g))*math.Sqrt(b.meanSquare()))
	if f == 1 && g == 1 { // the carry of two halves of t is at most one
		n.LogSigma = log2(a.sigma() + b.sigma() + 0.5)
	}
	return p.check("add", n)
}

// residue returns x modulo t in [0, t).
func (p *Parameters) residue(x int64) uint64 {
	t := int64(p.lit.PlaintextModulus)
	return uint64((x%t + t) % t)
}

// PredictMul returns the noise of a product of two ciphertexts, relinearised and, for BGV and CKKS,
// not rescaled.
func (p *Parameters) PredictMul(a, b Noise) (Noise, error) {
	level := min(a.Level, b.Level)
	n := Noise{Level: level}
	N := float64(p.N())
	var variance float64
	switch p.lit.Scheme {
	case CKKS:
		n.Scale = a.Scale * b.Scale
		n.LogBound = a.LogBound + b.LogBound
		// e = m1·e2 + m2·e1 + e1·e2; a message of bound M spreads an error by Scale·M at most. Linear,
		// because the factors may be equal.
		root := a.Scale*a.bound()*b.sigma() + b.Scale*b.bound()*a.sigma() + math.Sqrt(2*N)*a.sigma()*b.sigma()
		variance = root * root
	case BGV:
		t := float64(p.lit.PlaintextModulus)
		n.Scale = float64(p.mulMod(uint64(a.Scale), uint64(b.Scale)))
		// u = t·u1·u2. Both errors are mostly a rounding error times s, and may be the same: the mean of
		// |s|⁴ and that of |u|⁴ in a slot are twice the square of the mean of |s|² and |u|² (Biasioli et al., 2023/600).
		// A half more than these four is for what is not Gaussian.
		variance = 6 * t * t * N * a.meanSquare() * b.meanSquare()
	case BFV:
		t := float64(p.lit.PlaintextModulus)
		n.Scale = float64(p.mulMod(p.mulMod(uint64(a.Scale), uint64(b.Scale)), p.inverse(p.negQ())))
		// With t(c0 + c1·s) = v + K·Q: v1·K2 + v2·K1, where K is t times the integer part of
		// (c0 + c1·s)/Q, plus rounding (Fan, Vercauteren, 2012/144, section 4). Every K has a factor s, so that
		// the errors of repeated products are high where s is: the largest |s|² of N slots is ln N times its mean
		// (Biasioli et al., 2023/600, correct by the depth instead).
		k := t * math.Sqrt(math.Log(N)*(p.roundingVariance()+1.0/12))
		root := k * math.Sqrt(N) * (math.Sqrt(a.meanSquare()) + math.Sqrt(b.meanSquare()))
		// The three parts of the product are rounded before s and s² meet them.
		variance = root*root + p.roundingVariance() + N*N*4/9/12
	}
	n.LogSigma = 0.5 * log2(variance+p.keySwitchVariance(level))
	return p.check("mul", n)
}

// negQ returns -Q mod t, a factor of the scale of BFV products.
func (p *Parameters) negQ() uint64 {
	t := p.lit.PlaintextModulus
	r := uint64(1)
	for _, q := range p.rlwe.Q()[:p.topLevel()+1] {
		r = p.mulMod(r, q%t)
	}
	return t - r
}

// PredictAddPlain returns the noise of the sum of a ciphertext and known values, for CKKS of absolute
// value at most bound.
func (p *Parameters) PredictAddPlain(a Noise, bound float64) (Noise, error) {
	n := a
	if p.lit.Scheme == CKKS {
		n.LogBound = log2(a.bound() + bound)
		n.LogSigma = 0.5 * log2(a.sigma()*a.sigma()+1.0/12)
	} else {
		n.LogSigma = log2(a.sigma() + 0.5)
	}
	return p.check("add", n)
}

// PredictMulPlain returns the noise of the product of a ciphertext and a vector of known values, for
// CKKS of absolute value at most bound and encoded at the scale of the prime that the next
// rescale divides by, so that rescaling gives back the scale of the ciphertext.
func (p *Parameters) PredictMulPlain(a Noise, bound float64) (Noise, error) {
	n := a
	N := float64(p.N())
	if p.lit.Scheme == CKKS {
		if a.Level == 0 {
			return Noise{}, &LevelError{"mul", 0, 1}
		}
		n.Scale = a.Scale * float64(p.rlwe.Q()[a.Level])
		n.LogBound = a.LogBound + log2(bound)
		encoded := float64(p.rlwe.Q()[a.Level]) * bound
		// The encoding is off by 1/√12 in each coefficient, times the message.
		off := a.Scale * a.bound() / math.Sqrt(12)
		n.LogSigma = log2(encoded*a.sigma() + off + math.Sqrt(N/12)*a.sigma())
		if bound == 0 {
			n.LogBound = 0
		}
		return p.check("mul", n)
	}
	// The values are encoded as a polynomial with coefficients in (-t/2, t/2].
	t := float64(p.lit.PlaintextModulus)
	n.LogSigma = log2(t / 2 * math.Sqrt(N*a.meanSquare()))
	return p.check("mul", n)
}

// PredictMulScalar returns the noise of the product of a ciphertext and one known integer,
// which costs no level in any scheme. k is reduced modulo t to the smallest absolute value for BGV and BFV.
func (p *Parameters) PredictMulScalar(a Noise, k int64) (Noise, error) {
	n := a
	if p.lit.Scheme == CKKS {
		f := math.Max(1, math.Abs(float64(k)))
		n.LogBound, n.LogSigma = a.LogBound+log2(f), a.LogSigma+log2(f)
	} else {
		f := math.Abs(float64(p.center(k)))
		n.LogSigma = log2(f*math.Sqrt(a.meanSquare()) + 0.5)
	}
	return p.check("mul", n)
}

// center returns k modulo t in (-t/2, t/2].
func (p *Parameters) center(k int64) int64 {
	r := int64(p.residue(k))
	if t := int64(p.lit.PlaintextModulus); r > t/2 {
		r -= t
	}
	return r
}

// PredictRescale returns the noise after the division by the last prime.
func (p *Parameters) PredictRescale(a Noise) (Noise, error) {
	if p.lit.Scheme == BFV {
		return Noise{}, &SchemeError{"rescale", BFV}
	}
	if a.Level < 1 {
		return Noise{}, &LevelError{"rescale", a.Level, 1}
	}
	q := p.rlwe.Q()[a.Level]
	n := Noise{Level: a.Level - 1, LogBound: a.LogBound}
	if p.lit.Scheme == CKKS {
		n.Scale = a.Scale / float64(q)
		if n.Scale < math.Exp2(10) {
			return Noise{}, &BudgetError{Op: "rescale", Need: log2(n.Scale), Room: 10, Err: ErrPrecision}
		}
	} else {
		n.Scale = float64(p.mulMod(uint64(a.Scale), p.inverse(q%p.lit.PlaintextModulus)))
	}
	s := math.Exp2(a.LogSigma - log2(float64(q)))
	if p.lit.Scheme == BGV {
		s = math.Sqrt(s*s + math.Exp2(-2*log2(float64(q)))/4)
	}
	n.LogSigma = 0.5 * log2(s*s+p.roundingVariance())
	return p.check("rescale", n)
}

// PredictDrop returns the noise at a lower level, reached without dividing.
func (p *Parameters) PredictDrop(a Noise, level int) (Noise, error) {
	if p.lit.Scheme == BFV {
		return Noise{}, &SchemeError{"drop", BFV}
	}
	if level < 0 || level > a.Level {
		return Noise{}, &LevelError{"drop", a.Level, level}
	}
	n := a
	n.Level = level
	return p.check("drop", n)
}

// PredictKeySwitch returns the noise after one rotation with a key of its own.
func (p *Parameters) PredictKeySwitch(a Noise) (Noise, error) {
	return p.check("rotate", p.switched(a))
}

// PredictMigrate returns the noise after the switch to another key, see [Migrator].
func (p *Parameters) PredictMigrate(a Noise) (Noise, error) {
	return p.check("migrate", p.switched(a))
}

func (p *Parameters) switched(a Noise) Noise {
	a.LogSigma = 0.5 * log2(a.sigma()*a.sigma()+p.keySwitchVariance(a.Level))
	return a
}

// PredictRotate returns the noise after a rotation by k slots with keys for powers of two,
// which takes one key switch for each bit of k modulo the row.
func (p *Parameters) PredictRotate(a Noise, k int) (Noise, error) {
	var err error
	for range bits.OnesCount(uint(p.reduceRotation(k))) {
		if a, err = p.PredictKeySwitch(a); err != nil {
			return Noise{}, err
		}
	}
	return a, nil
}

func (p *Parameters) reduceRotation(k int) int {
	r := p.Row()
	return (k%r + r) % r
}

// PredictInnerSum returns the noise of the sum of n slots, n a power of two: log2(n) rotations and
// additions.
func (p *Parameters) PredictInnerSum(a Noise, n int) (Noise, error) {
	if n < 1 || n > p.Row() || n&(n-1) != 0 {
		return Noise{}, &ValueError{"inner sum", "the number of summands has to be a power of two, at most a row"}
	}
	for ; n > 1; n /= 2 {
		b, err := p.PredictKeySwitch(a)
		if err != nil {
			return Noise{}, err
		}
		if a, err = p.PredictAdd(a, b); err != nil {
			return Noise{}, err
		}
	}
	return a, nil
}
