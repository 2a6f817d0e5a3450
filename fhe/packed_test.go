package fhe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/tacit-fhe/tacit/bench/fuzztest"
	"github.com/tacit-fhe/tacit/fhe/codec"
	"github.com/tacit-fhe/tacit/fhe/noise"
)

// packingSets are the parameter sets that pack, and one with another rank.
func packingSets(t testing.TB) []*Parameters {
	var out []*Parameters
	for _, name := range PresetNames() {
		p := preset(t, name)
		l := p.Literal()
		if integers := l.MessageBits == 2 && l.CarryBits == 2; integers != p.Packs() {
			t.Errorf("%s: packs: %v", name, p.Packs())
		}
		if p.Packs() {
			out = append(out, p)
		}
	}
	l := preset(t, TestPreset).Literal()
	l.Name, l.Rank = "insecure-test-rank", 2
	p, err := NewParameters(l)
	if err != nil {
		t.Fatal(err)
	}
	return append(out, p)
}

// What packing adds stays within a few per cent of a bootstrap output, and the
// rounding is the coarsest that does.
func TestPackedVariance(t *testing.T) {
	for _, p := range packingSets(t) {
		b := p.BootstrapVariance()
		if x := p.PackingVariance() / b; !(x > 0 && x < 1.0/64) {
			t.Errorf("%s: packing adds %g of a bootstrap output", p.Name(), x)
		}
		if x := p.RoundingVariance() / b; !(x > 1.0/256 && x <= 1.0/64) {
			t.Errorf("%s: rounding adds %g of a bootstrap output", p.Name(), x)
		}
		in := noise.Bound{Variance: 2 * b, Min: 1, Max: 3, Source: 7}
		if got := p.PackedBound(in); got.Min != 1 || got.Max != 3 || got.Source != 7 || got.Variance < 0.999999*(2*b+p.PackingVariance()+p.RoundingVariance()) {
			t.Errorf("%s: the bound %+v becomes %+v", p.Name(), in, got)
		}
		t.Logf("%s: %d bits, packing adds %.4f, rounding %.4f of a bootstrap output", p.Name(), p.PackedBits(), p.PackingVariance()/b, p.RoundingVariance()/b)
	}
}

// TestPackedRoundTrip rounds GLWE ciphertexts, also at the ends of the range of
// residues, encodes them and reads them back.
func TestPackedRoundTrip(t *testing.T) {
	for _, p := range packingSets(t) {
		n, size, q := p.Literal().PolynomialSize, p.BigDimension(), p.Modulus()
		unit := uint64(1) << (48 - p.PackedBits())
		for _, count := range []int{0, 1, 3, n, n + 5} {
			var glwes [][]uint64
			s := newStream(testSeed("packed"), "test", uint64(count))
			for at := 0; at < count; at += n {
				glwe := make([]uint64, size+n)
				s.residues(glwe, q)
				glwe[0], glwe[1], glwe[2], glwe[3], glwe[4] = 0, unit/2-1, unit/2, q-1, q-unit/2-unit
				glwes = append(glwes, glwe)
			}
			packed := p.NewPacked(glwes, count)
			var body bytes.Buffer
			e := codec.NewEncoder(&body)
			packed.Encode(p, e)
			d := codec.NewBytesDecoder(body.Bytes())
			back, err := DecodePacked(p, d, count)
			if err == nil {
				err = d.Finish()
			}
			if e.Err() != nil || err != nil {
				t.Fatalf("%s, %d: %v %v", p.Name(), count, e.Err(), err)
			}
			if want := 4 + len(glwes)*(4+size*p.PackedBits()/8) + (count*p.PackedBits()+7)/8; body.Len() != want || back.Len() != count {
				t.Errorf("%s: %d ciphertexts are %d in %d bytes, want %d", p.Name(), count, back.Len(), body.Len(), want)
			}
			for i := range count {
				ct, again := packed.LWE(p, i, noise.Bound{}), back.LWE(p, i, noise.Bound{})
				if !slices.Equal(ct.Value, again.Value) {
					t.Fatalf("%s: ciphertext %d of %d has changed", p.Name(), i, count)
				}
				if i%97 != 0 && i != count-1 {
					continue
				}
				exact := make([]uint64, size)
				p.ExtractMask(exact, glwes[i/n], i%n*p.PackedStride(min(n, count-i/n*n)))
				for j, a := range exact {
					if e := centred(SubMod(a, ct.Value[j], q), q); e < -int64(unit/2) || e > int64(unit/2) {
						t.Fatalf("%s: residue %d is rounded to %d", p.Name(), a, ct.Value[j])
					}
				}
			}
		}
	}
}

// TestRoundingNoise compares what rounding adds to the errors with the formula: the
// sample variance lies within its 99 % interval, and neighbours are correlated as
// little as the bits of one key are. (Without centring it would be about one half.)
func TestRoundingNoise(t *testing.T) {
	for _, p := range []*Parameters{preset(t, DefaultPreset), packingSets(t)[len(packingSets(t))-1]} {
		sk, _, err := EncryptionKeys(p, testSeed("rounding"), backend(t))
		if err != nil {
			t.Fatal(err)
		}
		n, size, q := p.Literal().PolynomialSize, p.BigDimension(), p.Modulus()
		s := newStream(testSeed("rounding"), "test", 0)
		var squares, neighbours, samples float64
		for samples < 4096 {
			glwe := make([]uint64, size+n)
			s.residues(glwe, q)
			const count = 32
			packed := p.NewPacked([][]uint64{glwe}, count)
			last := 0.0
			for i := range count {
				h := i * p.PackedStride(count)
				exact := LWE{Value: make([]uint64, size+1)}
				p.ExtractMask(exact.Value, glwe[:size], h)
				exact.Value[size] = glwe[size+h]
				e := float64(centred(SubMod(sk.Phase(packed.LWE(p, i, noise.Bound{})), sk.Phase(exact), q), q)) / float64(q)
				squares += e * e
				neighbours += last * e
				last = e
				samples++
			}
		}
		ratio, within := squares/samples/p.RoundingVariance(), 2.576*math.Sqrt(2/samples)
		t.Logf("%s: 2^%.2f, measured/predicted %.3f ± %.3f over %.0f", p.Name(), math.Log2(p.RoundingVariance()), ratio, within, samples)
		if math.Abs(ratio-1) > within {
			t.Errorf("%s: rounding adds %.3f times its variance, outside 1 ± %.3f", p.Name(), ratio, within)
		}
		if r := neighbours / squares; math.Abs(r) > 4*math.Sqrt(1/samples+1/float64(n)) {
			t.Errorf("%s: neighbours have a correlation of %.3f", p.Name(), r)
		}
	}
}

func TestDecodePackedRefuses(t *testing.T) {
	p := preset(t, TestPreset)
	var lerr *codec.LimitError
	if _, err := DecodePacked(p, codec.NewBytesDecoder(nil), MaxSlots+1); !errors.As(err, &lerr) {
		t.Errorf("too many: %v", err)
	}
	var terr *codec.TruncatedError
	for what, body := range map[string][]byte{
		"no groups":      {0, 0, 0, 0},
		"too few groups": {1, 0, 0, 0, 5, 0, 0, 0},
		"no mask":        {2, 0, 0, 0, 5, 0, 0, 0, 2, 0, 0, 0, 1},
		"many groups":    {7, 0, 0, 0, 1, 0, 0, 0},
	} {
		if _, err := DecodePacked(p, codec.NewBytesDecoder(body), 7); !errors.As(err, &terr) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, body := range map[string][]byte{
		"more groups than ciphertexts": {8, 0, 0, 0, 1, 0, 0, 0},
		"an empty group":               {2, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0},
		"a group that is too large":    {1, 0, 0, 0, 8, 0, 0, 0},
		"a group of 2^31":              {1, 0, 0, 0, 0, 0, 0, 128},
	} {
		if _, err := DecodePacked(p, codec.NewBytesDecoder(body), 7); !errors.As(err, &lerr) {
			t.Errorf("%s: %v", what, err)
		}
	}
	body := binary.LittleEndian.AppendUint32([]byte{1, 0, 0, 0}, uint32(p.Literal().PolynomialSize+1))
	if _, err := DecodePacked(p, codec.NewBytesDecoder(body), 2000); !errors.As(err, &lerr) {
		t.Errorf("a group larger than N: %v", err)
	}
}

// A part of an encryption is the same ciphertexts.
func TestSlice(t *testing.T) {
	p, ks := preset(t, TestPreset), keys(t, TestPreset)
	enc, err := ks.Public.Encrypter(backend(t))
	if err != nil {
		t.Fatal(err)
	}
	n := p.Literal().PolynomialSize
	messages := make([]int64, 2*n+10)
	for _, whole := range []*Encryption{ks.Secret.Encrypt(testSeed("slice"), messages), enc.Encrypt(testSeed("slice"), messages)} {
		for _, at := range []struct{ from, count, masks int }{{0, 1, 1}, {0, 0, 0}, {n - 1, 1, 1}, {n - 1, 2, 2}, {n, n, 1}, {5, 2 * n, 3}, {2*n + 9, 1, 1}, {2*n + 10, 0, 0}} {
			part := whole.Slice(p, at.from, at.count).Slice(p, 0, at.count)
			var body bytes.Buffer
			part.Encode(p, codec.NewEncoder(&body))
			d := codec.NewBytesDecoder(body.Bytes())
			back, err := DecodeEncryption(p, d, at.count)
			if err == nil {
				err = d.Finish()
			}
			if err != nil {
				t.Fatalf("%s %+v: %v", whole.Form(), at, err)
			}
			want := 1 + 4 + SeedSize + 6*at.count
			if whole.Form() == PublicForm {
				want = 1 + 4 + p.BigDimension()*p.PackedBits()/8*at.masks + (at.count*p.PackedBits()+7)/8
			}
			if body.Len() != want || back.Form() != whole.Form() || back.Len() != at.count {
				t.Errorf("%s %+v: %d in %d bytes, want %d", whole.Form(), at, back.Len(), body.Len(), want)
			}
			for i := range at.count {
				got, want := back.LWE(p, i, 3), whole.LWE(p, at.from+i, 3)
				if !slices.Equal(got.Value, want.Value) || got.Bound != want.Bound {
					t.Fatalf("%s %+v: ciphertext %d is another one", whole.Form(), at, i)
				}
			}
		}
	}
}

// FuzzDecodePacked feeds the decoder of ciphertexts at rest.
func FuzzDecodePacked(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 128 << 10, PerByte: 32})
	p := preset(f, TestPreset)
	for _, count := range []int{1, 3, 600} {
		var glwes [][]uint64
		for range (count + p.lit.PolynomialSize - 1) / p.lit.PolynomialSize {
			glwes = append(glwes, make([]uint64, p.BigDimension()+p.lit.PolynomialSize))
		}
		var body bytes.Buffer
		p.NewPacked(glwes, count).Encode(p, codec.NewEncoder(&body))
		f.Add(body.Bytes(), count)
	}
	f.Fuzz(func(t *testing.T, body []byte, count int) {
		if count < 0 {
			return
		}
		d := codec.NewBytesDecoder(body)
		c, err := DecodePacked(p, d, count)
		if err != nil || d.Finish() != nil {
			return
		}
		var back bytes.Buffer
		c.Encode(p, codec.NewEncoder(&back))
		if !bytes.Equal(back.Bytes(), body) || c.Len() != count {
			t.Error("packed ciphertexts are not canonical")
		}
		for i := range min(c.Len(), 8) {
			c.LWE(p, i, noise.Bound{})
		}
	})
}
