package fhe

import (
	"fmt"
	"math"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/fhe/codec"
	"github.com/tacit-fhe/tacit/fhe/noise"
)

// MigrationKey lets whoever has the evaluation key of a new key set turn the
// ciphertexts of an old one into ciphertexts of the new one, without reading them:
// the gadget multiples of every bit of the old big key, encrypted under the new
// small key modulo 2^32. With it the first step of a bootstrap of the new key set
// takes ciphertexts of the old one, and the rest of it needs no more than the new
// evaluation key has. It is a key-switching key, in the sense of 2018/421, section
// 4.1, and kept seeded as that of an EvaluationKey is.
//
// Who has the new secret key can read, with a migration key, whatever the old key
// encrypts; who has the old one learns nothing of the new one.
type MigrationKey struct {
	from, to     *Parameters
	fromID, toID KeyID
	seed         [SeedSize]byte
	rows         []uint32 // bodies, Levels for each coefficient of the old big key
	maxVariance  float64
}

// MigrationError says why ciphertexts of one parameter set cannot become those of
// another.
type MigrationError struct {
	From, To, Reason string
}

func (e *MigrationError) Error() string {
	return fmt.Sprintf("migration from %s to %s: %s", e.From, e.To, e.Reason)
}

// NewMigrationKey makes the migration key from one key set to another. The sets may
// differ in their parameters as long as their messages are encoded alike. The same
// two keys give the same bytes. The error is a *MigrationError.
func NewMigrationKey(from, to *SecretKey) (*MigrationKey, error) {
	k := &MigrationKey{from: from.params, to: to.params, fromID: from.id, toID: to.id}
	if err := k.check(); err != nil {
		return nil, err
	}
	// Masks and errors belong to this pair of keys alone: with those of another
	// pair the difference of two bodies would be that of the bits.
	root := deriveSeed(to.seed, "migration key"+string(from.id[:])+string(from.seed[:]), 0)
	k.seed = deriveSeed(root, "migration masks", 0)
	levels := to.params.lit.KeySwitchGadget.Levels
	k.rows = make([]uint32, from.params.BigDimension()*levels)
	mask := make([]uint32, to.params.lit.LWEDimension)
	for i, bit := range from.big {
		to.encryptGadget(k.rows[i*levels:(i+1)*levels], bit,
			newStream(k.seed, "migration mask", uint64(i)), newStream(root, "migration error", uint64(i)), mask)
	}
	return k, nil
}

// check refuses parameters between which nothing can migrate, and finds the largest
// variance that can.
func (k *MigrationKey) check() error {
	refuse := func(format string, args ...any) error {
		return &MigrationError{k.from.lit.Name, k.to.lit.Name, fmt.Sprintf(format, args...)}
	}
	switch a, b := k.from.lit, k.to.lit; {
	case a.Modulus != b.Modulus || a.MessageBits != b.MessageBits || a.CarryBits != b.CarryBits:
		return refuse("their messages are encoded differently: %d+%d bits modulo %d, and %d+%d bits modulo %d",
			a.MessageBits, a.CarryBits, a.Modulus, b.MessageBits, b.CarryBits, b.Modulus)
	case a.TestOnly && !b.TestOnly || !a.TestOnly && b.TestOnly:
		return refuse("one of them is for tests and protects nothing")
	case k.fromID == k.toID:
		return refuse("it is the same key")
	}
	k.maxVariance = largestVariance(k.FailureProbability)
	// What is stored is what encryption or a bootstrap made, packed or not.
	result := noise.Bound{Variance: k.from.BootstrapVariance()}
	if k.from.Packs() {
		result = k.from.PackedBound(result)
	}
	stored := max(k.from.PublicVariance(), result.Variance)
	if pf := k.FailureProbability(stored); pf > MaxFailureLog2 {
		return refuse("a result would come out wrong with probability 2^%.2f, over 2^%d", pf, MaxFailureLog2)
	}
	return nil
}

// From and To are the ids of the old and of the new key set.
func (k *MigrationKey) From() KeyID { return k.fromID }
func (k *MigrationKey) To() KeyID   { return k.toID }

// FromParameters and ToParameters are the parameter sets of the old and of the new
// key set.
func (k *MigrationKey) FromParameters() *Parameters { return k.from }
func (k *MigrationKey) ToParameters() *Parameters   { return k.to }

// KeySwitch is the shape of the key switch, for an accel.Backend: from the big key
// of the old set to the small key of the new one, with the gadget of the new one.
func (k *MigrationKey) KeySwitch() accel.KeySwitchSpec {
	spec := k.to.KeySwitch()
	spec.NIn, spec.Q = k.from.BigDimension(), k.from.lit.Modulus
	return spec
}

// KeySwitchRows fills dst with the rows of coefficient i of the old big key, in the
// layout of accel.Backend.KeySwitcher.
func (k *MigrationKey) KeySwitchRows(i int, dst []uint32) {
	levels := k.to.lit.KeySwitchGadget.Levels
	k.to.expandRows(newStream(k.seed, "migration mask", uint64(i)), k.rows[i*levels:(i+1)*levels], dst)
}

// SwitchVariance is the relative variance that the key switch adds.
func (k *MigrationKey) SwitchVariance() float64 {
	lwe := float64(noise.TUniform(k.to.lit.LWENoise) * math.Ldexp(1, -64))
	return noise.KeySwitch(k.from.BigDimension(), k.to.lit.KeySwitchGadget, lwe, k.from.q(), math.Ldexp(1, 32))
}

// FailureProbability is log2 of the probability that a ciphertext of the old key
// with the given relative variance comes out with another message: its error and
// those of the key switch and of the modulus switch leave half a box.
func (k *MigrationKey) FailureProbability(variance float64) float64 {
	return noise.Log2Failure(1/float64(4*k.to.Boxes()), variance+k.SwitchVariance()+k.to.ModSwitchVariance())
}

// CheckInput says whether a ciphertext with the given bound may migrate: it comes
// out with another message with probability at most 2^MaxFailureLog2. The error is a
// *noise.NoiseError.
func (k *MigrationKey) CheckInput(b noise.Bound) error {
	if !(b.Variance <= k.maxVariance) {
		return &noise.NoiseError{Got: b.Variance, Max: k.maxVariance}
	}
	return nil
}

// MigrationKeySize is the number of bytes in the container of a migration key from
// a parameter set to this one.
func (p *Parameters) MigrationKeySize(from *Parameters) int64 {
	return codec.Overhead + int64(len(from.fingerprint)+2*len(KeyID{})+SeedSize+4*from.BigDimension()*p.lit.KeySwitchGadget.Levels)
}

// MarshalBinary returns the container of the key, whose fingerprint is that of the
// new parameters. Its body is the fingerprint of the old ones, the ids of the old and
// of the new key set, the seed of the masks, and the bodies.
func (k *MigrationKey) MarshalBinary() ([]byte, error) {
	b := new(sliceWriter)
	e := codec.NewEncoder(b)
	e.Bytes(k.from.fingerprint[:])
	e.Bytes(k.fromID[:])
	e.Bytes(k.toID[:])
	e.Bytes(k.seed[:])
	e.U32s(k.rows)
	return codec.Encode(codec.MigrationKey, k.to.fingerprint, *b), e.Err()
}

// MaxMigrationKey bounds the container of a migration key in bytes.
const MaxMigrationKey = 4 << 20

// UnmarshalMigrationKey reads the container of a migration key between any two
// presets. The error is one of package codec, a *ParametersError or a
// *MigrationError.
func UnmarshalMigrationKey(data []byte) (*MigrationKey, error) {
	to, body, err := decode(data, codec.MigrationKey, MaxMigrationKey)
	if err != nil {
		return nil, err
	}
	k := &MigrationKey{to: to}
	d := codec.NewBytesDecoder(body)
	fingerprint := d.Bytes("old parameters", len(k.to.fingerprint))
	copy(k.fromID[:], d.Bytes("old key id", len(k.fromID)))
	copy(k.toID[:], d.Bytes("new key id", len(k.toID)))
	copy(k.seed[:], d.Bytes("seed", SeedSize))
	if d.Err() != nil {
		return nil, d.Err()
	}
	if k.from, err = PresetByFingerprint([32]byte(fingerprint)); err != nil {
		return nil, err
	}
	if err := k.check(); err != nil {
		return nil, err
	}
	k.rows = d.U32s("bodies", k.from.BigDimension()*to.lit.KeySwitchGadget.Levels)
	if err := d.Finish(); err != nil {
		return nil, err
	}
	return k, nil
}
