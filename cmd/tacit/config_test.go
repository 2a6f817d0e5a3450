package main

import (
	"testing"

	"github.com/tacit-fhe/tacit/bench/fuzztest"
)

// FuzzSettings feeds the parser of configuration files.
func FuzzSettings(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 64 << 10, PerByte: 64})
	f.Add([]byte("# comment\nlisten = :7400\n\ndata=/var/lib/tacit\n"))
	f.Add([]byte("a\n"))
	f.Add([]byte("a=1\na=2"))
	f.Fuzz(func(t *testing.T, data []byte) {
		names := make(map[string]bool)
		parseSettings(data, func(name, _ string) error {
			if names[name] {
				t.Errorf("%q was set twice", name)
			}
			names[name] = true
			return nil
		})
	})
}
