package store

import (
	"bytes"
	"container/list"
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// maxRemembered bounds what a Node remembers, in bytes, and maxRememberedValue the
	// values among that.
	maxRemembered      = 16 << 20
	maxRememberedValue = 1 << 20
	// rememberedSize is what a value takes besides its bytes, about.
	rememberedSize = 512
	// maxDoubtful bounds the keys whose values are not known for certain.
	maxDoubtful = 1 << 12
)

// memory is what a Node remembers of what it has read and written, so that the server
// is not asked for what was just said. Where the server is this process's alone, every
// write passes here, and what is remembered is what the server has: also that there
// is nothing. Where others write too, only what never changes is remembered, the bytes
// that lie under their own digests. It is safe for concurrent use.
type memory struct {
	alone bool

	mu       sync.Mutex
	size     int
	entries  map[place]*list.Element // of *remembered
	order    *list.List              // first what was used last
	busy     map[place]*traffic
	doubtful map[place]struct{} // a write went unanswered, and may yet be made
}

// place is a key of a bucket.
type place struct{ bucket, key string }

// remembered is the latest value of a key, or that there is none.
type remembered struct {
	place
	value *value // nil for none
}

// traffic is what is on its way to or from a key.
type traffic struct {
	readers, writers int
	mixed            bool // a write was under way together with another write or a read
}

// value is a jetstream.KeyValueEntry that was read, or written here.
type value struct {
	place
	data     []byte
	revision uint64
	created  time.Time
}

func (v *value) Bucket() string                  { return v.bucket }
func (v *value) Key() string                     { return v.key }
func (v *value) Value() []byte                   { return v.data }
func (v *value) Revision() uint64                { return v.revision }
func (v *value) Created() time.Time              { return v.created }
func (v *value) Delta() uint64                   { return 0 }
func (v *value) Operation() jetstream.KeyValueOp { return jetstream.KeyValuePut }

func newMemory(alone bool) *memory {
	return &memory{
		alone: alone, entries: make(map[place]*list.Element), order: list.New(),
		busy: make(map[place]*traffic), doubtful: make(map[place]struct{}),
	}
}

// recall returns what is remembered of a key; ok is false when that is nothing.
func (m *memory) recall(p place) (v *value, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := m.entries[p]
	if at == nil {
		return nil, false
	}
	m.order.MoveToFront(at)
	return at.Value.(*remembered).value, true
}

// read asks the server for a key, which answers nil for none, and remembers the answer
// unless the key was written meanwhile.
func (m *memory) read(p place, ask func() (*value, error)) (*value, error) {
	m.mu.Lock()
	t := m.enter(p)
	t.readers++
	t.mixed = t.mixed || t.writers > 0
	m.mu.Unlock()
	v, err := ask()
	m.mu.Lock()
	defer m.mu.Unlock()
	t.readers--
	if err == nil && !t.mixed && (v != nil || m.alone) {
		m.keep(p, v)
	}
	if t.readers == 0 && t.writers == 0 && m.busy[p] == t {
		delete(m.busy, p)
	}
	return v, err
}

// write has keys of a bucket written, at revisions that follow each other, the last one
// of which do returns, and remembers what nobody else wrote or read meanwhile. Of a key
// with a nil value nothing is remembered.
func (m *memory) write(bucket string, writes []Write, do func() (last uint64, err error)) (uint64, error) {
	traffics := make([]*traffic, len(writes))
	m.mu.Lock()
	for i, w := range writes {
		p := place{bucket, w.Key}
		t := m.enter(p)
		t.mixed = t.mixed || t.readers > 0 || t.writers > 0
		t.writers++
		m.drop(p)
		traffics[i] = t
	}
	m.mu.Unlock()
	last, err := do()
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, w := range writes {
		p, t := place{bucket, w.Key}, traffics[i]
		m.drop(p)
		switch {
		case err != nil && !answered(err):
			m.doubt(p)
		case err == nil && w.Value != nil && !t.mixed && m.alone:
			m.keep(p, &value{p, bytes.Clone(w.Value), last - uint64(len(writes)-1-i), time.Now()})
		}
		if t.writers--; t.writers == 0 && m.busy[p] == t {
			delete(m.busy, p) // who reads from now on reads what was written
		}
	}
	return last, err
}

// answered says that an error of a write is the server's, which has not written.
func answered(err error) bool {
	return apiCode(err) != 0 || errors.Is(err, jetstream.ErrKeyRevisionMismatch)
}

// enter returns the traffic of a key.
func (m *memory) enter(p place) *traffic {
	t := m.busy[p]
	if t == nil {
		t = new(traffic)
		m.busy[p] = t
	}
	return t
}

// doubt has a key not remembered any more: nobody knows when the write is made that was
// not answered.
func (m *memory) doubt(p place) {
	if len(m.doubtful) < maxDoubtful {
		m.doubtful[p] = struct{}{}
	}
}

func (m *memory) keep(p place, v *value) {
	_, doubtful := m.doubtful[p]
	if doubtful || len(m.doubtful) == maxDoubtful || v != nil && len(v.data) > maxRememberedValue {
		return
	}
	m.drop(p)
	r := &remembered{p, v}
	m.entries[p] = m.order.PushFront(r)
	for m.size += r.size(); m.size > maxRemembered; {
		m.drop(m.order.Back().Value.(*remembered).place)
	}
}

func (r *remembered) size() int {
	if r.value == nil {
		return rememberedSize
	}
	return rememberedSize + len(r.value.data)
}

func (m *memory) drop(p place) {
	if at := m.entries[p]; at != nil {
		m.size -= at.Value.(*remembered).size()
		m.order.Remove(at)
		delete(m.entries, p)
	}
}

// forget forgets keys of a bucket, and what is read of them now.
func (m *memory) forget(bucket string, keys filter) {
	m.mu.Lock()
	defer m.mu.Unlock()
	one := func(p place) {
		m.drop(p)
		if t := m.busy[p]; t != nil {
			if t.mixed = true; t.writers == 0 {
				delete(m.busy, p)
			}
		}
	}
	for key := range keys.keys {
		one(place{bucket, key})
	}
	if len(keys.first)+len(keys.second) == 0 {
		return
	}
	for p := range m.entries {
		if p.bucket == bucket && keys.has(p.key) {
			one(p)
		}
	}
	for p := range m.busy {
		if p.bucket == bucket && keys.has(p.key) {
			one(p)
		}
	}
}

// filter is keys of a bucket: those that are named, and those of two tokens, separated by
// a dot, one of which is named.
type filter struct{ keys, first, second map[string]bool }

// newFilter reads names of keys; of a key of two tokens, one may be the wildcard *.
func newFilter(names ...string) filter {
	f := filter{map[string]bool{}, map[string]bool{}, map[string]bool{}}
	for _, name := range names {
		first, second, _ := strings.Cut(name, ".")
		switch {
		case second == "*":
			f.first[first] = true
		case first == "*":
			f.second[second] = true
		default:
			f.keys[name] = true
		}
	}
	return f
}

// has says that a key is one of those of two tokens.
func (f filter) has(key string) bool {
	first, second, two := strings.Cut(key, ".")
	return two && (f.first[first] || f.second[second])
}

// rememberedKV is a bucket whose writes are remembered.
type rememberedKV struct {
	jetstream.KeyValue
	memory *memory
}

func (k rememberedKV) write(key string, data []byte, do func() (uint64, error)) (uint64, error) {
	return k.memory.write(k.Bucket(), []Write{{Key: key, Value: data}}, do)
}

func (k rememberedKV) Put(ctx context.Context, key string, data []byte) (uint64, error) {
	return k.write(key, data, func() (uint64, error) { return k.KeyValue.Put(ctx, key, data) })
}

func (k rememberedKV) Create(ctx context.Context, key string, data []byte, opts ...jetstream.KVCreateOpt) (uint64, error) {
	return k.write(key, data, func() (uint64, error) { return k.KeyValue.Create(ctx, key, data, opts...) })
}

func (k rememberedKV) Update(ctx context.Context, key string, data []byte, revision uint64) (uint64, error) {
	return k.write(key, data, func() (uint64, error) { return k.KeyValue.Update(ctx, key, data, revision) })
}

func (k rememberedKV) Delete(ctx context.Context, key string, opts ...jetstream.KVDeleteOpt) error {
	_, err := k.write(key, nil, func() (uint64, error) { return 0, k.KeyValue.Delete(ctx, key, opts...) })
	return err
}

func (k rememberedKV) Purge(ctx context.Context, key string, opts ...jetstream.KVDeleteOpt) error {
	_, err := k.write(key, nil, func() (uint64, error) { return 0, k.KeyValue.Purge(ctx, key, opts...) })
	return err
}
