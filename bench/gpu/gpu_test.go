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
	o := Options{Backend: cudatest.Open(t, cudatest.NewDriver(1), nil), Host: host, Batches: []int{1, 3}, Samples: 1, Compare: 9, Rings: []int{8192}}
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
	if want := 4 + 2 + 4 + 1; last != want || len(r.Sets) != 2 || len(r.Rings) != 1 {
		t.Fatalf("%d steps, %+v", last, r)
	}
	for i, want := range []struct{ figures, compared int }{{2, 9}, {4, 1}} {
		s := r.Sets[i]
		if len(s.Figures) != want.figures || s.Compared != want.compared || s.Bound <= 0 || s.KeyBytes <= 0 {
			t.Errorf("%+v", s)
		}
		for _, f := range s.Figures {
			if f.Min <= 0 || f.P95 < f.Min || f.PerSecond <= 0 || f.Share <= 0 {
				t.Errorf("%+v", f)
			}
		}
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
}

// The bounds of an H200 are the ones that its published clock and lanes give.
func TestBound(t *testing.T) {
	p, err := fhe.Preset("tacit-2m2c-v1")
	if err != nil {
		t.Fatal(err)
	}
	h200 := cudatest.NewDriver(1).Properties[0]
	h200.Multiprocessors, h200.ClockKHz = 132, 1980000
	d := cudatest.NewDriver(1)
	d.Properties[0] = h200
	got := bound(p.Rotation(), cudatest.Open(t, d, nil).Devices())
	// 4 transforms of 2048 values and 4 products of a step, 862 steps.
	want := 64 * 132 * 1.98e9 / ((4*11*1024*8 + 4*2048*7) * 862.0)
	if got/want < 0.999 || got/want > 1.001 {
		t.Errorf("%.0f bootstraps/s, want %.0f", got, want)
	}
}
