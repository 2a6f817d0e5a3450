package coprocessor

import (
	"container/list"
	"context"
	"crypto/sha256"
	"sync"

	"github.com/tacit-fhe/tacit/coprocessor/graph"
	"github.com/tacit-fhe/tacit/coprocessor/jobs"
)

const (
	// maxDrafts bounds what the graphs take that wait for a worker, in bytes, and maxDraft
	// what one may take.
	maxDrafts = 16 << 20
	maxDraft  = maxDrafts / 16
	// nodeMemory is about what a node of a graph takes besides what its spec does.
	nodeMemory = 1 << 10
)

// drafts keeps graphs from the submission of their jobs until a worker of the same process
// takes them, so that it need not validate again what was just validated here. Those that
// came first go first. It is safe for concurrent use.
type drafts struct {
	mu    sync.Mutex
	size  int
	spec  map[[32]byte]*list.Element // by the SHA-256 of the encoded specs, of *validated
	order *list.List                 // first what came first
}

// validated is a graph and the digests of the records that its validation has read.
type validated struct {
	spec   [32]byte
	graph  *graph.Graph
	inputs map[graph.Handle][32]byte
	size   int
}

func newDrafts() *drafts {
	return &drafts{spec: make(map[[32]byte]*list.Element), order: list.New()}
}

// put keeps the draft of an encoded spec, of which no input was missing.
func (d *drafts) put(encoded []byte, from *draft) {
	size := len(encoded) + nodeMemory*from.graph.Len()
	if len(from.missing) > 0 || size > maxDraft {
		return
	}
	v := &validated{sha256.Sum256(encoded), from.graph, make(map[graph.Handle][32]byte, len(from.records)), size}
	for h, record := range from.records {
		v.inputs[h] = sha256.Sum256(record)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.remove(v.spec)
	d.spec[v.spec] = d.order.PushBack(v)
	for d.size += size; d.size > maxDrafts; {
		d.remove(d.order.Front().Value.(*validated).spec)
	}
}

// take returns what is kept of a spec, or nil, and keeps it no longer.
func (d *drafts) take(spec [32]byte) *validated {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.remove(spec)
}

func (d *drafts) remove(spec [32]byte) *validated {
	at := d.spec[spec]
	if at == nil {
		return nil
	}
	v := d.order.Remove(at).(*validated)
	delete(d.spec, spec)
	d.size -= v.size
	return v
}

// drafted returns the graph of a job and the records of its inputs, if this process has
// validated its spec with the very same ones.
func (s *Server) drafted(ctx context.Context, job jobs.Job) (*graph.Graph, map[graph.Handle][]byte, bool) {
	v := s.drafts.take(job.SpecDigest)
	if v == nil {
		return nil, nil, false
	}
	records := make(map[graph.Handle][]byte, len(v.inputs))
	for h, digest := range v.inputs {
		record, err := s.input(ctx, h, v.graph.KeyID())
		if err != nil || sha256.Sum256(record) != digest {
			return nil, nil, false // the validation tells
		}
		records[h] = record
	}
	return v.graph, records, true
}
