package coprocessor

import (
	"github.com/tacit-fhe/tacit/coprocessor/graph"
	"github.com/tacit-fhe/tacit/fhe/integer"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// operations are those of package integer that a node may name. A trivial
// encryption is not among them: it computes nothing.
var operations = map[tacitv1.Op]integer.Op{
	tacitv1.Op_OP_ADD:          integer.OpAdd,
	tacitv1.Op_OP_SUB:          integer.OpSub,
	tacitv1.Op_OP_NEG:          integer.OpNeg,
	tacitv1.Op_OP_AND:          integer.OpAnd,
	tacitv1.Op_OP_OR:           integer.OpOr,
	tacitv1.Op_OP_XOR:          integer.OpXor,
	tacitv1.Op_OP_NOT:          integer.OpNot,
	tacitv1.Op_OP_EQ:           integer.OpEq,
	tacitv1.Op_OP_NE:           integer.OpNe,
	tacitv1.Op_OP_GE:           integer.OpGe,
	tacitv1.Op_OP_GT:           integer.OpGt,
	tacitv1.Op_OP_LE:           integer.OpLe,
	tacitv1.Op_OP_LT:           integer.OpLt,
	tacitv1.Op_OP_IF_THEN_ELSE: integer.OpSelect,
}

// costOf is what operations spend, as the evaluator of integers says, with
// plaintext operands counted as ciphertexts.
func costOf(integers *integer.Evaluator) graph.CostFunc {
	return func(op tacitv1.Op, t tacitv1.Type, operands []graph.OperandKind) graph.Cost {
		iop, ok := operations[op]
		if !ok {
			return graph.Cost{}
		}
		in := make([]integer.Operand, len(operands))
		for i := range in {
			in[i] = &integer.Value{Type: integer.Type(t)}
		}
		if iop == integer.OpSelect {
			in[0] = &integer.Value{Type: integer.Bool}
		}
		c, err := integers.Cost(iop, in...)
		if err != nil {
			return graph.Cost{} // package graph refuses such operands with their place
		}
		return graph.Cost{Bootstraps: c.Bootstraps, Depth: c.Depth}
	}
}
