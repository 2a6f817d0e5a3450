package workloads

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/tacit-fhe/tacit/fhe/integer"
)

const (
	treeBits  = 8 // of the features of the decision tree
	treeDepth = 4
	treeLeaf  = 10 // samples that a branch has at least
	// mixtures is how many samples are made up for every one to train on.
	mixtures = 5
)

// node is a decision: the first branch where the feature is above the threshold, a
// class where there are no branches.
type node struct {
	feature      int
	threshold    int64
	above, below *node
	class        int
}

// tree is a decision tree and how good it is.
type tree struct {
	root     *node
	accuracy Accuracy
}

// cancerTree is grown by the impurity of Gini (Breiman et al., "Classification and Regression
// Trees", 1984), once on the features almost as they are and once on those of 8 bits. It learns from the
// logistic regression (as in Craven, Shavlik, "Extracting tree-structured representations of
// trained networks", 1996): besides the training set there are mixtures of two of its samples each, with
// the class that the regression gives them. That was best of nine ways to mix in a five-fold cross-validation
// within the training set; the test set decided nothing.
var cancerTree = sync.OnceValue(func() *tree {
	d, teacher := cancer(), cancerLinear()
	r := rand.New(rand.NewPCG(1, 2))
	samples := slices.Clone(d.train)
	for range mixtures {
		for _, s := range d.train {
			other, share := d.train[r.IntN(len(d.train))], r.Float64()/2
			mixture := labelled{x: make([]float64, len(s.x))}
			for f, x := range s.x {
				mixture.x[f] = x + share*(other.x[f]-x)
			}
			mixture.class = int(boolean(teacher.real(mixture) > 0))
			samples = append(samples, mixture)
		}
	}
	const fineBits = 20 // as good as the features themselves
	train := func(bits int) *node {
		quantised := make([]quantisedSample, len(samples))
		for i, s := range samples {
			quantised[i] = quantisedSample{d.quantise(s, bits), s.class}
		}
		return grow(quantised, treeDepth)
	}
	fine, t := train(fineBits), &tree{root: train(treeBits)}
	t.accuracy = Accuracy{
		len(d.test),
		d.accuracy(func(s labelled) bool { return fine.decide(d.quantise(s, fineBits)) == 1 }),
		d.accuracy(func(s labelled) bool { return t.root.decide(d.quantise(s, treeBits)) == 1 }),
	}
	return t
})

func (n *node) decide(x []int64) int {
	for n.above != nil {
		if x[n.feature] > n.threshold {
			n = n.above
		} else {
			n = n.below
		}
	}
	return n.class
}

// quantisedSample is a labelled one with quantised features.
type quantisedSample struct {
	x     []int64
	class int
}

// grow makes the tree of samples, whose order it changes. A threshold is in the middle
// between the features of two samples.
func grow(samples []quantisedSample, depth int) *node {
	ones := 0
	for _, s := range samples {
		ones += s.class
	}
	leaf := &node{class: int(boolean(2*ones > len(samples)))}
	if depth == 0 || ones == 0 || ones == len(samples) {
		return leaf
	}
	best, lowest := node{feature: -1}, impurity(ones, len(samples))
	for f := range samples[0].x {
		sortBy(samples, f)
		below, onesBelow := 0, 0
		for i, s := range samples[:len(samples)-1] {
			below++
			onesBelow += s.class
			next := samples[i+1].x[f]
			if next == s.x[f] || below < treeLeaf || len(samples)-below < treeLeaf {
				continue
			}
			if g := impurity(onesBelow, below) + impurity(ones-onesBelow, len(samples)-below); g < lowest {
				best, lowest = node{feature: f, threshold: (s.x[f] + next - 1) / 2}, g
			}
		}
	}
	if best.feature < 0 {
		return leaf
	}
	sortBy(samples, best.feature)
	cut, _ := slices.BinarySearchFunc(samples, best.threshold+1, func(s quantisedSample, x int64) int { return int(s.x[best.feature] - x) })
	below, above := slices.Clone(samples[:cut]), slices.Clone(samples[cut:])
	best.below, best.above = grow(below, depth-1), grow(above, depth-1)
	if best.below.above == nil && best.above.above == nil && best.below.class == best.above.class {
		return best.below // the decision changes nothing
	}
	return &best
}

func sortBy(samples []quantisedSample, feature int) {
	slices.SortStableFunc(samples, func(a, b quantisedSample) int { return int(a.x[feature] - b.x[feature]) })
}

// impurity is that of Gini, times the number of samples.
func impurity(ones, count int) float64 {
	if count == 0 {
		return 0
	}
	p := float64(ones) / float64(count)
	return 2 * p * (1 - p) * float64(count)
}

// decide returns the class that an encrypted sample has by a tree of public
// thresholds: all comparisons at once, then what they choose, from the leaves up.
func decide(ctx context.Context, e *integer.Evaluator, n *node, x []*integer.Value) (*integer.Value, error) {
	if n.above == nil {
		return e.Trivial(integer.Plain(integer.Bool, uint64(n.class)))
	}
	var test, above, below *integer.Value
	var g group
	g.set(&test, func() (*integer.Value, error) {
		return e.Gt(ctx, x[n.feature], integer.Plain(integer.Uint8, uint64(n.threshold)))
	})
	g.set(&above, func() (*integer.Value, error) { return decide(ctx, e, n.above, x) })
	g.set(&below, func() (*integer.Value, error) { return decide(ctx, e, n.below, x) })
	if err := g.end(); err != nil {
		return nil, err
	}
	return e.Select(ctx, test, above, below)
}
