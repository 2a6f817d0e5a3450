package leveled

import (
	"errors"
	"fmt"
)

// ErrPrecision is wrapped in a *BudgetError when the error of a CKKS ciphertext
// would cover its message, although the modulus has room for it.
var ErrPrecision = errors.New("the error would cover the message")

// A ParametersError says which field of a Literal cannot be used and why.
type ParametersError struct {
	Name, Field, Reason string
}

func (e *ParametersError) Error() string {
	return fmt.Sprintf("leveled: parameters %q: %s: %s", e.Name, e.Field, e.Reason)
}

// A SecurityError reports a modulus that is too long for 128 bits of security at its
// ring degree and kind of secret.
type SecurityError struct {
	Name   string
	What   string // "keys" or "sparse secret"
	LogN   int
	LogQP  float64 // of the moduli that are used, ciphertext and key switching together
	MaxLog float64 // what the table allows; 0 when it has no entry
}

func (e *SecurityError) Error() string {
	return fmt.Sprintf("leveled: parameters %q: %s: a modulus of %.1f bits at ring degree 2^%d, at most %.0f keep 128 bits of security",
		e.Name, e.What, e.LogQP, e.LogN, e.MaxLog)
}

// An UnknownError reports a name that no parameter set has.
type UnknownError struct {
	Name  string
	Known []string
}

func (e *UnknownError) Error() string {
	return fmt.Sprintf("leveled: no parameter set %q; there are %v", e.Name, e.Known)
}

// A SchemeError reports an operation that the scheme does not have.
type SchemeError struct {
	Op     string
	Scheme Scheme
}

func (e *SchemeError) Error() string {
	return fmt.Sprintf("leveled: %s: not an operation of %v", e.Op, e.Scheme)
}

// A LevelError reports an operation that needs more levels than are left.
type LevelError struct {
	Op         string
	Have, Need int
}

func (e *LevelError) Error() string {
	return fmt.Sprintf("leveled: %s: needs %d levels, %d are left", e.Op, e.Need, e.Have)
}

// A BudgetError reports an operation whose result could not be decrypted: Need bits
// hold its message and error, Room bits are there. With ErrPrecision they are
// log2 of the error in a slot and of the largest error that leaves anything of the message.
type BudgetError struct {
	Op         string
	Need, Room float64
	Err        error // nil or ErrPrecision
}

func (e *BudgetError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("leveled: %s: %v: 2^%.1f, at most 2^%.1f", e.Op, e.Err, e.Need, e.Room)
	}
	return fmt.Sprintf("leveled: %s: the result would not decrypt: message and error need %.1f bits, the modulus has room for %.1f", e.Op, e.Need, e.Room)
}

func (e *BudgetError) Unwrap() error { return e.Err }

// A ScaleError reports an addition of CKKS ciphertexts whose scales differ by more than
// what is added to the tracked error.
type ScaleError struct {
	Op   string
	A, B float64
}

func (e *ScaleError) Error() string {
	return fmt.Sprintf("leveled: %s: scales 2^%.3f and 2^%.3f differ; rescale first", e.Op, log2(e.A), log2(e.B))
}

// A MissingKeyError reports an operation for which the evaluation key has no part.
type MissingKeyError struct {
	Op, What string
}

func (e *MissingKeyError) Error() string {
	return fmt.Sprintf("leveled: %s: the evaluation key has no %s", e.Op, e.What)
}

// A ValueError reports a plaintext value or an argument that is out of range.
type ValueError struct {
	What   string
	Reason string
}

func (e *ValueError) Error() string { return "leveled: " + e.What + ": " + e.Reason }

// A MismatchError reports operands of different parameter sets or keys.
type MismatchError struct {
	What      string // "parameters" or "key"
	Got, Want string
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("leveled: %s: have %s, want %s", e.What, e.Got, e.Want)
}
