package aes

import (
	"bytes"
	"context"
	stdaes "crypto/aes"
	"encoding/hex"
	"testing"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/accel/cpu"
	"github.com/tacit-fhe/tacit/bench/workloads/parity"
	"github.com/tacit-fhe/tacit/bootstrap"
	"github.com/tacit-fhe/tacit/fhe"
)

// vectors are those of FIPS 197: appendix B and appendix C.1.
var vectors = []struct{ key, plaintext, ciphertext string }{
	{"2b7e151628aed2a6abf7158809cf4f3c", "3243f6a8885a308d313198a2e0370734", "3925841d02dc09fbdc118597196a0b32"},
	{"000102030405060708090a0b0c0d0e0f", "00112233445566778899aabbccddeeff", "69c4e0d86a7b0430d8cdb78070b4c55a"},
}

func decode(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func backend(t testing.TB) accel.Backend {
	t.Helper()
	b, err := cpu.New()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func encrypt(sk *fhe.SecretKey, block []byte) []fhe.LWE {
	e := sk.Encrypt(fhe.NewSeed(), Messages(block))
	out := make([]fhe.LWE, e.Len())
	for i := range out {
		out[i] = e.LWE(sk.Parameters(), i, parity.Half)
	}
	return out
}

func decrypt(sk *fhe.SecretKey, block []fhe.LWE) []byte {
	messages := make([]int64, len(block))
	for i, c := range block {
		messages[i] = sk.Decrypt(c)
	}
	return Bytes(messages)
}

// testVectors encrypts both vectors under a set, each key once with two blocks.
func testVectors(t *testing.T, preset string) {
	p, err := fhe.Preset(preset)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := fhe.GenerateKeys(t.Context(), p, fhe.NewSeed(), backend(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	engine, err := bootstrap.NewEvaluator(keys.Evaluation, backend(t))
	if err != nil {
		t.Fatal(err)
	}
	batcher := bootstrap.NewBatcher(engine, 2)
	defer batcher.Close()
	e, err := New(p, batcher)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range vectors {
		key, err := e.Expand(t.Context(), encrypt(keys.Secret, decode(t, v.key)))
		if err != nil {
			t.Fatal(err)
		}
		other := bytes.Repeat([]byte{0xa5}, BlockSize)
		out, err := e.Encrypt(t.Context(), key, encrypt(keys.Secret, decode(t, v.plaintext)), encrypt(keys.Secret, other))
		if err != nil {
			t.Fatal(err)
		}
		if got := decrypt(keys.Secret, out[0]); !bytes.Equal(got, decode(t, v.ciphertext)) {
			t.Errorf("key %s: %x, want %s", v.key, got, v.ciphertext)
		}
		block, err := stdaes.NewCipher(decode(t, v.key))
		if err != nil {
			t.Fatal(err)
		}
		want := make([]byte, BlockSize)
		block.Encrypt(want, other)
		if got := decrypt(keys.Secret, out[1]); !bytes.Equal(got, want) {
			t.Errorf("key %s, second block: %x, want %x", v.key, got, want)
		}
	}
}

func TestVectors(t *testing.T) { testVectors(t, fhe.TestPreset) }

// dry checks and counts bootstraps and computes nothing: what a circuit of bits
// spends, and how noisy it is, does not depend on its ciphertexts.
type dry struct {
	params        *fhe.Parameters
	count, rounds int
	loudest       float64
}

func (d *dry) Bootstrap(_ context.Context, tasks []fhe.PBS) error {
	d.rounds++
	for i := range tasks {
		t := &tasks[i]
		lo, hi := t.LUT.Domain()
		if err := d.params.CheckInput(t.In.Bound, lo, hi); err != nil {
			return err
		}
		d.loudest = max(d.loudest, t.In.Bound.Variance)
		for o := range t.Out {
			d.count++
			value := make([]uint64, d.params.BigDimension()+1)
			value[0] = uint64(d.count) // the source of its error
			t.Out[o] = d.params.Output(t.LUT, o, value)
		}
	}
	return nil
}

// TestEveryPresetHasRoom walks the circuit with the noise of every set of integers.
func TestEveryPresetHasRoom(t *testing.T) {
	for _, preset := range fhe.PresetNames() {
		p, err := fhe.Preset(preset)
		if err != nil {
			t.Fatal(err)
		}
		d := &dry{params: p}
		e, err := New(p, d)
		if p.Boxes() != parity.Half {
			if err == nil {
				t.Errorf("%s was accepted", preset)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		_, pk, err := fhe.EncryptionKeys(p, fhe.NewSeed(), backend(t))
		if err != nil {
			t.Fatal(err)
		}
		encrypter, err := pk.Encrypter(backend(t))
		if err != nil {
			t.Fatal(err)
		}
		public := encrypter.Encrypt(fhe.NewSeed(), Messages(make([]byte, BlockSize)))
		block := make([]fhe.LWE, public.Len())
		for i := range block {
			block[i] = public.LWE(p, i, parity.Half)
		}
		key, err := e.Expand(t.Context(), block)
		if err != nil {
			t.Fatalf("%s: key: %v", preset, err)
		}
		expansion := d.count
		if least := 40 * parity.Bootstraps; expansion < least || expansion > least+9*4*BlockSize {
			t.Errorf("%s: a key took %d bootstraps", preset, expansion)
		}
		if _, err := e.Encrypt(t.Context(), key, block); err != nil {
			t.Fatalf("%s: block: %v", preset, err)
		}
		if got, want := d.count-expansion, 160*parity.Bootstraps; got != want {
			t.Errorf("%s: a block took %d bootstraps, not %d", preset, got, want)
		}
		t.Logf("%s: key %d and block %d bootstraps, %d rounds, at most %.1f bootstrap outputs of noise",
			preset, expansion, d.count-expansion, d.rounds, d.loudest/p.BootstrapVariance())
	}
}
