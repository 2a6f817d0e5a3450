package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tacit-fhe/tacit/cmd/tacit/internal/inspect"
	"github.com/tacit-fhe/tacit/cmd/tacit/internal/jobfile"
	"github.com/tacit-fhe/tacit/coprocessor/client"
	"github.com/tacit-fhe/tacit/coprocessor/graph"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

func submitCommand(u *ui) *cobra.Command {
	var conn connection
	var in jobInput
	var id, out string
	var wait, asJSON bool
	var priority int32
	var deadline, waitInputs time.Duration
	cmd := &cobra.Command{
		Use:   "submit JOBFILE",
		Short: "Have a server compute a job",
		Long: `Submits a job, in the text form or as a JobSpec in protojson. In the text form,
one operation stands on each line:

  ok       = ge(from, amount)
  sent     = select(ok, amount, 0)
  new_from = sub(from, sent)
  new_to   = add(to, sent)
  output new_from, new_to

Operations: add, sub, mul, div, rem, neg, min, max, eq, ne, lt, le, gt, ge, and,
or, xor, not, shl, shr, rotl, rotr, select, sum, is_in, mul_div; with two results,
q and q.1, div_rem, add_overflow, sub_overflow and mul_overflow; and with a type
before the equals sign, x: euint8 = …, cast(a), rand(seed), rand_bounded(seed, 8),
trivial_encrypt(5), lookup(a, [values]) and lookup2(a, b, [values]). Names that the
text does not define are bound with --bind to a handle or to a value in a file of
ciphertexts, which is uploaded.

On vectors of bgv, bfv and ckks: add, sub, mul and neg; rescale(a), which bgv and
ckks need after mul; rotate(a, 3), inner_sum(a, 16), swap_rows(a), bootstrap(a);
and with a type before the equals sign, y: ckks = …, add_plain(a, [numbers]),
mul_plain(a, [numbers]), polynomial(a, [coefficients]) and
chebyshev(a, [from, to, coefficients]). A job that runs out of levels or whose
result would not decrypt is refused.

A line 'strategy latency' asks for the least depth, 'strategy throughput' for the
fewest bootstraps, which is the default, and 'strategy auto' lets the service choose
by its width and the work that waits; what it chose is part of the job.

A job that does not name its key is computed with the one of --evaluation-key, or
with that of the ciphertexts it reads. A job without --id is named by the digest
of its spec, so that the same job submitted again is the same job. With --wait the
command ends when the job has; with --out it also fetches the results, into files
named after the outputs.

Inputs need not be there yet: the job waits for what jobs of yours are to make, and
for handles whose type --bind names, and fails when one is still missing after
--wait-inputs, or when the job that was to make it fails. With --wait-inputs 0 a job
with missing inputs is refused.

JSON: ` + jobFields + `.`,
		Example: `  tacit submit transfer.job --evaluation-key evaluation.key --out results \
    --bind from=inputs.ct#0 --bind to=inputs.ct#1 --bind amount=inputs.ct#2
  tacit submit next.job --bind balance=HANDLE:euint64 --deadline 10m --priority 5`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if deadline < 0 || waitInputs < 0 {
				return wrongUsage(cmd, "--deadline and --wait-inputs are not negative")
			}
			if err := in.read(cmd, args[0]); err != nil {
				return err
			}
			c, err := conn.dial()
			if err != nil {
				return err
			}
			defer c.Close()
			spec, expected, err := in.prepare(ctx, u, c)
			if err != nil {
				return err
			}
			if id == "" {
				digest := graph.SpecDigest(spec)
				id = hex.EncodeToString(digest[:])
			}
			var planned *destination
			if out != "" {
				wait = true
				if planned, err = newDestination(out, outputs(spec)); err != nil {
					return err
				}
			}
			req := &tacitv1.SubmitJobRequest{
				Id: id, Spec: spec, Priority: priority, MissingInputs: &tacitv1.MissingInputs{Refuse: waitInputs == 0, Expected: expected},
			}
			if waitInputs > 0 {
				req.MissingInputs.Timeout = durationpb.New(waitInputs)
			}
			if deadline > 0 {
				req.Deadline = durationpb.New(deadline)
			}
			job, err := c.SubmitJob(ctx, req)
			if err != nil {
				return in.locate(err)
			}
			view := newJobView(job)
			if wait {
				job, err = u.follow(ctx, c, id)
				if err != nil {
					return err
				}
				view = newJobView(job)
				if view.State == "succeeded" {
					if err := collect(ctx, c, planned, job, spec, &view); err != nil {
						return err
					}
				}
			}
			if asJSON {
				err = u.printJSON(view)
			} else {
				u.printJob(view)
			}
			if wait && err == nil {
				err = ended(view)
			}
			return err
		},
	}
	flags := cmd.Flags()
	connectionFlags(cmd, &conn)
	in.flags(cmd)
	flags.StringVar(&id, "id", "", "name of the job: letters, digits, - and _")
	flags.BoolVar(&wait, "wait", false, "wait for the job's end")
	flags.StringVarP(&out, "out", "o", "", outHelp+"; implies --wait")
	flags.Int32Var(&priority, "priority", 0, "-100 to 100: among your own jobs, higher ones start first")
	flags.DurationVar(&deadline, "deadline", 0, "the job fails if it has not ended so long after it was submitted; 0 is never")
	flags.DurationVar(&waitInputs, "wait-inputs", time.Hour, "how long the job may wait for inputs that are not there yet; 0 refuses it")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// jobInput is a job file with what it is to be computed on.
type jobInput struct {
	key   string
	binds []string

	path     string
	file     *jobfile.File
	bindings []jobfile.Binding
}

func (in *jobInput) flags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&in.binds, "bind", nil, "name=HANDLE, name=HANDLE:TYPE or name=FILE#INDEX; may be repeated")
	cmd.Flags().StringVar(&in.key, "evaluation-key", "", "evaluation key to upload first")
}

// read reads the job file and checks the bindings.
func (in *jobInput) read(cmd *cobra.Command, path string) error {
	err := checkKind(path, inspect.Job)
	if err != nil {
		return err
	}
	in.path = path
	if in.file, err = readAs(path, jobfile.Parse); err != nil {
		return err
	}
	in.bindings, err = parseBindings(cmd, in.file, in.binds)
	if errors.As(err, new(*jobfile.BindError)) {
		err = inFile(path, err)
	}
	return err
}

// locate adds the file and the line to an error of a server about a part of the job.
func (in *jobInput) locate(err error) error {
	var call *client.Error
	if !errors.As(err, &call) {
		return err
	}
	line := in.file.Line(call.Place)
	if line == 0 {
		return err
	}
	return inFile(fmt.Sprintf("%s:%d", in.path, line), err)
}

// prepare uploads what the job needs and returns its spec, and the types of inputs
// that may not be there yet.
func (in *jobInput) prepare(ctx context.Context, u *ui, c *client.Client) (*tacitv1.JobSpec, []*tacitv1.ExpectedInput, error) {
	var keyID []byte
	if in.key != "" {
		info, err := u.uploadKey(ctx, c, in.key)
		if err != nil {
			return nil, nil, inFile(in.key, err)
		}
		keyID = info.KeyId
	}
	spec, err := u.bind(ctx, c, in.file, in.bindings)
	if err != nil {
		return nil, nil, err
	}
	if len(spec.KeyId) == 0 {
		spec.KeyId = keyID
	}
	if len(spec.KeyId) == 0 {
		if spec.KeyId, err = keyOf(ctx, c, spec); err != nil {
			return nil, nil, err
		}
	}
	var expected []*tacitv1.ExpectedInput
	for _, b := range in.bindings {
		if b.Type != nil {
			expected = append(expected, &tacitv1.ExpectedInput{Handle: b.Handle[:], Type: b.Type})
		}
	}
	return spec, expected, nil
}

// parseBindings reads the values of --bind and checks their names.
func parseBindings(cmd *cobra.Command, file *jobfile.File, texts []string) ([]jobfile.Binding, error) {
	var bindings []jobfile.Binding
	var names []string
	seen := make(map[string]bool)
	for _, text := range texts {
		b, err := jobfile.ParseBinding(text)
		if err != nil {
			return nil, wrongUsage(cmd, "--bind: %v", err)
		}
		if seen[b.Name] {
			return nil, wrongUsage(cmd, "--bind: %s is bound twice", b.Name)
		}
		seen[b.Name] = true
		names = append(names, b.Name)
		bindings = append(bindings, b)
	}
	return bindings, file.Check(names)
}

// bind uploads the files of bindings and returns the job with its names.
func (u *ui) bind(ctx context.Context, c *client.Client, file *jobfile.File, bindings []jobfile.Binding) (*tacitv1.JobSpec, error) {
	names := make(map[string]graph.Handle)
	uploaded := make(map[string]*uploadView)
	for _, b := range bindings {
		names[b.Name] = b.Handle
		if b.File == "" {
			continue
		}
		v := uploaded[b.File]
		if v == nil {
			if err := checkCiphertexts(b.File); err != nil {
				return nil, err
			}
			var err error
			if v, err = u.upload(ctx, c, b.File); err != nil {
				return nil, inFile(b.File, err)
			}
			uploaded[b.File] = v
		}
		if b.Index >= len(v.Ciphertexts) {
			return nil, inFile(b.File, fmt.Errorf("there is no value %d: the file has %d", b.Index, len(v.Ciphertexts)))
		}
		h, err := graph.ParseHandle(v.Ciphertexts[b.Index].Handle)
		if err != nil {
			return nil, err
		}
		names[b.Name] = h
	}
	return file.Spec(names)
}

// keyOf returns the key of the first stored ciphertext that a job reads, or
// nothing.
func keyOf(ctx context.Context, c *client.Client, spec *tacitv1.JobSpec) ([]byte, error) {
	for _, n := range spec.Nodes {
		for _, in := range n.GetInputs() {
			h := in.GetHandle()
			if len(h) != len(graph.Handle{}) {
				continue
			}
			found, _, err := c.Stat(ctx, [32]byte(h))
			if err != nil {
				return nil, err
			}
			if len(found) == 1 {
				return found[0].KeyId, nil
			}
		}
	}
	return nil, nil
}

// outputs lists what a job will make, by name; the handles are not known yet.
func outputs(spec *tacitv1.JobSpec) []result {
	var results []result
	for _, name := range jobfile.OutputNames(spec) {
		results = append(results, result{name: name})
	}
	return results
}

// collect names the results of a job, and fetches them if there is a plan for
// them.
func collect(ctx context.Context, c *client.Client, planned *destination, job *tacitv1.Job, spec *tacitv1.JobSpec, view *jobView) error {
	names := jobfile.OutputNames(spec)
	if len(job.Results) != len(names) {
		return &client.MismatchError{What: "job " + job.Id, Reason: fmt.Sprintf("%d results, the job has %d outputs", len(job.Results), len(names))}
	}
	for i, r := range job.Results {
		view.Results[i].Name = names[i]
		if planned == nil {
			continue
		}
		if len(r.Handle) != len(graph.Handle{}) {
			return &client.MismatchError{What: "job " + job.Id, Reason: fmt.Sprintf("a handle of %d bytes", len(r.Handle))}
		}
		planned.results[i].handle, planned.results[i].digest = graph.Handle(r.Handle), r.Digest
	}
	if planned == nil {
		return nil
	}
	views, err := planned.fetch(ctx, c)
	if err == nil {
		view.Results = views
	}
	return err
}

// follow waits for the end of a job and shows its progress.
func (u *ui) follow(ctx context.Context, c *client.Client, id string) (*tacitv1.Job, error) {
	bar := u.progress("job")
	defer bar.end()
	job, err := c.Watch(ctx, id, func(job *tacitv1.Job, _ *tacitv1.NodeReport) {
		v := newJobView(job)
		bar.status(func(elapsed time.Duration) string { return v.status() + ", " + elapsed.Round(time.Second).String() })
	})
	if errors.Is(err, context.Canceled) {
		err = &hinted{err, fmt.Sprintf("the job goes on: 'tacit job wait %s' waits for it again, 'tacit job cancel %s' ends it", id, id)}
	}
	return job, err
}
