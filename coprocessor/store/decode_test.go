package store

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/tacit-fhe/tacit/bench/fuzztest"
)

// FuzzDecode feeds the decoders of descriptions of ciphertexts and of keys.
func FuzzDecode(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 64 << 10, PerByte: 16})
	f.Add(Meta{Type: 5, KeyID: [32]byte{1}, Digest: [32]byte{2}, Size: 100}.encode())
	f.Add(Meta{Type: 5, KeyID: [32]byte{1}, Digest: [32]byte{2}, Size: 100}.encodeOf("alice", [32]byte{}))
	f.Add(Meta{Type: 5, KeyID: [32]byte{1}, Digest: [32]byte{2}, Size: 100}.encodeOf("", [32]byte{3}))
	f.Add(Meta{Type: 5, KeyID: [32]byte{1}, Digest: [32]byte{2}, Size: 100}.encodeOf("alice", [32]byte{3}))
	f.Add(manifest{size: 5 << 20, chunks: make([][32]byte, 2)}.encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		if m, err := decodeMeta(data); err == nil && !bytes.Equal(m.encodeOf(makerIn(data), originIn(data)), data) {
			t.Error("a description is not canonical")
		}
		if m, err := decodeManifest(data); err == nil && !bytes.Equal(m.encode(), data) {
			t.Error("a manifest is not canonical")
		}
	})
}

// FuzzNames feeds the readers of addresses, of names of ciphertexts and of the file of a member of a cluster.
func FuzzNames(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 64 << 10, PerByte: 64})
	for _, text := range []string{"127.0.0.1:4222", "[::1]:0", ":65536", "localhost:http", hex.EncodeToString(make([]byte, 32)), `{"version":1,"node":"a","cluster":"b"}`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if host, port, err := splitAddress(text); err == nil && (port < 0 || port > 65535) {
			t.Errorf("%q is %q, %d", text, host, port)
		}
		isLoopback(text)
		if h, ok := parseHandle(text); ok && hex.EncodeToString(h[:]) != strings.ToLower(text) {
			t.Errorf("%q is the handle %x", text, h)
		}
		if m, err := parseMembership([]byte(text)); err == nil && m.Node == "" {
			t.Errorf("%q is a member without a name", text)
		}
	})
}
