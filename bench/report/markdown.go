// Package report turns files of results into what people and other programs read:
// Markdown, plots, the benchstat format, the layout of HomomorphicEncryption.org's
// fhe-benchmarking, and comparisons. It makes all of them from the file alone and
// measures nothing.
package report

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/tacit-fhe/tacit/bench/peers"
	"github.com/tacit-fhe/tacit/bench/suite"
	"github.com/tacit-fhe/tacit/bench/workloads"
)

// Markdown writes a report: what was measured on what, an overview of one time per
// workload and scheme, other libraries that were measured too, the parameter sets,
// every record, what is absent and why, and, apart from all that, figures that others published. plots are those that
// it shows, by name.
func Markdown(w io.Writer, r *suite.Results, published *peers.Published, plots []File) error {
	p := &printer{w: w}
	p.printf("# Benchmarks across schemes\n\n")
	m := r.Machine
	p.printf("%s (%s, %s), %d cores, %s of memory, %s, GPU: %s. Commit %s%s, %s. Begun %s.\n\n",
		m.CPU.Model, m.CPU.Arch, m.CPU.Backend, m.Cores, bytesText(float64(m.MemoryBytes)), m.OS, m.GPU,
		r.Build.Commit, map[bool]string{true: " with changes"}[r.Build.Modified], r.Build.Go, r.Started.Format("2006-01-02 15:04 MST"))
	p.printf("Times are the median of the server's computing time. Every item was a fresh encryption, and its result was decrypted and held against the oracle. " +
		"A batch is as many items at once as the scheme likes: all slots of the ciphertexts, or enough to fill the batches of bootstraps; its times are per item.\n")
	p.printf("\nEvery record is measured in rounds, in which the run goes over all of them; ± is half of the 99 %% interval of the time by how rounds differ from each other, " +
		"as a share of it. Records of one round are those whose sample takes very long: their interval is that of the others, and wider.\n")
	p.machine(r)
	p.overview(r)
	p.peers(r)
	for _, f := range plots {
		p.printf("\n![%s](%s)\n", strings.TrimSuffix(f.Name, ".svg"), f.Name)
	}
	p.sets(r)
	p.records(r)
	p.absent(r)
	p.missing(r)
	p.published(published)
	return p.err
}

type printer struct {
	w   io.Writer
	err error
}

func (p *printer) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

// row writes the cells of a table's row.
func (p *printer) row(cells ...string) { p.printf("| %s |\n", strings.Join(cells, " | ")) }

// head writes the head of a table.
func (p *printer) head(cells ...string) {
	p.row(cells...)
	p.printf("%s|\n", strings.Repeat("|---", len(cells)))
}

// schemes are those of the results, the known ones first.
func schemes(r *suite.Results) []string {
	names := slices.Clone(workloads.Schemes)
	for _, x := range r.Records {
		if !slices.Contains(names, x.Scheme) {
			names = append(names, x.Scheme)
		}
	}
	return slices.DeleteFunc(names, func(s string) bool {
		return !slices.ContainsFunc(r.Records, func(x suite.Record) bool { return x.Scheme == s })
	})
}

// rung is a workload of a size.
type rung struct {
	workload string
	size     int
	unit     string
}

// rungs are those of the results, in the order of the workloads and then of size.
func rungs(r *suite.Results) (all []rung) {
	for _, x := range r.Records {
		if g := (rung{x.Workload, x.Size, x.Unit}); !slices.Contains(all, g) {
			all = append(all, g)
		}
	}
	place := func(name string) int {
		if i := slices.IndexFunc(workloads.All, func(w *workloads.Workload) bool { return w.Name == name }); i >= 0 {
			return i
		}
		return len(workloads.All)
	}
	slices.SortStableFunc(all, func(a, b rung) int {
		if d := place(a.workload) - place(b.workload); d != 0 {
			return d
		}
		return a.size - b.size
	})
	return all
}

// best is the record of a rung on a scheme in a mode with the most threads, or nil.
func best(r *suite.Results, g rung, scheme, mode string) (found *suite.Record) {
	for i := range r.Records {
		x := &r.Records[i]
		if x.Workload == g.workload && x.Size == g.size && x.Scheme == scheme && x.Mode == mode && (found == nil || x.Threads > found.Threads) {
			found = x
		}
	}
	return found
}

// machine says how the pace of the machine varied, by the fixed work next to each record.
func (p *printer) machine(r *suite.Results) {
	byThreads := map[int][]float64{}
	for i := range r.Records {
		for _, s := range r.Records[i].Rounds {
			if len(s.Reference) > 0 {
				byThreads[r.Records[i].Threads] = append(byThreads[r.Records[i].Threads], suite.Summarise(s.Reference).Median)
			}
		}
	}
	if len(byThreads) == 0 {
		return
	}
	p.printf("\n## The pace of the machine\n\nFixed work was timed before and after the samples of every round of a record, on as many threads. What it took says how steady the machine was.\n\n")
	p.head("threads", "times", "median", "least", "p95", "most")
	for _, threads := range slices.Sorted(maps.Keys(byThreads)) {
		s := suite.Summarise(byThreads[threads])
		p.row(fmt.Sprint(threads), fmt.Sprint(s.N), seconds(s.Median), seconds(s.Min), seconds(s.P95), seconds(s.Max))
	}
}

// overview is a table of workloads by schemes, the fastest in bold, and what follows
// for the choice of a scheme.
func (p *printer) overview(r *suite.Results) {
	var names []string // without other libraries
	for _, s := range schemes(r) {
		if slices.Contains(workloads.Schemes, s) {
			names = append(names, s)
		}
	}
	head := []string{"workload", "size"}
	for _, s := range names {
		head = append(head, s+", one item", s+", batch, per item")
	}
	p.printf("\n## Overview\n\n")
	p.head(head...)
	alone := map[string][]string{}           // scheme: workloads that no other one runs
	wins := map[string]map[string][]string{} // mode: scheme: workloads that several run and it runs fastest
	for _, g := range rungs(r) {
		cells := []string{g.workload, fmt.Sprintf("%d %s", g.size, g.unit)}
		name := fmt.Sprintf("%s (%d %s)", g.workload, g.size, g.unit)
		fastest, rivals := map[string]string{}, map[string]bool{}
		for _, mode := range []string{suite.Single, suite.Batch} {
			least := math.Inf(1)
			for _, s := range names {
				if x := best(r, g, s, mode); x != nil {
					rivals[s] = true
					if m := x.PerItem().Median; m < least {
						least, fastest[mode] = m, s
					}
				}
			}
		}
		for _, s := range names {
			for _, mode := range []string{suite.Single, suite.Batch} {
				cell := ""
				if x := best(r, g, s, mode); x != nil {
					cell = seconds(x.PerItem().Median)
					if len(rivals) > 1 && fastest[mode] == s {
						cell = "**" + cell + "**"
					}
				}
				cells = append(cells, cell)
			}
			if len(rivals) == 1 && rivals[s] && !slices.Contains(alone[s], g.workload) {
				alone[s] = append(alone[s], g.workload)
			}
		}
		p.row(cells...)
		if len(rivals) > 1 {
			for mode, s := range fastest {
				if wins[mode] == nil {
					wins[mode] = map[string][]string{}
				}
				wins[mode][s] = append(wins[mode][s], name)
			}
		}
	}
	p.printf("\n## Which scheme for which work, by these results\n\n")
	p.head("scheme", "alone can run", "fastest for one item", "fastest for many")
	for _, s := range names {
		p.row(s, strings.Join(alone[s], ", "), strings.Join(wins[suite.Single][s], ", "), strings.Join(wins[suite.Batch][s], ", "))
	}
}

// peers holds other libraries against Tacit, each on the scheme that both have.
func (p *printer) peers(r *suite.Results) {
	var others []string
	for _, s := range schemes(r) {
		if !slices.Contains(workloads.Schemes, s) {
			others = append(others, s)
		}
	}
	if len(others) == 0 {
		return
	}
	p.printf("\n## Other libraries, on this machine\n\n")
	var said []string
	for _, s := range r.Sets {
		if text := fmt.Sprintf("- %s: %s", s.Library, s.Build); s.Build != "" && !slices.Contains(said, text) {
			said = append(said, text)
		}
	}
	p.printf("The same workloads, inputs and oracles, through adapters that time themselves. Every library has the parameters of its own that " +
		"the set says, of 128 bits at least, and the threads that the table says: compare times with both in mind. Its keys are those that one workload needs, " +
		"where those of Tacit serve all of a scheme: sizes of keys and times of key generation are not of the same work. WebAssembly is slower than native code.\n\n")
	if len(said) > 0 {
		p.printf("%s\n\n", strings.Join(said, "\n"))
	}
	p.head("workload", "size", "mode, per item", "scheme", "set", "threads", "median", "set of Tacit", "threads", "median", "of Tacit's time")
	for _, g := range rungs(r) {
		for _, mode := range []string{suite.Single, suite.Batch} {
			for _, s := range others {
				x := best(r, g, s, mode)
				if x == nil {
					continue
				}
				cells := []string{g.workload, fmt.Sprintf("%d %s", g.size, g.unit), mode, s, x.Set, fmt.Sprint(x.Threads), seconds(x.PerItem().Median), "", "", "", ""}
				if own := best(r, g, s[strings.LastIndexByte(s, '-')+1:], mode); own != nil {
					cells = append(cells[:7], own.Set, fmt.Sprint(own.Threads), seconds(own.PerItem().Median), fmt.Sprintf("%.2f", x.PerItem().Median/own.PerItem().Median))
				}
				p.row(cells...)
			}
		}
	}
}

func (p *printer) sets(r *suite.Results) {
	p.printf("\n## Parameter sets\n\n")
	p.head("scheme", "set", "library", "security", "bootstrap fails", "key generation", "evaluation key, wire", "in memory", "public key")
	for _, s := range r.Sets {
		failure := ""
		if s.Failure < 0 {
			failure = fmt.Sprintf("2^%.0f", s.Failure)
		}
		p.row(s.Scheme, s.Name, s.Library, s.Assumption, failure, seconds(suite.Summarise(s.KeygenSeconds).Median),
			bytesText(float64(s.EvaluationBytes)), bytesText(float64(s.MemoryBytes)), bytesText(float64(s.PublicBytes)))
	}
}

func (p *printer) records(r *suite.Results) {
	spread := spreads(r)
	for _, mode := range []string{suite.Single, suite.Batch} {
		if !slices.ContainsFunc(r.Records, func(x suite.Record) bool { return x.Mode == mode }) {
			continue
		}
		p.printf("\n## %s\n\n", map[string]string{suite.Single: "One item", suite.Batch: "Batches, per item"}[mode])
		p.head("workload", "size", "scheme", "set", "threads", "items", "median", "±", "rounds", "p95", "least", "samples", "items/s", "request", "expansion", "response",
			"bootstraps", "key switches", "noise: measured, predicted", "precision", "accuracy, in the clear", "fails", "trials", "peak memory, client included")
		for _, g := range rungs(r) {
			for _, x := range r.Records {
				if x.Workload != g.workload || x.Size != g.size || x.Mode != mode {
					continue
				}
				s := x.PerItem()
				items := float64(x.Items)
				noise, precision, accuracy, fails, expansion, within := "", "", "", "", "", ""
				if h := spread[x.Key()]; !math.IsInf(h, 1) {
					within = fmt.Sprintf("%.2g %%", 100*h)
				}
				if x.NoisePredicted != 0 {
					noise = fmt.Sprintf("2^%.1f, 2^%.1f", x.NoiseMeasured, x.NoisePredicted)
				}
				if x.Precision > 0 {
					precision = fmt.Sprintf("%.1f bits", x.Precision)
				}
				if a := x.Accuracy; a != nil {
					accuracy = fmt.Sprintf("%.1f %%, %.1f %%", 100*a.Computed, 100*a.Clear)
				}
				if x.Failure < 0 {
					fails = fmt.Sprintf("2^%.0f", x.Failure)
				}
				if x.PlaintextBytes > 0 {
					expansion = fmt.Sprintf("%.3g", float64(x.RequestBytes)/x.PlaintextBytes)
				}
				bootstraps, switches := count(x.Bootstraps), count(x.KeySwitches)
				if !slices.Contains(workloads.Schemes, x.Scheme) { // an adapter counts no key switches, and not all count bootstraps
					switches = ""
					if x.Bootstraps == 0 {
						bootstraps = ""
					}
				}
				p.row(x.Workload, fmt.Sprintf("%d %s", x.Size, x.Unit), x.Scheme, x.Set, fmt.Sprint(x.Threads), fmt.Sprint(x.Items),
					seconds(s.Median), within, fmt.Sprint(len(x.Rounds)), seconds(s.P95), seconds(s.Min), fmt.Sprint(s.N), fmt.Sprintf("%.3g", 1/s.Median),
					bytesText(float64(x.RequestBytes)/items), expansion, bytesText(float64(x.ResponseBytes)/items),
					bootstraps, switches, noise, precision, accuracy, fails, fmt.Sprint(x.Trials), bytesText(float64(x.PeakBytes)))
			}
		}
	}
}

func (p *printer) absent(r *suite.Results) {
	if len(r.Absent) == 0 {
		return
	}
	p.printf("\n## What cannot be expressed\n\n")
	p.head("workload", "scheme", "why")
	for _, a := range r.Absent {
		p.row(a.Workload, a.Scheme, a.Reason)
	}
}

// missing says which sizes were not measured, and why.
func (p *printer) missing(r *suite.Results) {
	type row struct{ workload, sizes, why string }
	var rows []row
	schemesOf := map[row][]string{}
	for _, w := range workloads.All {
		for _, s := range workloads.Schemes {
			if slices.ContainsFunc(r.Absent, func(a suite.Absent) bool { return a.Workload == w.Name && a.Scheme == s }) || w.Absent[s] != "" {
				continue
			}
			reasons, sizes := []string{}, map[string][]string{}
			for _, size := range w.Sizes {
				why := reason(r, w.Name, s, size)
				if why == "" {
					continue
				}
				if !slices.Contains(reasons, why) {
					reasons = append(reasons, why)
				}
				sizes[why] = append(sizes[why], fmt.Sprint(size))
			}
			for _, why := range reasons {
				g := row{w.Name, strings.Join(sizes[why], ", ") + " " + w.Unit, why}
				if schemesOf[g] == nil {
					rows = append(rows, g)
				}
				schemesOf[g] = append(schemesOf[g], s)
			}
		}
	}
	if len(rows) == 0 {
		return
	}
	p.printf("\n## What was not measured\n\n")
	p.head("workload", "sizes", "scheme", "why")
	for _, g := range rows {
		p.row(g.workload, g.sizes, strings.Join(schemesOf[g], ", "), g.why)
	}
}

// reason is why a size was not measured on a scheme in full, empty where it was.
func reason(r *suite.Results, workload, scheme string, size int) string {
	measured := slices.ContainsFunc(r.Records, func(x suite.Record) bool {
		return x.Workload == workload && x.Scheme == scheme && x.Size == size
	})
	var reasons []string
	for _, why := range []struct{ name, text string }{
		{suite.OverLimit, "over the time limit"}, {suite.LongBatch, "one item keeps all threads busy for long, a batch takes --long"},
	} {
		var parts []string
		for _, s := range r.Skipped {
			if s.Workload == workload && s.Scheme == scheme && s.Size == size && cmp.Or(s.Why, suite.OverLimit) == why.name {
				parts = append(parts, fmt.Sprintf("%s, %d threads", map[string]string{suite.Single: "one item", suite.Batch: "batch"}[s.Mode], s.Threads))
			}
		}
		switch {
		case len(parts) > 0 && measured:
			reasons = append(reasons, why.text+": "+strings.Join(parts, "; "))
		case len(parts) > 0:
			reasons = append(reasons, why.text)
		}
	}
	if len(reasons) == 0 && !measured {
		return "not asked for"
	}
	return strings.Join(reasons, "; ")
}

func (p *printer) published(all *peers.Published) {
	if all == nil {
		return
	}
	p.printf("\n## Published figures of others\n\nQuoted, not measured here: other machines, other parameters. They are no part of the tables above.\n\n")
	p.head("library", "version", "what", "machine", "figure", "source")
	for _, s := range all.Sources {
		for _, f := range s.Figures {
			p.row(s.Library, s.Version, f.What, s.Machine, fmt.Sprintf("%g %s", f.Value, f.Unit), s.Source)
		}
	}
}

// seconds is a time for people.
func seconds(s float64) string {
	switch {
	case s <= 0 || math.IsNaN(s):
		return ""
	case s < 1e-6:
		return fmt.Sprintf("%.0f ns", s*1e9)
	case s < 1e-3:
		return fmt.Sprintf("%.3g µs", s*1e6)
	case s < 1:
		return fmt.Sprintf("%.3g ms", s*1e3)
	}
	return fmt.Sprintf("%.3g s", s)
}

// bytesText is a size for people.
func bytesText(n float64) string {
	switch {
	case n <= 0:
		return ""
	case n < 1e3:
		return fmt.Sprintf("%.3g B", n)
	case n < 1e6:
		return fmt.Sprintf("%.3g kB", n/1e3)
	case n < 1e9:
		return fmt.Sprintf("%.3g MB", n/1e6)
	}
	return fmt.Sprintf("%.3g GB", n/1e9)
}

// count is a number that may be a fraction where items share work.
func count(x float64) string {
	if x == math.Trunc(x) {
		return fmt.Sprintf("%.0f", x)
	}
	return fmt.Sprintf("%.2g", x)
}
