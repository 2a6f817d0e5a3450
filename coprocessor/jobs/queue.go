package jobs

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/propagation"
	"golang.org/x/sync/errgroup"

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

	// MaxQueued bounds the jobs that wait, 10000 when zero. Several processes
	// that submit at once may exceed it by what is in flight.
	MaxQueued int

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
	reserved int // submissions on their way
	leases   map[string]*Lease
	subs     map[string]map[*subscription]struct{}
}

// Open opens the queue in js, creating it when it is absent. The context bounds
// the opening only.
func Open(ctx context.Context, js jetstream.JetStream, opts Options) (*Queue, error) {
	if opts.MaxAttempts < 0 || opts.LeaseDuration < 0 || opts.RetryDelay < 0 || opts.MaxQueued < 0 {
		return nil, fmt.Errorf("jobs: negative option: %d attempts, lease %v, delay %v, %d queued",
			opts.MaxAttempts, opts.LeaseDuration, opts.RetryDelay, opts.MaxQueued)
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
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	records, err := store.OpenBucket(ctx, js, "jobs", 1)
	if err != nil {
		return nil, err
	}
	data, err := store.OpenBlobs(ctx, js, "job-data")
	if err != nil {
		return nil, err
	}
	q := &Queue{
		opts: opts, records: records, data: data, index: newIndex(),
		leases: map[string]*Lease{}, subs: map[string]map[*subscription]struct{}{},
	}
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
	info, err := q.records.Stream.Info(ctx)
	if err != nil {
		return fmt.Errorf("jobs: opening: %w", err)
	}
	w, err := q.watch(info.State.LastSeq)
	if err != nil {
		return fmt.Errorf("jobs: opening: %w", err)
	}
	q.wg.Go(func() { q.follow(js.Conn(), w, info.State.LastSeq) })

	keys, err := q.records.Keys(ctx)
	if err != nil {
		return fmt.Errorf("jobs: opening: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for _, key := range keys {
		g.Go(func() error {
			id, err := idOf(key)
			if err != nil {
				q.opts.Log.Error("ignoring a record in the bucket of jobs", "error", err)
				return nil
			}
			_, _, err = q.read(ctx, id)
			if loss := (*store.DataLossError)(nil); errors.As(err, &loss) {
				q.opts.Log.Error("a job is lost", "job", id, "error", err)
				return nil
			}
			return err
		})
	}
	return g.Wait()
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
// new one.
func (q *Queue) follow(conn *nats.Conn, w jetstream.KeyWatcher, seen uint64) {
	connected := conn.StatusChanged(nats.CONNECTED)
	defer conn.RemoveStatusListener(connected)
	for {
		select {
		case <-q.ctx.Done():
			q.unwatch(w)
			return
		case <-connected:
			q.unwatch(w)
		case e, ok := <-w.Updates():
			if ok {
				if e != nil { // Nil marks the end of the initial values.
					seen = e.Revision()
					q.applyEntry(e)
				}
				continue
			}
			q.opts.Log.Warn("the watch of jobs ended")
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

// applyEntry applies a change that the watch reports.
func (q *Queue) applyEntry(e jetstream.KeyValueEntry) {
	id, err := idOf(e.Key())
	var r record
	if err == nil {
		r, err = decodeRecord(e.Value())
	}
	if err != nil {
		q.opts.Log.Error("ignoring a record in the bucket of jobs", "error", err)
		return
	}
	q.apply(id, &r, e.Revision())
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
	known := q.index.byID[id] != nil
	q.mu.Unlock()
	e, err := q.records.Get(ctx, keyOf(id))
	if err != nil {
		return nil, 0, err
	}
	if e == nil {
		if known {
			return nil, 0, &store.DataLossError{Bucket: "jobs", Key: keyOf(id), Detail: "its record is missing"}
		}
		return nil, 0, &NotFoundError{ID: id}
	}
	r, err := decodeRecord(e.Value())
	if err != nil {
		return nil, 0, &store.DataLossError{Bucket: "jobs", Key: keyOf(id), Detail: err.Error()}
	}
	q.apply(id, &r, e.Revision())
	return &r, e.Revision(), nil
}

// errConflict reports that a record is not at the revision it was thought at.
var errConflict = errors.New("jobs: the record has changed")

// write replaces the record at revision rev, or creates it when rev is 0, and
// returns the new revision.
func (q *Queue) write(ctx context.Context, id string, r *record, rev uint64) (uint64, error) {
	b, err := json.Marshal(r)
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
	q.apply(id, r, rev)
	return rev, nil
}

// Submit stores a job and returns once it is safe. The id is 1 to 189 characters
// of A-Z a-z 0-9 . _ - or the error is *IDError; the specification is at most
// store.MaxRecord bytes, or the error is *store.SizeError. Submitting the same
// again returns the job as it stands, with created false; another specification
// gives *ConflictError. A new job belongs to the trace of the context. When MaxQueued jobs wait the error is *FullError.
func (q *Queue) Submit(ctx context.Context, id string, spec []byte) (job Job, created bool, err error) {
	if err := checkID(id); err != nil {
		return Job{}, false, err
	}
	if len(spec) > store.MaxRecord {
		return Job{}, false, &store.SizeError{What: "job specification", Size: int64(len(spec)), Limit: store.MaxRecord}
	}
	r, rev, err := q.read(ctx, id)
	if notFound := (*NotFoundError)(nil); errors.As(err, &notFound) {
		r, rev, created, err = q.create(ctx, id, spec)
	}
	if err != nil {
		return Job{}, false, err
	}
	if r.Spec != sha256.Sum256(spec) {
		return Job{}, false, &ConflictError{ID: id}
	}
	job = r.job(id, rev)
	job.Spec = spec
	return job, created, nil
}

// create stores a new job, or returns the one that another submission stored
// first.
func (q *Queue) create(ctx context.Context, id string, spec []byte) (*record, uint64, bool, error) {
	q.mu.Lock()
	full := q.index.states[Queued]+q.reserved >= q.opts.MaxQueued
	if !full {
		q.reserved++
	}
	q.mu.Unlock()
	if full {
		return nil, 0, false, &FullError{Limit: q.opts.MaxQueued}
	}
	defer func() {
		q.mu.Lock()
		q.reserved--
		q.mu.Unlock()
	}()

	d, err := q.data.Put(ctx, "spec/"+dataName(id), spec)
	if err != nil {
		return nil, 0, false, err
	}
	r := &record{Version: recordVersion, State: Queued, Spec: d, Created: time.Now().UTC(), Trace: traceparent(ctx)}
	rev, err := q.write(ctx, id, r, 0)
	if errors.Is(err, errConflict) {
		r, rev, err = q.read(ctx, id)
		return r, rev, false, err
	}
	return r, rev, true, err
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
	States map[State]int // how many jobs are in each state
	Oldest time.Time     // when the job that has been queued for longest was submitted; zero when none is
}

// Stats returns what the Queue knows now, without asking the store.
func (q *Queue) Stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := Stats{States: make(map[State]int), Oldest: q.index.oldest()}
	for state := Queued; state <= Cancelled; state++ {
		s.States[state] = q.index.states[state]
	}
	return s
}

// Cancel ends a job that is not terminal, and returns it without specification
// and result. The worker that runs it, if any, sees its lease's context end.
// Cancelling a terminal job changes nothing and is no error.
func (q *Queue) Cancel(ctx context.Context, id string) (Job, error) {
	if err := checkID(id); err != nil {
		return Job{}, err
	}
	for {
		r, rev, err := q.read(ctx, id)
		if err != nil {
			return Job{}, err
		}
		if r.State.Terminal() {
			return r.job(id, rev), nil
		}
		r.next(rev)
		r.abandon(Cancelled)
		rev, err = q.write(ctx, id, r, rev)
		if err == nil {
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
}

// List returns jobs in the order of their submission, without specifications and
// results, and the token of the next page, empty when there is none. What
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
	wanted := func(s State) bool { return len(opts.States) == 0 || slices.Contains(opts.States, s) }

	var ids []string
	var token string
	q.mu.Lock()
	order := q.index.order
	at, _ := slices.BinarySearchFunc(order, after+1, bySeq)
	for _, e := range order[at:] {
		if !wanted(e.state) || e.lost || !strings.HasPrefix(e.id, opts.Prefix) {
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
		if loss := (*store.DataLossError)(nil); errors.As(err, &loss) {
			q.opts.Log.Error("a job is lost", "job", id, "error", err)
			continue
		}
		if err != nil {
			return nil, "", err
		}
		if wanted(r.State) {
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
			for job.Revision <= last.Revision || job.same(last) {
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
		if loss := (*store.DataLossError)(nil); errors.As(err, &loss) {
			e.lost = true
			q.opts.Log.Error("a job is lost", "job", e.id, "error", err)
			err = nil
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
		r.Reason = loss.Error()
		r.abandon(Failed)
	case r.Attempts >= q.opts.MaxAttempts:
		r.Reason = fmt.Sprintf("given up after %d attempts; the worker of the last one was lost", r.Attempts)
		r.abandon(Failed)
	default:
		r.State = Running
		r.Attempts++
		r.Started = time.Now().UTC()
		r.Progress = nil
		r.Lease = rand.Text()
		r.LeaseFor = q.opts.LeaseDuration
	}
	asked := time.Now()
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
