package inspect

import (
	"fmt"
	"io"

	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/leveled"
)

// The kinds of files of the leveled schemes. Secret keys are SecretKey in every scheme.
const (
	LeveledPublicKey     Kind = "public key of vectors"
	LeveledEvaluationKey Kind = "evaluation key of vectors"
	LeveledMigrationKey  Kind = "migration key of vectors"
	LeveledCiphertexts   Kind = "vectors"
)

// VectorReport describes one encrypted vector.
type VectorReport struct {
	Scheme   string  `json:"scheme"`
	Form     string  `json:"form"` // secret-key, public-key or computed
	Length   int     `json:"length"`
	Level    int     `json:"level"`      // rescales that are left
	LogSigma float64 `json:"log2_sigma"` // of the error's coefficients, as tracked
	LogBound float64 `json:"log2_bound"` // of the values, for ckks
	Scale    float64 `json:"scale"`
	Room     float64 `json:"room_bits"` // of the modulus that message and error leave unused
	// Precision is the bits that stand above the error of a ckks value of size 1; nil for exact schemes.
	Precision *float64 `json:"precision_bits,omitempty"`
	// Measured is log2 of the standard deviation of the error that is there, measured with the secret
	// key; nil without one, and for ckks, whose error cannot be told from its message.
	Measured *float64 `json:"measured_log2_sigma,omitempty"`
}

// KeyReport describes the evaluation key of a leveled scheme.
type KeyReport struct {
	Rotations     []int `json:"rotations"`
	SwapRows      bool  `json:"swap_rows"`
	Bootstrapping bool  `json:"bootstrapping"`
}

// FormOf says how a vector was made.
func FormOf(c *leveled.Ciphertext) string {
	switch public, fresh := c.Public(), c.Fresh(); {
	case !fresh:
		return "computed"
	case public:
		return fhe.PublicForm.String()
	}
	return fhe.SecretForm.String()
}

func (r *Report) leveledKey(p *leveled.Parameters, id fhe.KeyID) {
	r.Parameters = &Parameters{p.Name(), fmt.Sprintf("%x", p.Fingerprint()), false}
	r.KeyID = id.String()
}

func (r *Report) leveledSecretKey(data []byte) error {
	sk, err := leveled.UnmarshalSecretKey(data, nil)
	if err == nil {
		r.leveledKey(sk.Parameters(), sk.ID())
	}
	return err
}

func (r *Report) leveledPublicKey(data []byte) error {
	pk, err := leveled.UnmarshalPublicKey(data, nil)
	if err == nil {
		r.leveledKey(pk.Parameters(), pk.ID())
	}
	return err
}

func (r *Report) leveledEvaluationKey(in io.Reader) error {
	p, id, spec, err := leveled.CheckEvaluationKey(in, nil)
	if err == nil {
		r.leveledKey(p, id)
		r.Evaluation = &KeyReport{spec.Rotations, spec.SwapRows, spec.Bootstrapping}
	}
	return err
}

func (r *Report) leveledMigrationKey(in io.Reader) error {
	p, from, to, err := leveled.CheckMigrationKey(in, nil)
	if err == nil {
		r.leveledKey(p, to)
		added := p.MigrationLogSigma()
		r.Migration = &MigrationReport{FromParameters: *r.Parameters, FromKeyID: from.String(), LogSigma: &added}
	}
	return err
}

func (r *Report) vectors(data []byte, sk *leveled.SecretKey) error {
	cts, err := leveled.UnmarshalCiphertexts(data, nil)
	if err != nil {
		return err
	}
	p := cts[0].Parameters()
	r.leveledKey(p, cts[0].KeyID())
	for _, ct := range cts {
		n := ct.Noise()
		v := VectorReport{
			Scheme: p.Scheme().String(), Form: FormOf(ct), Length: ct.Length(), Level: n.Level,
			LogSigma: n.LogSigma, LogBound: n.LogBound, Scale: n.Scale, Room: p.Room(n),
		}
		if p.Scheme() == leveled.CKKS {
			bits := -p.LogError(n)
			v.Precision = &bits
		} else if sk != nil {
			m, err := leveled.NewDecryptor(sk).MeasureIntegers(ct)
			if err != nil {
				return err
			}
			v.Measured = &m
		}
		r.Vectors = append(r.Vectors, v)
	}
	return nil
}
