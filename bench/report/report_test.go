package report

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tacit-fhe/tacit/bench/peers"
	"github.com/tacit-fhe/tacit/bench/setting"
	"github.com/tacit-fhe/tacit/bench/suite"
	"github.com/tacit-fhe/tacit/bench/workloads"
)

// sample is a file of results, with figures that were made up.
func sample() *suite.Results {
	record := func(workload string, size int, unit, scheme, mode string, items int, compute ...float64) suite.Record {
		return suite.Record{
			Workload: workload, Size: size, Unit: unit, Scheme: scheme, Set: scheme + "-set", Mode: mode, Threads: 2, Items: items,
			Rounds:       []suite.Round{{Seconds: suite.Stages{Encrypt: compute, Load: compute, Compute: compute, Store: compute, Decrypt: compute}}},
			RequestBytes: 2000, ResponseBytes: 1000, PlaintextBytes: 4, Trials: items * len(compute),
		}
	}
	return &suite.Results{
		Schema:  suite.Schema,
		Machine: suite.Machine{CPU: setting.CPU{Model: "A processor", Arch: "amd64", Backend: "go"}, Cores: 2, OS: "linux", GPU: "none"},
		Build:   suite.Build{Commit: "abc", Go: "go1.26"}, Started: time.Unix(0, 0).UTC(),
		Sets: []suite.Set{{Scheme: "tfhe", Name: "tfhe-set", Security: 132, Assumption: "132 bits", Failure: -128, KeygenSeconds: []float64{0.5}, EvaluationBytes: 115 << 20}},
		Records: []suite.Record{
			record("integer-add", 16, "bits", "tfhe", suite.Batch, 4, 0.08, 0.12, 0.1),
			record("integer-add", 8, "bits", "tfhe", suite.Batch, 4, 0.04, 0.06, 0.05),
			record("transfer", 64, "bits", "tfhe", suite.Single, 1, 2, 3, 2.5),
			record("votes", 16, "ballots", "bgv", suite.Single, 1, 0.02),
		},
		Absent: []suite.Absent{{Workload: "transfer", Scheme: "bgv", Reason: "a reason"}},
		Skipped: []suite.Skipped{
			{Workload: "transfer", Size: 128, Scheme: "tfhe", Mode: suite.Single, Threads: 2, Estimate: 100},
			{Workload: "votes", Size: 16, Scheme: "bgv", Mode: suite.Batch, Threads: 2},
		},
	}
}

// computed is one round for each number of seconds.
func computed(seconds ...float64) (all []suite.Round) {
	for _, s := range seconds {
		all = append(all, suite.Round{Seconds: suite.Stages{Compute: []float64{s}}})
	}
	return all
}

func TestMarkdown(t *testing.T) {
	quoted, err := peers.Quoted()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := Markdown(&text, sample(), quoted, []File{{Name: "one-item.svg"}}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"A processor (amd64, go), 2 cores", "Commit abc, go1.26",
		"| transfer | 64 bits | 2.5 s |  |  |  |",
		"| integer-add | 8 bits |  | 12.5 ms |  |  |\n| integer-add | 16 bits |  | 25 ms |  |  |",
		"| votes | 16 ballots |  |  | 20 ms |  |",
		"| transfer | bgv | a reason |",
		"| transfer | 128 bits | tfhe | over the time limit |",
		"| votes | 16 ballots | bgv | over the time limit: batch, 2 threads |",
		"| votes | 16, 64, 256 ballots | tfhe, bfv, ckks | not asked for |",
		"| bgv | votes |  |  |",
		"![one-item](one-item.svg)",
		"| tfhe | tfhe-set |  | 132 bits | 2^-128 | 500 ms | 121 MB |",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is missing from\n%s", want, text.String())
		}
	}
	// Another library is in a table of its own, next to what it can be held against.
	r := sample()
	other := r.Records[3]
	other.Scheme, other.Set, other.Threads, other.Rounds = "seal-wasm-bgv", "n4096", 1, computed(0.05)
	alone := other
	alone.Workload = "hamming"
	r.Records = append(r.Records, other, alone)
	r.Sets = append(r.Sets, suite.Set{Scheme: "seal-wasm-bgv", Name: "n4096", Library: "seal-wasm 4.1.2", Build: "WebAssembly", KeygenSeconds: []float64{1}})
	var with strings.Builder
	if err := Markdown(&with, r, nil, nil); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"- seal-wasm 4.1.2: WebAssembly\n",
		"| votes | 16 ballots | single | seal-wasm-bgv | n4096 | 1 | 50 ms | bgv-set | 2 | 20 ms | 2.50 |",
		"| hamming | 16 ballots | single | seal-wasm-bgv | n4096 | 1 | 50 ms |  |  |  |  |",
		"| votes | 16 ballots | seal-wasm-bgv | n4096 | 1 | 1 | 50 ms |  | 1 | 50 ms | 50 ms | 1 | 20 | 2 kB | 500 | 1 kB |  |  |", // it counts no key switches
	} {
		if !strings.Contains(with.String(), want) {
			t.Errorf("%q is missing from\n%s", want, with.String())
		}
	}
	if overview, _, _ := strings.Cut(with.String(), "## Other libraries"); strings.Contains(overview, "seal-wasm") || strings.Contains(text.String(), "Other libraries") {
		t.Error("another library is in the overview, or a table of none is there")
	}
	// What others publish comes after all that was measured.
	measured, published, _ := strings.Cut(text.String(), "## Published figures")
	if strings.Contains(measured, "tfhe-rs") || !strings.Contains(published, "| tfhe-rs | 1.7 | add, sub, 64 bits, encrypted operands, latency | 8 x NVIDIA H100 | 9.52 ms |") {
		t.Error("published figures are not apart")
	}
}

func TestText(t *testing.T) {
	r := sample()
	rival := r.Records[3]
	rival.Scheme, rival.Rounds = "bfv", computed(0.01)
	r.Records = append(r.Records, rival)
	var text strings.Builder
	if err := Text(&text, r); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"A processor, 2 cores, GPU: none. 29 results were decrypted",
		"\ntransfer     64 bits     2.5 s ",
		"\nvotes        16 ballots                  20 ms        10 ms*",
		"\ntfhe    tfhe-set  132 bits  500 ms        121 MB",
		"2 records were skipped",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is missing from\n%s", want, text.String())
		}
	}
}

// TestResults holds the reports in bench/results against the results that they are made from.
func TestResults(t *testing.T) {
	const dir = "../results/suite"
	r, err := suite.Load(filepath.Join(dir, "results.json"))
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := Choosing(&text, r); err != nil {
		t.Fatal(err)
	}
	have, err := os.ReadFile(filepath.Join(dir, "choosing.md"))
	if err != nil || string(have) != text.String() {
		t.Errorf("choosing.md is not what 'tacit bench report results.json --out DIR' makes of results.json: %v", err)
	}
	for _, x := range r.Records {
		checkMetrics(t, &x)
	}
}

// checkMetrics expects every metric of a record that its scheme has.
func checkMetrics(t *testing.T, x *suite.Record) {
	t.Helper()
	w := workloads.Get(x.Workload)
	if w == nil || !slices.Contains(workloads.Schemes, x.Scheme) {
		return // another library's
	}
	samples := x.Samples()
	stages := [][]float64{samples.Encrypt, samples.Load, samples.Compute, samples.Store, samples.Decrypt}
	for _, s := range stages {
		if len(s) != len(samples.Compute) {
			t.Errorf("%s: a stage has %d samples, computing has %d", x.Key(), len(s), len(samples.Compute))
		}
	}
	for what, missing := range map[string]bool{
		"bytes":                     x.RequestBytes == 0 || x.ResponseBytes == 0 || x.PlaintextBytes == 0,
		"peak memory":               x.PeakBytes == 0,
		"trials":                    x.Trials < x.Items*len(samples.Compute),
		"noise":                     x.NoisePredicted == 0 || x.NoiseMeasured == 0,
		"a failure probability":     x.Bootstraps > 0 && x.Scheme == workloads.TFHE && x.Failure >= 0,
		"precision":                 x.Scheme == workloads.CKKS && x.Precision <= 0,
		"the accuracy of the model": w.Model != nil && x.Accuracy == nil,
	} {
		if missing {
			t.Errorf("%s has no %s", x.Key(), what)
		}
	}
}

func TestPlots(t *testing.T) {
	files, err := Plots(sample())
	if err != nil {
		t.Fatal(err)
	}
	again, err := Plots(sample())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for i, f := range files {
		names = append(names, f.Name)
		if !bytes.Contains(f.Data, []byte("</svg>")) || !bytes.Equal(f.Data, again[i].Data) {
			t.Errorf("%s is no SVG, or not the same twice", f.Name)
		}
	}
	if got := strings.Join(names, " "); got != "one-item.svg batch.svg integers.svg" {
		t.Errorf("plots %s", got)
	}
	if files, err := Plots(&suite.Results{}); err != nil || len(files) != 0 {
		t.Errorf("without records: %v, %v", files, err)
	}
}

func TestBenchstat(t *testing.T) {
	var text strings.Builder
	if err := Benchstat(&text, sample()); err != nil {
		t.Fatal(err)
	}
	if want := "BenchmarkTransfer/size=64/scheme=tfhe/set=tfhe-set/mode=single-2\t1\t2000000000 ns/op\t2000 request-B/op\t0 bootstraps/op\n"; !strings.Contains(text.String(), want) {
		t.Errorf("%q is missing from\n%s", want, text.String())
	}
}

func TestLayout(t *testing.T) {
	dir := t.TempDir()
	if err := Layout(dir, sample()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "transfer-tfhe", "measurements", "toy-2-threads", "results-2.json"))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]map[string]string
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct{ section, key, value string }{
		{"Timing", "Encrypted computation", "3.0000s"}, {"Timing", "Total", "15.5000s"},
		{"Bandwidth", "Public and evaluation keys", "115.0M"}, {"Bandwidth", "Encrypted query", "2.0K"},
	} {
		if got[want.section][want.key] != want.value {
			t.Errorf("%s, %s: %q, want %q", want.section, want.key, got[want.section][want.key], want.value)
		}
	}
	if err := Layout(dir, sample()); err == nil {
		t.Error("files were overwritten")
	}
}

// vary is n records of two rounds each, with times that vary by so much from one to the
// next, and fixed work that takes so long.
func vary(n int, seed uint64, deviation, factor, pace float64) *suite.Results {
	r, random := sample(), rand.New(rand.NewPCG(seed, 1))
	like := r.Records[0]
	r.Records = nil
	for i := range n {
		x := like
		x.Size, x.Rounds = i, computed(0, 0)
		for k := range x.Rounds {
			x.Rounds[k].Seconds.Compute[0] = 0.1 * factor * pace * math.Exp(deviation*random.NormFloat64())
			x.Rounds[k].Reference = []float64{0.01 * pace}
		}
		r.Records = append(r.Records, x)
	}
	return r
}

// TestFalseAlarms expects differences between runs of the same as often as the level
// says, and that a difference of twice the interval is found.
func TestFalseAlarms(t *testing.T) {
	const records, runs = 140, 40
	total, apart := 0, 0
	for i := range runs {
		c := Compare(vary(records, uint64(2*i), 0.02, 1, 1), vary(records, uint64(2*i+1), 0.02, 1, 1))
		total += c.Counts[Faster] + c.Counts[Slower]
		if !c.Agree {
			apart++
		}
		if c.Counts[Same]+c.Counts[Faster]+c.Counts[Slower] != records || math.Abs(c.Expected-1.4) > 1e-9 {
			t.Fatalf("%v, expected %v", c.Counts, c.Expected)
		}
	}
	// 56 are expected, with a standard deviation of 7.5.
	if total < 25 || total > 90 {
		t.Errorf("%d of %d records differ by chance", total, records*runs)
	}
	if apart > 3 {
		t.Errorf("%d of %d pairs of runs differ", apart, runs)
	}
	if c := Compare(vary(records, 1, 0.02, 1, 1), vary(records, 2, 0.02, 1.1, 1)); c.Counts[Slower] < records*9/10 || c.Agree {
		t.Errorf("a tenth more: %v", c.Counts)
	}
}

// TestPace expects that a slower machine is told apart from slower work.
func TestPace(t *testing.T) {
	c := Compare(vary(50, 1, 0.02, 1, 1), vary(50, 2, 0.02, 1, 1.3))
	if !c.Agree || math.Abs(c.Machine-1.3) > 1e-9 || math.Abs(c.Rows[0].Ratio-1.3) > 0.2 {
		t.Errorf("%v, the machine %v", c.Counts, c.Machine)
	}
	var text strings.Builder
	if err := c.Markdown(&text); err != nil || !strings.Contains(text.String(), "took 30.0 % more after") || !strings.Contains(text.String(), "They agree: of 50 records") {
		t.Errorf("%v\n%s", err, text.String())
	}
	// Where one file does not say, times are compared as they are.
	silent := vary(50, 2, 0.02, 1, 1.3)
	for _, x := range silent.Records {
		x.Rounds[0].Reference = nil
	}
	c = Compare(vary(50, 1, 0.02, 1, 1), silent)
	if c.Machine != 0 || c.Rows[0].Machine != 0 || c.Counts[Slower] < 45 {
		t.Errorf("without fixed work: %v, %v", c.Machine, c.Counts)
	}
}

// TestCompare expects rows of what both files have, and no verdict without rounds.
func TestCompare(t *testing.T) {
	before, after := sample(), sample()
	after.Records[3].Size = 64
	c := Compare(before, after)
	if len(c.Rows) != 3 || len(c.OnlyBefore) != 1 || len(c.OnlyAfter) != 1 || !c.SameMachine || c.Agree || c.Counts[Unknown] != 3 {
		t.Errorf("%+v", c)
	}
	after.Machine.Cores = 4
	var text strings.Builder
	if err := Compare(before, after).Markdown(&text); err != nil || !strings.Contains(text.String(), "The machines differ") ||
		!strings.Contains(text.String(), "Of 3 records that they share, nothing is known of how the times of 3 vary") ||
		!strings.Contains(text.String(), "| integer-add/16/tfhe/tfhe-set/batch/2 | 25 ms (one round) | 25 ms (one round) | 1.000 |  |  | unknown |") {
		t.Errorf("%v\n%s", err, text.String())
	}
	// A record of one round gets the interval of the others, and a wider one.
	one := vary(50, 1, 0.02, 1, 1)
	one.Records[0].Rounds = one.Records[0].Rounds[:1]
	c = Compare(one, vary(50, 2, 0.02, 1, 1))
	if wide, other := c.Rows[0].High/c.Rows[0].Low, c.Rows[1].High/c.Rows[1].Low; c.Counts[Unknown] != 0 || wide <= other {
		t.Errorf("one round: %+v, two: %+v", c.Rows[0], c.Rows[1])
	}
}

// TestPrior holds the prior against what made the variances.
func TestPrior(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	chi := func(freedom int) (sum float64) {
		for range freedom {
			x := random.NormFloat64()
			sum += x * x
		}
		return sum
	}
	var all, equal []variance
	for range 20000 {
		s := 0.01 * 6 / chi(6) // scaled inverse chi-squared: variance 0.01, 6 degrees of freedom
		all = append(all, variance{s * chi(2) / 2, 2})
		equal = append(equal, variance{0.01 * chi(2) / 2, 2})
	}
	if p := priorOf(all); math.Abs(p.square-0.01) > 0.0005 || math.Abs(p.freedom-6) > 0.6 {
		t.Errorf("prior %+v", p)
	}
	if p := priorOf(equal); math.Abs(p.square-0.01) > 0.0005 || p.freedom < 50 {
		t.Errorf("prior of equal ones %+v", p)
	}
	if p := priorOf(all[:leastVariances-1]); p.freedom != 0 {
		t.Errorf("prior of few %+v", p)
	}
	for _, c := range []struct {
		v    variance
		want float64
	}{
		{variance{1, 1}, 63.657}, {variance{4, 10}, 2 * 3.1693}, {variance{1, math.Inf(1)}, 2.5758}, {variance{}, math.Inf(1)},
	} {
		if got := c.v.half(1); !(math.Abs(got-c.want) < 1e-3) && got != c.want {
			t.Errorf("half the interval of %+v is %v, want %v", c.v, got, c.want)
		}
	}
	if got := []int{byChance(1), byChance(140)}; got[0] != 1 || got[1] != 5 {
		t.Errorf("by chance %v", got)
	}
}
