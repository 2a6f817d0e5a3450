// Package jobs is the durable queue. A job is an id and a specification; a
// worker claims it, computes, and leaves a result or an error. All three are
// opaque bytes here.
//
// # How it works
//
// One record per job in the key-value bucket "jobs" is the truth; there is no
// other stream to keep in step with it. Specifications and results, which may
// be megabytes, lie in "job-data" under their SHA-256, written before the record
// that names them; small results lie in the record. Each Queue follows the bucket's changes into a small index in
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
// A job may need what others make. It then waits, and every Queue sees to it that
// it starts when all of that is there, or fails with its makers or in due time
// (settle.go). Who is next is decided between tenants by what their jobs cost, and
// within a tenant by priority (schedule.go).
//
// Submit and Done return after the record is stored, so what they acknowledged
// survives a crash; Open reads the bucket and continues where the last process
// stopped. A job's work may run more than once, its effects happen once.
package jobs

import (
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/tacit-fhe/tacit/coprocessor/store"
)

// State is where a job stands.
type State int

// The states of a job. Done, Failed and Cancelled are terminal: a job in one of
// them never changes again, but for a Failed one that is retried and for what is
// found to have been spent on one that was cancelled or whose deadline passed.
const (
	Waiting State = iota + 1 // for what it needs
	Queued
	Running
	Done
	Failed
	Cancelled
)

var stateNames = [...]string{Waiting: "waiting", Queued: "queued", Running: "running", Done: "done", Failed: "failed", Cancelled: "cancelled"}

func (s State) String() string {
	if s < Waiting || s > Cancelled {
		return fmt.Sprintf("State(%d)", int(s))
	}
	return stateNames[s]
}

// Terminal reports whether the state is one a job never leaves.
func (s State) Terminal() bool { return s >= Done }

// MarshalText returns the state's name.
func (s State) MarshalText() ([]byte, error) {
	if s < Waiting || s > Cancelled {
		return nil, fmt.Errorf("jobs: no state %d", int(s))
	}
	return []byte(stateNames[s]), nil
}

// UnmarshalText is the inverse of MarshalText.
func (s *State) UnmarshalText(text []byte) error {
	for i := Waiting; i <= Cancelled; i++ {
		if stateNames[i] == string(text) {
			*s = i
			return nil
		}
	}
	return fmt.Errorf("jobs: no state %.20q", text)
}

// Name is what a job needs or makes: 32 opaque bytes.
type Name = [32]byte

// Made is something that a job makes, once it is Done.
type Made struct {
	Name Name
	Tag  byte // what it is, in the words of the submitter
}

// Submission is a job to be queued. ID is required.
type Submission struct {
	ID   string // 1 to 189 characters of A-Z a-z 0-9 . _ -
	Spec []byte // at most store.MaxRecord bytes
	// Digest tells one job from another under the same id; zero means the SHA-256
	// of Spec.
	Digest [32]byte
	// Note is kept with the job for whoever works on it, at most MaxLabel bytes.
	Note []byte
	// Pool names the jobs that can be held back together, at most MaxLabel bytes.
	Pool string
	// Cost is what the job is going to spend, in the unit of budgets.
	Cost int64
	// Priority orders the jobs of one tenant: higher ones start first.
	Priority int
	// TimeLimit is how long after its submission the job fails if it has not ended;
	// never when zero.
	TimeLimit time.Duration
	// Needs is what must be there before the job starts, at most MaxNames names;
	// Makes what is there when it is done, as many.
	Needs []Name
	Makes []Made
	// WaitLimit is how long after its submission the job fails if something that it
	// needs is not there; never when zero.
	WaitLimit time.Duration
}

// Cause says why a job failed where that was not its worker's word alone.
type Cause string

// The causes.
const (
	Attempts Cause = "attempts" // every attempt failed, or was lost with its worker: a dead letter
	Lost     Cause = "lost"     // its record or its specification cannot be read
	Overdue  Cause = "overdue"  // its deadline passed
	Missing  Cause = "missing"  // something that it needs was not there in time
	Maker    Cause = "maker"    // the job that was to make something that it needs has failed, or was cancelled
	Cyclic   Cause = "cyclic"   // it needs, by way of others, what it makes itself
)

// Failure is why the queue itself makes a job fail.
type Failure struct {
	Cause Cause
	Name  Name // what was needed: of Missing, Maker and Cyclic
	Maker Job  // who was to make it: of Maker
}

// Job is a snapshot of a job at one revision. Its slices must not be modified.
type Job struct {
	ID         string
	State      State
	Spec       []byte // only from Submit, Get, Wait and Lease.Job
	SpecDigest [32]byte
	Note       []byte
	Pool       string
	Cost       int64 // as submitted
	Spent      int64 // by all attempts
	Priority   int
	Deadline   time.Time // zero when there is none
	WaitUntil  time.Time // zero when there is none
	Needs      []Name
	Attempts   int // claims so far, without those given back
	Created    time.Time
	Started    time.Time // of the latest attempt; zero before the first
	Finished   time.Time // zero until the state is terminal
	Progress   []byte    // of the latest attempt
	Result     []byte    // of a Done job; only from Submit, Get and Wait
	Error      []byte    // from the latest Lease.Fail, or from Options.Explain
	Cause      Cause     // of a Failed job; empty when a worker alone decided
	Reason     string    // why the queue itself gave the job up; else empty
	Trace      string    // W3C traceparent of the submission; empty when that was not traced
	Revision   uint64    // grows with every change, across all jobs
}

const (
	// MaxNote is the largest progress note in bytes.
	MaxNote = 512 << 10

	// MaxError is the largest error in bytes.
	MaxError = 64 << 10

	// MaxNames bounds what one job needs, and what it makes.
	MaxNames = 1024

	// MaxLabel bounds a submission's note, and its pool, in bytes.
	MaxLabel = 4 << 10

	// maxID is the longest job id in bytes: that of a principal, a dot and that of
	// one of its jobs.
	maxID = 60 + 1 + 128
)

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

func checkSize(what string, size, limit int) error {
	if size > limit {
		return &store.SizeError{What: what, Size: int64(size), Limit: int64(limit)}
	}
	return nil
}

func (s *Submission) check() error {
	if err := checkID(s.ID); err != nil {
		return err
	}
	for _, c := range []struct {
		what        string
		size, limit int
	}{
		{"job specification", len(s.Spec), store.MaxRecord},
		{"note of a job", len(s.Note), MaxLabel},
		{"pool of a job", len(s.Pool), MaxLabel},
		{"list of what a job needs", len(s.Needs), MaxNames},
		{"list of what a job makes", len(s.Makes), MaxNames},
	} {
		if err := checkSize(c.what, c.size, c.limit); err != nil {
			return err
		}
	}
	if s.Cost < 0 || s.TimeLimit < 0 || s.WaitLimit < 0 {
		return fmt.Errorf("jobs: job %s: negative cost %d or limit %v or %v", s.ID, s.Cost, s.TimeLimit, s.WaitLimit)
	}
	return nil
}

// digest is what the submission is compared by.
func (s *Submission) digest() [32]byte {
	if s.Digest == [32]byte{} {
		return sha256.Sum256(s.Spec)
	}
	return s.Digest
}
