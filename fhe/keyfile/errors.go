package keyfile

import (
	"errors"
	"fmt"
	"io/fs"
)

var (
	// ErrPassphraseNeeded means that a file is protected and no passphrase can
	// be asked for.
	ErrPassphraseNeeded = errors.New("the file is protected and needs a passphrase")
	// ErrWrongPassphrase means that the passphrase does not open the file.
	ErrWrongPassphrase = errors.New("wrong passphrase")
	// ErrEmptyPassphrase means that a passphrase has no characters.
	ErrEmptyPassphrase = errors.New("the passphrase is empty")
)

// An ExistsError reports a file that was there before and has been left alone.
// It matches fs.ErrExist.
type ExistsError struct {
	Path string
}

func (e *ExistsError) Error() string { return "keyfile: " + e.Path + " exists already" }

// Hint says what to do about it.
func (e *ExistsError) Hint() string {
	return "key files are never overwritten: choose another name, or move the old file away"
}

func (e *ExistsError) Is(target error) bool { return target == fs.ErrExist }

// A SizeError reports a secret-key file of more than Max bytes.
type SizeError struct {
	Path string
	Max  int64
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("keyfile: %s: a secret-key file has at most %d bytes", e.Path, e.Max)
}

// A WorkFactorError reports a file that would take too much work to open. Got
// and Max are log2 of the scrypt work factor.
type WorkFactorError struct {
	Got, Max int
}

func (e *WorkFactorError) Error() string {
	return fmt.Sprintf("scrypt work factor 2^%d is over the limit of 2^%d", e.Got, e.Max)
}

// A FormatError reports a file that is not a secret-key file. Line counts from 1
// in the text, decrypted if it was protected; it is 0 when the encryption is at
// fault.
type FormatError struct {
	Line   int
	Reason string
}

func (e *FormatError) Error() string {
	if e.Line == 0 {
		return "not a secret-key file: " + e.Reason
	}
	return fmt.Sprintf("not a secret-key file: line %d: %s", e.Line, e.Reason)
}
