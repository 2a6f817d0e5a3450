package coprocessor

import (
	"github.com/tacit-fhe/tacit/coprocessor/graph"
)

// plan is what of a graph has to be computed: every expression once, and nothing
// that only leads to outputs that are there already.
type plan struct {
	graph *graph.Graph
	// same is, for each node, the first node that is the same expression.
	same []int
	// twins has the others that are the same expression as a node in order.
	twins map[int][]int
	// order has the nodes to compute, each after those that it depends on.
	order []int
	// have are the places of the outputs that are there already.
	have map[int]bool
	// computed says which nodes are in order.
	computed []bool
}

// newPlan plans a graph whose outputs in have, by their places, are there already.
func newPlan(g *graph.Graph, have map[int]bool) *plan {
	p := &plan{graph: g, have: have, same: make([]int, g.Len()), twins: make(map[int][]int), computed: make([]bool, g.Len())}
	order := g.Order()
	first := make(map[graph.Handle]int, len(order))
	for i := range p.same {
		p.same[i] = i
	}
	for _, i := range order {
		h := g.Node(i).Handle
		if j, ok := first[h]; ok {
			p.same[i] = j
			p.twins[j] = append(p.twins[j], i)
		} else {
			first[h] = i
		}
	}
	for i, o := range g.Outputs() {
		if !have[i] {
			p.computed[p.same[o.Node]] = true
		}
	}
	for k := len(order) - 1; k >= 0; k-- {
		if !p.computed[order[k]] {
			continue
		}
		for _, o := range g.Node(order[k]).Operands {
			if o.Kind == graph.Computed {
				p.computed[p.same[o.Node]] = true
			}
		}
	}
	for _, i := range order {
		if p.computed[i] {
			p.order = append(p.order, i)
		}
	}
	return p
}

// operands returns the nodes that node i depends on, once for each operand.
func (p *plan) operands(i int) (nodes []int) {
	for _, o := range p.graph.Node(i).Operands {
		if o.Kind == graph.Computed {
			nodes = append(nodes, p.same[o.Node])
		}
	}
	return nodes
}

// readers is how many operands and outputs read each node.
func (p *plan) readers() []int {
	readers := make([]int, p.graph.Len())
	for _, i := range p.order {
		for _, j := range p.operands(i) {
			readers[j]++
		}
	}
	for i, o := range p.graph.Outputs() {
		if !p.have[i] {
			readers[p.same[o.Node]]++
		}
	}
	return readers
}

// cost is that of all nodes that are computed, and of the longest chain of them.
func (p *plan) cost() (total graph.Cost) {
	depths := make([]int, p.graph.Len())
	for _, i := range p.order {
		for _, j := range p.operands(i) {
			depths[i] = max(depths[i], depths[j])
		}
		c := p.graph.Node(i).Cost
		depths[i] += c.Depth
		total.Bootstraps += c.Bootstraps
		total.Depth = max(total.Depth, depths[i])
	}
	return total
}
