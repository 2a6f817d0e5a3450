// Package receipt makes and checks receipts: signed statements of what a service
// computed from what. Evaluation is exact, so whoever has the spec, the inputs
// and the evaluation key that a receipt names can compute again, on any
// processor, and must find the digests of its outputs. The package knows nothing
// of jobs, stores or calls.
//
// # Encoding
//
// A receipt has one encoding. With u32 a big-endian number of four bytes, and
// bytes(x) the u32 length of x followed by x:
//
//	receipt   = statement signature
//	statement = bytes("tacit/v1/receipt") bytes(job id) spec digest, key id, parameter fingerprint
//	            bytes(engine version) bytes(backend) service key
//	            u32(len inputs) item* u32(len outputs) item*
//	item      = handle digest
//
// Digests, ids, handles, the fingerprint and the service key, which is an Ed25519
// public key, take 32 bytes each. The signature is the 64 bytes of Ed25519
// (RFC 8032) over the statement.
package receipt

import (
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
)

const (
	domain = "tacit/v1/receipt"

	// MaxSize bounds an encoded receipt in bytes.
	MaxSize = 8 << 20

	maxText  = 256    // bytes of the job id, of the version and of the backend's name
	maxItems = 60_000 // inputs, and as many outputs
	itemSize = 64
)

// Item is one ciphertext: its handle and the SHA-256 of its canonical encoding.
type Item struct {
	Handle, Digest [32]byte
}

// Statement is what a service vouches for.
type Statement struct {
	JobID         string   // as the service names it, with the principal it belongs to where there is one
	SpecDigest    [32]byte // graph.SpecDigest of the spec
	KeyID         [32]byte // of the evaluation key
	Fingerprint   [32]byte // of the parameters
	EngineVersion string
	Backend       string
	Inputs        []Item // stored ciphertexts that the job read, in the order of graph.Graph.Inputs
	Outputs       []Item // in the order of the spec
}

// Receipt is a statement with the key and the signature of the service that made
// it.
type Receipt struct {
	Statement
	ServiceKey [ed25519.PublicKeySize]byte
	Signature  [ed25519.SignatureSize]byte
}

// FormError reports bytes that are no receipt, or a statement that cannot be
// one.
type FormError struct {
	Place, Reason string
}

func (e *FormError) Error() string { return "receipt: " + e.Place + ": " + e.Reason }

// SignatureError reports a receipt that the service whose key is Want did not
// sign as it is.
type SignatureError struct {
	Want, Signer [32]byte // Signer is the key that the receipt names
}

func (e *SignatureError) Error() string {
	if e.Want != e.Signer {
		return fmt.Sprintf("receipt: signed by service %x, not by %x", e.Signer, e.Want)
	}
	return "receipt: the signature is not of what it says"
}

// Sign makes a receipt. The error is a *FormError.
func Sign(s Statement, key ed25519.PrivateKey) (*Receipt, error) {
	for _, t := range []struct{ place, text string }{{"job id", s.JobID}, {"engine version", s.EngineVersion}, {"backend", s.Backend}} {
		if len(t.text) > maxText {
			return nil, &FormError{t.place, fmt.Sprintf("%d bytes, at most %d are allowed", len(t.text), maxText)}
		}
	}
	if n := max(len(s.Inputs), len(s.Outputs)); n > maxItems {
		return nil, &FormError{"items", fmt.Sprintf("%d, at most %d are allowed", n, maxItems)}
	}
	r := &Receipt{Statement: s, ServiceKey: PublicKey(key)}
	copy(r.Signature[:], ed25519.Sign(key, r.statement()))
	return r, nil
}

// PublicKey is the public half of a service's key.
func PublicKey(key ed25519.PrivateKey) [ed25519.PublicKeySize]byte {
	return [ed25519.PublicKeySize]byte(key.Public().(ed25519.PublicKey))
}

// Verify checks that the service with that key signed the receipt. The error is a
// *SignatureError. Which key to believe is the caller's decision: the one in the
// receipt proves nothing.
func (r *Receipt) Verify(service [ed25519.PublicKeySize]byte) error {
	if r.ServiceKey != service || !ed25519.Verify(service[:], r.statement(), r.Signature[:]) {
		return &SignatureError{Want: service, Signer: r.ServiceKey}
	}
	return nil
}

// Encode returns the canonical encoding.
func (r *Receipt) Encode() []byte { return append(r.statement(), r.Signature[:]...) }

// statement encodes what is signed.
func (r *Receipt) statement() []byte {
	b := appendBytes(nil, domain)
	b = appendBytes(b, r.JobID)
	b = append(b, r.SpecDigest[:]...)
	b = append(b, r.KeyID[:]...)
	b = append(b, r.Fingerprint[:]...)
	b = appendBytes(b, r.EngineVersion)
	b = appendBytes(b, r.Backend)
	b = append(b, r.ServiceKey[:]...)
	for _, items := range [][]Item{r.Inputs, r.Outputs} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(items)))
		for _, i := range items {
			b = append(b, i.Handle[:]...)
			b = append(b, i.Digest[:]...)
		}
	}
	return b
}

func appendBytes(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

// Is reports whether bytes begin as a receipt does.
func Is(head []byte) bool {
	return len(head) >= 4+len(domain) && string(head[4:4+len(domain)]) == domain
}

// Decode reads a receipt that is all of data. It does not check the signature.
// The error is a *FormError.
func Decode(data []byte) (*Receipt, error) {
	if len(data) > MaxSize {
		return nil, &FormError{"size", fmt.Sprintf("%d bytes, at most %d are allowed", len(data), MaxSize)}
	}
	d := &decoder{left: data}
	if got := d.text("magic"); d.err == nil && got != domain {
		return nil, &FormError{"magic", "not a receipt, or one of another version"}
	}
	r := new(Receipt)
	r.JobID = d.text("job id")
	d.fixed("spec digest", r.SpecDigest[:])
	d.fixed("key id", r.KeyID[:])
	d.fixed("parameter fingerprint", r.Fingerprint[:])
	r.EngineVersion = d.text("engine version")
	r.Backend = d.text("backend")
	d.fixed("service key", r.ServiceKey[:])
	r.Inputs = d.items("inputs")
	r.Outputs = d.items("outputs")
	d.fixed("signature", r.Signature[:])
	if d.err == nil && len(d.left) > 0 {
		d.fail("end", "%d bytes follow", len(d.left))
	}
	if d.err != nil {
		return nil, d.err
	}
	return r, nil
}

// decoder takes values from the front of left until one is not there.
type decoder struct {
	left []byte
	err  error
}

func (d *decoder) fail(place, format string, args ...any) {
	if d.err == nil {
		d.err = &FormError{place, fmt.Sprintf(format, args...)}
	}
}

// take returns the next n bytes, or nil after an error.
func (d *decoder) take(place string, n int) []byte {
	if d.err == nil && n > len(d.left) {
		d.fail(place, "%d bytes are left of %d", len(d.left), n)
	}
	if d.err != nil {
		return nil
	}
	b := d.left[:n]
	d.left = d.left[n:]
	return b
}

func (d *decoder) fixed(place string, dst []byte) { copy(dst, d.take(place, len(dst))) }

// count reads a u32 of at most limit.
func (d *decoder) count(place string, limit uint32) int {
	b := d.take(place, 4)
	if b == nil {
		return 0
	}
	n := binary.BigEndian.Uint32(b)
	if n > limit {
		d.fail(place, "length %d, at most %d is allowed", n, limit)
		return 0
	}
	return int(n)
}

func (d *decoder) text(place string) string {
	return string(d.take(place, d.count(place, maxText)))
}

func (d *decoder) items(place string) []Item {
	b := d.take(place, d.count(place, maxItems)*itemSize)
	if len(b) == 0 {
		return nil
	}
	items := make([]Item, len(b)/itemSize)
	for i := range items {
		items[i].Handle = [32]byte(b[i*itemSize:])
		items[i].Digest = [32]byte(b[i*itemSize+32:])
	}
	return items
}
