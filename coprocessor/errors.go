package coprocessor

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tacit-fhe/tacit/coprocessor/access"
	"github.com/tacit-fhe/tacit/coprocessor/graph"
	"github.com/tacit-fhe/tacit/coprocessor/jobs"
	"github.com/tacit-fhe/tacit/coprocessor/store"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/codec"
	"github.com/tacit-fhe/tacit/fhe/integer"
	"github.com/tacit-fhe/tacit/fhe/noise"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// errorDomain is the domain of every ErrorInfo.
const errorDomain = "tacit"

// retryAfter is what RetryInfo tells a caller that may try again, where nothing
// better is known.
const retryAfter = 2 * time.Second

// fault is an error in the form in which it is told to a client: in the status
// of a call, or stored with a failed job.
type fault struct {
	code    codes.Code
	reason  string // UPPER_SNAKE
	place   string
	message string
	// job is the job at fault, where it is another one.
	job string
	// after is when trying again may help; 0 means retryAfter.
	after time.Duration
}

func (f *fault) Error() string {
	if f.place == "" {
		return f.message
	}
	return f.place + ": " + f.message
}

func refuse(code codes.Code, reason, place, format string, args ...any) *fault {
	return &fault{code: code, reason: reason, place: place, message: fmt.Sprintf(format, args...)}
}

// at is the fault at another place.
func (f *fault) at(place string) *fault {
	moved := *f
	moved.place = place
	return &moved
}

// retryable says that the same work may succeed later.
func (f *fault) retryable() bool {
	return f.code == codes.Unavailable || f.code == codes.ResourceExhausted
}

// jobError is the fault as it is stored with a job.
func (f *fault) jobError() *tacitv1.JobError {
	return &tacitv1.JobError{Code: int32(f.code), Reason: f.reason, Place: f.place, Message: f.message, JobId: f.job}
}

// note is the fault as the queue keeps it: at most jobs.MaxError bytes.
func (f *fault) note() []byte {
	e := f.jobError()
	e.Message = strings.ToValidUTF8(e.Message[:min(len(e.Message), jobs.MaxError/2)], "")
	data, _ := proto.Marshal(e) // fails on strings that are not UTF-8 alone
	return data
}

// status is the fault as the status of a call, with its reason and place as
// details.
func (f *fault) status() *status.Status {
	s := status.New(f.code, f.Error())
	details := []protoadapt.MessageV1{
		&errdetails.ErrorInfo{Reason: f.reason, Domain: errorDomain, Metadata: map[string]string{"place": f.place}},
		protoadapt.MessageV1Of(f.jobError()),
	}
	if f.retryable() {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(cmp.Or(f.after, retryAfter))})
	}
	if with, err := s.WithDetails(details...); err == nil {
		return with
	}
	return s
}

// GRPCStatus makes a fault the status of the call that returns it.
func (f *fault) GRPCStatus() *status.Status { return f.status() }

// faultOf classifies an error, in one place for calls and jobs alike. What it
// does not know is transient: it comes from the store. So does a deadline that
// has passed: callers that have been told to stop do not ask.
func faultOf(err error) *fault {
	var (
		f         *fault
		spec      *graph.Error
		missing   *store.NotFoundError
		noKey     *store.KeyNotFoundError
		conflict  *store.ConflictError
		loss      *store.DataLossError
		size      *store.SizeError
		digest    *store.DigestError
		same      *jobs.ConflictError
		full      *jobs.FullError
		budget    *jobs.BudgetError
		held      *jobs.HeldError
		cycle     *jobs.CycleError
		state     *jobs.StateError
		intact    *jobs.IntactError
		badID     *jobs.IDError
		unknown   *jobs.NotFoundError
		limit     *codec.LimitError
		params    *codec.ParametersError
		kind      *codec.KindError
		preset    *fhe.ParametersError
		noisy     *noise.NoiseError
		message   *noise.MessageError
		typeError *integer.TypeError
		rangeErr  *integer.RangeError
		badName   *access.NameError
		manyLists *access.FullError
	)
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &spec):
		return &fault{code: spec.Reason.Code(), reason: string(spec.Reason), place: spec.Place, message: spec.Message}
	case errors.As(err, &missing):
		return refuse(codes.NotFound, "UNKNOWN_HANDLE", "", "%v", missing)
	case errors.As(err, &noKey):
		return refuse(codes.NotFound, "UNKNOWN_KEY", "", "%v", noKey)
	case errors.As(err, &unknown):
		return refuse(codes.NotFound, "UNKNOWN_JOB", "", "%v", unknown)
	case errors.As(err, &conflict):
		return refuse(codes.Internal, "RESULT_CONFLICT", "", "%v", conflict)
	case errors.As(err, &loss):
		return refuse(codes.DataLoss, "DATA_LOSS", "", "%v", loss)
	case errors.As(err, &size):
		return refuse(codes.InvalidArgument, "TOO_LARGE", "", "%v", size)
	case errors.As(err, new(*store.FullError)):
		return refuse(codes.ResourceExhausted, "STORE_FULL", "", "%v", err)
	case errors.Is(err, syscall.ENOSPC): // of an upload, which lies in a file of its own first
		return refuse(codes.ResourceExhausted, "STORE_FULL", "", "the disk of the service is full")
	case errors.As(err, &digest):
		return refuse(codes.InvalidArgument, "DIGEST_MISMATCH", "", "%v", digest)
	case errors.As(err, &same):
		return refuse(codes.AlreadyExists, "JOB_EXISTS", "id", "%v", same)
	case errors.As(err, &full):
		return refuse(codes.ResourceExhausted, "QUEUE_FULL", "", "%v", full)
	case errors.As(err, &budget) && budget.Cost > budget.Budget:
		return refuse(codes.FailedPrecondition, "OVER_BUDGET", "", "%v", budget)
	case errors.As(err, &budget):
		f := refuse(codes.ResourceExhausted, "BUDGET_EXHAUSTED", "", "%v", budget)
		f.after = max(time.Until(budget.Refill), time.Second)
		return f
	case errors.As(err, &held):
		return refuse(codes.FailedPrecondition, "QUARANTINED", "", "%v", held)
	case errors.As(err, &cycle):
		return refuse(codes.FailedPrecondition, "JOB_CYCLE", "spec", "%v", cycle)
	case errors.As(err, &state):
		return refuse(codes.FailedPrecondition, "WRONG_STATE", "id", "%v", state)
	case errors.As(err, &intact):
		return refuse(codes.FailedPrecondition, "WRONG_STATE", "id", "%v", intact)
	case errors.As(err, &badID):
		return refuse(codes.InvalidArgument, "BAD_JOB_ID", "id", "%v", badID)
	case errors.As(err, &badName):
		return refuse(codes.InvalidArgument, "BAD_PRINCIPAL", "grant.principal", "%v", badName)
	case errors.As(err, &manyLists):
		return refuse(codes.FailedPrecondition, "LIMIT", "", "%v", manyLists)
	case errors.As(err, &limit):
		return refuse(codes.InvalidArgument, "TOO_LARGE", limit.What, "%v", limit)
	case errors.As(err, &params):
		return refuse(codes.FailedPrecondition, "PARAMETERS_MISMATCH", "fingerprint", "%v", params)
	case errors.As(err, &preset):
		return refuse(codes.FailedPrecondition, "PARAMETERS_MISMATCH", "fingerprint", "%v", preset)
	case errors.As(err, &kind):
		return refuse(codes.InvalidArgument, "WRONG_KIND", "kind", "%v", kind)
	case errors.As(err, &noisy):
		return refuse(codes.FailedPrecondition, "NOISE_BOUND", "", "%v", noisy)
	case errors.As(err, &message):
		return refuse(codes.FailedPrecondition, "MESSAGE_BOUND", "", "%v", message)
	case errors.As(err, &typeError):
		return refuse(codes.InvalidArgument, "TYPE_MISMATCH", "", "%v", typeError)
	case errors.As(err, &rangeErr):
		return refuse(codes.InvalidArgument, "SCALAR_RANGE", "", "%v", rangeErr)
	}
	if f := keyFault(err); f != nil {
		return f
	}
	if f := vectorFault(err); f != nil {
		return f
	}
	if place, ok := malformed(err); ok {
		return refuse(codes.InvalidArgument, "MALFORMED", place, "%v", err)
	}
	return refuse(codes.Unavailable, "UNAVAILABLE", "", "%v", err)
}

// malformed says whether an object's bytes are at fault, and where.
func malformed(err error) (place string, ok bool) {
	var (
		truncated *codec.TruncatedError
		residue   *codec.ResidueError
		list      *integer.ListError
	)
	switch {
	case errors.As(err, &truncated):
		return truncated.Place, true
	case errors.As(err, &residue):
		return fmt.Sprintf("%s[%d]", residue.Place, residue.Index), true
	case errors.As(err, &list):
		return list.Place, true
	case errors.As(err, new(*codec.VersionError)):
		return "version", true
	case errors.As(err, new(*fhe.FormError)):
		return "form", true
	case errors.Is(err, codec.ErrMagic):
		return "magic", true
	case errors.Is(err, codec.ErrDigest):
		return "digest", true
	}
	return "", errors.Is(err, codec.ErrTrailing) || errors.Is(err, codec.ErrNotFinite) || errors.Is(err, codec.ErrPadding)
}
