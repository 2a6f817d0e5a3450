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
	"github.com/tacit-fhe/tacit/accel/cuda"
	"github.com/tacit-fhe/tacit/bench/gpu"
	"github.com/tacit-fhe/tacit/bench/micro"
	noisebench "github.com/tacit-fhe/tacit/bench/noise"
	"github.com/tacit-fhe/tacit/bench/ops"
	"github.com/tacit-fhe/tacit/cmd/tacit/internal/device"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/integer"
	"github.com/tacit-fhe/tacit/fhe/keyfile"
)

func benchCommand(u *ui) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure what is claimed",
	}
	cmd.AddCommand(
		benchListCommand(u), benchPeersCommand(u), benchRunCommand(u), benchReportCommand(u), benchCompareCommand(u),
		benchMicroCommand(u), benchNoiseCommand(u), benchOpsCommand(u), benchGPUCommand(u), benchLoadCommand(u),
	)
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

JSON: cpu, go, samples, sets [parameters, clock_ghz, figures [name, batch, workers,
min, median, p95]], in seconds per ciphertext.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			backend, err := cpu.New()
			if err != nil {
				return err
			}
			o.Backend = backend
			if o.Params, err = u.presets(names); err != nil {
				return err
			}
			report, err := measured(u, "measuring", &o.Progress, func() (*micro.Report, error) { return micro.Run(cmd.Context(), o) })
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
	reportFlags(cmd, &out, &asJSON)
	return cmd
}

func benchGPUCommand(u *ui) *cobra.Command {
	var names []string
	var name, out, save string
	var asJSON bool
	var o gpu.Options
	cmd := &cobra.Command{
		Use:   "gpu",
		Short: "Time bootstraps and transforms on GPUs",
		Long: `Times key switch and bootstrap on GPUs by batch size and kernel, transforms, and the
loading of keys, and compares the rates with the bound that the double-precision
instructions set. Transforms are also timed with the way there and back, which tells how
many cores the leveled schemes would gain by it. Before that, bootstraps are compared with those of the processor bit
for bit, --compare of them with the first parameter set.

JSON: devices, driver, kernels (SHA-256 of the PTX), commit, cpu, go, samples, sets
[parameters, key_bytes, key_load, bound, latency_bound, bytes_up, bytes_down, compared,
figures [kernel, batch, min, median, p95, per_second, share]], rings [n, batch, per_second,
moved, core], in seconds per call. What was measured before an error or a signal is written
as well.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.Params, err = u.presets(names); err != nil {
				return err
			}
			backend, _, err := u.openDevice(cmd, name, u.warnDevice)
			if err != nil {
				return err
			}
			defer backend.Close()
			var ok bool
			if o.Backend, ok = backend.(*cuda.Backend); !ok {
				return wrongUsage(cmd, "--device is no GPU")
			}
			if o.Host, err = cpu.New(); err != nil {
				return err
			}
			report, err := measured(u, "measuring", &o.Progress, func() (*gpu.Report, error) { return gpu.Run(cmd.Context(), o) })
			if report == nil {
				return err
			}
			if save != "" {
				err = errors.Join(err, u.writeReport(report, true, save))
			}
			return errors.Join(err, u.writeReport(report, asJSON, out))
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&name, "device", device.CUDA, "cuda, or cuda:0,1")
	env(cmd, "device")
	complete(cmd, "device", device.CUDA)
	flags.StringSliceVar(&names, "params", []string{fhe.DefaultPreset, "tacit-2m2c-v1", "tacit-2m2c-block3-v1"}, "parameter sets")
	complete(cmd, "params", fhe.PresetNames()...)
	flags.IntSliceVar(&o.Batches, "batch", gpu.DefaultBatches, "batch sizes")
	flags.IntSliceVar(&o.Rings, "ring", gpu.DefaultRings, "dimensions of transforms")
	flags.IntVar(&o.Samples, "samples", gpu.DefaultSamples, "samples of each figure")
	flags.IntVar(&o.Compare, "compare", 1000, "bootstraps to compare with the processor")
	flags.StringVar(&save, "save", "", "file to write as JSON besides")
	reportFlags(cmd, &out, &asJSON)
	return cmd
}

func benchOpsCommand(u *ui) *cobra.Command {
	var params, typeName, strategy, device, out string
	var names []string
	var count, asJSON bool
	o := ops.Options{}
	cmd := &cobra.Command{
		Use:   "ops",
		Short: "Count the bootstraps of operations, or time them",
		Long: `With --count, prints the bootstraps and the depth of every operation, type and
strategy, as the evaluator computes them, and first the budgets: what the commonest
ones may cost, and why where one costs more. Without, times operations on encrypted
operands with a new key set, many at a time, after their results were checked.

JSON: parameters, cpu, go, concurrency, rounds, budgets [op, operands, type,
bootstraps, depth, throughput [bootstraps, depth], latency [bootstraps, depth],
note], rows [op, operands, type, strategy, cost [bootstraps, depth], seconds [min,
median, max], per_second].`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := u.preset(params)
			if err != nil {
				return err
			}
			var report *ops.Report
			if count {
				report, err = ops.Count(p)
			} else {
				report, err = u.timeOps(cmd, p, o, names, typeName, strategy, device)
			}
			if err != nil {
				return err
			}
			return u.writeReport(report, asJSON, out)
		},
	}
	flags := cmd.Flags()
	paramsFlag(cmd, &params)
	flags.BoolVar(&count, "count", false, "count instead of timing")
	flags.StringSliceVar(&names, "op", nil, "operations to time, such as add,mul")
	flags.StringVar(&typeName, "type", integer.Uint64.String(), "type to time them on")
	flags.StringVar(&strategy, "strategy", integer.Throughput.String(), "throughput or latency")
	deviceFlag(cmd, &device)
	flags.IntVar(&o.Workers, "workers", 0, "cores to use, or to help a GPU with; 0 is all")
	flags.IntVar(&o.Concurrency, "concurrency", 0, "operations at a time; 0 is enough to fill the batches")
	flags.IntVar(&o.Rounds, "rounds", 0, "how often that many run; 0 is 3")
	reportFlags(cmd, &out, &asJSON)
	complete(cmd, "strategy", integer.Throughput.String(), integer.Latency.String())
	return cmd
}

// timeOps reads what is to be timed and times it.
func (u *ui) timeOps(cmd *cobra.Command, p *fhe.Parameters, o ops.Options, names []string, typeName, strategy, device string) (*ops.Report, error) {
	for _, name := range names {
		op, err := integer.ParseOp(name)
		if err != nil {
			return nil, &usageError{cmd, err}
		}
		o.Ops = append(o.Ops, op)
	}
	t, err := integer.ParseType(typeName)
	if err != nil {
		return nil, &usageError{cmd, err}
	}
	switch strategy {
	case integer.Throughput.String():
	case integer.Latency.String():
		o.Strategy = integer.Latency
	default:
		return nil, &usageError{cmd, &choiceError{"--strategy", strategy, "throughput or latency"}}
	}
	backend, _, err := u.openDevice(cmd, device, u.warnDevice)
	if err != nil {
		return nil, err
	}
	defer backend.Close()
	o.Params, o.Backend, o.Type = p, backend, t
	return measured(u, "measuring", &o.Progress, func() (*ops.Report, error) { return ops.Run(cmd.Context(), o) })
}

// presets are parameter sets by name.
func (u *ui) presets(names []string) (all []*fhe.Parameters, err error) {
	for _, name := range names {
		p, err := u.preset(name)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// measured runs a measurement and shows how far it is, as it tells the function in its
// options.
func measured[R any](u *ui, what string, progress *func(done, total int), run func() (R, error)) (R, error) {
	bar := u.progress(what)
	defer bar.end()
	*progress = func(done, total int) { bar.share(int64(done), int64(total)) }
	return run()
}

// reportFlags adds those of commands that write a report.
func reportFlags(cmd *cobra.Command, out *string, asJSON *bool) {
	cmd.Flags().StringVarP(out, "out", "o", "", "file to write instead of printing")
	jsonFlag(cmd, asJSON)
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
		Long: `Measures the noise of encryption, linear combination, key switch, modulus switch,
packing and bootstrap with real keys, and compares it with what the parameters predict.
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
			report, err := measured(u, "measuring", &o.Progress, func() (*noisebench.Report, error) { return noisebench.Run(cmd.Context(), o) })
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
	reportFlags(cmd, &out, &asJSON)
	return cmd
}
