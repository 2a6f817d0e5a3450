package main

import (
	"bytes"
	"encoding/hex"
	"errors"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	noisebench "github.com/tacit-fhe/tacit/bench/noise"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/keyfile"
)

func benchCommand(u *ui) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure what is claimed",
	}
	cmd.AddCommand(benchNoiseCommand(u))
	return cmd
}

func benchNoiseCommand(u *ui) *cobra.Command {
	var params, seed, out string
	var asJSON bool
	o := noisebench.Options{Workers: runtime.GOMAXPROCS(0)}
	cmd := &cobra.Command{
		Use:   "noise",
		Short: "Measure the noise of every step against its prediction",
		Long: `Measures the noise of encryption, linear combination, key switch, modulus switch
and bootstrap with real keys, and compares it with what the parameters predict.
The exit code is 1 when a prediction is outside the 99 % interval of what was
measured. The same seed gives the same figures.

JSON: parameters, cpu, seed, samples, confidence, keys, steps [name, formula,
pooled, kurtosis, mean, mean_interval, mean_inside, per_key], decisions.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := hex.DecodeString(seed)
			switch {
			case seed == "":
				o.Seed = fhe.NewSeed()
			case err != nil || len(s) != len(o.Seed):
				return wrongUsage(cmd, "--seed is not %d hexadecimal digits", 2*len(o.Seed))
			default:
				o.Seed = [fhe.SeedSize]byte(s)
			}
			p, err := u.preset(params)
			if err != nil {
				return err
			}
			o.Preset = p.Name()
			bar := u.progress("measuring")
			o.Progress = func(done, total int) { bar.share(int64(done), int64(total)) }
			report, err := noisebench.Run(cmd.Context(), o)
			bar.end()
			if err != nil {
				if errors.As(err, new(*noisebench.OptionError)) {
					return &usageError{cmd, err}
				}
				return err
			}
			var text bytes.Buffer
			if asJSON {
				err = writeJSON(&text, report)
			} else {
				err = report.Markdown(&text)
			}
			if err == nil && out != "" {
				err = keyfile.WritePublic(out, text.Bytes())
			} else if err == nil {
				_, err = u.out.Write(text.Bytes())
			}
			if err != nil {
				return err
			}
			if outside := report.Outside(); len(outside) > 0 {
				return errors.New("outside the interval: " + strings.Join(outside, ", "))
			}
			return nil
		},
	}
	flags := cmd.Flags()
	paramsFlag(cmd, &params)
	flags.IntVar(&o.Samples, "samples", noisebench.DefaultSamples, "samples of each step, over all keys")
	flags.IntVar(&o.Keys, "keys", noisebench.DefaultKeys, "key sets")
	flags.IntVar(&o.Workers, "workers", o.Workers, "cores to use")
	flags.StringVar(&seed, "seed", "", "64 hexadecimal digits that all keys and ciphertexts follow from; random if absent")
	flags.StringVarP(&out, "out", "o", "", "file to write instead of printing")
	jsonFlag(cmd, &asJSON)
	return cmd
}
