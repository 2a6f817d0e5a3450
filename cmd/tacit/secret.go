package main

import (
	"bytes"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/tacit-fhe/tacit/cmd/tacit/internal/inspect"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/keyfile"
)

// maxPassphrase bounds a passphrase file in bytes.
const maxPassphrase = 1 << 16

// passphraseFlag adds --passphrase-file to a command that reads a secret key.
func passphraseFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVar(file, "passphrase-file", "", "file with the passphrase of the secret key, instead of asking")
	env(cmd, "passphrase-file")
}

// openSecretKey reads a secret key, with the passphrase of a file or of whoever
// sits at the terminal if it is protected.
func (u *ui) openSecretKey(path, passphraseFile string) (*fhe.SecretKey, error) {
	data, err := u.readSecretKey(path, passphraseFile)
	if err != nil {
		return nil, err
	}
	sk, err := fhe.UnmarshalSecretKey(data)
	return sk, inFile(path, err)
}

// readSecretKey returns the container of a secret key of any scheme.
func (u *ui) readSecretKey(path, passphraseFile string) ([]byte, error) {
	data, info, err := keyfile.Read(path, u.passphrase(path, passphraseFile))
	if errors.As(err, new(*keyfile.FormatError)) {
		if kind, e := inspect.DetectFile(path); e == nil && kind != inspect.SecretKey {
			err = inFile(path, &kindError{kind, "secret key"})
		}
	}
	if err != nil {
		return nil, err
	}
	if info.Warning != "" {
		u.warn("%s", info.Warning)
	}
	return data, nil
}

// passphrase returns a function that gets the passphrase of a key.
func (u *ui) passphrase(path, file string) func() ([]byte, error) {
	if file != "" {
		return func() ([]byte, error) { return readPassphrase(file) }
	}
	return func() ([]byte, error) { return u.ask("passphrase of " + path) }
}

// newPassphrase asks for a passphrase twice.
func (u *ui) newPassphrase() ([]byte, error) {
	p, err := u.ask("new passphrase")
	if err != nil {
		return nil, err
	}
	if len(p) == 0 {
		return nil, keyfile.ErrEmptyPassphrase
	}
	again, err := u.ask("the same passphrase again")
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(p, again) == 0 {
		return nil, errors.New("the passphrases differ")
	}
	return p, nil
}

// readPassphrase reads a passphrase file, without one newline at its end.
func readPassphrase(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p, err := io.ReadAll(io.LimitReader(f, maxPassphrase+1))
	switch {
	case err != nil:
		return nil, err
	case len(p) > maxPassphrase:
		return nil, inFile(path, fmt.Errorf("a passphrase has at most %d bytes", maxPassphrase))
	}
	p = bytes.TrimSuffix(bytes.TrimSuffix(p, []byte("\n")), []byte("\r"))
	if len(p) == 0 {
		return nil, inFile(path, keyfile.ErrEmptyPassphrase)
	}
	return p, nil
}

// ask reads a line from the terminal, without showing it.
func (u *ui) ask(prompt string) ([]byte, error) {
	name := "/dev/tty"
	if runtime.GOOS == "windows" {
		name = "CONIN$"
	}
	in, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, &hinted{errors.New("a passphrase is needed and there is no terminal to ask at"), "give it with --passphrase-file"}
	}
	defer in.Close()
	out := in
	if runtime.GOOS == "windows" {
		out = u.err // the console's input cannot be written to
	}
	fmt.Fprintf(out, "%s: ", prompt)
	p, err := term.ReadPassword(int(in.Fd()))
	fmt.Fprintln(out)
	return p, err
}
