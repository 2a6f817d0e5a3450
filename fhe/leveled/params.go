package leveled

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"sync"

	"github.com/tuneinsight/lattigo/v5/core/rlwe"
	"github.com/tuneinsight/lattigo/v5/he/hefloat"
	"github.com/tuneinsight/lattigo/v5/he/hefloat/bootstrapping"
	"github.com/tuneinsight/lattigo/v5/ring"
	"github.com/tuneinsight/lattigo/v5/schemes/bgv"
)

// A Scheme is one of the three leveled schemes.
type Scheme uint8

// The schemes. Numbers are part of fingerprints and never reused.
const (
	BGV  Scheme = 1 // Brakerski, Gentry, Vaikuntanathan, 2011/277
	BFV  Scheme = 2 // Brakerski, 2012/078; Fan, Vercauteren, 2012/144
	CKKS Scheme = 3 // Cheon, Kim, Kim, Song, 2016/421
)

func (s Scheme) String() string {
	switch s {
	case BGV:
		return "bgv"
	case BFV:
		return "bfv"
	case CKKS:
		return "ckks"
	}
	return fmt.Sprintf("scheme %d", uint8(s))
}

// Integers reports whether the scheme computes on integers modulo t.
func (s Scheme) Integers() bool { return s == BGV || s == BFV }

const (
	// sigma is the standard deviation of the error of every fresh encryption, cut off at
	// six times that (ring.DiscreteGaussian, sampled by lattigo).
	sigma      = 3.2
	sigmaBound = 6 * sigma

	// sparseWeight is the Hamming weight of the ephemeral secret of CKKS bootstrapping
	// (Bossuat, Troncoso-Pastoriza, Hubaux, 2022/024).
	sparseWeight = 32
)

// maxLogQP is, for each log2 of the ring degree, the longest modulus that keeps 128 bits of
// security against classical attacks, for a uniform ternary secret and an error of standard deviation
// 3.19: Bossuat et al., Security Guidelines for Implementing Homomorphic Encryption, 2024/463,
// table for λ = 128. It is stricter than the table of HomomorphicEncryption.org of 2018
// (109, 218, 438, 881).
var maxLogQP = map[int]float64{12: 106, 13: 214, 14: 430, 15: 868, 16: 1747}

// maxLogSparse is the same for a ternary secret of Hamming weight 32, which encrypts
// nothing but one key of one row modulo q0·p0: 2022/024, where 121 bits at N = 2^16 keep 128
// bits of security with hybrid attacks counted. Smaller rings have no entry.
var maxLogSparse = map[int]float64{16: 121}

// A Literal is the public description of a parameter set. NewParameters checks it.
type Literal struct {
	Name   string
	Scheme Scheme

	LogN int   // log2 of the ring degree N
	LogQ []int // bits of the primes of the ciphertext modulus, the one that stays to the end first
	LogP []int // bits of the primes that are added for key switching

	PlaintextModulus uint64 // t, BGV and BFV: a prime ≡ 1 (mod 2N)
	LogScale         int    // CKKS: log2 of the scale of fresh ciphertexts

	// Bootstrap, for CKKS at LogN 16, appends the primes of the bootstrapping circuit to LogQ.
	Bootstrap *BootstrapLiteral
}

// A BootstrapLiteral describes the bootstrapping circuit: ModUp, CoeffsToSlots, EvalMod (a
// cosine of degree 30 and three double angles on [-15, 15], depth 8), SlotsToCoeffs (Bossuat et al.,
// 2020/1203; 2022/024).
type BootstrapLiteral struct {
	LogSlots      int   // log2 of the number of values in a ciphertext that can be bootstrapped
	SlotsToCoeffs []int // bits of the primes of its levels
	CoeffsToSlots []int
	EvalMod       int     // bits of the primes of the eight levels of EvalMod
	LogError      float64 // log2 of the standard deviation of the error it adds to a value, without that of the sine; measured, with a margin
}

// Parameters is a checked, immutable parameter set.
type Parameters struct {
	lit         Literal
	fingerprint [32]byte
	levels      int // rescales that a fresh ciphertext has
	logQ        []float64

	rlwe rlwe.Parameters
	bgv  bgv.Parameters     // BGV, BFV
	ckks hefloat.Parameters // CKKS; with bootstrapping, of the whole chain
	boot bootstrapping.Parameters
}

// NewParameters checks a literal and derives everything else. The errors are
// *ParametersError and *SecurityError.
func NewParameters(lit Literal) (*Parameters, error) {
	p := &Parameters{lit: lit}
	bad := func(field, format string, args ...any) error {
		return &ParametersError{lit.Name, field, fmt.Sprintf(format, args...)}
	}
	limit, ok := maxLogQP[lit.LogN]
	if !ok {
		return nil, bad("LogN", "%d is not between 12 and 16", lit.LogN)
	}
	if lit.Name == "" || len(lit.Name) > 64 {
		return nil, bad("Name", "has to have 1 to 64 bytes")
	}
	if len(lit.LogQ) == 0 || len(lit.LogP) == 0 {
		return nil, bad("LogQ", "both chains have to be given")
	}
	for _, b := range slices.Concat(lit.LogQ, lit.LogP) {
		if b < 20 || b > 60 {
			return nil, bad("LogQ", "a prime of %d bits, want 20 to 60", b)
		}
	}
	// The limit again on the lengths asked for, before primes are searched for.
	if total := sum(lit.LogQ) + sum(lit.LogP); float64(total) > limit+1 {
		return nil, &SecurityError{lit.Name, "keys", lit.LogN, float64(total), limit}
	}
	xe, xs := ring.DiscreteGaussian{Sigma: sigma, Bound: sigmaBound}, ring.Ternary{P: 2.0 / 3}
	var err error
	switch {
	case lit.Scheme.Integers():
		t := lit.PlaintextModulus
		if t < 2<<lit.LogN || bits.Len64(t) > 40 || t%(2<<lit.LogN) != 1 {
			return nil, bad("PlaintextModulus", "%d is not a prime ≡ 1 (mod 2N) of at most 40 bits", t)
		}
		if bits.Len64(t) >= slices.Min(lit.LogQ) {
			return nil, bad("PlaintextModulus", "%d is not below every prime of LogQ", t)
		}
		if lit.LogScale != 0 || lit.Bootstrap != nil {
			return nil, bad("LogScale", "belongs to CKKS")
		}
		p.bgv, err = bgv.NewParametersFromLiteral(bgv.ParametersLiteral{
			LogN: lit.LogN, LogQ: lit.LogQ, LogP: lit.LogP, Xe: xe, Xs: xs, PlaintextModulus: t,
		})
		p.rlwe = p.bgv.Parameters
		if lit.Scheme == BGV {
			p.levels = len(lit.LogQ) - 1
		}
	case lit.Scheme == CKKS:
		if lit.LogScale < 20 || lit.LogScale > 50 || lit.PlaintextModulus != 0 {
			return nil, bad("LogScale", "%d is not between 20 and 50", lit.LogScale)
		}
		p.levels = len(lit.LogQ) - 1
		if lit.Bootstrap != nil {
			p.boot, err = bootstrapParameters(&lit)
			p.ckks = p.boot.BootstrappingParameters
		} else {
			p.ckks, err = hefloat.NewParametersFromLiteral(hefloat.ParametersLiteral{
				LogN: lit.LogN, LogQ: lit.LogQ, LogP: lit.LogP, Xe: xe, Xs: xs, LogDefaultScale: lit.LogScale,
			})
		}
		p.rlwe = p.ckks.Parameters.Parameters
	default:
		return nil, bad("Scheme", "%v", lit.Scheme)
	}
	if err != nil {
		return nil, bad("LogQ", "%v", err)
	}
	if got := p.LogQP(); got > limit {
		return nil, &SecurityError{lit.Name, "keys", lit.LogN, got, limit}
	}
	if lit.Bootstrap != nil {
		limit := maxLogSparse[lit.LogN]
		if got := log2(float64(p.rlwe.Q()[0])) + log2(float64(p.rlwe.P()[0])); got > limit {
			return nil, &SecurityError{lit.Name, "sparse secret", lit.LogN, got, limit}
		}
	}
	total := 0.0
	for _, q := range p.rlwe.Q() {
		total += log2(float64(q))
		p.logQ = append(p.logQ, total)
	}
	p.fingerprint = p.hash()
	return p, nil
}

func sum(v []int) (s int) {
	for _, x := range v {
		s += x
	}
	return s
}

// hash identifies everything that changes the meaning of a ciphertext or a key.
func (p *Parameters) hash() [32]byte {
	h := sha256.New()
	put := func(vs ...uint64) {
		for _, v := range vs {
			h.Write(binary.LittleEndian.AppendUint64(nil, v))
		}
	}
	h.Write([]byte("tacit leveled parameters 1"))
	put(uint64(len(p.lit.Name)))
	h.Write([]byte(p.lit.Name))
	put(uint64(p.lit.Scheme), uint64(p.lit.LogN), p.lit.PlaintextModulus, uint64(p.lit.LogScale), uint64(p.levels))
	for _, chain := range [][]uint64{p.rlwe.Q(), p.rlwe.P()} {
		put(uint64(len(chain)))
		put(chain...)
	}
	if b := p.lit.Bootstrap; b != nil {
		put(uint64(b.LogSlots), uint64(len(b.SlotsToCoeffs)), uint64(len(b.CoeffsToSlots)))
	}
	return [32]byte(h.Sum(nil))
}

// Name returns the name of the set.
func (p *Parameters) Name() string { return p.lit.Name }

// Scheme returns the scheme of the set.
func (p *Parameters) Scheme() Scheme { return p.lit.Scheme }

// Literal returns a copy of the description of the set.
func (p *Parameters) Literal() Literal {
	lit := p.lit
	lit.LogQ, lit.LogP = slices.Clone(lit.LogQ), slices.Clone(lit.LogP)
	if b := lit.Bootstrap; b != nil {
		c := *b
		c.SlotsToCoeffs, c.CoeffsToSlots = slices.Clone(b.SlotsToCoeffs), slices.Clone(b.CoeffsToSlots)
		lit.Bootstrap = &c
	}
	return lit
}

// Fingerprint is the SHA-256 of everything that the set consists of.
func (p *Parameters) Fingerprint() [32]byte { return p.fingerprint }

func (p *Parameters) String() string {
	return p.lit.Name + " (" + hex.EncodeToString(p.fingerprint[:4]) + ")"
}

// N returns the ring degree.
func (p *Parameters) N() int { return 1 << p.lit.LogN }

// Slots returns how many values a ciphertext holds: N for BGV and BFV, in two rows of
// N/2 that rotate each in itself, and N/2 for CKKS, or fewer where the set bootstraps.
func (p *Parameters) Slots() int {
	switch {
	case p.lit.Scheme.Integers():
		return p.N()
	case p.lit.Bootstrap != nil:
		return 1 << p.lit.Bootstrap.LogSlots
	}
	return p.N() / 2
}

// Row returns the number of slots within which a rotation is cyclic: N/2 for BGV
// and BFV, Slots for CKKS.
func (p *Parameters) Row() int {
	if p.lit.Scheme.Integers() {
		return p.N() / 2
	}
	return p.Slots()
}

// Levels returns how often a fresh ciphertext can be rescaled. It is 0 for BFV, which
// does not rescale.
func (p *Parameters) Levels() int { return p.levels }

// PlaintextModulus returns t for BGV and BFV, 0 for CKKS.
func (p *Parameters) PlaintextModulus() uint64 { return p.lit.PlaintextModulus }

// Bootstraps reports whether ciphertexts of the set can be bootstrapped.
func (p *Parameters) Bootstraps() bool { return p.lit.Bootstrap != nil }

// LogQP returns the bits of the longest modulus that anything is encrypted under.
func (p *Parameters) LogQP() float64 { return p.rlwe.LogQP() }

// Security is how a parameter set meets the security line.
type Security struct {
	Bits   int     // 128
	LogN   int     // log2 of the ring degree
	LogQP  float64 // bits of the longest modulus that anything is encrypted under
	Limit  float64 // bits that 128 bits of security allow
	Source string  // of the limit

	SparseLogQP float64 // of what is encrypted under the sparse secret of bootstrapping; 0 when there is none
	SparseLimit float64
}

// Security returns the entry of the security table and how far the set uses it.
func (p *Parameters) Security() Security {
	s := Security{
		Bits: 128, LogN: p.lit.LogN, LogQP: p.LogQP(), Limit: maxLogQP[p.lit.LogN],
		Source: "Bossuat et al., 2024/463, uniform ternary secret, classical attacks",
	}
	if p.Bootstraps() {
		s.SparseLogQP = log2(float64(p.rlwe.Q()[0])) + log2(float64(p.rlwe.P()[0]))
		s.SparseLimit = maxLogSparse[p.lit.LogN]
	}
	return s
}

// CiphertextMemory is the most bytes that a ciphertext takes in memory.
func (p *Parameters) CiphertextMemory() int64 {
	return 2 * 8 * int64(p.N()) * int64(p.rlwe.MaxLevel()+1)
}

// topLevel is the level of a fresh ciphertext among the primes of the chain. BFV works on all
// primes without ever dropping one.
func (p *Parameters) topLevel() int {
	if p.lit.Scheme == BFV {
		return len(p.lit.LogQ) - 1
	}
	return p.levels
}

// chainLevel is the level of a ciphertext with so many rescales left.
func (p *Parameters) chainLevel(level int) int {
	if p.lit.Scheme == BFV {
		return p.topLevel()
	}
	return level
}

// presets are the named sets. Those of one scheme differ in depth, and everything of a set
// grows with it; the smallest that is deep enough is the fastest.
var presets = []Literal{
	{Name: "bgv-13", Scheme: BGV, LogN: 13, PlaintextModulus: 65537, LogQ: []int{42, 38, 38, 38}, LogP: []int{56}},
	{Name: "bgv-14", Scheme: BGV, LogN: 14, PlaintextModulus: 65537, LogQ: []int{45, 40, 40, 40, 40, 40, 40, 40}, LogP: []int{50, 50}},
	{Name: "bgv-14-t32", Scheme: BGV, LogN: 14, PlaintextModulus: 4293918721, LogQ: []int{58, 52, 52, 52, 52}, LogP: []int{55, 55}},
	{Name: "bgv-15", Scheme: BGV, LogN: 15, PlaintextModulus: 786433, LogQ: []int{50, 45, 45, 45, 45, 45, 45, 45, 45, 45, 45, 45, 45, 45}, LogP: []int{55, 55, 55}},
	{Name: "bfv-13", Scheme: BFV, LogN: 13, PlaintextModulus: 65537, LogQ: []int{52, 52, 52}, LogP: []int{56}},
	{Name: "bfv-14", Scheme: BFV, LogN: 14, PlaintextModulus: 65537, LogQ: []int{54, 54, 54, 54, 54, 54}, LogP: []int{53, 52}},
	{Name: "bfv-14-t32", Scheme: BFV, LogN: 14, PlaintextModulus: 4293918721, LogQ: []int{54, 54, 54, 54, 54, 54}, LogP: []int{53, 52}},
	{Name: "bfv-15", Scheme: BFV, LogN: 15, PlaintextModulus: 786433, LogQ: []int{58, 58, 58, 58, 58, 58, 58, 58, 58, 58, 58, 58}, LogP: []int{57, 57, 57}},
	{Name: "ckks-13", Scheme: CKKS, LogN: 13, LogScale: 35, LogQ: []int{50, 35, 35, 35}, LogP: []int{58}},
	{Name: "ckks-14", Scheme: CKKS, LogN: 14, LogScale: 40, LogQ: []int{50, 40, 40, 40, 40, 40, 40, 40}, LogP: []int{50, 49}},
	{Name: "ckks-15", Scheme: CKKS, LogN: 15, LogScale: 45, LogQ: []int{58, 45, 45, 45, 45, 45, 45, 45, 45, 45, 45, 45, 45, 45}, LogP: []int{58, 58, 58}},
	// Bootstraps 4096 values. Eight key-switching primes keep the key under 4 GB in memory.
	{
		Name: "ckks-16-boot", Scheme: CKKS, LogN: 16, LogScale: 45, LogQ: []int{60, 45, 45, 45, 45, 45, 45, 45, 45}, LogP: []int{60, 60, 60, 60, 60, 60, 60, 60},
		Bootstrap: &BootstrapLiteral{LogSlots: 12, SlotsToCoeffs: []int{42, 42, 42}, CoeffsToSlots: []int{56, 56, 56, 56}, EvalMod: 60, LogError: -22.4},
	},
}

// fingerprints pins the sets: were a prime of one to change, every stored object of it would mean
// something else.
var fingerprints = map[string]string{
	"bgv-13":       "eff91782ca80fa91255993c5037992605694e7e370f81356115241aae3939fe7",
	"bgv-14":       "1163304fb446365bbc2da98ce6de6958f3136e4b11e137571257dc1f2255d141",
	"bgv-14-t32":   "1fa3dfb4ece012ff0a5172d0f63962516576f7e30e7875fbbd8024bdc79d176d",
	"bgv-15":       "8000cfeb302e9b5818f01aaf21629a42c2d9d6a5f205e86cf3ee807608e03ecb",
	"bfv-13":       "65821822b540c46bd97b544b12408ac23dc40c6ebb792f5777b6d1f57f039aa5",
	"bfv-14":       "43e9ce73014d13093a08e6fe594112145c82818e41bc3707c1f2792dff539490",
	"bfv-14-t32":   "d99888f914fb9ff680da60f9faa4f8b63f1c0b9ac30acdbfbc90ff04f755345e",
	"bfv-15":       "78bba0f2a0771b25ce1a3801c7aa4b68771de242920157a0f05e7fe8d8674125",
	"ckks-13":      "e6995a5b5990bdb90cfb4220adf378d0f1d2d9f38c86fb03d769c5b47692306b",
	"ckks-14":      "97a47bbd0dfed3f83a7341a9e70dda4bd4fc8dbbe848eb823555ba58db0e4759",
	"ckks-15":      "0202db875f5f7417f3dd944218dec8822065fa769fb8cb1a22e66357cb0d58a6",
	"ckks-16-boot": "2e06f3cce67e739e557d868dc660119c9cb767f8405dd413d99f53da013b8319",
}

var byName = sync.OnceValue(func() map[string]func() *Parameters {
	m := map[string]func() *Parameters{}
	for _, lit := range presets {
		m[lit.Name] = sync.OnceValue(func() *Parameters {
			p, err := NewParameters(lit)
			if err != nil || hex.EncodeToString(p.fingerprint[:]) != fingerprints[lit.Name] {
				panic(fmt.Sprintf("parameter set %s: %v, or another fingerprint", lit.Name, err)) // a named set that its own test does not pass
			}
			return p
		})
	}
	return m
})

// Names returns the names of all parameter sets, scheme by scheme from small to large.
func Names() []string {
	names := make([]string, len(presets))
	for i, lit := range presets {
		names[i] = lit.Name
	}
	return names
}

// ByName returns a named set, the same pointer each time. The error is an *UnknownError.
func ByName(name string) (*Parameters, error) {
	if get, ok := byName()[name]; ok {
		return get(), nil
	}
	return nil, &UnknownError{name, Names()}
}

// ByFingerprint returns the named set with a fingerprint, or nil.
func ByFingerprint(fingerprint [32]byte) *Parameters {
	for name, f := range fingerprints {
		if f == hex.EncodeToString(fingerprint[:]) {
			p, _ := ByName(name)
			return p
		}
	}
	return nil
}

func log2(x float64) float64 { return math.Log2(x) }
