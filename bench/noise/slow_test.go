//go:build slow

package noisebench

import (
	"testing"

	"github.com/tacit-fhe/tacit/fhe"
)

// TestEveryPreset takes 16,000 samples of every step.
func TestEveryPreset(t *testing.T) {
	for _, preset := range fhe.PresetNames() {
		if preset == fhe.MockPreset {
			continue
		}
		t.Run(preset, func(t *testing.T) {
			r, err := Run(t.Context(), Options{Preset: preset, Samples: 16000, Keys: 8, Seed: testSeed("slow " + preset), Workers: 2})
			if err != nil {
				t.Fatal(err)
			}
			check(t, r)
		})
	}
}
