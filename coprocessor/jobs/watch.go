package jobs

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"
	"strings"

	"github.com/tacit-fhe/tacit/coprocessor/store"
)

// Wait returns a job, as Get does, once it is terminal.
func (q *Queue) Wait(ctx context.Context, id string) (Job, error) {
	if err := checkID(id); err != nil {
		return Job{}, err
	}
	for r, err := range q.revisions(ctx, id) {
		if err != nil {
			return Job{}, err
		}
		if !r.State.Terminal() {
			continue
		}
		job, err := q.whole(ctx, id, r)
		if !errors.As(err, new(*store.DataLossError)) {
			return job, err
		}
	}
	return q.Get(ctx, id) // it may have been removed
}

// Watch yields a job, without specification and result, as it stands and after
// each change of state, attempts or progress until it is terminal. Changes that
// follow each other faster than they are taken may be yielded as one. An error is
// the last thing yielded.
func (q *Queue) Watch(ctx context.Context, id string) iter.Seq2[Job, error] {
	return func(yield func(Job, error) bool) {
		if err := checkID(id); err != nil {
			yield(Job{}, err)
			return
		}
		for r, err := range q.revisions(ctx, id) {
			if err != nil {
				yield(Job{}, err)
			} else if !yield(r.job(id, r.rev), nil) {
				return
			}
		}
	}
}

// revisions yields what Watch does, as records.
func (q *Queue) revisions(ctx context.Context, id string) iter.Seq2[revision, error] {
	return func(yield func(revision, error) bool) {
		s := &subscription{news: make(chan struct{}, 1)}
		q.subscribe(id, s)
		defer q.unsubscribe(id, s)
		r, rev, err := q.read(ctx, id)
		if err != nil {
			yield(revision{}, err)
			return
		}
		now := revision{*r, rev}
		for yield(now, nil) && !now.State.Terminal() {
			last := now
			for now.rev <= last.rev && now.Cause != Lost || now.same(&last.record) {
				if err := q.hear(ctx, s.news); err != nil {
					yield(revision{}, err)
					return
				}
				q.mu.Lock()
				now = s.latest
				q.mu.Unlock()
			}
		}
	}
}

// hear waits for news, at most until the context ends or the queue is closed.
func (q *Queue) hear(ctx context.Context, news <-chan struct{}) error {
	select {
	case <-news:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-q.ctx.Done():
		return ErrClosed
	}
}

// same reports whether two records of a job differ in nothing but the renewal of a
// lease.
func (r *record) same(s *record) bool {
	return r.State == s.State && r.Attempts == s.Attempts && r.Started.Equal(s.Started) && string(r.Progress) == string(s.Progress)
}

// subscription is one Watch's mailbox: the latest revision only. The Queue's
// mutex guards latest.
type subscription struct {
	latest revision
	news   chan struct{}
}

func (s *subscription) offer(r revision) {
	s.latest = r
	select {
	case s.news <- struct{}{}:
	default:
	}
}

func (q *Queue) subscribe(id string, s *subscription) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.subs[id] == nil {
		q.subs[id] = map[*subscription]struct{}{}
	}
	q.subs[id][s] = struct{}{}
}

func (q *Queue) unsubscribe(id string, s *subscription) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.subs[id], s)
	if len(q.subs[id]) == 0 {
		delete(q.subs, id)
	}
}

// feed is the mailbox of one Changes: the ids of jobs that have changed. The
// Queue's mutex guards pending.
type feed struct {
	prefix  string
	pending map[string]struct{}
	news    chan struct{}
}

func (f *feed) offer(id string) {
	if !strings.HasPrefix(id, f.prefix) {
		return
	}
	f.pending[id] = struct{}{}
	select {
	case f.news <- struct{}{}:
	default:
	}
}

// Changes yields, without specification and result, every job whose id has a
// prefix and that has changed after a revision, as it stands, in the order of the
// revisions, and then what changes until ctx ends. Changes of one job that follow
// each other faster than they are taken are yielded as one. Whoever goes on after
// the revision of the last job that was yielded misses nothing. An error is the
// last thing yielded.
func (q *Queue) Changes(ctx context.Context, after uint64, prefix string) iter.Seq2[Job, error] {
	return func(yield func(Job, error) bool) {
		f := &feed{prefix: prefix, pending: map[string]struct{}{}, news: make(chan struct{}, 1)}
		q.mu.Lock()
		q.feeds[f] = struct{}{}
		for _, e := range q.index.order {
			if e.rev > after {
				f.offer(e.id)
			}
		}
		q.mu.Unlock()
		defer func() {
			q.mu.Lock()
			delete(q.feeds, f)
			q.mu.Unlock()
		}()
		for {
			if err := q.hear(ctx, f.news); err != nil {
				yield(Job{}, err)
				return
			}
			q.mu.Lock()
			changed := make([]*entry, 0, len(f.pending))
			for id := range f.pending {
				if e := q.index.byID[id]; e != nil { // not removed meanwhile
					changed = append(changed, e)
				}
			}
			clear(f.pending)
			slices.SortFunc(changed, func(a, b *entry) int { return cmp.Compare(a.rev, b.rev) })
			ids := make([]string, len(changed))
			for i, e := range changed {
				ids[i] = e.id
			}
			q.mu.Unlock()
			for _, id := range ids {
				job, err := q.Stat(ctx, id)
				if errors.As(err, new(*NotFoundError)) {
					continue
				}
				if errors.As(err, new(*store.DataLossError)) {
					var told bool
					if job, told = q.lost(id); !told {
						continue
					}
					err = nil
				}
				if err != nil {
					yield(Job{}, err)
					return
				}
				if !yield(job, nil) {
					return
				}
			}
		}
	}
}
