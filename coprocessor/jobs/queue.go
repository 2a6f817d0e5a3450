package jobs

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/propagation"
	"golang.org/x/sync/errgroup"

	"github.com/tacit-fhe/tacit/coprocessor/internal/failpoint"
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
	// MaxBacklog what they cost together, without limit when zero. Several processes
	// that submit at once may exceed them by what is in flight.
	MaxQueued  int
	MaxBacklog int64

	// TenantOf tells whom a job belongs to; with nil, all jobs are of one tenant.
	TenantOf func(id string) string

	// Policy tells how a tenant is treated now; with nil, all alike.
	Policy func(tenant string) Policy

	// Ready reports whether something that a waiting job needs is there for it.
	// Without it no job may need anything. An error says that this cannot be told
	// now.
	Ready func(ctx context.Context, job Job, name Name) (bool, error)

	// Explain gives the error of a job that the queue makes fail, at most MaxError
	// bytes, from its specification; with nil it has a Reason alone.
	Explain func(spec []byte, f Failure) []byte

	// Pools are those whose jobs Claim gives out; empty means all jobs, of pools or of
	// none. Other processes have to see to the others.
	Pools []string

	// Exclusive says that no other process works on this store, as with an
	// embedded server: every lease found at Open belongs to a process that is
	// dead, and its job may be claimed at once.
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
	reserved int   // submissions on their way
	promised int64 // what they cost
	leases   map[string]*Lease
	subs     map[string]map[*subscription]struct{}
	feeds    map[*feed]struct{}
	heldRev  uint64 // revision of what is held back

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
		opts: opts, records: records, data: data, index: newIndex(opts.TenantOf, opts.Policy),
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

// load follows the bucket's changes and reads what was there before. It does
// not rely on the watch for the latter: a watch skips records it cannot read
// without a word, and never says that it is through.
func (q *Queue) load(ctx context.Context, js jetstream.JetStream) error {
	last, err := q.records.Last(ctx)
	if err != nil {
		return fmt.Errorf("jobs: opening: %w", err)
	}
	w, err := q.watch(last)
	if err != nil {
		return fmt.Errorf("jobs: opening: %w", err)
	}
	q.index.last = last
	q.wg.Go(func() { q.follow(js.Conn(), w, last) })

	keys, err := q.records.Keys(ctx)
	if err != nil {
		return fmt.Errorf("jobs: opening: %w", err)
	}
	g, reading := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for _, key := range keys {
		if key == controlKey || q.discard(key) {
			continue
		}
		if strings.HasPrefix(key, ledgerPrefix) {
			g.Go(func() error {
				e, err := q.records.Get(reading, key)
				if e != nil {
					q.post(key, e.Value(), e.Revision())
				}
				if errors.As(err, new(*store.DataLossError)) {
					q.opts.Log.Error("what is used of a budget is lost", "error", err)
					return nil
				}
				return err
			})
			continue
		}
		g.Go(func() error {
			id, err := idOf(key)
			if err != nil {
				q.opts.Log.Error("ignoring a record in the bucket of jobs", "error", err)
				return nil
			}
			_, _, err = q.read(reading, id)
			if errors.As(err, new(*NotFoundError)) || errors.As(err, new(*store.DataLossError)) {
				return nil // the mark of one that was removed, or a job that is lost
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	_, _, err = q.readControl(ctx)
	return err
}

// watch starts to watch the changes after a revision.
func (q *Queue) watch(after uint64) (jetstream.KeyWatcher, error) {
	return q.records.KV.WatchAll(q.ctx, jetstream.ResumeFromRevision(after+1))
}

// unwatch ends a watch. Its sender may wait to be read, so it is read out.
func (q *Queue) unwatch(w jetstream.KeyWatcher) {
	// The one possible error is that the watch has ended already.
	_ = w.Stop()
	for range w.Updates() {
	}
}

// follow applies changes, by whomever, until the queue or the connection is
// closed. The watch w yields those after revision seen. A watch recovers from a
// restart of the server only after many seconds, so each new connection gets a
// new one, and so does a watch that falls behind the bucket: the server of a
// cluster that feeds it may be gone while others serve the connection.
func (q *Queue) follow(conn *nats.Conn, w jetstream.KeyWatcher, seen uint64) {
	connected := conn.StatusChanged(nats.CONNECTED)
	defer conn.RemoveStatusListener(connected)
	lag := time.NewTicker(lagInterval)
	defer lag.Stop()
	// expected is the last revision of the bucket at an earlier tick, and initial
	// that before the watch began; the last revision itself may have been removed.
	var expected, initial uint64
	for {
		select {
		case <-q.ctx.Done():
			q.unwatch(w)
			return
		case <-connected:
			q.unwatch(w)
		case <-lag.C:
			last, err := q.lastRevision()
			if err != nil || seen >= expected {
				expected = last // 0 after an error: ask again
				continue
			}
			q.opts.Log.Debug("the watch of jobs is behind", "seen", seen, "expected", expected)
			expected, initial = 0, last
			q.unwatch(w)
		case e, ok := <-w.Updates():
			switch {
			case !ok:
				q.opts.Log.Warn("the watch of jobs ended")
			case e == nil: // the end of the initial values
				seen = max(seen, initial)
				continue
			default:
				seen = e.Revision()
				q.applyEntry(e)
				continue
			}
		}
		for {
			var err error
			if w, err = q.watch(seen); err == nil {
				break
			}
			if conn.IsClosed() {
				q.opts.Log.Error("the connection to the store is closed")
				q.cancel(ErrClosed)
			}
			select {
			case <-q.ctx.Done():
				return
			case <-time.After(rewatchPause):
				q.opts.Log.Warn("the jobs cannot be watched", "error", err)
			}
		}
	}
}

// lastRevision returns the latest revision of the bucket.
func (q *Queue) lastRevision() (uint64, error) {
	ctx, cancel := context.WithTimeout(q.ctx, lagInterval)
	defer cancel()
	return q.records.Last(ctx)
}

// applyEntry applies a change that the watch reports.
func (q *Queue) applyEntry(e jetstream.KeyValueEntry) {
	if e.Key() == controlKey {
		if _, err := q.applyControl(e.Value(), e.Revision()); err != nil {
			q.opts.Log.Error("what is held back cannot be read, it stays as it was", "error", err)
		}
		return
	}
	if q.discard(e.Key()) || q.post(e.Key(), e.Value(), e.Revision()) {
		return
	}
	id, err := idOf(e.Key())
	if err == nil && e.Operation() != jetstream.KeyValuePut {
		q.forget(id, e.Revision())
		return
	}
	if err != nil {
		q.opts.Log.Error("ignoring a record in the bucket of jobs", "error", err)
		return
	}
	r, err := decodeRecord(e.Value())
	if err != nil {
		q.damage(id, undecodable(id, err))
		return
	}
	q.apply(id, &r, e.Revision())
}

// undecodable reports a record that can be read and is none.
func undecodable(id string, err error) *store.DataLossError {
	return &store.DataLossError{Bucket: Records, Key: keyOf(id), Detail: err.Error()}
}

// apply takes in a revision that was read, written or heard of, and tells
// those it concerns.
func (q *Queue) apply(id string, r *record, rev uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.index.apply(id, r, rev) {
		return
	}
	for s := range q.subs[id] {
		s.offer(r.job(id, rev))
	}
	for f := range q.feeds {
		f.offer(id)
	}
	if l := q.leases[id]; l != nil {
		if cause := l.lost(r.State, r.Lease); cause != nil {
			delete(q.leases, id)
			l.cancel(cause)
		}
	}
}

// read returns a job's record and revision, and applies them.
func (q *Queue) read(ctx context.Context, id string) (*record, uint64, error) {
	q.mu.Lock()
	var known uint64
	if e := q.index.byID[id]; e != nil {
		known = e.rev
	}
	q.mu.Unlock()
	e, err := q.records.Get(ctx, keyOf(id))
	if loss := (*store.DataLossError)(nil); errors.As(err, &loss) {
		q.damage(id, loss)
	}
	if err != nil {
		return nil, 0, err
	}
	if e == nil {
		q.forget(id, known) // another process removed it
		return nil, 0, &NotFoundError{ID: id}
	}
	r, err := decodeRecord(e.Value())
	if err != nil {
		loss := undecodable(id, err)
		q.damage(id, loss)
		return nil, 0, loss
	}
	q.apply(id, &r, e.Revision())
	return &r, e.Revision(), nil
}

// errConflict reports that a record is not at the revision it was thought at.
var errConflict = errors.New("jobs: the record has changed")

// write replaces the record at revision rev, or creates it when rev is 0, and
// returns the new revision.
func (q *Queue) write(ctx context.Context, id string, r *record, rev uint64) (uint64, error) {
	if r.Ledger != "" && r.takes() != r.Charged {
		return q.writeCharged(ctx, id, r, rev)
	}
	return q.writeAlone(ctx, id, r, rev)
}

// writeAlone is write for a job that changes no ledger.
func (q *Queue) writeAlone(ctx context.Context, id string, r *record, rev uint64) (uint64, error) {
	b, err := r.encode()
	if err != nil {
		return 0, fmt.Errorf("jobs: job %s: %w", id, err)
	}
	if rev == 0 {
		rev, err = q.records.KV.Create(ctx, keyOf(id), b)
	} else {
		rev, err = q.records.KV.Update(ctx, keyOf(id), b, rev)
	}
	if errors.Is(err, jetstream.ErrKeyExists) || errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		return 0, errConflict
	}
	if err != nil {
		return 0, fmt.Errorf("jobs: writing job %s: %w", id, err)
	}
	failpoint.Hit(failpoint.RecordWritten)
	q.apply(id, r, rev)
	return rev, nil
}

// Submit stores a job and returns once it is safe. A malformed id gives *IDError,
// what is too large *store.SizeError. Submitting the same again returns the job as
// it stands, with created false; another Digest gives *ConflictError. A new job
// belongs to the trace of the context; it waits if it needs anything, and is
// queued otherwise. It is refused with *FullError when too much is queued, with
// *BudgetError when its tenant cannot pay, *HeldError when its tenant or its pool
// is held back, and *CycleError when it would wait for itself.
func (q *Queue) Submit(ctx context.Context, s Submission) (job Job, created bool, err error) {
	if err := s.check(); err != nil {
		return Job{}, false, err
	}
	if len(s.Needs) > 0 && q.opts.Ready == nil {
		return Job{}, false, fmt.Errorf("jobs: job %s: this queue cannot tell whether what it needs is there", s.ID)
	}
	r, rev, err := q.read(ctx, s.ID)
	if notFound := (*NotFoundError)(nil); errors.As(err, &notFound) {
		r, rev, created, err = q.create(ctx, &s)
	}
	if err != nil {
		return Job{}, false, err
	}
	if r.identity() != s.digest() {
		return Job{}, false, &ConflictError{ID: s.ID}
	}
	job = r.job(s.ID, rev)
	job.Spec = s.Spec
	return job, created, nil
}

// create stores a new job, or returns the one that another submission stored
// first.
func (q *Queue) create(ctx context.Context, s *Submission) (*record, uint64, bool, error) {
	free, err := q.reserve(s)
	if err != nil {
		return nil, 0, false, err
	}
	defer free()
	// Anew: a job of this id may just be removed, with what it left.
	d, err := q.data.Renew(ctx, "spec/"+dataName(s.ID), s.Spec)
	if err != nil {
		return nil, 0, false, err
	}
	r := &record{
		Version: recordVersion, State: Queued, Spec: d, Created: time.Now().UTC(), Trace: traceparent(ctx),
		Note: s.Note, Pool: s.Pool, Cost: s.Cost, Priority: s.Priority,
	}
	if s.TimeLimit > 0 {
		r.Deadline = r.Created.Add(s.TimeLimit)
	}
	if id := s.digest(); id != d {
		r.Digest = (*digest)(&id)
	}
	if len(s.Needs) > 0 {
		r.State = Waiting
		if s.WaitLimit > 0 {
			r.WaitUntil = r.Created.Add(s.WaitLimit)
		}
	}
	for _, n := range s.Needs {
		r.Needs = append(r.Needs, n[:]...)
	}
	for _, m := range s.Makes {
		r.Makes = append(append(r.Makes, m.Name[:]...), m.Tag)
	}
	tenant := q.opts.TenantOf(s.ID)
	if p := q.opts.Policy(tenant).withDefaults(); p.Budget > 0 {
		r.Ledger = ledgerKey(tenant, r.Created.Truncate(p.Period), p.Period)
	}
	failpoint.Hit(failpoint.SubmitBeforeRecord)
	rev, err := q.write(ctx, s.ID, r, 0)
	if errors.Is(err, errConflict) {
		r, rev, err = q.read(ctx, s.ID)
		return r, rev, false, err
	}
	failpoint.Hit(failpoint.SubmitBeforeAnswer)
	return r, rev, true, err
}

// reserve admits a submission that is new and counts it until free is called,
// which is when the index knows of it.
func (q *Queue) reserve(s *Submission) (free func(), err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	x := q.index
	t := x.tenant(q.opts.TenantOf(s.ID))
	p := q.opts.Policy(t.name).withDefaults()
	if err := x.control.holds(t.name, s.Pool); err != nil {
		return nil, err
	}
	if n := x.states[Waiting] + x.states[Queued] + q.reserved; n >= q.opts.MaxQueued {
		return nil, &FullError{Unit: "jobs", Limit: int64(q.opts.MaxQueued)}
	}
	if n := t.states[Waiting] + t.states[Queued] + t.reserved; p.MaxQueued > 0 && n >= p.MaxQueued {
		return nil, &FullError{Tenant: t.name, Unit: "jobs", Limit: int64(p.MaxQueued)}
	}
	if limit := q.opts.MaxBacklog; limit > 0 && x.backlog+q.promised+s.Cost > limit && x.backlog+q.promised > 0 {
		return nil, &FullError{Unit: "bootstraps", Limit: limit}
	}
	if used, _, end := x.used(t, p, time.Now()); p.Budget > 0 && used+t.promised+s.Cost > p.Budget {
		return nil, &BudgetError{Tenant: t.name, Budget: p.Budget, Used: used + t.promised, Cost: s.Cost, Refill: end}
	}
	if name, closed := x.closes(t, s.Needs, names(s.Makes)); closed {
		return nil, &CycleError{ID: s.ID, Name: name}
	}
	count := func(sign int) {
		q.reserved += sign
		t.reserved += sign
		q.promised += int64(sign) * s.Cost
		t.promised += int64(sign) * s.Cost
	}
	count(+1)
	return func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		count(-1)
	}, nil
}

func names(made []Made) []Name {
	out := make([]Name, len(made))
	for i, m := range made {
		out[i] = m.Name
	}
	return out
}

// traceparent names the span of a context, or is empty.
func traceparent(ctx context.Context) string {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier.Get("traceparent")
}

// dataName is the part of a job-data prefix that names the job.
func dataName(id string) string { return keyOf(id)[len(keyPrefix):] }

// Stat returns a job without its specification and result.
func (q *Queue) Stat(ctx context.Context, id string) (Job, error) {
	if err := checkID(id); err != nil {
		return Job{}, err
	}
	r, rev, err := q.read(ctx, id)
	if err != nil {
		return Job{}, err
	}
	return r.job(id, rev), nil
}

// Get returns a job with its specification and, when it is Done, its result.
// It gives *NotFoundError for a job that was never submitted.
func (q *Queue) Get(ctx context.Context, id string) (Job, error) {
	if err := checkID(id); err != nil {
		return Job{}, err
	}
	r, rev, err := q.read(ctx, id)
	if err != nil {
		return Job{}, err
	}
	job := r.job(id, rev)
	job.Spec, err = q.data.Get(ctx, "spec/"+dataName(id), r.Spec)
	if err == nil && r.Result != nil {
		job.Result, err = q.data.Get(ctx, "result/"+dataName(id), *r.Result)
	}
	if err != nil {
		return Job{}, err
	}
	return job, nil
}

// Stats counts the jobs of a Queue.
type Stats struct {
	States  map[State]int // how many jobs are in each state
	Oldest  time.Time     // when the job that has been queued for longest was submitted; zero when none is
	Backlog int64         // what the jobs cost that wait or are queued
	Damaged int           // jobs whose records are damaged, in none of the states, but for those that are discarded
}

// Stats returns what the Queue knows now, without asking the store.
func (q *Queue) Stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := Stats{States: make(map[State]int), Oldest: q.index.oldest()}
	for state := Waiting; state <= Cancelled; state++ {
		s.States[state] = q.index.states[state]
	}
	s.Backlog, s.Damaged = q.index.backlog, q.index.damaged()
	return s
}

// Usage is what a tenant has had and may have.
type Usage struct {
	Tenant string
	Policy Policy
	// Used is what the jobs cost that were submitted between From and To: what
	// they have spent if they have ended, and else what they are going to cost.
	Used     int64
	From, To time.Time
	States   map[State]int // how many of its jobs are in each state
}

// Usage returns what the Queue knows of a tenant now, without asking the store.
func (q *Queue) Usage(tenant string) Usage {
	q.mu.Lock()
	defer q.mu.Unlock()
	u := Usage{Tenant: tenant, Policy: q.opts.Policy(tenant).withDefaults(), States: make(map[State]int)}
	t := q.index.tenants[tenant]
	if t == nil {
		t = newTenant(tenant) // which is not kept
	}
	u.Used, u.From, u.To = q.index.used(t, u.Policy, time.Now())
	for state := Waiting; state <= Cancelled; state++ {
		u.States[state] = t.states[state]
	}
	return u
}

// Tenants returns the tenants that have jobs, in order.
func (q *Queue) Tenants() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Sorted(maps.Keys(q.index.tenants))
}

// Cancel ends a job that is not terminal, and returns it without specification
// and result. The worker that runs it, if any, sees its lease's context end.
// Cancelling a terminal job changes nothing and is no error.
func (q *Queue) Cancel(ctx context.Context, id string) (Job, error) {
	if err := checkID(id); err != nil {
		return Job{}, err
	}
	return q.change(ctx, id, func(r *record) bool {
		if r.State.Terminal() {
			return false
		}
		r.abandon(Cancelled)
		return true
	})
}

// Retry has a Failed job tried again, as if it had been submitted now: its
// attempts count from zero, and its deadlines have no effect any more. It gives
// *StateError for a job in another state.
func (q *Queue) Retry(ctx context.Context, id string) (Job, error) {
	if err := checkID(id); err != nil {
		return Job{}, err
	}
	retried := false
	job, err := q.change(ctx, id, func(r *record) bool {
		if retried = r.State == Failed; !retried {
			return false
		}
		r.State = Queued
		if len(r.Needs) > 0 {
			r.State = Waiting
		}
		r.Attempts, r.Finished, r.Error, r.Cause, r.Reason = 0, time.Time{}, nil, "", ""
		r.Deadline, r.WaitUntil = time.Time{}, time.Time{}
		return true
	})
	if err == nil && !retried {
		err = &StateError{ID: id, State: job.State, Want: Failed}
	}
	return job, err
}

// change changes a record by compare-and-set, again and again until nobody else
// does meanwhile, unless do says that there is nothing to change.
func (q *Queue) change(ctx context.Context, id string, do func(*record) bool) (Job, error) {
	for {
		r, rev, err := q.read(ctx, id)
		if err != nil {
			return Job{}, err
		}
		before := rev
		r.next(rev)
		if !do(r) {
			return r.job(id, before), nil
		}
		if rev, err = q.write(ctx, id, r, before); err == nil {
			return r.job(id, rev), nil
		}
		if !errors.Is(err, errConflict) {
			return Job{}, err
		}
	}
}

// ListOptions selects jobs.
type ListOptions struct {
	States []State // any when empty
	Limit  int     // 100 when zero, at most 1000
	After  string  // the token of the page before; empty for the first
	Prefix string  // of the ids
	Cause  Cause   // of Failed jobs; any, and any other state, when empty
	Newest bool    // the newest first
}

// List returns jobs in the order of their submission, or the reverse, without specifications and
// results, and the token of the next page, empty when there is none. Damaged jobs are
// among those that failed, the last ones where their submission is not known. What
// another process changed a moment ago may be missing. A malformed token gives
// ErrPageToken.
func (q *Queue) List(ctx context.Context, opts ListOptions) ([]Job, string, error) {
	var after uint64
	if opts.After != "" {
		var err error
		after, err = strconv.ParseUint(opts.After, 10, 63)
		if err != nil {
			return nil, "", ErrPageToken
		}
	}
	if opts.Limit <= 0 {
		opts.Limit = defaultPage
	}
	opts.Limit = min(opts.Limit, maxPage)
	wanted := func(s State, c Cause) bool {
		return (len(opts.States) == 0 || slices.Contains(opts.States, s)) && (opts.Cause == "" || opts.Cause == c)
	}

	var ids []string
	var token string
	q.mu.Lock()
	order := q.index.order
	var entries iter.Seq2[int, *entry]
	switch {
	case !opts.Newest:
		at, _ := slices.BinarySearchFunc(order, after+1, bySeq)
		entries = slices.All(order[at:])
	case opts.After == "":
		entries = slices.Backward(order)
	default:
		at, _ := slices.BinarySearchFunc(order, after, bySeq)
		entries = slices.Backward(order[:at])
	}
	for _, e := range entries {
		if !wanted(e.state, e.cause) || !q.index.told(e) || !strings.HasPrefix(e.id, opts.Prefix) {
			continue
		}
		if len(ids) == opts.Limit {
			token = strconv.FormatUint(after, 10)
			break
		}
		ids = append(ids, e.id)
		after = e.seq
	}
	q.mu.Unlock()

	var list []Job
	for _, id := range ids {
		r, rev, err := q.read(ctx, id)
		if errors.As(err, new(*store.DataLossError)) {
			if job, told := q.lost(id); told {
				list = append(list, job)
			}
			continue
		}
		if errors.As(err, new(*NotFoundError)) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, "", err
		}
		if wanted(r.State, r.Cause) {
			list = append(list, r.job(id, rev))
		}
	}
	return list, token, nil
}

// Wait returns a job, as Get does, once it is terminal.
func (q *Queue) Wait(ctx context.Context, id string) (Job, error) {
	for job, err := range q.Watch(ctx, id) {
		if err != nil {
			return Job{}, err
		}
		if job.State.Terminal() {
			break
		}
	}
	return q.Get(ctx, id)
}

// Watch yields a job, without specification and result, as it stands and after
// each change of state, attempts or progress until it is terminal. Changes that
// follow each other faster than they are taken may be yielded as one. An error is
// the last thing yielded.
func (q *Queue) Watch(ctx context.Context, id string) iter.Seq2[Job, error] {
	return func(yield func(Job, error) bool) {
		s := &subscription{news: make(chan struct{}, 1)}
		q.subscribe(id, s)
		defer q.unsubscribe(id, s)
		job, err := q.Stat(ctx, id)
		if err != nil {
			yield(Job{}, err)
			return
		}
		for yield(job, nil) && !job.State.Terminal() {
			last := job
			for job.Revision <= last.Revision && job.Cause != Lost || job.same(last) {
				select {
				case <-s.news:
					q.mu.Lock()
					job = s.job
					q.mu.Unlock()
				case <-ctx.Done():
					yield(Job{}, ctx.Err())
					return
				case <-q.ctx.Done():
					yield(Job{}, ErrClosed)
					return
				}
			}
		}
	}
}

// same reports whether two revisions of a job differ in nothing but the renewal
// of a lease.
func (j Job) same(k Job) bool {
	return j.State == k.State && j.Attempts == k.Attempts && j.Started.Equal(k.Started) && string(j.Progress) == string(k.Progress)
}

// subscription is one Watch's mailbox: the latest revision only. The Queue's
// mutex guards job.
type subscription struct {
	job  Job
	news chan struct{}
}

func (s *subscription) offer(job Job) {
	s.job = job
	select {
	case s.news <- struct{}{}:
	default:
	}
}

func (q *Queue) subscribe(id string, s *subscription) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.subs[id] == nil {
		q.subs[id] = map[*subscription]struct{}{}
	}
	q.subs[id][s] = struct{}{}
}

func (q *Queue) unsubscribe(id string, s *subscription) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.subs[id], s)
	if len(q.subs[id]) == 0 {
		delete(q.subs, id)
	}
}

// Claim waits for a job that may be run and makes it this worker's. The attempt
// is counted before Claim returns. A job that has used up its attempts becomes
// Failed instead, and so does one whose specification is lost. The error is the
// context's, ErrClosed, or the store's; after the latter, pause and call again.
func (q *Queue) Claim(ctx context.Context) (*Lease, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if q.ctx.Err() != nil {
			return nil, ErrClosed
		}
		q.mu.Lock()
		e, due := q.index.claim(time.Now())
		wake := q.index.wake
		var rev uint64
		if e != nil {
			rev = e.rev
		}
		q.mu.Unlock()
		if e == nil {
			q.pause(ctx, wake, due)
			continue
		}
		l, err := q.claim(ctx, e.id, rev)
		q.mu.Lock()
		if errors.As(err, new(*store.DataLossError)) || errors.As(err, new(*NotFoundError)) {
			err = nil // lost, or removed meanwhile
		}
		q.index.unclaim(e)
		q.mu.Unlock()
		if l != nil || err != nil {
			return l, err
		}
	}
}

// pause waits for any reason to look for a job again.
func (q *Queue) pause(ctx context.Context, wake <-chan struct{}, due time.Time) {
	var timeout <-chan time.Time
	if !due.IsZero() {
		t := time.NewTimer(time.Until(due))
		defer t.Stop()
		timeout = t.C
	}
	select {
	case <-wake:
	case <-timeout:
	case <-ctx.Done():
	case <-q.ctx.Done():
	}
}

// claim makes a job this worker's, given the revision at which it was found
// claimable. It returns nil when the job has changed since.
func (q *Queue) claim(ctx context.Context, id string, seen uint64) (*Lease, error) {
	r, rev, err := q.read(ctx, id)
	if err != nil || rev != seen {
		return nil, err
	}
	// A Claim that is given up must not leave a job claimed by nobody, so
	// what follows is bounded by time and not by the caller.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	spec, err := q.data.Get(ctx, "spec/"+dataName(id), r.Spec)
	loss := (*store.DataLossError)(nil)
	if err != nil && !errors.As(err, &loss) {
		return nil, err
	}
	r.next(rev)
	switch {
	case loss != nil:
		r.fail(Lost, loss.Error())
	case r.Attempts >= q.opts.MaxAttempts:
		r.fail(Attempts, fmt.Sprintf("given up after %d attempts; the worker of the last one was lost", r.Attempts))
	default:
		r.State = Running
		r.Attempts++
		r.Started = time.Now().UTC()
		r.Progress = nil
		r.Lease = rand.Text()
		r.LeaseFor = q.opts.LeaseDuration
	}
	asked := time.Now()
	failpoint.Hit(failpoint.ClaimBeforeRecord)
	rev, err = q.write(ctx, id, r, rev)
	if errors.Is(err, errConflict) {
		_, _, err = q.read(ctx, id) // Else the index would offer it again at once.
		return nil, err
	}
	if err != nil || r.State != Running {
		return nil, err
	}
	return q.newLease(id, spec, r, rev, asked), nil
}
