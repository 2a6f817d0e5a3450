package main

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tacit-fhe/tacit/accel/cpu"
	"github.com/tacit-fhe/tacit/bench/micro"
	noisebench "github.com/tacit-fhe/tacit/bench/noise"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/keyfile"
)

func benchCommand(u *ui) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure what is claimed",
	}
	cmd.AddCommand(benchMicroCommand(u), benchNoiseCommand(u))
	return cmd
}

func benchMicroCommand(u *ui) *cobra.Command {
	var names []string
	var out string
	var asJSON bool
	var o micro.Options
	cmd := &cobra.Command{
		Use:   "micro",
		Short: "Time transforms, key switches and bootstraps",
		Long: `Times key generation, transforms, a step of the blind rotation, the key switch and
whole bootstraps by batch size on one core, their throughput on several, and packing
for rest. Every operation is checked before it is timed. Bind the process to cores to compare
machines, and compare figures of one run.

JSON: cpu, go, samples, sets [parameters, figures [name, batch, workers, min,
median, p95]], in seconds per ciphertext.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			backend, err := cpu.New()
			if err != nil {
				return err
			}
			o.Backend, o.Params = backend, nil
			for _, name := range names {
				p, err := u.preset(name)
				if err != nil {
					return err
				}
				o.Params = append(o.Params, p)
			}
			bar := u.progress("measuring")
			o.Progress = func(done, total int) { bar.share(int64(done), int64(total)) }
			report, err := micro.Run(cmd.Context(), o)
			bar.end()
			if err != nil {
				return err
			}
			return u.writeReport(report, asJSON, out)
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&names, "params", []string{fhe.DefaultPreset}, "parameter sets")
	complete(cmd, "params", fhe.PresetNames()...)
	flags.IntSliceVar(&o.Batches, "batch", micro.DefaultBatches, "batch sizes")
	flags.IntSliceVar(&o.Workers, "workers", micro.DefaultWorkers, "numbers of cores of the throughput figures")
	flags.IntVar(&o.Samples, "samples", micro.DefaultSamples, "samples of each figure")
	flags.StringVarP(&out, "out", "o", "", "file to write instead of printing")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// writeReport writes a report to a file, or prints it.
func (u *ui) writeReport(report interface{ Markdown(io.Writer) error }, asJSON bool, file string) error {
	var text bytes.Buffer
	err := report.Markdown(&text)
	if asJSON {
		text.Reset()
		err = writeJSON(&text, report)
	}
	if err != nil {
		return err
	}
	if file != "" {
		return keyfile.WritePublic(file, text.Bytes())
	}
	_, err = u.out.Write(text.Bytes())
	return err
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
measured, which by chance one in a hundred is when all is right: there are some
twenty in a run. The same seed gives the same figures.

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
			if err := u.writeReport(report, asJSON, out); err != nil {
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
