package jobs

import (
	"container/list"

	"github.com/tacit-fhe/tacit/coprocessor/store"
)

// maxRecent bounds what a Queue remembers of jobs, in bytes, and maxRecentJob what of
// one.
const (
	maxRecent    = 16 << 20
	maxRecentJob = maxRecent / 16
)

// recent remembers jobs as they were last heard of, so that the store is not asked for
// what it was just told. The Queue's mutex guards it.
type recent struct {
	size  int
	byID  map[string]*list.Element // of *memory
	order *list.List               // first what was used last
}

// memory is what is remembered of one job.
type memory struct {
	id           string
	revision     revision
	spec, result content
	size         int
}

// revision is a record at its revision.
type revision struct {
	record
	rev uint64
}

// content is bytes that have this digest; nil when they are not known.
type content struct {
	digest store.Digest
	data   []byte
}

func newRecent() *recent { return &recent{byID: map[string]*list.Element{}, order: list.New()} }

// get returns what is known of a job, or nil.
func (x *recent) get(id string) *memory {
	at := x.byID[id]
	if at == nil {
		return nil
	}
	x.order.MoveToFront(at)
	return at.Value.(*memory)
}

// set takes in a revision, unless a later one is known.
func (x *recent) set(id string, r revision) {
	m := x.get(id)
	switch {
	case m == nil:
		m = &memory{id: id}
		x.byID[id] = x.order.PushFront(m)
	case m.revision.rev >= r.rev:
		return
	}
	m.revision = r
	x.measure(m)
}

// tell adds what the specification or the result of a job is.
func (x *recent) tell(id string, which func(*memory) *content, c content) {
	if m := x.get(id); m != nil {
		*which(m) = c
		x.measure(m)
	}
}

func specOf(m *memory) *content   { return &m.spec }
func resultOf(m *memory) *content { return &m.result }

// measure counts a memory anew, and forgets what is too much.
func (x *recent) measure(m *memory) {
	r := &m.revision
	x.size -= m.size
	m.size = 1<<10 + len(r.Progress) + len(r.Error) + len(r.Inline) + len(r.Needs) + len(r.Makes) + len(r.Note) + len(m.spec.data) + len(m.result.data)
	x.size += m.size
	if m.size > maxRecentJob {
		x.drop(m.id)
	}
	for x.size > maxRecent {
		x.drop(x.order.Back().Value.(*memory).id)
	}
}

// drop forgets a job.
func (x *recent) drop(id string) {
	if at := x.byID[id]; at != nil {
		x.size -= at.Value.(*memory).size
		x.order.Remove(at)
		delete(x.byID, id)
	}
}
