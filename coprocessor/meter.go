package coprocessor

import (
	"context"
	"math"

	"github.com/tacit-fhe/tacit/coprocessor/graph"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/integer"
)

// meter is the bootstrapper of one node: it counts what the operation spends.
type meter struct {
	params *fhe.Parameters
	boot   integer.Bootstrapper

	bootstraps int
	depth      int     // calls, each of which waits for the one before
	failure    float64 // log2 of the sum of the failure probabilities of the bootstraps

	cutOff      int // bootstraps of a call that was cut off: how many have run, nobody knows
	keySwitches int // of an operation on vectors, which count as bootstraps
}

// spent is what the operation has spent, as package graph counts it.
func (m *meter) spent() graph.Cost {
	return graph.Cost{Bootstraps: m.bootstraps + m.cutOff + m.keySwitches, Depth: m.depth + m.keySwitches}
}

func (m *meter) Bootstrap(ctx context.Context, tasks []fhe.PBS) error {
	if err := m.boot.Bootstrap(ctx, tasks); err != nil {
		if ctx.Err() != nil {
			m.cutOff = len(tasks)
		}
		return err
	}
	for _, t := range tasks {
		p := m.params.FailureProbability(t.In.Bound.Variance)
		if m.bootstraps > 0 {
			p = addLog2(p, m.failure)
		}
		m.failure = p
		m.bootstraps++
	}
	m.depth++
	return nil
}

// addLog2 is log2(2^a + 2^b), also where the powers are too small for a float64.
func addLog2(a, b float64) float64 {
	a, b = max(a, b), min(a, b)
	return a + math.Log2(1+math.Exp2(b-a))
}

// log2Failure bounds the probability that any of the bootstraps decoded wrongly
// by the sum of theirs; ok is false when there were none.
func (m *meter) log2Failure() (bound float64, ok bool) {
	return m.failure, m.bootstraps > 0
}
