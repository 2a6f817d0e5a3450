package codec

import (
	"encoding/hex"
	"errors"
	"fmt"
)

var (
	// ErrMagic means that the data does not begin with the magic bytes.
	ErrMagic = errors.New("codec: not a Tacit object (wrong magic bytes)")
	// ErrDigest means that the bytes do not have the SHA-256 stored after them.
	ErrDigest = errors.New("codec: damaged object (wrong digest)")
	// ErrTrailing means that bytes are left where the object, its body or a
	// part of its body should have ended.
	ErrTrailing = errors.New("codec: trailing bytes")
	// ErrNotFinite means that a floating-point field holds NaN or an infinity.
	ErrNotFinite = errors.New("codec: not a finite number")
	// ErrPadding means that bits which only fill a byte are set.
	ErrPadding = errors.New("codec: padding bits are set")
)

// A VersionError reports a format version that this package does not read.
type VersionError struct {
	Got, Want uint8
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("codec: format version %d, want %d", e.Got, e.Want)
}

// A KindError reports an object of another kind than the expected one, or, when
// Want is zero, of a kind that this package does not know.
type KindError struct {
	Got, Want Kind
}

func (e *KindError) Error() string {
	if e.Want == 0 {
		return fmt.Sprintf("codec: unknown object: %v", e.Got)
	}
	return fmt.Sprintf("codec: object is of %v, want %v", e.Got, e.Want)
}

// A ParametersError reports an object made for another parameter set. Got and
// Want are fingerprints.
type ParametersError struct {
	Got, Want [32]byte
}

func (e *ParametersError) Error() string {
	return fmt.Sprintf("codec: object is for parameters %s, want %s",
		hex.EncodeToString(e.Got[:8]), hex.EncodeToString(e.Want[:8]))
}

// A LimitError reports a size or count above what the reader accepts. What
// names it: "body" for the length in the header, or the place in a body.
type LimitError struct {
	What     string
	Got, Max uint64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("codec: %s: %d is over the limit of %d", e.What, e.Got, e.Max)
}

// A TruncatedError reports data that ends early. Place is "header", "body",
// "digest" or a place in a body; Need and Have are in bytes.
type TruncatedError struct {
	Place      string
	Need, Have uint64
}

func (e *TruncatedError) Error() string {
	return fmt.Sprintf("codec: %s: truncated: need %d bytes, have %d", e.Place, e.Need, e.Have)
}

// A ResidueError reports a residue that is not below its modulus. Index counts
// within the vector at Place.
type ResidueError struct {
	Place          string
	Index          int
	Value, Modulus uint64
}

func (e *ResidueError) Error() string {
	return fmt.Sprintf("codec: %s[%d]: residue %d is not below the modulus %d",
		e.Place, e.Index, e.Value, e.Modulus)
}
