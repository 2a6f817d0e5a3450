package report

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/tacit-fhe/tacit/bench/suite"
	"github.com/tacit-fhe/tacit/bench/workloads"
)

// kinds of work, each with workloads that stand for it.
var kinds = []struct {
	name      string
	workloads []string
}{
	{"Compare, choose, sort; balances, bids, conditions", []string{"transfer", "auction", "median", "sort", "key-value", "cancer-tree"}},
	{"Bits: checksums and ciphers", []string{"crc-32", "aes-128"}},
	{"Exact integers of 8 to 256 bits that wrap", []string{"integer-add", "integer-mul", "integer-div"}},
	{"Sums and products of whole numbers; distances, counts", []string{"votes", "hamming", "euclidean", "matrix", "chi-squared", "fibonacci"}},
	{"Real numbers and smooth functions", []string{"logistic"}},
	{"Linear models and neural networks whose weights are public", []string{"cancer-logistic", "network", "mnist"}},
	{"Fetch one of many public values by an encrypted index", []string{"retrieval"}},
	{"Go on without end: bootstrapping", []string{"bootstrap"}},
}

// Choosing writes a page that says which scheme to take for which work. All its figures, and which scheme is
// named for what, come from the results.
func Choosing(w io.Writer, r *suite.Results) error {
	p := &printer{w: w}
	p.printf("# Which scheme for which work\n\n")
	p.printf("Made by `tacit bench report` from [results](results.json) of %s, %d cores; the [report](report.md) has everything. "+
		"What is named was the fastest of those that can, for one item alone and for many that are computed together.\n\n", r.Machine.CPU.Model, r.Machine.Cores)
	p.head("your work", "one item", "many items")
	type line struct {
		rung
		times map[string]string // by scheme
	}
	var lines []line
	for _, k := range kinds {
		wins := map[string]map[string]int{suite.Single: {}, suite.Batch: {}}
		runs := map[string]bool{}
		for _, name := range k.workloads {
			g, names := common(r, name)
			if len(names) == 0 {
				continue
			}
			row := line{g, map[string]string{}}
			fastest, least := map[string]string{}, map[string]float64{suite.Single: math.Inf(1), suite.Batch: math.Inf(1)}
			for _, s := range names {
				runs[s] = true
				var times []string
				for _, mode := range []string{suite.Single, suite.Batch} {
					if x := best(r, g, s, mode); x != nil {
						m := x.PerItem().Median
						times = append(times, seconds(m))
						if m < least[mode] {
							least[mode], fastest[mode] = m, s
						}
					}
				}
				row.times[s] = strings.Join(times, ", ")
			}
			for mode, s := range fastest {
				wins[mode][s]++
			}
			lines = append(lines, row)
		}
		if len(runs) > 0 {
			p.row(k.name, choice(wins[suite.Single], runs), choice(wins[suite.Batch], runs))
		}
	}
	p.printf("\nBefore you choose:\n\n")
	p.printf("- BGV, BFV and CKKS compute on whole vectors: one item costs as much as thousands. Among many they win only where there are many.\n")
	p.printf("- They know in advance how many multiplications follow each other: each takes a level of the parameter set. TFHE bootstraps as it goes and never runs out.\n")
	p.printf("- BGV, BFV and TFHE are exact. CKKS is approximate: its precision is in the table.\n\n")
	p.head("scheme", "evaluation key to send", "request for one item", "per item among many", "wrong results")
	for _, s := range schemes(r) {
		if !slices.Contains(workloads.Schemes, s) {
			continue
		}
		var keys, single, batch, precision []float64
		failure := math.Inf(-1)
		for _, set := range r.Sets {
			if set.Scheme == s {
				keys = append(keys, float64(set.EvaluationBytes))
			}
		}
		for _, x := range r.Records {
			if x.Scheme != s {
				continue
			}
			bytes := float64(x.RequestBytes) / float64(x.Items)
			if x.Mode == suite.Single {
				single = append(single, bytes)
			} else {
				batch = append(batch, bytes)
			}
			if x.Precision > 0 {
				precision = append(precision, x.Precision)
			}
			if x.Failure < 0 {
				failure = max(failure, x.Failure)
			}
		}
		wrong := "none, while the tracked noise has room"
		switch {
		case !math.IsInf(failure, -1):
			wrong = fmt.Sprintf("with probability 2^%.0f at most, claimed for the largest workload", failure)
		case len(precision) > 0:
			wrong = fmt.Sprintf("%.0f to %.0f bits are right", slices.Min(precision), slices.Max(precision))
		}
		p.row(strings.ToUpper(s), span(keys), span(single), span(batch), wrong)
	}
	p.printf("\nThe times behind it, medians of the server's computing: of one item, and of an item among many. Each workload has the largest size " +
		"that all of its schemes were measured at.\n\n")
	head := []string{"workload", "size"}
	for _, s := range workloads.Schemes {
		head = append(head, strings.ToUpper(s))
	}
	p.head(head...)
	for _, l := range lines {
		cells := []string{l.workload, fmt.Sprintf("%d %s", l.size, l.unit)}
		for _, s := range workloads.Schemes {
			cells = append(cells, l.times[s])
		}
		p.row(cells...)
	}
	return p.err
}

// common is the largest size of a workload that as many schemes were measured at, alone, as at any, and
// those schemes.
func common(r *suite.Results, workload string) (found rung, names []string) {
	for _, g := range rungs(r) {
		if g.workload != workload {
			continue
		}
		var have []string
		for _, s := range workloads.Schemes {
			if best(r, g, s, suite.Single) != nil {
				have = append(have, s)
			}
		}
		if len(have) > 0 && len(have) >= len(names) {
			found, names = g, have
		}
	}
	return found, names
}

// choice names the schemes that win, the one that wins most first.
func choice(wins map[string]int, runs map[string]bool) string {
	var names []string
	for _, s := range workloads.Schemes {
		if wins[s] > 0 {
			names = append(names, s)
		}
	}
	slices.SortStableFunc(names, func(a, b string) int { return wins[b] - wins[a] })
	for i, s := range names {
		names[i] = strings.ToUpper(s)
		if s == workloads.CKKS {
			names[i] += " (approximate)"
		}
	}
	switch {
	case len(names) == 0:
		return ""
	case len(runs) == 1:
		return "**" + names[0] + "**, which alone can"
	case len(names) == 1:
		return "**" + names[0] + "**"
	}
	return "**" + names[0] + "**, for some " + strings.Join(names[1:], " or ")
}

// span is the least and the greatest of sizes.
func span(sizes []float64) string {
	if len(sizes) == 0 {
		return ""
	}
	lo, hi := bytesText(slices.Min(sizes)), bytesText(slices.Max(sizes))
	if lo == hi {
		return lo
	}
	return lo + " to " + hi
}
