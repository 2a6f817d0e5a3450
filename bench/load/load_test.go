package load

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tacit-fhe/tacit/accel/cpu"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/integer"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// A small load is shared fairly, and what is too much is refused with the time to
// wait.
func TestRun(t *testing.T) {
	p, err := fhe.Preset(fhe.TestPreset)
	if err != nil {
		t.Fatal(err)
	}
	backend, err := cpu.New()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	report, err := Run(t.Context(), Options{
		Params: p, Backend: backend, Workers: 2, Principals: 4, Jobs: 48, Adds: 2, Type: integer.Uint8,
		Progress: func(done, total int) { seen = done },
	})
	if err != nil {
		t.Fatal(err)
	}
	r := report.Rounds[0]
	if len(report.Rounds) != 1 || seen != 48 || r.Taken != 0 || r.Refused != overload || r.RetryInfo != overload || r.Bootstraps == 0 || r.JobsPerSecond <= 0 {
		t.Errorf("%+v", report)
	}
	// By turns, each of the four has started 7 or 8 jobs when the first of the three that
	// have 8 has started its last.
	if r.Fairness < 0.99 {
		t.Errorf("the fairness is %g", r.Fairness)
	}
	if r.OthersWait.P99 > r.FirstWait.P99 {
		t.Errorf("those with few jobs wait for %g s, the one with many for %g s", r.OthersWait.P99, r.FirstWait.P99)
	}
	for _, o := range []Options{{Principals: 1}, {Jobs: 3}, {Adds: -1}, {KeepJobs: 999}} {
		o.Params, o.Backend = p, backend
		if _, err := Run(t.Context(), o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
}

// Callers who wait for their jobs have all of them computed, by a mock.
func TestFlow(t *testing.T) {
	p, err := fhe.Preset(fhe.MockPreset)
	if err != nil {
		t.Fatal(err)
	}
	backend, err := cpu.New()
	if err != nil {
		t.Fatal(err)
	}
	report, err := Run(t.Context(), Options{Params: p, Backend: backend, Workers: 2, Principals: 2, Jobs: 50, Type: integer.Uint8, Callers: 8, KeepJobs: 50, For: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Flows) == 0 || len(report.Rounds) != 0 || report.Flows[0].JobsPerSecond <= 0 || report.Flows[0].Turnaround.P99 <= 0 {
		t.Errorf("%+v", report)
	}
	for _, f := range report.Flows {
		if f.Kept < 50 || f.Kept > trimmed(50) || f.Live == 0 || f.Goroutines == 0 {
			t.Errorf("%+v", f.Memory)
		}
	}
	var text bytes.Buffer
	if err := report.Markdown(&text); err != nil || !strings.Contains(text.String(), "8 callers") {
		t.Errorf("%s, %v", &text, err)
	}
}

// Fairness is that of the starts, in whatever order jobs end.
func TestFairness(t *testing.T) {
	for _, c := range []struct {
		name, starts string // of principals, by turns
		want         float64
	}{
		{"by turns", "0101010000", 1},
		{"the second waits for one more job", "0010101000", 49. / 50},
		{"in the order of submission", "0000000111", 0.5},
		{"the one with few first", "1110000000", 0.5},
	} {
		var ended []*tacitv1.Job
		for i, digit := range c.starts {
			job := &tacitv1.Job{
				Id: name(int(digit-'0')) + "." + strconv.Itoa(i), EstimatedBootstraps: 8,
				StartTime: timestamppb.New(time.Unix(int64(i), 0)),
			}
			ended = append([]*tacitv1.Job{job}, ended...) // the last to start is the first to end
		}
		if got := fairness(ended, 2); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%s: %g, want %g", c.name, got, c.want)
		}
	}
}

func TestQuantiles(t *testing.T) {
	var list []float64
	for i := range 200 {
		list = append(list, float64(200-i))
	}
	if got := quantiles(list); got != (Times{100, 198}) {
		t.Errorf("%+v", got)
	}
	if quantiles(nil) != (Times{}) || quantiles([]float64{3}) != (Times{3, 3}) {
		t.Error("of few")
	}
	if jain([]float64{1, 1, 1, 1}) != 1 || jain([]float64{1, 0, 0, 0}) != 0.25 || jain(nil) != 0 {
		t.Error("jain")
	}
}
