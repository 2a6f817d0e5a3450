package leveled

import (
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"math"
	"math/bits"
	"slices"

	"github.com/tuneinsight/lattigo/v5/core/rlwe"
	"github.com/tuneinsight/lattigo/v5/ring"
	"github.com/tuneinsight/lattigo/v5/ring/ringqp"

	"github.com/tacit-fhe/tacit/fhe/codec"
)

// Bodies of the containers, all integers little endian. A row is N residues modulo one prime,
// each in as many bytes as the prime has; a polynomial is its rows in the order of the primes,
// ciphertext primes first. Uniform polynomials are not written: they follow from seeds.
//
//	LeveledSecretKey      key id 32, seed 32
//	LeveledPublicKey      key id 32, seed 32, polynomial
//	LeveledEvaluationKey  flags u8 (1 swap rows, 2 bootstrapping), number of rotations u16, each u32;
//	                      then for each part that follows from those: seed 32, a polynomial for each digit
//	LeveledMigrationKey   old key id 32, new key id 32, seed 32, a polynomial for each digit
//	LeveledCiphertexts    key id 32, number of ciphertexts u16; then for each: origin u8, length u32;
//	                      fresh: log2 of the bound u8
//	                      computed: level u8, log2 sigma f64, log2 bound f64, scale f64
//	                      and: with the secret key: seed 32, polynomial; else two polynomials
const (
	flagSwapRows      = 1
	flagBootstrapping = 2

	originComputed = 0
	originPublic   = 1
	originSecret   = 2
)

// MaxCiphertexts is the greatest number of ciphertexts in one container.
const MaxCiphertexts = 1 << 12

// maxEvaluationKey bounds the body of an evaluation key before its parameters are known, in bytes.
const maxEvaluationKey = 1 << 35

// width is how many bytes a residue takes.
func width(q uint64) int { return (bits.Len64(q-1) + 7) / 8 }

// rowBytes is the size of one polynomial with the given levels.
func (p *Parameters) polyBytes(levelQ, levelP int) int64 {
	total := 0
	for _, q := range p.rlwe.Q()[:levelQ+1] {
		total += width(q)
	}
	for _, q := range p.rlwe.P()[:levelP+1] {
		total += width(q)
	}
	return int64(total) * int64(p.N())
}

// writeRows writes rows of residues. A residue that is not below its prime is a
// *codec.ResidueError: nothing that a reader would refuse is written.
func writeRows(w io.Writer, rows [][]uint64, primes []uint64) error {
	var buf []byte
	for j, row := range rows {
		q, n := primes[j], width(primes[j])
		buf = buf[:0]
		for i, x := range row {
			if x >= q {
				return &codec.ResidueError{Place: fmt.Sprintf("row %d", j), Index: i, Value: x, Modulus: q}
			}
			for range n {
				buf = append(buf, byte(x))
				x >>= 8
			}
		}
		if _, err := w.Write(buf); err != nil {
			return err
		}
	}
	return nil
}

// readRows fills rows of residues and refuses those that are not below their prime.
func readRows(d *codec.Decoder, what string, rows [][]uint64, primes []uint64) {
	for j, row := range rows {
		q, n := primes[j], width(primes[j])
		buf := d.Bytes(what, n*len(row))
		if d.Err() != nil {
			return
		}
		for i := range row {
			x := uint64(0)
			for k := n - 1; k >= 0; k-- {
				x = x<<8 | uint64(buf[i*n+k])
			}
			if x >= q {
				d.Fail(what, &codec.ResidueError{Place: fmt.Sprintf("row %d", j), Index: i, Value: x, Modulus: q})
				return
			}
			row[i] = x
		}
	}
}

func (p *Parameters) writeQP(w io.Writer, poly ringqp.Poly) error {
	if err := writeRows(w, poly.Q.Coeffs, p.rlwe.Q()); err != nil {
		return err
	}
	return writeRows(w, poly.P.Coeffs, p.rlwe.P())
}

func (p *Parameters) readQP(d *codec.Decoder, what string, poly ringqp.Poly) {
	readRows(d, what, poly.Q.Coeffs, p.rlwe.Q())
	readRows(d, what, poly.P.Coeffs, p.rlwe.P())
}

// open checks a container of one kind and of a named parameter set, of p if it is not nil. limit
// is that of the body for a parameter set.
func open(data []byte, kind codec.Kind, p *Parameters, limit func(p *Parameters) int64) (*Parameters, *codec.Decoder, error) {
	want := codec.Want{Kind: kind, Limit: uint64(len(data))}
	if p != nil {
		want.Fingerprint = &p.fingerprint
		want.Limit = uint64(limit(p))
	}
	body, _, err := codec.Decode(data, want)
	if err != nil {
		return nil, nil, err
	}
	if p == nil {
		if p, err = named([32]byte(data[8:40])); err != nil {
			return nil, nil, err
		}
		if most := limit(p); int64(len(body)) > most {
			return nil, nil, &codec.LimitError{What: "body", Got: uint64(len(body)), Max: uint64(most)}
		}
	}
	return p, codec.NewBytesDecoder(body), nil
}

// openStream does for a container that is read from a stream what open does, with a limit of its body for any
// parameter set.
func openStream(r io.Reader, kind codec.Kind, p *Parameters, limit uint64) (*Parameters, *codec.Reader, error) {
	want := codec.Want{Kind: kind, Limit: limit}
	if p != nil {
		want.Fingerprint = &p.fingerprint
	}
	c, err := codec.NewReader(r, want)
	if err != nil {
		return nil, nil, err
	}
	if p == nil {
		if p, err = named(c.Header().Fingerprint); err != nil {
			return nil, nil, err
		}
	}
	return p, c, nil
}

// checkLengthOf refuses a container whose body has another length than need, before memory is taken for it.
func checkLengthOf(c *codec.Reader, what string, need int64) error {
	switch length := c.Header().Length; {
	case length < uint64(need):
		return &codec.TruncatedError{Place: what, Need: uint64(need), Have: length}
	case length > uint64(need):
		return &codec.LimitError{What: what, Got: length, Max: uint64(need)}
	}
	return nil
}

func named(fingerprint [32]byte) (*Parameters, error) {
	if p := ByFingerprint(fingerprint); p != nil {
		return p, nil
	}
	return nil, &UnknownError{fmt.Sprintf("%x", fingerprint[:8]), Names()}
}

// MarshalBinary returns the container of the secret key.
func (sk *SecretKey) MarshalBinary() ([]byte, error) {
	body := append(append([]byte(nil), sk.id[:]...), sk.seed[:]...)
	return codec.Encode(codec.LeveledSecretKey, sk.params.fingerprint, body), nil
}

// UnmarshalSecretKey reads the container of a secret key of p, or of any named set if p is nil.
func UnmarshalSecretKey(data []byte, p *Parameters) (*SecretKey, error) {
	p, d, err := open(data, codec.LeveledSecretKey, p, func(*Parameters) int64 { return 32 + SeedSize })
	if err != nil {
		return nil, err
	}
	var id KeyID
	var seed [SeedSize]byte
	copy(id[:], d.Bytes("key id", len(id)))
	copy(seed[:], d.Bytes("seed", SeedSize))
	if err := d.Finish(); err != nil {
		return nil, err
	}
	return newSecretKey(p, seed, id), nil
}

// PublicKeySize is the number of bytes in the container of a public key.
func (p *Parameters) PublicKeySize() int64 {
	return codec.Overhead + 32 + SeedSize + p.polyBytes(p.rlwe.MaxLevelQ(), p.rlwe.MaxLevelP())
}

// MarshalBinary returns the container of the public key.
func (pk *PublicKey) MarshalBinary() ([]byte, error) {
	b := newBuffer(pk.params.PublicKeySize())
	b.Write(pk.id[:])
	b.Write(pk.seed[:])
	if err := pk.params.writeQP(b, pk.key.Value[0]); err != nil {
		return nil, err
	}
	return codec.Encode(codec.LeveledPublicKey, pk.params.fingerprint, b.data), nil
}

type buffer struct{ data []byte }

func newBuffer(size int64) *buffer { return &buffer{make([]byte, 0, size)} }

func (b *buffer) Write(p []byte) (int, error) {
	b.data = append(b.data, p...)
	return len(p), nil
}

// UnmarshalPublicKey reads the container of a public key of p, or of any named set if p is nil.
func UnmarshalPublicKey(data []byte, p *Parameters) (*PublicKey, error) {
	size := func(p *Parameters) int64 { return p.PublicKeySize() - codec.Overhead }
	p, d, err := open(data, codec.LeveledPublicKey, p, size)
	if err != nil {
		return nil, err
	}
	if have, need := d.Left(), uint64(size(p)); have < need {
		return nil, &codec.TruncatedError{Place: "body", Need: need, Have: have}
	}
	pk := &PublicKey{params: p, key: rlwe.NewPublicKey(p.rlwe)}
	copy(pk.id[:], d.Bytes("key id", len(pk.id)))
	copy(pk.seed[:], d.Bytes("seed", SeedSize))
	p.readQP(d, "public key", pk.key.Value[0])
	if err := d.Finish(); err != nil {
		return nil, err
	}
	p.masks(pk.seed)(p.rlwe.MaxLevelQ(), p.rlwe.MaxLevelP(), pk.key.Value[1])
	return pk, nil
}

// partBytes is the size of a part.
func (p *Parameters) partBytes(element uint64) int64 {
	levelQ, levelP := p.levelsOf(element)
	digits := p.rlwe.BaseRNSDecompositionVectorSize(levelQ, levelP)
	return SeedSize + int64(digits)*p.polyBytes(levelQ, levelP)
}

// EvaluationKeySize is the number of bytes in the container of an evaluation key.
func (p *Parameters) EvaluationKeySize(spec KeySpec) (int64, error) {
	spec, err := p.checkSpec(spec)
	if err != nil {
		return 0, err
	}
	return codec.Overhead + p.evaluationKeyBytes(spec), nil
}

func (p *Parameters) evaluationKeyBytes(spec KeySpec) int64 {
	total := int64(1 + 2 + 4*len(spec.Rotations))
	for _, element := range p.plan(spec) {
		total += p.partBytes(element)
	}
	return total
}

// Size is the number of bytes that WriteTo writes.
func (evk *EvaluationKey) Size() int64 {
	return codec.Overhead + evk.params.evaluationKeyBytes(evk.spec)
}

// WriteTo writes the container of the key.
func (evk *EvaluationKey) WriteTo(w io.Writer) (int64, error) {
	p := evk.params
	c := codec.NewWriter(w, codec.LeveledEvaluationKey, p.fingerprint, uint64(evk.Size()-codec.Overhead))
	e := codec.NewEncoder(c)
	var flags uint8
	if evk.spec.SwapRows {
		flags |= flagSwapRows
	}
	if evk.spec.Bootstrapping {
		flags |= flagBootstrapping
	}
	e.U8(flags)
	e.U16(uint16(len(evk.spec.Rotations)))
	for _, k := range evk.spec.Rotations {
		e.U32(uint32(k))
	}
	if e.Err() != nil {
		return 0, e.Err()
	}
	for i, element := range p.plan(evk.spec) {
		pt := evk.parts[i]
		if pt.element != element {
			return 0, fmt.Errorf("leveled: evaluation key: part %d is the %s", i, partName(pt.element))
		}
		if err := p.writePart(c, pt); err != nil {
			return 0, err
		}
	}
	return evk.Size(), c.Close()
}

// writePart writes one part, without the uniform polynomials.
func (p *Parameters) writePart(w io.Writer, pt part) error {
	if _, err := w.Write(pt.seed[:]); err != nil {
		return err
	}
	for _, digit := range pt.key.Value {
		if err := p.writeQP(w, digit[0][0]); err != nil {
			return err
		}
	}
	return nil
}

// hash returns the id of the key, the SHA-256 of what WriteTo writes.
func (evk *EvaluationKey) hash() (id KeyID) {
	h := sha256.New()
	if _, err := evk.WriteTo(h); err != nil {
		panic(err) // a hash takes everything, and generated keys have reduced residues
	}
	h.Sum(id[:0])
	return id
}

// ReadEvaluationKey reads the container of an evaluation key of p, or of any named set if p is nil. Its
// length has to be the one that follows from the parameters and the rotations that it lists, which is checked
// before memory is taken for more than that list.
func ReadEvaluationKey(r io.Reader, p *Parameters) (*EvaluationKey, error) {
	return readEvaluationKey(r, p, true)
}

// CheckEvaluationKey reads what ReadEvaluationKey reads, with the same errors, and keeps one
// row of a polynomial of it at a time. It returns parameters, id and spec.
func CheckEvaluationKey(r io.Reader, p *Parameters) (*Parameters, KeyID, KeySpec, error) {
	evk, err := readEvaluationKey(r, p, false)
	if err != nil {
		return nil, KeyID{}, KeySpec{}, err
	}
	return evk.params, evk.id, evk.spec, nil
}

func readEvaluationKey(r io.Reader, p *Parameters, keep bool) (*EvaluationKey, error) {
	h := sha256.New()
	p, c, err := openStream(io.TeeReader(r, h), codec.LeveledEvaluationKey, p, maxEvaluationKey)
	if err != nil {
		return nil, err
	}
	d := c.Decoder()
	evk := &EvaluationKey{params: p}
	if evk.spec, err = p.readSpec(d); err != nil {
		return nil, err
	}
	if err := checkLengthOf(c, "evaluation key", p.evaluationKeyBytes(evk.spec)); err != nil {
		return nil, err
	}
	elements := p.plan(evk.spec)
	for _, element := range elements {
		pt := p.readPart(d, element, keep)
		if d.Err() != nil {
			break
		}
		if keep {
			evk.parts = append(evk.parts, pt)
		}
	}
	if err := d.Finish(); err != nil {
		return nil, fmt.Errorf("evaluation key: %w", err)
	}
	if _, err := c.Verify(); err != nil {
		return nil, fmt.Errorf("evaluation key: %w", err)
	}
	evk.id = sumOf(h)
	if keep {
		// Only now, with the digest right, is anything made of the bytes.
		for _, pt := range evk.parts {
			p.expandPart(pt)
		}
		evk.link()
	}
	return evk, nil
}

func sumOf(h hash.Hash) (id KeyID) {
	h.Sum(id[:0])
	return id
}

func (p *Parameters) readSpec(d *codec.Decoder) (KeySpec, error) {
	flags := d.U8("flags")
	if flags&^(flagSwapRows|flagBootstrapping) != 0 {
		d.Fail("flags", &ValueError{"flags", "unknown ones"})
	}
	count := int(d.U16("rotations"))
	if count > maxRotations {
		d.Fail("rotations", &codec.LimitError{What: "rotations", Got: uint64(count), Max: maxRotations})
		count = 0
	}
	spec := KeySpec{Rotations: make([]int, 0, count), SwapRows: flags&flagSwapRows != 0, Bootstrapping: flags&flagBootstrapping != 0}
	for range count {
		k := int(d.U32("rotation"))
		if n := len(spec.Rotations); d.Err() == nil && (k < 1 || k >= p.Row() || n > 0 && k <= spec.Rotations[n-1]) {
			d.Fail("rotation", &ValueError{"rotation", "not in ascending order, or not within a row"})
		}
		spec.Rotations = append(spec.Rotations, k)
	}
	if err := d.Err(); err != nil {
		return KeySpec{}, fmt.Errorf("evaluation key: %w", err)
	}
	return p.checkSpec(spec)
}

// readPart reads one part, without the uniform polynomials; without keep its polynomials are checked and dropped.
func (p *Parameters) readPart(d *codec.Decoder, element uint64, keep bool) part {
	levelQ, levelP := p.levelsOf(element)
	pt := part{element: element}
	d.Enter(partName(element), -1)
	defer d.Leave()
	copy(pt.seed[:], d.Bytes("seed", SeedSize))
	digits := p.rlwe.BaseRNSDecompositionVectorSize(levelQ, levelP)
	if !keep {
		// All rows of what is dropped are read into one.
		row := make([]uint64, p.N())
		dropped := ringqp.Poly{Q: ring.Poly{Coeffs: slices.Repeat([][]uint64{row}, levelQ+1)}, P: ring.Poly{Coeffs: slices.Repeat([][]uint64{row}, levelP+1)}}
		for range digits {
			p.readQP(d, "body", dropped)
		}
		return pt
	}
	pt.key = &rlwe.EvaluationKey{}
	for range digits {
		if d.Err() != nil {
			return pt
		}
		v := rlwe.VectorQP{p.rlwe.RingQP().AtLevel(levelQ, levelP).NewPoly(), {}}
		p.readQP(d, "body", v[0])
		pt.key.Value = append(pt.key.Value, []rlwe.VectorQP{v})
	}
	return pt
}

// expandPart makes the uniform polynomials of a part.
func (p *Parameters) expandPart(pt part) {
	levelQ, levelP := p.levelsOf(pt.element)
	mask := p.masks(pt.seed)
	for _, digit := range pt.key.Value {
		digit[0][1] = p.rlwe.RingQP().AtLevel(levelQ, levelP).NewPoly()
		mask(levelQ, levelP, digit[0][1])
	}
}

// Fresh reports whether the ciphertext is an encryption by somebody with a key, not the result of an
// operation. The noise of a fresh ciphertext follows from how it was encrypted; that of a
// computed one is known only to who computed it.
func (c *Ciphertext) Fresh() bool { return c.origin != originComputed }

// Public reports whether the ciphertext is an encryption with the public key.
func (c *Ciphertext) Public() bool { return c.origin == originPublic }

// Size is the number of bytes that the ciphertext takes in a container, without what the
// container adds.
func (c *Ciphertext) Size() int64 {
	poly := c.params.polyBytes(c.ct.Level(), -1)
	switch c.origin {
	case originComputed:
		return 1 + 4 + 1 + 24 + 2*poly
	case originSecret:
		return 1 + 4 + 1 + SeedSize + poly
	}
	return 1 + 4 + 1 + 2*poly
}

// MarshalCiphertexts returns the container of 1 to MaxCiphertexts ciphertexts of one parameter set and key.
func MarshalCiphertexts(cs ...*Ciphertext) ([]byte, error) {
	if len(cs) == 0 || len(cs) > MaxCiphertexts {
		return nil, &ValueError{"ciphertexts", fmt.Sprintf("%d in one container, want 1 to %d", len(cs), MaxCiphertexts)}
	}
	first, size := cs[0], int64(32+2)
	for _, c := range cs {
		if c.params != first.params {
			return nil, &MismatchError{"parameters", c.params.String(), first.params.String()}
		}
		if c.id != first.id {
			return nil, &MismatchError{"key", c.id.String(), first.id.String()}
		}
		size += c.Size()
	}
	b := newBuffer(size)
	e := codec.NewEncoder(b)
	e.Bytes(first.id[:])
	e.U16(uint16(len(cs)))
	for _, c := range cs {
		e.U8(c.origin)
		e.U32(uint32(c.length))
		if c.origin == originComputed {
			e.U8(uint8(c.noise.Level))
			e.F64(c.noise.LogSigma)
			e.F64(c.noise.LogBound)
			e.F64(c.noise.Scale)
		} else {
			e.U8(uint8(c.noise.LogBound))
		}
		rows := c.ct.Value
		if c.origin == originSecret {
			e.Bytes(c.seed[:])
			rows = rows[:1]
		}
		for _, poly := range rows {
			if err := writeRows(b, poly.Coeffs, c.params.rlwe.Q()); err != nil {
				return nil, err
			}
		}
	}
	if err := e.Err(); err != nil {
		return nil, err
	}
	return codec.Encode(codec.LeveledCiphertexts, first.params.fingerprint, b.data), nil
}

// CiphertextsSize is the greatest number of bytes of a container of so many ciphertexts of the set.
func (p *Parameters) CiphertextsSize(count int) int64 {
	return codec.Overhead + 32 + 2 + int64(count)*(1+4+1+24+2*p.polyBytes(p.topLevel(), -1))
}

// UnmarshalCiphertexts reads the container of ciphertexts of p, or of any named set if p is nil. The
// noise of fresh ciphertexts is computed here; that of computed ones is what the writer said of them, see
// [Ciphertext.Fresh].
func UnmarshalCiphertexts(data []byte, p *Parameters) ([]*Ciphertext, error) {
	p, d, err := open(data, codec.LeveledCiphertexts, p, func(p *Parameters) int64 { return p.CiphertextsSize(MaxCiphertexts) - codec.Overhead })
	if err != nil {
		return nil, err
	}
	var id KeyID
	copy(id[:], d.Bytes("key id", len(id)))
	count := int(d.U16("ciphertexts"))
	if d.Err() == nil && (count < 1 || count > MaxCiphertexts) {
		d.Fail("ciphertexts", &codec.LimitError{What: "ciphertexts", Got: uint64(count), Max: MaxCiphertexts})
	}
	var out []*Ciphertext
	for i := 0; i < count && d.Err() == nil; i++ {
		d.Enter("ciphertexts", i)
		out = append(out, p.readCiphertext(d, id))
		d.Leave()
	}
	if err := d.Finish(); err != nil {
		return nil, err
	}
	return out, nil
}

func (p *Parameters) readCiphertext(d *codec.Decoder, id KeyID) *Ciphertext {
	c := &Ciphertext{params: p, id: id, origin: d.U8("origin"), length: int(d.U32("length"))}
	if d.Err() == nil {
		if err := p.checkLength(c.length); err != nil {
			d.Fail("length", err)
		}
	}
	var err error
	switch c.origin {
	case originComputed:
		c.noise = Noise{Level: int(d.U8("level")), LogSigma: d.F64("log sigma"), LogBound: d.F64("log bound"), Scale: d.F64("scale")}
		if d.Err() == nil {
			err = p.checkClaim(c.noise)
		}
	case originPublic, originSecret:
		c.noise, err = p.FreshNoise(c.origin == originPublic, int(d.U8("log bound")))
	default:
		err = &ValueError{"origin", fmt.Sprintf("%d is not known", c.origin)}
	}
	if err != nil {
		d.Fail("noise", err)
	}
	if d.Err() != nil {
		return nil
	}
	if have, need := d.Left(), uint64(c.params.polyBytes(p.chainLevel(c.noise.Level), -1)); have < need {
		d.Fail("body", &codec.TruncatedError{Place: "body", Need: need, Have: have})
		return nil
	}
	c.ct = rlwe.NewCiphertext(p.rlwe, 1, p.chainLevel(c.noise.Level))
	c.ct.MetaData = p.metadata(c.noise.Scale)
	polys := c.ct.Value
	if c.origin == originSecret {
		c.seed = new([SeedSize]byte)
		copy(c.seed[:], d.Bytes("seed", SeedSize))
		polys = polys[:1]
	}
	for _, poly := range polys {
		readRows(d, "body", poly.Coeffs, p.rlwe.Q())
	}
	if c.seed != nil && d.Err() == nil {
		p.masks(*c.seed)(c.ct.Level(), -1, ringqp.Poly{Q: c.ct.Value[1], P: ring.Poly{}})
	}
	return c
}

// checkClaim refuses what no ciphertext of the set can have.
func (p *Parameters) checkClaim(n Noise) error {
	switch {
	case n.Level > p.levels:
		return &LevelError{"ciphertext", p.levels, n.Level}
	case n.LogSigma < -64 || n.LogSigma > 4096 || math.Abs(n.LogBound) > 4096:
		return &ValueError{"noise", "out of range"}
	case p.lit.Scheme == CKKS && !(n.Scale >= 1 && log2(n.Scale) < p.capacity(n.Level)):
		return &ValueError{"scale", "out of range"}
	case p.lit.Scheme != CKKS && (n.LogBound != 0 || n.Scale < 1 || n.Scale >= float64(p.lit.PlaintextModulus) || n.Scale != math.Trunc(n.Scale)):
		return &ValueError{"scale", "not a residue modulo t"}
	}
	_, err := p.check("ciphertext", n)
	return err
}
