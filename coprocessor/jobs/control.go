package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tacit-fhe/tacit/coprocessor/store"
)

// controlKey is the key, in the bucket of jobs, of what is held back.
const controlKey = "control"

// controlRecord is what the bucket stores under controlKey.
type controlRecord struct {
	Version int `json:"version"`
	Control
}

// Control returns what is held back.
func (q *Queue) Control(ctx context.Context) (Control, error) {
	c, _, err := q.readControl(ctx)
	return c, err
}

// Hold changes what is held back, for all queues over the same store.
func (q *Queue) Hold(ctx context.Context, change func(*Control)) (Control, error) {
	for {
		c, rev, err := q.readControl(ctx)
		if err != nil {
			return Control{}, err
		}
		change(&c)
		b, err := json.Marshal(controlRecord{recordVersion, c})
		if err != nil {
			return Control{}, fmt.Errorf("jobs: %w", err)
		}
		if rev == 0 {
			rev, err = q.records.KV.Create(ctx, controlKey, b)
		} else {
			rev, err = q.records.KV.Update(ctx, controlKey, b, rev)
		}
		if errors.Is(err, jetstream.ErrKeyExists) || errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
			continue
		}
		if err != nil {
			return Control{}, fmt.Errorf("jobs: writing what is held back: %w", err)
		}
		return q.applyControl(b, rev)
	}
}

// readControl returns what is held back, and its revision, 0 when nothing ever
// was.
func (q *Queue) readControl(ctx context.Context) (Control, uint64, error) {
	e, err := q.records.Get(ctx, controlKey)
	if err != nil || e == nil {
		return Control{}, 0, err
	}
	c, err := q.applyControl(e.Value(), e.Revision())
	return c, e.Revision(), err
}

// applyControl takes in what is held back.
func (q *Queue) applyControl(b []byte, rev uint64) (Control, error) {
	c, err := decodeControl(b)
	if err != nil {
		return Control{}, &store.DataLossError{Bucket: "jobs", Key: controlKey, Detail: err.Error()}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if rev > q.heldRev {
		q.heldRev = rev
		q.index.hold(c)
	}
	return c, nil
}

func decodeControl(b []byte) (Control, error) {
	var r controlRecord
	err := json.Unmarshal(b, &r)
	if err == nil && r.Version != recordVersion {
		err = fmt.Errorf("version %d, want %d", r.Version, recordVersion)
	}
	return r.Control, err
}
