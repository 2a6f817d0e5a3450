package jobs

import (
	"errors"
	"fmt"
	"time"
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

// FullError reports that as much is queued as may be.
type FullError struct {
	Tenant string // whose limit it is; empty when it is that of all
	Unit   string // jobs or bootstraps
	Limit  int64
}

func (e *FullError) Error() string {
	if e.Tenant != "" {
		return fmt.Sprintf("jobs: %d %s of %s wait, more may not", e.Limit, e.Unit, e.Tenant)
	}
	return fmt.Sprintf("jobs: the queue is full: %d %s wait", e.Limit, e.Unit)
}

// BudgetError reports a job that its tenant's budget does not allow now, or, when
// Cost is over Budget, ever.
type BudgetError struct {
	Tenant             string
	Budget, Used, Cost int64
	Refill             time.Time // when the budget is whole again
}

func (e *BudgetError) Error() string {
	if e.Cost > e.Budget {
		return fmt.Sprintf("jobs: the job needs %d bootstraps, the budget of %s is %d", e.Cost, e.Tenant, e.Budget)
	}
	return fmt.Sprintf("jobs: the job needs %d bootstraps, %s has used %d of %d until %s",
		e.Cost, e.Tenant, e.Used, e.Budget, e.Refill.UTC().Format(time.RFC3339))
}

// HeldError reports a job of a tenant or a pool that is held back.
type HeldError struct {
	What string // tenant or pool
	Name string
}

func (e *HeldError) Error() string {
	return fmt.Sprintf("jobs: the %s %s is held back", e.What, e.Name)
}

// CycleError reports a job that needs, by way of jobs that wait, what it makes
// itself.
type CycleError struct {
	ID   string
	Name Name // what it needs
}

func (e *CycleError) Error() string {
	return fmt.Sprintf("jobs: job %s needs %x, which is made by jobs that need what it makes itself", e.ID, e.Name)
}

// StateError reports a job that is not in the state that a call takes.
type StateError struct {
	ID    string
	State State
	Want  State
}

func (e *StateError) Error() string {
	return fmt.Sprintf("jobs: job %s is %v, not %v", e.ID, e.State, e.Want)
}
