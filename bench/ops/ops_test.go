package ops

import (
	"strings"
	"testing"

	"github.com/tacit-fhe/tacit/accel/cpu"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/integer"
)

// TestBudgets holds the counts against what every operation may spend at 64 bits
// with the fewest bootstraps.
func TestBudgets(t *testing.T) {
	p, err := fhe.Preset("tacit-2m2c-v1")
	if err != nil {
		t.Fatal(err)
	}
	r, err := Count(p)
	if err != nil {
		t.Fatal(err)
	}
	budget := map[string]int{
		"add": 32, "sub": 32, "neg": 32, "lt": 25, "le": 25, "gt": 25, "ge": 25, "eq": 18, "ne": 18, "select": 32,
		"and": 32, "or": 32, "xor": 32, "not": 0, "min": 60, "max": 60, "shl": 180, "shr": 180, "rotl": 180, "rotr": 180, "mul": 1200,
	}
	seen := 0
	for _, row := range r.Rows {
		most, ok := budget[row.Op]
		if !ok || row.Type != "euint64" || row.Strategy != "throughput" || row.Operands != "encrypted" {
			continue
		}
		seen++
		if row.Cost.Bootstraps > most {
			t.Errorf("%s spends %d bootstraps, the budget is %d", row.Op, row.Cost.Bootstraps, most)
		}
	}
	if seen != len(budget) {
		t.Errorf("%d of %d budgets were looked at", seen, len(budget))
	}
	var text strings.Builder
	if err := r.Markdown(&text); err != nil || !strings.Contains(text.String(), "| select | encrypted | euint64 | 32 | 1 |") {
		t.Errorf("%v\n%s", err, text.String())
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
