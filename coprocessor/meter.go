package coprocessor

import (
	"context"
	"math"

	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/integer"
)

// meter is the bootstrapper of one node: it counts what the operation spends.
type meter struct {
	params *fhe.Parameters
	boot   integer.Bootstrapper

	bootstraps int
	depth      int     // calls, each of which waits for the one before
	failure    float64 // sum of the failure probabilities of the bootstraps
}

func (m *meter) Bootstrap(ctx context.Context, tasks []fhe.PBS) error {
	if err := m.boot.Bootstrap(ctx, tasks); err != nil {
		return err
	}
	m.bootstraps += len(tasks)
	m.depth++
	for _, t := range tasks {
		m.failure += math.Exp2(m.params.FailureProbability(t.In.Bound.Variance))
	}
	return nil
}

// log2Failure bounds the probability that any of the bootstraps decoded wrongly
// by the sum of theirs; ok is false when there were none.
func (m *meter) log2Failure() (bound float64, ok bool) {
	return math.Log2(m.failure), m.bootstraps > 0
}
