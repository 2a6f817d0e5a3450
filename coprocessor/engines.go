package coprocessor

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/bootstrap"
	"github.com/tacit-fhe/tacit/coprocessor/graph"
	"github.com/tacit-fhe/tacit/coprocessor/monitor"
	"github.com/tacit-fhe/tacit/coprocessor/store"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/codec"
	"github.com/tacit-fhe/tacit/fhe/integer"
)

// engine computes under one evaluation key: on encrypted integers (TFHE) or on
// vectors (package leveled).
type engine interface {
	// fingerprint is that of the parameters.
	fingerprint() [32]byte
	// decode reads the record of a stored ciphertext.
	decode(record []byte, h graph.Handle) (value, error)
	// meter is what measures one node.
	meter() *meter
	// apply runs the operation of a node; operand gives what is no plaintext.
	apply(ctx context.Context, g *graph.Graph, n graph.Node, operand func(graph.Operand) value, m *meter) ([]value, error)
	// encode is the inverse of decode, for results.
	encode(v value) ([]byte, error)
	// parallel is how many nodes of a job may run at a time.
	parallel() int
	// size is how many bytes the prepared key takes.
	size() int64
	stats() bootstrap.Stats
	close()
}

// value is an encrypted value at work: what the engine of its key decodes.
type value any

// engines prepares evaluation keys when they are first needed, once for all who wait
// for one, and keeps as many as fit into so many bytes, and into the memory of the
// devices where there are any, which take a copy: a prepared key takes some hundred
// megabytes. Keys in use stay whatever they take, and so does the one that was
// used last.
type engines struct {
	params  *fhe.Parameters
	backend accel.Backend
	keys    *store.Keys
	workers int
	limit   int64 // bytes
	size    int64 // bytes of one prepared key for integers
	metrics *monitor.Metrics

	mu      sync.Mutex
	byID    map[fhe.KeyID]*slot
	retired bootstrap.Stats // of batchers that are closed
}

// slot is one prepared key, or one that is being prepared.
type slot struct {
	ready  chan struct{} // closed when engine or err is set
	engine engine
	err    error
	size   int64     // bytes, guarded by engines.mu; those of an integer engine until it is prepared
	users  int       // guarded by engines.mu
	used   time.Time // guarded by engines.mu
}

// prepared says that the engine is there.
func (s *slot) prepared() bool {
	select {
	case <-s.ready:
		return s.err == nil
	default:
		return false
	}
}

func newEngines(p *fhe.Parameters, backend accel.Backend, keys *store.Keys, workers int, limit int64, m *monitor.Metrics) *engines {
	if devices, ok := backend.(accel.PBSEngine); ok {
		limit = min(limit, devices.KeyMemory())
	}
	return &engines{
		params: p, backend: backend, keys: keys, workers: workers, limit: limit, size: bootstrap.PreparedSize(p),
		metrics: m, byID: make(map[fhe.KeyID]*slot),
	}
}

// acquire returns the engine of a key, preparing it if need be. release must be
// called once when the engine is no longer used.
func (e *engines) acquire(ctx context.Context, id fhe.KeyID) (_ engine, release func(), err error) {
	e.mu.Lock()
	s, ok := e.byID[id]
	if !ok {
		e.evict(e.limit - e.size)
		s = &slot{ready: make(chan struct{}), size: e.size}
		e.byID[id] = s
		go e.prepare(id, s)
	}
	s.users++
	e.mu.Unlock()
	e.metrics.KeyRequest(ok)
	release = func() {
		e.mu.Lock()
		s.users--
		s.used = time.Now()
		e.evict(max(e.limit, s.size)) // more than that may have been in use
		e.mu.Unlock()
	}
	select {
	case <-s.ready:
		err = s.err
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		release()
		return nil, nil, err
	}
	return s.engine, release, nil
}

// prepare loads a key. It runs to its end even when whoever asked has gone, so
// that a key is never read twice at a time.
func (e *engines) prepare(id fhe.KeyID, s *slot) {
	start := time.Now()
	s.engine, s.err = e.load(id)
	if s.err == nil {
		e.metrics.KeyPrepared(time.Since(start))
	}
	close(s.ready) // before the lock, which close holds while it waits for this
	e.mu.Lock()
	defer e.mu.Unlock()
	if s.err != nil {
		delete(e.byID, id) // the next one tries again
		return
	}
	s.size = s.engine.size()
	e.evict(max(e.limit, s.size))
}

// held is how many bytes all keys take. e.mu is held.
func (e *engines) held() (total int64) {
	for _, s := range e.byID {
		total += s.size
	}
	return total
}

func (e *engines) load(id fhe.KeyID) (_ engine, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = refuse(codes.Internal, "PANIC", "", "preparing the key %s panicked: %v", id, p)
		}
	}()
	r, _, err := e.keys.Open(context.Background(), id)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return newEngine(r, id, e.params, e.backend, e.workers)
}

// newEngine prepares the evaluation key whose container r yields and that must
// have that id. Keys for integers must have the parameters p, those for vectors any
// that package leveled names.
func newEngine(r io.Reader, id fhe.KeyID, p *fhe.Parameters, backend accel.Backend, workers int) (engine, error) {
	r, kind, err := kindOf(r)
	if err != nil {
		return nil, err
	}
	if kind == codec.LeveledEvaluationKey {
		return newVectorEngine(r, id, workers)
	}
	return newIntegerEngine(r, id, p, backend, workers)
}

// kindOf looks at the head of a container, and returns a reader of all of it. What is no head
// is of no kind, and left to whoever decodes the container.
func kindOf(r io.Reader) (io.Reader, codec.Kind, error) {
	b := bufio.NewReaderSize(r, 1<<16)
	head, err := b.Peek(codec.HeaderSize)
	if err != nil && err != io.EOF {
		return nil, 0, err
	}
	h, _ := codec.ReadHeader(bytes.NewReader(head)) // of kind 0 with an error
	return b, h.Kind, nil
}

// batcher bootstraps for everyone who computes under a key: a *bootstrap.Batcher, or a
// *bootstrap.Clear where the service is a mock.
type batcher interface {
	integer.Bootstrapper
	Stats() bootstrap.Stats
	Full() int
	Close()
}

// integerEngine computes on encrypted integers.
type integerEngine struct {
	params   *fhe.Parameters
	id       fhe.KeyID
	batcher  batcher
	integers *integer.Evaluator
	packer   integer.Packer
	boot     *bootstrap.Evaluator
	nodes    int // that may run at a time
}

func newIntegerEngine(r io.Reader, id fhe.KeyID, p *fhe.Parameters, backend accel.Backend, workers int) (_ *integerEngine, err error) {
	key, err := fhe.StreamEvaluationKey(r, p)
	if err != nil {
		return nil, err
	}
	evaluator, err := bootstrap.NewEvaluator(key, backend)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, evaluator.Close())
		}
	}()
	got, err := key.Close()
	if err != nil {
		return nil, err
	}
	if got != id {
		return nil, fmt.Errorf("evaluation key %s has the digest %s", id, got)
	}
	e := &integerEngine{params: p, id: id, packer: evaluator, boot: evaluator}
	if p.Clear() {
		clear, err := bootstrap.NewClear(p)
		if err != nil {
			return nil, err
		}
		e.batcher, e.packer = clear, clear
	} else {
		e.batcher = bootstrap.NewBatcher(evaluator, workers)
	}
	if e.integers, err = integer.New(p, e.batcher); err != nil {
		e.batcher.Close()
		return nil, err
	}
	e.nodes = 2 * e.batcher.Full()
	return e, nil
}

func (e *integerEngine) fingerprint() [32]byte  { return e.params.Fingerprint() }
func (e *integerEngine) size() int64            { return bootstrap.PreparedSize(e.params) }
func (e *integerEngine) stats() bootstrap.Stats { return e.batcher.Stats() }
func (e *integerEngine) parallel() int          { return e.nodes }
func (e *integerEngine) meter() *meter          { return &meter{params: e.params, boot: e.batcher} }

// close gives the memory of devices back at once; an error of a device is the backend's to
// report.
func (e *integerEngine) close() {
	e.batcher.Close()
	e.boot.Close()
}

func (e *integerEngine) decode(record []byte, h graph.Handle) (value, error) {
	list, err := storedList(record, h, e.params)
	if err != nil {
		return nil, err
	}
	return list.Value(0), nil
}

func (e *integerEngine) apply(ctx context.Context, g *graph.Graph, n graph.Node, operand func(graph.Operand) value, m *meter) ([]value, error) {
	results, err := apply(ctx, e.integers.Using(strategies[g.Strategy()]).With(m), n,
		operandsOf(n, func(o graph.Operand) *integer.Value { return operand(o).(*integer.Value) }))
	values := make([]value, len(results))
	for i, v := range results {
		values[i] = v
	}
	return values, err
}

func (e *integerEngine) encode(v value) ([]byte, error) {
	list, err := integer.Pack(e.params, e.id, e.packer, v.(*integer.Value))
	if err != nil {
		return nil, err
	}
	return list.MarshalBinary()
}

// evict drops keys until those that are left take so many bytes, first those that were
// not used for longest; keys in use stay. e.mu is held.
func (e *engines) evict(keep int64) {
	for e.held() > keep {
		var oldest fhe.KeyID
		var found *slot
		for id, s := range e.byID {
			if s.users == 0 && s.prepared() && (found == nil || s.used.Before(found.used)) {
				oldest, found = id, s
			}
		}
		if found == nil {
			return
		}
		delete(e.byID, oldest)
		e.metrics.KeyEvicted()
		e.retire(found.engine)
	}
}

// retire stops an engine that nobody uses. e.mu is held.
func (e *engines) retire(old engine) {
	old.close()
	e.retired = plus(e.retired, old.stats())
}

func plus(a, b bootstrap.Stats) bootstrap.Stats {
	a.Bootstraps += b.Bootstraps
	a.Batches += b.Batches
	a.Waiting += b.Waiting
	return a
}

// stats returns what all batchers did since the start, how many keys are prepared, and
// how many bytes they take.
func (e *engines) stats() (total bootstrap.Stats, prepared int, bytes int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	total = e.retired
	for _, s := range e.byID {
		if s.prepared() {
			prepared++
			bytes += s.size
			total = plus(total, s.engine.stats())
		}
	}
	return total, prepared, bytes
}

// close stops all engines; nobody uses them any more.
func (e *engines) close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for id, s := range e.byID {
		<-s.ready
		if s.engine != nil {
			e.retire(s.engine)
		}
		delete(e.byID, id)
	}
}
