package integer

import (
	"fmt"
	"slices"
)

// Op names an operation.
type Op uint8

// The operations. Arithmetic is modulo 2^Bits, comparisons are unsigned and
// yield a Bool.
const (
	OpAdd Op = iota
	OpSub
	OpNeg
	OpEq
	OpNe
	OpLt
	OpLe
	OpGt
	OpGe
	OpAnd
	OpOr
	OpXor
	OpNot
	OpSelect // of a Bool and two values: the first of them if it is true
	OpMul
	OpDiv    // by an encrypted 0: all ones
	OpRem    // by an encrypted 0: the dividend
	OpDivRem // both of them
	OpMin
	OpMax
	OpShl // by an amount of any integer type, modulo the width, as for the next three
	OpShr
	OpRotl
	OpRotr
	OpCast        // of a value and a To: truncates or extends with zeros; to Bool: is not 0
	OpRand        // of a Seed
	OpRandBounded // of a Seed and a plaintext bound, a power of two: below the bound
	OpSum         // of 1 to MaxElements values
	OpIsIn        // of a value and 1 to MaxElements others: it equals one of them
	OpMulDiv      // of a, b and a plaintext d: floor(a·b/d), of which only the result wraps
	OpAddOverflow // the sum, and a Bool that is true if it wrapped, as for the next two
	OpSubOverflow
	OpMulOverflow
	OpLookup  // of a Bool or a Uint8 and a Table
	OpLookup2 // of two Uint8, of which the lower four bits count, and a Table
	opCount
)

// MaxElements bounds the list of OpSum and OpIsIn.
const MaxElements = 100

var opNames = [opCount]string{
	"add", "sub", "neg", "eq", "ne", "lt", "le", "gt", "ge", "and", "or", "xor", "not", "select",
	"mul", "div", "rem", "div-rem", "min", "max", "shl", "shr", "rotl", "rotr", "cast",
	"rand", "rand-bounded", "sum", "is-in", "mul-div", "add-overflow", "sub-overflow", "mul-overflow",
	"lookup", "lookup2",
}

// String returns the name of the operation, such as add.
func (op Op) String() string {
	if op < opCount {
		return opNames[op]
	}
	return fmt.Sprintf("operation %d", uint8(op))
}

// ParseOp returns the operation with the given name.
func ParseOp(name string) (Op, error) {
	for op, n := range opNames {
		if n == name {
			return Op(op), nil
		}
	}
	return 0, fmt.Errorf("no operation is named %q", name)
}

// Valid says whether op is one of the operations.
func (op Op) Valid() bool { return op < opCount }

// Operands is the number of operands that the operation takes, for those on lists
// the least number.
func (op Op) Operands() int {
	switch op {
	case OpNeg, OpNot, OpRand, OpSum:
		return 1
	case OpSelect, OpMulDiv, OpLookup2:
		return 3
	}
	return 2
}

// most is the greatest number of operands.
func (op Op) most() int {
	switch op {
	case OpSum:
		return MaxElements
	case OpIsIn:
		return 1 + MaxElements
	}
	return op.Operands()
}

// checkKind refuses an operand of the wrong kind.
func (op Op) checkKind(i int, o Operand) error {
	var want string
	ok := false
	switch {
	case op == OpCast && i == 1:
		want = "a type"
		_, ok = o.(To)
	case (op == OpRand || op == OpRandBounded) && i == 0:
		want = "a seed"
		_, ok = o.(Seed)
	case (op == OpLookup || op == OpLookup2) && i == op.Operands()-1:
		want = "a table"
		_, ok = o.(*Table)
	case op == OpMulDiv && i == 2, op == OpRandBounded && i == 1:
		want = "a plaintext"
		_, ok = o.(Scalar)
	default:
		want = "a value"
		switch o.(type) {
		case *Value, Scalar:
			ok = true
		}
	}
	if !ok {
		return &TypeError{op, i, fmt.Sprintf("is a %T, not %s", o, want)}
	}
	return nil
}

// Result is the type of the operation's result on operands of the given types,
// of the first result where there are two. The type of a To, a Seed or a Table is
// that of the result. The error is a *TypeError.
func (op Op) Result(operands ...Type) (Type, error) {
	all, err := op.Results(operands...)
	if err != nil {
		return 0, err
	}
	return all[0], nil
}

// Results are the types of all the operation's results, one or two.
func (op Op) Results(operands ...Type) ([]Type, error) {
	refuse := func(operand int, format string, args ...any) ([]Type, error) {
		return nil, &TypeError{op, operand, fmt.Sprintf(format, args...)}
	}
	if !op.Valid() {
		return refuse(0, "there is no such operation")
	}
	if n := len(operands); n < op.Operands() || n > op.most() {
		return refuse(min(op.most(), n), "there are %d operands, not %d", n, op.Operands())
	}
	for i, t := range operands {
		if !t.Valid() {
			return refuse(i, "there is no %v", t)
		}
	}
	same := operands // those that must have one type
	switch op {
	case OpCast:
		return operands[1:], nil
	case OpLookup:
		if operands[0] != Bool && operands[0] != Uint8 {
			return refuse(0, "%v is not a type that tables take", operands[0])
		}
		return operands[1:], nil
	case OpLookup2:
		for i, t := range operands[:2] {
			if t != Uint8 {
				return refuse(i, "%v is not %v", t, Uint8)
			}
		}
		return operands[2:], nil
	case OpSelect:
		if operands[0] != Bool {
			return refuse(0, "the condition is %v, not %v", operands[0], Bool)
		}
		same = operands[1:]
	case OpShl, OpShr, OpRotl, OpRotr:
		if t := operands[1]; !t.arithmetic() {
			return refuse(1, "%v is not an integer", t)
		}
		same = operands[:1]
	}
	first := len(operands) - len(same)
	if len(same) == 1 {
		first = 0
	}
	t := same[0]
	switch op {
	case OpEq, OpNe, OpSelect:
	case OpAnd, OpOr, OpXor, OpNot, OpRand:
		if t == Address {
			return refuse(first, "%v is not for this operation", t)
		}
	case OpIsIn:
		if t == Bool {
			return refuse(first, "%v is not an integer", t)
		}
	default:
		if !t.arithmetic() {
			return refuse(first, "%v is not an integer", t)
		}
	}
	if i := slices.IndexFunc(same, func(other Type) bool { return other != t }); i >= 0 {
		return refuse(first+i, "%v does not match the %v of operand %d", same[i], t, first)
	}
	switch op {
	case OpEq, OpNe, OpLt, OpLe, OpGt, OpGe, OpIsIn:
		return []Type{Bool}, nil
	case OpDivRem:
		return []Type{t, t}, nil
	case OpAddOverflow, OpSubOverflow, OpMulOverflow:
		return []Type{t, Bool}, nil
	}
	return []Type{t}, nil
}
