//go:build slow

package aes

import (
	"testing"

	"github.com/tacit-fhe/tacit/fhe"
)

// TestVectorsSecure is TestVectors with the default parameters.
func TestVectorsSecure(t *testing.T) { testVectors(t, fhe.DefaultPreset) }
