package graph

import (
	"fmt"
	"strings"

	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// signature is the shape of an operation that the service computes.
type signature struct {
	arity    int     // operands, the least number of those on lists
	most     int     // the greatest number of operands of those on lists, else 0
	scalars  int     // how many operands, counted from the last, may be plaintexts; those on lists: all but so many first
	required int     // how many operands, counted from the last, must be plaintexts
	on       typeSet // what it computes on
	decides  bool    // the result is ebool whatever the operands are
	declared bool    // the type of the result must be given
	tables   bool    // it has a table
	second   secondResult
}

// secondResult is what an operation has for one.
type secondResult uint8

const (
	noSecond secondResult = iota
	alike                 // of the type of the first
	overflow              // an ebool
)

// typeSet is a set of types, a bit for each number.
type typeSet uint32

const (
	bools     typeSet = 1 << tacitv1.Type_TYPE_EBOOL
	eights    typeSet = 1 << tacitv1.Type_TYPE_EUINT8
	addresses typeSet = 1 << tacitv1.Type_TYPE_EADDRESS
	uints     typeSet = 1<<tacitv1.Type_TYPE_EUINT8 | 1<<tacitv1.Type_TYPE_EUINT16 | 1<<tacitv1.Type_TYPE_EUINT32 |
		1<<tacitv1.Type_TYPE_EUINT64 | 1<<tacitv1.Type_TYPE_EUINT128 | 1<<tacitv1.Type_TYPE_EUINT256
	anything = bools | addresses | uints
)

func (s typeSet) has(t tacitv1.Type) bool { return s>>t&1 == 1 }

// String names what is in the set.
func (s typeSet) String() string {
	var names []string
	for t := tacitv1.Type(0); s>>t != 0; t++ {
		if s.has(t) {
			names = append(names, TypeName(t))
		}
	}
	return strings.Join(names, ", ")
}

// maxElements bounds the lists of SUM and IS_IN.
const maxElements = 100

var (
	ring       = signature{arity: 2, scalars: 1, on: uints | vectors}
	arithmetic = signature{arity: 2, scalars: 1, on: uints}
	overflows  = signature{arity: 2, scalars: 1, on: uints, second: overflow}
	bitwise    = signature{arity: 2, scalars: 1, on: uints | bools}
	equality   = signature{arity: 2, scalars: 1, on: anything, decides: true}
	order      = signature{arity: 2, scalars: 1, on: uints, decides: true}
)

// signatures lists the operations that the service computes.
var signatures = map[tacitv1.Op]signature{
	tacitv1.Op_OP_ADD:             ring,
	tacitv1.Op_OP_SUB:             ring,
	tacitv1.Op_OP_MUL:             ring,
	tacitv1.Op_OP_DIV:             arithmetic,
	tacitv1.Op_OP_REM:             arithmetic,
	tacitv1.Op_OP_MIN:             arithmetic,
	tacitv1.Op_OP_MAX:             arithmetic,
	tacitv1.Op_OP_AND:             bitwise,
	tacitv1.Op_OP_OR:              bitwise,
	tacitv1.Op_OP_XOR:             bitwise,
	tacitv1.Op_OP_SHL:             arithmetic,
	tacitv1.Op_OP_SHR:             arithmetic,
	tacitv1.Op_OP_ROTL:            arithmetic,
	tacitv1.Op_OP_ROTR:            arithmetic,
	tacitv1.Op_OP_EQ:              equality,
	tacitv1.Op_OP_NE:              equality,
	tacitv1.Op_OP_GE:              order,
	tacitv1.Op_OP_GT:              order,
	tacitv1.Op_OP_LE:              order,
	tacitv1.Op_OP_LT:              order,
	tacitv1.Op_OP_NEG:             {arity: 1, on: uints | vectors},
	tacitv1.Op_OP_NOT:             {arity: 1, on: uints | bools},
	tacitv1.Op_OP_CAST:            {arity: 1, on: anything, declared: true},
	tacitv1.Op_OP_TRIVIAL_ENCRYPT: {arity: 1, scalars: 1, required: 1, on: anything, declared: true},
	tacitv1.Op_OP_IF_THEN_ELSE:    {arity: 3, scalars: 2, on: anything},
	tacitv1.Op_OP_RAND:            {arity: 1, scalars: 1, required: 1, on: uints | bools, declared: true},
	tacitv1.Op_OP_RAND_BOUNDED:    {arity: 2, scalars: 2, required: 2, on: uints, declared: true},
	tacitv1.Op_OP_SUM:             {arity: 1, most: maxElements, scalars: maxElements, on: uints},
	tacitv1.Op_OP_IS_IN:           {arity: 2, most: 1 + maxElements, scalars: 1, on: uints | addresses, decides: true},
	tacitv1.Op_OP_MUL_DIV:         {arity: 3, scalars: 2, required: 1, on: uints},
	tacitv1.Op_OP_DIV_REM:         {arity: 2, scalars: 1, on: uints, second: alike},
	tacitv1.Op_OP_ADD_OVERFLOW:    overflows,
	tacitv1.Op_OP_SUB_OVERFLOW:    overflows,
	tacitv1.Op_OP_MUL_OVERFLOW:    overflows,
	tacitv1.Op_OP_LOOKUP:          {arity: 1, on: bools | eights, declared: true, tables: true},
	tacitv1.Op_OP_LOOKUP2:         {arity: 2, scalars: 1, on: eights, declared: true, tables: true},
	tacitv1.Op_OP_ROTATE:          {arity: 2, scalars: 1, required: 1, on: vectors},
	tacitv1.Op_OP_INNER_SUM:       {arity: 2, scalars: 1, required: 1, on: vectors},
	tacitv1.Op_OP_RESCALE:         {arity: 1, on: vectors},
	tacitv1.Op_OP_SWAP_ROWS:       {arity: 1, on: vectors},
	tacitv1.Op_OP_ADD_PLAIN:       {arity: 1, on: vectors, declared: true, tables: true},
	tacitv1.Op_OP_MUL_PLAIN:       {arity: 1, on: vectors, declared: true, tables: true},
	tacitv1.Op_OP_POLYNOMIAL:      {arity: 1, on: vectors, declared: true, tables: true},
	tacitv1.Op_OP_CHEBYSHEV:       {arity: 1, on: vectors, declared: true, tables: true},
	tacitv1.Op_OP_BOOTSTRAP:       {arity: 1, on: vectors},
}

// results is the number of results of an operation.
func results(op tacitv1.Op) int {
	if signatures[op].second == noSecond {
		return 1
	}
	return 2
}

// mayBeScalar says whether operand j of n may be a plaintext.
func (s signature) mayBeScalar(j, n int) bool {
	if s.most > 0 {
		return j >= s.scalars
	}
	return j >= n-s.scalars
}

// shifts says that the second operand is an amount, of any integer type.
func shifts(op tacitv1.Op) bool {
	return op >= tacitv1.Op_OP_SHL && op <= tacitv1.Op_OP_ROTR
}

var widths = map[tacitv1.Type]int{
	tacitv1.Type_TYPE_EBOOL: 1, tacitv1.Type_TYPE_EUINT8: 8, tacitv1.Type_TYPE_EUINT16: 16, tacitv1.Type_TYPE_EUINT32: 32,
	tacitv1.Type_TYPE_EUINT64: 64, tacitv1.Type_TYPE_EUINT128: 128, tacitv1.Type_TYPE_EADDRESS: 160, tacitv1.Type_TYPE_EUINT256: 256,
	tacitv1.Type_TYPE_BGV: 64, tacitv1.Type_TYPE_BFV: 64, tacitv1.Type_TYPE_CKKS: 64,
}

// Width returns the bits of a type that the service computes on, 1 for ebool, of vectors those of a plaintext operand, and
// false for every other type.
func Width(t tacitv1.Type) (int, bool) {
	w, ok := widths[t]
	return w, ok
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

// StrategyName returns the name of s in text, such as latency.
func StrategyName(s tacitv1.Strategy) string {
	name, ok := tacitv1.Strategy_name[int32(s)]
	if !ok {
		return fmt.Sprintf("strategy %d", s)
	}
	return strings.ToLower(strings.TrimPrefix(name, "STRATEGY_"))
}

// ParseOp returns the operation of that name in text.
func ParseOp(name string) (tacitv1.Op, bool) {
	op, ok := opsByName[name]
	return op, ok
}

var (
	typesByName = byName(tacitv1.Type_name, TypeName)
	opsByName   = byName(tacitv1.Op_name, OpName)

	strategiesByName = byName(tacitv1.Strategy_name, StrategyName)
)

// byName inverts name over the numbers of an enum.
func byName[E ~int32](numbers map[int32]string, name func(E) string) map[string]E {
	m := make(map[string]E, len(numbers))
	for n := range numbers {
		m[name(E(n))] = E(n)
	}
	return m
}
