package coprocessor

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/tacit-fhe/tacit/coprocessor/graph"
	"github.com/tacit-fhe/tacit/coprocessor/jobs"
	"github.com/tacit-fhe/tacit/fhe/integer"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// strategies are those that a spec may name.
var strategies = map[tacitv1.Strategy]integer.Strategy{
	tacitv1.Strategy_STRATEGY_THROUGHPUT: integer.Throughput,
	tacitv1.Strategy_STRATEGY_LATENCY:    integer.Latency,
}

// choose returns the strategy with which a job should end sooner on so many lanes,
// of which busy other jobs take their shares: whose rounds are fewer, one of every
// lane at a time for what can run at any time, bootstraps·(busy+1)/lanes, and one
// for each link of the longest chain. Where much waits that is the one with the
// fewest bootstraps, on a wide and idle machine the one with the least depth.
func choose(throughput, latency graph.Cost, lanes, busy int) tacitv1.Strategy {
	rounds := func(c graph.Cost) int { return c.Bootstraps*(busy+1) + c.Depth*lanes }
	if rounds(latency) < rounds(throughput) {
		return tacitv1.Strategy_STRATEGY_LATENCY
	}
	return tacitv1.Strategy_STRATEGY_THROUGHPUT
}

// withStrategy is a spec with another strategy.
func withStrategy(spec *tacitv1.JobSpec, s tacitv1.Strategy) *tacitv1.JobSpec {
	out := proto.CloneOf(spec)
	out.Strategy = s
	return out
}

// draft is a draft of a spec by the strategy that it names, or, for STRATEGY_AUTO,
// by that which is chosen now, see draftAs.
func (s *Server) draft(ctx context.Context, spec *tacitv1.JobSpec, expected map[graph.Handle]tacitv1.Type) (*draft, error) {
	if spec.GetStrategy() != tacitv1.Strategy_STRATEGY_AUTO {
		return s.draftAs(ctx, spec, expected)
	}
	throughput, err := s.draftAs(ctx, withStrategy(spec, tacitv1.Strategy_STRATEGY_THROUGHPUT), expected)
	if err != nil {
		return throughput, err
	}
	latency, err := s.draftAs(ctx, withStrategy(spec, tacitv1.Strategy_STRATEGY_LATENCY), expected)
	if err != nil {
		return latency, err
	}
	states := s.queue.Stats().States
	busy := states[jobs.Queued] + states[jobs.Running]
	if choose(newPlan(throughput.graph, nil).cost(), newPlan(latency.graph, nil).cost(), s.opts.Workers, busy) == tacitv1.Strategy_STRATEGY_LATENCY {
		return latency, nil
	}
	return throughput, nil
}
