package leveled

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/tacit-fhe/tacit/bench/fuzztest"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/codec"
)

// A rotation has an old and a new secret key and the migration key between them.
type rotation struct {
	p        *Parameters
	from, to *SecretKey
	key      *MigrationKey
}

func rotate(t testing.TB, p *Parameters) rotation {
	t.Helper()
	r := rotation{p: p, from: newSecretKey(p, newSeed(), KeyID{1}), to: newSecretKey(p, newSeed(), KeyID{2})}
	var err error
	if r.key, err = NewMigrationKey(r.from, r.to); err != nil {
		t.Fatal(err)
	}
	return r
}

func migrationBytes(t testing.TB, k *MigrationKey) []byte {
	t.Helper()
	var b bytes.Buffer
	n, err := k.WriteTo(&b)
	if err != nil || n != int64(b.Len()) || n != k.params.MigrationKeySize() || n > maxMigrationKey {
		t.Fatalf("WriteTo = %d, %v; %d bytes, MigrationKeySize %d", n, err, b.Len(), k.params.MigrationKeySize())
	}
	return b.Bytes()
}

// TestMigration takes vectors of every set to another key, with all levels and with fewer, and compares values and error
// with what is predicted. Every row of the migration key is one of the old secret under the new one.
func TestMigration(t *testing.T) {
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) {
			p := must(ByName(name))
			if testing.Short() && p.lit.LogN > 13 {
				t.Skip("the smallest sets are enough")
			}
			r := rotate(t, p)
			levelQ, levelP := p.levelsOf(migration)
			if k := r.key.part.key; k.LevelQ() != levelQ || k.LevelP() != levelP {
				t.Errorf("the key is at levels %d and %d, want %d and %d", k.LevelQ(), k.LevelP(), levelQ, levelP)
			}
			checkRows(t, p, "migration key", r.key.part.key, r.from.key, r.to.key)
			m := NewMigrator(r.key)
			// Nothing that a drop needs is in an evaluation key.
			drop := NewEvaluator(&EvaluationKey{params: p, id: r.from.id})
			dec, length := NewDecryptor(r.to), p.Slots()-1
			// The bound takes digits to be as many times too large as there are primes of key switching.
			below := 0.2 + log2(float64(len(p.lit.LogP)))
			for _, enc := range []*Encryptor{NewEncryptor(r.from), NewPublicEncryptor(r.from.publicKey())} {
				var c *Ciphertext
				ints, reals := make([]int64, length), make([]float64, length)
				if p.Scheme().Integers() {
					half := int64(p.PlaintextModulus() / 2)
					for i := range ints {
						ints[i] = rand.Int64N(2*half+1) - half
					}
					c = must(enc.Integers(ints))
				} else {
					for i := range reals {
						reals[i] = 8*rand.Float64() - 4
					}
					c = must(enc.BoundedReals(reals, 2))
				}
				for _, level := range slices.Compact([]int{p.Levels(), p.Levels() / 2, 0}) {
					at := c
					if p.Scheme() != BFV {
						at = must(drop.Drop(c, level))
					}
					out, err := m.Migrate(at)
					if err != nil {
						t.Fatalf("level %d: %v", level, err)
					}
					if out.KeyID() != r.to.id || out.Fresh() || out.Level() != at.Level() || out.Length() != length || out.noise.Scale != at.noise.Scale || out.noise.LogBound != at.noise.LogBound {
						t.Errorf("level %d: %+v becomes %+v", level, at.noise, out.noise)
					}
					if added := 0.5 * log2(math.Exp2(2*out.noise.LogSigma)-math.Exp2(2*at.noise.LogSigma)); added > p.MigrationLogSigma()+1e-4 {
						t.Errorf("level %d: an error of 2^%.2f is added, at most 2^%.2f was said", level, added, p.MigrationLogSigma())
					}
					var measured float64
					if p.Scheme().Integers() {
						if got := must(dec.Integers(out)); !slices.Equal(got, ints) {
							t.Fatalf("level %d: other values", level)
						}
						measured = must(dec.MeasureIntegers(out))
					} else {
						// In a slot, rounding times the secret is the product of two Gaussians: a Laplace distribution.
						most := 20 * math.Exp2(p.LogError(out.noise))
						for i, got := range must(dec.Reals(out)) {
							if math.Abs(got-reals[i]) > most {
								t.Fatalf("level %d: %v becomes %v", level, reals[i], got)
							}
						}
						measured = must(dec.MeasureReals(out, reals))
					}
					tracked(t, fmt.Sprintf("level %d", level), out.noise, measured, below)
					t.Logf("level %d: error 2^%.2f, predicted 2^%.2f", level, measured, out.noise.LogSigma)
				}
			}
		})
	}
}

// TestMigrationKeySecurity: what a migration key encrypts with is a modulus at which the ring has 128 bits.
func TestMigrationKeySecurity(t *testing.T) {
	for _, name := range Names() {
		p := must(ByName(name))
		levelQ, levelP := p.levelsOf(migration)
		total := 0.0
		for _, q := range slices.Concat(p.rlwe.Q()[:levelQ+1], p.rlwe.P()[:levelP+1]) {
			total += log2(float64(q))
		}
		if limit := maxLogQP[p.lit.LogN]; total > limit {
			t.Errorf("%s: %.1f bits, at most %.0f", name, total, limit)
		}
		if levelQ < p.topLevel() {
			t.Errorf("%s: the primes of a fresh ciphertext are missing", name)
		}
		if size := p.MigrationKeySize(); size > maxMigrationKey {
			t.Errorf("%s: a key of %d bytes", name, size)
		}
		t.Logf("%s: %.1f bits, %.1f MB", name, total, float64(p.MigrationKeySize())/1e6)
	}
}

// TestMigrationRoundTrip writes and reads a migration key: what is read migrates to the same bytes, also when several
// migrate at a time.
func TestMigrationRoundTrip(t *testing.T) {
	for _, name := range []string{"bgv-13", "bfv-13", "ckks-13"} {
		p := must(ByName(name))
		r := rotate(t, p)
		data := migrationBytes(t, r.key)
		var c *Ciphertext
		if p.Scheme().Integers() {
			c = must(NewEncryptor(r.from).Integers([]int64{3, -4}))
		} else {
			c = must(NewEncryptor(r.from).Reals([]float64{0.5, -0.25}))
		}
		want := must(MarshalCiphertexts(must(NewMigrator(r.key).Migrate(c))))
		for _, q := range []*Parameters{nil, p} {
			set, from, to, err := CheckMigrationKey(bytes.NewReader(data), q)
			if err != nil || set != p || from != r.from.id || to != r.to.id {
				t.Errorf("%s: %v, %v, %v, %v", name, set, from, to, err)
			}
			k, err := ReadMigrationKey(bytes.NewReader(data), q)
			if err != nil || k.Parameters() != p || k.From() != r.from.id || k.To() != r.to.id {
				t.Fatalf("%s: %+v, %v", name, k, err)
			}
			if !bytes.Equal(migrationBytes(t, k), data) {
				t.Errorf("%s: a migration key is not canonical", name)
			}
			m := NewMigrator(k)
			results := make(chan []byte)
			for range 8 {
				go func() { results <- must(MarshalCiphertexts(must(m.Migrate(c)))) }()
			}
			for range 8 {
				if !bytes.Equal(<-results, want) {
					t.Errorf("%s: other bytes", name)
				}
			}
		}
		// Masks and errors are drawn for each key: the same pair of keys again has others.
		if again := must(NewMigrationKey(r.from, r.to)); again.part.seed == r.key.part.seed {
			t.Errorf("%s: two migration keys share their masks", name)
		}
	}
}

func TestMigrationRefuses(t *testing.T) {
	p := must(ByName("ckks-13"))
	r := rotate(t, p)
	for what, make := range map[string]func() (*MigrationKey, error){
		"another set": func() (*MigrationKey, error) {
			return NewMigrationKey(r.from, newSecretKey(must(ByName("bgv-13")), newSeed(), KeyID{2}))
		},
		"another set of the scheme": func() (*MigrationKey, error) {
			return NewMigrationKey(r.from, newSecretKey(must(ByName("ckks-14")), newSeed(), KeyID{2}))
		},
		"the same key": func() (*MigrationKey, error) { return NewMigrationKey(r.from, r.from) },
	} {
		if _, err := make(); !errors.As(err, new(*fhe.MigrationError)) {
			t.Errorf("%s: %v", what, err)
		}
	}
	m := NewMigrator(r.key)
	refuse := func(what string, c *Ciphertext, want any) {
		t.Helper()
		if _, err := m.Migrate(c); !errors.As(err, want) {
			t.Errorf("%s: got %v, want %T", what, err, want)
		}
	}
	fresh := must(NewEncryptor(r.from).Reals([]float64{1}))
	refuse("the new key's", must(NewEncryptor(r.to).Reals([]float64{1})), new(*MismatchError))
	refuse("another set's", must(NewEncryptor(newSecretKey(must(ByName("bgv-13")), newSeed(), KeyID{1})).Integers([]int64{1})), new(*MismatchError))
	// At a scale of 2^12 there are four bits above the error of an encryption, and none above that of a switch.
	small := *fresh
	small.noise.Scale = 1 << 12
	if _, err := p.check("small", small.noise); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Migrate(&small); !errors.Is(err, ErrPrecision) {
		t.Errorf("an error that covers the message: %v", err)
	}
	// A bgv ciphertext at its last level whose error has just enough room.
	p = must(ByName("bgv-13"))
	r = rotate(t, p)
	m = NewMigrator(r.key)
	full := *must(NewEvaluator(&EvaluationKey{params: p, id: r.from.id}).Drop(must(NewEncryptor(r.from).Integers([]int64{1})), 0))
	for low, high := 0.0, 64.0; high-low > 1e-12; {
		full.noise.LogSigma = (low + high) / 2
		if p.Room(full.noise) > 0 {
			low = full.noise.LogSigma
		} else {
			high = full.noise.LogSigma
		}
		full.noise.LogSigma = math.Floor(low*(1<<20)) / (1 << 20)
	}
	if _, err := p.check("full", full.noise); err != nil {
		t.Fatal(err)
	}
	refuse("an error without room", &full, new(*BudgetError))
	full.noise.LogSigma -= 0.1
	if _, err := m.Migrate(&full); err != nil {
		t.Errorf("an error with room: %v", err)
	}
}

// TestMigrationHostile changes bytes of a key, seals it again and expects typed errors, the same of both decoders.
func TestMigrationHostile(t *testing.T) {
	p := must(ByName("bgv-13"))
	key := body(migrationBytes(t, rotate(t, p).key))
	read := func(kind codec.Kind, p, want *Parameters, b []byte) error {
		data := seal(kind, p, b)
		_, err := ReadMigrationKey(bytes.NewReader(data), want)
		if _, _, _, again := CheckMigrationKey(bytes.NewReader(data), want); fmt.Sprint(err) != fmt.Sprint(again) {
			t.Errorf("ReadMigrationKey: %v, CheckMigrationKey: %v", err, again)
		}
		return err
	}
	put := func(at int, v ...byte) []byte {
		out := bytes.Clone(key)
		copy(out[at:], v)
		return out
	}
	ones := bytes.Repeat([]byte{0xff}, 7)
	for _, test := range []struct {
		what string
		err  error
		want any
	}{
		{"empty", read(codec.LeveledMigrationKey, p, nil, nil), new(*codec.TruncatedError)},
		{"short", read(codec.LeveledMigrationKey, p, nil, key[:len(key)-1]), new(*codec.TruncatedError)},
		{"long", read(codec.LeveledMigrationKey, p, nil, append(bytes.Clone(key), 0)), new(*codec.LimitError)},
		{"one key", read(codec.LeveledMigrationKey, p, nil, put(32, key[:32]...)), new(*fhe.MigrationError)},
		{"first residue", read(codec.LeveledMigrationKey, p, nil, put(96, ones[:6]...)), new(*codec.ResidueError)},
		{"last residue", read(codec.LeveledMigrationKey, p, nil, put(len(key)-7, ones...)), new(*codec.ResidueError)},
		{"kind", read(codec.LeveledEvaluationKey, p, nil, key), new(*codec.KindError)},
		{"parameters of another set", read(codec.LeveledMigrationKey, must(ByName("bgv-14")), nil, key), new(*codec.TruncatedError)},
		{"parameters", read(codec.LeveledMigrationKey, p, must(ByName("bfv-13")), key), new(*codec.ParametersError)},
		{"unknown parameters", read(codec.LeveledMigrationKey, new(Parameters), nil, key), new(*UnknownError)},
	} {
		if test.err == nil || !errors.As(test.err, test.want) {
			t.Errorf("%s: got %v, want %T", test.what, test.err, test.want)
		}
	}
	data := seal(codec.LeveledMigrationKey, p, key)
	data[200] ^= 1
	if _, err := ReadMigrationKey(bytes.NewReader(data), nil); !errors.Is(err, codec.ErrDigest) && !errors.As(err, new(*codec.ResidueError)) {
		t.Errorf("digest: %v", err)
	}
	if _, err := ReadMigrationKey(bytes.NewReader(append(seal(codec.LeveledMigrationKey, p, key), 0)), nil); !errors.Is(err, codec.ErrTrailing) {
		t.Errorf("trailing: %v", err)
	}
}

// FuzzMigrationKey reads bodies of migration keys with a right digest, and beginnings of keys whose header gives any length:
// no panic, no memory for what has not arrived, and what is accepted is written again as the same bytes.
func FuzzMigrationKey(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 1 << 20, PerByte: 64})
	sets := fuzzSets()
	for i, p := range sets {
		k := must(NewMigrationKey(newSecretKey(p, [SeedSize]byte{1}, KeyID{1}), newSecretKey(p, [SeedSize]byte{2}, KeyID{2})))
		k.part.seed = [SeedSize]byte{3}
		for _, digit := range k.part.key.Value {
			settle(p, digit[0][0])
		}
		key := body(migrationBytes(f, k))
		f.Add(key, uint64(0), byte(i), false)
		f.Add(key[:len(key)/2], uint64(len(key)), byte(i), true)
	}
	large := must(ByName("bgv-13"))
	f.Add(make([]byte, 96), uint64(large.migrationKeyBytes()), byte(len(sets)), true)
	f.Add([]byte{1}, uint64(large.migrationKeyBytes()), byte(len(sets)), true)
	f.Add([]byte{}, uint64(maxMigrationKey), byte(len(sets)), true)
	f.Fuzz(func(t *testing.T, body []byte, length uint64, set byte, cut bool) {
		p, want := large, (*Parameters)(nil)
		if i := int(set) % (len(sets) + 1); i < len(sets) {
			p, want = sets[i], sets[i]
		}
		data := seal(codec.LeveledMigrationKey, p, body)
		if cut {
			data = data[:codec.HeaderSize+len(body)]
			binary.LittleEndian.PutUint64(data[40:], length)
		}
		k, err := ReadMigrationKey(bytes.NewReader(data), want)
		if _, from, to, again := CheckMigrationKey(bytes.NewReader(data), want); fmt.Sprint(err) != fmt.Sprint(again) || err == nil && (from != k.From() || to != k.To()) {
			t.Errorf("ReadMigrationKey: %v, CheckMigrationKey: %v", err, again)
		}
		if err != nil {
			return
		}
		if cut {
			t.Error("an incomplete key was accepted")
		}
		var back bytes.Buffer
		if _, err := k.WriteTo(&back); err != nil || !bytes.Equal(back.Bytes(), data) {
			t.Errorf("accepted bytes are not written again: %v", err)
		}
	})
}
