package coprocessor

import (
	"math/big"

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
	tacitv1.Op_OP_MUL:          integer.OpMul,
	tacitv1.Op_OP_DIV:          integer.OpDiv,
	tacitv1.Op_OP_REM:          integer.OpRem,
	tacitv1.Op_OP_MIN:          integer.OpMin,
	tacitv1.Op_OP_MAX:          integer.OpMax,
	tacitv1.Op_OP_SHL:          integer.OpShl,
	tacitv1.Op_OP_SHR:          integer.OpShr,
	tacitv1.Op_OP_ROTL:         integer.OpRotl,
	tacitv1.Op_OP_ROTR:         integer.OpRotr,
	tacitv1.Op_OP_CAST:         integer.OpCast,
	tacitv1.Op_OP_RAND:         integer.OpRand,
	tacitv1.Op_OP_RAND_BOUNDED: integer.OpRandBounded,
	tacitv1.Op_OP_SUM:          integer.OpSum,
	tacitv1.Op_OP_IS_IN:        integer.OpIsIn,
	tacitv1.Op_OP_MUL_DIV:      integer.OpMulDiv,
}

// operandsOf are the operands of a node as package integer takes them;
// ciphertext gives those that are not plaintexts.
func operandsOf(n graph.Node, ciphertext func(graph.Operand) *integer.Value) []integer.Operand {
	t := integer.Type(n.Type)
	out := make([]integer.Operand, 0, len(n.Operands)+1)
	for i, o := range n.Operands {
		switch {
		case o.Kind != graph.Scalar:
			out = append(out, ciphertext(o))
		case i == 0 && (n.Op == tacitv1.Op_OP_RAND || n.Op == tacitv1.Op_OP_RAND_BOUNDED):
			seed := integer.Seed{Type: t}
			new(big.Int).SetBytes(o.Scalar).FillBytes(seed.Bytes[:])
			out = append(out, seed)
		default:
			out = append(out, integer.PlainBig(integer.Type(o.Type), new(big.Int).SetBytes(o.Scalar)))
		}
	}
	if n.Op == tacitv1.Op_OP_CAST {
		out = append(out, integer.To(t))
	}
	return out
}

// costOf is what operations spend, as the evaluator of integers says: exactly,
// for operands that come from a bootstrap or an encryption.
func costOf(integers *integer.Evaluator) graph.CostFunc {
	return func(n graph.Node) graph.Cost {
		op, ok := operations[n.Op]
		if !ok {
			return graph.Cost{} // a trivial encryption
		}
		c, err := integers.Cost(op, operandsOf(n, func(o graph.Operand) *integer.Value {
			return &integer.Value{Type: integer.Type(o.Type)}
		})...)
		if err != nil {
			return graph.Cost{} // package graph refuses such operands with their place
		}
		return graph.Cost{Bootstraps: c.Bootstraps, Depth: c.Depth}
	}
}

// strategies are those that a spec may name.
var strategies = map[tacitv1.Strategy]integer.Strategy{
	tacitv1.Strategy_STRATEGY_THROUGHPUT: integer.Throughput,
	tacitv1.Strategy_STRATEGY_LATENCY:    integer.Latency,
}
