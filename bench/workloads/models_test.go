package workloads

import "testing"

// TestModels expects models that are worth computing, and rounding that does not
// spoil them.
func TestModels(t *testing.T) {
	for _, w := range models {
		a := w.Model(w.Sizes[0])
		t.Logf("%s: %+v", w.Name, a)
		if a.Samples != 114 || a.Clear < 0.92 || a.Computed < 0.92 || a.Computed < a.Clear-0.03 {
			t.Errorf("%s: %+v", w.Name, a)
		}
	}
}
