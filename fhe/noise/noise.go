// Package noise predicts the noise of TFHE ciphertexts and the probability that
// a bootstrap decodes to the wrong message.
//
// All variances are relative: they are variances of the error divided by q², so
// that an error of standard deviation s·q has variance s². The formulas hold
// for binary secrets, exact polynomial arithmetic (there is no FFT term) and
// the symmetric gadget decompositions that package accel defines. They follow
// Chillotti, Gama, Georgieva and Izabachène, "TFHE: Fast Fully Homomorphic
// Encryption over the Torus" (2018/421), section 4, and Bergerat et al.,
// "Parameter Optimization & Larger Precision for (T)FHE" (2022/704), section 3,
// re-derived for a prime modulus.
//
// Every product is rounded to float64 before it is added. Go may otherwise fuse
// a product and a sum on some processors, and a bound would then differ in its
// last bit between two machines that must agree on the digest of a result.
package noise

import (
	"fmt"
	"math"
)

// Bound is what is publicly known of a ciphertext: how noisy it can be and
// which messages it can hold.
type Bound struct {
	// Variance bounds the variance of the error, relative to q².
	Variance float64
	// Min and Max bound the message, in units of the encoding step.
	Min, Max int64
	// Source names the encryption or bootstrap output that the error comes
	// from, alone and scaled at most: errors of different sources are
	// independent. It is 0 for an error of several sources, or of none.
	Source uint64
}

// NoiseError refuses work whose input is too noisy: the bootstrap that follows
// would fail more often than the parameters allow.
type NoiseError struct {
	Got, Max float64 // relative variances
}

func (e *NoiseError) Error() string {
	return fmt.Sprintf("noise variance 2^%.2f is over the bound 2^%.2f: the ciphertext must be bootstrapped first",
		math.Log2(e.Got), math.Log2(e.Max))
}

// MessageError refuses work whose input may hold messages outside the domain
// that the work is defined on.
type MessageError struct {
	GotMin, GotMax int64
	Min, Max       int64
}

func (e *MessageError) Error() string {
	return fmt.Sprintf("message in [%d, %d] is outside the domain [%d, %d]", e.GotMin, e.GotMax, e.Min, e.Max)
}

// Term is one weighted ciphertext of a linear combination.
type Term struct {
	Weight int64
	Bound  Bound
}

// Combine returns the bound of Σ Weight·x + constant. Errors of different sources are
// independent, and their variances w²V add up; of those of one source nothing is
// assumed, and their deviations |w|·√V add up. So do those of errors of several
// sources, with all others: by the triangle inequality the deviation is at most
// √(Σ over sources (Σ |w|·√V)²) + Σ |w|·√V over the latter.
func Combine(constant int64, terms ...Term) Bound {
	b := Bound{Min: constant, Max: constant}
	noisy := 0
	independent, mixed := 0.0, 0.0 // variance, deviation
	for i, t := range terms {
		lo, hi := t.Weight*t.Bound.Min, t.Weight*t.Bound.Max
		b.Min += min(lo, hi)
		b.Max += max(lo, hi)
		if !t.noisy() {
			continue
		}
		noisy++
		b.Variance, b.Source = t.variance(), t.Bound.Source
		switch {
		case t.Bound.Source == 0:
			mixed += t.deviation()
		case t.first(terms[:i]):
			independent += t.variances(terms[i:])
		}
	}
	if noisy > 1 {
		b.Variance, b.Source = independent, 0
		if mixed > 0 {
			deviation := math.Sqrt(independent) + mixed
			b.Variance = float64(deviation * deviation)
		}
	}
	return b
}

func (t Term) noisy() bool { return t.Weight != 0 && t.Bound.Variance > 0 }

func (t Term) variance() float64 {
	w := float64(t.Weight)
	return float64(float64(w*w) * t.Bound.Variance)
}

func (t Term) deviation() float64 {
	return float64(math.Abs(float64(t.Weight)) * math.Sqrt(t.Bound.Variance))
}

// first says that no noisy term of earlier ones has the source of t.
func (t Term) first(earlier []Term) bool {
	for _, u := range earlier {
		if u.noisy() && u.Bound.Source == t.Bound.Source {
			return false
		}
	}
	return true
}

// variances is the variance of the terms that have the source of t, the first one.
func (t Term) variances(terms []Term) float64 {
	deviation, more := 0.0, false
	for i, u := range terms {
		if u.noisy() && u.Bound.Source == t.Bound.Source {
			deviation += u.deviation()
			more = more || i > 0
		}
	}
	if !more {
		return t.variance()
	}
	return float64(deviation * deviation)
}

// Correlated is the variance of Σ Weight·x when all errors are as correlated as
// can be: (Σ |w|·√V)².
func Correlated(terms ...Term) float64 {
	amplitude := 0.0
	for _, t := range terms {
		amplitude += t.deviation()
	}
	return float64(amplitude * amplitude)
}

// TUniform is the variance of the distribution TUniform(b): uniform
// on the integers of [-2^b, 2^b], with half weight on both ends. It is absolute,
// in units of one.
func TUniform(b int) float64 { return float64((math.Ldexp(1, 2*b+1) + 1) / 6) }

// PublicKeyEncryption is the variance of a ciphertext made with a GLWE public
// key of dimension k·N whose errors have the given variance: E·r + e₂ - S·e₁
// with binary r and S.
func PublicKeyEncryption(dimension int, variance float64) float64 {
	return float64((float64(dimension) + 1) * variance)
}

// Gadget describes a decomposition into Levels digits in base 2^BaseLog.
type Gadget struct {
	BaseLog, Levels int
}

// Digits is Σ_j E[d_j²] over the digits of a uniform residue as package accel
// defines them: l·(B²+2)/12 - (1 - B^(1-l))·B/(4(B-1)), for l digits in base
// B = 2^BaseLog.
//
// A digit of the magnitude below the top one is uniform on (-B/2, B/2] whatever
// carry comes in, of second moment (B²+2)/12. The carry out of it is 1 for a
// remainder over B/2, not for B/2 itself, so that its probability goes from p to
// (B/2 - 1)/B + p/B, and is p = (1 - B^(1-l))·(B/2 - 1)/(B - 1) at the top,
// below ½. The top digit is t + carry with t uniform on [0, B/2), but for the
// half of the weight of magnitude 0 that belongs to the magnitude B^l/2, whose
// top digit is B/2: E[t²] + p·(2·E[t] + 1) + B^(2-l)/4 =
// (B/2-1)(B-1)/6 + p·B/2 + B^(2-l)/4. For l = 1 that is (B²+2)/12, and
// (1 - B^(1-l))·B/(4(B-1)) less for other l.
func (g Gadget) Digits() float64 {
	base := math.Ldexp(1, g.BaseLog)
	all := float64(float64(g.Levels) * float64((math.Ldexp(1, 2*g.BaseLog)+2)/12))
	return all - float64((1-math.Ldexp(1, g.BaseLog*(1-g.Levels)))*float64(base/float64(4*(base-1))))
}

// rounding is the variance of the uniform rounding error of the gadget,
// (2^-BaseLog·Levels)²/12.
func (g Gadget) rounding() float64 {
	return float64(math.Ldexp(1, -2*g.BaseLog*g.Levels) / 12)
}

// KeySwitch is the variance that a key switch adds: from nIn coefficients over
// qIn, rounded to the gadget, to an LWE over qOut whose rows have errors of the
// given variance.
func KeySwitch(nIn int, g Gadget, variance, qIn, qOut float64) float64 {
	rows := float64(float64(nIn) * float64(variance*g.Digits()))
	mask := float64(float64(nIn) * float64(g.rounding()/2+float64(1/float64(48*float64(qIn*qIn)))))
	body := float64(1 / float64(12*float64(qOut*qOut)))
	return rows + mask + body
}

// Rotation is how a blind rotation treats the key, as far as its noise depends on
// it. Use Classic, Unrolled or BlockBinary.
type Rotation struct {
	steps    int     // external products
	key      float64 // error of one GGSW ciphertext that a step adds, in variances
	rounding float64 // rounding error of the accumulator that a step adds, in variances
	mod      float64 // error of the centred modulus switch a step adds, in variances of one rounding
}

// Classic is a rotation by one bit of a binary key of dimension n a step
// (2018/421, section 4.2): acc += GGSW ⊡ (X^a·acc - acc). The rounding error of
// the accumulator counts where the bit is set, half the time. The centred
// modulus switch leaves e·(s - 1/2) of each rounding error e.
func Classic(n int) Rotation { return Rotation{n, 1, 0.5, 0.25} }

// Unrolled is a rotation by groups of g bits of a binary key: acc = (Σ_S X^a_S·
// GGSW_S) ⊡ acc over all 2^g patterns S, of which one is the key's (2018/735).
//
// The modulus switch rounds Σ_{i∈S} a_i for every S on its own, with errors e_S,
// e_∅ = 0, independent and of variance v. It is centred by their mean over S,
// which is what a uniform key makes of them on average. For the key's pattern P
// what is left is e_P - Σ_S e_S/2^g, of variance E_P[e_P²] - E_P[e_P]² =
// v·(1-2^-g) - v·(2^g-1)/4^g = v·(1-2^-g)².
func Unrolled(n, g int) Rotation {
	patterns := float64(int(1) << g)
	empty := 1 - 1/patterns
	return Rotation{n / g, patterns, 1, float64(empty * empty)}
}

// BlockBinary is a rotation by blocks of l bits of a block-binary key, of which
// at most one is set, all l+1 cases equally likely (2023/958): acc += (Σ_j
// (X^a_j - 1)·GGSW_j) ⊡ acc. Every ciphertext is multiplied by a polynomial of
// squared norm 2, and so is the rounding error where a bit is set. The modulus
// switch is centred by the mean of the l+1 possible errors, e_j or 0, and leaves
// v·l/(l+1) - v·l/(l+1)² = v·(l/(l+1))².
func BlockBinary(n, l int) Rotation {
	set := float64(l) / float64(l+1)
	return Rotation{n / l, 2 * float64(l), 2 * set, float64(set * set)}
}

// BlindRotation is the variance of the output of a blind rotation on a GLWE of
// rank k and size N, the key's errors having the given variance. It is the
// variance of a PBS output, whatever went in.
func BlindRotation(r Rotation, k, N int, g Gadget, variance, q float64) float64 {
	key := float64(float64((k+1)*N) * float64(variance*g.Digits()))
	// The error of a rounded coefficient, in the body and through the key's ones
	// in the mask.
	mask := float64(float64(k*N) / 2 * float64(g.rounding()+float64(1/float64(24*float64(q*q)))))
	rounding := mask + g.rounding()
	return float64(float64(r.steps) * (float64(r.key*key) + float64(r.rounding*rounding)))
}

// Packing is the variance that packing LWE ciphertexts into a GLWE ciphertext of
// rank k and size N by ring automorphisms adds (Chen, Dai, Kim, Song, "Efficient
// Homomorphic Conversion Between (Ring) LWE Ciphertexts", 2020/015, algorithms 2
// and 3), the errors of its keys having the given variance.
//
// Each of the L = log2(N) levels replaces c by c + τ(c), and two ciphertexts that
// it merges first by their sum and difference with one of them shifted. τ keeps
// every coefficient that holds a message, so that the error there doubles with the
// message, and what the other ciphertext has there cancels. The factor of the
// message, 2^L = N, was taken out before, exactly, and with it that of the error
// that came in. The key switch of τ adds an error of its own, of variance V, which
// the levels after it double: Σ_{j=1..L} 4^(L-j)·V = V·(N²-1)/3.
//
// A key switch adds k·l digits times the error of a row, and the rounding error of
// the k mask polynomials where a bit of the key is set: V = k·N·(variance·Σ E[d²] +
// rounding/2).
func Packing(k, N int, g Gadget, variance, q float64) float64 {
	rows := float64(variance * g.Digits())
	rounding := float64((g.rounding() + float64(1/float64(24*float64(q*q)))) / 2)
	keySwitch := float64(float64(k*N) * (rows + rounding))
	return float64(keySwitch * float64((float64(N*N)-1)/3))
}

// PackedRounding is the variance that dropping the given number of low bits of a
// GLWE ciphertext adds to the LWE ciphertexts in it, the mean over the keys having
// been taken out of the body. A rounding error e of the mask leaves e·(s - 1/2), of
// variance v/4 for each of the k·N bits of the key; its signs are independent, so
// that the errors of two ciphertexts of one GLWE ciphertext are not correlated. The
// body adds v. Here v = 4^bits/12.
func PackedRounding(dimension, bits int, q float64) float64 {
	unit := float64(math.Ldexp(1, 2*bits) / float64(12*float64(q*q)))
	return float64(unit * (float64(dimension)/4 + 1))
}

// ModSwitch is the variance of the centred modulus switch to w.
func ModSwitch(r Rotation, w float64) float64 {
	unit := float64(1 / float64(12*float64(w*w)))
	return float64(float64(r.steps)*float64(r.mod*unit)) + unit
}

// Log2Failure is log2 of the probability that a centred Gaussian of the given
// variance leaves [-t, t], t a fraction of the torus.
func Log2Failure(t, variance float64) float64 {
	if variance <= 0 {
		return math.Inf(-1)
	}
	return log2Erfc(t / math.Sqrt(2*variance))
}

// log2Erfc is log2(erfc(x)), by the continued fraction of Laplace where erfc
// itself underflows.
func log2Erfc(x float64) float64 {
	if x < 20 {
		return math.Log2(math.Erfc(x))
	}
	t := 0.0
	for k := 60; k > 0; k-- {
		t = float64(k) / 2 / (x + t)
	}
	return (-x*x - math.Log((x+t)*math.Sqrt(math.Pi))) / math.Ln2
}
