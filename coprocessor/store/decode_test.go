package store

import (
	"bytes"
	"testing"

	"github.com/tacit-fhe/tacit/bench/fuzztest"
)

// FuzzDecode feeds the decoders of descriptions of ciphertexts and of keys.
func FuzzDecode(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 64 << 10, PerByte: 16})
	f.Add(Meta{Type: 5, KeyID: [32]byte{1}, Digest: [32]byte{2}, Size: 100}.encode())
	f.Add(manifest{size: 5 << 20, chunks: make([][32]byte, 2)}.encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		if m, err := decodeMeta(data); err == nil && !bytes.Equal(m.encode(), data) {
			t.Error("a description is not canonical")
		}
		if m, err := decodeManifest(data); err == nil && !bytes.Equal(m.encode(), data) {
			t.Error("a manifest is not canonical")
		}
	})
}
