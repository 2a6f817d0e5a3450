package fhe

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"math/big"
	"math/bits"
	"strings"
	"sync"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/fhe/noise"
)

const (
	// DefaultModulus is the prime q = 2^48 - 393215, q ≡ 1 (mod 2^17): just
	// under 2^48 and friendly to negacyclic NTTs of every size to 65536.
	DefaultModulus = 1<<48 - 393215

	// MaxFailureLog2 is the line every parameter set must meet: a bootstrap
	// decodes to the wrong message with probability at most 2^-128.
	MaxFailureLog2 = -128

	// testOnlyPrefix starts the name of every set below the security line.
	testOnlyPrefix = "insecure-test-"
)

// Literal is the public description of a parameter set. NewParameters checks it
// and derives everything else.
type Literal struct {
	Name string

	Modulus        uint64 // q, a prime in (2^47, 2^48), q ≡ 1 (mod 2·PolynomialSize)
	PolynomialSize int    // N, a power of two
	Rank           int    // k, polynomials in a GLWE mask
	LWEDimension   int    // n, dimension of the small key and steps of a blind rotation

	BootstrapGadget noise.Gadget // decomposition of the accumulator, over q
	KeySwitchGadget noise.Gadget // decomposition of the key switch, over 2^32
	// PackingGadget is the decomposition of the key switches that pack ciphertexts
	// at rest, over q. Sets without it cannot pack.
	PackingGadget noise.Gadget

	GLWENoise int // b of TUniform(b), absolute modulo q
	LWENoise  int // b of TUniform(b), absolute modulo 2^32

	// Unroll is how many bits of the small key a step of the blind rotation
	// decides, sharing its transforms between them: 2 or 3, or 0 for one. The
	// bootstrapping key grows by 2^Unroll/Unroll.
	Unroll int
	// BlockSize, when it is not 0, makes the small key block-binary: cut into
	// blocks of 2 or 3 bits of which at most one is set, which a step decides
	// together. Its security rests on more than that of a plain binary key, see
	// Assumption.
	BlockSize int

	MessageBits int // bits of message in a block
	CarryBits   int // bits of carry above them; one bit of padding follows

	// NormSquared is Σ w² of the heaviest linear combination of bootstrap
	// outputs, packed or not, that may enter a bootstrap at MaxFailureLog2.
	NormSquared float64

	// Clear makes all keys zero, so that ciphertexts are plaintexts in the form of
	// ciphertexts. It takes TestOnly.
	Clear bool

	// TestOnly exempts the set from the security line. Its name must start
	// with "insecure-test-".
	TestOnly bool
}

// Parameters is a checked, immutable parameter set.
type Parameters struct {
	lit         Literal
	fingerprint [32]byte
	maxVariance float64
	packedDrop  int // low bits of a residue that are dropped at rest
}

// ParametersError says which field of a Literal cannot be used and why.
type ParametersError struct {
	Name, Field, Reason string
}

func (e *ParametersError) Error() string {
	return fmt.Sprintf("parameters %q: %s: %s", e.Name, e.Field, e.Reason)
}

// Presets, by name. A name is never given to other values: a changed set gets a
// new version.
var presets = []Literal{
	{
		Name:    "tacit-2m2c-v1",
		Modulus: DefaultModulus, PolynomialSize: 2048, Rank: 1, LWEDimension: 862,
		BootstrapGadget: noise.Gadget{BaseLog: 22, Levels: 1},
		KeySwitchGadget: noise.Gadget{BaseLog: 2, Levels: 8},
		PackingGadget:   noise.Gadget{BaseLog: 12, Levels: 3},
		GLWENoise:       3, LWENoise: 14,
		MessageBits: 2, CarryBits: 2, NormSquared: 51,
	},
	{
		Name:    "tacit-bool-v1",
		Modulus: DefaultModulus, PolynomialSize: 512, Rank: 3, LWEDimension: 702,
		BootstrapGadget: noise.Gadget{BaseLog: 17, Levels: 1},
		KeySwitchGadget: noise.Gadget{BaseLog: 3, Levels: 4},
		GLWENoise:       14, LWENoise: 18,
		MessageBits: 1, CarryBits: 0, NormSquared: 8,
	},
	{
		Name:    "tacit-2m2c-unroll3-v1",
		Modulus: DefaultModulus, PolynomialSize: 2048, Rank: 1, LWEDimension: 864, Unroll: 3,
		BootstrapGadget: noise.Gadget{BaseLog: 22, Levels: 1},
		KeySwitchGadget: noise.Gadget{BaseLog: 2, Levels: 8},
		PackingGadget:   noise.Gadget{BaseLog: 12, Levels: 3},
		GLWENoise:       3, LWENoise: 14,
		MessageBits: 2, CarryBits: 2, NormSquared: 34,
	},
	{
		Name:    "tacit-2m2c-block2-v1",
		Modulus: DefaultModulus, PolynomialSize: 2048, Rank: 1, LWEDimension: 862, BlockSize: 2,
		BootstrapGadget: noise.Gadget{BaseLog: 22, Levels: 1},
		KeySwitchGadget: noise.Gadget{BaseLog: 2, Levels: 8},
		PackingGadget:   noise.Gadget{BaseLog: 12, Levels: 3},
		GLWENoise:       3, LWENoise: 14,
		MessageBits: 2, CarryBits: 2, NormSquared: 51,
	},
	{
		Name:    "tacit-2m2c-block3-v1",
		Modulus: DefaultModulus, PolynomialSize: 2048, Rank: 1, LWEDimension: 900, BlockSize: 3,
		BootstrapGadget: noise.Gadget{BaseLog: 22, Levels: 1},
		KeySwitchGadget: noise.Gadget{BaseLog: 3, Levels: 5},
		PackingGadget:   noise.Gadget{BaseLog: 12, Levels: 3},
		GLWENoise:       3, LWENoise: 14,
		MessageBits: 2, CarryBits: 2, NormSquared: 34,
	},
	{
		Name:    "insecure-test-2m2c-v1",
		Modulus: DefaultModulus, PolynomialSize: 512, Rank: 1, LWEDimension: 32,
		BootstrapGadget: noise.Gadget{BaseLog: 22, Levels: 1},
		KeySwitchGadget: noise.Gadget{BaseLog: 2, Levels: 8},
		PackingGadget:   noise.Gadget{BaseLog: 12, Levels: 3},
		GLWENoise:       3, LWENoise: 4,
		MessageBits: 2, CarryBits: 2, NormSquared: 51,
		TestOnly: true,
	},
	{
		Name:    "insecure-test-unroll2-v1",
		Modulus: DefaultModulus, PolynomialSize: 512, Rank: 1, LWEDimension: 32, Unroll: 2,
		BootstrapGadget: noise.Gadget{BaseLog: 22, Levels: 1},
		KeySwitchGadget: noise.Gadget{BaseLog: 2, Levels: 8},
		PackingGadget:   noise.Gadget{BaseLog: 12, Levels: 3},
		GLWENoise:       3, LWENoise: 4,
		MessageBits: 2, CarryBits: 2, NormSquared: 51,
		TestOnly: true,
	},
	{
		Name:    "insecure-test-unroll3-v1",
		Modulus: DefaultModulus, PolynomialSize: 512, Rank: 1, LWEDimension: 33, Unroll: 3,
		BootstrapGadget: noise.Gadget{BaseLog: 22, Levels: 1},
		KeySwitchGadget: noise.Gadget{BaseLog: 2, Levels: 8},
		PackingGadget:   noise.Gadget{BaseLog: 12, Levels: 3},
		GLWENoise:       3, LWENoise: 4,
		MessageBits: 2, CarryBits: 2, NormSquared: 51,
		TestOnly: true,
	},
	{
		Name:    "insecure-test-block3-v1",
		Modulus: DefaultModulus, PolynomialSize: 512, Rank: 1, LWEDimension: 33, BlockSize: 3,
		BootstrapGadget: noise.Gadget{BaseLog: 11, Levels: 2},
		KeySwitchGadget: noise.Gadget{BaseLog: 2, Levels: 8},
		PackingGadget:   noise.Gadget{BaseLog: 12, Levels: 3},
		GLWENoise:       3, LWENoise: 4,
		MessageBits: 2, CarryBits: 2, NormSquared: 51,
		TestOnly: true,
	},
	{
		Name:    MockPreset,
		Modulus: DefaultModulus, PolynomialSize: 256, Rank: 1, LWEDimension: 3, Unroll: 3,
		BootstrapGadget: noise.Gadget{BaseLog: 22, Levels: 1},
		KeySwitchGadget: noise.Gadget{BaseLog: 2, Levels: 8},
		PackingGadget:   noise.Gadget{BaseLog: 12, Levels: 3},
		MessageBits:     2, CarryBits: 2, NormSquared: 34,
		Clear: true, TestOnly: true,
	},
}

// DefaultPreset is the parameter set of encrypted integers: of those with plain
// binary keys the fastest per bootstrap when bootstraps come in batches.
const DefaultPreset = "tacit-2m2c-unroll3-v1"

// TestPreset is the insecure set that tests use where real parameters would
// only cost time.
const TestPreset = "insecure-test-2m2c-v1"

// MockPreset is the Clear set that a service computes with which is a mock.
const MockPreset = "insecure-test-mock-v1"

// PresetNames lists the presets in a fixed order, secure ones first.
func PresetNames() []string {
	names := make([]string, len(presets))
	for i, l := range presets {
		names[i] = l.Name
	}
	return names
}

// checked are the presets, each checked when it is first asked for: that takes as long
// as decoding a small object.
var checked = func() (list []func() (*Parameters, error)) {
	for _, l := range presets {
		list = append(list, sync.OnceValues(func() (*Parameters, error) { return NewParameters(l) }))
	}
	return list
}()

// Preset returns a named parameter set.
func Preset(name string) (*Parameters, error) {
	for i, l := range presets {
		if l.Name == name {
			return checked[i]()
		}
	}
	return nil, &ParametersError{name, "Name", "no such preset; there are " + strings.Join(PresetNames(), ", ")}
}

// PresetByFingerprint returns the preset with the given fingerprint.
func PresetByFingerprint(fp [32]byte) (*Parameters, error) {
	for i := range presets {
		p, err := checked[i]()
		if err != nil {
			return nil, err
		}
		if p.fingerprint == fp {
			return p, nil
		}
	}
	return nil, &ParametersError{hex.EncodeToString(fp[:8]), "Fingerprint", "no preset has this fingerprint"}
}

// NewParameters checks a literal: arithmetic it can run on, the security line
// unless it is TestOnly, and a failure probability of at most MaxFailureLog2
// for a bootstrap of a combination of NormSquared. The error is a
// *ParametersError.
func NewParameters(l Literal) (*Parameters, error) {
	bad := func(field, format string, args ...any) (*Parameters, error) {
		return nil, &ParametersError{l.Name, field, fmt.Sprintf(format, args...)}
	}
	switch {
	case l.Name == "" || len(l.Name) > 64:
		return bad("Name", "must have 1 to 64 bytes")
	case l.TestOnly != strings.HasPrefix(l.Name, testOnlyPrefix):
		return bad("Name", "sets below the security line, and only they, are named %s…", testOnlyPrefix)
	case l.Clear && !l.TestOnly:
		return bad("Clear", "keys of zeros protect nothing")
	case l.PolynomialSize < 256 || l.PolynomialSize > 65536 || l.PolynomialSize&(l.PolynomialSize-1) != 0:
		return bad("PolynomialSize", "%d is not a power of two in [256, 65536]", l.PolynomialSize)
	case l.Modulus <= 1<<47 || l.Modulus >= 1<<48 || l.Modulus%uint64(2*l.PolynomialSize) != 1 ||
		!new(big.Int).SetUint64(l.Modulus).ProbablyPrime(0):
		return bad("Modulus", "%d is not a prime in (2^47, 2^48) that is 1 modulo 2N", l.Modulus)
	case l.Rank < 1 || l.Rank > 16:
		return bad("Rank", "%d is outside [1, 16]", l.Rank)
	case l.LWEDimension < 1 || l.LWEDimension > 4096:
		return bad("LWEDimension", "%d is outside [1, 4096]", l.LWEDimension)
	case l.Unroll != 0 && (l.Unroll < 2 || l.Unroll > 3 || l.LWEDimension%l.Unroll != 0):
		return bad("Unroll", "%d is not 0, 2 or 3, or does not divide the dimension", l.Unroll)
	case l.BlockSize != 0 && (l.BlockSize < 2 || l.BlockSize > 3 || l.LWEDimension%l.BlockSize != 0 || l.Unroll != 0):
		return bad("BlockSize", "%d is not 0, 2 or 3, or does not divide the dimension, or comes with Unroll", l.BlockSize)
	case !gadgetFits(l.BootstrapGadget, 48):
		return bad("BootstrapGadget", "2^%d × %d does not fit in 48 bits", l.BootstrapGadget.BaseLog, l.BootstrapGadget.Levels)
	case !gadgetFits(l.KeySwitchGadget, 32):
		return bad("KeySwitchGadget", "2^%d × %d does not fit in 32 bits", l.KeySwitchGadget.BaseLog, l.KeySwitchGadget.Levels)
	case l.PackingGadget != noise.Gadget{} && !gadgetFits(l.PackingGadget, 48):
		return bad("PackingGadget", "2^%d × %d does not fit in 48 bits", l.PackingGadget.BaseLog, l.PackingGadget.Levels)
	case l.GLWENoise < 0 || l.GLWENoise > 40:
		return bad("GLWENoise", "%d is outside [0, 40]", l.GLWENoise)
	case l.LWENoise < 0 || l.LWENoise > 28:
		return bad("LWENoise", "%d is outside [0, 28]", l.LWENoise)
	case l.MessageBits < 1 || l.CarryBits < 0 || l.MessageBits+l.CarryBits > 8 || 2<<(l.MessageBits+l.CarryBits) > l.PolynomialSize:
		return bad("MessageBits", "%d+%d bits do not fit a polynomial of size %d", l.MessageBits, l.CarryBits, l.PolynomialSize)
	case !(l.NormSquared >= 1 && l.NormSquared <= 1<<20):
		return bad("NormSquared", "%v is outside [1, 2^20]", l.NormSquared)
	}
	p := &Parameters{lit: l}
	if !l.TestOnly {
		if got, line := p.lweSecurity(); got < line {
			return bad("LWENoise", "2^%.3f relative to 2^32 is below the 132-bit line 2^%.3f at dimension %d", got, line, l.LWEDimension)
		}
		if got, line := p.glweSecurity(); got < line {
			return bad("GLWENoise", "2^%.3f relative to q is below the 132-bit line 2^%.3f at dimension %d", got, line, p.BigDimension())
		}
	}
	if pf := p.FailureProbability(l.NormSquared * p.BootstrapVariance()); pf > MaxFailureLog2 {
		return bad("NormSquared", "a bootstrap would fail with probability 2^%.2f, over 2^%d", pf, MaxFailureLog2)
	}
	if p.Packs() {
		p.packedDrop = p.findPackedDrop()
		if pf := p.FailureProbability(l.NormSquared * p.PackedBound(noise.Bound{Variance: p.BootstrapVariance()}).Variance); pf > MaxFailureLog2 {
			return bad("PackingGadget", "a bootstrap of packed ciphertexts would fail with probability 2^%.2f, over 2^%d", pf, MaxFailureLog2)
		}
	}
	p.maxVariance = p.findMaxVariance()
	p.fingerprint = sha256.Sum256(l.canonical())
	return p, nil
}

func gadgetFits(g noise.Gadget, bits int) bool {
	return g.BaseLog >= 1 && g.Levels >= 1 && g.BaseLog <= bits && g.Levels <= bits && g.BaseLog*g.Levels <= bits
}

// securityLine is log2 of the least relative standard deviation at which an LWE
// of the given dimension with a binary secret has 132 bits of security against
// the attacks of the lattice estimator (cost model MATZOV):
// sqrt(2^(5.31469 - 0.0497829·n) + 2^4/q²).
func securityLine(dimension int, logq float64) float64 {
	return math.Log2(math.Exp2(5.31469-0.0497829*float64(dimension))+math.Exp2(4-2*logq)) / 2
}

func log2RelativeStd(bound int, logq float64) float64 {
	return math.Log2(noise.TUniform(bound))/2 - logq
}

// lweSecurity is log2 of the relative standard deviation of the small key's
// errors, and the security line at its dimension. For block-binary keys of 2 the
// lattice estimator, told of a key of n/3 ones, finds at least 130 bits on the
// line; for blocks of 3 it takes 0.8 bits of noise above the line to keep every
// attack at 128 bits or more.
func (p *Parameters) lweSecurity() (got, line float64) {
	line = securityLine(p.lit.LWEDimension, 32)
	if p.lit.BlockSize == 3 {
		line += 0.8
	}
	return log2RelativeStd(p.lit.LWENoise, 32), line
}

// Assumption says in words what the security of the set rests on.
func (p *Parameters) Assumption() string {
	switch {
	case p.lit.Clear:
		return "NONE: the keys are zeros"
	case p.lit.TestOnly:
		return "INSECURE, for tests only"
	case p.lit.BlockSize > 0:
		return fmt.Sprintf("128 bits: LWE with a block-binary key (blocks of %d, estimated as a sparse binary key of n/%d ones), module-LWE with a binary key", p.lit.BlockSize, p.lit.BlockSize+1)
	}
	return "132 bits: LWE and module-LWE with uniform binary keys"
}

// glweSecurity is lweSecurity for the GLWE key.
func (p *Parameters) glweSecurity() (got, line float64) {
	logq := math.Log2(p.q())
	return log2RelativeStd(p.lit.GLWENoise, logq), securityLine(p.BigDimension(), logq)
}

// SecurityMargins is how far the standard deviations of the errors in the small
// and in the GLWE key lie above the 132-bit line, in bits. Only test sets have
// negative ones.
func (p *Parameters) SecurityMargins() (lwe, glwe float64) {
	got, line := p.lweSecurity()
	lwe = got - line
	got, line = p.glweSecurity()
	return lwe, got - line
}

// canonical is the encoding that the fingerprint is taken of.
func (l Literal) canonical() []byte {
	var b bytes.Buffer
	b.WriteString("tacit parameters 1\x00" + l.Name + "\x00")
	for _, v := range []uint64{
		l.Modulus, uint64(l.PolynomialSize), uint64(l.Rank), uint64(l.LWEDimension),
		uint64(l.BootstrapGadget.BaseLog), uint64(l.BootstrapGadget.Levels),
		uint64(l.KeySwitchGadget.BaseLog), uint64(l.KeySwitchGadget.Levels),
		uint64(l.GLWENoise), uint64(l.LWENoise), uint64(l.MessageBits), uint64(l.CarryBits),
		math.Float64bits(l.NormSquared),
	} {
		b.Write(binary.LittleEndian.AppendUint64(nil, v))
	}
	// Fields that came later do not change the encoding of sets without them.
	if l.Unroll != 0 || l.BlockSize != 0 {
		b.WriteString("rotation\x00")
		b.Write(binary.LittleEndian.AppendUint64(nil, uint64(l.Unroll)))
		b.Write(binary.LittleEndian.AppendUint64(nil, uint64(l.BlockSize)))
	}
	if l.Clear {
		b.WriteString("clear\x00")
	}
	if p := l.PackingGadget; p.Levels != 0 {
		b.WriteString("packing\x00")
		b.Write(binary.LittleEndian.AppendUint64(nil, uint64(p.BaseLog)))
		b.Write(binary.LittleEndian.AppendUint64(nil, uint64(p.Levels)))
	}
	return b.Bytes()
}

// Literal returns the description the set was made from.
func (p *Parameters) Literal() Literal { return p.lit }

// Name returns the name of the set.
func (p *Parameters) Name() string { return p.lit.Name }

// Fingerprint identifies the set in every file and message.
func (p *Parameters) Fingerprint() [32]byte { return p.fingerprint }

// Modulus returns q.
func (p *Parameters) Modulus() uint64 { return p.lit.Modulus }

// BigDimension is k·N, the dimension of the ciphertexts that integers are made
// of.
func (p *Parameters) BigDimension() int { return p.lit.Rank * p.lit.PolynomialSize }

// Boxes is the number of messages on half the torus, 2^(MessageBits+CarryBits):
// messages lie in [-Boxes, Boxes) and look-up tables continue negacyclically,
// f(m + Boxes) = -f(m).
func (p *Parameters) Boxes() int { return 1 << (p.lit.MessageBits + p.lit.CarryBits) }

// MessageMax is the largest message of a block without carry,
// 2^MessageBits - 1.
func (p *Parameters) MessageMax() int64 { return 1<<p.lit.MessageBits - 1 }

// Encode returns round(m·q/(2·Boxes)) mod q for any m. It takes no branch and
// no division, so that it may be used on secret messages.
func (p *Parameters) Encode(m int64) uint64 {
	log := p.lit.MessageBits + p.lit.CarryBits + 1
	// The message is below 2^log <= 2^16 and q < 2^48, so the product fits, and
	// the quotient stays below q.
	return (uint64(m)&(1<<log-1)*p.lit.Modulus + 1<<log/2) >> log
}

// Decode returns the message nearest to a phase, in [-Boxes, Boxes). It takes
// no branch and no division that depends on the phase.
func (p *Parameters) Decode(phase uint64) int64 {
	log := p.lit.MessageBits + p.lit.CarryBits + 1
	x := phase<<log + p.lit.Modulus/2
	// floor(x/q), at most 2^log, by counting the multiples of q up to x.
	var m uint64
	for j := uint64(1); j <= 1<<log; j++ {
		_, below := bits.Sub64(x, j*p.lit.Modulus, 0)
		m += 1 - below
	}
	return int64(m<<(64-log)) >> (64 - log)
}

func (p *Parameters) q() float64 { return float64(p.lit.Modulus) }

// glweVariance is the relative variance of an error in the GLWE keys.
func (p *Parameters) glweVariance() float64 {
	return float64(noise.TUniform(p.lit.GLWENoise) / float64(p.q()*p.q()))
}

// FreshVariance is the relative variance of a ciphertext made with the secret
// key.
func (p *Parameters) FreshVariance() float64 { return p.glweVariance() }

// PublicVariance is the relative variance of a ciphertext made with the public
// key, the rounding to PackedBits included.
func (p *Parameters) PublicVariance() float64 {
	return noise.PublicKeyEncryption(p.BigDimension(), p.glweVariance()) + p.RoundingVariance()
}

func (p *Parameters) rotationNoise() noise.Rotation {
	l := p.lit
	switch {
	case l.Unroll > 0:
		return noise.Unrolled(l.LWEDimension, l.Unroll)
	case l.BlockSize > 0:
		return noise.BlockBinary(l.LWEDimension, l.BlockSize)
	}
	return noise.Classic(l.LWEDimension)
}

// Rotation is the shape of the blind rotation, for an accel.Backend.
func (p *Parameters) Rotation() accel.RotatorSpec {
	l := p.lit
	spec := accel.RotatorSpec{
		N: l.PolynomialSize, Rank: l.Rank, Q: l.Modulus,
		BaseLog: l.BootstrapGadget.BaseLog, Levels: l.BootstrapGadget.Levels, Steps: l.LWEDimension,
	}
	switch {
	case l.Unroll > 0:
		spec.Mode, spec.Terms, spec.Steps = accel.Unrolled, 1<<l.Unroll-1, l.LWEDimension/l.Unroll
	case l.BlockSize > 0:
		spec.Mode, spec.Terms, spec.Steps = accel.Block, l.BlockSize, l.LWEDimension/l.BlockSize
	}
	return spec
}

// KeySwitch is the shape of the key switch, for an accel.Backend.
func (p *Parameters) KeySwitch() accel.KeySwitchSpec {
	l := p.lit
	return accel.KeySwitchSpec{
		NIn: p.BigDimension(), NOut: l.LWEDimension, Q: l.Modulus,
		BaseLog: l.KeySwitchGadget.BaseLog, Levels: l.KeySwitchGadget.Levels,
	}
}

// BootstrapVariance is the relative variance of the output of a PBS.
func (p *Parameters) BootstrapVariance() float64 {
	l := p.lit
	return noise.BlindRotation(p.rotationNoise(), l.Rank, l.PolynomialSize, l.BootstrapGadget, p.glweVariance(), p.q())
}

// KeySwitchVariance is the relative variance that a key switch adds.
func (p *Parameters) KeySwitchVariance() float64 {
	l := p.lit
	lwe := float64(noise.TUniform(l.LWENoise) * math.Ldexp(1, -64))
	return noise.KeySwitch(p.BigDimension(), l.KeySwitchGadget, lwe, p.q(), math.Ldexp(1, 32))
}

// ModSwitchVariance is the relative variance that the centred switch to 2N adds.
func (p *Parameters) ModSwitchVariance() float64 {
	return noise.ModSwitch(p.rotationNoise(), float64(2*p.lit.PolynomialSize))
}

// FailureProbability is log2 of the probability that the bootstrap of a
// ciphertext with the given relative variance decodes to the wrong message: the
// error after key switch and modulus switch leaves half a box, 1/(4·Boxes) of
// the torus.
func (p *Parameters) FailureProbability(variance float64) float64 {
	return noise.Log2Failure(1/float64(4*p.Boxes()), variance+p.KeySwitchVariance()+p.ModSwitchVariance())
}

// MaxVariance is the largest relative variance that may enter a bootstrap.
func (p *Parameters) MaxVariance() float64 { return p.maxVariance }

func (p *Parameters) findMaxVariance() float64 {
	return largestVariance(p.FailureProbability)
}

// largestVariance is the largest one at which a failure probability stays within
// MaxFailureLog2.
func largestVariance(failure func(variance float64) float64) float64 {
	lo, hi := 0.0, 1.0
	for range 200 {
		mid := (lo + hi) / 2
		if failure(mid) <= MaxFailureLog2 {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}

// Packs says whether the set has keys to pack ciphertexts at rest.
func (p *Parameters) Packs() bool { return p.lit.PackingGadget.Levels > 0 }

// packedShare bounds the variance of the rounding of ciphertexts at rest, as a share
// of that of a bootstrap output.
const packedShare = 1.0 / 64

// findPackedDrop is the largest number of low bits whose rounding stays within
// packedShare, and at most 32.
func (p *Parameters) findPackedDrop() int {
	drop := 0
	for drop < 32 && noise.PackedRounding(p.BigDimension(), drop+1, p.q()) <= packedShare*p.BootstrapVariance() {
		drop++
	}
	return drop
}

// PackedBits is how many bits of a residue are kept at rest: of packed ciphertexts and of
// those made with the public key.
func (p *Parameters) PackedBits() int { return 48 - p.packedDrop }

// PackingVariance is the relative variance that packing adds, without the rounding
// to PackedBits.
func (p *Parameters) PackingVariance() float64 {
	l := p.lit
	return noise.Packing(l.Rank, l.PolynomialSize, l.PackingGadget, p.glweVariance(), p.q())
}

// RoundingVariance is the relative variance that the rounding to PackedBits adds.
func (p *Parameters) RoundingVariance() float64 {
	if p.packedDrop == 0 {
		return 0
	}
	return noise.PackedRounding(p.BigDimension(), p.packedDrop, p.q())
}

// PackedBound is the bound of a packed ciphertext that had the bound b before. Its
// error is that of before and an independent one, so that its source stays.
func (p *Parameters) PackedBound(b noise.Bound) noise.Bound {
	b.Variance += float64(p.PackingVariance() + p.RoundingVariance())
	return b
}

// CheckInput says whether a ciphertext with the given bound may enter a
// bootstrap that is defined on messages of [lo, hi]. The error is a
// *noise.NoiseError or a *noise.MessageError.
func (p *Parameters) CheckInput(b noise.Bound, lo, hi int64) error {
	if !(b.Variance <= p.maxVariance) {
		return &noise.NoiseError{Got: b.Variance, Max: p.maxVariance}
	}
	if b.Min < lo || b.Max > hi {
		return &noise.MessageError{GotMin: b.Min, GotMax: b.Max, Min: lo, Max: hi}
	}
	return nil
}
