package integer

import (
	"bytes"
	"fmt"
	"math/big"
	"strings"

	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/codec"
	"github.com/tacit-fhe/tacit/fhe/noise"
)

const (
	// MaxListValues bounds the values of one List.
	MaxListValues = 1 << 12
	// maxListSize bounds the container of a list in bytes.
	maxListSize = 64 << 20

	// computedForm marks a list that holds LWE ciphertexts with their bounds, and
	// packedForm one that holds an fhe.Packed, after the forms of fhe.Encryption.
	computedForm = 3
	packedForm   = 4
)

// List is a sequence of values of one key, in a codec container of kind
// Ciphertexts. It is fresh, one fhe.Encryption of all blocks; or computed, the LWE
// ciphertexts of every block with their bounds; or packed, an fhe.Packed of all
// blocks with their bounds, the form of results at rest. Its body is
//
//	32 bytes   key id
//	 4 bytes   number of values
//	 1 byte    type of each value
//	           fresh: an fhe.Encryption of all blocks, whose first byte is its form
//	           computed: the byte 3, then for each block the variance (8 bytes),
//	           the least and the greatest message and the source of the error
//	           (8 bytes each), and the residues (6 bytes each)
//	           packed: the byte 4, then for each value the greatest variance of its
//	           blocks (8 bytes) and for each of them the least message, with 16
//	           times the greatest (1 byte), and the source of the error (8 bytes),
//	           then the fhe.Packed
type List struct {
	params *fhe.Parameters
	id     fhe.KeyID
	types  []Type
	fresh  *fhe.Encryption
	values []*Value      // of a computed list
	packed *fhe.Packed   // of a packed list
	bounds []noise.Bound // of the blocks of a packed list
}

// Encrypter encrypts the messages of blocks: a *fhe.SecretKey or an
// *fhe.Encrypter.
type Encrypter interface {
	Encrypt(seed [fhe.SeedSize]byte, messages []int64) *fhe.Encryption
}

// Encrypt makes a fresh list. A seed must never be used twice under one key;
// take it from fhe.NewSeed. The error is a *RangeError, a *codec.LimitError, or a
// *fhe.ParametersError for parameters without 2+2-bit blocks.
func Encrypt(p *fhe.Parameters, id fhe.KeyID, enc Encrypter, seed [fhe.SeedSize]byte, plaintexts ...Scalar) (*List, error) {
	if err := checkParameters(p); err != nil {
		return nil, err
	}
	if len(plaintexts) > MaxListValues {
		return nil, &codec.LimitError{What: "values", Got: uint64(len(plaintexts)), Max: MaxListValues}
	}
	l := &List{params: p, id: id}
	var messages []int64
	for i, s := range plaintexts {
		if !s.typ.Valid() || !s.fits() {
			return nil, &RangeError{i, s.typ, s.x}
		}
		l.types = append(l.types, s.typ)
		messages = append(messages, s.digits()...)
	}
	if len(messages) > fhe.MaxSlots {
		return nil, &codec.LimitError{What: "blocks", Got: uint64(len(messages)), Max: fhe.MaxSlots}
	}
	l.fresh = enc.Encrypt(seed, messages)
	return l, nil
}

// NewList makes a computed list.
func NewList(p *fhe.Parameters, id fhe.KeyID, values ...*Value) *List {
	l := &List{params: p, id: id, values: values}
	for _, v := range values {
		l.types = append(l.types, v.Type)
	}
	return l
}

// Packer packs ciphertexts, as a bootstrap.Evaluator does.
type Packer interface {
	Pack(in []fhe.LWE) (*fhe.Packed, error)
}

// Pack makes a packed list. The variance of every value grows to that of
// fhe.Parameters.PackedBound of its noisiest block. The error is a *codec.LimitError
// or that of the packer.
func Pack(p *fhe.Parameters, id fhe.KeyID, packer Packer, values ...*Value) (*List, error) {
	l := NewList(p, id, values...)
	l.values = nil
	if err := l.checkSize(); err != nil {
		return nil, err
	}
	var blocks []fhe.LWE
	for _, v := range values {
		worst := 0.0
		for _, b := range v.Blocks {
			worst = max(worst, b.Bound.Variance)
		}
		for _, b := range v.Blocks {
			bound := b.Bound
			bound.Variance = worst
			l.bounds = append(l.bounds, p.PackedBound(bound))
		}
		blocks = append(blocks, v.Blocks...)
	}
	var err error
	if l.packed, err = packer.Pack(blocks); err != nil {
		return nil, err
	}
	for i, b := range blocks {
		if b.Bound.Variance == 0 { // the error is that of packing alone
			l.bounds[i].Source = fhe.SourceOf(l.packed.LWE(p, i, l.bounds[i]))
		}
	}
	return l, nil
}

// Join makes one list of several of one key and set of parameters. It is packed if
// they all are, else computed. The error is a *ListError for lists of different keys
// or parameters, or a *codec.LimitError.
func Join(lists ...*List) (*List, error) {
	if len(lists) == 0 {
		return nil, &ListError{"lists", "there is none"}
	}
	first := lists[0]
	out := &List{params: first.params, id: first.id}
	var packs []*fhe.Packed
	for i, l := range lists {
		if l.id != first.id || l.params.Fingerprint() != first.params.Fingerprint() {
			return nil, &ListError{fmt.Sprintf("lists[%d]", i), "it belongs to another key than the first one"}
		}
		out.types = append(out.types, l.types...)
		if l.packed != nil {
			out.bounds = append(out.bounds, l.bounds...)
			packs = append(packs, l.packed)
		}
	}
	if err := out.checkSize(); err != nil {
		return nil, err
	}
	if len(packs) == len(lists) {
		out.packed = fhe.JoinPacked(packs...)
		return out, nil
	}
	var values []*Value
	for _, l := range lists {
		for i := range l.Len() {
			values = append(values, l.Value(i))
		}
	}
	return NewList(out.params, out.id, values...), nil
}

// checkSize refuses more values or blocks than a list can have.
func (l *List) checkSize() error {
	if len(l.types) > MaxListValues {
		return &codec.LimitError{What: "values", Got: uint64(len(l.types)), Max: MaxListValues}
	}
	if n := l.Blocks(); n > fhe.MaxSlots {
		return &codec.LimitError{What: "blocks", Got: uint64(n), Max: fhe.MaxSlots}
	}
	return nil
}

// Only returns value i as a list of its own. A fresh list stays fresh, and its part
// is as small as it can be; others become computed ones.
func (l *List) Only(i int) *List {
	if l.fresh == nil {
		return NewList(l.params, l.id, l.Value(i))
	}
	t := l.types[i]
	return &List{params: l.params, id: l.id, types: []Type{t}, fresh: l.fresh.Slice(l.params, l.first(i), t.Blocks())}
}

// first is the number of blocks before value i.
func (l *List) first(i int) int {
	n := 0
	for _, t := range l.types[:i] {
		n += t.Blocks()
	}
	return n
}

// Parameters returns the parameter set of the ciphertexts.
func (l *List) Parameters() *fhe.Parameters { return l.params }

// KeyID returns the id of the keys the list was made under.
func (l *List) KeyID() fhe.KeyID { return l.id }

// Len is the number of values.
func (l *List) Len() int { return len(l.types) }

// Blocks is the number of ciphertexts of all values.
func (l *List) Blocks() int { return l.first(len(l.types)) }

// Type returns the type of value i.
func (l *List) Type(i int) Type { return l.types[i] }

// Fresh says that the list was made by encryption, so that its noise is known
// from its form alone.
func (l *List) Fresh() bool { return l.fresh != nil }

// Form describes how the list was made: by which key, or computed, or packed.
func (l *List) Form() string {
	switch {
	case l.fresh != nil:
		return l.fresh.Form().String()
	case l.packed != nil:
		return "packed"
	}
	return "computed"
}

// Bounds returns the bounds of the blocks of value i.
func (l *List) Bounds(i int) []noise.Bound {
	first := l.first(i)
	out := make([]noise.Bound, l.types[i].Blocks())
	for b := range out {
		switch {
		case l.fresh != nil:
			out[b] = l.fresh.Bound(l.params, first+b, l.types[i].blockMax())
		case l.packed != nil:
			out[b] = l.bounds[first+b]
		default:
			out[b] = l.values[i].Blocks[b].Bound
		}
	}
	return out
}

// Value returns value i as ciphertexts at work.
func (l *List) Value(i int) *Value {
	if l.fresh == nil && l.packed == nil {
		return l.values[i]
	}
	first := l.first(i)
	v := &Value{Type: l.types[i], Blocks: make([]fhe.LWE, l.types[i].Blocks())}
	for b := range v.Blocks {
		if l.fresh != nil {
			v.Blocks[b] = l.fresh.LWE(l.params, first+b, v.Type.blockMax())
		} else {
			v.Blocks[b] = l.packed.LWE(l.params, first+b, l.bounds[first+b])
		}
	}
	return v
}

// MarshalBinary returns the container of the list.
func (l *List) MarshalBinary() ([]byte, error) {
	var body bytes.Buffer
	e := codec.NewEncoder(&body)
	e.Bytes(l.id[:])
	e.U32(uint32(len(l.types)))
	for _, t := range l.types {
		e.U8(uint8(t))
	}
	switch {
	case l.fresh != nil:
		l.fresh.Encode(l.params, e)
	case l.packed != nil:
		e.U8(packedForm)
		bounds := l.bounds
		for _, t := range l.types {
			e.F64(bounds[0].Variance)
			for _, b := range bounds[:t.Blocks()] {
				e.U8(uint8(b.Min | b.Max<<4))
				e.U64(b.Source)
			}
			bounds = bounds[t.Blocks():]
		}
		l.packed.Encode(l.params, e)
	default:
		e.U8(computedForm)
		for _, v := range l.values {
			for _, b := range v.Blocks {
				e.F64(b.Bound.Variance)
				e.U64(uint64(b.Bound.Min))
				e.U64(uint64(b.Bound.Max))
				e.U64(b.Bound.Source)
				e.Residues(b.Value, l.params.Modulus())
			}
		}
	}
	return codec.Encode(codec.Ciphertexts, l.params.Fingerprint(), body.Bytes()), e.Err()
}

func flag(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

// UnmarshalList reads the container of a list made with the given parameters, or
// with those of any preset if p is nil. Sizes are checked before memory is
// taken, residues and bounds against the parameters; the error is one of package
// codec or of package fhe, or a *ListError.
func UnmarshalList(data []byte, p *fhe.Parameters) (*List, error) {
	want := codec.Want{Kind: codec.Ciphertexts, Limit: maxListSize}
	if p != nil {
		fp := p.Fingerprint()
		want.Fingerprint = &fp
	}
	body, _, err := codec.Decode(data, want)
	if err != nil {
		return nil, err
	}
	if p == nil {
		h, err := codec.ReadHeader(bytes.NewReader(data))
		if err != nil {
			return nil, err
		}
		if p, err = fhe.PresetByFingerprint(h.Fingerprint); err != nil {
			return nil, err
		}
	}
	return decodeList(body, p)
}

// ListError refuses a list whose bytes are well formed but say something that
// cannot be.
type ListError struct {
	Place, Reason string
}

func (e *ListError) Error() string { return e.Place + ": " + e.Reason }

func decodeList(body []byte, p *fhe.Parameters) (*List, error) {
	if err := checkParameters(p); err != nil {
		return nil, err
	}
	l := &List{params: p}
	d := codec.NewBytesDecoder(body)
	copy(l.id[:], d.Bytes("key id", len(l.id)))
	count := d.Count("values", MaxListValues, 1)
	blocks := 0
	for i := range count {
		t := Type(d.U8("type"))
		if d.Err() == nil && !t.Valid() {
			return nil, &ListError{fmt.Sprintf("values[%d].type", i), fmt.Sprintf("there is no %v", t)}
		}
		l.types = append(l.types, t)
		blocks += t.Blocks()
	}
	if d.Err() != nil {
		return nil, d.Err()
	}
	var form uint8
	if at := len(l.id) + 4 + count; at < len(body) {
		form = body[at]
	}
	var err error
	switch form {
	case computedForm:
		err = l.decodeComputed(d)
	case packedForm:
		err = l.decodePacked(d, blocks)
	default:
		l.fresh, err = fhe.DecodeEncryption(p, d, blocks)
	}
	if err == nil {
		err = d.Finish()
	}
	if err != nil {
		return nil, err
	}
	return l, nil
}

func (l *List) decodeComputed(d *codec.Decoder) error {
	d.U8("form")
	for i, t := range l.types {
		v := &Value{Type: t, Blocks: make([]fhe.LWE, t.Blocks())}
		for b := range v.Blocks {
			place := fmt.Sprintf("values[%d].blocks[%d]", i, b)
			d.Enter(place, -1)
			if err := decodeBlock(d, l.params, t, &v.Blocks[b], place); err != nil {
				return err
			}
			d.Leave()
		}
		l.values = append(l.values, v)
	}
	return nil
}

func (l *List) decodePacked(d *codec.Decoder, blocks int) (err error) {
	p := l.params
	if !p.Packs() {
		return &ListError{"form", "the parameters do not pack"}
	}
	d.U8("form")
	least := p.PackedBound(noise.Bound{}).Variance
	for i, t := range l.types {
		d.Enter("values", i)
		variance := d.F64("variance")
		if d.Err() == nil && (variance < least || variance > 1) {
			return &ListError{fmt.Sprintf("values[%d].variance", i), fmt.Sprintf("%g is outside [%g, 1]", variance, least)}
		}
		for b := range t.Blocks() {
			d.Enter("blocks", b)
			messages := d.U8("messages")
			bound := noise.Bound{Variance: variance, Min: int64(messages & 15), Max: int64(messages >> 4), Source: d.U64("source")}
			if d.Err() != nil {
				return d.Err()
			}
			if err := checkMessages(t, bound, fmt.Sprintf("values[%d].blocks[%d]", i, b)); err != nil {
				return err
			}
			l.bounds = append(l.bounds, bound)
			d.Leave()
		}
		d.Leave()
	}
	l.packed, err = fhe.DecodePacked(p, d, blocks)
	return err
}

// checkMessages refuses a bound on the message that the blocks of a type cannot have.
func checkMessages(t Type, b noise.Bound, place string) error {
	if b.Min < 0 || b.Min > b.Max || b.Max > t.blockMax() {
		return &ListError{place, fmt.Sprintf("messages in [%d, %d] are not those of %v", b.Min, b.Max, t)}
	}
	return nil
}

func decodeBlock(d *codec.Decoder, p *fhe.Parameters, t Type, out *fhe.LWE, place string) error {
	out.Bound = noise.Bound{Variance: d.F64("variance"), Min: int64(d.U64("min")), Max: int64(d.U64("max"))}
	out.Bound.Source = d.U64("source")
	out.Value = d.Residues("residues", p.BigDimension()+1, p.Modulus())
	if d.Err() != nil {
		return d.Err()
	}
	if v := out.Bound.Variance; v < 0 || v > 1 {
		return &ListError{place + ".variance", fmt.Sprintf("%g is outside [0, 1]", v)}
	}
	return checkMessages(t, out.Bound, place)
}

// Decrypt returns the plaintext of a value.
func Decrypt(sk *fhe.SecretKey, v *Value) Scalar {
	x := new(big.Int)
	for i := len(v.Blocks) - 1; i >= 0; i-- {
		x.Lsh(x, blockBits)
		x.Add(x, big.NewInt(sk.Decrypt(v.Blocks[i])))
	}
	return Scalar{v.Type, x}
}

// Type returns the type of the plaintext.
func (s Scalar) Type() Type { return s.typ }

// Big returns the plaintext as an integer.
func (s Scalar) Big() *big.Int { return new(big.Int).Set(s.x) }

// String returns the plaintext as ParseScalar reads it, such as euint64:100 or
// ebool:true.
func (s Scalar) String() string {
	if s.typ == Bool {
		return fmt.Sprintf("%v:%v", s.typ, s.x.Sign() != 0)
	}
	return fmt.Sprintf("%v:%v", s.typ, s.x)
}

// ParseScalar reads a type, a colon and a value, decimal, 0x… or for ebool also
// true or false. The error is a *RangeError for a value that does not fit.
func ParseScalar(text string) (Scalar, error) {
	name, value, ok := strings.Cut(text, ":")
	if !ok {
		return Scalar{}, fmt.Errorf("%q is not of the form type:value, such as euint8:7", text)
	}
	t, err := ParseType(name)
	if err != nil {
		return Scalar{}, err
	}
	if t == Bool && (value == "true" || value == "false") {
		return Plain(Bool, uint64(flag(value == "true"))), nil
	}
	x, ok := new(big.Int).SetString(value, 0)
	if !ok || len(value) > 100 {
		return Scalar{}, fmt.Errorf("%q is not a number", value)
	}
	s := PlainBig(t, x)
	if !s.fits() {
		return Scalar{}, &RangeError{0, t, x}
	}
	return s, nil
}

// With returns the evaluator with another Bootstrapper.
func (e *Evaluator) With(boot Bootstrapper) *Evaluator {
	with := *e
	with.boot = boot
	return &with
}
