package jobs

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tacit-fhe/tacit/coprocessor/store"
)

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

// specName and resultName are prefixes of names in "job-data".
func specName(id string) string   { return "spec/" + nameOf(id) }
func resultName(id string) string { return "result/" + nameOf(id) }

// nameOf is what keyOf adds to the prefix.
func nameOf(id string) string { return keyOf(id)[len(keyPrefix):] }

// record is what the bucket stores for a job.
type record struct {
	Version  int           `json:"version"`
	State    State         `json:"state"`
	Spec     store.Digest  `json:"spec"`
	Digest   *store.Digest `json:"digest,omitempty"` // of the submission, where it is not that of the specification
	Result   *store.Digest `json:"result,omitempty"` // of a Done job
	Inline   []byte        `json:"inline,omitempty"` // the result, where it is small; else it lies apart
	Attempts int           `json:"attempts,omitempty"`
	Created  time.Time     `json:"created"`
	Started  time.Time     `json:"started,omitzero"`
	Finished time.Time     `json:"finished,omitzero"`
	Progress []byte        `json:"progress,omitempty"`
	Error    []byte        `json:"error,omitempty"`
	Cause    Cause         `json:"cause,omitempty"`
	Reason   string        `json:"reason,omitempty"`
	Trace    string        `json:"trace,omitempty"`     // W3C traceparent of the submission
	Seq      uint64        `json:"seq,omitempty"`       // the first revision; 0 in the first revision itself
	Lease    string        `json:"lease,omitempty"`     // random name of the latest claim
	LeaseFor time.Duration `json:"lease_for,omitempty"` // nanoseconds from any revision while Running
	Delay    time.Duration `json:"delay,omitempty"`     // nanoseconds from this revision until it may be claimed

	Note      []byte    `json:"note,omitempty"`
	Pool      string    `json:"pool,omitempty"`
	Cost      int64     `json:"cost,omitempty"`
	Spent     int64     `json:"spent,omitempty"`
	Priority  int       `json:"priority,omitempty"`
	Deadline  time.Time `json:"deadline,omitzero"`
	WaitUntil time.Time `json:"wait_until,omitzero"`
	Needs     []byte    `json:"needs,omitempty"` // 32 bytes each
	Makes     []byte    `json:"makes,omitempty"` // 33 bytes each: name and tag

	Ledger  string `json:"ledger,omitempty"`  // key of the one that the job is charged to
	Charged int64  `json:"charged,omitempty"` // what it has of this job
}

const recordVersion = 1

// maxInline bounds the results that lie in the records of their jobs, in bytes. A record
// is written whole, and read for lists.
const maxInline = 4 << 10

func (r *record) encode() ([]byte, error) { return json.Marshal(r) }

func decodeRecord(b []byte) (record, error) {
	var r record
	if err := json.Unmarshal(b, &r); err != nil {
		return record{}, err
	}
	switch {
	case r.Version != recordVersion:
		return record{}, fmt.Errorf("version %d, want %d", r.Version, recordVersion)
	case r.State < Waiting || r.State > Cancelled:
		return record{}, errors.New("no state")
	case (r.State == Done) != (r.Result != nil):
		return record{}, fmt.Errorf("state %v, result %v", r.State, r.Result != nil)
	case len(r.Inline) > 0 && (r.Result == nil || sha256.Sum256(r.Inline) != *r.Result):
		return record{}, errors.New("the result has another digest")
	case len(r.Needs)%32 != 0 || len(r.Makes)%33 != 0:
		return record{}, errors.New("a list of names is cut off")
	}
	return r, nil
}

// identity is what a submission is compared with.
func (r *record) identity() [32]byte {
	if r.Digest != nil {
		return *r.Digest
	}
	return r.Spec
}

func (r *record) needs() []Name {
	var names []Name
	for n := range slices.Chunk(r.Needs, 32) {
		names = append(names, Name(n))
	}
	return names
}

func (r *record) makes() []Made {
	var made []Made
	for m := range slices.Chunk(r.Makes, 33) {
		made = append(made, Made{Name(m[:32]), m[32]})
	}
	return made
}

func (r *record) job(id string, revision uint64) Job {
	return Job{
		ID: id, State: r.State, SpecDigest: r.Spec, Note: r.Note, Pool: r.Pool, Cost: r.Cost, Spent: r.Spent, Priority: r.Priority,
		Deadline: r.Deadline, WaitUntil: r.WaitUntil, Needs: r.needs(), Attempts: r.Attempts,
		Created: r.Created, Started: r.Started, Finished: r.Finished,
		Progress: r.Progress, Error: r.Error, Cause: r.Cause, Reason: r.Reason, Trace: r.Trace, Revision: revision,
	}
}

// next makes r, which was read at revision rev, the start of its successor.
func (r *record) next(rev uint64) {
	if r.Seq == 0 {
		r.Seq = rev
	}
	r.Delay = 0
}

// begin makes the record that of a job that a worker has claimed.
func (r *record) begin(at time.Time, lease time.Duration) {
	r.State = Running
	r.Attempts++
	r.Started = at.UTC()
	r.Progress = nil
	r.Lease = rand.Text()
	r.LeaseFor = lease
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

// fail makes the record Failed over the head of the lease's holder.
func (r *record) fail(c Cause, reason string) {
	r.abandon(Failed)
	r.Cause, r.Reason = c, reason
}
