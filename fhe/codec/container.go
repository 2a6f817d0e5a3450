package codec

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
)

const (
	// Version is the format version that this package writes and reads.
	Version = 1
	// HeaderSize is the number of bytes before the body.
	HeaderSize = 48
	// DigestSize is the number of bytes after the body.
	DigestSize = sha256.Size
	// Overhead is the number of bytes that the container adds to a body.
	Overhead = HeaderSize + DigestSize

	magic = "TACIT"
)

// A Kind says what a container holds.
type Kind uint16

// The kinds of objects. Numbers are part of the format and never reused.
const (
	SecretKey     Kind = 1
	PublicKey     Kind = 2
	EvaluationKey Kind = 3
	Ciphertexts   Kind = 4 // a list of typed ciphertexts
	MigrationKey  Kind = 5

	// Those of the leveled schemes, package leveled.
	LeveledSecretKey     Kind = 16
	LeveledPublicKey     Kind = 17
	LeveledEvaluationKey Kind = 18
	LeveledCiphertexts   Kind = 19 // a list of encrypted vectors
	LeveledMigrationKey  Kind = 20
)

var kindNames = map[Kind]string{
	SecretKey:            "secret key",
	PublicKey:            "public key",
	EvaluationKey:        "evaluation key",
	Ciphertexts:          "ciphertexts",
	MigrationKey:         "migration key",
	LeveledSecretKey:     "leveled secret key",
	LeveledPublicKey:     "leveled public key",
	LeveledEvaluationKey: "leveled evaluation key",
	LeveledCiphertexts:   "leveled ciphertexts",
	LeveledMigrationKey:  "leveled migration key",
}

// String returns the kind in words, such as "kind 2 (public key)".
func (k Kind) String() string {
	name, ok := kindNames[k]
	if !ok {
		name = "unknown"
	}
	return fmt.Sprintf("kind %d (%s)", uint16(k), name)
}

func (k Kind) known() bool {
	_, ok := kindNames[k]
	return ok
}

// Header is what a container says about itself before its body.
type Header struct {
	Version     uint8
	Kind        Kind
	Fingerprint [32]byte // of the parameter set
	Length      uint64   // of the body, in bytes
}

// Want is what a reader accepts.
type Want struct {
	Kind        Kind      // zero accepts every known kind
	Fingerprint *[32]byte // nil accepts every parameter set
	Limit       uint64    // the greatest accepted body length, in bytes
}

func (w Want) check(h Header) error {
	if w.Kind != 0 && h.Kind != w.Kind {
		return &KindError{Got: h.Kind, Want: w.Kind}
	}
	if w.Fingerprint != nil && h.Fingerprint != *w.Fingerprint {
		return &ParametersError{Got: h.Fingerprint, Want: *w.Fingerprint}
	}
	if h.Length > w.Limit {
		return &LimitError{What: "body", Got: h.Length, Max: w.Limit}
	}
	return nil
}

func appendHeader(dst []byte, kind Kind, fingerprint [32]byte, length uint64) []byte {
	dst = append(dst, magic...)
	dst = append(dst, Version)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(kind))
	dst = append(dst, fingerprint[:]...)
	return binary.LittleEndian.AppendUint64(dst, length)
}

// parseHeader reads the header at the start of data, which may be shorter or
// longer than a header.
func parseHeader(data []byte) (Header, error) {
	n := min(len(data), HeaderSize)
	if !bytes.Equal(data[:min(n, len(magic))], []byte(magic)[:min(n, len(magic))]) {
		return Header{}, ErrMagic
	}
	if n > len(magic) && data[len(magic)] != Version {
		return Header{}, &VersionError{Got: data[len(magic)], Want: Version}
	}
	if n < HeaderSize {
		return Header{}, &TruncatedError{Place: "header", Need: HeaderSize, Have: uint64(n)}
	}
	h := Header{
		Version:     data[5],
		Kind:        Kind(binary.LittleEndian.Uint16(data[6:])),
		Fingerprint: [32]byte(data[8:40]),
		Length:      binary.LittleEndian.Uint64(data[40:]),
	}
	if !h.Kind.known() {
		return Header{}, &KindError{Got: h.Kind}
	}
	return h, nil
}

// ReadHeader reads the header of a container and nothing after it. The errors
// are ErrMagic, *VersionError, *TruncatedError, *KindError for an unknown kind,
// and those of r. The length is as claimed by the writer and not yet checked.
func ReadHeader(r io.Reader) (Header, error) {
	h, _, err := readHeader(r)
	return h, err
}

func readHeader(r io.Reader) (Header, []byte, error) {
	buf := make([]byte, HeaderSize)
	n, err := io.ReadFull(r, buf)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return Header{}, nil, fmt.Errorf("codec: header: %w", err)
	}
	h, err := parseHeader(buf[:n])
	return h, buf[:n], err
}

// Encode returns the container of a body. It copies the body; a [Writer] does not.
func Encode(kind Kind, fingerprint [32]byte, body []byte) []byte {
	return AppendTo(make([]byte, 0, Overhead+len(body)), kind, fingerprint, body)
}

// AppendTo appends the container of a body to dst.
func AppendTo(dst []byte, kind Kind, fingerprint [32]byte, body []byte) []byte {
	start := len(dst)
	dst = appendHeader(dst, kind, fingerprint, uint64(len(body)))
	dst = append(dst, body...)
	sum := sha256.Sum256(dst[start:])
	return append(dst, sum[:]...)
}

// Decode checks a whole container and returns its body, which shares the memory
// of data, and its digest. The errors are those of [NewReader] and
// [Reader.Verify].
func Decode(data []byte, want Want) (body []byte, digest [32]byte, err error) {
	h, err := parseHeader(data)
	if err != nil {
		return nil, digest, err
	}
	if err := want.check(h); err != nil {
		return nil, digest, err
	}
	rest := data[HeaderSize:]
	if have := uint64(len(rest)); have < h.Length {
		return nil, digest, &TruncatedError{Place: "body", Need: h.Length, Have: have}
	}
	body, rest = rest[:h.Length:h.Length], rest[h.Length:]
	if len(rest) < DigestSize {
		return nil, digest, &TruncatedError{Place: "digest", Need: DigestSize, Have: uint64(len(rest))}
	}
	if sha256.Sum256(data[:HeaderSize+h.Length]) != [32]byte(rest[:DigestSize]) {
		return nil, digest, ErrDigest
	}
	if n := len(rest) - DigestSize; n > 0 {
		return nil, digest, fmt.Errorf("%w: %d bytes after the digest", ErrTrailing, n)
	}
	return body, [32]byte(rest), nil
}

// A Writer writes a container whose body arrives in pieces, without holding it.
type Writer struct {
	w      io.Writer
	hash   hash.Hash
	length uint64 // promised in the header
	have   uint64 // written so far
	digest [32]byte
	err    error
}

// NewWriter writes a header for a body of exactly length bytes. An error of w
// is kept and returned by each later Write and Close.
func NewWriter(w io.Writer, kind Kind, fingerprint [32]byte, length uint64) *Writer {
	e := &Writer{w: w, hash: sha256.New(), length: length}
	e.write(appendHeader(nil, kind, fingerprint, length))
	return e
}

func (w *Writer) write(p []byte) int {
	if w.err != nil {
		return 0
	}
	n, err := w.w.Write(p)
	w.hash.Write(p[:n])
	w.err = err
	return n
}

// Write writes a piece of the body. A piece that passes the promised length is
// not written; the error is then a *LimitError.
func (w *Writer) Write(p []byte) (int, error) {
	if uint64(len(p)) > w.length-w.have && w.err == nil {
		w.err = &LimitError{What: "body", Got: w.have + uint64(len(p)), Max: w.length}
	}
	n := w.write(p)
	w.have += uint64(n)
	return n, w.err
}

// Close writes the digest. A body shorter than promised is a *TruncatedError.
// Close does not close the underlying writer.
func (w *Writer) Close() error {
	if w.err == nil && w.have < w.length {
		w.err = &TruncatedError{Place: "body", Need: w.length, Have: w.have}
	}
	if w.err != nil {
		return w.err
	}
	w.digest = [32]byte(w.hash.Sum(nil))
	if w.write(w.digest[:]); w.err != nil {
		return w.err
	}
	w.err = errors.New("codec: container is closed")
	return nil
}

// Digest returns the digest of the object; it is valid after Close returned nil.
func (w *Writer) Digest() [32]byte { return w.digest }

// A Reader reads a container whose body is consumed in pieces. Nothing that was
// read may be used before Verify returned without an error.
type Reader struct {
	r      io.Reader
	hash   hash.Hash
	header Header
	left   uint64 // bytes of the body not read yet
}

// NewReader reads a header and compares it with want. It allocates nothing for
// the body. The errors are those of [ReadHeader], *KindError,
// *ParametersError and *LimitError.
func NewReader(r io.Reader, want Want) (*Reader, error) {
	h, raw, err := readHeader(r)
	if err != nil {
		return nil, err
	}
	if err := want.check(h); err != nil {
		return nil, err
	}
	d := &Reader{r: r, hash: sha256.New(), header: h, left: h.Length}
	d.hash.Write(raw)
	return d, nil
}

// Header returns the header, which has been compared with what was wanted.
func (r *Reader) Header() Header { return r.header }

// Read reads the body and returns io.EOF at its end. A stream that ends before
// the body does is a *TruncatedError.
func (r *Reader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	if uint64(len(p)) > r.left {
		p = p[:r.left]
	}
	n, err := r.r.Read(p)
	r.hash.Write(p[:n])
	r.left -= uint64(n)
	if err == io.EOF {
		err = nil
		if r.left > 0 {
			err = &TruncatedError{Place: "body", Need: r.header.Length, Have: r.header.Length - r.left}
		}
	}
	return n, err
}

// Decoder returns a decoder of the body.
func (r *Reader) Decoder() *Decoder { return NewDecoder(r, r.header.Length) }

// Verify checks, after the whole body was read, that the stream holds its
// digest and ends there, and returns the digest. The errors are ErrTrailing
// (also for a body that was not read to its end), *TruncatedError, ErrDigest and
// those of the underlying reader.
func (r *Reader) Verify() (digest [32]byte, err error) {
	if r.left > 0 {
		return digest, fmt.Errorf("%w: %d bytes of the body were not read", ErrTrailing, r.left)
	}
	var stored [DigestSize + 1]byte // one more, to see the end
	n, err := io.ReadFull(r.r, stored[:])
	switch {
	case err == nil || err == io.EOF || err == io.ErrUnexpectedEOF:
	default:
		return digest, fmt.Errorf("codec: digest: %w", err)
	}
	if n < DigestSize {
		return digest, &TruncatedError{Place: "digest", Need: DigestSize, Have: uint64(n)}
	}
	if digest = [32]byte(r.hash.Sum(nil)); digest != [32]byte(stored[:DigestSize]) {
		return [32]byte{}, ErrDigest
	}
	if n > DigestSize {
		return [32]byte{}, fmt.Errorf("%w: after the digest", ErrTrailing)
	}
	return digest, nil
}
