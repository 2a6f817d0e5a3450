package suite

import (
	"context"
	"errors"
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/accel/cpu"
	"github.com/tacit-fhe/tacit/bench/workloads"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/leveled"
)

func backend(t testing.TB) accel.Backend {
	t.Helper()
	b, err := cpu.New()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func testTFHE(t testing.TB) Scheme {
	t.Helper()
	p, err := fhe.Preset(fhe.TestPreset)
	if err != nil {
		t.Fatal(err)
	}
	return NewTFHE(p, backend(t))
}

// smallest is every workload at its smallest size.
func smallest() (jobs []Job) {
	for _, w := range workloads.All {
		jobs = append(jobs, Job{w, w.Sizes[0]})
	}
	return jobs
}

// TestEveryWorkloadOnTFHE runs every program at its smallest size: the run itself
// holds the results against the oracles.
func TestEveryWorkloadOnTFHE(t *testing.T) {
	r, err := Run(t.Context(), Options{
		Schemes: []Scheme{testTFHE(t)}, Backend: backend(t), Jobs: smallest(), Modes: []string{Single}, Rounds: 1, Samples: 1, AllowInsecure: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	check(t, r, workloads.TFHE, smallest())
}

// TestVectors runs workloads that small sets have room for on the leveled schemes, in
// batches.
func TestVectors(t *testing.T) {
	for _, s := range []leveled.Scheme{leveled.BGV, leveled.BFV, leveled.CKKS} {
		var jobs []Job
		for _, name := range []string{"votes", "hamming", "retrieval", "vector-mul", "vector-rotate"} {
			jobs = append(jobs, Job{workloads.Get(name), workloads.Get(name).Sizes[0]})
		}
		testVectors(t, NewLeveled(s), jobs)
	}
}

func testVectors(t *testing.T, s Scheme, jobs []Job) {
	t.Helper()
	r, err := Run(t.Context(), Options{Schemes: []Scheme{s}, Backend: backend(t), Jobs: jobs, Modes: []string{Batch}, Samples: 1})
	if err != nil {
		t.Fatal(err)
	}
	check(t, r, s.Name(), jobs)
}

// check expects a record or a reason of every job.
func check(t *testing.T, r *Results, scheme string, jobs []Job) {
	t.Helper()
	for _, j := range jobs {
		w := j.Workload
		records, reasons := 0, 0
		for _, x := range r.Records {
			if x.Workload == w.Name {
				records++
				if x.Trials < x.Items*len(x.Samples().Compute) || x.RequestBytes == 0 || x.ResponseBytes == 0 || x.PlaintextBytes == 0 {
					t.Errorf("%s: %+v", x.Key(), x)
				}
				t.Logf("%s: %.4f s, %.0f bootstraps, %.0f key switches, noise 2^%.1f of 2^%.1f, %.1f bits", x.Key(), x.PerItem().Median, x.Bootstraps, x.KeySwitches, x.NoiseMeasured, x.NoisePredicted, x.Precision)
			}
		}
		for _, a := range r.Absent {
			if a.Workload == w.Name && a.Scheme == scheme {
				reasons++
				if a.Reason == "" {
					t.Errorf("%s is absent on %s without a reason", w.Name, scheme)
				}
			}
		}
		if records+reasons != 1 {
			t.Errorf("%s on %s: %d records, %d reasons", w.Name, scheme, records, reasons)
		}
	}
}

func TestResume(t *testing.T) {
	path := filepath.Join(t.TempDir(), "results.json")
	o := Options{Schemes: []Scheme{testTFHE(t)}, Backend: backend(t), Modes: []string{Single}, Samples: 3, Out: path, AllowInsecure: true}
	o.Jobs = []Job{{workloads.Get("integer-add"), 8}}
	first, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	o.Jobs = append(o.Jobs, Job{workloads.Get("integer-lt"), 8})
	var measured []string
	o.Progress = func(_, _ int, what string) { measured = append(measured, what) }
	second, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(measured) != 2 || len(second.Records) != 2 || len(second.Sets) != 1 {
		t.Errorf("measured %v, %d records, %d sets", measured, len(second.Records), len(second.Sets))
	}
	key := first.Records[0].Key()
	if a, b := first.Find(key), second.Find(key); a.Rounds[0].Seconds.Compute[0] != b.Rounds[0].Seconds.Compute[0] {
		t.Error("the first record was measured again")
	}
	second.Build.Commit = "another"
	if err := second.Save(path); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), o); !errors.As(err, new(*ResumeError)) {
		t.Errorf("results of another commit: %v", err)
	}
}

// TestLimit expects that what there is no time for is in the results, and is measured when there is.
func TestLimit(t *testing.T) {
	o := Options{
		Schemes: []Scheme{testTFHE(t)}, Backend: backend(t), Modes: []string{Single}, Rounds: 1, Samples: 1, AllowInsecure: true,
		Jobs: []Job{{workloads.Get("integer-add"), 8}, {workloads.Get("integer-add"), 16}}, Out: filepath.Join(t.TempDir(), "results.json"), Limit: 1,
	}
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Records) != 0 || len(r.Skipped) != 2 || r.Skipped[1].Size != 16 || r.Skipped[1].Scheme != workloads.TFHE {
		t.Errorf("%d records, skipped %+v", len(r.Records), r.Skipped)
	}
	o.Limit = 0
	if r, err = Run(t.Context(), o); err != nil || len(r.Records) != 2 || len(r.Skipped) != 0 {
		t.Errorf("%d records, skipped %+v, %v", len(r.Records), r.Skipped, err)
	}
}

// TestEstimate expects a power of the size through the last two that are known.
func TestEstimate(t *testing.T) {
	record := func(size int, seconds float64) Record {
		return Record{Workload: "x", Scheme: "s", Mode: Single, Threads: 1, Size: size, Wall: seconds, Rounds: make([]Round, 1)}
	}
	r := &runner{results: &Results{}}
	next := record(8, 0)
	if got := r.estimate(&next); got != 0 {
		t.Errorf("of nothing: %v", got)
	}
	r.results.Records = []Record{record(2, 1), record(16, 1e6)}
	if got := r.estimate(&next); math.Abs(got-8) > 1e-9 {
		t.Errorf("of one size: %v", got)
	}
	four := record(4, 0)
	r.results.Skipped = []Skipped{skipped(&four, OverLimit, 4)}
	if got := r.estimate(&next); math.Abs(got-16) > 1e-9 {
		t.Errorf("of two sizes: %v", got)
	}
}

func TestRefusals(t *testing.T) {
	o := Options{Schemes: []Scheme{testTFHE(t)}, Backend: backend(t), Jobs: []Job{{workloads.Get("integer-add"), 8}}}
	if _, err := Run(t.Context(), o); !errors.As(err, new(*SecurityError)) {
		t.Errorf("a set without security: %v", err)
	}
	// An oracle that is wrong is found by the gate, and nothing is recorded.
	wrong := *workloads.Get("integer-add")
	wrong.Oracle = workloads.Get("integer-sub").Oracle
	o.Jobs, o.AllowInsecure = []Job{{&wrong, 8}}, true
	o.Out = filepath.Join(t.TempDir(), "results.json")
	if _, err := Run(t.Context(), o); !errors.As(err, new(*WrongError)) {
		t.Errorf("a wrong result: %v", err)
	}
	if r, err := Load(o.Out); err == nil && len(r.Records) > 0 {
		t.Error("a wrong result was recorded")
	}
}

func TestParse(t *testing.T) {
	for _, text := range []string{
		``, `{`, `{"schema": 0}`, `{"schema": 3}`, `{"schema": 1, "surplus": 1}`, `{"schema": 2, "surplus": 1}`,
		`{"schema": 1, "records": [{"items": 0, "threads": 1, "trials": 1, "seconds": {"compute": [1]}}]}`,
		`{"schema": 1, "records": [{"items": 1, "threads": 1, "trials": 1, "seconds": {"compute": []}}]}`,
		`{"schema": 1, "records": [{"items": 1, "threads": 1, "trials": 1, "seconds": {"compute": [0]}}]}`,
		`{"schema": 1, "records": [{"items": 1, "threads": 1, "trials": 1, "wrong": 1, "seconds": {"compute": [1]}}]}`,
		`{"schema": 2, "records": [{"items": 1, "threads": 1, "trials": 1, "seconds": {"compute": [1]}}]}`,
		`{"schema": 2, "records": [{"items": 1, "threads": 1, "trials": 1, "rounds": []}]}`,
		`{"schema": 2, "records": [{"items": 1, "threads": 1, "trials": 1, "rounds": [{"seconds": {"compute": []}}]}]}`,
		`{"schema": 2, "records": [{"items": 1, "threads": 1, "trials": 1, "rounds": [{"seconds": {"compute": [1]}, "reference_seconds": [0]}]}]}`,
	} {
		if _, err := Parse([]byte(text)); !errors.As(err, new(*FormError)) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestParseFirst reads results of schema 1, which nothing can be added to.
func TestParseFirst(t *testing.T) {
	r, err := Parse([]byte(`{"schema": 1, "build": {"commit": "c", "go": "go1"}, "records": [
		{"workload": "votes", "items": 2, "threads": 1, "trials": 6, "seconds": {"compute": [4, 2, 6], "load": [1, 1, 1]}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	x := r.Records[0]
	if r.Schema != Schema || r.Build.Commit != "c" || len(x.Rounds) != 1 || len(x.Samples().Load) != 3 || x.PerItem().Median != 2 {
		t.Errorf("%+v", r)
	}
	path := filepath.Join(t.TempDir(), "results.json")
	if err := r.Save(path); err != nil {
		t.Fatal(err)
	}
	if _, err := resume(path, r); !errors.As(err, new(*ResumeError)) {
		t.Errorf("resumed: %v", err)
	}
}

// TestRounds expects that a run goes over all records twice, with keys of their own,
// that a later one adds the rounds that are missing, and that what is dear has one.
func TestRounds(t *testing.T) {
	counted := &counting{Scheme: testTFHE(t)}
	o := Options{
		Schemes: []Scheme{counted}, Backend: backend(t), Samples: 4, Out: filepath.Join(t.TempDir(), "results.json"), AllowInsecure: true,
		Jobs: []Job{{workloads.Get("integer-eq"), 8}, {workloads.Get("integer-eq"), 16}}, Modes: []string{Single}, Rounds: 1, SmallThreads: []int{3},
	}
	var measured []string
	o.Progress = func(_, _ int, what string) { measured = append(measured, what) }
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Records) != 3 || r.Records[2].Threads != 3 || r.Records[2].Size != 8 {
		t.Fatalf("%d records: %v", len(r.Records), measured)
	}
	r.Records[0].Rounds[0].Seconds.Compute = []float64{dear.Seconds() + 1}
	if err := r.Save(o.Out); err != nil {
		t.Fatal(err)
	}
	o.Rounds, measured, counted.keys = 3, nil, 0
	if r, err = Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if want := []string{r.Records[1].Key(), r.Records[2].Key(), r.Records[1].Key(), r.Records[2].Key()}; !slices.Equal(measured, want) {
		t.Errorf("measured %v", measured)
	}
	if counted.keys != 2 {
		t.Errorf("keys were made %d times for two rounds", counted.keys)
	}
	for _, x := range r.Records[1:] {
		if len(x.Rounds) != 3 || len(x.Rounds[0].Seconds.Compute) != 4 || len(x.Rounds[2].Seconds.Compute) != 2 || len(x.Rounds[2].Reference) != 2*referenceTimes {
			t.Errorf("%s: rounds %+v", x.Key(), x.Rounds)
		}
		if x.Trials < len(x.Samples().Compute)+3 {
			t.Errorf("%s: %d trials", x.Key(), x.Trials)
		}
	}
}

// counting counts how often keys are made.
type counting struct {
	Scheme
	keys int
}

func (c *counting) Keys(ctx context.Context, set string) (Keys, error) {
	c.keys++
	return c.Scheme.Keys(ctx, set)
}

// TestLongBatch expects no batch of what takes too long alone, unless it is asked for.
func TestLongBatch(t *testing.T) {
	o := Options{
		Schemes: []Scheme{testTFHE(t)}, Backend: backend(t), Samples: 1, Out: filepath.Join(t.TempDir(), "results.json"), AllowInsecure: true,
		Jobs: []Job{{workloads.Get("integer-eq"), 8}}, Modes: []string{Single},
	}
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	r.Records[0].Rounds[0].Seconds.Compute = []float64{1000}
	r.Records[0].Rounds = r.Records[0].Rounds[:1]
	if err := r.Save(o.Out); err != nil {
		t.Fatal(err)
	}
	o.Modes = []string{Single, Batch}
	if r, err = Run(t.Context(), o); err != nil || len(r.Records) != 1 || len(r.Skipped) != 1 || r.Skipped[0].Why != LongBatch || r.Skipped[0].Estimate != 1000 {
		t.Fatalf("%d records, skipped %+v, %v", len(r.Records), r.Skipped, err)
	}
	o.Long = true
	if r, err = Run(t.Context(), o); err != nil || len(r.Records) != 2 || len(r.Skipped) != 0 || len(r.Records[1].Rounds) != 2 {
		t.Errorf("%d records, skipped %+v, %v", len(r.Records), r.Skipped, err)
	}
}

// TestMore tells when a round is over.
func TestMore(t *testing.T) {
	o := Options{Rounds: 2, Samples: 6, Budget: 2 * time.Second}
	for _, c := range []struct {
		n    int
		took time.Duration
		want bool
	}{
		{0, time.Hour, true}, {1, 4 * time.Second, true}, {1, 5 * time.Second, false},
		{3, 999 * time.Millisecond, true}, {3, time.Second, false}, {60, 0, false},
	} {
		if got := o.more(c.n, c.took); got != c.want {
			t.Errorf("after %d samples in %v: %v", c.n, c.took, got)
		}
	}
}

func TestSummarise(t *testing.T) {
	var hundred []float64
	for i := range 100 {
		hundred = append(hundred, float64(100-i))
	}
	for _, c := range []struct {
		samples []float64
		want    Summary
	}{
		{[]float64{3}, Summary{1, 3, 3, 3, 3}},
		{[]float64{4, 1}, Summary{2, 1, 2.5, 4, 4}},
		{hundred, Summary{100, 1, 50.5, 95, 100}},
	} {
		if got := Summarise(c.samples); got != c.want {
			t.Errorf("%d samples: %+v, want %+v", len(c.samples), got, c.want)
		}
	}
}

// TestServersHoldNoSecret walks everything that a server refers to.
func TestServersHoldNoSecret(t *testing.T) {
	for _, c := range []struct {
		scheme Scheme
		set    string
	}{{testTFHE(t), ""}, {NewLeveled(leveled.BFV), "bfv-13"}} {
		keys, err := c.scheme.Keys(t.Context(), c.set)
		if err != nil {
			t.Fatal(err)
		}
		server, err := keys.Server(1)
		if err != nil {
			t.Fatal(err)
		}
		secrets := []reflect.Type{reflect.TypeFor[fhe.SecretKey](), reflect.TypeFor[leveled.SecretKey](), reflect.TypeFor[tfheKeys](), reflect.TypeFor[vectorKeys]()}
		if found := reach(reflect.ValueOf(server), secrets); found != "" {
			t.Errorf("the server of %s reaches a %s", c.scheme.Name(), found)
		}
		if found := reach(reflect.ValueOf(keys), secrets[:2]); found == "" {
			t.Errorf("the walk does not find the secret key of the client of %s", c.scheme.Name())
		}
		server.Close()
	}
}

// reach returns the first of the types that a value leads to.
func reach(v reflect.Value, types []reflect.Type) string {
	seen := map[uintptr]bool{}
	var walk func(v reflect.Value) string
	walk = func(v reflect.Value) string {
		if !v.IsValid() {
			return ""
		}
		if slices.Contains(types, v.Type()) {
			return v.Type().String()
		}
		switch v.Kind() {
		case reflect.Pointer:
			if v.IsNil() || seen[v.Pointer()] {
				return ""
			}
			seen[v.Pointer()] = true
			return walk(v.Elem())
		case reflect.Interface:
			return walk(v.Elem())
		case reflect.Struct:
			for i := range v.NumField() {
				if found := walk(v.Field(i)); found != "" {
					return found
				}
			}
		case reflect.Slice, reflect.Array:
			if k := v.Type().Elem().Kind(); k != reflect.Pointer && k != reflect.Interface && k != reflect.Struct && k != reflect.Slice && k != reflect.Map {
				return ""
			}
			for i := range v.Len() {
				if found := walk(v.Index(i)); found != "" {
					return found
				}
			}
		case reflect.Map:
			for i := v.MapRange(); i.Next(); {
				if found := walk(i.Value()); found != "" {
					return found
				}
			}
		}
		return ""
	}
	return walk(v)
}
