package suite

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/bench/setting"
	"github.com/tacit-fhe/tacit/bench/workloads"
)

// Schema is the version of the results' form. Parse also reads schema 1, which had the
// samples of a record in one round and nothing of the machine's pace.
const Schema = 2

// Results is a file of results: everything that reports, plots and comparisons are
// made from.
type Results struct {
	Schema  int       `json:"schema"`
	Machine Machine   `json:"machine"`
	Build   Build     `json:"build"`
	Started time.Time `json:"started"`
	Sets    []Set     `json:"sets"`
	Records []Record  `json:"records"`
	Absent  []Absent  `json:"absent"`
	Skipped []Skipped `json:"skipped,omitempty"`
}

// Machine is what computed.
type Machine struct {
	CPU         setting.CPU `json:"cpu"`
	Cores       int         `json:"cores"` // that the process may use
	MemoryBytes int64       `json:"memory_bytes,omitempty"`
	OS          string      `json:"os"`
	GPU         string      `json:"gpu"` // "none" where none is used
}

// Build is what was run.
type Build struct {
	Commit   string `json:"commit"` // of the source, "unknown" where the build does not say
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
}

// Set is a parameter set, and its keys as they were made for the run.
type Set struct {
	Scheme      string  `json:"scheme"`
	Name        string  `json:"name"`
	Library     string  `json:"library"`
	Build       string  `json:"build,omitempty"` // of another library: what its times are those of
	Security    float64 `json:"security_bits"`   // of the weakest key, sparse and switching keys included
	Assumption  string  `json:"assumption"`
	Failure     float64 `json:"failure_log2,omitempty"` // log2 of the failure probability claimed for a bootstrap
	Description any     `json:"description"`            // of the scheme's own form

	KeygenSeconds   []float64 `json:"keygen_seconds"`
	EvaluationBytes int64     `json:"evaluation_key_bytes"`        // on the wire
	MemoryBytes     int64     `json:"evaluation_key_memory_bytes"` // expanded
	PublicBytes     int64     `json:"public_key_bytes"`
}

// The modes of a record.
const (
	Single = "single" // one item at a time
	Batch  = "batch"  // as many items together as the scheme likes
)

// Record is one workload, of one size, on one set, in one mode.
type Record struct {
	Workload string `json:"workload"`
	Size     int    `json:"size"`
	Unit     string `json:"unit"`
	Scheme   string `json:"scheme"`
	Set      string `json:"set"`
	Mode     string `json:"mode"`
	Threads  int    `json:"threads"`
	Items    int    `json:"items"` // of one sample

	Rounds []Round `json:"rounds"`

	RequestBytes   int64   `json:"request_bytes"`   // ciphertexts of a sample
	ResponseBytes  int64   `json:"response_bytes"`  // on the wire
	PlaintextBytes float64 `json:"plaintext_bytes"` // of the request
	PeakBytes      int64   `json:"peak_rss_bytes,omitempty"`

	Bootstraps  float64 `json:"bootstraps"`   // of an item
	KeySwitches float64 `json:"key_switches"` // of an item, without those inside of a CKKS bootstrap

	// Noise of the noisiest ciphertext of a result, as log2 of its standard deviation, in the scheme's own
	// unit, and what was predicted of it.
	NoisePredicted float64 `json:"noise_predicted_log2,omitempty"`
	NoiseMeasured  float64 `json:"noise_measured_log2,omitempty"`
	Precision      float64 `json:"precision_bits,omitempty"` // of the worst value, where results are approximate

	Accuracy *workloads.Accuracy `json:"accuracy,omitempty"` // of the model that is computed

	Wall    float64 `json:"wall_seconds,omitempty"` // that the record took to measure, the gate included
	Trials  int     `json:"trials"`                 // items that were decrypted and held against the oracle
	Wrong   int     `json:"wrong"`                  // of them; a record with a wrong one is not written
	Failure float64 `json:"failure_log2,omitempty"` // log2 of the probability that an item fails, as claimed
}

// Round is one of the times that a record was measured at, apart from each other and
// with keys and servers of their own.
type Round struct {
	Began time.Time `json:"began,omitzero"`
	// Samples, in seconds for all items of a sample. Compute is the server's work on
	// ciphertexts that are in memory.
	Seconds Stages `json:"seconds"`
	// Reference is how many seconds fixed work took before and after the samples, on
	// as many threads. It is empty where nothing is known of it.
	Reference []float64 `json:"reference_seconds,omitempty"`
}

// Stages are samples by stage, in seconds.
type Stages struct {
	Encrypt []float64 `json:"encrypt"`
	Load    []float64 `json:"load"` // the server reads the request
	Compute []float64 `json:"compute"`
	Store   []float64 `json:"store"` // the server writes the response
	Decrypt []float64 `json:"decrypt"`
}

// The reasons of a Skipped.
const (
	// OverLimit: there was no time.
	OverLimit = "time limit"
	// LongBatch: one item alone keeps all threads busy for longer than dear.
	LongBatch = "long batch"
)

// Skipped is a record that was asked for and that was not measured.
type Skipped struct {
	Workload string `json:"workload"`
	Size     int    `json:"size"`
	Scheme   string `json:"scheme"`
	Mode     string `json:"mode"`
	Threads  int    `json:"threads"`
	Why      string `json:"why,omitempty"` // OverLimit if empty
	// Estimate is how many seconds it would have taken, 0 where the time was over.
	Estimate float64 `json:"estimate_seconds,omitempty"`
}

// Absent is a workload that a scheme has no program for.
type Absent struct {
	Workload string `json:"workload"`
	Scheme   string `json:"scheme"`
	Reason   string `json:"reason"`
}

// Key identifies a record in its file.
func (r *Record) Key() string {
	return fmt.Sprintf("%s/%d/%s/%s/%s/%d", r.Workload, r.Size, r.Scheme, r.Set, r.Mode, r.Threads)
}

// Find returns the record with a key, or nil.
func (r *Results) Find(key string) *Record {
	if i := slices.IndexFunc(r.Records, func(x Record) bool { return x.Key() == key }); i >= 0 {
		return &r.Records[i]
	}
	return nil
}

// Summary is the distribution of samples.
type Summary struct {
	N                     int
	Min, Median, P95, Max float64
}

// Summarise returns the distribution of at least one sample. P95 is the least sample
// that 95 % of them do not exceed.
func Summarise(samples []float64) Summary {
	s := slices.Sorted(slices.Values(samples))
	n := len(s)
	if n == 0 {
		return Summary{}
	}
	return Summary{n, s[0], (s[(n-1)/2] + s[n/2]) / 2, s[(95*n+99)/100-1], s[n-1]}
}

// Samples are those of all rounds.
func (r *Record) Samples() (all Stages) {
	for _, x := range r.Rounds {
		all.Encrypt = append(all.Encrypt, x.Seconds.Encrypt...)
		all.Load = append(all.Load, x.Seconds.Load...)
		all.Compute = append(all.Compute, x.Seconds.Compute...)
		all.Store = append(all.Store, x.Seconds.Store...)
		all.Decrypt = append(all.Decrypt, x.Seconds.Decrypt...)
	}
	return all
}

// PerItem is the distribution of the computing time of an item, of all rounds.
func (r *Record) PerItem() Summary {
	s := Summarise(r.Samples().Compute)
	n := float64(r.Items)
	return Summary{s.N, s.Min / n, s.Median / n, s.P95 / n, s.Max / n}
}

// FormError refuses a file that is not one of results.
type FormError struct{ Reason string }

func (e *FormError) Error() string { return "not a file of results: " + e.Reason }

// maxFile bounds the size of a file of results.
const maxFile = 64 << 20

// Load reads a file of results. The error is a *FormError or of the file system.
func Load(path string) (*Results, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, &FormError{fmt.Sprintf("%d bytes are more than %d", info.Size(), maxFile)}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(data)
}

// Parse is Load of bytes.
func Parse(data []byte) (*Results, error) {
	var version struct {
		Schema int `json:"schema"`
	}
	if err := json.Unmarshal(data, &version); err != nil {
		return nil, &FormError{err.Error()}
	}
	r, err := new(Results), error(nil)
	switch version.Schema {
	case Schema:
		err = decode(data, r)
	case 1:
		r, err = parseFirst(data)
	default:
		return nil, &FormError{fmt.Sprintf("its schema is %d, this program reads 1 to %d", version.Schema, Schema)}
	}
	if err != nil {
		return nil, &FormError{err.Error()}
	}
	seen := map[string]bool{}
	for i := range r.Records {
		x := &r.Records[i]
		place := fmt.Sprintf("records[%d]", i)
		switch {
		case x.Items < 1 || x.Threads < 1 || x.Trials < 1:
			return nil, &FormError{place + ": items, threads and trials are at least 1"}
		case x.Wrong != 0:
			return nil, &FormError{place + ": wrong results are not measured"}
		case len(x.Rounds) == 0:
			return nil, &FormError{place + ": a record has one round at least"}
		case seen[x.Key()]:
			return nil, &FormError{place + ": " + x.Key() + " is there twice"}
		}
		seen[x.Key()] = true
		bad := func(s float64) bool { return !(s > 0) }
		for _, round := range x.Rounds {
			if len(round.Seconds.Compute) == 0 || slices.ContainsFunc(round.Seconds.Compute, bad) || slices.ContainsFunc(round.Reference, bad) {
				return nil, &FormError{place + ".rounds: times are positive, and each round has one of computing at least"}
			}
		}
	}
	return r, nil
}

// decode refuses what the form does not have.
func decode(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	return d.Decode(v)
}

// parseFirst reads schema 1, whose records are of one round.
func parseFirst(data []byte) (*Results, error) {
	type record struct {
		Record
		Seconds Stages `json:"seconds"`
	}
	var first struct {
		Results
		Records []record `json:"records"`
	}
	if err := decode(data, &first); err != nil {
		return nil, err
	}
	r := &first.Results
	r.Schema = Schema
	for _, x := range first.Records {
		x.Rounds = []Round{{Seconds: x.Seconds}}
		r.Records = append(r.Records, x.Record)
	}
	return r, nil
}

// Save writes the file, so that it is there as a whole or as it was before.
func (r *Results) Save(path string) error {
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	next := path + ".tmp"
	if err := os.WriteFile(next, append(data, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(next, path)
}

// describe returns results without records, for this machine and program.
func (o *Options) describe() *Results {
	r := &Results{
		Schema:  Schema,
		Machine: Machine{CPU: setting.OfCPU(o.Backend), Cores: runtime.GOMAXPROCS(0), MemoryBytes: setting.TotalMemory(), OS: runtime.GOOS, GPU: gpu(o.Backend)},
		Build:   Build{Commit: "unknown", Go: runtime.Version()},
		Started: time.Now().UTC().Truncate(time.Second),
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				r.Build.Commit = s.Value
			case "vcs.modified":
				r.Build.Modified = s.Value == "true"
			}
		}
	}
	if r.Build.Commit == "unknown" && o.Commit != "" {
		r.Build.Commit = o.Commit
	}
	return r
}

// gpu names the devices of a backend that has some.
func gpu(backend accel.Backend) string {
	if info := backend.Info(); info.Name == "cuda" {
		return strings.Join(info.Features, ", ")
	}
	return "none"
}

// ResumeError refuses to add to results of another program or machine.
type ResumeError struct{ What, Have, Want string }

func (e *ResumeError) Error() string {
	return fmt.Sprintf("the file holds results of another %s (%s, this is %s)", e.What, e.Have, e.Want)
}

// Hint says what can be done about it.
func (e *ResumeError) Hint() string { return "choose another file with --out" }

// resume returns the results in a file, to be added to, or new ones if there is none.
func resume(path string, now *Results) (*Results, error) {
	before, err := Load(path)
	if errors.Is(err, fs.ErrNotExist) || path == "" {
		return now, nil
	}
	if err != nil {
		return nil, err
	}
	a, b := before.Machine, now.Machine
	if slices.ContainsFunc(before.Records, func(x Record) bool { return x.Rounds[0].Began.IsZero() }) {
		return nil, &ResumeError{"schema", "1", fmt.Sprint(Schema)}
	}
	switch {
	case before.Build != now.Build:
		return nil, &ResumeError{"build", fmt.Sprint(before.Build), fmt.Sprint(now.Build)}
	case a.CPU.Model != b.CPU.Model || a.CPU.Backend != b.CPU.Backend || a.Cores != b.Cores || a.GPU != b.GPU:
		return nil, &ResumeError{"machine", fmt.Sprintf("%s, %d cores", a.CPU.Model, a.Cores), fmt.Sprintf("%s, %d cores", b.CPU.Model, b.Cores)}
	}
	return before, nil
}
