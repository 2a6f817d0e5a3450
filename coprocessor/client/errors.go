package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tacit-fhe/tacit/fhe/codec"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

const (
	firstDelay = 200 * time.Millisecond // before the second attempt when the service names no delay; doubles
	maxDelay   = 10 * time.Second       // between attempts
	patience   = time.Minute            // what takes the service longer is not tried again
)

// Error is a call that the service refused, or that did not reach it.
type Error struct {
	Code    codes.Code
	Reason  string // UPPER_SNAKE, stable; empty when the answer is not the service's own
	Place   string // the part of the request at fault, such as nodes[3].inputs[1], or empty
	Message string // for people
	// JobID is the job at fault, where a job failed with another one.
	JobID string
	// RetryAfter is when the service says that trying again may help; 0 when it does
	// not say.
	RetryAfter time.Duration
}

func (e *Error) Error() string {
	if e.Place == "" || strings.Contains(e.Message, e.Place+": ") {
		return e.Message
	}
	return e.Place + ": " + e.Message
}

// Unreachable says that the call did not reach a service, or that the connection
// broke.
func (e *Error) Unreachable() bool { return e.Code == codes.Unavailable && e.Reason == "" }

// Is makes an Error match context.Canceled and context.DeadlineExceeded where it
// has their code.
func (e *Error) Is(target error) bool {
	return target == context.Canceled && e.Code == codes.Canceled ||
		target == context.DeadlineExceeded && e.Code == codes.DeadlineExceeded
}

// JobError is the error of a job that failed.
func JobError(e *tacitv1.JobError) *Error {
	return &Error{Code: codes.Code(e.GetCode()), Reason: e.GetReason(), Place: e.GetPlace(), Message: e.GetMessage(), JobID: e.GetJobId()}
}

// errorOf turns the error of a call into an *Error.
func (c *Client) errorOf(err error) error {
	if err == nil || errors.As(err, new(*Error)) || errors.As(err, new(*MismatchError)) {
		return err
	}
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	e := &Error{Code: s.Code(), Message: s.Message()}
	for _, detail := range s.Details() {
		switch d := detail.(type) {
		case *tacitv1.JobError:
			e.Reason, e.Place, e.Message = d.Reason, d.Place, d.Message
		case *errdetails.RetryInfo:
			e.RetryAfter = d.GetRetryDelay().AsDuration()
		}
	}
	if e.Unreachable() {
		e.Message = "cannot reach " + c.target + ": " + cause(e.Message)
	}
	return e
}

// cause is why there is no connection, without what gRPC puts around it.
func cause(message string) string {
	if _, inner, ok := strings.Cut(message, `connection error: desc = "`); ok {
		message = strings.ReplaceAll(strings.TrimSuffix(inner, `"`), `\"`, `"`)
	}
	message = strings.TrimPrefix(message, "transport: ")
	return strings.TrimPrefix(message, "Error while dialing: ")
}

// delay returns how long to wait before the attempt after attempt number n, from
// 0, and whether there should be one.
func (e *Error) delay(n int) (time.Duration, bool) {
	switch e.Code {
	case codes.Unavailable:
	case codes.ResourceExhausted:
		// Without a delay it is a limit of gRPC, which stays.
		if e.RetryAfter == 0 {
			return 0, false
		}
	default:
		return 0, false
	}
	if e.RetryAfter > patience {
		return 0, false
	}
	if e.RetryAfter > 0 {
		return min(e.RetryAfter, maxDelay), true
	}
	return min(firstDelay<<n, maxDelay), true
}

// retry makes a call until it succeeds, fails for good or has used its attempts.
func retry[T any](ctx context.Context, c *Client, call func() (T, error)) (T, error) {
	for n := 0; ; n++ {
		out, err := call()
		if err == nil {
			return out, nil
		}
		err = c.errorOf(err)
		if n+1 >= c.attempts || !pause(ctx, err, n) {
			var zero T
			return zero, err
		}
	}
}

// pause waits before attempt n+1 and reports false when there should be none.
func pause(ctx context.Context, err error, n int) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	d, again := e.delay(n)
	if !again {
		return false
	}
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// MismatchError reports an answer that is not what was asked for or not what it
// says it is: the service, or something between, is at fault.
type MismatchError struct {
	What   string
	Reason string
}

func (e *MismatchError) Error() string { return fmt.Sprintf("%s: %s", e.What, e.Reason) }

// ErrSecretKey means that what was to be sent is a secret key. Nothing was sent: no service
// needs one.
var ErrSecretKey = errors.New("client: this is a secret key, which stays with you")

// refuseSecret refuses the container of a secret key, of which it reads the beginning. What
// else it may be is for the service to say.
func refuseSecret(r io.ReadSeeker) error {
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return err
	}
	h, err := codec.ReadHeader(r)
	if err == nil && (h.Kind == codec.SecretKey || h.Kind == codec.LeveledSecretKey) {
		return ErrSecretKey
	}
	return nil
}
