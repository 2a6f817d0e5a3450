package store

import (
	"encoding/hex"
	"errors"
)

// Digest is a SHA-256 or another name of 32 bytes, hexadecimal in JSON.
type Digest [32]byte

// MarshalText returns the hexadecimal digits.
func (d Digest) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, d[:]), nil }

// UnmarshalText is the inverse of MarshalText.
func (d *Digest) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	if err != nil || len(b) != len(d) {
		return errors.New("not 64 hexadecimal digits")
	}
	*d = Digest(b)
	return nil
}
