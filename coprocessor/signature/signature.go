// Package signature is the form of calls that are signed instead of carrying a
// token: an Ed25519 signature over what is called, with which request, when.
// Whoever records such a call cannot make another one of it, and whoever checks
// that no nonce comes twice is not deceived by the same one again. Both sides use
// it; it knows nothing of gRPC.
//
// # Format
//
// The authorization metadata of a call is
//
//	Tacit-Ed25519 KEY TIME NONCE SIGNATURE
//
// with the public key, the nonce (16 bytes) and the signature in hexadecimal and
// the time as decimal milliseconds since 1970. What is signed is
//
//	"tacit/v1/call" 0x00 bytes(audience) bytes(method) u64(time) nonce digest
//
// where bytes(x) is the length of x in four bytes and x, numbers are big-endian,
// method is the full name of the method (/tacit.v1.Coprocessor/SubmitJob), and
// digest is the SHA-256 of the request: of the first message where the client
// streams. A message is encoded with its fields in the order of their numbers and
// without fields that have their default, as protobuf libraries do.
package signature

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Scheme is the first word of the authorization of a signed call.
const Scheme = "Tacit-Ed25519"

// DefaultAudience is the name of services that have no other. A service with a
// name of its own refuses calls that were signed for another.
const DefaultAudience = "tacit"

// NonceSize is the size of a nonce in bytes.
const NonceSize = 16

// Call is what a signature covers.
type Call struct {
	Audience string   // the name of the service
	Method   string   // full name, with both slashes
	Digest   [32]byte // SHA-256 of the encoded request
}

// message is what is signed.
func (c Call) message(unixMilli int64, nonce [NonceSize]byte) []byte {
	b := append([]byte("tacit/v1/call"), 0)
	for _, s := range []string{c.Audience, c.Method} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	b = binary.BigEndian.AppendUint64(b, uint64(unixMilli))
	b = append(b, nonce[:]...)
	return append(b, c.Digest[:]...)
}

// Signature is the authorization of a signed call.
type Signature struct {
	Key   [ed25519.PublicKeySize]byte
	Time  time.Time // whole milliseconds
	Nonce [NonceSize]byte
	bytes [ed25519.SignatureSize]byte
}

// Sign signs a call at a time with a fresh nonce. The signer has an Ed25519 key.
func Sign(key crypto.Signer, c Call, now time.Time) (Signature, error) {
	public, ok := key.Public().(ed25519.PublicKey)
	if !ok {
		return Signature{}, fmt.Errorf("signature: a %T cannot sign calls, an Ed25519 key is needed", key.Public())
	}
	s := Signature{Key: [ed25519.PublicKeySize]byte(public), Time: time.UnixMilli(now.UnixMilli())}
	rand.Read(s.Nonce[:])
	sig, err := key.Sign(nil, c.message(s.Time.UnixMilli(), s.Nonce), crypto.Hash(0))
	if err != nil {
		return Signature{}, fmt.Errorf("signature: %w", err)
	}
	if len(sig) != len(s.bytes) {
		return Signature{}, fmt.Errorf("signature: the signer made %d bytes, want %d", len(sig), len(s.bytes))
	}
	s.bytes = [ed25519.SignatureSize]byte(sig)
	return s, nil
}

// Verify reports whether the signature is one of the call by its key. It says
// nothing about its time and its nonce.
func (s Signature) Verify(c Call) bool {
	return ed25519.Verify(s.Key[:], c.message(s.Time.UnixMilli(), s.Nonce), s.bytes[:])
}

// String is the signature as authorization metadata.
func (s Signature) String() string {
	return fmt.Sprintf("%s %x %d %x %x", Scheme, s.Key, s.Time.UnixMilli(), s.Nonce, s.bytes)
}

// FormatError reports authorization metadata of the scheme that is malformed.
type FormatError struct {
	Place string // key, time, nonce, signature, or empty for the whole
}

func (e *FormatError) Error() string {
	if e.Place == "" {
		return "signature: want the five words " + Scheme + " KEY TIME NONCE SIGNATURE"
	}
	return "signature: the " + e.Place + " is malformed"
}

// Parse is the inverse of String. The error is a *FormatError.
func Parse(text string) (Signature, error) {
	const words = 5
	parts := strings.SplitN(text, " ", words+1)
	if len(parts) != words || parts[0] != Scheme {
		return Signature{}, &FormatError{}
	}
	var s Signature
	milli, err := strconv.ParseInt(parts[2], 10, 64)
	if err != nil || strconv.FormatInt(milli, 10) != parts[2] {
		return Signature{}, &FormatError{"time"}
	}
	s.Time = time.UnixMilli(milli)
	for _, f := range []struct {
		place string
		dst   []byte
		text  string
	}{{"key", s.Key[:], parts[1]}, {"nonce", s.Nonce[:], parts[3]}, {"signature", s.bytes[:], parts[4]}} {
		if len(f.text) != hex.EncodedLen(len(f.dst)) || strings.ToLower(f.text) != f.text {
			return Signature{}, &FormatError{f.place}
		}
		if _, err := hex.Decode(f.dst, []byte(f.text)); err != nil {
			return Signature{}, &FormatError{f.place}
		}
	}
	return s, nil
}
