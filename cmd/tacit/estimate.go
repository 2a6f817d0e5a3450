package main

import (
	"context"
	"encoding/hex"

	"github.com/spf13/cobra"

	"github.com/tacit-fhe/tacit/coprocessor/client"
	"github.com/tacit-fhe/tacit/coprocessor/graph"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// estimateView is what a job would be.
type estimateView struct {
	SpecDigest string             `json:"spec_digest"`
	Strategy   string             `json:"strategy"`
	Bootstraps uint64             `json:"bootstraps"`
	Depth      uint64             `json:"depth"`
	Complete   bool               `json:"complete"` // the types of all inputs are known
	Nodes      []nodeEstimateView `json:"nodes"`
	Outputs    []ciphertextView   `json:"outputs"`
	Missing    []pendingView      `json:"missing"`
}

type nodeEstimateView struct {
	Node       int     `json:"node"`
	Label      string  `json:"label,omitempty"`
	Type       string  `json:"type"`
	Bootstraps uint64  `json:"bootstraps"`
	Depth      uint64  `json:"depth"`
	Needed     bool    `json:"needed"`
	SameAs     *uint32 `json:"same_as,omitempty"`
}

// pendingView is an input that is not there yet.
type pendingView struct {
	Handle string `json:"handle"`
	Type   string `json:"type,omitempty"`
}

func newEstimateView(spec *tacitv1.JobSpec, e *tacitv1.EstimateJobResponse) estimateView {
	v := estimateView{
		SpecDigest: hex.EncodeToString(e.SpecDigest), Strategy: graph.StrategyName(e.Strategy), Bootstraps: e.Bootstraps, Depth: e.Depth, Complete: len(e.Nodes) == len(spec.Nodes),
		Nodes: []nodeEstimateView{}, Outputs: []ciphertextView{}, Missing: []pendingView{},
	}
	for i, n := range e.Nodes {
		label := ""
		if i < len(spec.Nodes) {
			label = spec.Nodes[i].GetLabel()
		}
		v.Nodes = append(v.Nodes, nodeEstimateView{i, label, graph.TypeName(n.GetType()), n.Bootstraps, n.Depth, n.Needed, n.SameAs})
	}
	for _, o := range e.Outputs {
		v.Outputs = append(v.Outputs, newCiphertextView(o))
	}
	for _, m := range e.Missing {
		p := pendingView{Handle: hex.EncodeToString(m.Handle)}
		if m.Type != nil {
			p.Type = graph.TypeName(m.GetType())
		}
		v.Missing = append(v.Missing, p)
	}
	return v
}

func jobEstimateCommand(u *ui) *cobra.Command {
	var in jobInput
	cmd := request(u, &cobra.Command{
		Use:   "estimate JOBFILE",
		Short: "Say what a job would cost, without computing it",
		Long: `Prints how many bootstraps a job takes, how many of them have to wait for each other,
the handles and types of its results, and the inputs that are not there yet. The
bootstraps are what the job is charged with. The job file and --bind are those of
'tacit submit'; files of ciphertexts are uploaded. Where the type of a missing input
is not known, only what is missing can be told.

JSON: spec_digest, strategy, bootstraps, depth, complete, nodes [node, label, type, bootstraps,
depth, needed, same_as], outputs [handle, type, key_id], missing [handle, type].`,
		Args:    cobra.ExactArgs(1),
		PreRunE: func(cmd *cobra.Command, args []string) error { return in.read(cmd, args[0]) },
	}, func(ctx context.Context, c *client.Client, _ []string) (v estimateView, err error) {
		spec, expected, err := in.prepare(ctx, u, c)
		if err != nil {
			return v, err
		}
		e, err := c.Estimate(ctx, &tacitv1.EstimateJobRequest{Spec: spec, Expected: expected})
		if err == nil {
			v = newEstimateView(spec, e)
		}
		return v, in.locate(err)
	}, u.printEstimate)
	in.flags(cmd)
	return cmd
}

func (u *ui) printEstimate(v estimateView) {
	if v.Complete {
		u.printf("%d bootstraps, %d on the longest chain, strategy %s\n", v.Bootstraps, v.Depth, v.Strategy)
	} else {
		u.printf("the cost is not known: inputs of unknown types are missing\n")
	}
	u.printCiphertexts(v.Outputs)
	for _, m := range v.Missing {
		u.printf("missing %s %s\n", m.Handle, m.Type)
	}
}
