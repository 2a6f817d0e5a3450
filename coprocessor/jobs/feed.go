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
			select {
			case <-f.news:
			case <-ctx.Done():
				yield(Job{}, ctx.Err())
				return
			case <-q.ctx.Done():
				yield(Job{}, ErrClosed)
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
