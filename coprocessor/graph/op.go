package graph

import (
	"fmt"
	"strings"

	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// signature is the shape of an operation that the service computes.
type signature struct {
	arity   int
	scalars int  // how many operands, counted from the last, may be plaintexts
	bools   bool // computes on ebool
	uints   bool // computes on euint8 to euint64
	decides bool // the result is ebool whatever the operands are
}

var (
	arithmetic = signature{arity: 2, scalars: 1, uints: true}
	bitwise    = signature{arity: 2, scalars: 1, uints: true, bools: true}
	equality   = signature{arity: 2, scalars: 1, uints: true, bools: true, decides: true}
	order      = signature{arity: 2, scalars: 1, uints: true, decides: true}
)

// signatures lists the operations that the service computes.
var signatures = map[tacitv1.Op]signature{
	tacitv1.Op_OP_ADD:             arithmetic,
	tacitv1.Op_OP_SUB:             arithmetic,
	tacitv1.Op_OP_AND:             bitwise,
	tacitv1.Op_OP_OR:              bitwise,
	tacitv1.Op_OP_XOR:             bitwise,
	tacitv1.Op_OP_EQ:              equality,
	tacitv1.Op_OP_NE:              equality,
	tacitv1.Op_OP_GE:              order,
	tacitv1.Op_OP_GT:              order,
	tacitv1.Op_OP_LE:              order,
	tacitv1.Op_OP_LT:              order,
	tacitv1.Op_OP_NEG:             {arity: 1, uints: true},
	tacitv1.Op_OP_NOT:             {arity: 1, uints: true, bools: true},
	tacitv1.Op_OP_TRIVIAL_ENCRYPT: {arity: 1, scalars: 1, uints: true, bools: true},
	tacitv1.Op_OP_IF_THEN_ELSE:    {arity: 3, scalars: 2, uints: true, bools: true},
}

// Width returns the bits of a type that the service computes on, 1 for ebool, and false for every other type.
func Width(t tacitv1.Type) (int, bool) {
	switch t {
	case tacitv1.Type_TYPE_EBOOL:
		return 1, true
	case tacitv1.Type_TYPE_EUINT8:
		return 8, true
	case tacitv1.Type_TYPE_EUINT16:
		return 16, true
	case tacitv1.Type_TYPE_EUINT32:
		return 32, true
	case tacitv1.Type_TYPE_EUINT64:
		return 64, true
	}
	return 0, false
}

// TypeName returns the name of t in text, such as euint64.
func TypeName(t tacitv1.Type) string {
	name, ok := tacitv1.Type_name[int32(t)]
	if !ok {
		return fmt.Sprintf("type %d", t)
	}
	return strings.ToLower(strings.TrimPrefix(name, "TYPE_"))
}

// ParseType returns the type of that name in text.
func ParseType(name string) (tacitv1.Type, bool) {
	t, ok := typesByName[name]
	return t, ok
}

// OpName returns the name of op in text, such as add; IF_THEN_ELSE is select.
func OpName(op tacitv1.Op) string {
	name, ok := tacitv1.Op_name[int32(op)]
	switch {
	case !ok:
		return fmt.Sprintf("op %d", op)
	case op == tacitv1.Op_OP_IF_THEN_ELSE:
		return "select"
	}
	return strings.ToLower(strings.TrimPrefix(name, "OP_"))
}

// ParseOp returns the operation of that name in text.
func ParseOp(name string) (tacitv1.Op, bool) {
	op, ok := opsByName[name]
	return op, ok
}

var (
	typesByName = byName(tacitv1.Type_name, TypeName)
	opsByName   = byName(tacitv1.Op_name, OpName)
)

// byName inverts name over the numbers of an enum.
func byName[E ~int32](numbers map[int32]string, name func(E) string) map[string]E {
	m := make(map[string]E, len(numbers))
	for n := range numbers {
		m[name(E(n))] = E(n)
	}
	return m
}
