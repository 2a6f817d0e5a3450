package graph

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// drawDAG draws a spec of additions of euint8 whose nodes stand in a random order. rank[i] is the place of node i in an
// order that its edges follow.
func drawDAG(t *rapid.T) (spec *tacitv1.JobSpec, rank []int) {
	n := rapid.IntRange(1, 40).Draw(t, "nodes")
	at := rapid.Permutation(sequence(n)).Draw(t, "order") // index of the node of each rank
	spec = &tacitv1.JobSpec{KeyId: testKey, Nodes: make([]*tacitv1.Node, n)}
	rank = make([]int, n)
	for r, i := range at {
		rank[i] = r
		operand := func() *tacitv1.Input {
			if from := rapid.IntRange(-1, r-1).Draw(t, "from"); from >= 0 {
				return computed(uint32(at[from]))
			}
			return stored(euint8, byte(rapid.IntRange(0, 3).Draw(t, "handle")))
		}
		spec.Nodes[i] = node(add, operand(), operand())
	}
	outputs := rapid.SliceOfNDistinct(rapid.Uint32Range(0, uint32(n-1)), 1, -1, rapid.ID).Draw(t, "outputs")
	for i, o := range outputsOf(outputs...) {
		o.Handle = bytes32(0xee, byte(i)) // two nodes may well say the same
		spec.Outputs = append(spec.Outputs, o)
	}
	return spec, rank
}

func sequence(n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = i
	}
	return s
}

func TestOrderNeedAndDepthOfRandomGraphs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spec, _ := drawDAG(t)
		g, err := validate(spec, DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		// What the outputs need, found from them downwards.
		depth := make(map[int]int)
		var visit func(i int) int
		visit = func(i int) int {
			if d, ok := depth[i]; ok {
				return d
			}
			d := 0
			for _, o := range g.Node(i).Operands {
				if o.Kind == Computed {
					d = max(d, visit(o.Node))
				}
			}
			depth[i] = d + 4 // of one addition
			return depth[i]
		}
		deepest := 0
		for _, o := range g.Outputs() {
			deepest = max(deepest, visit(o.Node))
		}
		if want := (Cost{Bootstraps: 4 * len(depth), Depth: deepest}); g.Cost() != want {
			t.Errorf("cost %+v, want %+v", g.Cost(), want)
		}
		done := make(map[int]bool)
		for _, i := range g.Order() {
			if done[i] {
				t.Errorf("node %d is computed twice", i)
			}
			done[i] = true
			if _, ok := depth[i]; !ok {
				t.Errorf("node %d is computed, but no output needs it", i)
			}
			for _, o := range g.Node(i).Operands {
				if o.Kind == Computed && !done[o.Node] {
					t.Errorf("node %d comes before its operand %d", i, o.Node)
				}
			}
		}
		for i := range g.Len() {
			if _, need := depth[i]; need != g.Node(i).Needed || need != done[i] {
				t.Errorf("node %d: needed %v, computed %v, want %v", i, g.Node(i).Needed, done[i], need)
			}
		}
	})
}

func TestRandomBackEdgeIsACycle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spec, rank := drawDAG(t)
		// Walk up from a node as far as chance has it, and let the first depend on the last.
		first := rapid.IntRange(0, len(rank)-1).Draw(t, "first")
		last := first
		for rapid.Bool().Draw(t, "further") {
			up := slices.IndexFunc(spec.Nodes, func(n *tacitv1.Node) bool { return slices.ContainsFunc(n.Inputs, reads(last)) })
			if up < 0 {
				break
			}
			last = up
		}
		spec.Nodes[first].Inputs[1] = computed(uint32(last))
		_, err := validate(spec, DefaultLimits())
		var refused *Error
		if !errors.As(err, &refused) || refused.Reason != Cycle {
			t.Fatalf("got %v, want a cycle", err)
		}
		var i, j int
		if _, err := fmt.Sscanf(refused.Place, "nodes[%d].inputs[%d]", &i, &j); err != nil {
			t.Fatal(err)
		}
		if from, ok := spec.Nodes[i].Inputs[j].Value.(*tacitv1.Input_Node); !ok || !reaches(spec, int(from.Node), i) {
			t.Errorf("%v: there is no cycle", refused)
		}
	})
}

// reads tells the inputs that are the result of node i.
func reads(i int) func(*tacitv1.Input) bool {
	return func(in *tacitv1.Input) bool {
		v, ok := in.Value.(*tacitv1.Input_Node)
		return ok && int(v.Node) == i
	}
}

// reaches tells whether node i depends on node target, or is it.
func reaches(spec *tacitv1.JobSpec, i, target int) bool {
	seen := make(map[int]bool)
	var visit func(i int) bool
	visit = func(i int) bool {
		if i == target {
			return true
		}
		if seen[i] {
			return false
		}
		seen[i] = true
		return slices.ContainsFunc(spec.Nodes[i].Inputs, func(in *tacitv1.Input) bool {
			v, ok := in.Value.(*tacitv1.Input_Node)
			return ok && visit(int(v.Node))
		})
	}
	return visit(i)
}
