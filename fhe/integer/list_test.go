package integer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	flags "flag"
	"fmt"
	"math"
	"math/big"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tacit-fhe/tacit/accel/cpu"
	"github.com/tacit-fhe/tacit/bench/fuzztest"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/codec"
	"github.com/tacit-fhe/tacit/fhe/noise"
)

var update = flags.Bool("update", false, "rewrite the lists in testdata")

func listSeed(label string) [fhe.SeedSize]byte { return sha256.Sum256([]byte("list test " + label)) }

// listKeys are keys that are the same on every run.
func listKeys(t testing.TB) (*fhe.SecretKey, *fhe.Encrypter) {
	t.Helper()
	backend, err := cpu.New()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := fhe.GenerateKeys(context.Background(), preset(t, fhe.TestPreset), listSeed("keys"), backend, nil)
	if err != nil {
		t.Fatal(err)
	}
	enc, err := keys.Public.Encrypter(backend)
	if err != nil {
		t.Fatal(err)
	}
	return keys.Secret, enc
}

var listPlaintexts = []Scalar{
	Plain(Bool, 1), Plain(Uint8, 0), Plain(Uint64, math.MaxUint64), Plain(Bool, 0), Plain(Uint16, 0x1234), Plain(Uint32, 1<<31), Plain(Uint8, 255),
}

func encryptList(t testing.TB, sk *fhe.SecretKey, enc Encrypter, label string, plaintexts ...Scalar) *List {
	t.Helper()
	l, err := Encrypt(sk.Parameters(), sk.ID(), enc, listSeed(label), plaintexts...)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// computedList is a list with the ciphertexts of another one, out of the form in
// which they travelled.
func computedList(l *List) *List {
	var values []*Value
	for i := range l.Len() {
		values = append(values, l.Value(i))
	}
	return NewList(l.Parameters(), l.KeyID(), values...)
}

// testPacker packs with the secret key: it makes a GLWE ciphertext of the phases. The
// real one is in package bootstrap.
type testPacker struct{ sk *fhe.SecretKey }

func (tp testPacker) Pack(in []fhe.LWE) (*fhe.Packed, error) {
	p := tp.sk.Parameters()
	n, size, q := p.Literal().PolynomialSize, p.BigDimension(), p.Modulus()
	var glwes [][]uint64
	for at := 0; at < len(in); at += n {
		group := in[at:min(at+n, len(in))]
		glwe := make([]uint64, size+n)
		for i := range size {
			glwe[i] = uint64(i+1) * 0x9e3779b97f4a7c15 % q
		}
		for i, x := range group {
			h := i * p.PackedStride(len(group))
			mask := fhe.LWE{Value: make([]uint64, size+1)}
			p.ExtractMask(mask.Value, glwe[:size], h)
			glwe[size+h] = (tp.sk.Phase(x) + q - tp.sk.Phase(mask)) % q
		}
		glwes = append(glwes, glwe)
	}
	return p.NewPacked(glwes, len(in)), nil
}

// packedList is a list with the ciphertexts of another one, packed.
func packedList(t testing.TB, sk *fhe.SecretKey, l *List) *List {
	t.Helper()
	packed, err := Pack(l.Parameters(), l.KeyID(), testPacker{sk}, computedList(l).values...)
	if err != nil {
		t.Fatal(err)
	}
	return packed
}

func marshalList(t testing.TB, l *List) []byte {
	t.Helper()
	data, err := l.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestListRoundTrip(t *testing.T) {
	sk, pk := listKeys(t)
	p := sk.Parameters()
	many := make([]Scalar, 700) // more than one group of slots
	for i := range many {
		many[i] = Plain(Uint8, uint64(i%256))
	}
	bySecret := encryptList(t, sk, sk, "secret", listPlaintexts...)
	byPublic := encryptList(t, sk, pk, "public", listPlaintexts...)
	for name, test := range map[string]struct {
		list  *List
		form  string
		plain []Scalar
	}{
		"secret":          {bySecret, "secret-key", listPlaintexts},
		"public":          {byPublic, "public-key", listPlaintexts},
		"computed":        {computedList(bySecret), "computed", listPlaintexts},
		"public computed": {computedList(byPublic), "computed", listPlaintexts},
		"many":            {encryptList(t, sk, pk, "many", many...), "public-key", many},
		"packed":          {packedList(t, sk, bySecret), "packed", listPlaintexts},
		"packed many":     {packedList(t, sk, encryptList(t, sk, pk, "many", many...)), "packed", many},
		"packed none":     {packedList(t, sk, NewList(p, sk.ID())), "packed", nil},
		"secret none":     {encryptList(t, sk, sk, "none"), "secret-key", nil},
		"public none":     {encryptList(t, sk, pk, "none"), "public-key", nil},
		"computed none":   {NewList(p, sk.ID()), "computed", nil},
	} {
		t.Run(name, func(t *testing.T) {
			data := marshalList(t, test.list)
			for _, with := range []*fhe.Parameters{p, nil} {
				l, err := UnmarshalList(data, with)
				if err != nil {
					t.Fatal(err)
				}
				if l.Parameters().Fingerprint() != p.Fingerprint() || l.KeyID() != sk.ID() || l.Len() != len(test.plain) ||
					l.Form() != test.form || l.Fresh() != (test.form != "computed" && test.form != "packed") {
					t.Errorf("%v of %v, %d values, %s", l.Parameters().Name(), l.KeyID(), l.Len(), l.Form())
				}
				for i, want := range test.plain {
					v := l.Value(i)
					if got := Decrypt(sk, v); got.String() != want.String() || l.Type(i) != want.Type() || got.Big().Cmp(want.Big()) != 0 {
						t.Errorf("value %d is %v, want %v", i, got, want)
					}
				}
				if !bytes.Equal(marshalList(t, computedList(l)), marshalList(t, computedList(test.list))) {
					t.Error("the ciphertexts have changed on their way")
				}
				if !bytes.Equal(marshalList(t, l), data) {
					t.Error("encoded again, the list is another one")
				}
				for i := range l.Len() {
					if i%50 > 5 {
						continue
					}
					only, err := UnmarshalList(marshalList(t, l.Only(i)), p)
					if err != nil {
						t.Fatal(err)
					}
					if only.Fresh() != l.Fresh() || only.Len() != 1 || !cmp.Equal(only.Value(0), l.Value(i)) {
						t.Errorf("value %d alone is another one", i)
					}
				}
			}
		})
	}
	// Parameters of the receiver's own, which are no preset.
	other := small(t)
	var parametersError *codec.ParametersError
	if _, err := UnmarshalList(marshalList(t, bySecret), other); !errors.As(err, &parametersError) {
		t.Errorf("with other parameters: %v", err)
	}
	var unknown *fhe.ParametersError
	if _, err := UnmarshalList(marshalList(t, NewList(other, sk.ID())), nil); !errors.As(err, &unknown) {
		t.Errorf("of no preset: %v", err)
	}
}

func TestJoin(t *testing.T) {
	sk, pk := listKeys(t)
	p := sk.Parameters()
	fresh := encryptList(t, sk, pk, "join", listPlaintexts...)
	first, second := packedList(t, sk, fresh), packedList(t, sk, encryptList(t, sk, sk, "join too", Plain(Uint8, 9), Plain(Bool, 1)))
	for _, c := range []struct {
		form  string
		lists []*List
	}{
		{"packed", []*List{first, second, first}},
		{"packed", []*List{second}},
		{"computed", []*List{fresh, second}},
		{"computed", []*List{first, computedList(second)}},
	} {
		var want []*Value
		for _, l := range c.lists {
			want = append(want, computedList(l).values...)
		}
		joined, err := Join(c.lists...)
		if err != nil {
			t.Fatal(err)
		}
		back, err := UnmarshalList(marshalList(t, joined), p)
		if err != nil {
			t.Fatal(err)
		}
		if back.Form() != c.form || !cmp.Equal(computedList(back).values, want) {
			t.Errorf("%d lists are %s of %d values", len(c.lists), back.Form(), back.Len())
		}
	}
	var lerr *ListError
	if _, err := Join(); !errors.As(err, &lerr) {
		t.Errorf("nothing: %v", err)
	}
	if _, err := Join(first, NewList(p, fhe.KeyID{1})); !errors.As(err, &lerr) || lerr.Place != "lists[1]" {
		t.Errorf("two keys: %v", err)
	}
	var limit *codec.LimitError
	if _, err := Join(slices.Repeat([]*List{first}, MaxListValues/len(listPlaintexts)+1)...); !errors.As(err, &limit) || limit.What != "values" {
		t.Errorf("too many values: %v", err)
	}
}

func TestEncryptRefuses(t *testing.T) {
	sk, _ := listKeys(t)
	for name, test := range map[string]struct {
		plain []Scalar
		want  error
	}{
		"too large":       {[]Scalar{Plain(Bool, 0), Plain(Uint8, 256)}, &RangeError{1, Uint8, big.NewInt(256)}},
		"negative":        {[]Scalar{PlainBig(Uint8, big.NewInt(-1))}, &RangeError{0, Uint8, big.NewInt(-1)}},
		"no type":         {[]Scalar{Plain(Type(1), 0)}, &RangeError{0, Type(1), big.NewInt(0)}},
		"no value":        {[]Scalar{{}}, &RangeError{0, Bool, nil}},
		"too many values": {slices.Repeat([]Scalar{Plain(Bool, 0)}, MaxListValues+1), &codec.LimitError{What: "values", Got: MaxListValues + 1, Max: MaxListValues}},
		"too many blocks": {slices.Repeat([]Scalar{Plain(Uint64, 0)}, fhe.MaxSlots/32+1), &codec.LimitError{What: "blocks", Got: fhe.MaxSlots + 32, Max: fhe.MaxSlots}},
	} {
		_, err := Encrypt(sk.Parameters(), sk.ID(), sk, listSeed(name), test.plain...)
		if !cmp.Equal(err, test.want, cmp.Comparer(func(a, b *big.Int) bool { return a == b || a != nil && b != nil && a.Cmp(b) == 0 })) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

// Places in the body of a list of two values, a Bool and a Uint8.
const (
	countAt = 32
	typesAt = 36
	formAt  = 38
	bodyAt  = 39                       // of an fhe.Encryption, or of the first block of a computed list
	packsAt = bodyAt + 8 + 9 + 8 + 4*9 // of the fhe.Packed of a packed list
)

// packedLeast is the least variance of a packed value.
func packedLeast() float64 {
	p, err := fhe.Preset(fhe.TestPreset)
	if err != nil {
		panic(err)
	}
	return p.PackedBound(noise.Bound{}).Variance
}

// listCorpus is the table of the lists in testdata: how each differs from a
// valid one, and why it is refused.
var listCorpus = []struct {
	name string
	base string // fresh, computed or packed
	edit func(body []byte) []byte
	want error // compared by value, or by errors.Is for the sentinels
}{
	{"valid-fresh", "fresh", func(b []byte) []byte { return b }, nil},
	{"valid-computed", "computed", func(b []byte) []byte { return b }, nil},
	{"empty", "fresh", func([]byte) []byte { return nil }, &codec.TruncatedError{Place: "key id", Need: 32}},
	{"no-values", "fresh", func(b []byte) []byte { return b[:countAt] }, &codec.TruncatedError{Place: "values", Need: 4}},
	{"count-limit", "fresh", count(MaxListValues + 1), &codec.LimitError{What: "values", Got: MaxListValues + 1, Max: MaxListValues}},
	{"count-max", "fresh", count(math.MaxUint32), &codec.LimitError{What: "values", Got: math.MaxUint32, Max: MaxListValues}},
	{"count-over-body", "fresh", count(4000), &codec.TruncatedError{Place: "values", Need: 4000, Have: 69}},
	{"type-1", "fresh", set(typesAt, 1), &ListError{"values[0].type", "there is no type 1"}},
	{"type-9", "fresh", set(typesAt+1, 9), &ListError{"values[1].type", "there is no type 9"}},
	{"type-wider", "fresh", set(typesAt+1, byte(Uint16)), &codec.TruncatedError{Place: "bodies", Need: 54, Have: 30}},
	{"valid-packed", "packed", func(b []byte) []byte { return b }, nil},
	{"no-form", "fresh", func(b []byte) []byte { return b[:formAt] }, &codec.TruncatedError{Place: "form", Need: 1}},
	{"form-0", "fresh", set(formAt, 0), &fhe.FormError{Got: 0}},
	{"form-5", "fresh", set(formAt, 5), &fhe.FormError{Got: 5}},
	{"form-public", "fresh", set(formAt, byte(fhe.PublicForm)), &codec.TruncatedError{Place: "mask[0].residues", Need: 1472, Have: 62}},
	{"form-computed", "fresh", set(formAt, computedForm), &codec.TruncatedError{Place: "values[0].blocks[0].residues", Need: 3078, Have: 34}},
	{"fresh-residue", "fresh", func(b []byte) []byte { return set(len(b)-6, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)(b) },
		&codec.ResidueError{Place: "bodies", Index: 4, Value: 1<<48 - 1, Modulus: fhe.DefaultModulus}},
	{"fresh-first", "fresh", set(bodyAt, 0, 0, 1), &codec.LimitError{What: "messages", Got: fhe.MaxSlots + 5, Max: fhe.MaxSlots}},
	{"public-first", "fresh", set(formAt, byte(fhe.PublicForm), 0, 2), &codec.LimitError{What: "first", Got: 512, Max: 511}},
	{"fresh-trailing", "fresh", func(b []byte) []byte { return append(b, 0) }, codec.ErrTrailing},
	{"variance-nan", "computed", variance(math.NaN()), codec.ErrNotFinite},
	{"variance-infinite", "computed", variance(math.Inf(1)), codec.ErrNotFinite},
	{"variance-negative", "computed", variance(-1e-300), &ListError{"values[0].blocks[0].variance", "-1e-300 is outside [0, 1]"}},
	{"variance-over-1", "computed", variance(1.5), &ListError{"values[0].blocks[0].variance", "1.5 is outside [0, 1]"}},
	{"min-negative", "computed", set(bodyAt+8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), &ListError{"values[0].blocks[0]", "messages in [-1, 1] are not those of ebool"}},
	{"min-over-max", "computed", set(bodyAt+8, 2), &ListError{"values[0].blocks[0]", "messages in [2, 1] are not those of ebool"}},
	{"max-of-bool", "computed", set(bodyAt+16, 3), &ListError{"values[0].blocks[0]", "messages in [0, 3] are not those of ebool"}},
	{"computed-residue", "computed", set(bodyAt+32, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
		&codec.ResidueError{Place: "values[0].blocks[0].residues", Index: 0, Value: 1<<48 - 1, Modulus: fhe.DefaultModulus}},
	{"computed-truncated", "computed", func(b []byte) []byte { return b[:len(b)-6] },
		&codec.TruncatedError{Place: "values[1].blocks[3].residues", Need: 3078, Have: 3072}},
	{"computed-trailing", "computed", func(b []byte) []byte { return append(b, 0) }, codec.ErrTrailing},
	{"packed-variance-nan", "packed", variance(math.NaN()), codec.ErrNotFinite},
	{"packed-variance-small", "packed", variance(1e-30), &ListError{"values[0].variance", fmt.Sprintf("1e-30 is outside [%g, 1]", packedLeast())}},
	{"packed-variance-over-1", "packed", variance(1.5), &ListError{"values[0].variance", fmt.Sprintf("1.5 is outside [%g, 1]", packedLeast())}},
	{"packed-min-over-max", "packed", set(bodyAt+8, 0x12), &ListError{"values[0].blocks[0]", "messages in [2, 1] are not those of ebool"}},
	{"packed-max", "packed", set(bodyAt+25, 0x40), &ListError{"values[1].blocks[0]", "messages in [0, 4] are not those of euint8"}},
	{"packed-bounds-only", "packed", func(b []byte) []byte { return b[:packsAt] }, &codec.TruncatedError{Place: "groups", Need: 4}},
	{"packed-no-mask", "packed", func(b []byte) []byte { return b[:packsAt+8] }, &codec.TruncatedError{Place: "mask[0].residues", Need: 1472}},
	{"packed-group", "packed", set(packsAt+4, 6), &codec.LimitError{What: "ciphertexts", Got: 6, Max: 5}},
	{"packed-group-missing", "packed", set(packsAt+4, 4), &codec.TruncatedError{Place: "groups", Need: 5, Have: 4}},
	{"packed-groups", "packed", set(packsAt, 6), &codec.LimitError{What: "groups", Got: 6, Max: 5}},
	{"packed-truncated", "packed", func(b []byte) []byte { return b[:len(b)-1] }, &codec.TruncatedError{Place: "bodies", Need: 15, Have: 14}},
	{"packed-padding", "packed", func(b []byte) []byte { b[len(b)-1] |= 0x80; return b }, codec.ErrPadding},
	{"packed-trailing", "packed", func(b []byte) []byte { return append(b, 0) }, codec.ErrTrailing},
}

func set(at int, values ...byte) func([]byte) []byte {
	return func(b []byte) []byte {
		copy(b[at:], values)
		return b
	}
}

func count(n uint32) func([]byte) []byte {
	return set(countAt, binary.LittleEndian.AppendUint32(nil, n)...)
}

func variance(v float64) func([]byte) []byte {
	return set(bodyAt, binary.LittleEndian.AppendUint64(nil, math.Float64bits(v))...)
}

const listFiles = "testdata/lists"

// TestListCorpus reads the lists in testdata, valid ones and damaged ones.
func TestListCorpus(t *testing.T) {
	sk, _ := listKeys(t)
	p := sk.Parameters()
	fresh := encryptList(t, sk, sk, "corpus", Plain(Bool, 1), Plain(Uint8, 0xe4))
	if files, err := filepath.Glob(filepath.Join(listFiles, "*.tacit")); err != nil || len(files) != len(listCorpus) && !*update {
		t.Errorf("%d files in %s, want %d (%v)", len(files), listFiles, len(listCorpus), err)
	}
	for _, c := range listCorpus {
		t.Run(c.name, func(t *testing.T) {
			valid := fresh
			switch c.base {
			case "computed":
				valid = computedList(fresh)
			case "packed":
				valid = packedList(t, sk, fresh)
			}
			data := marshalList(t, valid)
			made := codec.Encode(codec.Ciphertexts, p.Fingerprint(), c.edit(data[codec.HeaderSize:len(data)-codec.DigestSize]))
			file := filepath.Join(listFiles, c.name+".tacit")
			if *update {
				if err := os.WriteFile(file, made, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			stored, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(made, stored) {
				t.Error("the encoder no longer makes this file")
			}
			l, err := UnmarshalList(stored, p)
			if !errors.Is(err, c.want) && !cmp.Equal(innermost(err), c.want) {
				t.Errorf("got  %v\nwant %v", err, c.want)
			}
			if err == nil && (Decrypt(sk, l.Value(0)).String() != "ebool:true" || Decrypt(sk, l.Value(1)).String() != "euint8:228") {
				t.Error("the stored list has other plaintexts")
			}
		})
	}
}

// innermost is the error that err wraps, through all layers.
func innermost(err error) error {
	for errors.Unwrap(err) != nil {
		err = errors.Unwrap(err)
	}
	return err
}

// A count that the body cannot hold costs no memory.
func TestListAllocations(t *testing.T) {
	p := preset(t, fhe.TestPreset)
	for name, body := range map[string][]byte{
		"computed": append(append(binary.LittleEndian.AppendUint32(make([]byte, 32), MaxListValues), bytes.Repeat([]byte{byte(Uint64)}, MaxListValues)...), computedForm),
		"packed":   append(append(binary.LittleEndian.AppendUint32(make([]byte, 32), 2048), bytes.Repeat([]byte{byte(Uint64)}, 2048)...), packedForm),
		"public":   append(append(binary.LittleEndian.AppendUint32(make([]byte, 32), 2048), bytes.Repeat([]byte{byte(Uint64)}, 2048)...), byte(fhe.PublicForm)),
	} {
		data := codec.Encode(codec.Ciphertexts, p.Fingerprint(), body)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := UnmarshalList(data, p)
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("%s: decoded", name)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
			t.Errorf("%s: %d bytes allocated", name, n)
		}
	}
}

// FuzzUnmarshalList decodes containers, and bodies in containers that are right.
// What is accepted is canonical and within its bounds.
func FuzzUnmarshalList(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 256 << 10, PerByte: 64})
	files, err := filepath.Glob(filepath.Join(listFiles, "*.tacit"))
	if err != nil || len(files) == 0 {
		f.Fatalf("no lists in %s: %v", listFiles, err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, false)
		f.Add(data[codec.HeaderSize:len(data)-codec.DigestSize], true)
	}
	p := preset(f, fhe.TestPreset)
	f.Fuzz(func(t *testing.T, data []byte, wrap bool) {
		if wrap {
			data = codec.Encode(codec.Ciphertexts, p.Fingerprint(), data)
		}
		l, err := UnmarshalList(data, p)
		if err != nil {
			return
		}
		if !bytes.Equal(marshalList(t, l), data) {
			t.Error("encoded again, the list is another one")
		}
		for i := range l.Len() {
			if i == 2 && l.Len() > 4 {
				i = l.Len() - 2 // the first two and the last two
			}
			v := l.Value(i)
			if v.Type != l.Type(i) || len(v.Blocks) != v.Type.Blocks() {
				t.Fatalf("value %d: %v with %d blocks", i, v.Type, len(v.Blocks))
			}
			for _, b := range v.Blocks {
				if b.Bound.Min < 0 || b.Bound.Min > b.Bound.Max || b.Bound.Max > v.Type.blockMax() || !(b.Bound.Variance >= 0 && b.Bound.Variance <= 1) {
					t.Fatalf("value %d: %+v", i, b.Bound)
				}
				if len(b.Value) != p.BigDimension()+1 || slices.Max(b.Value) >= p.Modulus() {
					t.Fatalf("value %d: %d residues up to %d", i, len(b.Value), slices.Max(b.Value))
				}
			}
		}
	})
}

// FuzzParseScalar feeds the readers of plaintexts, of types and of operations.
func FuzzParseScalar(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 64 << 10, PerByte: 64})
	for _, text := range []string{"euint64:100", "ebool:true", "euint256:0xffff", "euint8:-1", "eaddress:0x1", "euint8:1e3", "add", "euint16"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ParseOp(text)
		if typ, err := ParseType(text); err == nil && typ.String() != text {
			t.Errorf("%q is read as the type %v", text, typ)
		}
		s, err := ParseScalar(text)
		if err != nil {
			return
		}
		if again, err := ParseScalar(s.String()); err != nil || again.Type() != s.Type() || again.Big().Cmp(s.Big()) != 0 || s.Big().Sign() < 0 || s.Big().BitLen() > s.Type().Bits() {
			t.Errorf("%q is read as %v, and that as %v: %v", text, s, again, err)
		}
	})
}
