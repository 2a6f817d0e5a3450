// Package inspect describes any file of Tacit: keys, ciphertexts and jobs. It
// checks what it describes and needs no key; with the secret key it also
// measures the noise of ciphertexts. No report holds a secret.
package inspect

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"time"
	"unicode/utf8"

	"github.com/tacit-fhe/tacit/cmd/tacit/internal/jobfile"
	"github.com/tacit-fhe/tacit/coprocessor/graph"
	"github.com/tacit-fhe/tacit/coprocessor/receipt"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/codec"
	"github.com/tacit-fhe/tacit/fhe/integer"
	"github.com/tacit-fhe/tacit/fhe/keyfile"
	"github.com/tacit-fhe/tacit/fhe/leveled"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// Kind is what a file holds.
type Kind string

// The kinds of files.
const (
	SecretKey     Kind = "secret key"
	PublicKey     Kind = "public key"
	EvaluationKey Kind = "evaluation key"
	Ciphertexts   Kind = "ciphertexts"
	Job           Kind = "job"
	MigrationKey  Kind = "migration key"
	Receipt       Kind = "receipt"
)

// MaxSize bounds a file in bytes.
const MaxSize = 4 << 30

// headSize is how much of a file tells its kind.
const headSize = 4096

var (
	// ErrEmpty means that a file has no bytes.
	ErrEmpty = errors.New("the file is empty")
	// ErrUnknown means that a file is none of the kinds.
	ErrUnknown = errors.New("neither a key nor ciphertexts nor a job nor a receipt")
)

// Detect tells the kind of a file by its first bytes. What is wrong with a
// container's header is an error of package codec.
func Detect(head []byte) (Kind, error) {
	if len(head) == 0 {
		return "", ErrEmpty
	}
	text := bytes.TrimSpace(head)
	switch {
	case bytes.HasPrefix(text, []byte("-----BEGIN AGE ENCRYPTED FILE-----")), bytes.Contains(text, []byte("TACIT-SECRET-KEY-")):
		return SecretKey, nil
	case bytes.HasPrefix(head, []byte("TACIT")):
		h, err := codec.ReadHeader(bytes.NewReader(head))
		return kinds[h.Kind], err
	case receipt.Is(head):
		return Receipt, nil
	case isText(head):
		return Job, nil
	}
	return "", ErrUnknown
}

var kinds = map[codec.Kind]Kind{
	codec.SecretKey: SecretKey, codec.PublicKey: PublicKey, codec.EvaluationKey: EvaluationKey, codec.Ciphertexts: Ciphertexts,
	codec.MigrationKey:     MigrationKey,
	codec.LeveledPublicKey: LeveledPublicKey, codec.LeveledEvaluationKey: LeveledEvaluationKey, codec.LeveledCiphertexts: LeveledCiphertexts,
	codec.LeveledMigrationKey: LeveledMigrationKey,
}

// isText says that the head of a file is UTF-8, but for a character that may be
// cut off at its end, without control characters.
func isText(head []byte) bool {
	for i := 0; i < utf8.UTFMax && len(head) == headSize && !utf8.Valid(head); i++ {
		head = head[:len(head)-1]
	}
	return utf8.Valid(head) && bytes.IndexFunc(head, func(r rune) bool { return r < ' ' && r != '\t' && r != '\n' && r != '\r' }) < 0
}

// DetectFile tells the kind of a file.
func DetectFile(path string) (Kind, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	head, err := io.ReadAll(io.LimitReader(f, headSize))
	if err != nil {
		return "", err
	}
	return Detect(head)
}

// Report describes a file. Of the last fields the one of its kind is set.
type Report struct {
	File       string      `json:"file"`
	Kind       Kind        `json:"kind"`
	Size       int64       `json:"size"`   // bytes
	Digest     string      `json:"sha256"` // of the file
	Parameters *Parameters `json:"parameters,omitempty"`
	KeyID      string      `json:"key_id,omitempty"`

	SecretKey  *SecretKeyReport `json:"secret_key,omitempty"`
	Evaluation *KeyReport       `json:"evaluation_key,omitempty"`
	Values     *ValuesReport    `json:"ciphertexts,omitempty"`
	Vectors    []VectorReport   `json:"vectors,omitempty"`
	Job        *JobReport       `json:"job,omitempty"`
	Migration  *MigrationReport `json:"migration_key,omitempty"`
	Receipt    *ReceiptReport   `json:"receipt,omitempty"`
}

// MigrationReport describes a migration key; the report's parameters and key id are
// those of the new key.
type MigrationReport struct {
	FromParameters Parameters `json:"from_parameters"`
	FromKeyID      string     `json:"from_key_id"`
	// Log2Failure bounds the probability that a block of an integer comes out wrong, and LogSigma
	// the standard deviation of the error that is added to a vector. The one of the key's kind is set.
	Log2Failure *float64 `json:"log2_failure_probability,omitempty"`
	LogSigma    *float64 `json:"log2_sigma,omitempty"`
}

// ReceiptReport describes a receipt.
type ReceiptReport struct {
	JobID         string `json:"job_id"`
	SpecDigest    string `json:"spec_digest"`
	EngineVersion string `json:"engine_version"`
	Backend       string `json:"backend"`
	ServiceKey    string `json:"service_key"`
	// Signed says that the signature is that of the service key which the receipt
	// itself names.
	Signed  bool   `json:"signed"`
	Inputs  []Item `json:"inputs"`
	Outputs []Item `json:"outputs"`
}

// Item is a ciphertext in a receipt.
type Item struct {
	Handle string `json:"handle"`
	Digest string `json:"sha256"`
}

// Parameters names a parameter set.
type Parameters struct {
	Name        string `json:"name"`
	Fingerprint string `json:"fingerprint"`
	TestOnly    bool   `json:"test_only"` // insecure
}

// SecretKeyReport is what may be said of a secret key.
type SecretKeyReport struct {
	Protected bool   `json:"protected"`         // by a passphrase
	Opened    bool   `json:"opened"`            // so that the rest is known
	Created   string `json:"created,omitempty"` // RFC 3339
	Warning   string `json:"warning,omitempty"` // when others may read the file
}

// ValuesReport describes a list of ciphertexts.
type ValuesReport struct {
	Form   string  `json:"form"` // secret-key, public-key, computed or packed
	Values []Value `json:"values"`
}

// Value describes one encrypted value.
type Value struct {
	Type string `json:"type"`
	// Log2Variance bounds the variance of the error of every block, relative to
	// the modulus; nil when there is none, because the value is a plaintext.
	Log2Variance *float64 `json:"log2_variance"`
	// Log2Failure bounds the probability that one bootstrap of a block decodes
	// wrongly.
	Log2Failure float64 `json:"log2_failure_probability"`
	Blocks      []Block `json:"blocks"`
}

// Block describes one ciphertext of a value.
type Block struct {
	Max      int64  `json:"max"` // the largest message it can hold
	Measured *Noise `json:"measured,omitempty"`

	variance float64
}

// Noise is the error of a ciphertext, measured with the secret key.
type Noise struct {
	Error      float64 `json:"error"`       // relative to the modulus
	Sigmas     float64 `json:"sigmas"`      // in standard deviations of the bound; 0 for a plaintext
	MarginBits float64 `json:"margin_bits"` // how far it is below the error that decodes wrongly
}

// JobReport describes a job.
type JobReport struct {
	JSON       bool     `json:"json"`
	SpecDigest string   `json:"spec_digest,omitempty"` // absent while names are unbound
	Unbound    []string `json:"unbound,omitempty"`
	Nodes      []Node   `json:"nodes"`
	Outputs    []string `json:"outputs"`
}

// Node is one operation of a job.
type Node struct {
	Label string `json:"label,omitempty"`
	Op    string `json:"op"`
}

// Options configures File.
type Options struct {
	// Passphrase is asked for protected secret keys; nil leaves them closed.
	Passphrase func() ([]byte, error)
	// SecretKey measures the noise of ciphertexts, if not nil.
	SecretKey *fhe.SecretKey
	// LeveledKey measures the noise of vectors, if not nil.
	LeveledKey *leveled.SecretKey
}

// SizeError reports a file that is larger than its kind can be.
type SizeError struct {
	Got, Max int64
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("%d bytes, at most %d are accepted", e.Got, e.Max)
}

// File describes a file. Errors are those of the packages that decode it.
func File(path string, o Options) (*Report, error) {
	kind, err := DetectFile(path)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	r := &Report{File: path, Kind: kind, Size: st.Size()}
	if r.Size > MaxSize {
		return nil, &SizeError{r.Size, MaxSize}
	}
	h := sha256.New()
	in := io.TeeReader(f, h)
	switch kind {
	case SecretKey:
		err = r.secretKey(path, o)
	case EvaluationKey:
		err = r.evaluationKey(in)
	case PublicKey:
		err = r.small(in, r.publicKey)
	case Ciphertexts:
		err = r.small(in, func(data []byte) error { return r.values(data, o.SecretKey) })
	case Job:
		err = r.small(in, r.job)
	case MigrationKey:
		err = r.small(in, r.migrationKey)
	case Receipt:
		err = r.small(in, r.receipt)
	case LeveledPublicKey:
		err = r.small(in, r.leveledPublicKey)
	case LeveledEvaluationKey:
		err = r.leveledEvaluationKey(in)
	case LeveledMigrationKey:
		err = r.leveledMigrationKey(in)
	case LeveledCiphertexts:
		err = r.small(in, func(data []byte) error { return r.vectors(data, o.LeveledKey) })
	}
	if err == nil {
		_, err = io.Copy(io.Discard, in)
	}
	if err != nil {
		return nil, err
	}
	r.Digest = hex.EncodeToString(h.Sum(nil))
	return r, nil
}

// small reads a file that fits into memory easily.
func (r *Report) small(in io.Reader, describe func([]byte) error) error {
	const limit = 128 << 20
	if r.Size > limit {
		return &SizeError{r.Size, limit}
	}
	data, err := io.ReadAll(io.LimitReader(in, limit))
	if err != nil {
		return err
	}
	return describe(data)
}

func (r *Report) key(p *fhe.Parameters, id fhe.KeyID) {
	r.Parameters = &Parameters{p.Name(), fmt.Sprintf("%x", p.Fingerprint()), p.Literal().TestOnly}
	r.KeyID = id.String()
}

func (r *Report) secretKey(path string, o Options) error {
	data, info, err := keyfile.Read(path, o.Passphrase)
	r.SecretKey = &SecretKeyReport{Protected: info.Protected, Warning: info.Warning}
	if errors.Is(err, keyfile.ErrPassphraseNeeded) {
		r.SecretKey.Protected = true
		return nil
	}
	if err != nil {
		return err
	}
	r.SecretKey.Opened = true
	if !info.Created.IsZero() {
		r.SecretKey.Created = info.Created.Format(time.RFC3339)
	}
	if h, err := codec.ReadHeader(bytes.NewReader(data)); err == nil && h.Kind == codec.LeveledSecretKey {
		return r.leveledSecretKey(data)
	}
	sk, err := fhe.UnmarshalSecretKey(data)
	if err != nil {
		return err
	}
	r.key(sk.Parameters(), sk.ID())
	return nil
}

func (r *Report) publicKey(data []byte) error {
	pk, err := fhe.UnmarshalPublicKey(data)
	if err != nil {
		return err
	}
	r.key(pk.Parameters(), pk.ID())
	return nil
}

func (r *Report) migrationKey(data []byte) error {
	k, err := fhe.UnmarshalMigrationKey(data)
	if err != nil {
		return err
	}
	r.key(k.ToParameters(), k.To())
	from := k.FromParameters()
	failure := k.FailureProbability(from.BootstrapVariance())
	r.Migration = &MigrationReport{
		FromParameters: Parameters{from.Name(), fmt.Sprintf("%x", from.Fingerprint()), from.Literal().TestOnly},
		FromKeyID:      k.From().String(), Log2Failure: &failure,
	}
	return nil
}

func (r *Report) receipt(data []byte) error {
	c, err := receipt.Decode(data)
	if err != nil {
		return err
	}
	if p, err := fhe.PresetByFingerprint(c.Fingerprint); err == nil {
		r.key(p, c.KeyID)
	} else {
		r.KeyID = hex.EncodeToString(c.KeyID[:])
	}
	r.Receipt = &ReceiptReport{
		JobID: c.JobID, SpecDigest: hex.EncodeToString(c.SpecDigest[:]), EngineVersion: c.EngineVersion, Backend: c.Backend,
		ServiceKey: hex.EncodeToString(c.ServiceKey[:]), Signed: c.Verify(c.ServiceKey) == nil,
		Inputs: items(c.Inputs), Outputs: items(c.Outputs),
	}
	return nil
}

func items(list []receipt.Item) []Item {
	out := make([]Item, len(list))
	for i := range list {
		out[i] = Item{hex.EncodeToString(list[i].Handle[:]), hex.EncodeToString(list[i].Digest[:])}
	}
	return out
}

func (r *Report) evaluationKey(in io.Reader) error {
	k, id, err := fhe.ReadEvaluationKey(in, nil)
	if err != nil {
		return err
	}
	r.key(k.Parameters(), id)
	return nil
}

// KeyError reports ciphertexts and a secret key that do not belong together.
type KeyError struct {
	Ciphertexts, Key fhe.KeyID
}

func (e *KeyError) Error() string {
	return fmt.Sprintf("the ciphertexts belong to the key %s…, not to %s…", e.Ciphertexts.String()[:16], e.Key.String()[:16])
}

// CheckKey says whether a list was made under a key.
func CheckKey(list *integer.List, sk *fhe.SecretKey) error {
	if list.KeyID() != sk.ID() {
		return &KeyError{list.KeyID(), sk.ID()}
	}
	return nil
}

func (r *Report) values(data []byte, sk *fhe.SecretKey) error {
	list, err := integer.UnmarshalList(data, nil)
	if err != nil {
		return err
	}
	if sk != nil {
		if err := CheckKey(list, sk); err != nil {
			return err
		}
	}
	p := list.Parameters()
	r.key(p, list.KeyID())
	r.Values = &ValuesReport{Form: list.Form(), Values: make([]Value, list.Len())}
	for i := range r.Values.Values {
		r.Values.Values[i] = describe(p, list.Value(i), sk)
	}
	return nil
}

func describe(p *fhe.Parameters, v *integer.Value, sk *fhe.SecretKey) Value {
	out := Value{Type: v.Type.String(), Log2Failure: math.Inf(-1)}
	for _, ct := range v.Blocks {
		b := Block{Max: ct.Bound.Max, variance: ct.Bound.Variance}
		if sk != nil {
			b.Measured = measure(p, ct, sk)
		}
		if log := math.Log2(b.variance); b.variance > 0 && (out.Log2Variance == nil || log > *out.Log2Variance) {
			out.Log2Variance = &log
		}
		out.Log2Failure = max(out.Log2Failure, p.FailureProbability(b.variance))
		out.Blocks = append(out.Blocks, b)
	}
	return out
}

func measure(p *fhe.Parameters, ct fhe.LWE, sk *fhe.SecretKey) *Noise {
	e := sk.Noise(ct)
	n := &Noise{Error: e}
	if ct.Bound.Variance > 0 {
		n.Sigmas = e / math.Sqrt(ct.Bound.Variance)
	}
	// An error of zero has no logarithm: it counts as the smallest there is.
	smallest := 1 / float64(p.Modulus())
	n.MarginBits = -math.Log2(max(math.Abs(e), smallest) * float64(4*p.Boxes()))
	return n
}

func (r *Report) job(data []byte) error {
	f, err := jobfile.Parse(data)
	if err != nil {
		return err
	}
	r.Job = &JobReport{JSON: jobfile.JSON(data), Unbound: f.Names}
	names := make(map[string]graph.Handle)
	for _, n := range f.Names {
		names[n] = graph.Handle{}
	}
	spec, err := f.Spec(names)
	if err != nil {
		return err
	}
	if len(f.Names) == 0 {
		d := graph.SpecDigest(spec)
		r.Job.SpecDigest = hex.EncodeToString(d[:])
	}
	r.KeyID = hex.EncodeToString(spec.KeyId)
	for _, n := range spec.Nodes {
		r.Job.Nodes = append(r.Job.Nodes, Node{n.GetLabel(), opName(n)})
	}
	r.Job.Outputs = jobfile.OutputNames(spec)
	return nil
}

func opName(n *tacitv1.Node) string {
	if n == nil || n.Op == nil {
		return "none"
	}
	return graph.OpName(*n.Op)
}
