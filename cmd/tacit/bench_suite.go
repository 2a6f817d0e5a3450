package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tacit-fhe/tacit/bench/peers"
	"github.com/tacit-fhe/tacit/bench/report"
	"github.com/tacit-fhe/tacit/bench/suite"
	"github.com/tacit-fhe/tacit/bench/workloads"
	"github.com/tacit-fhe/tacit/fhe/keyfile"
	"github.com/tacit-fhe/tacit/fhe/leveled"
)

func benchListCommand(u *ui) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the workloads of 'bench run'",
		Long: `Lists the workloads, their sizes, and the schemes that have a program for them. 'tacit bench
run --help' says what of it is measured.

JSON: a list of name, about, unit, sizes, schemes, absent [scheme: why].`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			type entry struct {
				Name    string            `json:"name"`
				About   string            `json:"about"`
				Unit    string            `json:"unit"`
				Sizes   []int             `json:"sizes"`
				Schemes []string          `json:"schemes"`
				Absent  map[string]string `json:"absent,omitempty"`
			}
			var all []entry
			for _, w := range workloads.All {
				e := entry{w.Name, w.About, w.Unit, w.Sizes, nil, w.Absent}
				for _, s := range workloads.Schemes {
					if _, absent := w.Absent[s]; !absent {
						e.Schemes = append(e.Schemes, s)
					}
				}
				all = append(all, e)
			}
			if asJSON {
				return u.printJSON(all)
			}
			u.table(func(row func(cells ...any)) {
				row("WORKLOAD", "SIZES", "SCHEMES", "WHAT")
				for _, e := range all {
					row(e.Name, strings.Trim(fmt.Sprint(e.Sizes), "[]")+" "+e.Unit, strings.Join(e.Schemes, " "), e.About)
				}
			})
			return nil
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

// suiteFlags are those of 'bench run'.
type suiteFlags struct {
	quick    bool
	names    []string
	schemes  []string
	sizes    []int
	largest  int
	params   string
	device   string
	adapters []string
}

func benchRunCommand(u *ui) *cobra.Command {
	var f suiteFlags
	var o suite.Options
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Measure workloads across schemes",
		Long: `Runs workloads on TFHE, BGV, BFV and CKKS, and prints a summary. Every set has at least
128 bits of security. Every item is a fresh encryption, computed by a server that has
the bytes of the evaluation key and of the request alone, decrypted, and held against an
oracle on plaintexts; a wrong result ends the run.

With --out, results are kept in a file as they come. The same command goes on where
it was interrupted; 'tacit bench report' makes reports and plots from the file.

What is measured, unless flags choose:
  sizes     all of every workload on all cores; on one core the smallest on TFHE, which
            shows how work scales; an item of the other schemes takes one core anyhow
  modes     one item at a time; and batches, but for those of TFHE whose item alone takes more
            than 25 s: one item then keeps all cores busy, and --long measures such batches
  rounds    two: the run goes over all records, and then again, with new keys and servers.
            Rounds differ as runs do; how far is the spread that reports state
  samples   6 of each record, 3 a round, and more for 2 s (--budget). A round ends after 5 s
            (two and a half budgets) with the samples it has, one at least. The first of a round
            warms up and is left out, but on TFHE where it takes more than a second. What takes
            more than 25 s has one round of one sample, and the others' spread, which is wider
            by the square root of 2 and more
  machine   before and after the samples of every round, fixed work is timed on as many threads
That takes about an hour on 2 cores. What is skipped, and why, is in results and report.

--quick takes the smallest size of the workloads that are quick, all cores, 2 samples a round
and a tenth of the budget: less than 5 minutes on 2 cores.

With --time-limit the smallest size of every workload comes first, on all schemes, then the
next, and each round has the same share of the time; what would take more than is left of it, or
more than a tenth of the share, by what smaller sizes took, is skipped. The same command with
another limit goes on with it.

--adapter names a program that runs workloads with another library, its folder, or a
folder of such folders; those that are not installed are skipped. 'tacit bench peers'
lists them, bench/peers/README.md describes how to write one.

JSON (schema 2): schema, machine, build, started, sets [scheme, name, security_bits, …,
keygen_seconds, evaluation_key_bytes], records [workload, size, scheme, set, mode, threads, items,
rounds [began, seconds [encrypt, load, compute, store, decrypt] of every sample,
reference_seconds of the fixed work], request_bytes, …], absent, skipped.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			results, err := u.runSuite(cmd, f, o)
			if err != nil {
				return err
			}
			if asJSON {
				return u.printJSON(results)
			}
			return report.Text(u.out, results)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.quick, "quick", false, "smallest sizes and few samples")
	flags.StringSliceVar(&f.names, "workload", nil, "workloads, such as transfer or integer-*; all if absent")
	flags.StringSliceVar(&f.schemes, "scheme", workloads.Schemes, "schemes")
	flags.IntSliceVar(&f.sizes, "size", nil, "sizes; all if absent")
	flags.IntVar(&f.largest, "max-size", 0, "no sizes above this one")
	flags.StringSliceVar(&o.Modes, "mode", []string{suite.Single, suite.Batch}, "single items, batches")
	flags.IntSliceVar(&o.Threads, "threads", nil, "numbers of threads, for all sizes; if absent all cores, and unless --quick one core for the smallest on TFHE")
	flags.IntVar(&o.Rounds, "rounds", 0, "how often the run goes over all records; 0 is 2")
	flags.IntVar(&o.Samples, "samples", 0, "samples of each record in all rounds; 0 is 6")
	flags.DurationVar(&o.Budget, "budget", 2*time.Second, "time for more samples of each record in all rounds")
	flags.BoolVar(&o.Long, "long", false, "batches, too, of what takes more than 25 s for one item alone")
	flags.DurationVar(&o.Limit, "time-limit", 0, "about how long all may take; what there is no time for is skipped, which the report says; 0 is no limit")
	flags.StringVar(&o.Commit, "commit", "", "commit of the source, where the build does not know it")
	flags.StringVarP(&o.Out, "out", "o", "", "file of results, to begin or to go on with")
	flags.StringArrayVar(&f.adapters, "adapter", nil, "program, or folder of programs, that runs workloads with another library")
	paramsFlag(cmd, &f.params)
	deviceFlag(cmd, &f.device)
	jsonFlag(cmd, &asJSON)
	complete(cmd, "scheme", workloads.Schemes...)
	complete(cmd, "mode", suite.Single, suite.Batch)
	var names []string
	for _, w := range workloads.All {
		names = append(names, w.Name)
	}
	complete(cmd, "workload", names...)
	return cmd
}

// runSuite reads what is to be measured and measures it.
func (u *ui) runSuite(cmd *cobra.Command, f suiteFlags, o suite.Options) (*suite.Results, error) {
	for _, mode := range o.Modes {
		if mode != suite.Single && mode != suite.Batch {
			return nil, &usageError{cmd, &choiceError{"--mode", mode, "single or batch"}}
		}
	}
	for _, n := range o.Threads {
		if n < 1 || n > 1024 {
			return nil, wrongUsage(cmd, "--threads: %d is not a number of threads", n)
		}
	}
	if o.Samples < 0 || o.Samples > 10000 {
		return nil, wrongUsage(cmd, "--samples: %d is outside [0, 10000]", o.Samples)
	}
	if o.Rounds < 0 || o.Rounds > 100 {
		return nil, wrongUsage(cmd, "--rounds: %d is outside [0, 100]", o.Rounds)
	}
	var err error
	if o.Jobs, err = jobsOf(cmd, f); err != nil {
		return nil, err
	}
	if o.Limit < 0 {
		return nil, wrongUsage(cmd, "--time-limit is not negative")
	}
	if all := runtime.GOMAXPROCS(0); len(o.Threads) == 0 && !f.quick && all > 1 {
		o.Threads, o.SmallThreads = []int{all}, []int{1}
	}
	if f.quick && !cmd.Flags().Changed("samples") {
		o.Samples = 4
	}
	if f.quick && !cmd.Flags().Changed("budget") {
		o.Budget = 200 * time.Millisecond
	}
	if o.Backend, _, err = u.openDevice(cmd, f.device, u.warnDevice); err != nil {
		return nil, err
	}
	for _, name := range f.schemes {
		switch name {
		case workloads.TFHE:
			p, err := u.preset(f.params)
			if err != nil {
				return nil, err
			}
			o.Schemes = append(o.Schemes, suite.NewTFHE(p, o.Backend))
		case workloads.BGV:
			o.Schemes = append(o.Schemes, suite.NewLeveled(leveled.BGV))
		case workloads.BFV:
			o.Schemes = append(o.Schemes, suite.NewLeveled(leveled.BFV))
		case workloads.CKKS:
			o.Schemes = append(o.Schemes, suite.NewLeveled(leveled.CKKS))
		default:
			return nil, &usageError{cmd, &choiceError{"--scheme", name, strings.Join(workloads.Schemes, ", ")}}
		}
	}
	bar := u.progress("measuring")
	defer bar.end()
	o.Progress = func(done, total int, what string) {
		bar.status(func(time.Duration) string { return fmt.Sprintf("%d of %d: %s", done+1, total, what) })
	}
	results, err := suite.Run(cmd.Context(), o)
	if err != nil {
		return nil, err
	}
	for _, path := range f.adapters {
		with, err := u.runAdapters(cmd.Context(), path, o)
		if err != nil {
			return nil, err
		}
		if with != nil {
			results = with
		}
	}
	return results, nil
}

// jobsOf are the workloads and sizes that the flags choose.
func jobsOf(cmd *cobra.Command, f suiteFlags) (jobs []suite.Job, err error) {
	for _, pattern := range f.names {
		if _, err := filepath.Match(pattern, ""); err != nil {
			return nil, wrongUsage(cmd, "--workload: %q is not a name or a pattern", pattern)
		}
		if !slices.ContainsFunc(workloads.All, func(w *workloads.Workload) bool { return matches(pattern, w.Name) }) {
			return nil, wrongUsage(cmd, "--workload: there is no %s; 'tacit bench list' lists them", pattern)
		}
	}
	for _, w := range workloads.All {
		named := slices.ContainsFunc(f.names, func(pattern string) bool { return matches(pattern, w.Name) })
		if len(f.names) > 0 && !named || f.quick && w.Slow && !named {
			continue
		}
		sizes := w.Sizes
		if f.quick && len(f.sizes) == 0 {
			sizes = sizes[:1]
		}
		for _, size := range sizes {
			if (len(f.sizes) == 0 || slices.Contains(f.sizes, size)) && (f.largest == 0 || size <= f.largest) {
				jobs = append(jobs, suite.Job{Workload: w, Size: size})
			}
		}
	}
	if len(jobs) == 0 {
		return nil, wrongUsage(cmd, "no workload has such a size; 'tacit bench list' lists them")
	}
	return jobs, nil
}

func matches(pattern, name string) bool {
	ok, err := filepath.Match(pattern, name)
	return ok && err == nil
}

// printReport prints a report without plots.
func (u *ui) printReport(r *suite.Results, published bool) error {
	quoted, err := quotedIf(published)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if err := report.Markdown(&text, r, quoted, nil); err != nil {
		return err
	}
	_, err = u.out.Write(text.Bytes())
	return err
}

func quotedIf(published bool) (*peers.Published, error) {
	if !published {
		return nil, nil
	}
	return peers.Quoted()
}

func benchReportCommand(u *ui) *cobra.Command {
	var format, out string
	var published bool
	cmd := &cobra.Command{
		Use:   "report RESULTS",
		Short: "Make a report, plots or other formats of results",
		Long: `Makes what people and other programs read from a file of 'tacit bench run --out'. It
measures nothing.

  markdown           a report; with --out DIR also plots, and a page on which scheme to take
                     for what: DIR/report.md, DIR/*.svg, DIR/choosing.md
  benchstat          every sample as a line of the Go benchmark format, for benchstat
  fhe-benchmarking   with --out DIR the layout of HomomorphicEncryption.org's submissions:
                     DIR/WORKLOAD-SCHEME/measurements/INSTANCE/results-K.json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			results, err := suite.Load(args[0])
			if err != nil {
				return inFile(args[0], err)
			}
			switch format {
			case "markdown":
				if out == "" {
					return u.printReport(results, published)
				}
				return writeReport(out, results, published)
			case "benchstat":
				var text bytes.Buffer
				if err := report.Benchstat(&text, results); err != nil {
					return err
				}
				if out != "" {
					return keyfile.WritePublic(out, text.Bytes())
				}
				_, err := u.out.Write(text.Bytes())
				return err
			case "fhe-benchmarking":
				if out == "" {
					return wrongUsage(cmd, "--format %s writes into a directory: name one with --out", format)
				}
				return report.Layout(out, results)
			}
			return &usageError{cmd, &choiceError{"--format", format, "markdown, benchstat or fhe-benchmarking"}}
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&format, "format", "markdown", "markdown, benchstat or fhe-benchmarking")
	flags.StringVarP(&out, "out", "o", "", "directory, for benchstat a file, to write instead of printing")
	flags.BoolVar(&published, "published", false, "append figures that other libraries publish to the report")
	complete(cmd, "format", "markdown", "benchstat", "fhe-benchmarking")
	return cmd
}

// writeReport writes a report and its plots into a directory.
func writeReport(dir string, r *suite.Results, published bool) error {
	quoted, err := quotedIf(published)
	if err != nil {
		return err
	}
	files, err := report.Plots(r)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if err := report.Markdown(&text, r, quoted, files); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var choosing bytes.Buffer
	if err := report.Choosing(&choosing, r); err != nil {
		return err
	}
	for _, f := range append(files, report.File{Name: "report.md", Data: text.Bytes()}, report.File{Name: "choosing.md", Data: choosing.Bytes()}) {
		if err := keyfile.WritePublic(filepath.Join(dir, f.Name), f.Data); err != nil {
			return err
		}
	}
	return nil
}

func benchCompareCommand(u *ui) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "compare BEFORE AFTER",
		Short: "Compare two files of results",
		Long: `Compares the records that two files of 'tacit bench run --out' share.

A record is the same in both when the 99 % interval of the ratio of its times has 1 in it. The
interval is as wide as the rounds of a record differ from each other, in both files, drawn to how
those of all records do (a moderated t statistic: Smyth, "Linear Models and Empirical Bayes
Methods", 2004); samples one after the other would make it too narrow (Kalibera and Jones,
"Rigorous Benchmarking in Reasonable Time", ISMM 2013). Where both files have the times of the fixed
work that 'bench run' does next to each record, they are taken out, as medians of the 21 nearest in
time: a slower machine is told apart from slower work.

Of 140 records that did not change, 1.4 are expected outside of their intervals by chance.
The files agree when no more records are than chance exceeds in less than one comparison of a
hundred, which for 140 is 5, if records vary independently of each other.

JSON: before, after, same_machine, machine, counts [verdict: records], expected_by_chance,
most_by_chance, agree, within, rows [record, before [seconds, rounds], after, ratio, machine, low, high,
verdict], only_before, only_after.`,
		Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			var both [2]*suite.Results
			for i, path := range args {
				r, err := suite.Load(path)
				if err != nil {
					return inFile(path, err)
				}
				both[i] = r
			}
			return u.writeReport(report.Compare(both[0], both[1]), asJSON, "")
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}
