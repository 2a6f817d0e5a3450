package coprocessor

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tacit-fhe/tacit/bootstrap"
	"github.com/tacit-fhe/tacit/coprocessor/graph"
	"github.com/tacit-fhe/tacit/coprocessor/receipt"
	"github.com/tacit-fhe/tacit/coprocessor/store"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/integer"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// run is one evaluation of a graph: the values its nodes have so far and what is
// reported of them. Workers run jobs, and whoever checks a receipt runs one
// again.
type run struct {
	graph   *graph.Graph
	engine  engine
	records map[graph.Handle][]byte // of the inputs, until they are loaded
	log     *slog.Logger

	// succeeded is told of every node that does.
	succeeded func(op, typ string, took time.Duration)
	tracer    trace.Tracer

	have   map[int][]byte // records of outputs that were there before, by their places
	plan   *plan
	inputs map[graph.Handle]value
	read   []receipt.Item // the inputs, in the order of the graph

	mu      sync.Mutex
	values  [][]value // results of nodes that are done and still needed
	readers []int     // operands and outputs that have yet to read results of each node
	reports []*tacitv1.NodeReport
	changed chan struct{} // has a token when reports changed since it was last read
}

// newRun prepares the evaluation of a graph, of whose outputs those in have, by
// their places, are not computed. records has those of the inputs of the graph.
func newRun(g *graph.Graph, have map[int][]byte, e engine, records map[graph.Handle][]byte, log *slog.Logger) *run {
	there := make(map[int]bool, len(have))
	for i := range have {
		there[i] = true
	}
	r := &run{
		graph: g, engine: e, records: records, log: log,
		succeeded: func(string, string, time.Duration) {}, tracer: noop.Tracer{},
		have: have, plan: newPlan(g, there),
		inputs:  make(map[graph.Handle]value),
		values:  make([][]value, g.Len()),
		changed: make(chan struct{}, 1),
	}
	r.readers = r.plan.readers()
	r.reports = r.newReports()
	return r
}

// newReports is the report of a run that has not started.
func (r *run) newReports() []*tacitv1.NodeReport {
	reports := make([]*tacitv1.NodeReport, r.graph.Len())
	for i := range reports {
		n := r.graph.Node(i)
		reports[i] = &tacitv1.NodeReport{Node: uint32(i), Label: n.Label, State: tacitv1.NodeState_NODE_STATE_SKIPPED}
		if same := r.plan.same[i]; n.Needed && r.plan.computed[same] {
			reports[i].State = tacitv1.NodeState_NODE_STATE_PENDING
			if same != i {
				at := uint32(same)
				reports[i].SameAs = &at
			}
		}
	}
	for i, o := range r.graph.Outputs() {
		if r.have[i] != nil && !r.plan.computed[r.plan.same[o.Node]] {
			reports[o.Node].State, reports[o.Node].Reused = tacitv1.NodeState_NODE_STATE_SUCCEEDED, true
		}
	}
	return reports
}

// spent is how many bootstraps the nodes have taken.
func (r *run) spent() (total int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.reports {
		total += int64(n.Bootstraps)
	}
	return total
}

// snapshot returns a copy of the reports.
func (r *run) snapshot() []*tacitv1.NodeReport {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]*tacitv1.NodeReport, len(r.reports))
	for i, n := range r.reports {
		out[i] = proto.CloneOf(n)
	}
	return out
}

// report changes the report of a node. Those that are the same expression are in
// the same state.
func (r *run) report(node int, change func(*tacitv1.NodeReport)) {
	r.mu.Lock()
	change(r.reports[node])
	for _, twin := range r.plan.twins[node] {
		r.reports[twin].State = r.reports[node].State
	}
	r.mu.Unlock()
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// load decodes the inputs of the graph.
func (r *run) load() (err error) {
	for _, h := range r.graph.Inputs() {
		record := r.records[h]
		r.read = append(r.read, receipt.Item{Handle: h, Digest: sha256.Sum256(record)})
		if r.inputs[h], err = r.engine.decode(record, h); err != nil {
			return err
		}
	}
	r.records = nil
	return nil
}

// storedList decodes the record of a stored ciphertext, a list of one value.
func storedList(record []byte, h graph.Handle, p *fhe.Parameters) (*integer.List, error) {
	list, err := integer.UnmarshalList(record, p)
	if err != nil {
		return nil, fmt.Errorf("stored ciphertext %s: %w", h, err)
	}
	if list.Len() != 1 {
		return nil, &store.DataLossError{Bucket: "ciphertexts", Key: h.String(), Detail: "the record does not hold one ciphertext"}
	}
	return list, nil
}

// execute computes the needed nodes, each as soon as its operands are there, at
// most parallel at a time, and returns the outputs as records of the store, in
// the order of the graph. Nodes that others come before in the order of the plan wait
// where more than ahead bytes would be taken, see plan.demand.
func (r *run) execute(ctx context.Context, parallel int, ahead int64) ([]store.Ciphertext, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)

	waiting := make([]int, r.graph.Len()) // computed operands that are not there yet
	dependents := make([][]int, r.graph.Len())
	var ready []int // first come, first served, in the order of the graph
	for _, i := range r.plan.order {
		for _, j := range r.plan.operands(i) {
			waiting[i]++
			dependents[j] = append(dependents[j], i)
		}
		if waiting[i] == 0 {
			ready = append(ready, i)
		}
	}
	room := newRoom(r.plan, ahead)
	done := make(chan int, 1)
	running := 0
	run := func(i int) {
		if err := r.compute(ctx, i); err != nil {
			stop(err)
		}
		done <- i
	}
	for finished := 0; finished < len(r.plan.order); finished++ {
		for len(ready) > 0 && running < parallel && ctx.Err() == nil {
			at := room.next(ready)
			if at < 0 {
				break // until another one has ended
			}
			i := ready[at]
			ready = slices.Delete(ready, at, at+1)
			room.begin(i)
			if running++; running == 1 && len(ready) == 0 {
				run(i) // nothing can be computed meanwhile
			} else {
				go run(i)
			}
		}
		if running == 0 {
			break // stopped
		}
		i := <-done
		running--
		room.end(i)
		for _, d := range dependents[i] {
			if waiting[d]--; waiting[d] == 0 {
				ready = append(ready, d)
			}
		}
	}
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	return r.outputs(ctx)
}

// compute runs one node. An error is that of the node, with its place.
func (r *run) compute(ctx context.Context, i int) error {
	n := r.graph.Node(i)
	r.report(i, func(rep *tacitv1.NodeReport) { rep.State = tacitv1.NodeState_NODE_STATE_RUNNING })
	m := r.engine.meter()
	start := time.Now()
	spanned, span := r.traceNode(ctx, i, n)
	values, err := r.apply(spanned, n, m)
	endNode(span, m, err)
	took := time.Since(start)
	r.report(i, func(rep *tacitv1.NodeReport) {
		rep.State = tacitv1.NodeState_NODE_STATE_SUCCEEDED
		rep.Bootstraps, rep.Depth = uint64(m.spent().Bootstraps), uint32(m.spent().Depth)
		rep.Duration = durationpb.New(took)
		if p, ok := m.log2Failure(); ok {
			rep.Log2FailureProbability = &p
		}
		switch {
		case err == nil:
		case ctx.Err() != nil:
			rep.State = tacitv1.NodeState_NODE_STATE_PENDING
		default:
			rep.State = tacitv1.NodeState_NODE_STATE_FAILED
		}
	})
	if panicked := (*bootstrap.PanicError)(nil); errors.As(err, &panicked) {
		r.log.ErrorContext(ctx, "an operation panicked", "op", graph.OpName(n.Op), "panic", panicked.Value, "stack", string(panicked.Stack))
	}
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return faultOf(err).at(fmt.Sprintf("nodes[%d]", i))
	}
	r.succeeded(graph.OpName(n.Op), graph.TypeName(n.Type), took)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.values[i] = values
	for _, j := range r.plan.operands(i) {
		if r.readers[j]--; r.readers[j] == 0 {
			r.values[j] = nil // nobody reads it any more
		}
	}
	return nil
}

// apply runs the operation of a node. A panic is an error of this node alone.
func (r *run) apply(ctx context.Context, n graph.Node, m *meter) (values []value, err error) {
	defer func() {
		if p := recover(); p != nil {
			r.log.ErrorContext(ctx, "an operation panicked", "op", graph.OpName(n.Op), "panic", p, "stack", string(debug.Stack()))
			err = refuse(codes.Internal, "PANIC", "", "%s panicked: %v", graph.OpName(n.Op), p)
		}
	}()
	return r.engine.apply(ctx, r.graph, n, r.operand, m)
}

// operand returns the value of an encrypted operand. Those of other nodes are
// there: they are done before a node starts, and kept until it has ended.
func (r *run) operand(o graph.Operand) value {
	if o.Kind == graph.Stored {
		return r.inputs[o.Handle]
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.values[r.plan.same[o.Node]][o.Result]
}

// outputs encodes the results.
func (r *run) outputs(ctx context.Context) ([]store.Ciphertext, error) {
	var out []store.Ciphertext
	for i, o := range r.graph.Outputs() {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		record := r.have[i]
		if record == nil {
			var err error
			if record, err = r.engine.encode(r.values[r.plan.same[o.Node]][o.Result]); err != nil {
				return nil, err
			}
		}
		out = append(out, store.Ciphertext{
			Handle: o.Handle, Type: uint8(outputType(r.graph, o)), KeyID: r.graph.KeyID(), Record: record,
		})
	}
	return out, nil
}

// outputType is the type of an output.
func outputType(g *graph.Graph, o graph.Output) tacitv1.Type { return g.Node(o.Node).Types()[o.Result] }

// items are ciphertexts as a receipt names them.
func items(cts []store.Ciphertext) []receipt.Item {
	out := make([]receipt.Item, len(cts))
	for i, ct := range cts {
		out[i] = receipt.Item{Handle: ct.Handle, Digest: sha256.Sum256(ct.Record)}
	}
	return out
}

// info describes a stored ciphertext to clients.
func info(ct store.Ciphertext) *tacitv1.CiphertextInfo {
	digest := sha256.Sum256(ct.Record)
	return &tacitv1.CiphertextInfo{
		Handle: ct.Handle[:], Type: tacitv1.Type(ct.Type).Enum(), KeyId: ct.KeyID[:],
		Digest: digest[:], Size: uint64(len(ct.Record)),
	}
}
