package fhe

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/tacit-fhe/tacit/bench/fuzztest"
	"github.com/tacit-fhe/tacit/fhe/codec"
	"github.com/tacit-fhe/tacit/fhe/noise"
)

// migration makes a migration key between two keys that are made for it.
func migration(t testing.TB, from, to string) *MigrationKey {
	t.Helper()
	a := newSecretKey(preset(t, from), testSeed("old "+from), KeyID{1})
	b := newSecretKey(preset(t, to), testSeed("new "+to), KeyID{2})
	k, err := NewMigrationKey(a, b)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestMigrationKeyRoundTrip(t *testing.T) {
	for _, c := range [][2]string{
		{TestPreset, TestPreset}, {"insecure-test-block3-v1", "insecure-test-unroll2-v1"}, {"tacit-2m2c-v1", DefaultPreset}, {"tacit-bool-v1", "tacit-bool-v1"},
	} {
		k := migration(t, c[0], c[1])
		data, err := k.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		if want := k.ToParameters().MigrationKeySize(k.FromParameters()); want != int64(len(data)) || want > MaxMigrationKey {
			t.Errorf("%s: MigrationKeySize %d, want %d", c, want, len(data))
		}
		back, err := UnmarshalMigrationKey(data)
		if err != nil {
			t.Fatal(err)
		}
		if back.From() != (KeyID{1}) || back.To() != (KeyID{2}) || back.FromParameters().Name() != c[0] || back.ToParameters().Name() != c[1] || fmt.Sprint(back.rows, back.seed, back.maxVariance) != fmt.Sprint(k.rows, k.seed, k.maxVariance) {
			t.Errorf("%s: the key does not come back", c)
		}
		a, b := make([]uint32, back.KeySwitch().Levels*(back.KeySwitch().NOut+1)), make([]uint32, back.KeySwitch().Levels*(back.KeySwitch().NOut+1))
		k.KeySwitchRows(5, a)
		back.KeySwitchRows(5, b)
		if fmt.Sprint(a) != fmt.Sprint(b) {
			t.Errorf("%s: other rows", c)
		}
		again, _ := migration(t, c[0], c[1]).MarshalBinary()
		if !bytes.Equal(again, data) {
			t.Errorf("%s: the same keys give other bytes", c)
		}
		t.Logf("%s: %d bytes, wrong with probability 2^%.1f", c, len(data), k.FailureProbability(k.from.BootstrapVariance()))
	}
}

// TestMigrationMasksBelongToThePair makes keys whose masks must not meet.
func TestMigrationMasksBelongToThePair(t *testing.T) {
	p := preset(t, TestPreset)
	to := newSecretKey(p, testSeed("to"), KeyID{9})
	seeds := make(map[[SeedSize]byte]bool)
	for _, from := range []*SecretKey{
		newSecretKey(p, testSeed("a"), KeyID{1}), newSecretKey(p, testSeed("b"), KeyID{1}), newSecretKey(p, testSeed("a"), KeyID{2}),
	} {
		k, err := NewMigrationKey(from, to)
		if err != nil {
			t.Fatal(err)
		}
		if seeds[k.seed] {
			t.Error("two keys share their masks")
		}
		seeds[k.seed] = true
	}
}

func TestMigrationKeyRefuses(t *testing.T) {
	key := func(name string, id byte) *SecretKey {
		return newSecretKey(preset(t, name), testSeed(name), KeyID{id})
	}
	for _, c := range []struct {
		what     string
		from, to *SecretKey
	}{
		{"another encoding", key("tacit-bool-v1", 1), key(DefaultPreset, 2)},
		{"a real key to a test key", key(DefaultPreset, 1), key(TestPreset, 2)},
		{"a test key to a real key", key(TestPreset, 1), key(DefaultPreset, 2)},
		{"the same key", key(TestPreset, 1), key(TestPreset, 1)},
	} {
		_, err := NewMigrationKey(c.from, c.to)
		if !errors.As(err, new(*MigrationError)) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
	good, _ := migration(t, TestPreset, TestPreset).MarshalBinary()
	body := good[codec.HeaderSize : len(good)-codec.DigestSize]
	p := preset(t, TestPreset)
	for what, edit := range map[string]func(b []byte) []byte{
		"empty":              func(b []byte) []byte { return nil },
		"short":              func(b []byte) []byte { return b[:len(b)-1] },
		"long":               func(b []byte) []byte { return append(b, 0) },
		"unknown parameters": func(b []byte) []byte { b[0] ^= 1; return b },
		"one key":            func(b []byte) []byte { copy(b[32:64], b[64:96]); return b },
	} {
		data := codec.Encode(codec.MigrationKey, p.Fingerprint(), edit(bytes.Clone(body)))
		if _, err := UnmarshalMigrationKey(data); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
}

// TestMigrationFailure asserts the line for every pair of presets that can migrate,
// and that what could enter a bootstrap of the old key may migrate to one of the same
// parameters.
func TestMigrationFailure(t *testing.T) {
	pairs := 0
	for _, from := range PresetNames() {
		for _, to := range PresetNames() {
			k := &MigrationKey{from: preset(t, from), to: preset(t, to), toID: KeyID{1}}
			if k.check() != nil {
				continue
			}
			pairs++
			stored := k.from.BootstrapVariance()
			if k.from.Packs() {
				stored = k.from.PackedBound(noise.Bound{Variance: stored}).Variance
			}
			if pf := k.FailureProbability(stored); pf > MaxFailureLog2 {
				t.Errorf("%s to %s: 2^%.1f", from, to, pf)
			}
			if math.IsNaN(k.maxVariance) || k.CheckInput(noise.Bound{Variance: k.maxVariance * 1.01}) == nil || k.CheckInput(noise.Bound{Variance: math.NaN()}) == nil {
				t.Errorf("%s to %s: more than the largest variance is accepted", from, to)
			}
			if from == to && k.maxVariance != k.from.MaxVariance() {
				t.Errorf("%s: at most %g may migrate, %g may enter a bootstrap", from, k.maxVariance, k.from.MaxVariance())
			}
		}
	}
	if pairs < 20 {
		t.Errorf("only %d pairs of presets can migrate", pairs)
	}
}

// FuzzUnmarshalMigrationKey feeds the decoder, as a whole container and as the body
// of one with a right digest.
func FuzzUnmarshalMigrationKey(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 64 << 10, PerByte: 32})
	data, _ := migration(f, TestPreset, TestPreset).MarshalBinary()
	p := preset(f, TestPreset)
	f.Add(data, false)
	f.Add(data[codec.HeaderSize:len(data)-codec.DigestSize], true)
	f.Add(make([]byte, 128), true)
	f.Fuzz(func(t *testing.T, data []byte, body bool) {
		if body {
			data = codec.Encode(codec.MigrationKey, p.Fingerprint(), data)
		}
		k, err := UnmarshalMigrationKey(data)
		if err != nil {
			return
		}
		if out, _ := k.MarshalBinary(); !bytes.Equal(out, data) {
			t.Error("a migration key is not canonical")
		}
	})
}
