package peers

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os/exec"
	"regexp"
	"sync"
	"time"
)

// Protocol is the version of the adapter protocol, which README.md describes: one
// JSON object a line, a request on the adapter's standard input and its answer on
// its standard output.
const Protocol = 1

// Description is what an adapter says of itself.
type Description struct {
	Protocol int             `json:"protocol"`
	Library  string          `json:"library"`
	Version  string          `json:"version"`
	Build    string          `json:"build"` // what makes it faster or slower than others, such as WebAssembly
	Schemes  []SchemeOffered `json:"schemes"`
}

// SchemeOffered is a scheme with the workloads that the adapter has programs for.
type SchemeOffered struct {
	Scheme    string   `json:"scheme"`
	Workloads []string `json:"workloads"`
}

// Setup is the answer to a set-up: parameters and keys for one workload.
type Setup struct {
	Set             string  `json:"set"`
	Security        float64 `json:"security_bits"`
	Assumption      string  `json:"assumption"`
	Failure         float64 `json:"failure_log2"`
	Description     any     `json:"description"`
	KeygenSeconds   float64 `json:"keygen_seconds"`
	EvaluationBytes int64   `json:"evaluation_key_bytes"`
	MemoryBytes     int64   `json:"evaluation_key_memory_bytes"`
	PublicBytes     int64   `json:"public_key_bytes"`
	Capacity        int     `json:"capacity"` // items that a batch has best
	Threads         int     `json:"threads"`  // that it will use, 0 for as many as it was told to
}

// Answer is the answer to a run.
type Answer struct {
	Results [][]string `json:"results"` // of each item, decimal numbers
	Seconds struct {
		Encrypt float64 `json:"encrypt"`
		Compute float64 `json:"compute"`
		Decrypt float64 `json:"decrypt"`
	} `json:"seconds"`
	RequestBytes  int64   `json:"request_bytes"`
	ResponseBytes int64   `json:"response_bytes"`
	Bootstraps    float64 `json:"bootstraps"` // of an item
}

// request is a line to the adapter.
type request struct {
	Command  string     `json:"command"` // describe, setup or run
	Scheme   string     `json:"scheme,omitempty"`
	Workload string     `json:"workload,omitempty"`
	Size     int        `json:"size,omitempty"`
	Threads  int        `json:"threads,omitempty"`
	Items    [][]string `json:"items,omitempty"`
}

// Error is what an adapter answered instead, or how it failed.
type Error struct {
	Adapter, Command, Reason string
}

func (e *Error) Error() string {
	return fmt.Sprintf("adapter %s: %s: %s", e.Adapter, e.Command, e.Reason)
}

const (
	maxLine     = 64 << 20 // of an answer, in bytes
	maxCapacity = 1 << 20  // of a batch, in items
)

// Adapter is a running adapter. It serves one request at a time.
type Adapter struct {
	Description
	name    string // for errors
	command *exec.Cmd
	in      io.WriteCloser
	lines   *bufio.Scanner
	errors  tail
	wait    func() error // for its end, as often as it is called
}

// stopAfter is how long an adapter may take to end; tests have less time.
var stopAfter = 10 * time.Second

// Start starts an adapter, which ends with the context, and asks what it is. Where
// the program is not there, the error is exec.ErrNotFound or fs.ErrNotExist.
func Start(ctx context.Context, path string, args ...string) (*Adapter, error) {
	return start(ctx, path, "", path, args...)
}

// start is Start in a folder, of an adapter that errors name.
func start(ctx context.Context, name, dir, path string, args ...string) (*Adapter, error) {
	a := &Adapter{name: name, command: exec.CommandContext(ctx, path, args...)}
	a.command.Dir = dir
	a.command.WaitDelay = stopAfter
	a.command.Stderr = &a.errors
	var err error
	if a.in, err = a.command.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := a.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := a.command.Start(); err != nil {
		return nil, err
	}
	a.wait = sync.OnceValue(a.command.Wait)
	a.lines = bufio.NewScanner(out)
	a.lines.Buffer(nil, maxLine)
	if err := a.ask(request{Command: "describe"}, &a.Description); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	if reason := a.Description.wrong(); reason != "" {
		return nil, errors.Join(&Error{name, "describe", reason}, a.Close())
	}
	return a, nil
}

// names are what libraries, schemes and sets may be called: they are parts of the
// names of records.
var names = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._=+-]{0,79}$`)

// wrong says what an adapter may not say of itself, or nothing.
func (d *Description) wrong() string {
	if d.Protocol != Protocol {
		return fmt.Sprintf("speaks protocol %d, not %d", d.Protocol, Protocol)
	}
	if !names.MatchString(d.Library) {
		return fmt.Sprintf("%.80q is not the name of a library", d.Library)
	}
	for _, s := range d.Schemes {
		if !names.MatchString(s.Scheme) {
			return fmt.Sprintf("%.80q is not the name of a scheme", s.Scheme)
		}
	}
	return ""
}

// Setup makes keys for a workload of a size.
func (a *Adapter) Setup(scheme, workload string, size, threads int) (*Setup, error) {
	s := new(Setup)
	if err := a.ask(request{Command: "setup", Scheme: scheme, Workload: workload, Size: size, Threads: threads}, s); err != nil {
		return nil, err
	}
	if !names.MatchString(s.Set) {
		return nil, &Error{a.name, "setup", fmt.Sprintf("%.80q is not the name of a set", s.Set)}
	}
	if s.Capacity < 1 || s.Capacity > maxCapacity || !(s.KeygenSeconds > 0) {
		return nil, &Error{a.name, "setup", fmt.Sprintf("says no time, or its capacity is not in [1, %d]", maxCapacity)}
	}
	if s.Threads < 0 || s.Threads > threads {
		return nil, &Error{a.name, "setup", fmt.Sprintf("uses %d threads of %d", s.Threads, threads)}
	}
	return s, nil
}

// Run runs items of the workload of the last Setup.
func (a *Adapter) Run(items [][]*big.Int) (*Answer, [][]*big.Int, error) {
	r := request{Command: "run"}
	for _, in := range items {
		var texts []string
		for _, x := range in {
			texts = append(texts, x.String())
		}
		r.Items = append(r.Items, texts)
	}
	answer := new(Answer)
	if err := a.ask(r, answer); err != nil {
		return nil, nil, err
	}
	if len(answer.Results) != len(items) || !(answer.Seconds.Compute > 0) {
		return nil, nil, &Error{a.name, "run", "says no time or has results of another number of items"}
	}
	results, err := answer.numbers()
	if err != nil {
		return nil, nil, &Error{a.name, "run", err.Error()}
	}
	return answer, results, nil
}

// maxDigits bounds a result.
const maxDigits = 100

// numbers returns the results.
func (a *Answer) numbers() ([][]*big.Int, error) {
	results := make([][]*big.Int, len(a.Results))
	for i, texts := range a.Results {
		for _, t := range texts {
			x := new(big.Int)
			if len(t) > maxDigits {
				return nil, fmt.Errorf("item %d: a result of %d digits", i, len(t))
			}
			if _, ok := x.SetString(t, 10); !ok {
				return nil, fmt.Errorf("item %d: a result is not a number", i)
			}
			results[i] = append(results[i], x)
		}
	}
	return results, nil
}

// ask sends a line and reads the answer.
func (a *Adapter) ask(r request, answer any) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if _, err := a.in.Write(append(line, '\n')); err != nil {
		return a.broken(r.Command, err)
	}
	if !a.lines.Scan() {
		return a.broken(r.Command, a.lines.Err())
	}
	if err := decode(a.lines.Bytes(), answer); err != nil {
		return &Error{a.name, r.Command, err.Error()}
	}
	return nil
}

// decode reads the line of an answer.
func decode(line []byte, answer any) error {
	var refusal struct {
		Error string `json:"error"`
	}
	if err := json.Unmarshal(line, &refusal); err != nil {
		return fmt.Errorf("the answer is not JSON: %w", err)
	}
	if refusal.Error != "" {
		return errors.New(refusal.Error)
	}
	if err := json.Unmarshal(line, answer); err != nil {
		return fmt.Errorf("the answer is not of its form: %w", err)
	}
	return nil
}

// broken ends an adapter that does not answer, and is its error, with the end of what
// it wrote to standard error.
func (a *Adapter) broken(command string, err error) error {
	_ = a.command.Process.Kill()
	_ = a.wait()
	reason := "it ended without an answer"
	if err != nil {
		reason = err.Error()
	}
	if said := bytes.TrimSpace(a.errors.text); len(said) > 0 {
		reason += ": " + string(said)
	}
	return &Error{a.name, command, reason}
}

// Close ends the adapter: it sees the end of its input, and is killed if it does not heed
// that. The error is how it ended, if it had not failed before.
func (a *Adapter) Close() error {
	_ = a.in.Close() // which the end of the process may have done
	defer time.AfterFunc(stopAfter, func() { _ = a.command.Process.Kill() }).Stop()
	return a.wait()
}

// tail keeps the last bytes that are written to it.
type tail struct{ text []byte }

// tailSize is how many.
const tailSize = 1 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p...)
	t.text = t.text[max(0, len(t.text)-tailSize):]
	return len(p), nil
}
