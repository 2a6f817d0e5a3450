package integer

import "fmt"

// Op names an operation.
type Op uint8

// The operations. Arithmetic is modulo 2^Bits, comparisons are unsigned and
// yield a Bool. Select takes a Bool and then two values, and yields the first of
// them if it is true.
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
	OpSelect
	opCount
)

var opNames = [opCount]string{"add", "sub", "neg", "eq", "ne", "lt", "le", "gt", "ge", "and", "or", "xor", "not", "select"}

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

// Operands is the number of operands that the operation takes.
func (op Op) Operands() int {
	switch op {
	case OpNeg, OpNot:
		return 1
	case OpSelect:
		return 3
	}
	return 2
}

// Result is the type of the operation's result on operands of the given types.
// The error is a *TypeError.
func (op Op) Result(operands ...Type) (Type, error) {
	refuse := func(operand int, format string, args ...any) (Type, error) {
		return 0, &TypeError{op, operand, fmt.Sprintf(format, args...)}
	}
	if !op.Valid() {
		return refuse(0, "there is no such operation")
	}
	if n := op.Operands(); len(operands) != n {
		return refuse(min(n, len(operands)), "there are %d operands, not %d", len(operands), n)
	}
	for i, t := range operands {
		if !t.Valid() {
			return refuse(i, "there is no %v", t)
		}
	}
	first := 0
	if op == OpSelect {
		if operands[0] != Bool {
			return refuse(0, "the condition is %v, not %v", operands[0], Bool)
		}
		first = 1
	}
	t := operands[first]
	switch op {
	case OpEq, OpNe, OpAnd, OpOr, OpXor, OpNot, OpSelect:
	default:
		if t == Bool {
			return refuse(first, "%v is not an integer", t)
		}
	}
	for i, other := range operands[first:] {
		if other != t {
			return refuse(first+i, "%v does not match the %v of operand %d", other, t, first)
		}
	}
	switch op {
	case OpEq, OpNe, OpLt, OpLe, OpGt, OpGe:
		return Bool, nil
	}
	return t, nil
}
