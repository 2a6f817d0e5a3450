package leveled

import (
	"fmt"
	"math"
	"math/big"
	"sync"

	"github.com/tuneinsight/lattigo/v5/core/rlwe"
	"github.com/tuneinsight/lattigo/v5/he/hefloat"
	"github.com/tuneinsight/lattigo/v5/ring"
	"github.com/tuneinsight/lattigo/v5/schemes/bgv"
)

// A Ciphertext is an encrypted vector. It is immutable.
type Ciphertext struct {
	params *Parameters
	id     KeyID
	noise  Noise
	length int
	origin uint8           // how it was made, as in its container
	seed   *[SeedSize]byte // of the second polynomial, of an encryption with the secret key
	ct     *rlwe.Ciphertext
}

// Parameters returns the parameter set of the ciphertext.
func (c *Ciphertext) Parameters() *Parameters { return c.params }

// KeyID returns the id of the keys that the ciphertext was made under.
func (c *Ciphertext) KeyID() KeyID { return c.id }

// Noise returns the public account of the ciphertext's error.
func (c *Ciphertext) Noise() Noise { return c.noise }

// Level returns how often the ciphertext can still be rescaled.
func (c *Ciphertext) Level() int { return c.noise.Level }

// Length returns how many slots hold values of the vector, from the first on. Operations give their
// result the greater length of their inputs; what a rotation moves past the end is not
// lost and can be read with a greater length, see [Ciphertext.Resize].
func (c *Ciphertext) Length() int { return c.length }

// Resize returns the same ciphertext with another number of slots that count as values, in
// [1, Slots].
func (c *Ciphertext) Resize(length int) (*Ciphertext, error) {
	if err := c.params.checkLength(length); err != nil {
		return nil, err
	}
	d := *c
	d.length = length
	return &d, nil
}

func (p *Parameters) checkLength(length int) error {
	if length < 1 || length > p.Slots() {
		return &ValueError{"length", fmt.Sprintf("%d values, want 1 to %d", length, p.Slots())}
	}
	return nil
}

// wrap returns a ciphertext of lattigo with what is known of it. The scale that lattigo has computed
// is replaced by the one that Noise tracks, which is the same up to the rounding of a float64.
func (p *Parameters) wrap(ct *rlwe.Ciphertext, id KeyID, n Noise, length int) *Ciphertext {
	ct.Scale = p.scale(n.Scale)
	return &Ciphertext{params: p, id: id, noise: n, length: length, ct: ct}
}

func (p *Parameters) scale(s float64) rlwe.Scale {
	if p.lit.Scheme == CKKS {
		return rlwe.NewScale(s)
	}
	return rlwe.NewScaleModT(uint64(s), p.lit.PlaintextModulus)
}

// metadata describes a ciphertext or plaintext of the set to lattigo.
func (p *Parameters) metadata(scale float64) *rlwe.MetaData {
	dims := ring.Dimensions{Rows: 0, Cols: p.lit.LogN - 1}
	if p.lit.Scheme.Integers() {
		dims.Rows = 1
	} else if p.lit.Bootstrap != nil {
		dims.Cols = p.lit.Bootstrap.LogSlots
	}
	return &rlwe.MetaData{
		PlaintextMetaData:  rlwe.PlaintextMetaData{Scale: p.scale(scale), LogDimensions: dims, IsBatched: true},
		CiphertextMetaData: rlwe.CiphertextMetaData{IsNTT: true},
	}
}

// An encoder maps vectors to polynomials and back. It has buffers and serves one
// caller at a time.
type encoder struct {
	params *Parameters
	bgv    *bgv.Encoder
	ckks   *hefloat.Encoder
}

func newEncoder(p *Parameters) *encoder {
	e := &encoder{params: p}
	if p.lit.Scheme.Integers() {
		e.bgv = bgv.NewEncoder(p.bgv)
	} else {
		e.ckks = hefloat.NewEncoder(p.ckks)
	}
	return e
}

// encode puts all slots (integers in [0, t), or reals) into a new plaintext at a level of the chain.
func (e *encoder) encode(ints []uint64, reals []float64, level int, scale float64) (*rlwe.Plaintext, error) {
	pt := rlwe.NewPlaintext(e.params.rlwe, level)
	pt.MetaData = e.params.metadata(scale)
	if e.bgv != nil {
		return pt, e.bgv.Encode(ints, pt)
	}
	return pt, e.ckks.Encode(reals, pt)
}

// factor encodes integers in [0, t) as the polynomial to multiply by, in the evaluation domain and
// Montgomery form. Its coefficients are centred, unlike those of lattigo's own plaintext products, which saves a bit of
// error and keeps the error free of sums of many coefficients.
func (e *encoder) factor(ints []uint64, level int) (ring.Poly, error) {
	small := e.params.bgv.RingT().NewPoly()
	if err := e.bgv.EncodeRingT(ints, rlwe.NewScaleModT(1, e.params.lit.PlaintextModulus), small); err != nil {
		return ring.Poly{}, err
	}
	ringQ := e.params.rlwe.RingQ().AtLevel(level)
	out, t := ringQ.NewPoly(), e.params.lit.PlaintextModulus
	for j, s := range ringQ.SubRings[:level+1] {
		lift := s.Modulus - t // t is below every prime
		for i, c := range small.Coeffs[0] {
			if c > t/2 {
				c += lift
			}
			out.Coeffs[j][i] = c
		}
	}
	ringQ.NTT(out, out)
	ringQ.MForm(out, out)
	return out, nil
}

// slotsOf checks a vector of integers and returns it modulo t, filled up with zeros.
func (p *Parameters) slotsOf(values []int64) ([]uint64, error) {
	if !p.lit.Scheme.Integers() {
		return nil, &SchemeError{"integers", p.lit.Scheme}
	}
	if err := p.checkLength(len(values)); err != nil {
		return nil, err
	}
	t := int64(p.lit.PlaintextModulus)
	slots := make([]uint64, p.Slots())
	for i, v := range values {
		if v <= -t || v >= t {
			return nil, &ValueError{fmt.Sprintf("values[%d]", i), fmt.Sprintf("%d is not between %d and %d", v, 1-t, t-1)}
		}
		slots[i] = uint64(v + t&(v>>63))
	}
	return slots, nil
}

// slotsOfReals checks a vector of reals of absolute value at most bound and fills it up with zeros.
func (p *Parameters) slotsOfReals(values []float64, bound float64) ([]float64, error) {
	if p.lit.Scheme != CKKS {
		return nil, &SchemeError{"reals", p.lit.Scheme}
	}
	if err := p.checkLength(len(values)); err != nil {
		return nil, err
	}
	for i, v := range values {
		if !(math.Abs(v) <= bound) { // NaN is refused
			return nil, &ValueError{fmt.Sprintf("values[%d]", i), fmt.Sprintf("%v is not between -%v and %v", v, bound, bound)}
		}
	}
	slots := make([]float64, p.Slots())
	copy(slots, values)
	return slots, nil
}

// An Encryptor encrypts vectors, with the public or the secret key. It is safe for
// concurrent use, one encryption at a time.
type Encryptor struct {
	params *Parameters
	id     KeyID
	public bool

	mu      sync.Mutex
	encoder *encoder
	enc     *rlwe.Encryptor
}

// NewEncryptor encrypts with the secret key: less noise, and half the size when written.
func NewEncryptor(sk *SecretKey) *Encryptor {
	return &Encryptor{params: sk.params, id: sk.id, encoder: newEncoder(sk.params), enc: rlwe.NewEncryptor(sk.params.rlwe, sk.key)}
}

// NewPublicEncryptor encrypts with the public key.
func NewPublicEncryptor(pk *PublicKey) *Encryptor {
	return &Encryptor{params: pk.params, id: pk.id, public: true, encoder: newEncoder(pk.params), enc: rlwe.NewEncryptor(pk.params.rlwe, pk.key)}
}

// Integers encrypts 1 to Slots integers of absolute value below t, for BGV and BFV; the other slots are
// 0.
func (e *Encryptor) Integers(values []int64) (*Ciphertext, error) {
	slots, err := e.params.slotsOf(values)
	if err != nil {
		return nil, err
	}
	return e.encrypt(slots, nil, len(values), 0)
}

// Reals encrypts 1 to Slots numbers of absolute value at most 1, for CKKS; the other slots are 0.
func (e *Encryptor) Reals(values []float64) (*Ciphertext, error) { return e.BoundedReals(values, 0) }

// BoundedReals encrypts numbers of absolute value at most 2^logBound, logBound in [0, MaxLogBound].
// The bound is public: choose it by what the values may be, not by what they are.
func (e *Encryptor) BoundedReals(values []float64, logBound int) (*Ciphertext, error) {
	slots, err := e.params.slotsOfReals(values, math.Exp2(float64(logBound)))
	if err != nil {
		return nil, err
	}
	return e.encrypt(nil, slots, len(values), logBound)
}

func (e *Encryptor) encrypt(ints []uint64, reals []float64, length, logBound int) (*Ciphertext, error) {
	p := e.params
	n, err := p.FreshNoise(e.public, logBound)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	pt, err := e.encoder.encode(ints, reals, p.topLevel(), n.Scale)
	if err != nil {
		return nil, fmt.Errorf("leveled: encode: %w", err)
	}
	enc := e.enc
	var seed *[SeedSize]byte
	if !e.public {
		s := newSeed()
		seed, enc = &s, enc.WithPRNG(expand(s))
	}
	ct := rlwe.NewCiphertext(p.rlwe, 1, p.topLevel())
	if err := enc.Encrypt(pt, ct); err != nil {
		return nil, fmt.Errorf("leveled: encrypt: %w", err)
	}
	c := p.wrap(ct, e.id, n, length)
	c.seed, c.origin = seed, originSecret
	if e.public {
		c.origin = originPublic
	}
	return c, nil
}

// A Decryptor decrypts and measures. It is safe for concurrent use, one decryption at a
// time.
type Decryptor struct {
	params *Parameters
	id     KeyID

	mu      sync.Mutex
	encoder *encoder
	dec     *rlwe.Decryptor
}

// NewDecryptor returns a decryptor with the secret key.
func NewDecryptor(sk *SecretKey) *Decryptor {
	return &Decryptor{params: sk.params, id: sk.id, encoder: newEncoder(sk.params), dec: rlwe.NewDecryptor(sk.params.rlwe, sk.key)}
}

func (d *Decryptor) check(c *Ciphertext) error {
	if c.params != d.params {
		return &MismatchError{"parameters", c.params.String(), d.params.String()}
	}
	if c.id != d.id {
		return &MismatchError{"key", c.id.String(), d.id.String()}
	}
	return nil
}

// Integers decrypts a BGV or BFV vector to values in (-t/2, t/2], as many as the ciphertext's length.
func (d *Decryptor) Integers(c *Ciphertext) ([]int64, error) {
	if !d.params.lit.Scheme.Integers() {
		return nil, &SchemeError{"integers", d.params.lit.Scheme}
	}
	if err := d.check(c); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	slots := make([]uint64, d.params.Slots())
	if err := d.encoder.bgv.Decode(d.dec.DecryptNew(c.ct), slots); err != nil {
		return nil, fmt.Errorf("leveled: decode: %w", err)
	}
	t := d.params.lit.PlaintextModulus
	out := make([]int64, c.length)
	for i := range out {
		out[i] = int64(slots[i])
		if slots[i] > t/2 {
			out[i] -= int64(t)
		}
	}
	return out, nil
}

// Reals decrypts a CKKS vector, as many values as the ciphertext's length. See the package
// comment on who may see them.
func (d *Decryptor) Reals(c *Ciphertext) ([]float64, error) {
	if d.params.lit.Scheme != CKKS {
		return nil, &SchemeError{"reals", d.params.lit.Scheme}
	}
	if err := d.check(c); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	slots := make([]float64, d.params.Slots())
	if err := d.encoder.ckks.Decode(d.dec.DecryptNew(c.ct), slots); err != nil {
		return nil, fmt.Errorf("leveled: decode: %w", err)
	}
	return slots[:c.length], nil
}

// MeasureIntegers returns log2 of the standard deviation of the error that is in a BGV or BFV ciphertext, to be
// compared with Noise.LogSigma. The error tells about the secret key: show it to nobody else.
func (d *Decryptor) MeasureIntegers(c *Ciphertext) (logSigma float64, err error) {
	if !d.params.lit.Scheme.Integers() {
		return 0, &SchemeError{"integers", d.params.lit.Scheme}
	}
	if err := d.check(c); err != nil {
		return 0, err
	}
	coeffs, _ := d.phase(c, nil)
	t := new(big.Int).SetUint64(d.params.lit.PlaintextModulus)
	q := d.params.rlwe.RingQ().ModulusAtLevel[c.ct.Level()]
	half, v := new(big.Int).Rsh(q, 1), new(big.Int)
	halfT := new(big.Int).Rsh(t, 1)
	sum := 0.0
	for _, x := range coeffs {
		v.Mul(x, t)
		v.Mod(v, q)
		if v.Cmp(half) > 0 {
			v.Sub(v, q)
		}
		// Round v/t: the difference is the message.
		v.Add(v, halfT)
		v.Div(v, t)
		f, _ := new(big.Float).SetInt(v).Float64()
		sum += f * f
	}
	return 0.5 * log2(sum/float64(len(coeffs))), nil
}

// MeasureReals returns log2 of the standard deviation of the error that is in a CKKS ciphertext of
// known values, to be compared with Noise.LogSigma. The error tells about the secret key: show it to nobody else.
func (d *Decryptor) MeasureReals(c *Ciphertext, values []float64) (logSigma float64, err error) {
	slots, err := d.params.slotsOfReals(values, math.MaxFloat64)
	if err != nil {
		return 0, err
	}
	if err := d.check(c); err != nil {
		return 0, err
	}
	coeffs, err := d.phase(c, slots)
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for _, x := range coeffs {
		f, _ := new(big.Float).SetInt(x).Float64()
		sum += f * f
	}
	return 0.5 * log2(sum/float64(len(coeffs))), nil
}

// phase returns the coefficients of c0 + c1·s, less the encoding of values if there are any, centred.
func (d *Decryptor) phase(c *Ciphertext, values []float64) ([]*big.Int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	pt := d.dec.DecryptNew(c.ct)
	ringQ := d.params.rlwe.RingQ().AtLevel(c.ct.Level())
	if values != nil {
		want, err := d.encoder.encode(nil, values, c.ct.Level(), c.noise.Scale)
		if err != nil {
			return nil, fmt.Errorf("leveled: encode: %w", err)
		}
		ringQ.Sub(pt.Value, want.Value, pt.Value)
	}
	ringQ.INTT(pt.Value, pt.Value)
	coeffs := make([]*big.Int, d.params.N())
	for i := range coeffs {
		coeffs[i] = new(big.Int)
	}
	ringQ.PolyToBigintCentered(pt.Value, 1, coeffs)
	return coeffs, nil
}
