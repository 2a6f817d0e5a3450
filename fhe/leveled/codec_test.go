package leveled

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/tuneinsight/lattigo/v5/ring/ringqp"

	"github.com/tacit-fhe/tacit/bench/fuzztest"
	"github.com/tacit-fhe/tacit/fhe/codec"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func keyBytes(t testing.TB, evk *EvaluationKey) []byte {
	t.Helper()
	var b bytes.Buffer
	n, err := evk.WriteTo(&b)
	if err != nil || n != int64(b.Len()) || n != evk.Size() {
		t.Fatalf("WriteTo = %d, %v; %d bytes, Size %d", n, err, b.Len(), evk.Size())
	}
	return b.Bytes()
}

// TestRoundTrip writes and reads everything, and computes with what was read.
func TestRoundTrip(t *testing.T) {
	for _, name := range []string{"bgv-13", "bfv-13", "ckks-13"} {
		s := use(t, name)
		for _, p := range []*Parameters{nil, s.p} {
			sk, err := UnmarshalSecretKey(must(s.keys.Secret.MarshalBinary()), p)
			if err != nil {
				t.Fatal(err)
			}
			public := must(s.keys.Public.MarshalBinary())
			if int64(len(public)) != s.p.PublicKeySize() {
				t.Errorf("public key of %d bytes, want %d", len(public), s.p.PublicKeySize())
			}
			pk, err := UnmarshalPublicKey(public, p)
			if err != nil {
				t.Fatal(err)
			}
			data := keyBytes(t, s.keys.Evaluation)
			if size := must(s.p.EvaluationKeySize(s.keys.Evaluation.Spec())); size != int64(len(data)) {
				t.Errorf("evaluation key of %d bytes, want %d", len(data), size)
			}
			evk, err := ReadEvaluationKey(bytes.NewReader(data), p)
			if err != nil {
				t.Fatal(err)
			}
			if sum := KeyID(sha256.Sum256(data)); evk.ID() != sum || sk.ID() != sum || pk.ID() != sum {
				t.Errorf("%s: ids differ from the SHA-256 of the evaluation key", name)
			}
			if _, id, spec, err := CheckEvaluationKey(bytes.NewReader(data), p); err != nil || id != evk.ID() || len(spec.Rotations) != len(evk.Spec().Rotations) {
				t.Errorf("CheckEvaluationKey: %v", err)
			}
			var a, b *Ciphertext
			if s.p.Scheme().Integers() {
				a, b = must(NewEncryptor(sk).Integers([]int64{3, -4})), must(NewPublicEncryptor(pk).Integers([]int64{3, -4}))
			} else {
				a, b = must(NewEncryptor(sk).Reals([]float64{0.5, -0.25})), must(NewPublicEncryptor(pk).BoundedReals([]float64{0.5, -0.25}, 3))
			}
			list, err := UnmarshalCiphertexts(must(MarshalCiphertexts(a, b)), p)
			if err != nil || len(list) != 2 || !list[0].Fresh() || !list[1].Fresh() {
				t.Fatalf("%v, %v", list, err)
			}
			if list[0].Noise() != a.Noise() || list[1].Noise() != b.Noise() || list[1].Length() != 2 {
				t.Errorf("noise of fresh ciphertexts: %+v, %+v", list[0].Noise(), list[1].Noise())
			}
			c := must(NewEvaluator(evk).Mul(list[0], list[1]))
			c = must(NewEvaluator(evk).Rotate(c, 1))
			back := must(UnmarshalCiphertexts(must(MarshalCiphertexts(c)), p))[0]
			if back.Fresh() || back.Noise() != c.Noise() {
				t.Errorf("computed ciphertext: fresh %v, noise %+v", back.Fresh(), back.Noise())
			}
			if s.p.Scheme().Integers() {
				if got := must(s.dec.Integers(back)); got[0] != 16 || got[1] != 0 {
					t.Errorf("%s: got %v", name, got)
				}
			} else if got := must(s.dec.Reals(back)); got[0] < 0.0624 || got[0] > 0.0626 {
				t.Errorf("%s: got %v", name, got)
			}
		}
	}
}

// seal makes a container with a right digest around a body.
func seal(kind codec.Kind, p *Parameters, body []byte) []byte {
	return codec.Encode(kind, p.fingerprint, body)
}

func body(data []byte) []byte {
	return append([]byte(nil), data[codec.HeaderSize:len(data)-codec.DigestSize]...)
}

// TestHostile changes bytes of objects, seals them again and expects typed errors.
func TestHostile(t *testing.T) {
	s := use(t, "bgv-13")
	p := s.p
	ct := body(must(MarshalCiphertexts(must(s.pk.Integers([]int64{1})))))
	computed := body(must(MarshalCiphertexts(must(s.eval.Rotate(must(s.pk.Integers([]int64{1})), 1)))))
	key := body(keyBytes(t, s.keys.Evaluation))
	public := body(must(s.keys.Public.MarshalBinary()))
	put := func(body []byte, at int, v ...byte) []byte {
		out := append([]byte(nil), body...)
		copy(out[at:], v)
		return out
	}
	f64 := func(bits uint64) []byte { return binary.LittleEndian.AppendUint64(nil, bits) }
	readCt := func(b []byte) error {
		_, err := UnmarshalCiphertexts(seal(codec.LeveledCiphertexts, p, b), p)
		return err
	}
	readKey := func(b []byte) error {
		_, err := ReadEvaluationKey(bytes.NewReader(seal(codec.LeveledEvaluationKey, p, b)), nil)
		_, _, _, again := CheckEvaluationKey(bytes.NewReader(seal(codec.LeveledEvaluationKey, p, b)), nil)
		if (err == nil) != (again == nil) || err != nil && err.Error() != again.Error() {
			t.Errorf("ReadEvaluationKey: %v, CheckEvaluationKey: %v", err, again)
		}
		return err
	}
	ones := bytes.Repeat([]byte{0xff}, 6)
	for _, test := range []struct {
		what string
		err  error
		want any
	}{
		{"residue", readCt(put(ct, len(ct)-5, ones[:5]...)), new(*codec.ResidueError)},
		{"first residue", readCt(put(ct, 40, ones...)), new(*codec.ResidueError)},
		{"no ciphertext", readCt(put(ct, 32, 0, 0)), new(*codec.LimitError)},
		{"one too many", readCt(put(ct, 32, 2, 0)), new(*codec.TruncatedError)},
		{"too many", readCt(put(ct, 32, 0xff, 0xff)), new(*codec.LimitError)},
		{"length 0", readCt(put(ct, 35, 0, 0, 0, 0)), new(*ValueError)},
		{"length", readCt(put(ct, 35, ones[:4]...)), new(*ValueError)},
		{"bound of integers", readCt(put(ct, 39, 1)), new(*ValueError)},
		{"truncated", readCt(ct[:len(ct)-1]), new(*codec.TruncatedError)},
		{"level", readCt(put(computed, 39, 4)), new(*LevelError)},
		{"lower level", readCt(put(computed, 39, 2)), nil},
		{"sigma NaN", readCt(put(computed, 40, f64(0x7ff8000000000001)...)), codec.ErrNotFinite},
		{"sigma", readCt(put(computed, 40, f64(0x40c0000000000000)...)), new(*ValueError)},
		{"sigma over the budget", readCt(put(computed, 40, f64(0x4069000000000000)...)), new(*BudgetError)},
		{"scale 0", readCt(put(computed, 56, f64(0)...)), new(*ValueError)},
		{"scale 1.5", readCt(put(computed, 56, f64(0x3ff8000000000000)...)), new(*ValueError)},
		{"flags", readKey(put(key, 0, 4)), nil},
		{"bootstrapping", readKey(put(key, 0, 2)), new(*ValueError)},
		{"rotations", readKey(put(key, 1, 0xff, 0xff)), new(*codec.LimitError)},
		{"fewer rotations", readKey(put(key, 1, 2, 0)), new(*codec.LimitError)},
		{"rotation 0", readKey(put(key, 3, 0)), nil},
		{"rotation twice", readKey(put(key, 7, 1)), nil},
		{"truncated key", readKey(key[:len(key)-1]), new(*codec.TruncatedError)},
		{"long key", readKey(append(append([]byte(nil), key...), 0)), new(*codec.LimitError)},
		{"residue of a key", readKey(put(key, len(key)-7, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)), new(*codec.ResidueError)},
		{"residue of a public key", func() error {
			_, err := UnmarshalPublicKey(seal(codec.LeveledPublicKey, p, put(public, 64, ones...)), nil)
			return err
		}(), new(*codec.ResidueError)},
		{"short public key", func() error {
			_, err := UnmarshalPublicKey(seal(codec.LeveledPublicKey, p, public[:100]), nil)
			return err
		}(), new(*codec.TruncatedError)},
		{"long secret key", func() error {
			_, err := UnmarshalSecretKey(seal(codec.LeveledSecretKey, p, public[:100]), nil)
			return err
		}(), new(*codec.LimitError)},
		{"kind", func() error {
			_, err := UnmarshalSecretKey(seal(codec.LeveledPublicKey, p, public), nil)
			return err
		}(), new(*codec.KindError)},
		{"parameters", func() error {
			_, err := UnmarshalCiphertexts(seal(codec.LeveledCiphertexts, p, ct), use(t, "bfv-13").p)
			return err
		}(), new(*codec.ParametersError)},
		{"unknown parameters", func() error {
			_, err := UnmarshalCiphertexts(codec.Encode(codec.LeveledCiphertexts, [32]byte{1}, ct), nil)
			return err
		}(), new(*UnknownError)},
		{"digest", func() error {
			data := seal(codec.LeveledCiphertexts, p, ct)
			data[100] ^= 1
			_, err := UnmarshalCiphertexts(data, nil)
			return err
		}(), codec.ErrDigest},
	} {
		if sentinel, ok := test.want.(error); ok {
			if !errors.Is(test.err, sentinel) {
				t.Errorf("%s: got %v, want %v", test.what, test.err, sentinel)
			}
		} else if test.err == nil || test.want != nil && !errors.As(test.err, test.want) {
			t.Errorf("%s: got %v, want %T", test.what, test.err, test.want)
		}
	}
}

// fuzzSets are sets of each scheme with a ring of degree 16, which no security limit allows: their objects are decoded by
// the same code as those of any other set, and are so small that each residue of them is fuzzed.
func fuzzSets() (sets []*Parameters) {
	const logN = 4
	maxLogQP[logN] = 128
	defer delete(maxLogQP, logN)
	for _, lit := range []Literal{
		{Name: "fuzz-bgv", Scheme: BGV, LogN: logN, LogQ: []int{30, 24}, LogP: []int{31}, PlaintextModulus: 97},
		{Name: "fuzz-bfv", Scheme: BFV, LogN: logN, LogQ: []int{30, 24}, LogP: []int{31}, PlaintextModulus: 97},
		{Name: "fuzz-ckks", Scheme: CKKS, LogN: logN, LogQ: []int{30, 24}, LogP: []int{31}, LogScale: 24},
	} {
		sets = append(sets, must(NewParameters(lit)))
	}
	return sets
}

// fuzzKeys are keys for the seeds of fuzz targets. They are the same in every run, and nothing can be computed with them.
func fuzzKeys(p *Parameters) *KeySet {
	sk := newSecretKey(p, [SeedSize]byte{1}, KeyID{2})
	keys := &KeySet{sk, sk.publicKey(), sk.evaluationKey(KeySpec{Rotations: []int{1, 3}, SwapRows: p.Scheme().Integers()}, nil)}
	keys.Evaluation.id, keys.Public.seed = sk.id, [SeedSize]byte{3}
	settle(p, keys.Public.key.Value[0])
	for i := range keys.Evaluation.parts {
		pt := &keys.Evaluation.parts[i]
		pt.seed = [SeedSize]byte{byte(i)}
		for _, digit := range pt.key.Value {
			settle(p, digit[0][0])
		}
	}
	return keys
}

// settle fills a polynomial with residues that are the same in every run.
func settle(p *Parameters, poly ringqp.Poly) {
	for _, part := range []struct {
		rows   [][]uint64
		primes []uint64
	}{{poly.Q.Coeffs, p.rlwe.Q()}, {poly.P.Coeffs, p.rlwe.P()}} {
		for j, row := range part.rows {
			for i := range row {
				row[i] = uint64(i+j) * 0x123456789abcdef % part.primes[j]
			}
		}
	}
}

// FuzzCiphertexts reads bodies with a right digest: no panic, and what is accepted is written again as the same bytes.
func FuzzCiphertexts(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 64 << 10, PerByte: 64})
	sets := fuzzSets()
	for i, p := range sets {
		keys := fuzzKeys(p)
		var list []*Ciphertext
		for _, enc := range []*Encryptor{NewEncryptor(keys.Secret), NewPublicEncryptor(keys.Public)} {
			var c *Ciphertext
			if p.Scheme() == CKKS {
				c = must(enc.Reals([]float64{1}))
			} else {
				c = must(enc.Integers([]int64{1}))
			}
			list = append(list, c, must(NewEvaluator(keys.Evaluation).Neg(c)))
		}
		for _, c := range list {
			for _, poly := range c.ct.Value {
				settle(p, ringqp.Poly{Q: poly})
			}
			if c.seed != nil {
				c.seed = &[SeedSize]byte{4}
			}
			f.Add(body(must(MarshalCiphertexts(c))), byte(i))
		}
		f.Add(body(must(MarshalCiphertexts(list...))), byte(i))
	}
	f.Add([]byte{}, byte(0))
	f.Fuzz(func(t *testing.T, body []byte, set byte) {
		p := sets[int(set)%len(sets)]
		data := seal(codec.LeveledCiphertexts, p, body)
		cs, err := UnmarshalCiphertexts(data, p)
		if err != nil {
			return
		}
		again, err := MarshalCiphertexts(cs...)
		if err != nil || !bytes.Equal(again, data) {
			t.Errorf("accepted bytes are not written again: %v", err)
		}
	})
}

// FuzzKeys reads bodies of secret and public keys with a right digest.
func FuzzKeys(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 64 << 10, PerByte: 64})
	sets := fuzzSets()
	for i, p := range sets {
		keys := fuzzKeys(p)
		f.Add(body(must(keys.Secret.MarshalBinary())), byte(i), false)
		f.Add(body(must(keys.Public.MarshalBinary())), byte(i), true)
	}
	f.Add([]byte{}, byte(0), true)
	f.Fuzz(func(t *testing.T, body []byte, set byte, public bool) {
		p := sets[int(set)%len(sets)]
		if public {
			data := seal(codec.LeveledPublicKey, p, body)
			if pk, err := UnmarshalPublicKey(data, p); err == nil && !bytes.Equal(must(pk.MarshalBinary()), data) {
				t.Error("a public key is not canonical")
			}
			return
		}
		data := seal(codec.LeveledSecretKey, p, body)
		if sk, err := UnmarshalSecretKey(data, p); err == nil && !bytes.Equal(must(sk.MarshalBinary()), data) {
			t.Error("a secret key is not canonical")
		}
	})
}

// FuzzEvaluationKey reads bodies of keys with a right digest, and beginnings of keys whose header gives any length: no
// panic, no memory for what has not arrived, and what is accepted is written again as the same bytes.
func FuzzEvaluationKey(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 1 << 20, PerByte: 64})
	sets := fuzzSets()
	for i, p := range sets {
		key := body(keyBytes(f, fuzzKeys(p).Evaluation))
		f.Add(key, uint64(0), byte(i), false)
		f.Add(key[:len(key)/2], uint64(len(key)), byte(i), true)
	}
	large := must(ByName("bgv-13"))
	f.Add([]byte{1, 2, 0, 1, 0, 0, 0, 2, 0, 0, 0}, uint64(1<<20), byte(len(sets)), true)
	f.Add([]byte{}, uint64(maxEvaluationKey), byte(len(sets)), true)
	f.Add([]byte{0, 0, 0}, uint64(must(large.EvaluationKeySize(KeySpec{Rotations: []int{}}))-codec.Overhead), byte(len(sets)), true)
	f.Fuzz(func(t *testing.T, body []byte, length uint64, set byte, cut bool) {
		p, want := large, (*Parameters)(nil)
		if i := int(set) % (len(sets) + 1); i < len(sets) {
			p, want = sets[i], sets[i]
		}
		data := seal(codec.LeveledEvaluationKey, p, body)
		if cut {
			data = data[:codec.HeaderSize+len(body)]
			binary.LittleEndian.PutUint64(data[40:], length)
		}
		evk, err := ReadEvaluationKey(bytes.NewReader(data), want)
		if _, id, _, again := CheckEvaluationKey(bytes.NewReader(data), want); (err == nil) != (again == nil) || err != nil && err.Error() != again.Error() || err == nil && id != evk.ID() {
			t.Errorf("ReadEvaluationKey: %v, CheckEvaluationKey: %v", err, again)
		}
		if err != nil {
			return
		}
		if cut {
			t.Error("an incomplete key was accepted")
		}
		var back bytes.Buffer
		if _, err := evk.WriteTo(&back); err != nil || !bytes.Equal(back.Bytes(), data) {
			t.Errorf("accepted bytes are not written again: %v", err)
		}
	})
}
