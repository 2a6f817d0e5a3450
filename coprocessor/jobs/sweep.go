package jobs

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/tacit-fhe/tacit/coprocessor/store"
)

// Sweep removes what lies apart from records that no record names, once it is so old: the
// results of attempts that were cancelled, lost or cut off before they were recorded, and
// the specifications of submissions that were. It returns how many there were. With dry it
// removes none. It may run at any time, in several processes too.
func (q *Queue) Sweep(ctx context.Context, age time.Duration, dry bool) (removed int, err error) {
	before := time.Now().Add(-age)
	names, err := q.data.Names(ctx)
	if err != nil {
		return 0, err
	}
	for prefix, digests := range names {
		kind, name, _ := strings.Cut(prefix, "/")
		id, err := idOf(keyPrefix + name)
		if err != nil || kind != "spec" && kind != "result" || q.keeps(id, kind, len(digests)) {
			continue
		}
		r, _, err := q.read(ctx, id)
		switch {
		case errors.As(err, new(*store.DataLossError)):
			continue // what is left of it may repair it
		case errors.As(err, new(*NotFoundError)):
			r = nil
		case err != nil:
			return removed, err
		}
		for _, d := range digests {
			if r != nil && r.has(id, prefix, d) {
				continue
			}
			old, err := q.data.EraseOld(ctx, prefix, d, before, dry)
			if err != nil {
				return removed, err
			}
			if old {
				removed++
			}
		}
	}
	return removed, nil
}

// keeps reports whether a job is known to name all of so many values of a kind, or that
// this cannot be told.
func (q *Queue) keeps(id, kind string, values int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	e := q.index.byID[id]
	return e != nil && (e.lost || values == 1 && (kind == "spec" || e.apart))
}

// has reports whether the record names a value under a prefix.
func (r *record) has(id, prefix string, d [32]byte) bool {
	for _, p := range r.parts(id) {
		if p.prefix == prefix && p.digest == d {
			return true
		}
	}
	return false
}
