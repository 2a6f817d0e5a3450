package bootstrap

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/tacit-fhe/tacit/accel/cpu"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/integer"
	"github.com/tacit-fhe/tacit/fhe/noise"
)

// rotation is a migration between the keys of two presets.
type rotation struct {
	from, to *fixture
	key      *fhe.MigrationKey
	migrator *Migrator
}

func rotate2(t testing.TB, from, to *fixture) *rotation {
	t.Helper()
	made, err := fhe.NewMigrationKey(from.keys.Secret, to.keys.Secret)
	if err != nil {
		t.Fatal(err)
	}
	data, err := made.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	key, err := fhe.UnmarshalMigrationKey(data)
	if err != nil {
		t.Fatal(err)
	}
	m, err := NewMigrator(key, to.eval)
	if err != nil {
		t.Fatal(err)
	}
	return &rotation{from, to, key, m}
}

// TestMigrate takes every message from every test preset to every other.
func TestMigrate(t *testing.T) {
	var test []string
	for _, name := range fhe.PresetNames() {
		if f, err := fhe.Preset(name); err == nil && f.Literal().TestOnly && f.Boxes() == 16 {
			test = append(test, name)
		}
	}
	for _, from := range test {
		for _, to := range test {
			if from == to {
				continue
			}
			r := rotate2(t, load(t, from), load(t, to))
			boxes := int64(r.from.params.Boxes())
			var in []fhe.LWE
			for m := range boxes {
				in = append(in, r.from.encrypt(fmt.Sprint("migrate ", m), boxes-1, m)[0])
			}
			in = append(in, r.from.params.Trivial(-3))
			out, err := r.migrator.Migrate(context.Background(), in)
			if err != nil {
				t.Fatal(err)
			}
			for i, x := range out {
				want := int64(i)
				if i == len(out)-1 {
					want = -3
				}
				if got := r.to.keys.Secret.Decrypt(x); got != want {
					t.Errorf("%s to %s: %d comes out as %d", from, to, want, got)
				}
				if b := x.Bound; b.Min != in[i].Bound.Min || b.Max != in[i].Bound.Max || b.Variance != r.to.params.BootstrapVariance() || b.Source == 0 {
					t.Errorf("%s to %s: bound %+v of %+v", from, to, b, in[i].Bound)
				}
			}
		}
	}
}

// TestMigrateIsExact compares the bits of a migration on all implementations.
func TestMigrateIsExact(t *testing.T) {
	from, to := load(t, fhe.TestPreset), load(t, "insecure-test-unroll3-v1")
	key, err := fhe.NewMigrationKey(from.keys.Secret, to.keys.Secret)
	if err != nil {
		t.Fatal(err)
	}
	in := from.encrypt("exact", 3, 0, 1, 2, 3, 1, 2, 3, 0, 1)
	var want string
	for _, name := range cpu.Available() {
		backend, err := cpu.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		eval, err := NewEvaluator(to.keys.Evaluation, backend)
		if err != nil {
			t.Fatal(err)
		}
		m, err := NewMigrator(key, eval)
		if err != nil {
			t.Fatal(err)
		}
		out, err := m.Migrate(context.Background(), in)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(out); want == "" {
			want = got
		} else if got != want {
			t.Errorf("%s computes other bits", name)
		}
	}
}

func TestMigrateRefuses(t *testing.T) {
	r := rotate2(t, load(t, fhe.TestPreset), load(t, "insecure-test-unroll2-v1"))
	in := r.from.encrypt("refuse", 3, 0, 1)
	in[1].Bound.Variance = 1
	_, err := r.migrator.Migrate(context.Background(), in)
	var task *TaskError
	if !errors.As(err, &task) || task.Index != 1 || !errors.As(err, new(*noise.NoiseError)) {
		t.Errorf("a noisy ciphertext: %v", err)
	}
	in[1].Bound = noise.Bound{Min: 0, Max: 40}
	if _, err := r.migrator.Migrate(context.Background(), in); !errors.As(err, new(*fhe.LUTError)) {
		t.Errorf("more messages than fit: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := r.migrator.Migrate(ctx, in[:1]); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := NewMigrator(r.key, r.from.eval); !errors.As(err, new(*fhe.MigrationError)) {
		t.Errorf("the evaluator of the old key: %v", err)
	}
}

// TestMigrationNoise takes packed values of one secure parameter set to another and
// compares the noise, after the key switch and after the bootstrap, with what is
// predicted.
func TestMigrationNoise(t *testing.T) {
	for _, c := range []struct {
		from, to          string
		switches, samples int
	}{
		{"insecure-test-unroll2-v1", fhe.TestPreset, 2000, 500},
		{"tacit-2m2c-v1", fhe.DefaultPreset, 256, 100},
	} {
		r := rotate2(t, load(t, c.from), load(t, c.to))
		count := c.switches
		if testing.Short() {
			count = c.samples
		}
		var messages []int64
		for i := range count {
			messages = append(messages, int64(i%4))
		}
		fresh := r.from.encrypt("noise", 3, messages...)
		packed, err := r.from.eval.Pack(fresh)
		if err != nil {
			t.Fatal(err)
		}
		in := make([]fhe.LWE, count)
		q := float64(r.from.params.Modulus())
		sum := 0.0
		for i := range in {
			in[i] = packed.LWE(r.from.params, i, r.from.params.PackedBound(fresh[i].Bound))
			// What the key switch adds is the phase after it less that before. The
			// masks of packed ciphertexts are rotations of few, those of fresh ones
			// are independent.
			before := r.from.keys.Secret.Noise(fresh[i]) + float64(r.from.params.Encode(messages[i]))/q
			e := float64(r.to.keys.Secret.SmallPhase(r.migrator.KeySwitch(fresh[i])))/(1<<32) - before
			e -= math.Round(e)
			sum += e * e
		}
		check(t, c.from+" to "+c.to+", key switch", sum/float64(count), r.key.SwitchVariance(), count)
		out, err := r.migrator.Migrate(context.Background(), in[:c.samples])
		if err != nil {
			t.Fatal(err)
		}
		sum = 0
		for i, x := range out {
			if got := r.to.keys.Secret.Decrypt(x); got != messages[i] {
				t.Fatalf("%d comes out as %d", messages[i], got)
			}
			e := r.to.keys.Secret.Noise(x)
			sum += e * e
		}
		check(t, c.from+" to "+c.to+", result", sum/float64(len(out)), r.to.params.BootstrapVariance(), len(out))
		t.Logf("a value migrates wrongly with probability 2^%.1f for each block", r.key.FailureProbability(in[0].Bound.Variance))
	}
}

// check compares a measured variance with the predicted one: five standard deviations
// of the measurement, and a tenth for the key, which is one of many.
func check(t *testing.T, what string, got, want float64, samples int) {
	t.Helper()
	t.Logf("%s: measured/predicted %.3f with %d samples", what, got/want, samples)
	if slack := 0.1 + 5*math.Sqrt(2/float64(samples)); math.Abs(got/want-1) > slack {
		t.Errorf("%s: variance %g, predicted %g", what, got, want)
	}
}

// TestMigratedIntegers takes a 64-bit value over as it is stored, and computes with it
// under the new key.
func TestMigratedIntegers(t *testing.T) {
	r := rotate2(t, load(t, "insecure-test-block3-v1"), load(t, fhe.TestPreset))
	list, err := integer.Encrypt(r.from.params, r.from.keys.Secret.ID(), r.from.keys.Secret, testSeed("value"), integer.Plain(integer.Uint64, 1<<63+12345))
	if err != nil {
		t.Fatal(err)
	}
	blocks, err := r.migrator.Migrate(context.Background(), list.Value(0).Blocks)
	if err != nil {
		t.Fatal(err)
	}
	moved, err := integer.Pack(r.to.params, r.to.keys.Secret.ID(), r.to.eval, &integer.Value{Type: integer.Uint64, Blocks: blocks})
	if err != nil {
		t.Fatal(err)
	}
	b := NewBatcher(r.to.eval, 1)
	defer b.Close()
	eval, err := integer.New(r.to.params, b)
	if err != nil {
		t.Fatal(err)
	}
	sum, err := eval.Apply(context.Background(), integer.OpAdd, moved.Value(0), integer.Plain(integer.Uint64, 1<<63))
	if err != nil {
		t.Fatal(err)
	}
	if got := integer.Decrypt(r.to.keys.Secret, sum).String(); got != "euint64:12345" {
		t.Errorf("got %s", got)
	}
}
