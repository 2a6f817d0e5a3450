package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tacit-fhe/tacit/accel/cpu"
	"github.com/tacit-fhe/tacit/cmd/tacit/internal/inspect"
	"github.com/tacit-fhe/tacit/coprocessor"
	"github.com/tacit-fhe/tacit/coprocessor/client"
	"github.com/tacit-fhe/tacit/coprocessor/graph"
	"github.com/tacit-fhe/tacit/coprocessor/receipt"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/keyfile"
	"github.com/tacit-fhe/tacit/fhe/leveled"
)

// receiptView is a receipt and what was found out about it.
type receiptView struct {
	Verdict       string     `json:"verdict"`
	Reason        string     `json:"reason,omitempty"`
	JobID         string     `json:"job_id"`
	ServiceKey    string     `json:"service_key"`
	SpecDigest    string     `json:"spec_digest"`
	KeyID         string     `json:"key_id"`
	Fingerprint   string     `json:"fingerprint"`
	EngineVersion string     `json:"engine_version"`
	Backend       string     `json:"backend"`
	RecomputedOn  string     `json:"recomputed_on,omitempty"`
	Strategy      string     `json:"strategy,omitempty"` // of the job that was computed again
	Inputs        []itemView `json:"inputs"`
	Outputs       []itemView `json:"outputs"`
}

type itemView struct {
	Handle string `json:"handle"`
	Digest string `json:"sha256"`
}

func newItemViews(items []receipt.Item) []itemView {
	views := make([]itemView, len(items))
	for i := range items {
		views[i] = itemView{hex.EncodeToString(items[i].Handle[:]), hex.EncodeToString(items[i].Digest[:])}
	}
	return views
}

// The verdicts on a receipt.
const (
	verdictVerified = "verified" // computed again with the same results
	verdictSigned   = "signed"   // the signature holds, nothing was computed
	verdictRefuted  = "refuted"
)

// refutedError is a receipt that does not hold.
type refutedError struct{ err error }

func (e *refutedError) Error() string { return "the receipt does not hold: " + e.err.Error() }

func (e *refutedError) Unwrap() error { return e.err }

func verifyCommand(u *ui) *cobra.Command {
	var conn connection
	var key, service string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify RECEIPT [RESULT...]",
		Short: "Check a receipt, by computing its job again",
		Long: `Checks the signature of a receipt, that each file RESULT is one of its outputs as
'tacit fetch' writes them, and, with --evaluation-key, the computation itself:
the job and its inputs are fetched from the server, compared with the digests in
the receipt, and computed again on this machine. Whatever processor either side
has, the results must be the same bit for bit, here and on the server.

The signature is checked against --service-key, which should come from the
operator by a way other than the server. Without it the server is asked, and
believed, with a warning.

The verdict is verified when the job was computed again, signed when without
--evaluation-key only the signature and the files were checked, and refuted, with
exit code 6, when something is not what the receipt says.

JSON: verdict, reason, job_id, service_key, spec_digest, key_id, fingerprint,
engine_version, backend, recomputed_on, strategy, inputs and outputs [handle,
sha256].`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			pinned, err := parseServiceKey(service)
			if err != nil {
				return wrongUsage(cmd, "--service-key: %v", err)
			}
			if err := checkKind(args[0], inspect.Receipt); err != nil {
				return err
			}
			r, err := readAs(args[0], receipt.Decode)
			if err != nil {
				return err
			}
			v := receiptView{
				JobID: r.JobID, ServiceKey: hex.EncodeToString(r.ServiceKey[:]), SpecDigest: hex.EncodeToString(r.SpecDigest[:]),
				KeyID: hex.EncodeToString(r.KeyID[:]), Fingerprint: hex.EncodeToString(r.Fingerprint[:]),
				EngineVersion: r.EngineVersion, Backend: r.Backend, Inputs: newItemViews(r.Inputs), Outputs: newItemViews(r.Outputs),
			}
			err = u.verify(cmd.Context(), r, &v, &conn, pinned, args[1:], key)
			var refuted *refutedError
			if err != nil && !errors.As(err, &refuted) {
				return err
			}
			if refuted != nil {
				v.Verdict, v.Reason = verdictRefuted, refuted.err.Error()
			}
			if asJSON {
				return errors.Join(u.printJSON(v), err)
			}
			u.printReceipt(v)
			return err
		},
	}
	flags := cmd.Flags()
	connectionFlags(cmd, &conn)
	flags.StringVar(&key, "evaluation-key", "", "evaluation key of the job, to compute it again")
	flags.StringVar(&service, "service-key", "", "public key of the service, 64 hexadecimal digits")
	env(cmd, "service-key")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// printReceipt prints a verdict and what it is about.
func (u *ui) printReceipt(v receiptView) {
	switch v.Verdict {
	case verdictVerified:
		u.printf("verified: computed again on %s with the same results, bit for bit\n", v.RecomputedOn)
	case verdictSigned:
		u.printf("signed: the signature holds; the job was not computed again\n")
	case verdictRefuted:
		u.printf("refuted: %s\n", v.Reason)
	}
	u.table(func(row func(...any)) {
		row("job", v.JobID)
		row("service key", v.ServiceKey)
		row("computed by", v.EngineVersion+" on "+v.Backend)
		if v.Strategy != "" {
			row("strategy", v.Strategy)
		}
		row("spec", v.SpecDigest)
		row("key", v.KeyID)
		for i, o := range v.Outputs[:min(len(v.Outputs), maxRows)] {
			row(fmt.Sprintf("output %d", i), o.Handle, o.Digest)
		}
	})
	if more := len(v.Outputs) - maxRows; more > 0 {
		u.printf("and %d more outputs, which --json shows\n", more)
	}
}

// parseServiceKey reads a public key, or nothing.
func parseServiceKey(text string) (*[32]byte, error) {
	if text == "" {
		return nil, nil
	}
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != 32 {
		return nil, errors.New("want 64 hexadecimal digits")
	}
	return (*[32]byte)(b), nil
}

// verify checks a receipt and sets the verdict. What contradicts the receipt is a
// *refutedError; every other error leaves the question open.
func (u *ui) verify(ctx context.Context, r *receipt.Receipt, v *receiptView, conn *connection, service *[32]byte, files []string, key string) error {
	var c *client.Client
	if service == nil || key != "" {
		var err error
		if c, err = conn.dial(); err != nil {
			return err
		}
		defer c.Close()
	}
	if service == nil {
		info, err := c.Info(ctx)
		if err != nil {
			return err
		}
		if len(info.ServiceKey) != 32 {
			return errors.New("the server has no key to sign receipts with")
		}
		service = (*[32]byte)(info.ServiceKey)
		for _, k := range info.ServiceKeys { // one of before
			if string(k.PublicKey) == string(r.ServiceKey[:]) {
				service = &r.ServiceKey
			}
		}
		u.warn("the signature is checked against the key %x, which %s itself names; pin it with --service-key", *service, conn.server)
	}
	if err := r.Verify(*service); err != nil {
		return &refutedError{err}
	}
	for _, path := range files {
		if err := checkResult(r, path); err != nil {
			return err
		}
	}
	v.Verdict = verdictSigned
	if key == "" {
		return nil
	}
	return u.recompute(ctx, c, r, v, key)
}

// checkResult checks that a file holds an output of the job.
func checkResult(r *receipt.Receipt, path string) error {
	data, err := readFile(path)
	if err != nil {
		return err
	}
	digest := sha256.Sum256(data)
	if !slices.ContainsFunc(r.Outputs, func(o receipt.Item) bool { return o.Digest == digest }) {
		return &refutedError{inFile(path, fmt.Errorf("no output has its digest %x", digest))}
	}
	return nil
}

// recompute computes the job again, and compares what the server holds.
func (u *ui) recompute(ctx context.Context, c *client.Client, r *receipt.Receipt, v *receiptView, key string) error {
	p, err := fhe.PresetByFingerprint(r.Fingerprint)
	if err != nil && leveled.ByFingerprint(r.Fingerprint) != nil {
		p, err = fhe.Preset(fhe.DefaultPreset) // the key of vectors tells its own
	}
	if err != nil {
		return err
	}
	backend, err := cpu.New()
	if err != nil {
		return err
	}
	defer backend.Close()
	f, err := os.Open(key)
	if err != nil {
		return err
	}
	defer f.Close()
	spec, err := c.JobSpec(ctx, r.JobID)
	if err != nil {
		return err
	}
	held, _, err := c.StatUnder(ctx, r.KeyID, handles(r.Outputs)...)
	if err != nil {
		return err
	}
	for _, ct := range held {
		i := slices.IndexFunc(r.Outputs, func(o receipt.Item) bool { return string(o.Handle[:]) == string(ct.Handle) })
		if i >= 0 && string(r.Outputs[i].Digest[:]) != string(ct.Digest) {
			return &refutedError{&coprocessor.AuditError{What: fmt.Sprintf("output %d on the server", i), Said: v.Outputs[i].Digest, Got: hex.EncodeToString(ct.Digest)}}
		}
	}
	bar := u.progress("computing")
	defer bar.end()
	err = coprocessor.Recompute(ctx, r, coprocessor.Audit{
		Params: p, Backend: backend, Key: f, Spec: spec,
		Record: func(ctx context.Context, h [32]byte) ([]byte, error) {
			cts, err := c.FetchUnder(ctx, r.KeyID, h)
			if err != nil {
				return nil, err
			}
			return cts[0].Record, nil
		},
	})
	var differs *coprocessor.AuditError
	if errors.As(err, &differs) {
		return &refutedError{err}
	}
	if err != nil {
		return err
	}
	v.Verdict, v.RecomputedOn, v.Strategy = verdictVerified, backend.Info().Name, graph.StrategyName(spec.GetStrategy())
	return nil
}

func handles(items []receipt.Item) [][32]byte {
	out := make([][32]byte, len(items))
	for i := range items {
		out[i] = items[i].Handle
	}
	return out
}

func jobReceiptCommand(u *ui) *cobra.Command {
	var conn connection
	var out string
	cmd := &cobra.Command{
		Use:   "receipt ID --out FILE",
		Short: "Get the signed receipt of a job",
		Long: `Gets the receipt of a job that has succeeded: what the server signed about what it
computed from what. 'tacit verify' checks it.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := conn.dial()
			if err != nil {
				return err
			}
			defer c.Close()
			job, err := c.Job(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := ended(newJobView(job)); err != nil {
				return err
			}
			if job.Receipt == nil {
				return fmt.Errorf("job %s has no receipt: it was computed by an older version", job.Id)
			}
			r, err := receipt.Decode(job.Receipt.Container)
			if err != nil {
				return &client.MismatchError{What: "job " + job.Id, Reason: err.Error()}
			}
			// The owner of a job may leave its name out of the id.
			if r.JobID != job.Id && !strings.HasSuffix(r.JobID, "."+job.Id) {
				return &client.MismatchError{What: "job " + job.Id, Reason: "the receipt is of job " + r.JobID}
			}
			if err := keyfile.WritePublic(out, job.Receipt.Container); err != nil {
				return err
			}
			u.printf("%s  %s, %s, signed by %x\n", out, count(len(r.Inputs), "input"), count(len(r.Outputs), "output"), r.ServiceKey)
			return nil
		},
	}
	connectionFlags(cmd, &conn)
	cmd.Flags().StringVarP(&out, "out", "o", "", "file for the receipt")
	required(cmd, "out")
	return cmd
}
