package jobs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/tacit-fhe/tacit/coprocessor/store"
)

// load follows the bucket's changes, unless they are all of this Queue, and reads what
// was there before. It does not rely on the watch for the latter: a watch skips records
// it cannot read without a word, and never says that it is through.
func (q *Queue) load(ctx context.Context, js jetstream.JetStream) error {
	last, err := q.records.Last(ctx)
	if err != nil {
		return fmt.Errorf("jobs: opening: %w", err)
	}
	q.index.last = last
	if q.opts.Exclusive {
		q.wg.Go(func() { q.attend(js.Conn()) })
	} else {
		w, err := q.watch(last)
		if err != nil {
			return fmt.Errorf("jobs: opening: %w", err)
		}
		q.wg.Go(func() { q.follow(js.Conn(), w, last) })
	}

	keys, err := q.records.Keys(ctx)
	if err != nil {
		return fmt.Errorf("jobs: opening: %w", err)
	}
	g, reading := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for _, key := range keys {
		if key == controlKey || q.discard(key) {
			continue
		}
		if strings.HasPrefix(key, ledgerPrefix) {
			g.Go(func() error {
				e, err := q.records.Get(reading, key)
				if e != nil {
					q.post(key, e.Value(), e.Revision())
				}
				if errors.As(err, new(*store.DataLossError)) {
					q.opts.Log.Error("what is used of a budget is lost", "error", err)
					return nil
				}
				return err
			})
			continue
		}
		g.Go(func() error {
			id, err := idOf(key)
			if err != nil {
				q.opts.Log.Error("ignoring a record in the bucket of jobs", "error", err)
				return nil
			}
			_, _, err = q.read(reading, id)
			if errors.As(err, new(*NotFoundError)) || errors.As(err, new(*store.DataLossError)) {
				return nil // the mark of one that was removed, or a job that is lost
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	_, _, err = q.readControl(ctx)
	return err
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

// attend closes the queue when the connection is closed.
func (q *Queue) attend(conn *nats.Conn) {
	closed := conn.StatusChanged(nats.CLOSED)
	defer conn.RemoveStatusListener(closed)
	if !conn.IsClosed() { // before the listener was there
		select {
		case <-closed:
		case <-q.ctx.Done():
			return
		}
	}
	q.opts.Log.Error("the connection to the store is closed")
	q.cancel(ErrClosed)
}

// follow applies changes, by whomever, until the queue or the connection is
// closed. The watch w yields those after revision seen. A watch recovers from a
// restart of the server only after many seconds, so each new connection gets a
// new one, and so does a watch that falls behind the bucket: the server of a
// cluster that feeds it may be gone while others serve the connection.
func (q *Queue) follow(conn *nats.Conn, w jetstream.KeyWatcher, seen uint64) {
	connected := conn.StatusChanged(nats.CONNECTED)
	defer conn.RemoveStatusListener(connected)
	lag := time.NewTicker(lagInterval)
	defer lag.Stop()
	// expected is the last revision of the bucket at an earlier tick, and initial
	// that before the watch began; the last revision itself may have been removed.
	var expected, initial uint64
	for {
		select {
		case <-q.ctx.Done():
			q.unwatch(w)
			return
		case <-connected:
			q.unwatch(w)
		case <-lag.C:
			last, err := q.lastRevision()
			if err != nil || seen >= expected {
				expected = last // 0 after an error: ask again
				continue
			}
			q.opts.Log.Debug("the watch of jobs is behind", "seen", seen, "expected", expected)
			expected, initial = 0, last
			q.unwatch(w)
		case e, ok := <-w.Updates():
			switch {
			case !ok:
				q.opts.Log.Warn("the watch of jobs ended")
			case e == nil: // the end of the initial values
				seen = max(seen, initial)
				continue
			default:
				seen = e.Revision()
				q.applyEntry(e)
				continue
			}
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

// lastRevision returns the latest revision of the bucket.
func (q *Queue) lastRevision() (uint64, error) {
	ctx, cancel := context.WithTimeout(q.ctx, lagInterval)
	defer cancel()
	return q.records.Last(ctx)
}

// applyEntry applies a change that the watch reports.
func (q *Queue) applyEntry(e jetstream.KeyValueEntry) {
	if e.Key() == controlKey {
		if _, err := q.applyControl(e.Value(), e.Revision()); err != nil {
			q.opts.Log.Error("what is held back cannot be read, it stays as it was", "error", err)
		}
		return
	}
	if q.discard(e.Key()) || q.post(e.Key(), e.Value(), e.Revision()) {
		return
	}
	id, err := idOf(e.Key())
	if err == nil && e.Operation() != jetstream.KeyValuePut {
		q.forget(id, e.Revision())
		return
	}
	if err != nil {
		q.opts.Log.Error("ignoring a record in the bucket of jobs", "error", err)
		return
	}
	own, known := q.expected(id, e)
	if known {
		return
	}
	if own != nil {
		q.apply(id, &own.record, e.Revision())
		return
	}
	r, err := decodeRecord(e.Value())
	if err != nil {
		q.damage(id, undecodable(id, err))
		return
	}
	q.apply(id, &r, e.Revision())
}

// undecodable reports a record that can be read and is none.
func undecodable(id string, err error) *store.DataLossError {
	return &store.DataLossError{Bucket: Records, Key: keyOf(id), Detail: err.Error()}
}

// expected tells of a change that was heard of whether it, or a later one, is known,
// or else whether it is what is being written here, whose answer is on its way.
func (q *Queue) expected(id string, change jetstream.KeyValueEntry) (own *writing, known bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if e := q.index.byID[id]; e != nil && !e.lost && e.rev >= change.Revision() {
		return nil, true
	}
	if w := q.writing[id]; w != nil && bytes.Equal(w.encoded, change.Value()) {
		return w, false
	}
	return nil, false
}

// apply takes in a revision that was read, written or heard of, and tells
// those it concerns.
func (q *Queue) apply(id string, r *record, rev uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.index.apply(id, r, rev) {
		return
	}
	at := revision{*r, rev}
	q.recent.set(id, at)
	for s := range q.subs[id] {
		s.offer(at)
	}
	for f := range q.feeds {
		f.offer(id)
	}
	if l := q.leases[id]; l != nil {
		if cause := l.lost(r.State, r.Lease); cause != nil {
			delete(q.leases, id)
			l.cancel(cause)
		}
	}
}
