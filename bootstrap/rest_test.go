package bootstrap

import (
	"fmt"
	"testing"

	"github.com/tacit-fhe/tacit/accel/cpu"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/integer"
)

// TestSizesAtRest asserts what ciphertexts of the default parameters take at rest and
// on the wire, and that they hold what they held.
func TestSizesAtRest(t *testing.T) {
	f := load(t, fhe.DefaultPreset)
	sk := f.keys.Secret
	backend, err := cpu.New()
	if err != nil {
		t.Fatal(err)
	}
	enc, err := f.keys.Public.Encrypter(backend)
	if err != nil {
		t.Fatal(err)
	}
	fresh := func(enc integer.Encrypter, label string, values ...integer.Scalar) *integer.List {
		l, err := integer.Encrypt(f.params, sk.ID(), enc, testSeed(label), values...)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	packed := func(l *integer.List) *integer.List {
		var values []*integer.Value
		for i := range l.Len() {
			values = append(values, l.Value(i))
		}
		out, err := integer.Pack(f.params, sk.ID(), f.eval, values...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	var many []integer.Scalar
	for i := range uint64(32) {
		many = append(many, integer.Plain(integer.Uint64, i<<60+i))
	}
	one := fresh(sk, "one", many[7])
	list := fresh(sk, "many", many...)
	public := fresh(enc, "public", many...)
	for _, c := range []struct {
		what string
		list *integer.List
		most int // bytes
		hold []integer.Scalar
	}{
		{"a packed euint64", packed(one), 8 << 10, many[7:8]},
		{"a packed ebool", packed(fresh(sk, "bool", integer.Plain(integer.Bool, 1))), 8 << 10, []integer.Scalar{integer.Plain(integer.Bool, 1)}},
		{"32 packed euint64", packed(list), 32 << 10, many},
		{"a euint64 of a list made with the secret key", list.Only(5), 400, many[5:6]},
		{"a euint64 of a list made with the public key", public.Only(5), 13 << 10, many[5:6]},
	} {
		data, err := c.list.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d bytes", c.what, len(data))
		if len(data) > c.most {
			t.Errorf("%s takes %d bytes, more than %d", c.what, len(data), c.most)
		}
		back, err := integer.UnmarshalList(data, f.params)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range c.hold {
			if got := integer.Decrypt(sk, back.Value(i)); got.String() != want.String() {
				t.Errorf("%s: value %d is %s, want %s", c.what, i, got, want)
			}
		}
	}
}

// TestBoundsAtRest packs a value with a trivial block and two of one source.
func TestBoundsAtRest(t *testing.T) {
	f := load(t, fhe.TestPreset)
	in := f.encrypt("bounds", 3, 1, 2)
	not := f.params.Combine(3, fhe.Term{Weight: -1, LWE: in[0]})
	v := &integer.Value{Type: integer.Uint8, Blocks: []fhe.LWE{in[0], not, in[1], f.params.Trivial(2)}}
	list, err := integer.Pack(f.params, f.keys.Secret.ID(), f.eval, v, &integer.Value{Type: integer.Bool, Blocks: []fhe.LWE{f.params.Trivial(1)}})
	if err != nil {
		t.Fatal(err)
	}
	out := list.Value(0)
	if got := integer.Decrypt(f.keys.Secret, out).String(); got != fmt.Sprintf("euint8:%d", 1+4*2+16*2+64*2) {
		t.Errorf("got %s", got)
	}
	sources := make(map[uint64]int)
	for i, b := range out.Blocks {
		want := f.params.PackedBound(in[0].Bound).Variance
		if b.Bound.Variance != want || b.Bound.Source == 0 {
			t.Errorf("block %d: %+v, want variance %g", i, b.Bound, want)
		}
		sources[b.Bound.Source]++
	}
	if out.Blocks[0].Bound.Source != in[0].Bound.Source || out.Blocks[1].Bound.Source != in[0].Bound.Source || len(sources) != 3 {
		t.Errorf("sources %v", sources)
	}
	if b := out.Blocks[3].Bound; b.Min != 2 || b.Max != 2 {
		t.Errorf("the trivial block holds [%d, %d]", b.Min, b.Max)
	}
	clean := f.params.PackingVariance() + f.params.RoundingVariance()
	if b := list.Value(1).Blocks[0].Bound; b.Variance != clean || b.Source == 0 {
		t.Errorf("a trivial value: %+v, want variance %g", b, clean)
	}
}
