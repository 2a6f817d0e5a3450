package leveled

import (
	"fmt"
	"io"

	"github.com/tuneinsight/lattigo/v5/core/rlwe"

	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/codec"
)

// MigrationKey lets whoever has it turn ciphertexts of an old key into ciphertexts of a new one with the
// same parameters, without reading them. It is a switching key (hybrid, Han and Ki, 2019/688): multiples of the
// old secret, one for each digit of a ciphertext, encrypted under the new secret and kept seeded as an
// EvaluationKey is. Its modulus, the primes of a fresh ciphertext and those of key switching, is at most that of
// an evaluation key, which [Security] counts.
//
// Who has the new secret key can read, with a migration key, whatever the old key encrypts; who has
// the old one learns nothing of the new one.
type MigrationKey struct {
	params   *Parameters
	from, to KeyID
	part     part
}

// NewMigrationKey makes a migration key from one set of keys to another of the same parameters. Its seed and its
// errors come from the operating system: two keys for the same pair differ, and so do the bytes of what they
// migrate. The error is a *fhe.MigrationError.
func NewMigrationKey(from, to *SecretKey) (*MigrationKey, error) {
	if from.params != to.params {
		return nil, &fhe.MigrationError{From: from.params.Name(), To: to.params.Name(), Reason: "vectors migrate between keys of one parameter set"}
	}
	k := &MigrationKey{params: to.params, from: from.id, to: to.id}
	if err := k.check(); err != nil {
		return nil, err
	}
	k.part = to.part(migration, from.key)
	return k, nil
}

func (k *MigrationKey) check() error {
	if k.from == k.to {
		return &fhe.MigrationError{From: k.params.Name(), To: k.params.Name(), Reason: "it is the same key"}
	}
	return nil
}

// Parameters returns the parameter set of both keys.
func (k *MigrationKey) Parameters() *Parameters { return k.params }

// From and To are the ids of the old and of the new set of keys.
func (k *MigrationKey) From() KeyID { return k.from }
func (k *MigrationKey) To() KeyID   { return k.to }

// MigrationLogSigma returns log2 of the standard deviation of the error that a migration adds to a ciphertext with
// all levels. To one with fewer it adds no more.
func (p *Parameters) MigrationLogSigma() float64 { return 0.5 * log2(p.keySwitchVariance(p.levels)) }

// MigrationKeySize is the number of bytes in the container of a migration key.
func (p *Parameters) MigrationKeySize() int64 { return codec.Overhead + p.migrationKeyBytes() }

func (p *Parameters) migrationKeyBytes() int64 { return 2*int64(len(KeyID{})) + p.partBytes(migration) }

// WriteTo writes the container of the key.
func (k *MigrationKey) WriteTo(w io.Writer) (int64, error) {
	c := codec.NewWriter(w, codec.LeveledMigrationKey, k.params.fingerprint, uint64(k.params.migrationKeyBytes()))
	c.Write(k.from[:]) // errors stay with the writer
	c.Write(k.to[:])
	if err := k.params.writePart(c, k.part); err != nil {
		return 0, err
	}
	return k.params.MigrationKeySize(), c.Close()
}

// maxMigrationKey bounds the body of a migration key before its parameters are known, in bytes.
const maxMigrationKey = 1 << 28

// ReadMigrationKey reads the container of a migration key of p, or of any named set if p is nil. Its length has to be
// that of a key of the set, which is checked before memory is taken for it. The error is one of package codec, an
// *UnknownError or a *fhe.MigrationError.
func ReadMigrationKey(r io.Reader, p *Parameters) (*MigrationKey, error) {
	k, err := readMigrationKey(r, p, true)
	if err != nil {
		return nil, err
	}
	k.params.expandPart(k.part)
	return k, nil
}

// CheckMigrationKey reads what ReadMigrationKey reads, with the same errors, and keeps one row of a polynomial of it
// at a time. It returns the parameters and both ids.
func CheckMigrationKey(r io.Reader, p *Parameters) (_ *Parameters, from, to KeyID, err error) {
	k, err := readMigrationKey(r, p, false)
	if err != nil {
		return nil, KeyID{}, KeyID{}, err
	}
	return k.params, k.from, k.to, nil
}

func readMigrationKey(r io.Reader, p *Parameters, keep bool) (*MigrationKey, error) {
	p, c, err := openStream(r, codec.LeveledMigrationKey, p, maxMigrationKey)
	if err != nil {
		return nil, err
	}
	if err := checkLengthOf(c, "migration key", p.migrationKeyBytes()); err != nil {
		return nil, err
	}
	d := c.Decoder()
	k := &MigrationKey{params: p}
	copy(k.from[:], d.Bytes("old key id", len(k.from)))
	copy(k.to[:], d.Bytes("new key id", len(k.to)))
	if d.Err() == nil {
		if err := k.check(); err != nil {
			return nil, err
		}
	}
	k.part = p.readPart(d, migration, keep)
	if err := d.Finish(); err != nil {
		return nil, fmt.Errorf("migration key: %w", err)
	}
	if _, err := c.Verify(); err != nil {
		return nil, fmt.Errorf("migration key: %w", err)
	}
	return k, nil
}

// A Migrator turns ciphertexts of an old key into ciphertexts of a new one, each with one key switch at its own
// level: level, scale, bound and length stay, the error grows by that of the switch. Ciphertext and migration key
// given, results are always the same bytes. It is safe for concurrent use.
type Migrator struct {
	key      *MigrationKey
	switches *pool[*rlwe.Evaluator]
}

// NewMigrator returns a migrator for a key.
func NewMigrator(key *MigrationKey) *Migrator {
	return &Migrator{key, &pool[*rlwe.Evaluator]{make: func() *rlwe.Evaluator { return rlwe.NewEvaluator(key.params.rlwe, nil) }}}
}

// Migrate returns the ciphertext of the new key that holds what one of the old key does. The error is a
// *MismatchError for one of another key, and a *BudgetError where the result could not be decrypted.
func (m *Migrator) Migrate(c *Ciphertext) (*Ciphertext, error) {
	p := m.key.params
	if c.params != p {
		return nil, &MismatchError{"parameters", c.params.String(), p.String()}
	}
	if c.id != m.key.from {
		return nil, &MismatchError{"key", c.id.String(), m.key.from.String()}
	}
	n, err := p.PredictMigrate(c.noise)
	if err != nil {
		return nil, err
	}
	out := rlwe.NewCiphertext(p.rlwe, 1, c.ct.Level())
	out.MetaData = p.metadata(n.Scale)
	err = m.switches.do(func(e *rlwe.Evaluator) error { return e.ApplyEvaluationKey(c.ct, m.key.part.key, out) })
	if err != nil {
		return nil, fmt.Errorf("leveled: migrate: %w", err)
	}
	return p.wrap(out, m.key.to, n, c.length), nil
}
