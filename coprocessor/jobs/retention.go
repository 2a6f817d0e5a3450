package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tacit-fhe/tacit/coprocessor/store"
)

// Retention says for how long jobs that have ended are kept.
type Retention struct {
	Age   time.Duration // since their end; without limit when zero
	Count int           // the newest; without limit when zero
}

// Prune removes the jobs that have ended and that the retention does not keep, with
// their specifications and results, and returns how many there were. With dry it
// removes none. A job that is removed was never submitted: its id may name another
// one. Prune may run at any time, in several processes too.
func (q *Queue) Prune(ctx context.Context, keep Retention, dry bool) (int, error) {
	var ended []*entry
	q.mu.Lock()
	for _, e := range q.index.order {
		if e.state.Terminal() && !e.lost {
			ended = append(ended, e)
		}
	}
	q.mu.Unlock()
	slices.SortStableFunc(ended, func(a, b *entry) int { return b.finished.Compare(a.finished) })
	removed := 0
	for i, e := range ended {
		old := keep.Age > 0 && time.Since(e.finished) > keep.Age
		if !old && (keep.Count == 0 || i < keep.Count) {
			continue
		}
		if !dry {
			err := q.remove(ctx, e.id)
			if loss := (*store.DataLossError)(nil); errors.As(err, &loss) {
				q.opts.Log.Error("a job that cannot be read is not removed", "job", e.id, "error", err)
				continue
			}
			if err != nil {
				return removed, err
			}
		}
		removed++
	}
	if !dry {
		return removed, errors.Join(q.unmark(ctx), q.closeLedgers(ctx))
	}
	return removed, nil
}

// remove removes a job that has ended. Those who watch the bucket are told by a mark
// in the place of the record.
func (q *Queue) remove(ctx context.Context, id string) error {
	// Whoever submits another job under the id writes its specification later.
	last, err := q.data.Last(ctx)
	if err != nil {
		return err
	}
	r, rev, err := q.read(ctx, id)
	if errors.As(err, new(*NotFoundError)) || err == nil && !r.State.Terminal() {
		return nil
	}
	if err != nil {
		return err
	}
	err = q.records.KV.Purge(ctx, keyOf(id), jetstream.LastRevision(rev))
	if errors.Is(err, jetstream.ErrKeyRevisionMismatch) || errors.Is(err, jetstream.ErrKeyExists) {
		return nil // submitted again, or retried
	}
	if err != nil {
		return fmt.Errorf("jobs: removing job %s: %w", id, err)
	}
	q.forget(id, rev)
	for _, name := range []string{specName(id), resultName(id)} {
		if err := q.data.Erase(ctx, name, last); err != nil {
			return err
		}
	}
	return nil
}

// markAge is how long the mark of a removed job stays, for those who watch.
const markAge = time.Minute

// unmark removes marks that have been there for long enough.
func (q *Queue) unmark(ctx context.Context) error {
	keys, err := q.records.Keys(ctx)
	if err != nil {
		return err
	}
	for _, key := range keys {
		id, err := idOf(key)
		if err != nil {
			continue
		}
		q.mu.Lock()
		known := q.index.byID[id] != nil
		q.mu.Unlock()
		if known {
			continue
		}
		if err := q.records.EraseMark(ctx, key, markAge); err != nil {
			return err
		}
	}
	return nil
}

// forget takes a job out of the index that was removed at a revision or after it.
func (q *Queue) forget(id string, rev uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.index.forget(id, rev)
	if m := q.recent.get(id); m != nil && m.revision.rev <= rev {
		q.recent.drop(id)
	}
}

// forget takes a job out of the index, unless it is at a later revision than that. Its
// tenant has spent what it has spent.
func (x *index) forget(id string, rev uint64) {
	e := x.byID[id]
	if e == nil || e.rev > rev {
		return
	}
	e.gone = true
	if e.lost {
		x.drop(e)
		return
	}
	x.unschedule(e)
	x.unlink(e)
	x.uncount(e)
	delete(x.byID, id)
	if at, ok := slices.BinarySearchFunc(x.order, e.seq, bySeq); ok {
		x.order = slices.Delete(x.order, at, at+1)
	}
}
