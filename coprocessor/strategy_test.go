package coprocessor

import (
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/tacit-fhe/tacit/coprocessor/graph"
	"github.com/tacit-fhe/tacit/fhe/integer"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

func TestChoose(t *testing.T) {
	add, addFast := graph.Cost{Bootstraps: 32, Depth: 32}, graph.Cost{Bootstraps: 111, Depth: 4}
	and := graph.Cost{Bootstraps: 32, Depth: 1}
	for _, tt := range []struct {
		name                string
		throughput, latency graph.Cost
		lanes, busy         int
		want                tacitv1.Strategy
	}{
		{"one lane", add, addFast, 1, 0, tacitv1.Strategy_STRATEGY_THROUGHPUT},
		{"two lanes", add, addFast, 2, 0, tacitv1.Strategy_STRATEGY_THROUGHPUT},
		{"four lanes", add, addFast, 4, 0, tacitv1.Strategy_STRATEGY_LATENCY},
		{"four lanes, another job", add, addFast, 4, 1, tacitv1.Strategy_STRATEGY_THROUGHPUT},
		{"many lanes, some jobs", add, addFast, 64, 5, tacitv1.Strategy_STRATEGY_LATENCY},
		{"many lanes, many jobs", add, addFast, 64, 50, tacitv1.Strategy_STRATEGY_THROUGHPUT},
		{"the same", and, and, 1000, 0, tacitv1.Strategy_STRATEGY_THROUGHPUT},
	} {
		if got := choose(tt.throughput, tt.latency, tt.lanes, tt.busy); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}

// TestAutoStrategy submits jobs whose strategy the service chooses, on a machine
// that says it is narrow and on one that says it is wide: the choice is recorded,
// and what was submitted stays the same job whatever would be chosen now.
func TestAutoStrategy(t *testing.T) {
	for workers, want := range map[int]tacitv1.Strategy{1: tacitv1.Strategy_STRATEGY_THROUGHPUT, 64: tacitv1.Strategy_STRATEGY_LATENCY} {
		s, _ := start(t, func(o *Options) { o.Workers = workers })
		h := s.prepare(integer.Plain(integer.Uint64, 1<<63), integer.Plain(integer.Uint64, 1<<63-1))
		auto := spec(t, "strategy auto\ninput a = 0x"+h[0]+"\ninput b = 0x"+h[1]+"\nc = add(a, b)\noutput c")
		job := s.run("auto", auto)
		if got := s.decrypt(job.Results[0].Handle); got != "euint64:18446744073709551615" {
			t.Errorf("%d workers: %s", workers, got)
		}
		estimate, err := s.CoprocessorClient.EstimateJob(t.Context(), &tacitv1.EstimateJobRequest{Spec: auto})
		if err != nil || estimate.Strategy != want || int(estimate.Bootstraps) != int(job.Nodes[0].Bootstraps) {
			t.Errorf("%d workers: the estimate is %v, %v", workers, estimate, err)
		}
		recorded, err := s.CoprocessorClient.GetJobSpec(t.Context(), &tacitv1.GetJobSpecRequest{Id: "auto"})
		if err != nil {
			t.Fatal(err)
		}
		if recorded.Strategy != want {
			t.Errorf("%d workers: %v is recorded, want %v", workers, recorded.Strategy, want)
		}
		s.charged(s.charge(job), job)
		digest := graph.SpecDigest(recorded)
		if string(job.SpecDigest) != string(digest[:]) || string(job.Receipt.SpecDigest) != string(digest[:]) {
			t.Errorf("the digests are not those of the recorded spec")
		}
		// A service that would choose otherwise now.
		s.opts.Workers = 65 - workers
		again, err := s.CoprocessorClient.SubmitJob(t.Context(), &tacitv1.SubmitJobRequest{Id: "auto", Spec: auto})
		if err != nil || !proto.Equal(again, job) {
			t.Errorf("%d workers: submitted again: %v, %v", workers, again, err)
		}
		for name, tt := range map[string]struct {
			change func(*tacitv1.JobSpec)
			want   codes.Code
		}{
			"as recorded":      {func(s *tacitv1.JobSpec) { s.Strategy = want }, codes.OK},
			"another strategy": {func(s *tacitv1.JobSpec) { s.Strategy = 1 - want }, codes.AlreadyExists},
			"another content":  {func(s *tacitv1.JobSpec) { s.Nodes[0].Label = "d" }, codes.AlreadyExists},
		} {
			other := proto.CloneOf(auto)
			tt.change(other)
			if _, err := s.CoprocessorClient.SubmitJob(t.Context(), &tacitv1.SubmitJobRequest{Id: "auto", Spec: other}); code(err) != tt.want {
				t.Errorf("%d workers, %s: %v", workers, name, err)
			}
		}
	}
}
