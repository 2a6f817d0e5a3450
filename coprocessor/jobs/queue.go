package jobs

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tacit-fhe/tacit/coprocessor/store"
)

// Options configures Open. The zero value is usable.
type Options struct {
	// MaxAttempts is how often a job is tried, 3 when zero.
	MaxAttempts int

	// LeaseDuration is how long a job stays with a worker that gives no sign of
	// life, 30 s when zero. Leases are renewed three times as often.
	LeaseDuration time.Duration

	// RetryDelay is the pause after the first failed attempt, 1 s when zero; it
	// doubles with each further one, up to a minute.
	RetryDelay time.Duration

	// MaxQueued bounds the jobs that wait or are queued, 10000 when zero, and
	// MaxBacklog what they cost together, without limit when zero. The last tenth of
	// MaxQueued is for tenants with less than half of it. Several processes
	// that submit at once may exceed them by what is in flight.
	MaxQueued  int
	MaxBacklog int64

	// TenantOf tells whom a job belongs to; with nil, all jobs are of one tenant.
	TenantOf func(id string) string

	// Policy tells how a tenant is treated now; with nil, all alike.
	Policy func(tenant string) Policy

	// Ready reports whether something that a waiting job needs is there for it; own
	// says that another job of its tenant is to make it, or was and did not: what somebody
	// else has put there then is not it. Without Ready no job may need anything. An error
	// says that this cannot be told now.
	Ready func(ctx context.Context, job Job, name Name, own bool) (bool, error)

	// Explain gives the error of a job that the queue makes fail, at most MaxError
	// bytes, from its specification; with nil it has a Reason alone.
	Explain func(spec []byte, f Failure) []byte

	// Pools are those whose jobs Claim gives out; empty means all jobs, of pools or of
	// none. Other processes have to see to the others.
	Pools []string

	// Exclusive says that no other process works on this store, as with an
	// embedded server: every lease found at Open belongs to a process that is
	// dead, and its job may be claimed at once, and what this Queue does is all
	// that happens.
	Exclusive bool

	// Log receives what no caller can be told; nil discards it.
	Log *slog.Logger
}

const (
	maxDelay     = time.Minute
	writeTimeout = 10 * time.Second
	rewatchPause = time.Second
	lagInterval  = 2 * time.Second
	defaultPage  = 100
	maxPage      = 1000
)

// Queue is a view of the jobs in a JetStream. It is safe for concurrent use,
// and any number of them in any number of processes may share one JetStream.
type Queue struct {
	opts    Options
	records *store.Bucket
	data    *store.Blobs

	ctx    context.Context // ends with Close
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	index    *index
	recent   *recent
	writing  map[string]*writing  // records on their way to the store
	unheard  map[string]time.Time // jobs with a write that was not answered, and until when it may yet be made
	reserved int                  // submissions on their way
	promised int64                // what they cost
	leases   map[string]*Lease
	idle     []*idle // Claims that wait
	subs     map[string]map[*subscription]struct{}
	feeds    map[*feed]struct{}
	heldRev  uint64 // revision of what is held back
	marks    []mark // of removed jobs, the oldest first

	posting chan struct{} // has a token while a ledger is being written
}

// Open opens the queue in js, creating it when it is absent. The context bounds
// the opening only.
func Open(ctx context.Context, js jetstream.JetStream, opts Options) (*Queue, error) {
	if opts.MaxAttempts < 0 || opts.LeaseDuration < 0 || opts.RetryDelay < 0 || opts.MaxQueued < 0 || opts.MaxBacklog < 0 {
		return nil, fmt.Errorf("jobs: negative option: %d attempts, lease %v, delay %v, %d queued, backlog %d",
			opts.MaxAttempts, opts.LeaseDuration, opts.RetryDelay, opts.MaxQueued, opts.MaxBacklog)
	}
	if opts.MaxAttempts == 0 {
		opts.MaxAttempts = 3
	}
	if opts.LeaseDuration == 0 {
		opts.LeaseDuration = 30 * time.Second
	}
	if opts.RetryDelay == 0 {
		opts.RetryDelay = time.Second
	}
	if opts.MaxQueued == 0 {
		opts.MaxQueued = 10000
	}
	if opts.TenantOf == nil {
		opts.TenantOf = func(string) string { return "" }
	}
	if opts.Policy == nil {
		opts.Policy = func(string) Policy { return Policy{} }
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	records, err := store.OpenBucket(ctx, js, Records, 1)
	if err != nil {
		return nil, err
	}
	data, err := store.OpenBlobs(ctx, js, "job-data")
	if err != nil {
		return nil, err
	}
	q := &Queue{
		opts: opts, records: records, data: data, index: newIndex(opts.TenantOf, opts.Policy), recent: newRecent(),
		writing: map[string]*writing{}, unheard: map[string]time.Time{},
		leases: map[string]*Lease{}, subs: map[string]map[*subscription]struct{}{}, feeds: map[*feed]struct{}{},
		posting: make(chan struct{}, 1),
	}
	q.index.pools = opts.Pools
	q.ctx, q.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	if err := q.load(ctx, js); err != nil {
		q.Close()
		return nil, err
	}
	if opts.Exclusive {
		q.mu.Lock()
		q.index.expire()
		q.mu.Unlock()
	}
	q.wg.Go(q.settle)
	return q, nil
}

// Close ends all calls and leases of this Queue with ErrClosed and waits for
// what it runs in the background. A job whose lease was not released is taken
// over when the lease has run out.
func (q *Queue) Close() {
	q.cancel(ErrClosed)
	q.wg.Wait()
}
