// Package keyfile keeps keys in files: secret keys as text, optionally protected
// by a passphrase, and public objects as they are.
//
// # Format
//
// A secret-key file is text with one key:
//
//	# created: 2026-11-20T09:58:00Z
//	# parameters: tacit-2-2-v1
//	# key id: 64 hexadecimal digits
//	TACIT-SECRET-KEY-1<container bytes in base64url, without padding>
//
// Lines that are empty or begin with # are comments; of those, the three
// above are read as [Meta]. They are not authenticated: what is inside the
// container decides.
//
// A protected file is that text encrypted to a passphrase by age
// (https://age-encryption.org/v1, scrypt recipient) in age's ASCII armor, so
// `age -d` opens it too.
//
// The package does not look inside the container.
package keyfile

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"
)

const (
	// MaxSize is the greatest size of a secret-key file, in bytes.
	MaxSize = 1 << 20
	// MaxWorkFactor is the greatest accepted log2 of the scrypt work factor. At
	// 20, scrypt takes 1 GiB of memory and a few seconds.
	MaxWorkFactor = 20

	keyPrefix = "TACIT-SECRET-KEY-1"
)

// workFactor is the log2 of the scrypt work factor of new files: 256 MiB of
// memory and about a second.
var workFactor = 18

// Meta is what the comments of a key file say.
type Meta struct {
	Created    time.Time // to the second; zero when not stated
	Parameters string    // the name of the parameter set, printable ASCII
	KeyID      [32]byte  // of the evaluation key; zero when not stated
}

// Info is what Read found out besides the key.
type Info struct {
	Meta
	Protected bool   // by a passphrase
	Warning   string // a sentence when others may read the file, else empty
}

// Write makes a new file with mode 0600 that holds key, the container bytes of a
// secret key, and waits until it is on disk. A nil passphrase leaves the file
// unprotected; an empty one is refused. A file that exists is left alone and is
// an *ExistsError.
func Write(path string, key []byte, meta Meta, passphrase []byte) error {
	text, err := format(key, meta)
	if err == nil && passphrase != nil {
		text, err = encrypt(text, string(passphrase))
	}
	if err == nil && len(text) > MaxSize {
		err = &SizeError{Path: path, Max: MaxSize}
	}
	if err != nil {
		return fmt.Errorf("keyfile: %w", err)
	}
	return failed(path, create(path, 0o600, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	}))
}

// Read returns the container bytes in a secret-key file. It calls passphrase
// only when the file is protected, after its header was found acceptable; a nil
// passphrase makes that ErrPassphraseNeeded. Other errors are *SizeError,
// *FormatError, *WorkFactorError, ErrWrongPassphrase, the error of passphrase,
// and those of the file system. No error contains a part of the file.
func Read(path string, passphrase func() ([]byte, error)) ([]byte, Info, error) {
	text, info, err := readFile(path)
	if err != nil {
		return nil, Info{}, err
	}
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte(armor.Header)) {
		info.Protected = true
		if text, err = decrypt(text, passphrase); err != nil {
			return nil, Info{}, fmt.Errorf("keyfile: %s: %w", path, err)
		}
	}
	key, meta, err := parse(text)
	if err != nil {
		return nil, Info{}, fmt.Errorf("keyfile: %s: %w", path, err)
	}
	info.Meta = meta
	return key, info, nil
}

func readFile(path string) ([]byte, Info, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, Info{}, fmt.Errorf("keyfile: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, Info{}, fmt.Errorf("keyfile: %w", err)
	}
	if st.Mode().IsRegular() && st.Size() > MaxSize {
		return nil, Info{}, &SizeError{Path: path, Max: MaxSize}
	}
	// Pipes have no size, and files may grow.
	text, err := io.ReadAll(io.LimitReader(f, MaxSize+1))
	if err != nil {
		return nil, Info{}, fmt.Errorf("keyfile: %w", err)
	}
	if len(text) > MaxSize {
		return nil, Info{}, &SizeError{Path: path, Max: MaxSize}
	}
	return text, Info{Warning: permissionWarning(path, st.Mode())}, nil
}

func permissionWarning(path string, mode fs.FileMode) string {
	if runtime.GOOS == "windows" || !mode.IsRegular() || mode.Perm()&0o044 == 0 {
		return ""
	}
	return fmt.Sprintf("secret-key file %s can be read by other users (mode %04o)", path, mode.Perm())
}

func format(key []byte, meta Meta) ([]byte, error) {
	if len(key) == 0 {
		return nil, errors.New("no key to write")
	}
	if !printable(meta.Parameters) {
		return nil, fmt.Errorf("parameter name %q is not printable ASCII", meta.Parameters)
	}
	if !writable(meta.Created) {
		return nil, fmt.Errorf("creation time %v is not within the years 1 to 9999", meta.Created)
	}
	var b bytes.Buffer
	if !meta.Created.IsZero() {
		fmt.Fprintf(&b, "# created: %s\n", meta.Created.UTC().Format(time.RFC3339))
	}
	if meta.Parameters != "" {
		fmt.Fprintf(&b, "# parameters: %s\n", meta.Parameters)
	}
	if meta.KeyID != [32]byte{} {
		fmt.Fprintf(&b, "# key id: %x\n", meta.KeyID)
	}
	b.WriteString(keyPrefix)
	b.WriteString(base64.RawURLEncoding.EncodeToString(key))
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// parse reads the text that format makes. All of it may come from a stranger.
func parse(text []byte) (key []byte, meta Meta, err error) {
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimSpace(line)
		switch {
		case line == "":
		case strings.HasPrefix(line, "#"):
			if reason := meta.parseComment(line[1:]); reason != "" {
				return nil, Meta{}, &FormatError{Line: n, Reason: reason}
			}
		case !strings.HasPrefix(line, keyPrefix):
			return nil, Meta{}, &FormatError{Line: n, Reason: "neither a comment nor a " + keyPrefix + " line"}
		case key != nil:
			return nil, Meta{}, &FormatError{Line: n, Reason: "a second key"}
		default:
			key, err = base64.RawURLEncoding.Strict().DecodeString(line[len(keyPrefix):])
			if err != nil || len(key) == 0 {
				return nil, Meta{}, &FormatError{Line: n, Reason: "the key is not base64url"}
			}
		}
	}
	if key == nil {
		return nil, Meta{}, &FormatError{Line: n, Reason: "no " + keyPrefix + " line"}
	}
	return key, meta, nil
}

// parseComment reads one of the three known comments into m and ignores others.
// It returns what is wrong, or nothing.
func (m *Meta) parseComment(s string) (reason string) {
	name, value, _ := strings.Cut(s, ":")
	value = strings.TrimSpace(value)
	switch strings.TrimSpace(name) {
	case "created":
		t, err := time.Parse(time.RFC3339, value)
		if err != nil || !writable(t) {
			return "the creation time is not in the form 2006-01-02T15:04:05Z"
		}
		m.Created = t.UTC().Truncate(time.Second)
	case "parameters":
		if !printable(value) {
			return "the parameter name is not printable ASCII"
		}
		m.Parameters = value
	case "key id":
		id, err := hex.DecodeString(value)
		if err != nil || len(id) != len(m.KeyID) {
			return "the key id is not 64 hexadecimal digits"
		}
		m.KeyID = [32]byte(id)
	}
	return ""
}

// printable reports whether s can stand in a comment and come back unchanged.
func printable(s string) bool {
	return s == strings.TrimSpace(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// writable reports whether RFC 3339 has a form for t in UTC.
func writable(t time.Time) bool { return 1 <= t.UTC().Year() && t.UTC().Year() <= 9999 }

func encrypt(text []byte, passphrase string) ([]byte, error) {
	if passphrase == "" {
		return nil, ErrEmptyPassphrase
	}
	r, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return nil, err
	}
	r.SetWorkFactor(workFactor)
	var b bytes.Buffer
	a := armor.NewWriter(&b)
	w, err := age.Encrypt(a, r)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(text); err != nil {
		return nil, err
	}
	if err := errors.Join(w.Close(), a.Close()); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func decrypt(text []byte, passphrase func() ([]byte, error)) ([]byte, error) {
	id := &identity{passphrase: passphrase}
	r, err := age.Decrypt(armor.NewReader(bytes.NewReader(text)), id)
	switch {
	case id.err != nil:
		return nil, id.err
	case errors.Is(err, age.ErrIncorrectIdentity):
		return nil, ErrWrongPassphrase
	case err != nil:
		return nil, &FormatError{Reason: "damaged age encryption"}
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		return nil, &FormatError{Reason: "damaged age encryption"}
	}
	return plain, nil
}

// identity is age's scrypt identity that asks for the passphrase only once the
// header of the file was found to be one that it will work on.
type identity struct {
	passphrase func() ([]byte, error)
	err        error // a refusal that age would wrap
}

// Unwrap implements age.Identity.
func (id *identity) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	var p []byte
	if id.err = checkScrypt(stanzas); id.err == nil {
		p, id.err = id.ask()
	}
	if id.err != nil {
		return nil, id.err
	}
	s, err := age.NewScryptIdentity(string(p))
	if err != nil {
		return nil, err
	}
	s.SetMaxWorkFactor(MaxWorkFactor)
	return s.Unwrap(stanzas)
}

func (id *identity) ask() ([]byte, error) {
	if id.passphrase == nil {
		return nil, ErrPassphraseNeeded
	}
	p, err := id.passphrase()
	if err == nil && len(p) == 0 {
		err = ErrEmptyPassphrase
	}
	return p, err
}

// checkScrypt accepts one scrypt stanza with an acceptable work factor.
func checkScrypt(stanzas []*age.Stanza) error {
	if len(stanzas) != 1 || stanzas[0].Type != "scrypt" || len(stanzas[0].Args) != 2 {
		return &FormatError{Reason: "encrypted, but not to a passphrase"}
	}
	logN, err := strconv.ParseUint(stanzas[0].Args[1], 10, 8)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return &FormatError{Reason: "damaged age encryption"}
	}
	if logN > MaxWorkFactor {
		return &WorkFactorError{Got: int(logN), Max: MaxWorkFactor}
	}
	return nil
}
