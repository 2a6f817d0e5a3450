package suite

import (
	"context"
	"fmt"

	"github.com/tacit-fhe/tacit/bench/workloads"
)

// Scheme is one homomorphic scheme with its parameter sets: the seam between what
// is measured and what measures.
type Scheme interface {
	Name() string
	// Parallel says that one Compute keeps all threads busy. Otherwise an item takes one
	// thread, and batches of as many as there are threads are computed at the same time.
	Parallel() bool
	// Set returns the parameter set for a workload of a size, without its keys, or an
	// *AbsentError.
	Set(w *workloads.Workload, size int) (Set, error)
	// Keys makes the keys of a set.
	Keys(ctx context.Context, set string) (Keys, error)
}

// Keys is the client of a scheme: it holds the secret key. A server is made from
// what the client sends, and from nothing else.
type Keys interface {
	// Sizes are those of the evaluation key on the wire and in memory, and of the
	// public key.
	Sizes() (wire, memory, public int64)
	// Server starts a server that uses so many threads. Every key it has went through
	// the bytes of the wire.
	Server(threads int) (Server, error)
	// Encrypt makes a request: real encryptions of the inputs of items, and the size
	// of the plaintexts in it.
	Encrypt(j Job, items []workloads.Values) (request []byte, plaintext float64, err error)
	// Check decrypts a response and holds it against the oracle's results. The error
	// is a *WrongError where a result is wrong.
	Check(j Job, response []byte, want []workloads.Values) (Quality, error)
}

// Server computes with an evaluation key. It never sees a secret key.
type Server interface {
	Load(j Job, request []byte, items int) (any, error)
	Compute(ctx context.Context, j Job, in any) (any, error)
	Store(j Job, out any) ([]byte, error)
	// Capacity is how many items a batch has best, of which each spends what was
	// counted.
	Capacity(j Job, spent Spent) int
	// Spent counts since the start.
	Spent() Spent
	Close()
}

// Job is a workload of a size.
type Job struct {
	Workload *workloads.Workload
	Size     int
}

func (j Job) String() string { return fmt.Sprintf("%s/%d", j.Workload.Name, j.Size) }

// Spent counts bootstraps and key switches.
type Spent struct{ Bootstraps, KeySwitches int64 }

// Quality is what the client sees in a result.
type Quality struct {
	Predicted, Measured float64 // noise, as in Record; 0 where it is not known
	Precision           float64 // bits, 0 where results are exact
}

// AbsentError says why a scheme has no program for a workload.
type AbsentError struct{ Workload, Scheme, Reason string }

func (e *AbsentError) Error() string {
	return fmt.Sprintf("%s on %s: %s", e.Workload, e.Scheme, e.Reason)
}

// WrongError is a result that is not the oracle's: nothing of it is measured.
type WrongError struct {
	Job       Job
	Item      int
	Got, Want string
}

func (e *WrongError) Error() string {
	return fmt.Sprintf("%v: item %d is %s, the oracle says %s", e.Job, e.Item, e.Got, e.Want)
}

// SecurityError refuses a set below the security line.
type SecurityError struct{ Set Set }

func (e *SecurityError) Error() string {
	return fmt.Sprintf("%s has %.0f bits of security, at least %d are measured", e.Set.Name, e.Set.Security, minSecurity)
}

// minSecurity is the security line, in bits.
const minSecurity = 128
