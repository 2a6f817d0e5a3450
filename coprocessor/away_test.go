package coprocessor

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tacit-fhe/tacit/coprocessor/store"
	"github.com/tacit-fhe/tacit/coprocessor/store/storetest"
	"github.com/tacit-fhe/tacit/fhe/integer"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// retryInfo says whether a status tells when to try again.
func retryInfo(err error) bool {
	for _, d := range status.Convert(err).Details() {
		if _, ok := d.(*errdetails.RetryInfo); ok {
			return true
		}
	}
	return false
}

// While the store is away, calls are answered with UNAVAILABLE and when to try again;
// when it is back, everything goes on.
func TestStoreAway(t *testing.T) {
	ctx := t.Context()
	options := store.EmbeddedOptions{Dir: t.TempDir(), Listen: "127.0.0.1:0", Secret: "a secret of tests"}
	n, err := store.Embedded(ctx, options)
	if err != nil {
		t.Fatal(err)
	}
	options.Listen = n.Address()
	s, stop := start(t, func(o *Options) {
		o.Store = func(ctx context.Context) (*store.Node, error) {
			return store.Connect(ctx, store.ConnectOptions{URLs: []string{"nats://" + options.Listen}, Secret: options.Secret})
		}
	})
	h := s.prepare(integer.Plain(integer.Uint8, 1))
	text := "input a = 0x" + h[0] + "\nb = add(a, 1)\noutput b"
	want := s.run("before", spec(t, text))

	storetest.Stop(t, n)
	if _, err := s.CoprocessorClient.GetJob(ctx, &tacitv1.GetJobRequest{Id: "before"}); code(err) != codes.Unavailable || !retryInfo(err) {
		t.Errorf("while the store is away: %v", err)
	}
	if _, err := s.CoprocessorClient.SubmitJob(ctx, &tacitv1.SubmitJobRequest{Id: "during", Spec: spec(t, text)}); code(err) != codes.Unavailable || !retryInfo(err) {
		t.Errorf("while the store is away: %v", err)
	}
	if n, err = store.Embedded(ctx, options); err != nil {
		t.Fatal(err)
	}
	defer storetest.Stop(t, n)
	defer stop() // first
	for deadline := time.Now().Add(20 * time.Second); ; {
		job, err := s.CoprocessorClient.GetJob(ctx, &tacitv1.GetJobRequest{Id: "before"})
		if err == nil && string(job.Results[0].Digest) == string(want.Results[0].Digest) {
			break
		}
		if code(err) != codes.Unavailable || time.Now().After(deadline) {
			t.Fatalf("%v, %v", job, err)
		}
	}
	if job := s.run("after", spec(t, "input a = 0x"+h[0]+"\nb = add(a, 2)\noutput b")); job.State != succeeded {
		t.Errorf("%v", job)
	}
}

// A store without room says so, and when to try again.
func TestStoreFull(t *testing.T) {
	dir := t.TempDir()
	s, _ := start(t, func(o *Options) {
		o.Store = func(ctx context.Context) (*store.Node, error) {
			return store.Embedded(ctx, store.EmbeddedOptions{Dir: dir, MaxStore: 640 << 10})
		}
	})
	s.prepare()
	var err error
	for i := 0; err == nil && i < 200; i++ {
		_, err = s.sendList(t.Context(), upload{content: encrypted(t, fmt.Sprint("full", i), slices.Repeat([]integer.Scalar{integer.Plain(integer.Uint256, 1)}, 8)...)})
	}
	if code(err) != codes.ResourceExhausted || !retryInfo(err) {
		t.Errorf("%v", err)
	}
}
