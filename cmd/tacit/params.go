package main

import (
	"fmt"
	"math"
	"slices"

	"github.com/spf13/cobra"

	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/integer"
	"github.com/tacit-fhe/tacit/fhe/leveled"
)

// paramsView describes a parameter set.
type paramsView struct {
	Name        string `json:"name"`
	Fingerprint string `json:"fingerprint"`
	TestOnly    bool   `json:"test_only"`
	Integers    bool   `json:"integers"`

	Modulus        uint64 `json:"modulus"`
	PolynomialSize int    `json:"polynomial_size"`
	Rank           int    `json:"rank"`
	LWEDimension   int    `json:"lwe_dimension"`
	Unroll         int    `json:"unroll"`
	BlockSize      int    `json:"block_size"`
	MessageBits    int    `json:"message_bits"`
	CarryBits      int    `json:"carry_bits"`

	BootstrapGadget gadgetView `json:"bootstrap_gadget"`
	KeySwitchGadget gadgetView `json:"key_switch_gadget"`
	GLWENoise       int        `json:"glwe_noise_tuniform"`
	LWENoise        int        `json:"lwe_noise_tuniform"`

	NormSquared float64 `json:"norm_squared"`
	Log2Failure float64 `json:"log2_failure_probability"`
	LWEMargin   float64 `json:"lwe_security_margin_bits"`
	GLWEMargin  float64 `json:"glwe_security_margin_bits"`
	Assumption  string  `json:"assumption"`

	Log2Variance map[string]float64 `json:"log2_variance"`

	PublicKeySize     int64 `json:"public_key_size"`
	EvaluationKeySize int64 `json:"evaluation_key_size"`
}

type gadgetView struct {
	BaseLog int `json:"base_log"`
	Levels  int `json:"levels"`
}

func newParamsView(p *fhe.Parameters) paramsView {
	l := p.Literal()
	v := paramsView{
		Name: l.Name, Fingerprint: fmt.Sprintf("%x", p.Fingerprint()), TestOnly: l.TestOnly,
		Modulus: l.Modulus, PolynomialSize: l.PolynomialSize, Rank: l.Rank, LWEDimension: l.LWEDimension,
		Unroll: l.Unroll, BlockSize: l.BlockSize, MessageBits: l.MessageBits, CarryBits: l.CarryBits,
		BootstrapGadget: gadgetView(l.BootstrapGadget), KeySwitchGadget: gadgetView(l.KeySwitchGadget),
		GLWENoise: l.GLWENoise, LWENoise: l.LWENoise,
		NormSquared: l.NormSquared, Log2Failure: p.FailureProbability(l.NormSquared * p.BootstrapVariance()),
		Log2Variance: map[string]float64{
			"fresh": math.Log2(p.FreshVariance()), "public": math.Log2(p.PublicVariance()), "bootstrap": math.Log2(p.BootstrapVariance()),
			"key_switch": math.Log2(p.KeySwitchVariance()), "mod_switch": math.Log2(p.ModSwitchVariance()), "max": math.Log2(p.MaxVariance()),
		},
		PublicKeySize: p.PublicKeySize(), EvaluationKeySize: p.EvaluationKeySize(),
	}
	v.LWEMargin, v.GLWEMargin = p.SecurityMargins()
	v.Assumption = p.Assumption()
	_, err := integer.New(p, nil)
	v.Integers = err == nil
	return v
}

func paramsCommand(u *ui) *cobra.Command {
	var asJSON, vectors bool
	cmd := &cobra.Command{
		Use:   "params [NAME]",
		Short: "Describe the parameter sets",
		Long: `Lists the parameter sets, or describes one.

Margin is how far the errors in the keys are above the security line of the set,
in bits of their standard deviation; test sets are below it. Wrong is the
probability that one bootstrap, of the noisiest linear combination that may
enter it (norm² is the sum of its squared weights), decodes to another message.

The sets of bgv, bfv and ckks come after those of tfhe; --vectors lists them alone.
Modulus is the longest that anything is encrypted under and what 128 bits of
security allow at that ring degree.

JSON, with --vectors or the name of such a set: name, scheme, fingerprint, ring_degree,
slots, levels, plaintext_modulus, log2_scale, log2_modulus, log2_modulus_limit,
sparse_log2_modulus, sparse_log2_modulus_limit, security_source, bootstraps,
public_key_size, evaluation_key_size. Else: a list, or with a name one, of name, fingerprint, test_only, integers,
modulus, polynomial_size, rank, lwe_dimension, unroll, block_size, message_bits,
carry_bits, bootstrap_gadget and key_switch_gadget [base_log, levels],
glwe_noise_tuniform, lwe_noise_tuniform, norm_squared, log2_failure_probability,
lwe_security_margin_bits, glwe_security_margin_bits, assumption, log2_variance
[by step], public_key_size, evaluation_key_size.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: cobra.FixedCompletions(slices.Concat(fhe.PresetNames(), leveled.Names()), cobra.ShellCompDirectiveNoFileComp),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 && slices.Contains(leveled.Names(), args[0]) {
				view, err := newVectorParamsView(args[0])
				if err == nil && asJSON {
					return u.printJSON(view)
				}
				if err == nil {
					u.describeVectorParams([]vectorParamsView{view})
				}
				return err
			}
			sets, err := vectorParamsViews()
			if err != nil {
				return err
			}
			if vectors && len(args) == 0 {
				if asJSON {
					return u.printJSON(sets)
				}
				u.describeVectorParams(sets)
				return nil
			}
			if len(args) == 1 {
				p, err := fhe.Preset(args[0])
				if err != nil {
					return err
				}
				view := newParamsView(p)
				if asJSON {
					return u.printJSON(view)
				}
				u.describeParams(view)
				return nil
			}
			var views []paramsView
			for _, name := range fhe.PresetNames() {
				p, err := fhe.Preset(name)
				if err != nil {
					return err
				}
				views = append(views, newParamsView(p))
			}
			if asJSON {
				return u.printJSON(views)
			}
			u.table(func(row func(...any)) {
				row("NAME", "N", "k", "n", "BITS", "NORM²", "WRONG", "MARGIN", "EVALUATION KEY", "")
				for _, v := range views {
					note := ""
					switch {
					case v.Name == fhe.DefaultPreset:
						note = "default"
					case v.TestOnly:
						note = "insecure, for tests"
					}
					row(v.Name, v.PolynomialSize, v.Rank, v.LWEDimension, fmt.Sprintf("%d+%d", v.MessageBits, v.CarryBits),
						v.NormSquared, power(v.Log2Failure), fmt.Sprintf("%+.2f", min(v.LWEMargin, v.GLWEMargin)), size(v.EvaluationKeySize), note)
				}
			})
			u.printf("\n")
			u.describeVectorParams(sets)
			return nil
		},
	}
	cmd.Flags().BoolVar(&vectors, "vectors", false, "list the sets of bgv, bfv and ckks")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (u *ui) describeParams(v paramsView) {
	u.table(func(row func(...any)) {
		row("name", v.Name)
		row("fingerprint", v.Fingerprint)
		row("modulus", v.Modulus)
		row("polynomial size N", v.PolynomialSize)
		row("GLWE rank k", v.Rank)
		row("LWE dimension n", v.LWEDimension)
		row("key bits of a step", max(v.Unroll, v.BlockSize, 1))
		row("bits of a block", fmt.Sprintf("%d message, %d carry, 1 padding", v.MessageBits, v.CarryBits))
		row("bootstrap gadget", fmt.Sprintf("2^%d × %d", v.BootstrapGadget.BaseLog, v.BootstrapGadget.Levels))
		row("key switch gadget", fmt.Sprintf("2^%d × %d, modulo 2^32", v.KeySwitchGadget.BaseLog, v.KeySwitchGadget.Levels))
		row("noise of the GLWE key", fmt.Sprintf("TUniform(%d), %+.3f bits over the line", v.GLWENoise, v.GLWEMargin))
		row("noise of the LWE key", fmt.Sprintf("TUniform(%d) modulo 2^32, %+.3f bits over the line", v.LWENoise, v.LWEMargin))
		for _, step := range []struct{ key, name string }{
			{"fresh", "secret-key encryption"}, {"public", "public-key encryption"}, {"bootstrap", "bootstrap output"},
			{"key_switch", "key switch"}, {"mod_switch", "modulus switch"}, {"max", "largest into a bootstrap"},
		} {
			row("variance, "+step.name, power(v.Log2Variance[step.key]))
		}
		row("wrong bootstraps", fmt.Sprintf("%s at norm² %v", power(v.Log2Failure), v.NormSquared))
		row("public key", size(v.PublicKeySize))
		row("evaluation key", size(v.EvaluationKeySize))
		row("encrypted integers", map[bool]string{true: "yes", false: "no: they need blocks of 2+2 bits"}[v.Integers])
		row("security", v.Assumption)
	})
}
