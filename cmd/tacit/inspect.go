package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tacit-fhe/tacit/cmd/tacit/internal/inspect"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/leveled"
)

func inspectCommand(u *ui) *cobra.Command {
	var key, passphraseFile string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "inspect FILE...",
		Short: "Describe keys, ciphertexts and jobs",
		Long: `Checks files and says what they hold: kind, parameters, key id, size and SHA-256,
and of ciphertexts how they were made, their types, the bound on the variance of
their error relative to the modulus, and how likely one bootstrap of a block is to
decode wrongly. None of this needs a key.

Of vectors it says the level, which is how often they can be rescaled, the tracked
error, the bits of the modulus that are left, and the precision of ckks.

With the secret key it also measures the error of every block: in standard
deviations of the bound, and in bits below the error that decodes wrongly.

A protected secret key is opened only with --passphrase-file.

JSON: a list of file, kind, size, sha256, parameters [name, fingerprint,
test_only], key_id, and by kind secret_key [protected, opened, created, warning],
evaluation_key [rotations, swap_rows, bootstrapping], migration_key [from_parameters,
from_key_id, log2_failure_probability or log2_sigma], ciphertexts [form, values
[type, log2_variance, log2_failure_probability, blocks [max, measured [error,
sigmas, margin_bits]]]], vectors [scheme, form, length, level, log2_sigma,
log2_bound, scale, room_bits, precision_bits, measured_log2_sigma] or job [json, spec_digest, unbound,
nodes [label, op], outputs].`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			var o inspect.Options
			if passphraseFile != "" {
				o.Passphrase = func() ([]byte, error) { return readPassphrase(passphraseFile) }
			}
			if key != "" {
				data, err := u.readSecretKey(key, passphraseFile)
				if err == nil && isVectorKey(data) {
					o.LeveledKey, err = leveled.UnmarshalSecretKey(data, nil)
					err = inFile(key, err)
				} else if err == nil {
					o.SecretKey, err = fhe.UnmarshalSecretKey(data)
					err = inFile(key, err)
				}
				if err != nil {
					return err
				}
			}
			var reports []*inspect.Report
			for _, path := range args {
				r, err := inspect.File(path, o)
				if err != nil {
					return inFile(path, err)
				}
				reports = append(reports, r)
			}
			if asJSON {
				return u.printJSON(reports)
			}
			for i, r := range reports {
				if i > 0 {
					u.printf("\n")
				}
				u.describe(r)
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&key, "key", "k", "", "secret key, to measure noise")
	env(cmd, "key")
	passphraseFlag(cmd, &passphraseFile)
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (u *ui) describe(r *inspect.Report) {
	u.printf("%s: %s\n", r.File, r.Kind)
	u.table(func(row func(...any)) {
		if p := r.Parameters; p != nil {
			row("  parameters", p.Name+map[bool]string{true: " (insecure, for tests)"}[p.TestOnly])
		}
		if r.KeyID != "" {
			row("  key id", r.KeyID)
		}
		row("  size", size(r.Size))
		row("  sha256", r.Digest)
		if s := r.SecretKey; s != nil {
			row("  protected", map[bool]string{true: "by a passphrase", false: "no"}[s.Protected])
			if s.Created != "" {
				row("  created", s.Created)
			}
			if s.Warning != "" {
				row("  warning", s.Warning)
			}
		}
		if v := r.Values; v != nil {
			row("  form", v.Form)
		}
		if k := r.Evaluation; k != nil {
			row("  rotations", fmt.Sprint(k.Rotations))
			row("  swaps rows", map[bool]string{true: "yes", false: "no"}[k.SwapRows])
			row("  bootstraps", map[bool]string{true: "yes", false: "no"}[k.Bootstrapping])
		}
		if m := r.Migration; m != nil {
			row("  from parameters", m.FromParameters.Name)
			row("  from key", m.FromKeyID)
			what, much := noiseOf(m)
			row("  "+what, much)
		}
		if c := r.Receipt; c != nil {
			row("  job", c.JobID)
			row("  spec", c.SpecDigest)
			row("  computed by", c.EngineVersion+" on "+c.Backend)
			row("  signed by", c.ServiceKey+map[bool]string{false: " (the signature is wrong)"}[c.Signed])
			for i, item := range c.Inputs[:min(len(c.Inputs), maxRows)] {
				row(fmt.Sprintf("  input %d", i), item.Handle+" "+item.Digest)
			}
			for i, item := range c.Outputs[:min(len(c.Outputs), maxRows)] {
				row(fmt.Sprintf("  output %d", i), item.Handle+" "+item.Digest)
			}
		}
		if j := r.Job; j != nil {
			if j.SpecDigest != "" {
				row("  digest of the spec", j.SpecDigest)
			}
			if len(j.Unbound) > 0 {
				row("  to be bound", strings.Join(j.Unbound, ", "))
			}
			row("  outputs", strings.Join(j.Outputs, ", "))
		}
	})
	if r.Values != nil {
		u.describeValues(r.Values)
	}
	if r.Vectors != nil {
		u.describeVectors(r.Vectors)
	}
	if r.Job != nil {
		u.table(func(row func(...any)) {
			row("  node", "operation", "label")
			for i, n := range r.Job.Nodes {
				row(fmt.Sprintf("  %d", i), n.Op, n.Label)
			}
		})
	}
}

func (u *ui) describeVectors(vectors []inspect.VectorReport) {
	u.table(func(row func(...any)) {
		row("  vector", "scheme", "form", "values", "level", "error", "measured", "room", "precision")
		for i, v := range vectors {
			measured, precision := "", "exact"
			if v.Measured != nil {
				measured = power(*v.Measured)
			}
			if v.Precision != nil {
				precision = fmt.Sprintf("%.1f bits", *v.Precision)
			}
			row(fmt.Sprintf("  %d", i), v.Scheme, v.Form, v.Length, v.Level, power(v.LogSigma), measured, fmt.Sprintf("%.1f bits", v.Room), precision)
		}
	})
}

func (u *ui) describeValues(v *inspect.ValuesReport) {
	u.table(func(row func(...any)) {
		row("  value", "type", "blocks", "variance", "wrong per bootstrap")
		for i, value := range v.Values {
			variance := "0 (a plaintext)"
			if value.Log2Variance != nil {
				variance = power(*value.Log2Variance)
			}
			row(fmt.Sprintf("  %d", i), value.Type, len(value.Blocks), variance, power(value.Log2Failure))
		}
	})
	if len(v.Values) == 0 || v.Values[0].Blocks[0].Measured == nil {
		return
	}
	u.table(func(row func(...any)) {
		row("  value", "block", "measured error", "of the bound", "margin")
		for i, value := range v.Values {
			for j, b := range value.Blocks {
				m := b.Measured
				row(fmt.Sprintf("  %d", i), j, fmt.Sprintf("%+.3g", m.Error), fmt.Sprintf("%+.2f σ", m.Sigmas), fmt.Sprintf("%.1f bits", m.MarginBits))
			}
		}
	})
}
