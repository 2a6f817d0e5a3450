package graph

import (
	"context"
	"slices"

	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// Ciphertext is what a stored ciphertext is, as far as a graph needs to know.
type Ciphertext struct {
	Type  tacitv1.Type
	KeyID [32]byte
}

// Resolve tells what a handle stands for. It returns an error that wraps ErrUnknownHandle when it stands for nothing, and
// another error when it cannot tell.
type Resolve func(ctx context.Context, h Handle) (Ciphertext, error)

// OperandKind is where the value of an operand comes from.
type OperandKind uint8

// The kinds of operands.
const (
	Stored   OperandKind = iota + 1 // a ciphertext of the store
	Computed                        // the result of a node of the graph
	Scalar                          // a plaintext
)

// Operand is one input of a node.
type Operand struct {
	Kind   OperandKind
	Type   tacitv1.Type
	Handle Handle // of a Stored operand
	Node   int    // index of a Computed operand
	Result int    // which result of that node, from 0
	Scalar []byte // value of a Scalar operand, within the range of Type: big-endian, without leading zeros
}

// Node is one operation of a graph.
type Node struct {
	Op       tacitv1.Op
	Type     tacitv1.Type // of the result, the first where there are two
	Operands []Operand
	Table    []byte // of a look-up: big-endian values, as wide as Type
	Label    string
	Handle   Handle // of the first result, derived from the expression, whatever name the client gave
	Needed   bool   // an output depends on it
	Cost     Cost   // of a needed node
}

// Types are those of the results.
func (n Node) Types() []tacitv1.Type {
	switch signatures[n.Op].second {
	case alike:
		return []tacitv1.Type{n.Type, n.Type}
	case overflow:
		return []tacitv1.Type{n.Type, tacitv1.Type_TYPE_EBOOL}
	}
	return []tacitv1.Type{n.Type}
}

// Output is a result that is stored.
type Output struct {
	Node   int
	Result int // which of the node, from 0
	Handle Handle
}

// Graph is a validated job. It never changes; all methods may be called at the same time and return copies.
type Graph struct {
	keyID   [32]byte
	digest  [32]byte
	nodes   []Node
	order   []int
	inputs  []Handle
	outputs []Output
	cost    Cost

	strategy tacitv1.Strategy
}

// KeyID returns the id of the evaluation key that all ciphertexts of the job belong to.
func (g *Graph) KeyID() [32]byte { return g.keyID }

// Strategy returns what the evaluation spends least of.
func (g *Graph) Strategy() tacitv1.Strategy { return g.strategy }

// Digest returns the SpecDigest of the spec.
func (g *Graph) Digest() [32]byte { return g.digest }

// Len returns the number of nodes, needed or not. Indices are those of the spec.
func (g *Graph) Len() int { return len(g.nodes) }

// Node returns node i, which must be below Len.
func (g *Graph) Node(i int) Node {
	n := g.nodes[i]
	n.Operands = slices.Clone(n.Operands)
	n.Table = slices.Clone(n.Table)
	return n
}

// Order returns the indices of the needed nodes, each after the nodes that it depends on.
func (g *Graph) Order() []int { return slices.Clone(g.order) }

// Inputs returns the distinct handles of the stored ciphertexts that needed nodes read, in order of first use by Order.
func (g *Graph) Inputs() []Handle { return slices.Clone(g.inputs) }

// Outputs returns the outputs in the order of the spec. Their handles are distinct.
func (g *Graph) Outputs() []Output { return slices.Clone(g.outputs) }

// Cost returns the bootstraps of all needed nodes together, and the bootstraps on the longest chain of them.
func (g *Graph) Cost() Cost { return g.cost }
