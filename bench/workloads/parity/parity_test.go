package parity

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/tacit-fhe/tacit/accel/cpu"
	"github.com/tacit-fhe/tacit/bootstrap"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/noise"
)

// fixture is an evaluator and the key that its bits are under.
func fixture(t *testing.T) (*Evaluator, *fhe.SecretKey) {
	t.Helper()
	p, err := fhe.Preset(fhe.TestPreset)
	if err != nil {
		t.Fatal(err)
	}
	backend, err := cpu.New()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := fhe.GenerateKeys(t.Context(), p, fhe.NewSeed(), backend, nil)
	if err != nil {
		t.Fatal(err)
	}
	engine, err := bootstrap.NewEvaluator(keys.Evaluation, backend)
	if err != nil {
		t.Fatal(err)
	}
	e, err := NewEvaluator(p, engine)
	if err != nil {
		t.Fatal(err)
	}
	return e, keys.Secret
}

func encrypt(sk *fhe.SecretKey, x byte) (out Byte) {
	messages := make([]int64, 8)
	for i := range messages {
		messages[i] = Half * int64(x>>i&1)
	}
	e := sk.Encrypt(fhe.NewSeed(), messages)
	for i := range out {
		out[i] = New(e.LWE(sk.Parameters(), i, Half))
	}
	return out
}

func decrypt(e *Evaluator, sk *fhe.SecretKey, b Byte) (x byte) {
	for i, bit := range b {
		x |= byte(sk.Decrypt(e.Ciphertext(bit))/Half) << i
	}
	return x
}

// TestLookup takes every byte through a table without structure, each as the
// exclusive or of others.
func TestLookup(t *testing.T) {
	e, sk := fixture(t)
	r := rand.New(rand.NewPCG(1, 2))
	var values [256]byte
	for i := range values {
		values[i] = byte(r.Uint32())
	}
	table, err := e.NewTable(&values, [4]int{6, 0, 3, 5})
	if err != nil {
		t.Fatal(err)
	}
	in := make([]Byte, 256)
	for x := range in {
		mask := byte(r.Uint32())
		a, b := encrypt(sk, byte(x)^mask^0x5a), encrypt(sk, mask)
		for i := range in[x] {
			in[x][i] = Xor(a[i], b[i], Plain(0x5a>>i&1 == 1))
		}
	}
	out, err := e.Lookup(context.Background(), table, in)
	if err != nil {
		t.Fatal(err)
	}
	for x, b := range out {
		if got := decrypt(e, sk, b); got != values[x] {
			t.Errorf("the value at %#x is %#x, want %#x", x, got, values[x])
		}
	}
	if _, err := e.NewTable(&values, [4]int{1, 1, 2, 3}); err == nil {
		t.Error("a table with three different signs was made")
	}
}

// TestTerms sees equal terms cancel and different ones add their noise, up to where
// they are refused.
func TestTerms(t *testing.T) {
	e, sk := fixture(t)
	a, b := encrypt(sk, 0b01), encrypt(sk, 0b11)
	sum := Xor(a[0], b[0], a[1], a[0])
	if want := b[0].Variance() + a[1].Variance(); sum.Variance() != want {
		t.Errorf("variance %g, want %g", sum.Variance(), want)
	}
	if got := sk.Decrypt(e.Ciphertext(sum)); got != Half {
		t.Errorf("1 xor 0 is %d", got)
	}
	if v := Xor(a[0], a[0]).Variance(); v != 0 {
		t.Errorf("a bit and itself leave the variance %g", v)
	}
	fresh, err := e.Refresh(t.Context(), []Bit{sum, Xor(sum, Plain(true))})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int64{Half, 0} {
		if got := sk.Decrypt(e.Ciphertext(fresh[i])); got != want {
			t.Errorf("bit %d was refreshed to %d, want %d", i, got, want)
		}
	}
	loud := e.Ciphertext(a[0])
	loud.Bound.Variance = sk.Parameters().MaxVariance()
	noisy := Xor(New(loud), New(loud))
	if _, err := e.Refresh(t.Context(), []Bit{noisy}); !errors.As(err, new(*noise.NoiseError)) {
		t.Errorf("too many terms: %v", err)
	}
}
