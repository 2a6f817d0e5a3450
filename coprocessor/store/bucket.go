package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Bucket is one key-value bucket together with the stream under it, whose index
// tells a record that is lost from one that never was.
type Bucket struct {
	KV     jetstream.KeyValue
	Stream jetstream.Stream

	conn    *nats.Conn
	batches chan struct{} // has a token for each batch under way
	memory  *memory       // nil where nothing is remembered
}

// OpenBucket opens the bucket of that name (letters, digits, '-' and '_'),
// creating it when it is absent. Its values are at most MaxRecord bytes; each
// key keeps its latest history values, 1 to 64.
func OpenBucket(ctx context.Context, js jetstream.JetStream, name string, history uint8) (*Bucket, error) {
	return open(ctx, js, jetstream.KeyValueConfig{Bucket: name, MaxValueSize: MaxRecord + headroom/2, History: history})
}

// OpenExpiring opens a bucket of that name, of one value for a key, whose values are gone
// when they are so old: at least two minutes.
func OpenExpiring(ctx context.Context, js jetstream.JetStream, name string, age time.Duration) (*Bucket, error) {
	return open(ctx, js, jetstream.KeyValueConfig{Bucket: name, MaxValueSize: MaxRecord + headroom/2, History: 1, TTL: age})
}

func open(ctx context.Context, js jetstream.JetStream, cfg jetstream.KeyValueConfig) (*Bucket, error) {
	name := cfg.Bucket
	kv, err := js.CreateOrUpdateKeyValue(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("store: opening bucket %s: %w", name, err)
	}
	stream, err := ask(ctx, func(ctx context.Context) (jetstream.Stream, error) { return js.Stream(ctx, streamOf(name)) })
	if err != nil {
		return nil, fmt.Errorf("store: opening bucket %s: %w", name, err)
	}
	b := &Bucket{KV: kv, Stream: stream, conn: js.Conn(), batches: make(chan struct{}, maxBatches)}
	if m := memoryOf(js); m != nil && m.alone && cfg.TTL == 0 {
		b.remember(m)
	}
	return b, nil
}

// remember has a bucket remembered.
func (b *Bucket) remember(m *memory) {
	b.KV, b.memory = rememberedKV{b.KV, m}, m
}

// openOnce opens a bucket whose keys are written once. A damaged record is
// repaired by writing it again; the history leaves the damaged one in place,
// because the server cannot remove it and a write that has to would hang.
func openOnce(ctx context.Context, js jetstream.JetStream, name string) (*Bucket, error) {
	return OpenBucket(ctx, js, name, jetstream.KeyValueMaxHistory)
}

// create writes the first value of a key, or gives jetstream.ErrKeyExists, also
// when it was this very call that wrote it. put writes another one.
func (b *Bucket) create(ctx context.Context, key string, value []byte) error {
	_, err := ask(ctx, func(ctx context.Context) (uint64, error) { return b.KV.Create(ctx, key, value) })
	return err
}

func (b *Bucket) put(ctx context.Context, key string, value []byte) error {
	_, err := ask(ctx, func(ctx context.Context) (uint64, error) { return b.KV.Put(ctx, key, value) })
	return err
}

// Get returns an entry, or nil when the key was never stored. A key that the
// server indexes but cannot read gives *DataLossError. What this process has read or
// written before it may have in memory.
func (b *Bucket) Get(ctx context.Context, key string) (jetstream.KeyValueEntry, error) {
	if b.memory == nil {
		return b.read(ctx, key)
	}
	p := place{b.KV.Bucket(), key}
	v, ok := b.memory.recall(p)
	if !ok {
		var err error
		v, err = b.memory.read(p, func() (*value, error) {
			e, err := b.read(ctx, key)
			if err != nil || e == nil {
				return nil, err
			}
			return &value{p, e.Value(), e.Revision(), e.Created()}, nil
		})
		if err != nil {
			return nil, err
		}
	}
	if v == nil {
		return nil, nil
	}
	return v, nil
}

// read is Get, from the server.
func (b *Bucket) read(ctx context.Context, key string) (jetstream.KeyValueEntry, error) {
	for indexed := false; ; indexed = true {
		entry, err := ask(ctx, func(ctx context.Context) (jetstream.KeyValueEntry, error) { return b.KV.Get(ctx, key) })
		if err == nil {
			return entry, nil
		}
		if !errors.Is(err, jetstream.ErrKeyNotFound) {
			return nil, fmt.Errorf("store: reading %s/%s: %w", b.KV.Bucket(), key, err)
		}
		if indexed {
			return nil, &DataLossError{Bucket: b.KV.Bucket(), Key: key, Detail: "indexed, but its record cannot be read"}
		}
		if b.absent(ctx, key) {
			return nil, nil
		}
		keys, err := b.keys(ctx, key)
		if err != nil {
			return nil, err
		}
		if len(keys) == 0 {
			return nil, nil
		}
		if removed, err := b.removed(ctx, key); err != nil || removed {
			return nil, err
		}
		// The key may have been stored between the two questions: ask again.
	}
}

// absent says that a key was never stored, for certain; when it says no, that is not
// certain. A request for the latest values of several subjects is answered with "No
// Results" when the index has none of them, and otherwise when one cannot be read
// (JetStream's ADR 31), and costs a third of the index itself.
func (b *Bucket) absent(ctx context.Context, key string) bool {
	if b.memory == nil || !b.memory.alone {
		return false // a server that does not lead may not know yet
	}
	if v, ok := b.memory.recall(place{b.KV.Bucket(), key}); ok {
		return v == nil
	}
	request, err := json.Marshal(map[string][]string{"multi_last": {subjectsOf(b.KV.Bucket()) + key}})
	if err != nil {
		return false
	}
	m, err := ask(ctx, func(ctx context.Context) (*nats.Msg, error) {
		return b.conn.RequestWithContext(ctx, jetstream.DefaultAPIPrefix+"DIRECT.GET."+streamOf(b.KV.Bucket()), request)
	})
	return err == nil && m.Header.Get("Status") == "404" && m.Header.Get("Description") == "No Results"
}

// Keys returns the keys that the server indexes, in no particular order; Get
// may find that some cannot be read.
func (b *Bucket) Keys(ctx context.Context) ([]string, error) {
	return b.keys(ctx, jetstream.AllKeys)
}

func (b *Bucket) keys(ctx context.Context, filter string) ([]string, error) {
	prefix := subjectsOf(b.KV.Bucket())
	info, err := ask(ctx, func(ctx context.Context) (*jetstream.StreamInfo, error) {
		return b.Stream.Info(ctx, jetstream.WithSubjectFilter(prefix+filter))
	})
	if err != nil {
		return nil, fmt.Errorf("store: listing %s/%s: %w", b.KV.Bucket(), filter, err)
	}
	var keys []string
	for subject := range info.State.Subjects {
		keys = append(keys, strings.TrimPrefix(subject, prefix))
	}
	return keys, nil
}

// operation is the header of a mark that a removal leaves in the place of a value.
const operation = "KV-Operation"

// removed says that what the server indexes of a key is the mark of its removal.
func (b *Bucket) removed(ctx context.Context, key string) (bool, error) {
	_, marked, err := b.mark(ctx, key)
	return marked, err
}

// Last returns the latest revision in the bucket, of any key.
func (b *Bucket) Last(ctx context.Context) (uint64, error) {
	info, err := ask(ctx, func(ctx context.Context) (*jetstream.StreamInfo, error) { return b.Stream.Info(ctx) })
	if err != nil {
		return 0, fmt.Errorf("store: %s: %w", b.KV.Bucket(), err)
	}
	return info.State.LastSeq, nil
}

// Erase removes what was written of keys up to a revision, as if it had never been;
// those who watch the bucket are not told. Of a key of two tokens, separated by a dot,
// one may be the wildcard *. It returns how many values there were.
func (b *Bucket) Erase(ctx context.Context, revision uint64, keys ...string) (int, error) {
	return b.purge(ctx, revision+1, keys...)
}

// erase removes a key and all its values, without the marker that a deletion leaves.
func (b *Bucket) erase(ctx context.Context, key string) error {
	_, err := b.purge(ctx, 0, key)
	return err
}

// purge removes what was written of keys before a revision, or all of it with 0. The
// server is asked by a request of our own, because jetstream.Stream does not tell what
// was there.
func (b *Bucket) purge(ctx context.Context, before uint64, keys ...string) (purged int, err error) {
	if b.memory != nil {
		f := newFilter(keys...)
		b.memory.forget(b.KV.Bucket(), f)
		defer b.memory.forget(b.KV.Bucket(), f) // what was read meanwhile
	}
	for _, key := range keys {
		n, err := ask(ctx, func(ctx context.Context) (int, error) { return b.purgeKey(ctx, before, key) })
		if err != nil {
			return purged, fmt.Errorf("store: erasing %s/%s: %w", b.KV.Bucket(), key, err)
		}
		purged += n
	}
	return purged, nil
}

func (b *Bucket) purgeKey(ctx context.Context, before uint64, key string) (int, error) {
	request, err := json.Marshal(struct {
		Filter string `json:"filter"`
		Seq    uint64 `json:"seq,omitempty"`
	}{subjectsOf(b.KV.Bucket()) + key, before})
	if err != nil {
		return 0, err
	}
	m, err := b.conn.RequestWithContext(ctx, jetstream.DefaultAPIPrefix+"STREAM.PURGE."+streamOf(b.KV.Bucket()), request)
	if err != nil {
		return 0, err
	}
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Success bool                `json:"success"`
		Purged  int                 `json:"purged"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return 0, fmt.Errorf("the answer of the server: %w", err)
	}
	if answer.Error != nil {
		return 0, answer.Error
	}
	if !answer.Success {
		return 0, errors.New("the server did not say that it did")
	}
	return answer.Purged, nil
}

// EraseMark erases what a removal left of a key, once that is so old.
func (b *Bucket) EraseMark(ctx context.Context, key string, age time.Duration) error {
	m, err := ask(ctx, func(ctx context.Context) (*jetstream.RawStreamMsg, error) {
		return b.Stream.GetLastMsgForSubject(ctx, subjectsOf(b.KV.Bucket())+key)
	})
	if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && (m.Header.Get(operation) == "" || time.Since(m.Time) < age) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("store: reading %s/%s: %w", b.KV.Bucket(), key, err)
	}
	_, err = b.Erase(ctx, m.Sequence, key)
	return err
}
