package bootstrap

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/tacit-fhe/tacit/fhe"
)

// Clear does what a Batcher and a Packer do, for a parameter set whose ciphertexts
// everybody can read (fhe.Parameters.Clear): it reads and writes messages instead of
// rotating anything. It is safe for concurrent use.
type Clear struct {
	params     *fhe.Parameters
	bootstraps atomic.Int64
	calls      atomic.Int64
}

// NewClear returns a Clear of a parameter set. The error is a *fhe.ParametersError for
// one that protects its ciphertexts.
func NewClear(p *fhe.Parameters) (*Clear, error) {
	if !p.Clear() {
		return nil, &fhe.ParametersError{Name: p.Name(), Field: "Clear", Reason: "its ciphertexts cannot be read"}
	}
	return &Clear{params: p}, nil
}

// Bootstrap runs the tasks at once, with the checks of Batcher.Bootstrap.
func (c *Clear) Bootstrap(ctx context.Context, tasks []fhe.PBS) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := checkTasks(c.params, tasks); err != nil {
		return err
	}
	for i := range tasks {
		c.params.BootstrapClear(&tasks[i])
	}
	c.bootstraps.Add(int64(len(tasks)))
	c.calls.Add(1)
	return nil
}

// Pack packs at most fhe.MaxSlots ciphertexts.
func (c *Clear) Pack(in []fhe.LWE) (*fhe.Packed, error) {
	if len(in) > fhe.MaxSlots {
		return nil, fmt.Errorf("pack %d ciphertexts: at most %d", len(in), fhe.MaxSlots)
	}
	return c.params.PackClear(in), nil
}

// Stats counts every call as a batch.
func (c *Clear) Stats() Stats { return Stats{Bootstraps: c.bootstraps.Load(), Batches: c.calls.Load()} }

// Full is how many ciphertexts are worth handing over at a time: any number.
func (c *Clear) Full() int { return MaxBatch }

// Close does nothing: there is nothing to wait for.
func (c *Clear) Close() {}
