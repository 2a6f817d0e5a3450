package report

import (
	"bytes"
	"encoding/json"
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
			Seconds:      suite.Stages{Encrypt: compute, Load: compute, Compute: compute, Store: compute, Decrypt: compute},
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
	other.Scheme, other.Set, other.Threads, other.Seconds.Compute = "seal-wasm-bgv", "n4096", 1, []float64{0.05}
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
	rival.Scheme, rival.Seconds.Compute = "bfv", []float64{0.01}
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
	stages := [][]float64{x.Seconds.Encrypt, x.Seconds.Load, x.Seconds.Compute, x.Seconds.Store, x.Seconds.Decrypt}
	for _, s := range stages {
		if len(s) != len(x.Seconds.Compute) {
			t.Errorf("%s: a stage has %d samples, computing has %d", x.Key(), len(s), len(x.Seconds.Compute))
		}
	}
	for what, missing := range map[string]bool{
		"bytes":                     x.RequestBytes == 0 || x.ResponseBytes == 0 || x.PlaintextBytes == 0,
		"peak memory":               x.PeakBytes == 0,
		"trials":                    x.Trials < x.Items*len(x.Seconds.Compute),
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

func TestCompare(t *testing.T) {
	before, after := sample(), sample()
	after.Records[0].Seconds.Compute = []float64{0.02, 0.03}
	after.Records[1].Seconds.Compute = []float64{0.05, 0.07}
	after.Records[2].Seconds.Compute = []float64{4, 5}
	after.Records[3].Size = 64
	c := Compare(before, after)
	verdicts := map[string]string{}
	for _, d := range c.Rows {
		verdicts[strings.SplitN(d.Record, "/tfhe", 2)[0]] = d.Verdict
	}
	for record, want := range map[string]string{"integer-add/16": Faster, "integer-add/8": Same, "transfer/64": Slower} {
		if verdicts[record] != want {
			t.Errorf("%s: %s, want %s", record, verdicts[record], want)
		}
	}
	if len(c.OnlyBefore) != 1 || len(c.OnlyAfter) != 1 || !c.SameMachine {
		t.Errorf("%+v", c)
	}
	after.Machine.Cores = 4
	var text strings.Builder
	if err := Compare(before, after).Markdown(&text); err != nil || !strings.Contains(text.String(), "The machines differ") ||
		!strings.Contains(text.String(), "of 3 records that they share, 1 agree within their spreads, 1 are faster after, 1 slower") {
		t.Errorf("%v\n%s", err, text.String())
	}
	text.Reset()
	if c := Compare(before, before); !c.Agree || c.Markdown(&text) != nil || !strings.Contains(text.String(), "They agree: the spreads of all 4 records") {
		t.Errorf("the same twice: %+v\n%s", c, text.String())
	}
}
