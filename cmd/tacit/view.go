package main

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tacit-fhe/tacit/coprocessor/client"
	"github.com/tacit-fhe/tacit/coprocessor/graph"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// jobView is a job as all commands print it.
type jobView struct {
	ID         string           `json:"id"`
	State      string           `json:"state"`
	KeyID      string           `json:"key_id,omitempty"`
	SpecDigest string           `json:"spec_digest,omitempty"`
	Created    *time.Time       `json:"created,omitempty"`
	Started    *time.Time       `json:"started,omitempty"`
	Ended      *time.Time       `json:"ended,omitempty"`
	Attempts   uint32           `json:"attempts"`
	Priority   int32            `json:"priority,omitempty"`
	Deadline   *time.Time       `json:"deadline,omitempty"`
	WaitUntil  *time.Time       `json:"wait_deadline,omitempty"`
	Estimated  uint64           `json:"estimated_bootstraps"`
	Spent      uint64           `json:"spent_bootstraps"`
	Nodes      []nodeView       `json:"nodes,omitempty"`
	Results    []ciphertextView `json:"results,omitempty"`
	Error      *errorView       `json:"error,omitempty"`
}

// jobFields lists the fields of a jobView for the help.
const jobFields = `id, state (waiting, queued, running, succeeded, failed, cancelled),
key_id, spec_digest, created, started, ended, attempts, priority, deadline,
wait_deadline, estimated_bootstraps, spent_bootstraps, nodes [node, label, state,
bootstraps, depth, seconds, log2_failure_probability, same_as, reused], results
[handle, type, key_id, sha256, size, name, file], error [code, reason, place,
message, job_id]`

type nodeView struct {
	Node        uint32   `json:"node"`
	Label       string   `json:"label,omitempty"`
	State       string   `json:"state"`
	Bootstraps  uint64   `json:"bootstraps"`
	Depth       uint32   `json:"depth"`
	Seconds     float64  `json:"seconds"`
	Log2Failure *float64 `json:"log2_failure_probability,omitempty"`
	SameAs      *uint32  `json:"same_as,omitempty"` // the node that was computed in its place
	Reused      bool     `json:"reused,omitempty"`  // it was there already
}

type ciphertextView struct {
	Handle string `json:"handle"`
	Type   string `json:"type"`
	KeyID  string `json:"key_id"`
	Digest string `json:"sha256"`
	Size   uint64 `json:"size"`
	Name   string `json:"name,omitempty"` // of the output, where it is known
	File   string `json:"file,omitempty"` // where it was written or comes from
}

type errorView struct {
	Code    string `json:"code"`
	Reason  string `json:"reason"`
	Place   string `json:"place,omitempty"`
	Message string `json:"message"`
	JobID   string `json:"job_id,omitempty"` // the job at fault, where it is another one
}

func newJobView(j *tacitv1.Job) jobView {
	v := jobView{
		ID: j.Id, State: stateName(j.State), KeyID: hex.EncodeToString(j.KeyId), SpecDigest: hex.EncodeToString(j.SpecDigest),
		Created: timeOf(j.CreateTime), Started: timeOf(j.StartTime), Ended: timeOf(j.EndTime), Attempts: j.Attempts,
		Priority: j.Priority, Deadline: timeOf(j.DeadlineTime), WaitUntil: timeOf(j.WaitDeadlineTime),
		Estimated: j.EstimatedBootstraps, Spent: j.SpentBootstraps,
	}
	for _, n := range j.Nodes {
		v.Nodes = append(v.Nodes, newNodeView(n))
	}
	for _, r := range j.Results {
		v.Results = append(v.Results, newCiphertextView(r))
	}
	if j.Error != nil {
		e := client.JobError(j.Error)
		v.Error = &errorView{e.Code.String(), e.Reason, e.Place, e.Message, e.JobID}
	}
	return v
}

func newNodeView(n *tacitv1.NodeReport) nodeView {
	return nodeView{
		Node: n.Node, Label: n.Label, State: strings.ToLower(strings.TrimPrefix(n.State.String(), "NODE_STATE_")),
		Bootstraps: n.Bootstraps, Depth: n.Depth, Seconds: n.Duration.AsDuration().Seconds(), Log2Failure: n.Log2FailureProbability,
		SameAs: n.SameAs, Reused: n.Reused,
	}
}

func newCiphertextView(c *tacitv1.CiphertextInfo) ciphertextView {
	return ciphertextView{
		Handle: hex.EncodeToString(c.Handle), Type: graph.TypeName(c.GetType()), KeyID: hex.EncodeToString(c.KeyId),
		Digest: hex.EncodeToString(c.Digest), Size: c.Size,
	}
}

func stateName(s tacitv1.JobState) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "JOB_STATE_"))
}

func timeOf(t *timestamppb.Timestamp) *time.Time {
	if t == nil {
		return nil
	}
	at := t.AsTime()
	return &at
}

// took is how long the job's last attempt took, or 0.
func (v *jobView) took() time.Duration {
	if v.Started == nil || v.Ended == nil {
		return 0
	}
	return v.Ended.Sub(*v.Started)
}

// name is what a node is called.
func (n *nodeView) name() string {
	if n.Label != "" {
		return n.Label
	}
	return fmt.Sprintf("node %d", n.Node)
}

// cost is the state of a node, and what it took if it is done.
func (n *nodeView) cost() string {
	switch {
	case n.State != "succeeded":
		return n.State
	case n.SameAs != nil:
		return fmt.Sprintf("%s with node %d", n.State, *n.SameAs)
	case n.Reused:
		return "was there already"
	}
	return fmt.Sprintf("%s, %d bootstraps, %s", n.State, n.Bootstraps, duration(time.Duration(n.Seconds*float64(time.Second))))
}

// bootstraps is what all nodes have spent.
func (v *jobView) bootstraps() (sum uint64) {
	for _, n := range v.Nodes {
		sum += n.Bootstraps
	}
	return sum
}

// status is the progress of a job in a few words.
func (v *jobView) status() string {
	done, needed := 0, 0
	for _, n := range v.Nodes {
		if n.State != "skipped" {
			needed++
		}
		if n.State == "succeeded" {
			done++
		}
	}
	return fmt.Sprintf("%s, %d of %d operations, %d bootstraps", v.State, done, needed, v.bootstraps())
}

// printJob prints a job with its nodes and results.
func (u *ui) printJob(v jobView) {
	u.printf("job %s %s", v.ID, v.State)
	if d := v.took(); d > 0 && v.State == "succeeded" {
		u.printf(" in %s, %d bootstraps", duration(d), v.bootstraps())
	}
	u.printf("\n")
	u.printNodes(v.Nodes)
	u.printCiphertexts(v.Results)
}

// maxRows is how many nodes of a job are worth reading.
const maxRows = 50

// printNodes prints what the nodes of a job took that have begun.
func (u *ui) printNodes(nodes []nodeView) {
	begun := slices.DeleteFunc(slices.Clone(nodes), func(n nodeView) bool { return n.State == "pending" || n.State == "skipped" })
	if len(begun) == 0 {
		return
	}
	u.table(func(row func(...any)) {
		row("  operation", "state", "bootstraps", "depth", "time", "wrong with probability")
		for _, n := range begun[:min(len(begun), maxRows)] {
			failure := ""
			if n.Log2Failure != nil {
				failure = power(*n.Log2Failure)
			}
			row("  "+n.name(), n.State, n.Bootstraps, n.Depth, duration(time.Duration(n.Seconds*float64(time.Second))), failure)
		}
	})
	if more := len(begun) - maxRows; more > 0 {
		u.printf("  and %d more, which --json shows\n", more)
	}
}

// printCiphertexts prints stored ciphertexts, one a line.
func (u *ui) printCiphertexts(cts []ciphertextView) {
	u.table(func(row func(...any)) {
		for _, c := range cts {
			cells := []any{c.Handle, c.Type}
			if c.Name != "" {
				cells = append(cells, c.Name)
			}
			if c.File != "" {
				cells = append(cells, c.File)
			}
			row(cells...)
		}
	})
}

// jobEndError is a job that ended without results, or not at all in time.
type jobEndError struct {
	job jobView
}

func (e *jobEndError) Error() string {
	text := "job " + e.job.ID + " " + e.job.State
	if v := e.job.Error; v != nil {
		text = "job " + e.job.ID + " failed: "
		if v.Place != "" {
			text += v.Place + ": "
		}
		return text + v.Message + " (" + v.Reason + ")"
	}
	if e.exitCode() == exitTimeout {
		return "job " + e.job.ID + " has not ended in time, it is " + e.job.State
	}
	return text
}

func (e *jobEndError) exitCode() int {
	switch e.job.State {
	case "failed":
		return exitFailed
	case "cancelled":
		return exitCancelled
	}
	return exitTimeout
}

// ended returns nil for a job that succeeded.
func ended(v jobView) error {
	if v.State == "succeeded" {
		return nil
	}
	return &jobEndError{v}
}
