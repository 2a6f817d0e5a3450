package coprocessor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"math"
	"runtime"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/coprocessor/graph"
	"github.com/tacit-fhe/tacit/coprocessor/receipt"
	"github.com/tacit-fhe/tacit/coprocessor/store"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/integer"
	"github.com/tacit-fhe/tacit/fhe/leveled"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// receipt signs what a run computed.
func (s *Server) receipt(ctx context.Context, jobID string, r *run, outputs []store.Ciphertext) (*receipt.Receipt, error) {
	key, err := s.signing(ctx, s.signer.file.Get())
	if err != nil {
		return nil, err
	}
	return receipt.Sign(receipt.Statement{
		JobID: jobID, SpecDigest: r.graph.Digest(), KeyID: r.graph.KeyID(), Fingerprint: r.engine.fingerprint(),
		EngineVersion: s.opts.Version, Backend: s.opts.Backend.Info().Name,
		Inputs: r.read, Outputs: items(outputs),
	}, key)
}

// describeReceipt is a receipt as clients see it.
func describeReceipt(r *receipt.Receipt) *tacitv1.Receipt {
	return &tacitv1.Receipt{
		Container: r.Encode(), JobId: r.JobID, SpecDigest: r.SpecDigest[:], KeyId: r.KeyID[:], ParameterFingerprint: r.Fingerprint[:],
		EngineVersion: r.EngineVersion, Backend: r.Backend, ServiceKey: r.ServiceKey[:],
		Inputs: describeItems(r.Inputs), Outputs: describeItems(r.Outputs),
	}
}

func describeItems(items []receipt.Item) []*tacitv1.ReceiptItem {
	out := make([]*tacitv1.ReceiptItem, len(items))
	for i := range items {
		out[i] = &tacitv1.ReceiptItem{Handle: items[i].Handle[:], Digest: items[i].Digest[:]}
	}
	return out
}

// Audit is what it takes to compute a job again. Params, Backend, Key, Spec and
// Record are required.
type Audit struct {
	// Params is the parameter set of the key, or any where the key is one of vectors.
	Params *fhe.Parameters
	// Backend computes; any gives the same bits.
	Backend accel.Backend
	// Workers is the number of cores that bootstrap; 0 means all.
	Workers int
	// Key yields the container of the evaluation key.
	Key io.Reader
	// Spec is the spec of the job.
	Spec *tacitv1.JobSpec
	// Record returns the record of a stored ciphertext that the job reads. It is
	// not believed: the receipt has the digest of what was read.
	Record func(ctx context.Context, handle [32]byte) ([]byte, error)
	// Limits bounds the spec; the zero value means graph.DefaultLimits.
	Limits graph.Limits
}

// AuditError reports that what a receipt says is not what is there or what
// computing again gives.
type AuditError struct {
	What      string // such as spec, or output 3
	Said, Got string
}

func (e *AuditError) Error() string {
	return fmt.Sprintf("%s: the receipt says %s, found %s", e.What, e.Said, e.Got)
}

// Recompute computes the job of a receipt again from its spec and its inputs and
// compares everything the receipt says of it, the digests of the outputs bit for
// bit. What differs is an *AuditError. Signatures are not its business.
func Recompute(ctx context.Context, r *receipt.Receipt, a Audit) error {
	if leveled.ByFingerprint(r.Fingerprint) == nil { // of vectors, the key tells
		if err := same("parameters", r.Fingerprint, a.Params.Fingerprint()); err != nil {
			return err
		}
	}
	if err := same("spec", r.SpecDigest, graph.SpecDigest(a.Spec)); err != nil {
		return err
	}
	if a.Limits == (graph.Limits{}) {
		a.Limits = graph.DefaultLimits()
	}
	if a.Workers == 0 {
		a.Workers = runtime.GOMAXPROCS(0)
	}
	costs, err := integer.New(a.Params, nil)
	if err != nil {
		return err
	}
	estimator := newEstimator(costs, a.Spec)
	g, err := graph.Validate(ctx, a.Spec, func(ctx context.Context, h graph.Handle) (graph.Ciphertext, error) {
		record, err := a.Record(ctx, h)
		if err != nil {
			return graph.Ciphertext{}, err
		}
		return estimator.stored(h, record, a.Params)
	}, estimator.cost, a.Limits)
	if err != nil {
		return err
	}
	if err := same("key id", r.KeyID, g.KeyID()); err != nil {
		return err
	}
	read := make([]receipt.Item, 0, len(g.Inputs()))
	for _, h := range g.Inputs() {
		read = append(read, receipt.Item{Handle: h, Digest: sha256.Sum256(estimator.records[h])})
	}
	if err := sameItems("input", r.Inputs, read); err != nil {
		return err
	}
	e, err := newEngine(a.Key, g.KeyID(), a.Params, a.Backend, a.Workers)
	if err != nil {
		return err
	}
	defer e.close()
	if err := same("parameters", r.Fingerprint, e.fingerprint()); err != nil {
		return err
	}
	again := newRun(g, nil, e, estimator.records, slog.New(slog.DiscardHandler))
	if err := again.load(); err != nil {
		return err
	}
	outputs, err := again.execute(ctx, e.parallel(), math.MaxInt64)
	if err != nil {
		return err
	}
	return sameItems("output", r.Outputs, items(outputs))
}

func same(what string, said, got [32]byte) error {
	if said != got {
		return &AuditError{what, hex.EncodeToString(said[:]), hex.EncodeToString(got[:])}
	}
	return nil
}

func sameItems(what string, said, got []receipt.Item) error {
	if len(said) != len(got) {
		return &AuditError{what + "s", fmt.Sprint(len(said)), fmt.Sprint(len(got))}
	}
	for i := range said {
		if err := same(fmt.Sprintf("handle of %s %d", what, i), said[i].Handle, got[i].Handle); err != nil {
			return err
		}
		if err := same(fmt.Sprintf("%s %d", what, i), said[i].Digest, got[i].Digest); err != nil {
			return err
		}
	}
	return nil
}
