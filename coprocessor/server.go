// Package coprocessor is the service: it takes jobs on encrypted integers over
// gRPC, computes them without being able to read anything, and returns
// ciphertexts. The edge (service.go, transfer.go) checks what arrives and writes
// it down, the queue (coprocessor/jobs) keeps it, and workers (run.go) claim jobs
// and compute. What is acknowledged survives a crash of the process. Arithmetic
// does not live here.
package coprocessor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"google.golang.org/protobuf/proto"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/bootstrap"
	"github.com/tacit-fhe/tacit/coprocessor/access"
	"github.com/tacit-fhe/tacit/coprocessor/graph"
	"github.com/tacit-fhe/tacit/coprocessor/internal/failpoint"
	"github.com/tacit-fhe/tacit/coprocessor/jobs"
	"github.com/tacit-fhe/tacit/coprocessor/keyring"
	"github.com/tacit-fhe/tacit/coprocessor/monitor"
	"github.com/tacit-fhe/tacit/coprocessor/signature"
	"github.com/tacit-fhe/tacit/coprocessor/store"
	"github.com/tacit-fhe/tacit/coprocessor/upkeep"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/integer"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// Options configures a Server. Dir, Params and Backend are required.
type Options struct {
	// Dir is the data directory: the key that signs receipts, uploads under way and,
	// unless Store says otherwise, queue, ciphertexts and keys.
	Dir string
	// Store connects to the store of queue, ciphertexts and keys, which other
	// processes may share; nil is an embedded server over Dir for this one alone.
	Store func(context.Context) (*store.Node, error)
	// Role is what this process does of the work; empty means RoleAll.
	Role Role
	// Lease is how long a job stays with a process that gives no sign of life,
	// before another one takes it over; 0 means 30 s.
	Lease time.Duration
	// ServiceKey is the file with the key that signs receipts, made where there is
	// none; empty means service.key in Dir.
	ServiceKey string
	// Params is the parameter set of the keys that the service accepts.
	Params *fhe.Parameters
	// Backend computes.
	Backend accel.Backend
	// Mock makes a service for tests: it computes on plaintexts, with the parameters
	// fhe.MockPreset alone, and keeps everything in memory. Store must be nil.
	Mock bool
	// Workers is the number of cores that bootstrap; 0 means all.
	Workers int
	// ConcurrentJobs is how many jobs run at a time; 0 means so many that chains of
	// bootstraps, one in each job, fill the batches of all workers, but at most 64.
	ConcurrentJobs int
	// KeyMemory is how many bytes of prepared evaluation keys stay in memory when they
	// are not in use; 0 means 1 GiB. Where the backend computes on devices, it is at most
	// what they have room for, which have a copy of each.
	KeyMemory int64
	// JobMemory is how many bytes the jobs that run may take together, by an estimate, besides
	// keys, and with Callers those of one principal half of; 0 means 2 GiB. A job that alone
	// takes more is refused.
	JobMemory int64
	// MaxKey bounds the container of an evaluation key or a migration key in bytes; 0 means DefaultMaxKey. Whoever
	// may upload keys can make the service hold prepared ones of about twice that in memory, one
	// for each job that runs.
	MaxKey int64
	// MaxQueued is how many jobs may wait; 0 means 10,000.
	MaxQueued int
	// MaxBacklog is how many bootstraps the jobs that wait may be going to take
	// together; 0 means no limit.
	MaxBacklog int64
	// MaxAttempts is how often a job is begun before it fails for good, where an
	// attempt that ends with a crash of the process counts; 0 means 10.
	MaxAttempts int
	// Keep says which jobs that have ended and which ciphertexts are kept, and
	// CollectInterval how often the others are removed, by one of the processes that
	// share a store; 0 means an hour. Jobs that are too many are removed within seconds.
	Keep            upkeep.Policy
	CollectInterval time.Duration
	// ServeKeys are the evaluation keys whose jobs this process computes; empty means
	// all. Other processes have to see to the jobs of others.
	ServeKeys [][32]byte
	// DrainTimeout is how long running jobs may go on after Run is told to
	// stop, before they are given back to the queue; 0 means 30 s.
	DrainTimeout time.Duration
	// Limits bounds job specs; the zero value means graph.DefaultLimits.
	Limits graph.Limits
	// Version is reported to clients.
	Version string
	// Callers knows who may call; with nil, everyone who reaches the service is
	// access.Local, an administrator.
	Callers *access.Callers
	// Audience is the name of the service in signed calls; empty means
	// signature.DefaultAudience.
	Audience string
	// Audit receives every call that was to change something or was denied; nil
	// discards it.
	Audit *slog.Logger
	// Log receives what happens; nil discards it.
	Log *slog.Logger
	// Tracer makes spans of jobs, of their time in the queue and of their nodes;
	// nil makes none.
	Tracer trace.TracerProvider

	patience time.Duration // with callers that do not move on
}

// Role is what a process does of a service that several processes share.
type Role string

// The roles.
const (
	RoleAll    Role = "all"    // both
	RoleAPI    Role = "api"    // answer calls
	RoleWorker Role = "worker" // compute jobs
)

const (
	// DefaultMaxKey bounds the container of an evaluation key or a migration key in bytes, unless Options.MaxKey
	// says otherwise: enough for all keys but those of CKKS bootstrapping, of 1.8 GB.
	DefaultMaxKey = 512 << 20
	// MaxUpload bounds the container of one upload of ciphertexts in bytes. A value
	// made with the secret key is stored in about what arrived of it; each of at most
	// integer.MaxListValues made with the public key keeps a mask of its own.
	MaxUpload = 8 << 20
	// MaxStored bounds what is stored of one upload of ciphertexts, in bytes.
	MaxStored = MaxUpload + MaxUpload/2
	// maxEstimates bounds the specs that are validated at a time: the largest one takes
	// seconds of one core and a hundred megabytes.
	maxEstimates = 4
	// maxUploads bounds the uploads under way; half of them may be of one principal.
	maxUploads = 16
	// MaxChunk bounds one chunk of a stream in bytes.
	MaxChunk = 1 << 20
	// maxHandles bounds the handles of one call.
	maxHandles = 1024
	// maxMessage bounds every message that is received: a spec, or a chunk.
	messageSlack = 64 << 10

	maxConcurrentJobs = 64

	progressInterval = 100 * time.Millisecond
	// progressPerByte spaces out the notes of jobs with many nodes: half a megabyte
	// comes every two seconds.
	progressPerByte = 4 * time.Microsecond
	// settleTimeout bounds one try to tell the queue how an attempt ended.
	settleTimeout = 10 * time.Second
	// storePause is the pause before the store is asked again.
	storePause = time.Second
)

func (o Options) withDefaults() Options {
	o.Role = cmp.Or(o.Role, RoleAll)
	o.CollectInterval = cmp.Or(o.CollectInterval, time.Hour)
	o.ServiceKey = cmp.Or(o.ServiceKey, filepath.Join(o.Dir, "service.key"))
	if o.Workers == 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.ConcurrentJobs == 0 {
		o.ConcurrentJobs = min(bootstrap.MaxBatch*max(o.Workers, 1), maxConcurrentJobs)
	}
	if o.KeyMemory == 0 {
		o.KeyMemory = 1 << 30
	}
	o.MaxKey = cmp.Or(o.MaxKey, DefaultMaxKey)
	o.JobMemory = cmp.Or(o.JobMemory, DefaultJobMemory)
	if o.MaxQueued == 0 {
		o.MaxQueued = 10_000
	}
	if o.MaxAttempts == 0 {
		o.MaxAttempts = 10
	}
	if o.DrainTimeout == 0 {
		o.DrainTimeout = 30 * time.Second
	}
	if o.Limits == (graph.Limits{}) {
		o.Limits = graph.DefaultLimits()
	}
	if o.Audience == "" {
		o.Audience = signature.DefaultAudience
	}
	if o.Audit == nil {
		o.Audit = slog.New(slog.DiscardHandler)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Log = slog.New(contextLog{o.Log.Handler()})
	if o.Tracer == nil {
		o.Tracer = noop.NewTracerProvider()
	}
	o.patience = cmp.Or(o.patience, defaultPatience)
	return o
}

// jobMemoryOfOne is how many bytes the jobs of one principal may take.
func (o *Options) jobMemoryOfOne() int64 {
	if o.Callers == nil {
		return o.JobMemory // everyone is one
	}
	return o.JobMemory / 2
}

// Server is one process of a coprocessor.
type Server struct {
	tacitv1.UnimplementedCoprocessorServer

	opts        Options
	node        *store.Node
	ciphertexts *store.Ciphertexts
	keys        *store.Keys
	ring        *keyring.Ring
	programs    *store.Bucket
	lists       *access.Lists
	replay      *access.Replay
	nonces      *access.Nonces // nil where no other process works on the store
	queue       *jobs.Queue
	engines     *engines
	integers    *integer.Evaluator // for costs alone
	signer      serviceKey
	health      *health.Server
	turn        *upkeep.Turn // of collecting
	uploads     *shares      // under way
	partials    *partials    // uploads that were interrupted, and those under way
	estimates   *turns       // of specs to be validated
	drafts      *drafts      // of jobs that no worker has begun
	memory      *jobMemory   // of jobs that run
	metrics     *monitor.Metrics
	started     time.Time
	gate        *gate // closed while the process drains
	running     atomic.Int32
	calls       *shares       // under way, by address
	probes      *shares       // calls of the health service
	callsOf     *shares       // under way, by principal
	fetches     *shares       // under way
	rotating    sync.Mutex    // held while the service key is replaced
	migrating   chan struct{} // has a token when a migration was started
	serving     atomic.Bool   // Run runs and has not been told to stop
}

// Open opens the store and continues where the process before stopped. Jobs are
// computed while Run runs.
func Open(ctx context.Context, opts Options) (_ *Server, err error) {
	if err := opts.checkMock(); err != nil {
		return nil, err
	}
	if opts.Mock {
		opts.Backend = mockBackend{opts.Backend}
	}
	s := &Server{
		opts: opts.withDefaults(), replay: access.NewReplay(time.Now()),
		health: health.NewServer(), uploads: newShares(maxUploads, maxUploads/2), estimates: newTurns(maxEstimates, maxWaiting, maxWaitingOfPrincipal), drafts: newDrafts(), migrating: make(chan struct{}, 1), started: time.Now(), gate: newGate(),
		calls: newShares(maxCalls, maxCallsOfHost), callsOf: newShares(maxCalls, maxCallsOfPrincipal), probes: newShares(maxProbes, maxProbes/2),
		fetches: newShares(maxFetches, maxFetches/2),
	}
	s.partials = newPartials(s.opts.Dir)
	s.memory = newJobMemory(s.opts.JobMemory, s.opts.jobMemoryOfOne())
	s.metrics = monitor.NewMetrics(source{s})
	s.health.SetServingStatus("", healthv1.HealthCheckResponse_NOT_SERVING)
	if s.node, err = s.opts.connect(ctx); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.node.Close(context.WithoutCancel(ctx)))
		}
	}()
	js := s.node.JetStream()
	if s.ciphertexts, err = store.OpenCiphertexts(ctx, js); err != nil {
		return nil, err
	}
	if s.keys, err = store.OpenKeys(ctx, js, opts.Dir); err != nil {
		return nil, err
	}
	if s.ring, err = keyring.Open(ctx, js); err != nil {
		return nil, err
	}
	if s.programs, err = store.OpenBucket(ctx, js, "programs", 1); err != nil {
		return nil, err
	}
	if s.lists, err = access.OpenLists(ctx, js); err != nil {
		return nil, err
	}
	if opts.Store != nil {
		if s.nonces, err = access.OpenNonces(ctx, js); err != nil {
			return nil, err
		}
	}
	if s.turn, err = upkeep.OpenTurn(ctx, js); err != nil {
		return nil, err
	}
	if err := s.openServiceKey(ctx); err != nil {
		return nil, err
	}
	// Where the directory is locked, a lease of an earlier process has no holder.
	s.queue, err = jobs.Open(ctx, js, jobs.Options{
		MaxQueued: s.opts.MaxQueued, MaxBacklog: s.opts.MaxBacklog, MaxAttempts: s.opts.MaxAttempts,
		LeaseDuration: s.opts.Lease, Exclusive: opts.Store == nil, Log: s.opts.Log,
		TenantOf: func(id string) string { owner, _ := access.SplitJob(id); return owner },
		Policy:   s.policy, Ready: s.inputReady, Explain: explain, Pools: s.opts.pools(),
	})
	if err != nil {
		return nil, err
	}
	if s.integers, err = integer.New(s.opts.Params, nil); err != nil {
		s.queue.Close()
		return nil, err
	}
	s.engines = newEngines(s.opts.Params, s.opts.Backend, s.keys, s.opts.Workers, s.opts.KeyMemory, s.metrics)
	return s, nil
}

// connect opens the store.
func (o *Options) connect(ctx context.Context) (*store.Node, error) {
	if o.Store == nil {
		return store.Embedded(ctx, store.EmbeddedOptions{Dir: o.Dir, Memory: o.Mock, Log: o.Log})
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return o.Store(ctx)
}

// GRPC returns a gRPC server that serves the coprocessor, unless that is not its
// role, and health and reflection, with limits on what it receives.
func (s *Server) GRPC(extra ...grpc.ServerOption) *grpc.Server {
	options := append([]grpc.ServerOption{
		grpc.MaxRecvMsgSize(max(s.opts.Limits.MaxSpecSize, MaxChunk) + messageSlack),
		grpc.ForceServerCodecV2(newBoundedCodec(maxElements(s.opts.Limits))),
		grpc.InTapHandle(s.tap),
		grpc.MaxConcurrentStreams(maxCallsOfConnection),
		grpc.ConnectionTimeout(s.opts.patience),
		grpc.MaxHeaderListSize(maxHeaders),
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connectionWindow),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 2 * s.opts.patience, Timeout: s.opts.patience, MaxConnectionIdle: idleConnection}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.ChainUnaryInterceptor(s.unary, s.identifyUnary),
		grpc.ChainStreamInterceptor(s.stream, s.identifyStream),
	}, extra...)
	g := grpc.NewServer(options...)
	if s.opts.Role != RoleWorker {
		tacitv1.RegisterCoprocessorServer(g, s)
		tacitv1.RegisterAdminServer(g, admin{s: s})
	}
	healthv1.RegisterHealthServer(g, s.health)
	reflection.Register(g)
	return g
}

// Run computes jobs until ctx ends, then drains: no job is claimed any more,
// running ones have DrainTimeout to end, and what is left goes back to the
// queue. It returns early only with jobs.ErrClosed, when the store was closed
// under it.
func (s *Server) Run(ctx context.Context) error {
	s.health.SetServingStatus("", healthv1.HealthCheckResponse_SERVING)
	defer s.health.Shutdown()
	s.serving.Store(ctx.Err() == nil)
	defer s.serving.Store(false)

	work, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	drained := context.AfterFunc(ctx, func() {
		s.serving.Store(false)
		s.health.SetServingStatus("", healthv1.HealthCheckResponse_NOT_SERVING)
		timer := time.AfterFunc(s.opts.DrainTimeout, func() { stop(errDrained) })
		context.AfterFunc(work, func() { timer.Stop() })
	})
	defer drained()

	others, stopOthers := context.WithCancel(ctx)
	var background sync.WaitGroup
	background.Go(func() { s.collect(others) })
	if s.opts.Keep.Jobs.Count > 0 {
		background.Go(func() { s.trim(others) })
	}
	defer background.Wait()
	defer stopOthers()
	if s.opts.Role == RoleAPI {
		<-ctx.Done()
		return nil
	}
	background.Go(func() { s.migrations(others) })
	var workers errgroup.Group
	for range s.opts.ConcurrentJobs {
		workers.Go(func() error {
			for ctx.Err() == nil {
				look, done := s.gate.pass(ctx)
				lease, err := s.queue.Claim(look)
				stopped := look.Err() != nil
				done()
				switch {
				case err == nil:
					s.work(work, lease)
				case stopped:
				case errors.Is(err, jobs.ErrClosed):
					return err
				default:
					s.opts.Log.Error("no job could be claimed", "error", err)
					pause(ctx, storePause)
				}
			}
			return nil
		})
	}
	return workers.Wait()
}

// pause waits, at most until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// errDrained stops work that outlasted the drain.
var errDrained = errors.New("the service is shutting down")

// Close stops the store. Run must have returned.
func (s *Server) Close(ctx context.Context) error {
	s.engines.close()
	s.partials.close()
	s.queue.Close()
	return s.node.Close(ctx)
}

// work runs one attempt at a job and settles it.
func (s *Server) work(ctx context.Context, lease *jobs.Lease) {
	s.running.Add(1)
	defer s.running.Add(-1)
	job := lease.Job()
	log := s.jobLog(job).With("attempt", job.Attempts)
	start := time.Now()
	ctx, span := s.traceJob(ctx, job, start)
	log.InfoContext(ctx, "job started")
	if job.Attempts == 1 {
		s.metrics.JobStarted(start.Sub(job.Created))
	}

	// The lease's context ends when the job is cancelled or taken over; ours when
	// the drain is over.
	leased, stop := context.WithCancelCause(trace.ContextWithSpan(lease.Context(), span))
	defer context.AfterFunc(ctx, func() { stop(context.Cause(ctx)) })()
	result, err := s.guarded(leased, lease)
	// Whatever error an attempt ends with once it is told to stop, it was told.
	cause := context.Cause(leased)
	stop(nil)

	outcome := "succeeded"
	defer func() {
		s.metrics.JobEnded(outcome, time.Since(start))
		endSpan(span, outcome, err)
	}()
	switch {
	case err == nil:
		log.InfoContext(ctx, "job computed", "duration", time.Since(start))
		failpoint.Hit(failpoint.AckBefore)
		s.settle(lease, func(ctx context.Context) error { return lease.Done(ctx, result) })
		failpoint.Hit(failpoint.AckAfter)
	case cause == errDrained:
		outcome = "released"
		log.InfoContext(ctx, "job given back", "duration", time.Since(start))
		s.settle(lease, lease.Release)
	case cause != nil:
		outcome = "stopped"
		log.InfoContext(ctx, "job cancelled or lost", "duration", time.Since(start))
		s.charge(lease)
	default:
		f := faultOf(err)
		outcome = "failed"
		s.metrics.JobError(f.reason)
		log.WarnContext(ctx, "job failed", "reason", f.reason, "place", f.place, "error", f.message, "retry", f.retryable())
		note := f.note()
		s.settle(lease, func(ctx context.Context) error { return lease.Fail(ctx, note, f.retryable()) })
	}
}

// settle tells the queue how an attempt ended, again and again while the store
// does not answer: a lease renews itself until the queue is told or it is lost.
// The end of the work does not cut it short.
func (s *Server) settle(lease *jobs.Lease, tell func(context.Context) error) {
	for lease.Context().Err() == nil {
		ctx, cancel := context.WithTimeout(context.Background(), settleTimeout)
		err := tell(ctx)
		cancel()
		if err == nil || errors.Is(err, jobs.ErrLeaseLost) {
			return
		}
		s.jobLog(lease.Job()).Error("job not settled", "error", err)
		pause(lease.Context(), storePause)
	}
}

// charge has a job that was ended from outside pay for what was computed until then.
func (s *Server) charge(lease *jobs.Lease) {
	ctx, cancel := context.WithTimeout(context.Background(), settleTimeout)
	defer cancel()
	if err := lease.Charge(ctx); err != nil {
		s.jobLog(lease.Job()).Warn("what a job has spent is not recorded", "error", err)
	}
}

// guarded keeps a panic away from the worker: it ends this job alone.
func (s *Server) guarded(ctx context.Context, lease *jobs.Lease) (result []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.jobLog(lease.Job()).ErrorContext(ctx, "a job panicked", "panic", p, "stack", string(debug.Stack()))
			err = refuse(codes.Internal, "PANIC", "", "internal error")
		}
	}()
	return s.compute(ctx, lease)
}

// compute evaluates a job and stores its results. It returns the record that
// becomes the job's result.
func (s *Server) compute(ctx context.Context, lease *jobs.Lease) ([]byte, error) {
	g, records, ahead, leave, err := s.withMemory(ctx, lease.Job())
	if err != nil {
		return nil, err
	}
	defer leave()
	engine, release, err := s.engines.acquire(ctx, g.KeyID())
	if err != nil {
		return nil, err
	}
	defer release()
	origins := originsOf(g, records)
	have, err := s.stored(ctx, g, origins)
	if err != nil {
		return nil, err
	}
	r := newRun(g, have, engine, records, s.jobLog(lease.Job()))
	r.succeeded = s.metrics.Node
	r.tracer = s.tracer()
	if err := r.load(); err != nil {
		return nil, err
	}
	stop := s.followProgress(ctx, lease, r)
	outputs, err := r.execute(ctx, engine.parallel(), ahead)
	stop()
	lease.Spend(r.spent())
	if err != nil {
		s.storeProgress(ctx, lease, r) // what became of each node goes with the failure
		return nil, err
	}
	owner, _ := access.SplitJob(lease.Job().ID)
	for i, o := range g.Outputs() {
		outputs[i].Maker = makerName(owner)
		if derived(g, o) {
			outputs[i].Origin = origins[o.Node]
		}
	}
	if err := s.keep(ctx, outputs); err != nil {
		return nil, err
	}
	if err := s.ownResults(ctx, owner, outputs); err != nil {
		return nil, err
	}
	signed, err := s.receipt(ctx, lease.Job().ID, r, outputs)
	if err != nil {
		return nil, err
	}
	result := &tacitv1.Job{Nodes: r.snapshot(), Receipt: &tacitv1.Receipt{Container: signed.Encode()}}
	for _, o := range outputs {
		result.Results = append(result.Results, info(o))
	}
	data, err := proto.Marshal(result)
	if err == nil && len(data) > store.MaxRecord {
		err = refuse(codes.FailedPrecondition, "TOO_LARGE", "", "the reports take %d bytes, at most %d can be stored", len(data), store.MaxRecord)
	}
	return data, err
}

// stored returns the records of outputs that are there already, by their places:
// those under handles that are derived from their expressions, which an earlier
// job has computed from the same records. What somebody has stored under such a handle
// by giving it as a name is none of them.
func (s *Server) stored(ctx context.Context, g *graph.Graph, origins [][32]byte) (map[int][]byte, error) {
	have := make(map[int][]byte)
	for i, o := range g.Outputs() {
		if !derived(g, o) {
			continue
		}
		if origin, err := s.ciphertexts.Origin(ctx, o.Handle); err != nil {
			return nil, err
		} else if origin != origins[o.Node] {
			continue
		}
		record, err := s.ciphertexts.GetUnder(ctx, o.Handle, g.KeyID())
		if errors.As(err, new(*store.NotFoundError)) {
			continue
		}
		if err != nil {
			return nil, err
		}
		have[i] = record
	}
	return have, nil
}

// keep stores the results of a job, all of them or, when a handle already names
// another ciphertext, none.
func (s *Server) keep(ctx context.Context, outputs []store.Ciphertext) error {
	failpoint.Hit(failpoint.StoreBefore)
	if err := s.ciphertexts.PutAll(ctx, outputs); err != nil {
		return err
	}
	failpoint.Hit(failpoint.StoreAfter)
	return nil
}

// ownResults makes the owner of a job that of its results, also of a job that is cancelled
// or lost meanwhile. It comes after they are stored: whoever stored other bytes under a
// handle has no part in it. What a crash in between leaves is adopted later, when the
// store is collected.
func (s *Server) ownResults(ctx context.Context, owner string, outputs []store.Ciphertext) error {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer stop()
	for _, o := range outputs {
		if err := s.lists.Own(ctx, owner, access.Ciphertext(o.Handle)); err != nil {
			return err
		}
	}
	return nil
}

// makerName is the principal that a ciphertext is stored for, as the store keeps it:
// access.Local, whose objects need no list, is nobody.
func makerName(principal string) string {
	if principal == access.Local.Name {
		return ""
	}
	return principal
}

// followProgress writes the reports of a run to the queue, a few times a second
// at most, until the returned function is called.
func (s *Server) followProgress(ctx context.Context, lease *jobs.Lease, r *run) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		written := 0
		for {
			select {
			case <-r.changed:
			case <-ctx.Done():
				return
			}
			// A job that ends at once has no progress to speak of.
			pause(ctx, progressInterval+time.Duration(written)*progressPerByte)
			written = s.storeProgress(ctx, lease, r)
		}
	})
	return func() {
		cancel()
		wg.Wait()
	}
}

// storeProgress writes the reports of a run to the queue and returns how many bytes
// they take. That nobody sees them is no reason to fail.
func (s *Server) storeProgress(ctx context.Context, lease *jobs.Lease, r *run) int {
	if ctx.Err() != nil {
		return 0
	}
	note := progressNote(r.snapshot())
	if note == nil {
		return 0
	}
	lease.Spend(r.spent())
	if err := lease.Progress(ctx, note); err != nil && ctx.Err() == nil {
		s.jobLog(lease.Job()).WarnContext(ctx, "progress not stored", "error", err)
	}
	return len(note)
}

// progressNote encodes the reports of the nodes that have started, without their
// labels, which the spec has. Those of jobs with more nodes than the default limits
// allow may be too large; then it has those that run now alone.
func progressNote(reports []*tacitv1.NodeReport) []byte {
	started, running := new(tacitv1.Job), new(tacitv1.Job)
	for _, n := range reports {
		n.Label = ""
		switch n.State {
		case tacitv1.NodeState_NODE_STATE_RUNNING:
			running.Nodes = append(running.Nodes, n)
			started.Nodes = append(started.Nodes, n)
		case tacitv1.NodeState_NODE_STATE_SUCCEEDED, tacitv1.NodeState_NODE_STATE_FAILED:
			started.Nodes = append(started.Nodes, n)
		}
	}
	for _, job := range []*tacitv1.Job{started, running} {
		if data, err := proto.Marshal(job); err == nil && len(data) <= jobs.MaxNote {
			return data
		}
	}
	return nil
}

// meaning is what the spec of a job means against the store, and the records of its
// inputs.
func (s *Server) meaning(ctx context.Context, job jobs.Job) (*graph.Graph, map[graph.Handle][]byte, error) {
	if g, records, ok := s.drafted(ctx, job); ok {
		return g, records, nil
	}
	spec := new(tacitv1.JobSpec)
	if err := proto.Unmarshal(job.Spec, spec); err != nil {
		return nil, nil, refuse(codes.Internal, "MALFORMED", "", "the stored spec cannot be read: %v", err)
	}
	return s.validate(ctx, spec)
}

// validate gives a spec its meaning against the store, and returns the records of its
// inputs.
func (s *Server) validate(ctx context.Context, spec *tacitv1.JobSpec) (*graph.Graph, map[graph.Handle][]byte, error) {
	done, err := s.estimating(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer done()
	e := newEstimator(s.integers, spec)
	g, err := graph.Validate(ctx, spec, func(ctx context.Context, h graph.Handle) (graph.Ciphertext, error) { return s.resolve(ctx, e, spec, h) }, e.cost, s.opts.Limits)
	return g, e.records, err
}

// estimating waits until a spec may be validated; done must be called when it has been.
// Jobs, which their own order lets run, wait together as nobody's.
func (s *Server) estimating(ctx context.Context) (done func(), err error) {
	c := callOf(ctx)
	return s.estimates.begin(ctx, c.principal.Name, func() int { return proto.Size(c.request) })
}

// input returns the record of an input of a job: the version under the key of the job or,
// of what has none, the present one, which is of the wrong key.
func (s *Server) input(ctx context.Context, h graph.Handle, key [32]byte) ([]byte, error) {
	record, err := s.ciphertexts.GetUnder(ctx, h, key)
	if errors.As(err, new(*store.NotFoundError)) {
		return s.ciphertexts.Get(ctx, h)
	}
	return record, err
}

// resolve looks an input of a job up, and tells the estimator how noisy it is.
func (s *Server) resolve(ctx context.Context, e *estimator, spec *tacitv1.JobSpec, h graph.Handle) (graph.Ciphertext, error) {
	var key [32]byte
	copy(key[:], spec.GetKeyId())
	record, err := s.input(ctx, h, key)
	if errors.As(err, new(*store.NotFoundError)) {
		return graph.Ciphertext{}, graph.ErrUnknownHandle
	}
	if err != nil {
		return graph.Ciphertext{}, err
	}
	return e.stored(h, record, s.opts.Params)
}
