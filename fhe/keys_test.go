package fhe

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/accel/cpu"
	"github.com/tacit-fhe/tacit/bench/fuzztest"
	"github.com/tacit-fhe/tacit/fhe/codec"
)

func backend(t testing.TB) accel.Backend {
	t.Helper()
	b, err := cpu.New()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var keySets sync.Map // preset -> func() (*KeySet, error)

// keys returns the one key set of a preset that all tests share.
func keys(t testing.TB, name string) *KeySet {
	t.Helper()
	once, _ := keySets.LoadOrStore(name, sync.OnceValues(func() (*KeySet, error) {
		return GenerateKeys(context.Background(), preset(t, name), testSeed("keys"), backend(t), nil)
	}))
	ks, err := once.(func() (*KeySet, error))()
	if err != nil {
		t.Fatal(err)
	}
	return ks
}

func testSeed(label string) [SeedSize]byte { return sha256.Sum256([]byte("fhe test " + label)) }

func TestEncryptDecrypt(t *testing.T) {
	for _, name := range PresetNames() {
		p, ks := preset(t, name), keys(t, name)
		enc, err := ks.Public.Encrypter(backend(t))
		if err != nil {
			t.Fatal(err)
		}
		top := p.MessageMax()
		messages := make([]int64, p.Literal().PolynomialSize+3) // two groups
		for i := range messages {
			messages[i] = int64(i*i) % (top + 1)
		}
		for _, e := range []*Encryption{
			ks.Secret.Encrypt(testSeed("secret"), messages),
			enc.Encrypt(testSeed("public"), messages),
		} {
			var body bytes.Buffer
			w := codec.NewEncoder(&body)
			e.Encode(p, w)
			d := codec.NewBytesDecoder(body.Bytes())
			back, err := DecodeEncryption(p, d, e.Len())
			if err == nil {
				err = d.Finish()
			}
			if w.Err() != nil || err != nil {
				t.Fatalf("%s %s: %v %v", name, e.Form(), w.Err(), err)
			}
			for i, m := range messages {
				ct := back.LWE(p, i, top)
				if got := ks.Secret.Decrypt(ct); got != m {
					t.Fatalf("%s %s: message %d is %d, want %d", name, e.Form(), i, got, m)
				}
				if x := ks.Secret.Noise(ct); x*x > 50*ct.Bound.Variance {
					t.Errorf("%s %s: error %g of message %d, variance %g", name, e.Form(), x, i, ct.Bound.Variance)
				}
			}
			t.Logf("%s: %d messages in %d bytes with the %s", name, len(messages), body.Len(), e.Form())
		}
	}
}

func TestDecryptUsesTheBound(t *testing.T) {
	p, sk := preset(t, TestPreset), keys(t, TestPreset).Secret
	one := sk.Encrypt(testSeed("bound"), []int64{3})
	for _, c := range []struct{ weight, constant, want int64 }{{1, -10, -7}, {-5, 0, -15}, {5, 0, 15}, {4, 8, 20}} {
		ct := p.Combine(c.constant, Term{c.weight, one.LWE(p, 0, 3)})
		if got := sk.Decrypt(ct); got != c.want {
			t.Errorf("%d·3%+d decrypts to %d", c.weight, c.constant, got)
		}
	}
}

func TestKeysRoundTrip(t *testing.T) {
	for _, name := range PresetNames() {
		ks := keys(t, name)
		secret, err := ks.Secret.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		sk, err := UnmarshalSecretKey(secret)
		if err != nil || sk.id != ks.Secret.id || sk.seed != ks.Secret.seed || fmt.Sprint(sk.big) != fmt.Sprint(ks.Secret.big) {
			t.Errorf("%s: secret key does not come back: %v", name, err)
		}
		public, err := ks.Public.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		pk, err := UnmarshalPublicKey(public)
		if err != nil || fmt.Sprint(pk.body, pk.seed, pk.id) != fmt.Sprint(ks.Public.body, ks.Public.seed, ks.Public.id) {
			t.Errorf("%s: public key does not come back: %v", name, err)
		}
		if got := ks.Public.params.PublicKeySize(); got != int64(len(public)) {
			t.Errorf("%s: PublicKeySize %d, want %d", name, got, len(public))
		}
		var evaluation bytes.Buffer
		if n, err := ks.Evaluation.WriteTo(&evaluation); err != nil || n != int64(evaluation.Len()) || n != ks.Evaluation.Size() {
			t.Fatalf("%s: WriteTo: %d bytes, %d written, size %d, %v", name, n, evaluation.Len(), ks.Evaluation.Size(), err)
		}
		if id := KeyID(sha256.Sum256(evaluation.Bytes())); id != ks.Secret.ID() || id != ks.Public.ID() {
			t.Errorf("%s: the key id is not the SHA-256 of the evaluation key", name)
		}
		evk, id, err := ReadEvaluationKey(bytes.NewReader(evaluation.Bytes()), nil)
		if err != nil || id != ks.Secret.ID() || evk.seed != ks.Evaluation.seed ||
			fmt.Sprint(evk.rows) != fmt.Sprint(ks.Evaluation.rows) || fmt.Sprint(evk.packs) != fmt.Sprint(ks.Evaluation.packs) || len(evk.ggsw) != len(ks.Evaluation.ggsw) || evk.ID() != id {
			t.Errorf("%s: evaluation key does not come back: %v", name, err)
		}
		if got, err := CheckEvaluationKey(bytes.NewReader(evaluation.Bytes()), ks.Public.Parameters()); err != nil || got != id {
			t.Errorf("%s: CheckEvaluationKey: %v, %v", name, got, err)
		}
		damaged := bytes.Clone(evaluation.Bytes())
		damaged[len(damaged)/2] ^= 1
		if _, err := CheckEvaluationKey(bytes.NewReader(damaged), nil); err == nil {
			t.Errorf("%s: CheckEvaluationKey accepted a damaged key", name)
		}
		t.Logf("%s: secret %d, public %d, evaluation %d bytes", name, len(secret), len(public), evaluation.Len())
	}
}

func TestReadersRefuseOtherParameters(t *testing.T) {
	var b bytes.Buffer
	keys(t, TestPreset).Evaluation.WriteTo(&b)
	var perr *codec.ParametersError
	if _, _, err := ReadEvaluationKey(&b, preset(t, DefaultPreset)); !errors.As(err, &perr) {
		t.Errorf("got %v", err)
	}
	unknown := codec.Encode(codec.PublicKey, [32]byte{1}, nil)
	var lerr *ParametersError
	if _, err := UnmarshalPublicKey(unknown); !errors.As(err, &lerr) {
		t.Errorf("got %v", err)
	}
}

func TestDecodeEncryptionRefuses(t *testing.T) {
	p := preset(t, TestPreset)
	var ferr *FormError
	if _, err := DecodeEncryption(p, codec.NewBytesDecoder([]byte{9}), 1); !errors.As(err, &ferr) {
		t.Errorf("unknown form: %v", err)
	}
	var lerr *codec.LimitError
	if _, err := DecodeEncryption(p, codec.NewBytesDecoder([]byte{1, 0, 0, 0, 0}), 1<<40); !errors.As(err, &lerr) {
		t.Errorf("2^40 messages: %v", err)
	}
	var terr *codec.TruncatedError
	if _, err := DecodeEncryption(p, codec.NewBytesDecoder([]byte{2, 0, 0, 0, 0, 0}), 1); !errors.As(err, &terr) {
		t.Errorf("no mask: %v", err)
	}
	body := append([]byte{1}, make([]byte, 4+SeedSize)...)
	body = append(body, 255, 255, 255, 255, 255, 255)
	var rerr *codec.ResidueError
	if _, err := DecodeEncryption(p, codec.NewBytesDecoder(body), 1); !errors.As(err, &rerr) {
		t.Errorf("a residue over q: %v", err)
	}
}

func TestCancelKeyGeneration(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	_, err := GenerateKeys(ctx, preset(t, DefaultPreset), testSeed("cancel"), backend(t), func(done, total int) {
		if done > total {
			t.Errorf("progress %d of %d", done, total)
		}
		cancel()
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestSamplers checks the ranges and the first two moments of everything that is
// drawn from a stream, against ten standard errors.
func TestSamplers(t *testing.T) {
	const count = 1 << 17
	s := newStream(testSeed("samplers"), "test", 0)
	near := func(what string, got, want, sd float64) {
		t.Helper()
		if math.Abs(got-want) > 10*sd/math.Sqrt(count) {
			t.Errorf("%s: %g, want %g", what, got, want)
		}
	}
	for _, b := range []int{0, 3, 14} {
		var sum, squares float64
		ends := 0
		for range count {
			x := s.tuniform(b)
			if x < -1<<b || x > 1<<b {
				t.Fatalf("TUniform(%d) gave %d", b, x)
			}
			if x == 1<<b || x == -1<<b {
				ends++
			}
			sum += float64(x)
			squares += float64(x * x)
		}
		v := (math.Exp2(float64(2*b+1)) + 1) / 6
		near("mean", sum/count, 0, math.Sqrt(v))
		near("variance", squares/count/v, 1, 1)
		near("weight of the ends", float64(ends)/count, 1/math.Exp2(float64(b+1)), 0.5)
	}
	residues := make([]uint64, count)
	s.residues(residues, DefaultModulus)
	var mean float64
	for _, r := range residues {
		if r >= DefaultModulus {
			t.Fatal("a residue is not below q")
		}
		mean += float64(r) / DefaultModulus / count
	}
	near("residues", mean, 0.5, 0.29)
	s.masks(residues)
	var ones float64
	for _, m := range residues {
		if m != 0 && m != math.MaxUint64 {
			t.Fatalf("mask %x", m)
		}
		ones += float64(m&1) / count
	}
	near("masks", ones, 0.5, 0.5)
	for _, size := range []int{2, 3} {
		blocks := make([]uint64, count/size*size)
		s.blocks(blocks, size)
		at := make([]float64, size+1)
		for i := 0; i < len(blocks); i += size {
			set, which := 0, size
			for j, m := range blocks[i : i+size] {
				if m != 0 && m != math.MaxUint64 {
					t.Fatalf("mask %x", m)
				}
				if m != 0 {
					set, which = set+1, j
				}
			}
			if set > 1 {
				t.Fatalf("%d ones in a block", set)
			}
			at[which] += float64(size) / count
		}
		for _, share := range at {
			near("blocks", share, 1/float64(size+1), math.Sqrt(float64(size))/2)
		}
	}
}

// FuzzReadKeys feeds every key decoder, with a whole container or with the body of one of that kind with a right digest.
func FuzzReadKeys(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 64 << 10, PerByte: 32})
	ks := keys(f, TestPreset)
	secret, _ := ks.Secret.MarshalBinary()
	public, _ := ks.Public.MarshalBinary()
	p := preset(f, TestPreset)
	short := codec.Encode(codec.EvaluationKey, p.Fingerprint(), make([]byte, 100))
	for kind, data := range map[codec.Kind][]byte{codec.SecretKey: secret, codec.PublicKey: public, codec.EvaluationKey: short} {
		f.Add(data, byte(0))
		f.Add(data[codec.HeaderSize:len(data)-codec.DigestSize], byte(kind))
	}
	var evaluation bytes.Buffer
	ks.Evaluation.WriteTo(&evaluation)
	f.Add(evaluation.Bytes()[:codec.HeaderSize+1000], byte(0)) // what a slow upload has brought
	f.Fuzz(func(t *testing.T, data []byte, kind byte) {
		if kind != 0 {
			data = codec.Encode(codec.Kind(kind), p.Fingerprint(), data)
		}
		if sk, err := UnmarshalSecretKey(data); err == nil {
			if out, _ := sk.MarshalBinary(); !bytes.Equal(out, data) {
				t.Error("a secret key is not canonical")
			}
		}
		if pk, err := UnmarshalPublicKey(data); err == nil {
			if out, _ := pk.MarshalBinary(); !bytes.Equal(out, data) {
				t.Error("a public key is not canonical")
			}
		}
		// ReadEvaluationKey takes the memory for a whole key once the length is right.
		if id, err := CheckEvaluationKey(bytes.NewReader(data), p); err == nil && id != sha256.Sum256(data) {
			t.Error("an evaluation key has another id than its bytes")
		}
	})
}

// FuzzDecodeEncryption feeds the decoder of fresh ciphertexts.
func FuzzDecodeEncryption(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 256 << 10, PerByte: 16})
	p := preset(f, TestPreset)
	f.Add(append([]byte{1}, make([]byte, 4+SeedSize+6)...), 1)
	f.Add(append([]byte{2}, make([]byte, 4+6*(p.BigDimension()+2))...), 2)
	f.Fuzz(func(t *testing.T, body []byte, count int) {
		if count < 0 {
			return
		}
		d := codec.NewBytesDecoder(body)
		e, err := DecodeEncryption(p, d, count)
		if err != nil || d.Finish() != nil {
			return
		}
		var back bytes.Buffer
		e.Encode(p, codec.NewEncoder(&back))
		if !bytes.Equal(back.Bytes(), body) {
			t.Error("an encryption is not canonical")
		}
		for i := range min(e.Len(), 8) {
			e.LWE(p, i, 3)
		}
	})
}

// TestCorruptedKeys reads the damaged objects in testdata: each is refused.
func TestCorruptedKeys(t *testing.T) {
	files, err := filepath.Glob("testdata/corrupted/*.bin")
	if err != nil || len(files) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, err1 := UnmarshalSecretKey(data)
		_, err2 := UnmarshalPublicKey(data)
		_, _, err3 := ReadEvaluationKey(bytes.NewReader(data), nil)
		if err1 == nil || err2 == nil || err3 == nil {
			t.Errorf("%s was accepted", file)
		}
	}
}
