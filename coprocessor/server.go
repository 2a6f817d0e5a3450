// Package coprocessor is the service: it takes jobs on encrypted integers over
// gRPC, computes them without being able to read anything, and returns
// ciphertexts. The edge (service.go, transfer.go) checks what arrives and writes
// it down, the queue (coprocessor/jobs) keeps it, and workers (run.go) claim jobs
// and compute. What is acknowledged survives a crash of the process. Arithmetic
// does not live here.
package coprocessor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"google.golang.org/protobuf/proto"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/bootstrap"
	"github.com/tacit-fhe/tacit/coprocessor/graph"
	"github.com/tacit-fhe/tacit/coprocessor/jobs"
	"github.com/tacit-fhe/tacit/coprocessor/store"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/integer"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// Options configures a Server. Dir, Params and Backend are required.
type Options struct {
	// Dir is the data directory: queue, ciphertexts and keys.
	Dir string
	// Params is the parameter set of the keys that the service accepts.
	Params *fhe.Parameters
	// Backend computes.
	Backend accel.Backend
	// Workers is the number of cores that bootstrap; 0 means all.
	Workers int
	// ConcurrentJobs is how many jobs run at a time; 0 means 4.
	ConcurrentJobs int
	// MaxKeys is how many prepared evaluation keys stay in memory; 0 means 2.
	MaxKeys int
	// MaxQueued is how many jobs may wait; 0 means 10,000.
	MaxQueued int
	// DrainTimeout is how long running jobs may go on after Run is told to
	// stop, before they are given back to the queue; 0 means 30 s.
	DrainTimeout time.Duration
	// Limits bounds job specs; the zero value means graph.DefaultLimits.
	Limits graph.Limits
	// Version is reported to clients.
	Version string
	// Log receives what happens; nil discards it.
	Log *slog.Logger
}

const (
	// MaxEvaluationKey bounds the container of an evaluation key in bytes.
	MaxEvaluationKey = 512 << 20
	// MaxUpload bounds the container of one upload of ciphertexts in bytes.
	MaxUpload = 64 << 20
	// MaxChunk bounds one chunk of a stream in bytes.
	MaxChunk = 1 << 20
	// maxHandles bounds the handles of one call.
	maxHandles = 1024
	// maxMessage bounds every message that is received: a spec, or a chunk.
	messageSlack = 64 << 10

	progressInterval = 100 * time.Millisecond
)

func (o Options) withDefaults() Options {
	if o.Workers == 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.ConcurrentJobs == 0 {
		o.ConcurrentJobs = 4
	}
	if o.MaxKeys == 0 {
		o.MaxKeys = 2
	}
	if o.MaxQueued == 0 {
		o.MaxQueued = 10_000
	}
	if o.DrainTimeout == 0 {
		o.DrainTimeout = 30 * time.Second
	}
	if o.Limits == (graph.Limits{}) {
		o.Limits = graph.DefaultLimits()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// Server is the coprocessor over one data directory.
type Server struct {
	tacitv1.UnimplementedCoprocessorServer

	opts        Options
	node        *store.Node
	ciphertexts *store.Ciphertexts
	keys        *store.Keys
	queue       *jobs.Queue
	engines     *engines
	integers    *integer.Evaluator // for costs alone
	health      *health.Server
}

// Open starts the embedded store of a data directory and continues where the
// process before stopped. Jobs are computed while Run runs.
func Open(ctx context.Context, opts Options) (_ *Server, err error) {
	s := &Server{opts: opts.withDefaults(), health: health.NewServer()}
	s.health.SetServingStatus("", healthv1.HealthCheckResponse_NOT_SERVING)
	if s.node, err = store.Embedded(ctx, store.EmbeddedOptions{Dir: opts.Dir, Log: s.opts.Log}); err != nil {
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
	// The directory is locked: a lease of an earlier process has no holder.
	if s.queue, err = jobs.Open(ctx, js, jobs.Options{MaxQueued: s.opts.MaxQueued, Exclusive: true, Log: s.opts.Log}); err != nil {
		return nil, err
	}
	if s.integers, err = integer.New(s.opts.Params, nil); err != nil {
		return nil, err
	}
	s.engines = newEngines(s.opts.Params, s.opts.Backend, s.keys, s.opts.Workers, s.opts.MaxKeys)
	return s, nil
}

// GRPC returns a gRPC server that serves the coprocessor, health and reflection,
// with limits on what it receives.
func (s *Server) GRPC(extra ...grpc.ServerOption) *grpc.Server {
	options := append([]grpc.ServerOption{
		grpc.MaxRecvMsgSize(max(s.opts.Limits.MaxSpecSize, MaxChunk) + messageSlack),
		grpc.MaxConcurrentStreams(256),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.ChainUnaryInterceptor(s.unary),
		grpc.ChainStreamInterceptor(s.stream),
	}, extra...)
	g := grpc.NewServer(options...)
	tacitv1.RegisterCoprocessorServer(g, s)
	healthv1.RegisterHealthServer(g, s.health)
	reflection.Register(g)
	return g
}

// Run computes jobs until ctx ends, then drains: no job is claimed any more,
// running ones have DrainTimeout to end, and what is left goes back to the
// queue.
func (s *Server) Run(ctx context.Context) error {
	s.health.SetServingStatus("", healthv1.HealthCheckResponse_SERVING)
	defer s.health.Shutdown()

	work, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	drained := context.AfterFunc(ctx, func() {
		s.health.SetServingStatus("", healthv1.HealthCheckResponse_NOT_SERVING)
		timer := time.AfterFunc(s.opts.DrainTimeout, func() { stop(errDrained) })
		context.AfterFunc(work, func() { timer.Stop() })
	})
	defer drained()

	var wg sync.WaitGroup
	failures := make(chan error, s.opts.ConcurrentJobs)
	for range s.opts.ConcurrentJobs {
		wg.Go(func() {
			for {
				lease, err := s.queue.Claim(ctx)
				if ctx.Err() != nil {
					if lease != nil {
						s.end(lease, lease.Release(work))
					}
					return
				}
				if err != nil {
					failures <- fmt.Errorf("claim a job: %w", err)
					return
				}
				s.work(work, lease)
			}
		})
	}
	wg.Wait()
	select {
	case err := <-failures:
		return err
	default:
		return nil
	}
}

// errDrained stops work that outlasted the drain.
var errDrained = errors.New("the service is shutting down")

// Close stops the store. Run must have returned.
func (s *Server) Close(ctx context.Context) error {
	s.engines.close()
	s.queue.Close()
	return s.node.Close(ctx)
}

// work runs one attempt at a job and settles it.
func (s *Server) work(ctx context.Context, lease *jobs.Lease) {
	job := lease.Job()
	log := s.opts.Log.With("job", job.ID, "attempt", job.Attempts)
	start := time.Now()
	log.Info("job started")

	// The lease's context ends when the job is cancelled or taken over; ours when
	// the drain is over.
	leased, stop := context.WithCancelCause(lease.Context())
	defer context.AfterFunc(ctx, func() { stop(context.Cause(ctx)) })()
	result, err := s.compute(leased, lease)
	stop(nil)

	// What settles the job must not be cut short by the end of the work.
	settle, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	switch {
	case err == nil:
		log.Info("job succeeded", "duration", time.Since(start))
		s.end(lease, lease.Done(settle, result))
	case errors.Is(err, errDrained):
		log.Info("job given back", "duration", time.Since(start))
		s.end(lease, lease.Release(settle))
	case lease.Context().Err() != nil:
		log.Info("job cancelled or lost", "duration", time.Since(start))
		s.end(lease, lease.Release(settle))
	default:
		f := faultOf(err)
		log.Warn("job failed", "reason", f.reason, "place", f.place, "error", f.message, "retry", f.retryable())
		s.end(lease, s.fail(settle, lease, f))
	}
}

// fail stores why an attempt failed.
func (s *Server) fail(ctx context.Context, lease *jobs.Lease, f *fault) error {
	e := f.jobError()
	if len(e.Message) > jobs.MaxNote/2 {
		e.Message = e.Message[:jobs.MaxNote/2]
	}
	data, err := proto.Marshal(e)
	if err != nil {
		return err
	}
	return lease.Fail(ctx, data, f.retryable())
}

// end logs when a job could not be settled; its lease then runs out and the job
// is claimed again.
func (s *Server) end(lease *jobs.Lease, err error) {
	if err != nil && !errors.Is(err, jobs.ErrLeaseLost) {
		s.opts.Log.Error("job could not be settled", "job", lease.Job().ID, "error", err)
	}
}

// compute evaluates a job and stores its results. It returns the record that
// becomes the job's result.
func (s *Server) compute(ctx context.Context, lease *jobs.Lease) ([]byte, error) {
	spec := new(tacitv1.JobSpec)
	if err := proto.Unmarshal(lease.Job().Spec, spec); err != nil {
		return nil, refuse(codes.Internal, "MALFORMED", "", "the stored spec cannot be read: %v", err)
	}
	g, err := s.validate(ctx, spec)
	if err != nil {
		return nil, err
	}
	engine, release, err := s.engines.acquire(ctx, g.KeyID())
	if err != nil {
		return nil, err
	}
	defer release()
	r := newRun(g, s.opts.Params, engine, s.ciphertexts)
	if err := r.load(ctx); err != nil {
		return nil, err
	}
	stop := s.followProgress(ctx, lease, r)
	outputs, err := r.execute(ctx, 2*bootstrap.MaxBatch*s.opts.Workers)
	stop()
	if err != nil {
		return nil, err
	}
	if err := s.ciphertexts.PutAll(ctx, outputs); err != nil {
		return nil, err
	}
	result := &tacitv1.Job{Nodes: r.snapshot()}
	for _, o := range outputs {
		result.Results = append(result.Results, info(o))
	}
	return proto.Marshal(result)
}

// followProgress writes the reports of a run to the queue, a few times a second
// at most, until the returned function is called.
func (s *Server) followProgress(ctx context.Context, lease *jobs.Lease, r *run) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-r.changed:
			case <-ctx.Done():
				return
			}
			if note := progressNote(r.snapshot()); note != nil {
				if err := lease.Progress(ctx, note); err != nil && ctx.Err() == nil {
					s.opts.Log.Warn("progress not stored", "job", lease.Job().ID, "error", err)
				}
			}
			select {
			case <-time.After(progressInterval):
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		cancel()
		wg.Wait()
	}
}

// progressNote encodes the reports of the nodes that have started, or, of a
// graph too large for a note, of those that run now.
func progressNote(reports []*tacitv1.NodeReport) []byte {
	started, running := new(tacitv1.Job), new(tacitv1.Job)
	for _, n := range reports {
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

// validate gives a spec its meaning against the store.
func (s *Server) validate(ctx context.Context, spec *tacitv1.JobSpec) (*graph.Graph, error) {
	return graph.Validate(ctx, spec, func(ctx context.Context, h graph.Handle) (graph.Ciphertext, error) {
		meta, err := s.ciphertexts.Stat(ctx, h)
		var missing *store.NotFoundError
		if errors.As(err, &missing) {
			return graph.Ciphertext{}, graph.ErrUnknownHandle
		}
		return graph.Ciphertext{Type: tacitv1.Type(meta.Type), KeyID: meta.KeyID}, err
	}, s.cost, s.opts.Limits)
}

// cost is what an operation spends, as the evaluator of integers says, with
// plaintext operands counted as ciphertexts.
func (s *Server) cost(op tacitv1.Op, t tacitv1.Type, operands []graph.OperandKind) graph.Cost {
	iop, ok := operations[op]
	if !ok {
		return graph.Cost{}
	}
	in := make([]integer.Operand, len(operands))
	for i := range in {
		in[i] = &integer.Value{Type: integer.Type(t)}
	}
	if iop == integer.OpSelect {
		in[0] = &integer.Value{Type: integer.Bool}
	}
	c, err := s.integers.Cost(iop, in...)
	if err != nil {
		return graph.Cost{} // package graph refuses such operands with their place
	}
	return graph.Cost{Bootstraps: c.Bootstraps, Depth: c.Depth}
}
