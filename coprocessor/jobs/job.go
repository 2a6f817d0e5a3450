// Package jobs is the durable queue. A job is an id and a specification; a
// worker claims it, computes, and leaves a result or an error. All three are
// opaque bytes here.
//
// # How it works
//
// One record per job in the key-value bucket "jobs" is the truth; there is no
// other stream to keep in step with it. Specifications and results, which may
// be megabytes, lie in "job-data" under their SHA-256, written before the record
// that names them. Each Queue follows the bucket's changes into a small index in
// memory: what may be claimed, in which order, and whom to tell.
//
// Every change of state is a compare-and-set on the record's revision. That is
// the only lock: two workers cannot claim one job, a worker whose lease was
// taken over cannot finish it, a cancelled job stays cancelled. Attempts are
// counted by the very write that claims, before any work starts.
//
// A lease needs no common clock. The holder renews it by writing the record; a
// Queue that has seen no new revision for the lease's duration, by its own
// monotonic clock, may take the job over.
//
// Submit and Done return after the record is stored, so what they acknowledged
// survives a crash; Open reads the bucket and continues where the last process
// stopped. A job's work may run more than once, its effects happen once.
package jobs

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tacit-fhe/tacit/coprocessor/store"
)

// State is where a job stands.
type State int

// The states of a job. Done, Failed and Cancelled are terminal: a job in one of
// them never changes again.
const (
	Queued State = iota + 1
	Running
	Done
	Failed
	Cancelled
)

var stateNames = [...]string{Queued: "queued", Running: "running", Done: "done", Failed: "failed", Cancelled: "cancelled"}

func (s State) String() string {
	if s < Queued || s > Cancelled {
		return fmt.Sprintf("State(%d)", int(s))
	}
	return stateNames[s]
}

// Terminal reports whether the state is one a job never leaves.
func (s State) Terminal() bool { return s >= Done }

// MarshalText returns the state's name.
func (s State) MarshalText() ([]byte, error) {
	if s < Queued || s > Cancelled {
		return nil, fmt.Errorf("jobs: no state %d", int(s))
	}
	return []byte(stateNames[s]), nil
}

// UnmarshalText is the inverse of MarshalText.
func (s *State) UnmarshalText(text []byte) error {
	for i := Queued; i <= Cancelled; i++ {
		if stateNames[i] == string(text) {
			*s = i
			return nil
		}
	}
	return fmt.Errorf("jobs: no state %.20q", text)
}

// Job is a snapshot of a job at one revision. Its slices must not be modified.
type Job struct {
	ID         string
	State      State
	Spec       []byte // only from Submit, Get, Wait and Lease.Job
	SpecDigest [32]byte
	Attempts   int // claims so far, without those given back
	Created    time.Time
	Started    time.Time // of the latest attempt; zero before the first
	Finished   time.Time // zero until the state is terminal
	Progress   []byte    // of the latest attempt
	Result     []byte    // of a Done job; only from Submit, Get and Wait
	Error      []byte    // from the latest Lease.Fail
	Reason     string    // why the queue itself gave the job up; else empty
	Trace      string    // W3C traceparent of the submission; empty when that was not traced
	Revision   uint64    // grows with every change, across all jobs
}

const (
	// MaxNote is the largest progress note or error in bytes.
	MaxNote = 64 << 10

	// maxID is the longest job id in bytes: that of a principal, a dot and that of
	// one of its jobs.
	maxID = 60 + 1 + 128
)

// ErrLeaseLost reports that the job is no longer this worker's. The call that
// returned it had no effect.
var ErrLeaseLost = errors.New("jobs: the lease is lost")

// ErrCancelled reports that a lease was lost because the job was cancelled; it
// is an ErrLeaseLost too.
var ErrCancelled = fmt.Errorf("%w: the job was cancelled", ErrLeaseLost)

// ErrClosed reports that the Queue is closed.
var ErrClosed = errors.New("jobs: the queue is closed")

// ErrPageToken reports a ListOptions.After that no List returned.
var ErrPageToken = errors.New("jobs: not a page token")

// IDError reports a malformed job id.
type IDError struct {
	ID string
}

func (e *IDError) Error() string {
	return fmt.Sprintf("jobs: id %.40q: want 1 to %d characters of A-Z a-z 0-9 . _ -", e.ID, maxID)
}

// NotFoundError reports a job that was never submitted.
type NotFoundError struct {
	ID string
}

func (e *NotFoundError) Error() string { return fmt.Sprintf("jobs: job %s: not found", e.ID) }

// ConflictError reports a submission under the id of a job with another
// specification.
type ConflictError struct {
	ID string
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("jobs: job %s: the id already names a job with another specification", e.ID)
}

// FullError reports that as many jobs are queued as may be.
type FullError struct {
	Limit int
}

func (e *FullError) Error() string {
	return fmt.Sprintf("jobs: the queue is full: %d jobs wait", e.Limit)
}

func checkID(id string) error {
	ok := len(id) >= 1 && len(id) <= maxID
	for i := 0; ok && i < len(id); i++ {
		c := id[i]
		ok = 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-'
	}
	if !ok {
		return &IDError{ID: id}
	}
	return nil
}

func checkNote(what string, note []byte) error {
	if len(note) > MaxNote {
		return &store.SizeError{What: what, Size: int64(len(note)), Limit: MaxNote}
	}
	return nil
}

// A dot separates tokens in a key and may stand neither first, nor last, nor
// twice in a row, so a key has '=' in its place, which no id contains.
const keyPrefix = "job/"

func keyOf(id string) string { return keyPrefix + strings.ReplaceAll(id, ".", "=") }

func idOf(key string) (string, error) {
	name, ok := strings.CutPrefix(key, keyPrefix)
	id := strings.ReplaceAll(name, "=", ".")
	if !ok || strings.Contains(name, ".") || checkID(id) != nil {
		return "", fmt.Errorf("jobs: %.140q is not the key of a job", key)
	}
	return id, nil
}

// record is what the bucket stores for a job.
type record struct {
	Version  int           `json:"version"`
	State    State         `json:"state"`
	Spec     digest        `json:"spec"`
	Result   *digest       `json:"result,omitempty"` // of a Done job
	Attempts int           `json:"attempts,omitempty"`
	Created  time.Time     `json:"created"`
	Started  time.Time     `json:"started,omitzero"`
	Finished time.Time     `json:"finished,omitzero"`
	Progress []byte        `json:"progress,omitempty"`
	Error    []byte        `json:"error,omitempty"`
	Reason   string        `json:"reason,omitempty"`
	Trace    string        `json:"trace,omitempty"`     // W3C traceparent of the submission
	Seq      uint64        `json:"seq,omitempty"`       // the first revision; 0 in the first revision itself
	Lease    string        `json:"lease,omitempty"`     // random name of the latest claim
	LeaseFor time.Duration `json:"lease_for,omitempty"` // nanoseconds from any revision while Running
	Delay    time.Duration `json:"delay,omitempty"`     // nanoseconds from this revision until it may be claimed
}

const recordVersion = 1

// digest is a SHA-256, hexadecimal in JSON.
type digest [32]byte

func (d digest) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, d[:]), nil }

func (d *digest) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	if err != nil || len(b) != len(d) {
		return errors.New("jobs: not a SHA-256")
	}
	*d = digest(b)
	return nil
}

func decodeRecord(b []byte) (record, error) {
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return record{}, err
	}
	switch {
	case r.Version != recordVersion:
		return record{}, fmt.Errorf("version %d, want %d", r.Version, recordVersion)
	case r.State < Queued || r.State > Cancelled:
		return record{}, errors.New("no state")
	case (r.State == Done) != (r.Result != nil):
		return record{}, fmt.Errorf("state %v, result %v", r.State, r.Result != nil)
	}
	return r, nil
}

func (r *record) job(id string, revision uint64) Job {
	return Job{
		ID: id, State: r.State, SpecDigest: r.Spec, Attempts: r.Attempts,
		Created: r.Created, Started: r.Started, Finished: r.Finished,
		Progress: r.Progress, Error: r.Error, Reason: r.Reason, Trace: r.Trace, Revision: revision,
	}
}

// next makes r, which was read at revision rev, the start of its successor.
func (r *record) next(rev uint64) {
	if r.Seq == 0 {
		r.Seq = rev
	}
	r.Delay = 0
}

// finish makes the record terminal, by the hand of the lease's holder.
func (r *record) finish(s State) {
	r.State = s
	r.Finished = time.Now().UTC()
}

// abandon makes the record terminal over the head of the lease's holder.
func (r *record) abandon(s State) {
	r.finish(s)
	r.Lease = ""
}
