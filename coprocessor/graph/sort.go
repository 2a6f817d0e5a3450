package graph

import "strings"

// sortNodes returns all nodes, each after those it depends on, in the order that Kahn's algorithm finds them.
func sortNodes(nodes []Node) ([]int, error) {
	waiting := make([]int, len(nodes))     // operands that are not yet in order
	consumers := make([][]int, len(nodes)) // with one entry for each operand
	for i := range nodes {
		for _, o := range nodes[i].Operands {
			if o.Kind == Computed {
				waiting[i]++
				consumers[o.Node] = append(consumers[o.Node], i)
			}
		}
	}
	order := make([]int, 0, len(nodes))
	for i, n := range waiting {
		if n == 0 {
			order = append(order, i)
		}
	}
	for k := 0; k < len(order); k++ {
		for _, c := range consumers[order[k]] {
			if waiting[c]--; waiting[c] == 0 {
				order = append(order, c)
			}
		}
	}
	if len(order) < len(nodes) {
		return nil, cycleError(nodes, waiting)
	}
	return order, nil
}

// cycleError names a cycle among the nodes that still wait. Each of them has an operand that still waits, so following
// such operands must come back to a node already seen.
func cycleError(nodes []Node, waiting []int) error {
	blocked := func(i int) (input, node int) {
		for j, o := range nodes[i].Operands {
			if o.Kind == Computed && waiting[o.Node] > 0 {
				return j, o.Node
			}
		}
		panic("graph: a node waits for nothing")
	}
	at := 0
	for waiting[at] == 0 {
		at++
	}
	seen := make([]bool, len(nodes))
	for !seen[at] {
		seen[at] = true
		_, at = blocked(at)
	}
	// at is on a cycle; go around once to find its lowest node, and once more to name it from there.
	lowest := at
	for _, i := blocked(at); i != at; _, i = blocked(i) {
		lowest = min(lowest, i)
	}
	const shown = 8
	var path strings.Builder
	path.WriteString(nodePlace(lowest))
	length := 1
	input, i := blocked(lowest)
	for ; i != lowest; _, i = blocked(i) {
		if length < shown {
			path.WriteString(" needs " + nodePlace(i))
		}
		length++
	}
	if length > shown {
		path.WriteString(" needs …")
	}
	path.WriteString(" needs ")
	path.WriteString(nodePlace(lowest))
	return refuse(Cycle, inputPlace(lowest, input), "a cycle of %d: %s", length, &path)
}
