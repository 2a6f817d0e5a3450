package ops

import (
	"slices"
	"strings"
	"testing"

	"github.com/tacit-fhe/tacit/accel/cpu"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/integer"
)

// TestBudgets holds the counts against the budgets: all are met where there is room
// for a select, and elsewhere all but those of the select.
func TestBudgets(t *testing.T) {
	for name, over := range map[string]int{"tacit-2m2c-v1": 0, fhe.DefaultPreset: 1} {
		p, err := fhe.Preset(name)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Count(p)
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		if err := r.Markdown(&text); err != nil {
			t.Fatal(err)
		}
		for _, b := range r.Budgets {
			if b.Met() != (b.Note == "") {
				t.Errorf("%s: %+v", name, b)
			}
			if !b.Met() {
				over--
				if b.Op != "select" || b.Throughput.Bootstraps != b.Bootstraps+1 || !strings.Contains(text.String(), b.Note) {
					t.Errorf("%s: %+v", name, b)
				}
			}
			i := slices.IndexFunc(r.Rows, func(row Row) bool {
				return row.Op == b.Op && row.Type == b.Type && row.Operands == b.Operands && row.Strategy == "throughput"
			})
			if b.Op != transfer && (i < 0 || r.Rows[i].Cost != b.Throughput) {
				t.Errorf("%s: %+v is in no row", name, b)
			}
		}
		if over != 0 {
			t.Errorf("%s: %d more budgets should be missed", name, over)
		}
		for _, want := range []string{"| and | encrypted | euint64 | 32 | 1 |", "| lookup | encrypted | euint8 |"} {
			if !strings.Contains(text.String(), want) {
				t.Errorf("%s: no %s in\n%s", name, want, text.String())
			}
		}
	}
}

func TestRun(t *testing.T) {
	p, err := fhe.Preset(fhe.TestPreset)
	if err != nil {
		t.Fatal(err)
	}
	backend, err := cpu.New()
	if err != nil {
		t.Fatal(err)
	}
	r, err := Run(t.Context(), Options{Params: p, Backend: backend, Type: integer.Uint8, Concurrency: 2, Rounds: 2})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range r.Rows {
		if !(row.Seconds.Min > 0 && row.Seconds.Min <= row.Seconds.Median && row.PerSecond > 0) {
			t.Errorf("%+v", row)
		}
	}
	if len(r.Rows) != len(timed) {
		t.Errorf("%d rows", len(r.Rows))
	}
}
