package load

import (
	"bytes"
	"math"
	"strings"
	"testing"
)

func TestGrowth(t *testing.T) {
	rounds := func(live ...uint64) (list []Memory) {
		for _, x := range live {
			list = append(list, Memory{Live: x, Resident: 2 * int64(x), Goroutines: 10})
		}
		return list
	}
	for _, c := range []struct {
		name string
		list []Memory
		want *Growth
	}{
		{"too few rounds", rounds(1, 2, 3), nil},
		{"flat", rounds(100, 100, 100, 100), &Growth{}},
		{"caches fill", rounds(50, 150, 200, 200), &Growth{Live: 1, Resident: 1}},
		{"a leak", rounds(100, 200, 999, 400, 500, 600), &Growth{Live: 500./433 - 1, Resident: 500./433 - 1, PerJob: 10}},
		{"the middle of an odd number is in neither half", rounds(100, 100, 900, 100, 100), &Growth{}},
	} {
		got := growth(c.list, 10)
		if got == nil || c.want == nil {
			if got != c.want {
				t.Errorf("%s: %+v", c.name, got)
			}
			continue
		}
		for _, x := range [][2]float64{{got.Live, c.want.Live}, {got.Resident, c.want.Resident}, {got.PerJob, c.want.PerJob}, {got.Goroutines, 0}} {
			if math.Abs(x[0]-x[1]) > 1e-9 {
				t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
			}
		}
	}
	r := Report{KeepJobs: 7, Rounds: make([]Round, 4)}
	r.Growth = growth(r.memory(), 10)
	var text bytes.Buffer
	if err := r.Markdown(&text); err != nil || !strings.Contains(text.String(), "7 jobs that have ended are kept") || !strings.Contains(text.String(), "+0 bytes for each job") {
		t.Errorf("%s, %v", &text, err)
	}
}
