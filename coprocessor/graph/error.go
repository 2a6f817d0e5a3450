package graph

import (
	"errors"

	"google.golang.org/grpc/codes"

	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// Reason says, for programs, why a spec is refused. The strings are stable.
type Reason string

// The reasons.
const (
	Limit            Reason = "LIMIT"              // over one of the Limits
	UnknownField     Reason = "UNKNOWN_FIELD"      // a field of a newer version of the protocol
	UnknownStrategy  Reason = "UNKNOWN_STRATEGY"   // no such strategy, or one that has yet to be chosen
	BadKeyID         Reason = "BAD_KEY_ID"         // not 32 bytes
	NoOutput         Reason = "NO_OUTPUT"          // nothing is to be computed
	MissingOp        Reason = "MISSING_OP"         // a node without an operation
	UnknownOp        Reason = "UNKNOWN_OP"         // no such opcode
	MissingType      Reason = "MISSING_TYPE"       // a trivial encryption without a type
	UnknownType      Reason = "UNKNOWN_TYPE"       // no such type
	TypeMismatch     Reason = "TYPE_MISMATCH"      // an operand or a result of another type than it must have
	Arity            Reason = "ARITY"              // too few or too many inputs
	MissingInput     Reason = "MISSING_INPUT"      // an input without a value
	BadHandle        Reason = "BAD_HANDLE"         // not 32 bytes
	UnknownHandle    Reason = "UNKNOWN_HANDLE"     // no ciphertext has this handle
	KeyMismatch      Reason = "KEY_MISMATCH"       // a ciphertext of another key
	BadNodeIndex     Reason = "BAD_NODE_INDEX"     // absent, or no node of the spec
	Cycle            Reason = "CYCLE"              // a node that needs its own result
	ScalarNotAllowed Reason = "SCALAR_NOT_ALLOWED" // a plaintext where a ciphertext must be
	ScalarRequired   Reason = "SCALAR_REQUIRED"    // a ciphertext where a plaintext must be
	ScalarRange      Reason = "SCALAR_RANGE"       // a plaintext that does not fit its type
	DivisionByZero   Reason = "DIVISION_BY_ZERO"   // a divisor that is a plaintext 0
	DuplicateResult  Reason = "DUPLICATE_RESULT"   // one handle for two results, or for a result and an input
	ResultMismatch   Reason = "RESULT_MISMATCH"    // an output renames a node that has a name
	BadLabel         Reason = "BAD_LABEL"          // not printable UTF-8
	BadResultIndex   Reason = "BAD_RESULT_INDEX"   // no result of the node
	BadTable         Reason = "BAD_TABLE"          // absent, not wanted, of another size, or with a value out of range
)

// Error is a spec that is refused. Nothing but another spec, or other ciphertexts in the store, can make it pass.
type Error struct {
	Reason  Reason
	Place   string // the part of the spec at fault, such as nodes[3].inputs[1]; empty when it is no single part
	Message string // for people
}

func (e *Error) Error() string {
	if e.Place == "" {
		return e.Message
	}
	return e.Place + ": " + e.Message
}

// Code returns the gRPC status code that answers a spec refused for this reason.
func (r Reason) Code() codes.Code {
	if r == UnknownHandle {
		return codes.NotFound
	}
	return codes.InvalidArgument
}

// JobError returns the wire form of e.
func (e *Error) JobError() *tacitv1.JobError {
	return &tacitv1.JobError{
		Code:    int32(e.Reason.Code()),
		Reason:  string(e.Reason),
		Place:   e.Place,
		Message: e.Message,
	}
}

// ErrUnknownHandle is what a Resolve returns, wrapped or not, for a handle that stands for nothing.
var ErrUnknownHandle = errors.New("graph: unknown handle")
