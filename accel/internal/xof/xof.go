// Package xof expands a label into test inputs that are the same on every
// machine: SHAKE256 of the label, read as little-endian words. It serves
// self-tests and known answers, never keys.
package xof

import (
	"crypto/sha3"
	"encoding/binary"
)

// Reader is a stream of words.
type Reader struct{ shake *sha3.SHAKE }

// New starts the stream of a label.
func New(label string) Reader {
	shake := sha3.NewSHAKE256()
	shake.Write([]byte(label))
	return Reader{shake}
}

// Uint64 returns the next word.
func (r Reader) Uint64() uint64 {
	var b [8]byte
	r.shake.Read(b[:])
	return binary.LittleEndian.Uint64(b[:])
}

// Residues fills dst with words modulo q.
func (r Reader) Residues(dst []uint64, q uint64) {
	for i := range dst {
		dst[i] = r.Uint64() % q
	}
}

// Words fills dst with the low halves of words.
func (r Reader) Words(dst []uint32) {
	for i := range dst {
		dst[i] = uint32(r.Uint64())
	}
}
