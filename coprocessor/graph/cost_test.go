package graph

import tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"

// DefaultCost stands in for the cost that the service computes: that of each operation without packing tricks, over blocks of two bits (one block for
// ebool), for the operations that have a simple one; others are counted as one bootstrap a block. A plaintext operand is not
// counted as cheaper.
func DefaultCost(_ int, n Node) (Cost, error) { return defaultCost(n), nil }

func defaultCost(n Node) Cost {
	op := n.Op
	width, _ := Width(n.Operands[len(n.Operands)-1].Type)
	blocks := (width + 1) / 2
	switch op {
	case tacitv1.Op_OP_NOT, tacitv1.Op_OP_TRIVIAL_ENCRYPT:
		return Cost{}
	case tacitv1.Op_OP_ADD, tacitv1.Op_OP_SUB, tacitv1.Op_OP_NEG:
		// The carry ripples from block to block; one bootstrap gives a block and its carry.
		return Cost{Bootstraps: blocks, Depth: blocks}
	case tacitv1.Op_OP_GE, tacitv1.Op_OP_GT, tacitv1.Op_OP_LE, tacitv1.Op_OP_LT:
		// One bootstrap gives the sign of two blocks, one more joins up to three signs.
		signs := (blocks + 1) / 2
		c := Cost{Bootstraps: signs, Depth: 1}
		for signs > 1 {
			signs = (signs + 2) / 3
			c.Bootstraps += signs
			c.Depth++
		}
		return c
	case tacitv1.Op_OP_EQ, tacitv1.Op_OP_NE:
		// One bootstrap tests two blocks for zero, one more joins up to fifteen tests; of sixteen, two are joined first.
		tests := (blocks + 1) / 2
		c := Cost{Bootstraps: tests, Depth: 1}
		for tests > 1 {
			tests = max(1, tests-14)
			c.Bootstraps++
			c.Depth++
		}
		return c
	}
	// Bitwise operations and select work on each block alone.
	return Cost{Bootstraps: blocks, Depth: 1}
}
