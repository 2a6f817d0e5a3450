package graph

// Cost is what an operation spends, and of single nodes the memory that it takes.
type Cost struct {
	Bootstraps int // bootstraps in all
	Depth      int // bootstraps on the longest chain of dependent ones

	Working int64 // bytes that it takes while it runs, besides its operands and results
	Result  int64 // bytes that its results take
}

// CostFunc returns the cost of node i, whose operands and type have been checked. It is asked for every needed node once,
// in an order in which it has been asked for the nodes that the node depends on, so that it may remember what they leave.
// An error is one of computing the node, and means that the graph cannot be computed.
type CostFunc func(i int, n Node) (Cost, error)
