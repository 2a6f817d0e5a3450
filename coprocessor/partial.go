package coprocessor

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tacit-fhe/tacit/coprocessor/store"
)

// An upload of an evaluation key or a migration key that is interrupted can be continued: what has arrived
// stays for a while, for the principal who sent it, in a file without a name, which does
// not survive the process. It is worth nothing until the whole has the digest it is named
// by.

const (
	// partialAge is how long what has arrived stays after the last byte.
	partialAge = time.Hour
	// maxPartials and maxPartialsOfOne bound the interrupted uploads that are kept, in
	// all and of one principal, of at most MaxKey bytes each: the latest are.
	maxPartials      = 8
	maxPartialsOfOne = 2
	// partialStill is how long an upload has nothing arriving before it is taken for broken
	// by who wants to continue it.
	partialStill = 5 * time.Second
)

type partialName struct {
	principal string
	key       [32]byte // SHA-256 of its container
}

// partial is what has arrived of an upload.
type partial struct {
	name partialName
	size uint64
	file *store.Spool // nil until something arrives
	n    int64        // bytes in the file

	// Of a partial that an upload works on.
	stop  func()        // ends that upload
	done  chan struct{} // closed when it has ended
	moved time.Time     // when the last byte arrived

	// Of one that waits.
	since time.Time
	timer *time.Timer
}

// partials are those of a process.
type partials struct {
	dir        string
	age, still time.Duration

	mu     sync.Mutex
	closed bool
	of     map[partialName]*partial
}

func newPartials(dir string) *partials {
	return &partials{dir: dir, age: partialAge, still: partialStill, of: make(map[partialName]*partial)}
}

// moving reports whether an upload works on a partial, which nobody else can continue.
func (ps *partials) moving(p *partial) bool { return p.stop != nil && time.Since(p.moved) < ps.still }

// received is how much has arrived of an upload that can be continued, and of how much.
func (ps *partials) received(name partialName) (n int64, size uint64) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p := ps.of[name]
	if p == nil || ps.moving(p) {
		return 0, 0
	}
	return p.n, p.size
}

// begin continues an upload after so many bytes, ending the one that worked on it until
// its connection broke, or begins one. stop ends the upload that begins. end must be
// called.
func (ps *partials) begin(ctx context.Context, name partialName, size, offset uint64, stop func()) (*partial, error) {
	for {
		p, busy, err := ps.take(name, size, offset, stop)
		if busy == nil {
			return p, err
		}
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// take is begin, but for an upload that has yet to be ended returns what is closed then.
func (ps *partials) take(name partialName, size, offset uint64, stop func()) (_ *partial, busy <-chan struct{}, err error) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p := ps.of[name]
	if offset > 0 {
		if p == nil || ps.moving(p) || p.size != size || int64(offset) > p.n {
			return nil, nil, refuse(codes.FailedPrecondition, "NO_SUCH_UPLOAD", "header.offset", "there are not %d bytes of such an upload", offset)
		}
		if p.stop != nil {
			p.stop()
			return nil, p.done, nil
		}
		p.timer.Stop()
	} else {
		if p != nil && p.stop == nil {
			ps.drop(p)
			p = nil
		}
		fresh := &partial{name: name, size: size}
		if p == nil {
			ps.of[name] = fresh
		}
		p = fresh // where another upload of the same is under way, nobody can continue this one yet
	}
	p.n = int64(offset)
	p.stop, p.done, p.moved = stop, make(chan struct{}), time.Now()
	return p, nil, nil
}

// end says that an upload has ended; what has arrived is kept to be continued, or not.
func (ps *partials) end(p *partial, keep bool) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	close(p.done)
	p.stop = nil
	if other := ps.of[p.name]; other != nil && other != p {
		keep = false
	}
	if !keep || p.n == 0 || ps.closed {
		ps.drop(p)
		return
	}
	ps.of[p.name] = p
	p.since = time.Now()
	p.timer = time.AfterFunc(ps.age, func() { ps.expire(p) })
	var waiting []*partial
	for _, other := range ps.of {
		if other.stop == nil {
			waiting = append(waiting, other)
		}
	}
	slices.SortFunc(waiting, func(a, b *partial) int { return b.since.Compare(a.since) })
	all, own := 0, 0
	for _, other := range waiting {
		mine := other.name.principal == p.name.principal
		if mine {
			own++
		}
		if all++; all > maxPartials || mine && own > maxPartialsOfOne {
			ps.drop(other)
		}
	}
}

// expire drops a partial that nobody has continued in time.
func (ps *partials) expire(p *partial) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.of[p.name] == p && p.stop == nil && time.Since(p.since) >= ps.age {
		ps.drop(p)
	}
}

// drop forgets a partial that no upload works on.
func (ps *partials) drop(p *partial) {
	if p.timer != nil {
		p.timer.Stop()
	}
	if p.file != nil {
		p.file.Close()
	}
	if ps.of[p.name] == p {
		delete(ps.of, p.name)
	}
}

// close drops all that wait, and those under way when they end.
func (ps *partials) close() {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.closed = true
	for _, p := range ps.of {
		if p.stop == nil {
			ps.drop(p)
		}
	}
}

// partialReader reads an upload from its beginning: what has arrived before, and then
// what arrives, which it adds.
type partialReader struct {
	all *partials
	p   *partial
	in  io.Reader // what arrives
	at  int64
	err error // why nothing arrives any more
}

func (r *partialReader) Read(b []byte) (int, error) {
	if left := r.p.n - r.at; left > 0 {
		n, err := r.p.file.ReadAt(b[:min(int64(len(b)), left)], r.at)
		r.at += int64(n)
		return n, err
	}
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.in.Read(b)
	r.err = err
	if n > 0 {
		if err := r.keep(b[:n]); err != nil {
			r.err = err
			return 0, err
		}
		r.at += int64(n)
		r.all.mu.Lock()
		r.p.n, r.p.moved = r.at, time.Now()
		r.all.mu.Unlock()
	}
	return n, err
}

// keep adds what has arrived to the file.
func (r *partialReader) keep(b []byte) (err error) {
	if r.p.file == nil {
		if r.p.file, err = store.NewSpool(r.all.dir); err != nil {
			return err
		}
	}
	_, err = r.p.file.WriteAt(b, r.at)
	return err
}

// interrupted reports whether the upload could go on from where it is: it broke off, and
// what has arrived is not at fault. A disk that is full is not kept so.
func (r *partialReader) interrupted() bool {
	var f *fault
	return r.err != nil && r.err != io.EOF && !errors.Is(r.err, syscall.ENOSPC) && (!errors.As(r.err, &f) || f.reason == "TRUNCATED")
}
