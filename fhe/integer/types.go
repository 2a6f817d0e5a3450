package integer

import (
	"fmt"
	"math/big"
	"slices"

	"github.com/tacit-fhe/tacit/fhe"
)

// Type is the type of an encrypted value. The codes are those of fhEVM.
type Type uint8

// The types.
const (
	Bool    Type = 0
	Uint8   Type = 2
	Uint16  Type = 3
	Uint32  Type = 4
	Uint64  Type = 5
	Uint128 Type = 6
	Address Type = 7 // 160 bits: compared, chosen and cast, not computed with
	Uint256 Type = 8
)

// blockBits is the number of message bits in a block.
const blockBits = 2

var typeInfos = map[Type]struct {
	name string
	bits int
}{
	Bool: {"ebool", 1}, Uint8: {"euint8", 8}, Uint16: {"euint16", 16}, Uint32: {"euint32", 32}, Uint64: {"euint64", 64},
	Uint128: {"euint128", 128}, Address: {"eaddress", 160}, Uint256: {"euint256", 256},
}

// String returns the name of the type, such as euint8.
func (t Type) String() string {
	if info, ok := typeInfos[t]; ok {
		return info.name
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// ParseType returns the type with the given name.
func ParseType(name string) (Type, error) {
	for t, info := range typeInfos {
		if info.name == name {
			return t, nil
		}
	}
	return 0, fmt.Errorf("no type is named %q: there are ebool, euint8, euint16, euint32, euint64, euint128, euint256 and eaddress", name)
}

// Valid says whether t is one of the types.
func (t Type) Valid() bool {
	_, ok := typeInfos[t]
	return ok
}

// Bits is the width of the plaintext, 0 if the type is not valid.
func (t Type) Bits() int { return typeInfos[t].bits }

// arithmetic says whether values of the type are numbers to compute with.
func (t Type) arithmetic() bool { return t.Valid() && t != Bool && t != Address }

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

// To is the operand of OpCast that names the type of the result.
type To Type

// Seed is the operand of OpRand and OpRandBounded: what a random value of the
// type is drawn from, the same value whenever the seed is the same. It is public,
// the value is not.
type Seed struct {
	Type  Type
	Bytes [fhe.SeedSize]byte
}

// Table is the operand of OpLookup and OpLookup2: a function given by its values.
type Table struct {
	typ    Type
	values []uint64
}

// NewTable makes a function with results of type t from its values at 0, 1 and so
// on: 2 for a function of a Bool, 256 for one of a Uint8 or of two values of four
// bits, at 16a + b. The error is a *RangeError with the place of a value that is
// not one of t.
func NewTable(t Type, values []uint64) (*Table, error) {
	for i, x := range values {
		if s := Plain(t, x); !s.fits() {
			return nil, &RangeError{i, t, s.x}
		}
	}
	return &Table{t, slices.Clone(values)}, nil
}

// digit is block j of the value at x.
func (t *Table) digit(x, j int) int64 { return int64(t.values[x] >> (blockBits * j) & 3) }

// Operand is what an operation takes: a *Value or a Scalar, and where it says so
// a To, a Seed or a *Table.
type Operand interface {
	operandType() Type
}

func (v *Value) operandType() Type { return v.Type }
func (s Scalar) operandType() Type { return s.typ }
func (t To) operandType() Type     { return Type(t) }
func (s Seed) operandType() Type   { return s.Type }
func (t *Table) operandType() Type { return t.typ }

// digits splits a scalar that fits its type into the messages of its blocks.
func (s Scalar) digits() []int64 { return digitsOf(s.x, s.typ.Blocks()) }

// digitsOf are the lowest digits of x ≥ 0 in base 4.
func digitsOf(x *big.Int, count int) []int64 {
	out := make([]int64, count)
	for i := range out {
		out[i] = int64(x.Bit(blockBits*i)) + 2*int64(x.Bit(blockBits*i+1))
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

// ScalarError refuses a plaintext that its type holds and the operation does
// not take: a divisor of 0, or a bound that is not a power of two.
type ScalarError struct {
	Op      Op
	Operand int
	X       *big.Int
	Reason  string
}

func (e *ScalarError) Error() string {
	return fmt.Sprintf("%v: operand %d: %v %s", e.Op, e.Operand, e.X, e.Reason)
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
