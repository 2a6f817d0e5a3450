package main

import (
	"testing"

	"github.com/tacit-fhe/tacit/fhe/codec/codectest"
)

// FuzzSettings feeds the parser of configuration files.
func FuzzSettings(f *testing.F) {
	f.Add([]byte("# comment\nlisten = :7400\n\ndata=/var/lib/tacit\n"))
	f.Add([]byte("a\n"))
	f.Add([]byte("a=1\na=2"))
	f.Fuzz(func(t *testing.T, data []byte) {
		names := make(map[string]bool)
		codectest.Bounded(t, len(data), 64, func() {
			parseSettings(data, func(name, _ string) error {
				if names[name] {
					t.Errorf("%q was set twice", name)
				}
				names[name] = true
				return nil
			})
		})
	})
}
