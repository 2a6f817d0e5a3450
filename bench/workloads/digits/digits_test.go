package digits

import "testing"

// TestModels expects networks that are worth computing, with sums that fit the numbers that programs
// compute with: eight bits in the neurons, fifteen in the scores.
func TestModels(t *testing.T) {
	if n := len(Test()); n != 500 {
		t.Fatalf("%d images", n)
	}
	for _, hidden := range Hidden {
		m := Get(hidden)
		if len(m.Weights) != hidden || len(m.Biases) != hidden || len(m.Outputs) != Classes || len(m.OutputBiases) != Classes {
			t.Fatalf("%d neurons: %d, %d, %d and %d", hidden, len(m.Weights), len(m.Biases), len(m.Outputs), len(m.OutputBiases))
		}
		a := m.Accuracy()
		t.Logf("%d neurons: %.3f, with real weights %.3f", hidden, a, m.Clear)
		if a < 0.93 || a < m.Clear-0.02 {
			t.Errorf("%d neurons: %.3f of the images are read, with real weights %.3f", hidden, a, m.Clear)
		}
		for i, image := range Test() {
			for j, h := range m.Biases {
				for pixel, on := range image.Pixels {
					h += on * m.Weight(j, pixel)
				}
				if h < -128 || h > 127 {
					t.Errorf("%d neurons, image %d: neuron %d is %d", hidden, i, j, h)
				}
			}
			for o, x := range m.Scores(image.Pixels) {
				if x <= -1<<14 || x >= 1<<14 {
					t.Errorf("%d neurons, image %d: class %d has the score %d", hidden, i, o, x)
				}
			}
		}
		for o, row := range m.Outputs {
			for j, w := range row {
				if w < -MaxOutput || w > MaxOutput {
					t.Errorf("%d neurons: class %d weighs neuron %d with %d", hidden, o, j, w)
				}
			}
		}
	}
}
