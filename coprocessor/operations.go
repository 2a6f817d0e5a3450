package coprocessor

import (
	"context"
	"fmt"
	"math/big"
	"slices"

	"google.golang.org/grpc/codes"

	"github.com/tacit-fhe/tacit/coprocessor/graph"
	"github.com/tacit-fhe/tacit/fhe"
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
	tacitv1.Op_OP_DIV_REM:      integer.OpDivRem,
	tacitv1.Op_OP_ADD_OVERFLOW: integer.OpAddOverflow,
	tacitv1.Op_OP_SUB_OVERFLOW: integer.OpSubOverflow,
	tacitv1.Op_OP_MUL_OVERFLOW: integer.OpMulOverflow,
	tacitv1.Op_OP_LOOKUP:       integer.OpLookup,
	tacitv1.Op_OP_LOOKUP2:      integer.OpLookup2,
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
	switch n.Op {
	case tacitv1.Op_OP_CAST:
		out = append(out, integer.To(t))
	case tacitv1.Op_OP_LOOKUP, tacitv1.Op_OP_LOOKUP2:
		out = append(out, tableOf(t, n.Table))
	}
	return out
}

// tableOf is a table that package graph has checked.
func tableOf(t integer.Type, table []byte) *integer.Table {
	var values []uint64
	for v := range slices.Chunk(table, (t.Bits()+7)/8) {
		values = append(values, new(big.Int).SetBytes(v).Uint64())
	}
	out, err := integer.NewTable(t, values)
	if err != nil {
		panic(err) // package graph has let through a value of another type
	}
	return out
}

// apply runs the operation of a node and returns its results.
func apply(ctx context.Context, e *integer.Evaluator, n graph.Node, operands []integer.Operand) ([]*integer.Value, error) {
	if n.Op == tacitv1.Op_OP_TRIVIAL_ENCRYPT {
		v, err := e.Trivial(operands[0].(integer.Scalar))
		return []*integer.Value{v}, err
	}
	return e.ApplyAll(ctx, operations[n.Op], operands...)
}

// estimator predicts what the nodes of one graph spend, exactly for stored
// ciphertexts that it knows: it follows the noise through the graph. Others are
// taken to be as results of bootstraps.
type estimator struct {
	integers *integer.Evaluator
	records  map[graph.Handle][]byte         // of stored ciphertexts
	size     int                             // bytes of them
	inputs   map[graph.Handle]*integer.Value // outlines
	results  map[int][]*integer.Value        // of nodes
	vectors  vectorEstimator
}

func newEstimator(integers *integer.Evaluator, spec *tacitv1.JobSpec) *estimator {
	return &estimator{
		integers: integers.Using(strategies[spec.GetStrategy()]),
		records:  make(map[graph.Handle][]byte),
		inputs:   make(map[graph.Handle]*integer.Value), results: make(map[int][]*integer.Value),
		vectors: newVectorEstimator(),
	}
}

// stored takes note of a stored ciphertext and describes it to package graph.
func (e *estimator) stored(h graph.Handle, record []byte, p *fhe.Parameters) (graph.Ciphertext, error) {
	if e.size += len(record); e.size > maxRecords {
		return graph.Ciphertext{}, refuse(codes.InvalidArgument, "LIMIT", "", "the inputs take more than %d MiB", maxRecords>>20)
	}
	e.records[h] = record
	if isVectorRecord(record) {
		return e.vectors.stored(h, record)
	}
	list, err := storedList(record, h, p)
	if err != nil {
		return graph.Ciphertext{}, err
	}
	v, err := e.integers.Outline(list.Type(0), h, list.Bounds(0))
	if err != nil {
		return graph.Ciphertext{}, fmt.Errorf("stored ciphertext %s: %w", h, err)
	}
	e.inputs[h] = v
	return graph.Ciphertext{Type: tacitv1.Type(list.Type(0)), KeyID: list.KeyID()}, nil
}

// cost is a graph.CostFunc.
func (e *estimator) cost(i int, n graph.Node) (graph.Cost, error) {
	if graph.IsVector(n.Type) {
		return e.vectors.cost(i, n)
	}
	var missing error
	operands := operandsOf(n, func(o graph.Operand) *integer.Value {
		if o.Kind == graph.Computed {
			return e.results[o.Node][o.Result]
		}
		v, ok := e.inputs[o.Handle]
		if !ok {
			v, missing = e.integers.Outline(integer.Type(o.Type), o.Handle, nil)
			e.inputs[o.Handle] = v
		}
		return v
	})
	if missing != nil {
		return graph.Cost{}, missing
	}
	if n.Op == tacitv1.Op_OP_TRIVIAL_ENCRYPT {
		v, err := e.integers.OutlineTrivial(operands[0].(integer.Scalar))
		e.results[i] = []*integer.Value{v}
		return graph.Cost{Result: resultMemory(n, e.integers.Parameters())}, err
	}
	results, c, width, err := e.integers.Estimate(operations[n.Op], operands...)
	if err != nil {
		return graph.Cost{}, err
	}
	e.results[i] = results
	result := resultMemory(n, e.integers.Parameters())
	return graph.Cost{
		Bootstraps: c.Bootstraps, Depth: c.Depth,
		Working: workingPerBootstrap*int64(width)*lweMemory(e.integers.Parameters()) + workingPerResult*result, Result: result,
	}, nil
}
