package coprocessor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/tacit-fhe/tacit/bootstrap"
	"github.com/tacit-fhe/tacit/coprocessor/jobs"
	"github.com/tacit-fhe/tacit/coprocessor/store"
	"github.com/tacit-fhe/tacit/fhe/integer"
	"github.com/tacit-fhe/tacit/fhe/noise"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// Errors that no client can cause, or not at will.
func TestFaults(t *testing.T) {
	for _, test := range []struct {
		err   error
		want  refusal
		retry bool
	}{
		{errors.New("unheard of"), refusal{codes.Unavailable, "UNAVAILABLE", ""}, true},
		// The store has its own deadlines, which say nothing about the work.
		{fmt.Errorf("store: %w", context.DeadlineExceeded), refusal{codes.Unavailable, "UNAVAILABLE", ""}, true},
		{jobs.ErrClosed, refusal{codes.Unavailable, "UNAVAILABLE", ""}, true},
		{bootstrap.ErrClosed, refusal{codes.Unavailable, "UNAVAILABLE", ""}, true},
		{&store.DataLossError{Bucket: "b", Key: "k"}, refusal{codes.DataLoss, "DATA_LOSS", ""}, false},
		{&fs.PathError{Op: "write", Path: "upload-1", Err: syscall.ENOSPC}, refusal{codes.ResourceExhausted, "STORE_FULL", ""}, true},
		{&store.SizeError{What: "x", Limit: 1}, refusal{codes.InvalidArgument, "TOO_LARGE", ""}, false},
		{&bootstrap.TaskError{Err: &noise.NoiseError{Got: 2, Max: 1}}, refusal{codes.FailedPrecondition, "NOISE_BOUND", ""}, false},
		{&integer.ValueError{Err: &noise.MessageError{}}, refusal{codes.FailedPrecondition, "MESSAGE_BOUND", ""}, false},
		{&integer.TypeError{}, refusal{codes.InvalidArgument, "TYPE_MISMATCH", ""}, false},
		{&integer.RangeError{}, refusal{codes.InvalidArgument, "SCALAR_RANGE", ""}, false},
		{fmt.Errorf("wrapped: %w", refuse(codes.Internal, "PANIC", "nodes[1]", "x")), refusal{codes.Internal, "PANIC", "nodes[1]"}, false},
	} {
		f := faultOf(test.err)
		if got := (refusal{f.code, f.reason, f.place}); got != test.want || f.retryable() != test.retry {
			t.Errorf("%v: %+v, retry %v", test.err, got, f.retryable())
		}
		if got := refused(t, f); got != test.want {
			t.Errorf("%v: the status says %+v", test.err, got)
		}
	}
}

// A note fits the queue and can be read whatever the message was.
func TestFaultNotes(t *testing.T) {
	for _, message := range []string{"", "x", "\xff\xfe", strings.Repeat("é", jobs.MaxNote), strings.Repeat("\xff", 1<<20)} {
		note := refuse(codes.Internal, "PANIC", "nodes[0]", "%s", message).note()
		var e tacitv1.JobError
		if err := proto.Unmarshal(note, &e); err != nil || len(note) > jobs.MaxNote || e.Reason != "PANIC" || e.Place != "nodes[0]" {
			t.Errorf("%d bytes: %v, %v", len(note), err, e.Reason)
		}
	}
}

func TestAddLog2(t *testing.T) {
	for _, test := range []struct{ a, b, want float64 }{
		{0, 0, 1}, {-1, -2, math.Log2(0.75)}, {-5000, -5000, -4999}, {-128, -9000, -128}, {-9000, -128, -128},
	} {
		if got := addLog2(test.a, test.b); math.Abs(got-test.want) > 1e-9 {
			t.Errorf("2^%v + 2^%v = 2^%v, want 2^%v", test.a, test.b, got, test.want)
		}
	}
}
