package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// buckets is a JetStream that opens buckets with a number of replicas.
type buckets struct {
	jetstream.JetStream
	replicas int // of new buckets, and at least of others
	// direct lets every replica answer. One that does not lead answers with what it
	// knew a moment ago, so this is for a server that is the only one.
	direct bool
	first  uint64 // revision of new buckets; 0 is 1
	memory bool   // new buckets lie in memory
	recall *memory
}

// memoryOf returns what the Node of js remembers, or nil.
func memoryOf(js jetstream.JetStream) *memory {
	b, _ := js.(buckets)
	return b.recall
}

// electionPause is the pause before a cluster without a leader is asked again.
const electionPause = 250 * time.Millisecond

// CreateOrUpdateKeyValue opens a bucket, waiting for the servers of a cluster to be
// there. It creates the bucket, or adds replicas where there are fewer; it takes
// none away.
func (b buckets) CreateOrUpdateKeyValue(ctx context.Context, cfg jetstream.KeyValueConfig) (jetstream.KeyValue, error) {
	for {
		err := b.ensure(ctx, cfg)
		if err == nil {
			var kv jetstream.KeyValue
			if kv, err = b.KeyValue(ctx, cfg.Bucket); err == nil {
				return kv, nil
			}
		}
		// Not every server has heard yet of a bucket that is there.
		if !transient(err) && !errors.Is(err, jetstream.ErrBucketNotFound) && !errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil, err
		}
		select {
		case <-time.After(electionPause):
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), err)
		}
	}
}

// ensure makes the stream of a bucket what it should be.
func (b buckets) ensure(ctx context.Context, cfg jetstream.KeyValueConfig) error {
	want := jetstream.StreamConfig{
		Name: streamOf(cfg.Bucket), Subjects: []string{subjectsOf(cfg.Bucket) + ">"},
		MaxMsgsPerSubject: int64(max(cfg.History, 1)), MaxMsgSize: cfg.MaxValueSize, Replicas: b.replicas,
		MaxMsgs: -1, MaxBytes: -1, MaxConsumers: -1, Discard: jetstream.DiscardNew,
		AllowRollup: true, DenyDelete: true, AllowDirect: b.direct, FirstSeq: b.first, MaxAge: cfg.TTL,
	}
	if b.memory {
		want.Storage = jetstream.MemoryStorage
	}
	err := b.configure(ctx, "CREATE", want)
	if apiCode(err) != nameInUseCode {
		return err // also nil, for one that is there and like that
	}
	stream, err := b.Stream(ctx, want.Name)
	if err != nil {
		return err
	}
	have := stream.CachedInfo().Config
	changed := have
	changed.MaxMsgsPerSubject, changed.MaxMsgSize, changed.Replicas = want.MaxMsgsPerSubject, want.MaxMsgSize, max(have.Replicas, want.Replicas)
	changed.AllowDirect, changed.MaxAge = want.AllowDirect, want.MaxAge
	return b.configure(ctx, "UPDATE", changed)
}

// streamOf names the stream of a bucket, subjectsOf the beginning of its subjects.
func streamOf(bucket string) string   { return "KV_" + bucket }
func subjectsOf(bucket string) string { return "$KV." + bucket + "." }

// Codes of the server's answers.
const (
	noPeersCode      = 10005
	notAvailableCode = 10008
	notLeaderCode    = 10009
	noResourcesCode  = 10023
	accountFullCode  = 10002
	storageFullCode  = 10047
	storeFailedCode  = 10077
	notEnabledCode   = 10039
	notRunningCode   = 10076
	offlineCode      = 10118
	nameInUseCode    = 10058
	noBatchesCode    = 10174
	cutBatchCode     = 10176
	manyBatchesCode  = 10210

	wrongRevisionCode, wrongRevisionCode2 = 10071, 10164
)

// apiCode returns the code of a server's answer that is an error, or 0.
func apiCode(err error) int {
	var e jetstream.JetStreamError
	if errors.As(err, &e) && e.APIError() != nil {
		return int(e.APIError().ErrorCode)
	}
	return 0
}

// transient says that servers may answer differently once they have found each
// other or their leader.
func transient(err error) bool {
	switch apiCode(err) {
	case noPeersCode, notAvailableCode, notLeaderCode, notEnabledCode, notRunningCode, offlineCode, cutBatchCode, manyBatchesCode:
		return true
	case 0:
		return errors.Is(err, nats.ErrReconnectBufExceeded) || errors.Is(err, nats.ErrNoResponders) || errors.Is(err, nats.ErrTimeout) || errors.Is(err, context.DeadlineExceeded) ||
			errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, jetstream.ErrJetStreamNotEnabled)
	}
	return false
}

const (
	askTimeout = 3 * time.Second // of one request
	askTries   = 4
)

// FullError reports a store that has no room for what was to be written.
type FullError struct {
	Err error // what the server says
}

func (e *FullError) Error() string { return fmt.Sprintf("store: there is no room left: %v", e.Err) }

func (e *FullError) Unwrap() error { return e.Err }

// full says that an error is that of a store without room.
func full(err error) bool {
	switch apiCode(err) {
	case accountFullCode, noResourcesCode, storageFullCode:
		return true
	case storeFailedCode:
		text := err.Error()
		return strings.Contains(text, "maximum bytes exceeded") || strings.Contains(text, "no space left") || strings.Contains(text, "insufficient")
	}
	return false
}

// ask makes a request that may be made several times, and makes it again where
// nobody answers: the server that was to may be gone, and the next one not chosen
// yet.
func ask[T any](ctx context.Context, request func(context.Context) (T, error)) (answer T, err error) {
	for try := 1; ; try++ {
		one, cancel := context.WithTimeout(ctx, askTimeout)
		answer, err = request(one)
		cancel()
		if full(err) {
			return answer, &FullError{err}
		}
		if err == nil || try == askTries || ctx.Err() != nil || !transient(err) {
			return answer, err
		}
		select {
		case <-time.After(electionPause):
		case <-ctx.Done():
		}
	}
}
