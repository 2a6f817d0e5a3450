package access

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tacit-fhe/tacit/coprocessor/reload"
)

// Kind says how a credential proves who somebody is.
type Kind string

// The kinds of credentials.
const (
	Token       Kind = "token"       // a bearer token
	Key         Kind = "ed25519"     // the key of signed calls
	Certificate Kind = "certificate" // the subject of a client certificate
)

// Credential makes whoever has it a principal with roles. A token or a key
// belongs to one credential.
type Credential struct {
	ID        string    `json:"id"` // 8 hexadecimal digits, to name it by
	Principal string    `json:"principal"`
	Kind      Kind      `json:"kind"`
	Value     string    `json:"value"` // SHA-256 of the token, or the public key, both hexadecimal, or the subject
	Roles     []Role    `json:"roles"`
	Created   time.Time `json:"created"`
	Expires   time.Time `json:"expires,omitzero"` // never when zero
}

const (
	// callersVersion is the version of the file of callers.
	callersVersion = 1
	// maxCallers bounds the file of callers in bytes.
	maxCallers = 16 << 20
	// maxSubject bounds the subject of a certificate in bytes.
	maxSubject = 1024

	tokenPrefix = "tacit_"
	tokenSize   = 32 // bytes of randomness
)

// callersFile is the file of callers.
type callersFile struct {
	Version     int              `json:"version"`
	Credentials []Credential     `json:"credentials"`
	Quotas      map[string]Quota `json:"quotas,omitempty"` // by principal; Everyone's is that of all others
}

// Quota is what a principal may use. The zero value is an equal share without
// limits.
type Quota struct {
	// Weight is the principal's share of the work while others want it too, relative
	// to theirs, 0.01 to 100; 0 means 1.
	Weight float64 `json:"weight,omitempty"`
	// Bootstraps is what its jobs may use in each Period; 0 is no limit.
	Bootstraps int64 `json:"bootstraps,omitempty"`
	// Period is a minute to a year; 0 means a day.
	Period Period `json:"period,omitempty"`
	// MaxQueued is how many of its jobs may wait; 0 is no limit of its own.
	MaxQueued int `json:"max_queued,omitempty"`
}

// Period is a duration that is written as 24h0m0s.
type Period time.Duration

// MarshalText writes the duration.
func (p Period) MarshalText() ([]byte, error) { return []byte(time.Duration(p).String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (p *Period) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	*p = Period(d)
	return err
}

// Check returns an error that says what is wrong with a quota.
func (q Quota) Check() error {
	switch {
	case q.Weight != 0 && !(q.Weight >= 0.01 && q.Weight <= 100):
		return fmt.Errorf("a weight of %g is not within 0.01 and 100", q.Weight)
	case q.Bootstraps < 0:
		return fmt.Errorf("%d bootstraps", q.Bootstraps)
	case q.MaxQueued < 0:
		return fmt.Errorf("%d jobs that may wait", q.MaxQueued)
	case q.Period != 0 && (time.Duration(q.Period) < time.Minute || time.Duration(q.Period) > 366*24*time.Hour):
		return fmt.Errorf("a period of %v is not within a minute and a year", time.Duration(q.Period))
	}
	return nil
}

// CallersError reports a file of callers that cannot be used.
type CallersError struct {
	Path   string
	Place  string // such as credentials[3], or empty
	Reason string
}

func (e *CallersError) Error() string {
	if e.Place == "" {
		return fmt.Sprintf("%s: %s", e.Path, e.Reason)
	}
	return fmt.Sprintf("%s: %s: %s", e.Path, e.Place, e.Reason)
}

// ReadCallers reads a file of callers. A file that is absent is fs.ErrNotExist,
// one that is wrong a *CallersError.
func ReadCallers(path string) ([]Credential, error) {
	file, err := readFile(path)
	return file.Credentials, err
}

// SetQuota sets the quota of a principal, or of Everyone, in a file of callers,
// which is made if it is absent.
func SetQuota(path, principal string, q Quota) error {
	return edit(path, func(file *callersFile) error {
		if q == (Quota{}) {
			delete(file.Quotas, principal)
			return nil
		}
		if file.Quotas == nil {
			file.Quotas = make(map[string]Quota)
		}
		file.Quotas[principal] = q
		return file.checkQuota(principal)
	})
}

func (f *callersFile) checkQuota(principal string) error {
	if principal != Everyone {
		if err := CheckName(principal); err != nil {
			return err
		}
	}
	return f.Quotas[principal].Check()
}

func readFile(path string) (callersFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return callersFile{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxCallers+1))
	if err != nil {
		return callersFile{}, err
	}
	return decodeCallers(path, data)
}

// decodeCallers reads the bytes of the file at path.
func decodeCallers(path string, data []byte) (file callersFile, err error) {
	none := callersFile{}
	if len(data) > maxCallers {
		return none, &CallersError{path, "", fmt.Sprintf("larger than %d bytes", maxCallers)}
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields() // a misspelt "expires" must not mean never
	if err := d.Decode(&file); err != nil {
		return none, &CallersError{path, "", "not a file of callers: " + err.Error()}
	}
	if d.More() {
		return none, &CallersError{path, "", "something follows the callers"}
	}
	if file.Version != callersVersion {
		return none, &CallersError{path, "version", fmt.Sprintf("%d, want %d", file.Version, callersVersion)}
	}
	type proof struct {
		kind  Kind
		value string
	}
	seen := make(map[proof]bool)
	ids := make(map[string]bool)
	for i, c := range file.Credentials {
		err := c.check()
		switch {
		case err != nil:
		case ids[c.ID]:
			err = fmt.Errorf("the id %s is there twice", c.ID)
		case seen[proof{c.Kind, c.Value}]:
			err = fmt.Errorf("the %s is there twice", c.Kind)
		}
		if err != nil {
			return none, &CallersError{path, fmt.Sprintf("credentials[%d]", i), err.Error()}
		}
		ids[c.ID], seen[proof{c.Kind, c.Value}] = true, true
	}
	for principal := range file.Quotas {
		if err := file.checkQuota(principal); err != nil {
			return none, &CallersError{path, fmt.Sprintf("quotas[%.80q]", principal), err.Error()}
		}
	}
	return file, nil
}

func (c *Credential) check() error {
	if err := CheckName(c.Principal); err != nil {
		return err
	}
	for _, r := range c.Roles {
		if _, err := ParseRole(string(r)); err != nil {
			return err
		}
	}
	if _, err := hex.DecodeString(c.ID); err != nil || len(c.ID) != 8 {
		return errors.New("the id is not 8 hexadecimal digits")
	}
	switch c.Kind {
	case Token, Key:
		if b, err := hex.DecodeString(c.Value); err != nil || len(b) != 32 || hex.EncodeToString(b) != c.Value {
			return errors.New("the value is not 64 hexadecimal digits")
		}
	case Certificate:
		if c.Value == "" || len(c.Value) > maxSubject {
			return fmt.Errorf("the subject is not 1 to %d bytes", maxSubject)
		}
	default:
		return fmt.Errorf("no kind of credential is named %.40q", c.Kind)
	}
	return nil
}

// Issue adds a token to a file of callers, which is made if it is absent, and
// returns it. The file has its SHA-256 only.
func Issue(path string, c Credential) (token string, _ Credential, err error) {
	secret := make([]byte, tokenSize)
	rand.Read(secret)
	token = tokenPrefix + base64.RawURLEncoding.EncodeToString(secret)
	c.Kind, c.Value = Token, tokenHash(token)
	c, err = Register(path, c)
	return token, c, err
}

func tokenHash(token string) string {
	h := sha256.Sum256([]byte(token))
	return hex.EncodeToString(h[:])
}

// Register adds a credential to a file of callers, which is made if it is absent,
// and returns it with its id and time.
func Register(path string, c Credential) (Credential, error) {
	id := make([]byte, 4)
	rand.Read(id)
	c.ID, c.Created = hex.EncodeToString(id), time.Now().UTC().Truncate(time.Second)
	if err := c.check(); err != nil {
		return Credential{}, err
	}
	return c, edit(path, func(file *callersFile) error {
		file.Credentials = append(file.Credentials, c)
		return nil
	})
}

// NoCredentialError reports an id that no credential has.
type NoCredentialError struct {
	ID string
}

func (e *NoCredentialError) Error() string {
	return fmt.Sprintf("no credential has the id %.40q", e.ID)
}

// Withdraw removes a credential from a file of callers and returns it.
func Withdraw(path, id string) (removed Credential, err error) {
	if _, err := os.Stat(path); err != nil {
		return Credential{}, err
	}
	err = edit(path, func(file *callersFile) error {
		i := slices.IndexFunc(file.Credentials, func(c Credential) bool { return c.ID == id })
		if i < 0 {
			return &NoCredentialError{id}
		}
		removed = file.Credentials[i]
		file.Credentials = slices.Delete(file.Credentials, i, i+1)
		return nil
	})
	return removed, err
}

// edit replaces a file of callers. The new file is written under another name,
// which keeps a second editor out.
func edit(path string, change func(*callersFile) error) (err error) {
	next := path + ".new"
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return &CallersError{path, "", "somebody else changes it; if nobody does, remove " + next}
	}
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(next)
		}
	}()
	file, err := readFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file.Version = callersVersion
	if err := change(&file); err != nil {
		return err
	}
	data, err := json.MarshalIndent(file, "", "  ")
	if err != nil {
		return err
	}
	if _, err := f.Write(append(data, '\n')); err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	// What was written must be readable, by those who will read it.
	if _, err := ReadCallers(next); err != nil {
		return err
	}
	if err := os.Rename(next, path); err != nil {
		return err
	}
	if dir, err := os.Open(filepath.Dir(path)); err == nil {
		dir.Sync() // not every file system can
		dir.Close()
	}
	return nil
}

// Callers knows the principals of a file of callers, as it is now: a change of
// the file counts within a second or so. It is safe for concurrent use.
type Callers struct {
	known *reload.Value[known]
}

// known is what a file of callers says.
type known struct {
	proofs map[string]Credential // by kind and value
	quotas map[string]Quota      // by principal
}

// OpenCallers reads a file of callers. Where the file is wrong later, what it said
// before stays, and the log says so.
func OpenCallers(path string, log *slog.Logger) (*Callers, error) {
	load := func() (known, error) {
		file, err := readFile(path)
		if err != nil {
			return known{}, err
		}
		proofs := make(map[string]Credential, len(file.Credentials))
		for _, c := range file.Credentials {
			proofs[string(c.Kind)+" "+c.Value] = c
		}
		log.Info("callers read", "file", path, "credentials", len(file.Credentials), "quotas", len(file.Quotas))
		return known{proofs, file.Quotas}, nil
	}
	failed := func(err error) { log.Error("callers not read again, those before stay", "error", err) }
	k, err := reload.Open(load, failed, path)
	if err != nil {
		return nil, err
	}
	return &Callers{k}, nil
}

// Quota returns what a principal may use.
func (c *Callers) Quota(principal string) Quota {
	quotas := c.known.Get().quotas
	if q, ok := quotas[principal]; ok {
		return q
	}
	return quotas[Everyone]
}

// CredentialError reports a proof that makes nobody a principal.
type CredentialError struct {
	Kind    Kind
	Expired bool   // else unknown
	ID      string // of the credential that has expired
}

func (e *CredentialError) Error() string {
	if e.Expired {
		return fmt.Sprintf("access: the %s has expired", e.Kind)
	}
	return fmt.Sprintf("access: the %s is not known", e.Kind)
}

// Token returns who has a bearer token, or a *CredentialError.
func (c *Callers) Token(token string) (Principal, error) {
	if len(token) != len(tokenPrefix)+base64.RawURLEncoding.EncodedLen(tokenSize) || !strings.HasPrefix(token, tokenPrefix) {
		return Principal{}, &CredentialError{Kind: Token}
	}
	// Found by its hash, which tells nothing about the token by its timing.
	return c.find(Token, tokenHash(token))
}

// Key returns who has an Ed25519 key, or a *CredentialError.
func (c *Callers) Key(public [32]byte) (Principal, error) {
	return c.find(Key, hex.EncodeToString(public[:]))
}

// Certificate returns who a client certificate that was verified is for, by its
// subject (RFC 2253), or a *CredentialError.
func (c *Callers) Certificate(subject string) (Principal, error) {
	return c.find(Certificate, subject)
}

func (c *Callers) find(kind Kind, value string) (Principal, error) {
	found, ok := c.known.Get().proofs[string(kind)+" "+value]
	if !ok {
		return Principal{}, &CredentialError{Kind: kind}
	}
	if !found.Expires.IsZero() && !time.Now().Before(found.Expires) {
		return Principal{}, &CredentialError{Kind: kind, Expired: true, ID: found.ID}
	}
	return Principal{Name: found.Principal, Roles: found.Roles, Credential: found.ID}, nil
}
