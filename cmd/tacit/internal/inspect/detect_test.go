package inspect

import (
	"testing"

	"github.com/tacit-fhe/tacit/bench/fuzztest"
)

// FuzzDetect feeds what tells the kinds of files apart.
func FuzzDetect(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 64 << 10, PerByte: 64})
	f.Add([]byte("TACIT\x01\x01\x00"))
	f.Add([]byte("\x00\x00\x00\x10tacit/v1/receipt"))
	f.Add([]byte("c = add(a, b)\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if kind, err := Detect(data); err == nil && kind == "" {
			t.Error("a file of no kind")
		}
	})
}
