// Package failpoint names the places at which tests kill the process: around
// every write that another process may find half done.
package failpoint

// Hook is called with the name of every place that is passed. Tests set it before
// anything runs; it is nil in the program.
var Hook func(name string)

// Hit passes a place.
func Hit(name string) {
	if Hook != nil {
		Hook(name)
	}
}

// The places, in the order in which a job passes them.
const (
	SubmitBeforeRecord = "submit: before the record" // its specification is stored
	SubmitBeforeAnswer = "submit: before the answer"
	ClaimBeforeRecord  = "claim: before the record"
	StoreBefore        = "store: before the results"
	StoreBetween       = "store: between two results" // of a job that has several; none is visible yet
	StoreAfter         = "store: after the results"   // which have no owners yet
	CommitBefore       = "commit: before the record"  // the job's result is stored
	RecordWritten      = "publish: before it is told" // of every record
	AckBefore          = "ack: before the lease ends"
	AckAfter           = "ack: after the lease has ended"
)

// All are the names of all places.
var All = []string{
	SubmitBeforeRecord, SubmitBeforeAnswer, ClaimBeforeRecord, StoreBefore, StoreBetween, StoreAfter, CommitBefore, RecordWritten, AckBefore, AckAfter,
}
