package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/tacit-fhe/tacit/bench/suite"
	"github.com/tacit-fhe/tacit/bench/workloads"
)

// Text writes what a person at a terminal wants to know first: the times of every workload by scheme, and the
// keys. Markdown has everything.
func Text(w io.Writer, r *suite.Results) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	p := &printer{w: t}
	trials := 0
	for _, x := range r.Records {
		trials += x.Trials
	}
	p.printf("%s, %d cores, GPU: %s. %d results were decrypted and held against an oracle; all were right.\n\n", r.Machine.CPU.Model, r.Machine.Cores, r.Machine.GPU, trials)
	p.printf("Computing time of one item alone, and of an item among many (medians; * is the fastest)\n\n")
	names := schemes(r)
	cells := []string{"WORKLOAD", "SIZE"}
	for _, s := range names {
		cells = append(cells, strings.ToUpper(s), "MANY")
	}
	p.columns(cells...)
	for _, g := range rungs(r) {
		cells := []string{g.workload, fmt.Sprintf("%d %s", g.size, g.unit)}
		for _, s := range names {
			for _, mode := range []string{suite.Single, suite.Batch} {
				cells = append(cells, p.time(r, g, s, mode, names))
			}
		}
		p.columns(cells...)
	}
	p.printf("\n")
	p.columns("SCHEME", "SET", "SECURITY", "KEYS MADE IN", "KEY TO SEND", "IN MEMORY")
	for _, s := range r.Sets {
		p.columns(s.Scheme, s.Name, fmt.Sprintf("%.0f bits", s.Security), seconds(suite.Summarise(s.KeygenSeconds).Median),
			bytesText(float64(s.EvaluationBytes)), bytesText(float64(s.MemoryBytes)))
	}
	if models := modelsOf(r); len(models) > 0 {
		p.printf("\n")
		p.columns("MODEL", "SIZE", "RIGHT", "IN FLOATING POINT", "TEST SAMPLES")
		for _, x := range models {
			p.columns(x.Workload, fmt.Sprintf("%d %s", x.Size, x.Unit), percent(x.Accuracy.Computed), percent(x.Accuracy.Clear), fmt.Sprint(x.Accuracy.Samples))
		}
	}
	if len(r.Skipped) > 0 {
		p.printf("\n%d records were skipped: there was no time for them, or they are batches of what keeps all threads busy for long alone.\n", len(r.Skipped))
	}
	p.printf("\nWhere a cell is empty, the scheme cannot do it or was not asked to. 'tacit bench report' says which, and has noise,\nprecision, sizes, memory, failure probabilities and spreads, of results that were kept with --out.\n")
	if p.err != nil {
		return p.err
	}
	return t.Flush()
}

// columns writes a row of aligned cells.
func (p *printer) columns(cells ...string) { p.printf("%s\n", strings.Join(cells, "\t")) }

// time is the median of a record, with a mark if no scheme is faster and another one is there.
func (p *printer) time(r *suite.Results, g rung, scheme, mode string, names []string) string {
	x := best(r, g, scheme, mode)
	if x == nil {
		return ""
	}
	rivals, fastest := 0, true
	for _, s := range names {
		if other := best(r, g, s, mode); other != nil && s != scheme {
			rivals++
			fastest = fastest && x.PerItem().Median <= other.PerItem().Median
		}
	}
	return seconds(x.PerItem().Median) + map[bool]string{true: "*"}[fastest && rivals > 0]
}

// modelsOf has one record for each model of the results.
func modelsOf(r *suite.Results) (models []suite.Record) {
	for _, w := range workloads.All {
		for _, x := range r.Records {
			if x.Workload == w.Name && x.Accuracy != nil && !slices.ContainsFunc(models, func(m suite.Record) bool { return m.Workload == x.Workload && m.Size == x.Size }) {
				models = append(models, x)
			}
		}
	}
	return models
}

func percent(share float64) string { return fmt.Sprintf("%.1f %%", 100*share) }
