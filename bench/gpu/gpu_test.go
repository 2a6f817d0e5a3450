package gpu

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/tacit-fhe/tacit/accel/cpu"
	"github.com/tacit-fhe/tacit/accel/cuda/cudatest"
	"github.com/tacit-fhe/tacit/fhe"
)

func options(t *testing.T) Options {
	t.Helper()
	host, err := cpu.New()
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Backend: cudatest.Open(t, cudatest.NewDriver(1), nil), Host: host, Batches: []int{1, 3}, Samples: 1, Compare: 9, Rings: []int{8192}, Coefficients: 1 << 14}
	for _, name := range []string{fhe.TestPreset, "insecure-test-unroll2-v1"} {
		p, err := fhe.Preset(name)
		if err != nil {
			t.Fatal(err)
		}
		o.Params = append(o.Params, p)
	}
	return o
}

// TestRun measures an emulated device, whose times mean nothing.
func TestRun(t *testing.T) {
	o := options(t)
	last := 0
	o.Progress = func(done, total int) {
		if done != last+1 || done > total {
			t.Errorf("progress %d of %d after %d", done, total, last)
		}
		last = done
	}
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if want := 4 + 4 + 4 + 1; last != want || len(r.Sets) != 2 || len(r.Rings) != 1 {
		t.Fatalf("%d steps, %+v", last, r)
	}
	for i, want := range []struct{ figures, compared int }{{4, 9}, {4, 1}} {
		s := r.Sets[i]
		if len(s.Figures) != want.figures || s.Compared != want.compared || s.Bound <= 0 || s.LatencyBound <= 0 || s.KeyBytes <= 0 {
			t.Errorf("%+v", s)
		}
		for _, f := range s.Figures {
			if f.Min <= 0 || f.P95 < f.Min || f.PerSecond <= 0 || f.Share <= 0 {
				t.Errorf("%+v", f)
			}
		}
	}
	if ring := r.Rings[0]; ring.N != 8192 || ring.Batch != 2 || ring.PerSecond <= 0 || ring.Moved <= 0 || ring.Core <= 0 {
		t.Errorf("%+v", ring)
	}
	var text strings.Builder
	if err := r.Markdown(&text); err != nil || !strings.Contains(text.String(), "PTX emulator") || !strings.Contains(text.String(), "| latency | 3 |") {
		t.Errorf("%v, %s", err, text.String())
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
}

func TestRefuses(t *testing.T) {
	o := options(t)
	o.Batches = []int{0}
	if _, err := Run(t.Context(), o); err == nil {
		t.Error("a batch of none is measured")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, options(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	// What was measured before it ended is there.
	ctx, cancel = context.WithCancel(t.Context())
	o = options(t)
	o.Progress = func(done, _ int) {
		if done == 3 {
			cancel()
		}
	}
	r, err := Run(ctx, o)
	if !errors.Is(err, context.Canceled) || len(r.Sets) != 1 || len(r.Sets[0].Figures) != 1 {
		t.Errorf("cancelled after a figure: %v, %+v", err, r)
	}
}

// The bounds of an H200 are the ones that its clock and lanes give. One key switch and
// bootstrap is to take at most 4 ms.
func TestBound(t *testing.T) {
	d := cudatest.NewDriver(1)
	d.Properties[0].Multiprocessors, d.Properties[0].ClockKHz = 132, 1980000
	devices := cudatest.Open(t, d, nil).Devices()
	const core = 64 * 1.98e9 // instructions a second
	for _, c := range []struct {
		preset              string
		steps, combinations float64
	}{
		// 4 transforms of 2048 values and 4 products of a step.
		{"tacit-2m2c-v1", (4*11*1024*8 + 4*2048*7) * 862.0, 0},
		// As many, and 4 products and 2 monomials for each of 7 terms.
		{"tacit-2m2c-unroll3-v1", (4*11*1024*8 + 4*2048*7) * 288.0, 7 * (4*7 + 2*6) * 2048 * 288.0},
	} {
		p, err := fhe.Preset(c.preset)
		if err != nil {
			t.Fatal(err)
		}
		near := func(what string, got, want float64) {
			if got/want < 0.999 || got/want > 1.001 {
				t.Errorf("%s: %s %g, want %g", c.preset, what, got, want)
			}
		}
		near("bound", bound(p.Rotation(), devices), core*132/(c.steps+c.combinations))
		latency := latencyBound(p.Rotation(), devices[0])
		near("latency", latency, (c.steps+c.combinations/132)/core)
		t.Logf("%s: %.2f ms", c.preset, 1e3*latency)
		if latency > 4e-3 {
			t.Errorf("%s: one takes %g s", c.preset, latency)
		}
	}
}
