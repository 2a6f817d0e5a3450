package integer

import (
	"fmt"
	"math/big"

	"github.com/tacit-fhe/tacit/fhe"
)

// Type is the type of an encrypted value. The codes are those of fhEVM.
type Type uint8

// The types.
const (
	Bool   Type = 0
	Uint8  Type = 2
	Uint16 Type = 3
	Uint32 Type = 4
	Uint64 Type = 5
)

// blockBits is the number of message bits in a block.
const blockBits = 2

var typeNames = map[Type]string{Bool: "ebool", Uint8: "euint8", Uint16: "euint16", Uint32: "euint32", Uint64: "euint64"}

// String returns the name of the type, such as euint8.
func (t Type) String() string {
	if name, ok := typeNames[t]; ok {
		return name
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// ParseType returns the type with the given name.
func ParseType(name string) (Type, error) {
	for t, n := range typeNames {
		if n == name {
			return t, nil
		}
	}
	return 0, fmt.Errorf("no type is named %q", name)
}

// Valid says whether t is one of the types.
func (t Type) Valid() bool {
	_, ok := typeNames[t]
	return ok
}

// Bits is the width of the plaintext, 0 if the type is not valid.
func (t Type) Bits() int {
	switch {
	case t == Bool:
		return 1
	case t.Valid():
		return 2 << t
	}
	return 0
}

// Blocks is the number of ciphertexts of a value, 0 if the type is not valid.
func (t Type) Blocks() int { return (t.Bits() + blockBits - 1) / blockBits }

// blockMax is the largest message of a block between operations.
func (t Type) blockMax() int64 { return 1<<min(t.Bits(), blockBits) - 1 }

// Value is an encrypted value: Type.Blocks() ciphertexts, least significant
// first, each with a message bound within 0..3, or 0..1 for Bool. Operations do
// not change their operands, and results may share ciphertexts with them.
type Value struct {
	Type   Type
	Blocks []fhe.LWE
}

// Scalar is a plaintext operand. Make one with Plain or PlainBig.
type Scalar struct {
	typ Type
	x   *big.Int
}

// Plain is the plaintext x as a value of type t.
func Plain(t Type, x uint64) Scalar { return Scalar{t, new(big.Int).SetUint64(x)} }

// PlainBig is the plaintext x as a value of type t. It keeps a copy of x.
func PlainBig(t Type, x *big.Int) Scalar { return Scalar{t, new(big.Int).Set(x)} }

// Operand is what an operation takes: a *Value or a Scalar.
type Operand interface {
	operandType() Type
}

func (v *Value) operandType() Type { return v.Type }
func (s Scalar) operandType() Type { return s.typ }

// digits splits a scalar that fits its type into the messages of its blocks.
func (s Scalar) digits() []int64 {
	out := make([]int64, s.typ.Blocks())
	for i := range out {
		out[i] = int64(s.x.Bit(blockBits*i)) + 2*int64(s.x.Bit(blockBits*i+1))
	}
	return out
}

// fits says whether the scalar is in the range of its type.
func (s Scalar) fits() bool {
	return s.typ.Valid() && s.x != nil && s.x.Sign() >= 0 && s.x.BitLen() <= s.typ.Bits()
}

// TypeError refuses an operand, counted from 0, that the operation does not
// take: its type, or that it is missing or one too many.
type TypeError struct {
	Op      Op
	Operand int
	Reason  string
}

func (e *TypeError) Error() string {
	return fmt.Sprintf("%v: operand %d: %s", e.Op, e.Operand, e.Reason)
}

// RangeError refuses a plaintext that its type cannot hold.
type RangeError struct {
	Operand int
	Type    Type
	X       *big.Int // nil for a Scalar that was not made by Plain or PlainBig
}

func (e *RangeError) Error() string {
	return fmt.Sprintf("operand %d: %v is not a plaintext of %v", e.Operand, e.X, e.Type)
}

// ValueError refuses a Value whose ciphertexts cannot be computed on. Err is a
// *noise.NoiseError or a *noise.MessageError where a bound is the reason.
type ValueError struct {
	Operand, Block int
	Err            error
}

func (e *ValueError) Error() string {
	return fmt.Sprintf("operand %d, block %d: %v", e.Operand, e.Block, e.Err)
}

func (e *ValueError) Unwrap() error { return e.Err }
