package micro

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/tacit-fhe/tacit/accel/cpu"
	"github.com/tacit-fhe/tacit/fhe"
)

func TestRun(t *testing.T) {
	p, err := fhe.Preset(fhe.TestPreset)
	if err != nil {
		t.Fatal(err)
	}
	backend, err := cpu.New()
	if err != nil {
		t.Fatal(err)
	}
	last := 0
	o := Options{
		Params: []*fhe.Parameters{p}, Backend: backend, Batches: []int{1, 3}, Workers: []int{2}, Samples: 2,
		Progress: func(done, total int) {
			if done != last+1 || done > total {
				t.Errorf("progress %d of %d after %d", done, total, last)
			}
			last = done
		},
	}
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if want := 5 + 2*2 + 1 + 1; last != want || len(r.Sets) != 1 || len(r.Sets[0].Figures) != want {
		t.Fatalf("%d steps, %+v", last, r)
	}
	if c := r.Sets[0].Clock; !(c > 0.1 && c < 10) {
		t.Errorf("a clock of %g GHz", c)
	}
	for _, f := range r.Sets[0].Figures {
		if !(f.Min > 0 && f.Min <= f.Median && f.Median <= f.P95) {
			t.Errorf("%+v", f)
		}
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
	var text strings.Builder
	if err := r.Markdown(&text); err != nil || !strings.Contains(text.String(), "| key switch and bootstrap | 3 |") || !strings.Contains(text.String(), "| packing | 32 |") {
		t.Errorf("%v\n%s", err, text.String())
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	o.Samples = -1
	if _, err := Run(t.Context(), o); err == nil {
		t.Error("a negative number of samples was accepted")
	}
}
