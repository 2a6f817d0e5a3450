package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/tacit-fhe/tacit/coprocessor/store"
)

// Retention says for how long jobs that have ended are kept.
type Retention struct {
	Age   time.Duration // since their end; without limit when zero
	Count int           // the newest; without limit when zero
}

// ended is a job that has ended, as it was seen.
type ended struct {
	id       string
	rev      uint64
	finished time.Time
}

// Ended returns how many jobs have ended and are kept, without asking the store.
func (q *Queue) Ended() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := &q.index.states
	return s[Done] + s[Failed] + s[Cancelled]
}

// Prune removes the jobs that have ended and that the retention does not keep, with
// their specifications and results, and returns how many there were. With dry it
// removes none. A job that is removed was never submitted: its id may name another
// one. Prune may run at any time, in several processes too.
func (q *Queue) Prune(ctx context.Context, keep Retention, dry bool) (int, error) {
	list := q.excess(keep)
	if dry {
		return len(list), nil
	}
	removed, err := q.remove(ctx, list)
	if err != nil {
		return removed, err
	}
	return removed, errors.Join(q.unmark(ctx), q.closeLedgers(ctx))
}

// Trim is Prune for the number of jobs alone, and takes no longer for those that stay:
// it is for a queue that is busy.
func (q *Queue) Trim(ctx context.Context, count int) (int, error) {
	removed, err := q.remove(ctx, q.excess(Retention{Count: count}))
	if err != nil {
		return removed, err
	}
	return removed, q.unmarkOwn(ctx)
}

// excess lists the jobs that the retention does not keep.
func (q *Queue) excess(keep Retention) []ended {
	var list []ended
	q.mu.Lock()
	for _, e := range q.index.order {
		if e.state.Terminal() && !e.lost {
			list = append(list, ended{e.id, e.rev, e.finished})
		}
	}
	q.mu.Unlock()
	// The oldest first: those that are kept are the last.
	slices.SortStableFunc(list, func(a, b ended) int { return a.finished.Compare(b.finished) })
	n := 0
	if keep.Count > 0 {
		n = max(0, len(list)-keep.Count)
	}
	for keep.Age > 0 && n < len(list) && time.Since(list[n].finished) > keep.Age {
		n++
	}
	return list[:n]
}

const (
	// removeBatch is how many jobs are removed at once, by removers at a time.
	removeBatch = 256
	removers    = 8
)

// remove removes jobs, unless they have changed since they were listed, and returns how
// many it did.
func (q *Queue) remove(ctx context.Context, list []ended) (removed int, err error) {
	// What they left was written before this. Whoever submits another job under the id of
	// one of them writes its specification later.
	last, err := q.data.Last(ctx)
	if err != nil {
		return 0, err
	}
	for batch := range slices.Chunk(list, removeBatch) {
		gone := make([]bool, len(batch))
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(removers)
		for i, e := range batch {
			g.Go(func() (err error) {
				gone[i], err = q.removeRecord(ctx, e)
				if loss := (*store.DataLossError)(nil); errors.As(err, &loss) {
					q.opts.Log.Error("a job that cannot be read is not removed", "job", e.id, "error", err)
					return nil
				}
				return err
			})
		}
		err := g.Wait()
		var left []string // without the records that it belongs to
		for i, e := range batch {
			if gone[i] {
				left = append(left, specName(e.id), resultName(e.id))
				removed++
			}
		}
		if err = errors.Join(err, q.data.Erase(context.WithoutCancel(ctx), last, left...)); err != nil {
			return removed, err
		}
	}
	return removed, nil
}

// mark is the place of a record of a job that was removed here.
type mark struct {
	key string
	at  time.Time
}

// removeRecord removes the record of a job that has ended and says whether it did. Other
// processes that watch the bucket are told by a mark in its place.
func (q *Queue) removeRecord(ctx context.Context, e ended) (bool, error) {
	key := keyOf(e.id)
	if q.opts.Exclusive {
		n, err := q.records.Erase(ctx, e.rev, key)
		if err != nil {
			return false, err
		}
		if n == 0 { // It was submitted again, or retried, or the first answer was lost.
			if now, err := q.records.Get(ctx, key); err != nil || now != nil {
				return false, err
			}
		}
		q.forget(e.id, e.rev)
		return true, nil
	}
	r, rev, err := q.read(ctx, e.id) // is it damaged?
	if errors.As(err, new(*NotFoundError)) || err == nil && (rev != e.rev || !r.State.Terminal()) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	err = q.records.KV.Purge(ctx, key, jetstream.LastRevision(rev))
	if errors.Is(err, jetstream.ErrKeyRevisionMismatch) || errors.Is(err, jetstream.ErrKeyExists) {
		return false, nil // submitted again, or retried
	}
	if err != nil {
		return false, fmt.Errorf("jobs: removing job %s: %w", e.id, err)
	}
	q.forget(e.id, rev)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.marks = append(q.marks, mark{key, time.Now()})
	return true, nil
}

// markAge is how long the mark of a removed job stays, for those who watch.
const markAge = time.Minute

// unmarkOwn removes marks that this queue has left for long enough.
func (q *Queue) unmarkOwn(ctx context.Context) error {
	for {
		q.mu.Lock()
		if len(q.marks) == 0 || time.Since(q.marks[0].at) < markAge {
			q.mu.Unlock()
			return nil
		}
		key := q.marks[0].key
		q.marks = q.marks[1:]
		q.mu.Unlock()
		if err := q.records.EraseMark(ctx, key, markAge); err != nil {
			return err
		}
	}
}

// unmark removes all marks that have been there for long enough, also those that others
// have left.
func (q *Queue) unmark(ctx context.Context) error {
	if err := q.unmarkOwn(ctx); err != nil {
		return err
	}
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
