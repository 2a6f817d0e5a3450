package coprocessor

import (
	"context"
	"math"
	"slices"
	"sync"

	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc/codes"

	"github.com/tacit-fhe/tacit/coprocessor/access"
	"github.com/tacit-fhe/tacit/coprocessor/graph"
	"github.com/tacit-fhe/tacit/coprocessor/jobs"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/integer"
)

// What takes a few bytes in an upload may take a thousand times as much while a job computes
// on it, and an operation many times what its operands do. So a job is refused that takes more
// memory than jobs may have, and one that takes more than is left waits.

const (
	// DefaultJobMemory is Options.JobMemory in bytes where that is 0.
	DefaultJobMemory = 2 << 30
	// maxRecords bounds the records of the inputs of one spec, in bytes.
	maxRecords = 256 << 20
	// workingPerBootstrap and workingPerResult are about how many ciphertexts an operation has
	// in memory, garbage included, for each bootstrap of its widest step and for each block of
	// its results. The widest operation by far is the multiplication of 256 bits, with 8,256
	// bootstraps in one step.
	workingPerBootstrap = 6
	workingPerResult    = 10
	// lweOverhead is about what a ciphertext takes in memory besides its residues.
	lweOverhead = 128
)

// lweMemory is how many bytes a block takes in memory.
func lweMemory(p *fhe.Parameters) int64 { return 8*int64(p.BigDimension()+1) + lweOverhead }

// resultMemory is how many bytes the results of a node on integers take.
func resultMemory(n graph.Node, p *fhe.Parameters) (total int64) {
	for _, t := range n.Types() {
		total += int64(integer.Type(t).Blocks()) * lweMemory(p)
	}
	return total
}

// inputMemory is how many bytes the inputs of a graph take, their records included.
// Nothing is known of vectors that are not there yet.
func inputMemory(g *graph.Graph, records map[graph.Handle][]byte, p *fhe.Parameters) (total int64) {
	seen := make(map[graph.Handle]bool)
	for _, i := range g.Order() {
		for _, o := range g.Node(i).Operands {
			if o.Kind != graph.Stored || seen[o.Handle] {
				continue
			}
			seen[o.Handle] = true
			record := int64(len(records[o.Handle]))
			if graph.IsVector(o.Type) {
				total += 4 * record // its residues take 8 bytes, and half of them may be a seed
			} else {
				total += record + int64(integer.Type(o.Type).Blocks())*lweMemory(p)
			}
		}
	}
	return total
}

// demand is the memory that a plan takes besides its inputs, in bytes: in its order, one
// node after the other, and whatever the order.
func (p *plan) demand() (inOrder, most int64) {
	readers := p.readers()
	var held int64
	for _, i := range p.order {
		c := p.graph.Node(i).Cost
		inOrder = max(inOrder, held+c.Working+c.Result)
		most += c.Working + c.Result
		held += c.Result
		for _, j := range p.operands(i) {
			if readers[j]--; readers[j] == 0 {
				held -= p.graph.Node(j).Cost.Result
			}
		}
	}
	return inOrder, most
}

// room says which nodes of a run may begin.
//
// What the nodes take that began ahead of others in the order of the plan was within ahead
// when the last of them began, with all else, so it is now. What the others take is no
// more than they would have taken one after the other.
type room struct {
	plan    *plan
	ahead   int64 // bytes
	held    int64 // by nodes that run and results that are read yet
	readers []int // that results have yet
	ended   []bool
	first   int // place in the order of the plan of the first node that has not ended
}

func newRoom(p *plan, ahead int64) *room {
	return &room{plan: p, ahead: ahead, readers: p.readers(), ended: make([]bool, p.graph.Len())}
}

// next is the place of a node that may begin, or -1 when all have to wait.
func (r *room) next(ready []int) int {
	if c := r.plan.graph.Node(ready[0]).Cost; r.held+c.Working+c.Result <= r.ahead {
		return 0
	}
	for r.ended[r.plan.order[r.first]] {
		r.first++
	}
	return slices.Index(ready, r.plan.order[r.first])
}

func (r *room) begin(i int) {
	c := r.plan.graph.Node(i).Cost
	r.held += c.Working + c.Result
}

func (r *room) end(i int) {
	r.ended[i] = true
	r.held -= r.plan.graph.Node(i).Cost.Working
	for _, j := range r.plan.operands(i) {
		if r.readers[j]--; r.readers[j] == 0 {
			r.held -= r.plan.graph.Node(j).Cost.Result
		}
	}
}

// jobMemory is what running jobs may take, and those of one principal, in bytes. Whoever has
// to wait does so in turn, behind jobs of the same principal first.
type jobMemory struct {
	limitOfOne int64
	all        *semaphore.Weighted

	mu sync.Mutex
	of map[string]*semaphore.Weighted // by principal
}

func newJobMemory(limit, limitOfOne int64) *jobMemory {
	return &jobMemory{limitOfOne: limitOfOne, all: semaphore.NewWeighted(limit), of: make(map[string]*semaphore.Weighted)}
}

// share is that of a principal.
func (m *jobMemory) share(principal string) *semaphore.Weighted {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.of[principal] == nil {
		m.of[principal] = semaphore.NewWeighted(m.limitOfOne)
	}
	return m.of[principal]
}

// tryTake takes memory for a job of a principal, if it is there.
func (m *jobMemory) tryTake(principal string, bytes int64) (release func(), ok bool) {
	own := m.share(principal)
	if !own.TryAcquire(bytes) {
		return nil, false
	}
	if !m.all.TryAcquire(bytes) {
		own.Release(bytes)
		return nil, false
	}
	return m.releasing(own, bytes), true
}

// take takes memory for a job of a principal once it is there.
func (m *jobMemory) take(ctx context.Context, principal string, bytes int64) (release func(), err error) {
	own := m.share(principal)
	if err := own.Acquire(ctx, bytes); err != nil {
		return nil, err
	}
	if err := m.all.Acquire(ctx, bytes); err != nil {
		own.Release(bytes)
		return nil, err
	}
	return m.releasing(own, bytes), nil
}

func (m *jobMemory) releasing(own *semaphore.Weighted, bytes int64) func() {
	return func() {
		m.all.Release(bytes)
		own.Release(bytes)
	}
}

// footprint is the memory that a job may take.
type footprint struct {
	bytes int64 // in all
	ahead int64 // of it, for nodes that are computed before those that come first in order
}

// footprintOf is the memory that a job is given: all that it may take if that is little,
// and otherwise twice what it takes in order, if there is so much. It is a *fault for one
// that takes more than jobs may have.
func (s *Server) footprintOf(g *graph.Graph, records map[graph.Handle][]byte) (footprint, error) {
	inOrder, most := newPlan(g, nil).demand()
	inputs := inputMemory(g, records, s.opts.Params)
	limit := s.memory.limitOfOne
	if inputs+inOrder > limit {
		return footprint{}, refuse(codes.InvalidArgument, "LIMIT", "", "the job takes %d MiB of memory, at most %d are allowed", (inputs+inOrder)>>20, limit>>20)
	}
	bytes := min(inputs+most, max(2*(inputs+inOrder), limit/8), limit)
	if bytes == inputs+most {
		return footprint{bytes, math.MaxInt64}, nil
	}
	return footprint{bytes, bytes - inputs - inOrder}, nil
}

// withMemory returns what a job means, once there is memory for it; release gives that back.
func (s *Server) withMemory(ctx context.Context, job jobs.Job) (g *graph.Graph, records map[graph.Handle][]byte, ahead int64, release func(), err error) {
	fail := func(err error) (*graph.Graph, map[graph.Handle][]byte, int64, func(), error) {
		return nil, nil, 0, nil, err
	}
	g, records, err = s.meaning(ctx, job)
	if err != nil {
		return fail(err)
	}
	f, err := s.footprintOf(g, records)
	if err != nil {
		return fail(err)
	}
	owner, _ := access.SplitJob(job.ID)
	if release, ok := s.memory.tryTake(owner, f.bytes); ok {
		return g, records, f.ahead, release, nil
	}
	s.jobLog(job).DebugContext(ctx, "job waits for memory", "bytes", f.bytes)
	g, records = nil, nil // which those that wait must not hold either
	if release, err = s.memory.take(ctx, owner, f.bytes); err != nil {
		return fail(err)
	}
	if g, records, err = s.meaning(ctx, job); err != nil {
		release()
		return fail(err)
	}
	return g, records, f.ahead, release, nil
}
