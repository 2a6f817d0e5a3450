package graph

// Cost is what an operation spends.
type Cost struct {
	Bootstraps int // bootstraps in all
	Depth      int // bootstraps on the longest chain of dependent ones
}

// CostFunc returns the cost of a node whose operands and type have been checked.
type CostFunc func(n Node) Cost
