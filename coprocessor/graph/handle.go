package graph

import (
	"encoding/hex"
	"errors"
	"strings"
)

// Handle names a ciphertext: 32 opaque bytes.
type Handle [32]byte

// String returns the 64 hexadecimal digits of h.
func (h Handle) String() string { return hex.EncodeToString(h[:]) }

// ParseHandle reads 64 hexadecimal digits of either case, with or without 0x in front.
func ParseHandle(s string) (Handle, error) {
	var h Handle
	digits := strings.TrimPrefix(s, "0x")
	if len(digits) != 2*len(h) {
		return Handle{}, errors.New("graph: a handle is 64 hexadecimal digits, with or without 0x")
	}
	if _, err := hex.Decode(h[:], []byte(digits)); err != nil {
		return Handle{}, errors.New("graph: a handle has only hexadecimal digits")
	}
	return h, nil
}
