package store

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Several writes to one bucket are made at once by the atomic batches of JetStream
// (its ADR 50; servers from 2.12 on): the server keeps them aside until the last one is
// there, compares all revisions, and then stores all or none, also across a crash.

// MaxWrites bounds the writes that WriteAll makes at once.
const MaxWrites = 1000

// maxBatches bounds the batches that a process has under way; a server takes 50 for one
// bucket.
const maxBatches = 8

// Write is one of the writes that WriteAll makes.
type Write struct {
	Key   string
	Value []byte
	// Revision is the one that the key must be at; 0 for a key without a value.
	Revision uint64
}

// BatchError reports servers that cannot write several records at once.
type BatchError struct{}

func (*BatchError) Error() string {
	return "store: the servers cannot write several records at once: JetStream 2.12 or a later version is needed"
}

// The headers of a batch and of a revision that is expected.
const (
	batchID       = "Nats-Batch-Id"
	batchSequence = "Nats-Batch-Sequence"
	batchCommit   = "Nats-Batch-Commit"
	expected      = "Nats-Expected-Last-Subject-Sequence"
)

// WriteAll makes at most MaxWrites writes, of different keys, all of them or none. It
// returns the revision of the last one; those of the others come right before it, in
// their order. Where a key is at another revision than it must be, the error is
// jetstream.ErrKeyRevisionMismatch. After an error that is not the server's answer the
// writes may have been made.
func (b *Bucket) WriteAll(ctx context.Context, writes []Write) (uint64, error) {
	if len(writes) == 0 || len(writes) > MaxWrites {
		return 0, fmt.Errorf("store: %d writes to %s at once, want 1 to %d", len(writes), b.KV.Bucket(), MaxWrites)
	}
	if len(writes) > 1 {
		select {
		case b.batches <- struct{}{}:
			defer func() { <-b.batches }()
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	last, err := b.remembered(ctx, writes)
	if !errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		return last, err
	}
	// The mark of a removal is no value, but has a revision.
	marked := false
	writes = append([]Write(nil), writes...)
	for i := range writes {
		if writes[i].Revision != 0 {
			continue
		}
		rev, ok, err := b.mark(ctx, writes[i].Key)
		if err != nil {
			return 0, err
		}
		if ok {
			writes[i].Revision, marked = rev, true
		}
	}
	if !marked {
		return 0, jetstream.ErrKeyRevisionMismatch
	}
	return b.remembered(ctx, writes)
}

// remembered is writeAll, and remembers what was written.
func (b *Bucket) remembered(ctx context.Context, writes []Write) (uint64, error) {
	if b.memory == nil {
		return b.writeAll(ctx, writes)
	}
	return b.memory.write(b.KV.Bucket(), writes, func() (uint64, error) { return b.writeAll(ctx, writes) })
}

// writeAll sends the writes as a batch. A single one is none.
func (b *Bucket) writeAll(ctx context.Context, writes []Write) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	id := rand.Text()
	for i, w := range writes {
		m := nats.NewMsg(subjectsOf(b.KV.Bucket()) + w.Key)
		m.Data = w.Value
		m.Header.Set(expected, strconv.FormatUint(w.Revision, 10))
		if len(writes) > 1 {
			m.Header.Set(batchID, id)
			m.Header.Set(batchSequence, strconv.Itoa(i+1))
		}
		if i < len(writes)-1 {
			if err := b.conn.PublishMsg(m); err != nil {
				return 0, fmt.Errorf("store: writing to %s: %w", b.KV.Bucket(), err)
			}
			continue
		}
		if len(writes) > 1 {
			m.Header.Set(batchCommit, "1")
		}
		answer, err := b.conn.RequestMsgWithContext(ctx, m)
		if err != nil {
			return 0, fmt.Errorf("store: writing to %s: %w", b.KV.Bucket(), err)
		}
		var ack struct {
			Error *jetstream.APIError `json:"error"`
			Seq   uint64              `json:"seq"`
			Count int                 `json:"count"`
		}
		if err := json.Unmarshal(answer.Data, &ack); err != nil {
			return 0, fmt.Errorf("store: writing to %s: the answer of the server: %w", b.KV.Bucket(), err)
		}
		switch {
		case ack.Error == nil && ack.Seq != 0 && (len(writes) == 1 || ack.Count == len(writes)):
			return ack.Seq, nil
		case ack.Error == nil:
			return 0, &BatchError{}
		case ack.Error.ErrorCode == wrongRevisionCode, ack.Error.ErrorCode == wrongRevisionCode2:
			return 0, jetstream.ErrKeyRevisionMismatch
		case ack.Error.ErrorCode == noBatchesCode:
			return 0, &BatchError{}
		case full(ack.Error):
			return 0, &FullError{ack.Error}
		}
		return 0, fmt.Errorf("store: writing to %s: %w", b.KV.Bucket(), ack.Error)
	}
	panic("unreachable")
}

// mark returns the revision of the mark that a removal left of a key, if that is what
// there is of it.
func (b *Bucket) mark(ctx context.Context, key string) (rev uint64, ok bool, err error) {
	m, err := ask(ctx, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
		return b.Stream.GetLastMsgForSubject(ctx, subjectsOf(b.KV.Bucket())+key)
	})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("store: reading %s/%s: %w", b.KV.Bucket(), key, err)
	}
	return m.Sequence, m.Header.Get(operation) != "", nil
}

// configure has a server make a stream or change one, with atomic batches, which
// jetstream.StreamConfig does not know of.
func (b buckets) configure(ctx context.Context, verb string, cfg jetstream.StreamConfig) error {
	request, err := json.Marshal(struct {
		jetstream.StreamConfig
		AllowAtomic bool `json:"allow_atomic"`
	}{cfg, true})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	answer, err := b.Conn().RequestWithContext(ctx, "$JS.API.STREAM."+verb+"."+cfg.Name, request)
	if err != nil {
		return err
	}
	var made struct {
		Error  *jetstream.APIError `json:"error"`
		Config struct {
			AllowAtomic bool `json:"allow_atomic"`
		} `json:"config"`
	}
	if err := json.Unmarshal(answer.Data, &made); err != nil {
		return fmt.Errorf("store: the answer of the server: %w", err)
	}
	switch {
	case made.Error != nil:
		return made.Error
	case !made.Config.AllowAtomic:
		return &BatchError{}
	}
	return nil
}
