package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tacit-fhe/tacit/coprocessor/store"
)

// Verify reads every job, and tells bad of those that are damaged: a record that
// cannot be read, a specification or a result that is not there as it was.
func (q *Queue) Verify(ctx context.Context, bad func(*store.DataLossError)) (store.Checked, error) {
	return q.records.Verify(ctx, func(key string, value []byte) error {
		if key == controlKey || strings.HasPrefix(key, discardedPrefix) {
			return nil
		}
		if strings.HasPrefix(key, ledgerPrefix) {
			_, err := decodeLedger(key, value)
			return err
		}
		id, err := idOf(key)
		if err != nil {
			return err
		}
		r, err := decodeRecord(value)
		if err != nil {
			return err
		}
		for _, part := range r.parts(id) {
			_, err := q.data.Get(ctx, part.prefix, part.digest)
			if loss := (*store.DataLossError)(nil); errors.As(err, &loss) {
				return fmt.Errorf("its %s cannot be read: %s", part.what, loss.Detail)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}, bad)
}

// part is what lies apart from a record.
type part struct {
	what, prefix string
	digest       store.Digest
}

func (r *record) parts(id string) []part {
	parts := []part{{"specification", specName(id), r.Spec}}
	if r.Result != nil && len(r.Inline) == 0 {
		parts = append(parts, part{"result", resultName(id), *r.Result})
	}
	return parts
}

// Salvage returns a record of a job in the place of a damaged one, from what else is
// known of it, or nil where that is nothing. A job whose result lies apart is Done; any
// other is Failed, with cause Lost, and can be retried. It has to be written to another store: the server
// takes no value for a key whose last one it cannot read.
func Salvage(ctx context.Context, data *store.Blobs, key string) ([]byte, error) {
	id, err := idOf(key)
	if err != nil {
		return nil, nil
	}
	specs, err := data.Digests(ctx, specName(id))
	if err != nil || len(specs) == 0 {
		return nil, err
	}
	results, err := data.Digests(ctx, resultName(id))
	if err != nil {
		return nil, err
	}
	now := time.Now().UTC()
	r := record{Version: recordVersion, State: Failed, Spec: store.Digest(specs[0]), Attempts: 1, Created: now, Finished: now, Cause: Lost, Reason: "its record was damaged"}
	if len(results) == 1 {
		r.State, r.Cause, r.Reason, r.Result = Done, "", "", (*store.Digest)(&results[0])
	}
	return r.encode()
}

// Records is the name of the bucket of jobs, which Transplant is about.
const Records = "jobs"

// Transplant returns the record of a job as it is to be written to another store, given
// its revision in this one: the job keeps its place among the others. The revisions of
// the other store must be later than those of this one.
func Transplant(key string, value []byte, revision uint64) ([]byte, error) {
	if !strings.HasPrefix(key, keyPrefix) {
		return value, nil
	}
	r, err := decodeRecord(value)
	if err != nil {
		return nil, err
	}
	if r.Seq == 0 {
		r.Seq = revision
	}
	return r.encode()
}

// Live calls visit for every job that has not ended.
func (q *Queue) Live(ctx context.Context, visit func(id string, spec []byte, made []Made) error) error {
	q.mu.Lock()
	var ids []string
	for _, e := range q.index.order {
		if !e.state.Terminal() {
			ids = append(ids, e.id)
		}
	}
	q.mu.Unlock()
	slices.Sort(ids)
	for _, id := range ids {
		r, _, err := q.read(ctx, id)
		if errors.As(err, new(*NotFoundError)) || errors.As(err, new(*store.DataLossError)) {
			continue
		}
		if err != nil {
			return err
		}
		spec, err := q.spec(ctx, id, r.Spec)
		if errors.As(err, new(*store.DataLossError)) {
			continue // it will fail
		}
		if err == nil {
			err = visit(id, spec, r.makes())
		}
		if err != nil {
			return err
		}
	}
	return nil
}
