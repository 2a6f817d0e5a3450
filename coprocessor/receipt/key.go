package receipt

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const pemType = "PRIVATE KEY" // PKCS #8

// KeyError reports a file that should hold a service's signing key and does not.
type KeyError struct {
	Path, Reason string
}

func (e *KeyError) Error() string { return "receipt: " + e.Path + ": " + e.Reason }

// LoadKey reads the signing key of a service from a file, PKCS #8 in PEM, and
// makes the file, with mode 0600, when there is none. A file that is there is
// never replaced; when it holds no such key the error is a *KeyError.
func LoadKey(path string) (ed25519.PrivateKey, error) {
	key, err := ReadKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if err := makeKey(path); err != nil {
		return nil, fmt.Errorf("receipt: making the signing key: %w", err)
	}
	return ReadKey(path)
}

// ReadKey is LoadKey for a file that must be there.
func ReadKey(path string) (ed25519.PrivateKey, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("receipt: %w", err)
	}
	key, reason := parseKey(data)
	if key == nil {
		return nil, &KeyError{path, reason}
	}
	return key, nil
}

// parseKey reads the bytes of a file, or says why there is no key.
func parseKey(data []byte) (key ed25519.PrivateKey, reason string) {
	block, rest := pem.Decode(data)
	if block == nil || block.Type != pemType || len(rest) > 0 {
		return nil, "not one private key in PEM"
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, "not a private key in PKCS #8"
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Sprintf("a key of type %T, want Ed25519", parsed)
	}
	return key, ""
}

// NewKey draws a signing key.
func NewKey() (ed25519.PrivateKey, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	return key, err
}

// ReplaceKey puts a signing key into a file in the place of the one that is there, which
// is gone.
func ReplaceKey(path string, key ed25519.PrivateKey) error {
	if err := writeKey(path, key, os.Rename); err != nil {
		return fmt.Errorf("receipt: replacing the signing key: %w", err)
	}
	return nil
}

// makeKey writes a new key to a file that must not exist.
func makeKey(path string) error {
	key, err := NewKey()
	if err != nil {
		return err
	}
	// A link, unlike a rename, fails where there is a file of that name.
	err = writeKey(path, key, os.Link)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// writeKey writes a key to a file of another name and lets place give it its own. The
// file appears complete or not at all, so that a crash leaves nothing that cannot be
// read.
func writeKey(path string, key ed25519.PrivateKey, place func(from, to string) error) (err error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	temp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"."+rand.Text())
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if e := os.Remove(temp); !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}()
	err = pem.Encode(f, &pem.Block{Type: pemType, Bytes: der})
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return place(temp, path)
}
