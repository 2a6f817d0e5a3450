// Package load puts a service under load: many principals submit more jobs than it
// can compute at a time, one of them half of all. It says how long jobs waited and
// ran, whether the work was shared fairly, and how what is too much was answered.
package load

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/bench/setting"
	"github.com/tacit-fhe/tacit/coprocessor"
	"github.com/tacit-fhe/tacit/coprocessor/access"
	"github.com/tacit-fhe/tacit/coprocessor/client"
	"github.com/tacit-fhe/tacit/coprocessor/graph"
	"github.com/tacit-fhe/tacit/coprocessor/jobs"
	"github.com/tacit-fhe/tacit/coprocessor/upkeep"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/integer"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// Options configures Run. Params and Backend are required. With parameters of a mock the
// service is one.
type Options struct {
	Params  *fhe.Parameters
	Backend accel.Backend
	Workers int // cores that bootstrap; 0 is all
	// Principals is how many principals there are, at least 2; 0 means 50. The first one
	// submits half of all jobs, and submits them first.
	Principals int
	// Jobs is how many jobs are queued in a round; 0 means 1000.
	Jobs int
	// Adds is how many additions, one after the other, a job has; 0 means 1.
	Adds int
	// Type is that of the operands; the zero value is ebool, which has no additions.
	Type integer.Type
	// Callers is how many callers submit one job each and wait for it, again and again;
	// 0 means that all jobs of a round are queued before the service computes them.
	Callers int
	// For is how long rounds are repeated; with 0 there is one.
	For time.Duration
	// KeepJobs is how many jobs that have ended the service keeps; 0 is all.
	KeepJobs int
	// Computing, if not nil, is told when the service begins and when it has ended to
	// compute the jobs of a round.
	Computing func(begins bool)
	// Done, if not nil, is called after the last round, before the service stops.
	Done func()
	// Progress, if not nil, is told how many jobs of how many have ended.
	Progress func(done, total int)
}

// Report is what was measured.
type Report struct {
	Parameters setting.Parameters `json:"parameters"`
	CPU        setting.CPU        `json:"cpu"`
	Workers    int                `json:"workers"`
	Principals int                `json:"principals"`
	Jobs       int                `json:"jobs"` // of a round
	Adds       int                `json:"adds"`
	Type       string             `json:"type"`
	KeepJobs   int                `json:"keep_jobs_count"` // 0 is all
	Rounds     []Round            `json:"rounds,omitempty"`
	Flows      []Flow             `json:"flows,omitempty"`  // instead of rounds, where callers wait for each job
	Growth     *Growth            `json:"growth,omitempty"` // of at least four rounds
}

// Round is one round.
type Round struct {
	Seconds             float64 `json:"seconds"` // from the start of the first job to the end of the last
	JobsPerSecond       float64 `json:"jobs_per_second"`
	Bootstraps          uint64  `json:"bootstraps"`
	BootstrapsPerSecond float64 `json:"bootstraps_per_second"`
	Submit              Times   `json:"submit_seconds"`        // of calls of SubmitJob
	FirstWait           Times   `json:"first_wait_seconds"`    // of the principal with half of the jobs
	OthersWait          Times   `json:"others_wait_seconds"`   // of all others
	Execution           Times   `json:"execution_seconds"`     // from the start of a job to its end
	Fairness            float64 `json:"fairness"`              // of the scheduler while all principals wanted work: see fairness
	Refused             int     `json:"refused"`               // submissions beyond the bound of the queue that were refused with RESOURCE_EXHAUSTED
	RetryInfo           int     `json:"refused_with_time"`     // of those, how many named the time to wait
	Taken               int     `json:"taken_over_bound"`      // that were not
	CPUSeconds          float64 `json:"cpu_seconds,omitempty"` // of the process while jobs ran; absent where it cannot be told
	Memory
}

// Times are quantiles in seconds.
type Times struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
}

func quantiles(list []float64) Times {
	if len(list) == 0 {
		return Times{}
	}
	slices.Sort(list)
	at := func(q float64) float64 { return list[int(math.Ceil(q*float64(len(list))))-1] }
	return Times{at(0.5), at(0.99)}
}

// jain is Jain's fairness index (Jain, Chiu, Hawe, DEC-TR-301, 1984).
func jain(shares []float64) float64 {
	var sum, squares float64
	for _, x := range shares {
		sum += x
		squares += x * x
	}
	if squares == 0 {
		return 0
	}
	return sum * sum / (float64(len(shares)) * squares)
}

// fairness is Jain's index of what the principals have been given: the estimated
// bootstraps of the jobs that had started when the first principal had none left to
// start. The order of starts is what the scheduler decides; when jobs end is a matter
// of the machine too. 1 is equal, 1/principals is all for one.
func fairness(ended []*tacitv1.Job, principals int) float64 {
	left := make(map[string]int)
	for _, job := range ended {
		owner, _ := access.SplitJob(job.Id)
		left[owner]++
	}
	started := slices.Clone(ended)
	slices.SortFunc(started, func(x, y *tacitv1.Job) int { return x.StartTime.AsTime().Compare(y.StartTime.AsTime()) })
	given := make(map[string]float64)
	for _, job := range started {
		owner, _ := access.SplitJob(job.Id)
		given[owner] += float64(job.EstimatedBootstraps)
		if left[owner]--; left[owner] == 0 {
			break // from here on not all want work
		}
	}
	shares := make([]float64, principals)
	for i := range shares {
		shares[i] = given[name(i)]
	}
	return jain(shares)
}

// overload is how many jobs are submitted beyond the bound of the queue.
const overload = 20

// bench is a service under load.
type bench struct {
	Options
	key    fhe.KeyID
	root   *client.Client
	users  []*client.Client
	inputs []graph.Handle // one for each user
	serial int            // of jobs, which are all different
	cursor string         // of the last change of a job that was heard of
}

// Run starts a service in this process, over a directory that is removed in the
// end, and puts it under load.
func Run(ctx context.Context, o Options) (_ *Report, err error) {
	o.Principals, o.Jobs, o.Adds, o.Workers = cmp.Or(o.Principals, 50), cmp.Or(o.Jobs, 1000), cmp.Or(o.Adds, 1), cmp.Or(o.Workers, runtime.GOMAXPROCS(0))
	if o.KeepJobs != 0 && o.KeepJobs < o.Jobs {
		return nil, fmt.Errorf("load: %d jobs are kept: want at least the %d of a round, or 0 for all", o.KeepJobs, o.Jobs)
	}
	if o.Principals < 2 || o.Jobs < 2*o.Principals || o.Adds < 1 || o.Workers < 1 || o.Callers < 0 {
		return nil, fmt.Errorf("load: %d principals, %d jobs, %d additions, %d workers: want at least 2 principals, and 2 jobs for each", o.Principals, o.Jobs, o.Adds, o.Workers)
	}
	dir, err := os.MkdirTemp("", "tacit-load-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	b := &bench{Options: o}
	stop, err := b.start(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	if err := b.prepare(ctx); err != nil {
		return nil, err
	}
	report := &Report{
		KeepJobs:   o.KeepJobs,
		Parameters: setting.OfParameters(o.Params), CPU: setting.OfCPU(o.Backend), Workers: o.Workers,
		Principals: o.Principals, Jobs: o.Jobs, Adds: o.Adds, Type: o.Type.String(),
	}
	for begin := time.Now(); len(report.Rounds)+len(report.Flows) == 0 || time.Since(begin) < o.For; {
		if o.Callers > 0 {
			flow, err := b.flow(ctx)
			if err != nil {
				return nil, err
			}
			report.Flows = append(report.Flows, flow)
			continue
		}
		round, err := b.round(ctx)
		if err != nil {
			return nil, err
		}
		report.Rounds = append(report.Rounds, round)
	}
	report.Growth = growth(report.memory(), o.Jobs)
	if o.Done != nil {
		o.Done()
	}
	return report, nil
}

func name(i int) string { return fmt.Sprintf("principal-%d", i) }

// start runs the service and connects the principals to it. stop ends both.
func (b *bench) start(ctx context.Context, dir string) (stop func() error, err error) {
	path := filepath.Join(dir, "callers.json")
	tokens := make([]string, b.Principals+1) // the last one is the administrator's
	for i := range tokens {
		c := access.Credential{Principal: name(i), Roles: []access.Role{access.User}}
		if i == b.Principals {
			c = access.Credential{Principal: "root", Roles: []access.Role{access.Admin}}
		}
		if tokens[i], _, err = access.Issue(path, c); err != nil {
			return nil, err
		}
	}
	quiet := slog.New(slog.DiscardHandler)
	callers, err := access.OpenCallers(path, quiet)
	if err != nil {
		return nil, err
	}
	server, err := coprocessor.Open(ctx, coprocessor.Options{
		Dir: filepath.Join(dir, "data"), Params: b.Params, Backend: b.Backend, Mock: b.Params.Clear(), Workers: b.Workers, MaxQueued: b.Jobs, Callers: callers, Log: quiet,
		Keep: upkeep.Policy{Jobs: jobs.Retention{Count: b.KeepJobs}},
	})
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, server.Close(ctx))
	}
	g := server.GRPC()
	work, end := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	var ran error
	running.Go(func() { g.Serve(l) })
	running.Go(func() { ran = server.Run(work) })
	stop = func() error {
		for _, c := range append(b.users, b.root) {
			if c != nil {
				c.Close()
			}
		}
		end()
		g.Stop()
		running.Wait()
		return errors.Join(ran, server.Close(context.Background()))
	}
	for _, token := range tokens {
		c, err := client.Dial(l.Addr().String(), client.Options{Token: token, Attempts: 1})
		if err != nil {
			return nil, errors.Join(err, stop())
		}
		b.users = append(b.users, c)
	}
	b.root, b.users = b.users[b.Principals], b.users[:b.Principals]
	return stop, nil
}

// prepare makes keys, and gives every principal a ciphertext.
func (b *bench) prepare(ctx context.Context) error {
	keys, err := fhe.GenerateKeys(ctx, b.Params, fhe.NewSeed(), b.Backend, nil)
	if err != nil {
		return err
	}
	b.key = keys.Secret.ID()
	var evaluation bytes.Buffer
	if _, err := keys.Evaluation.WriteTo(&evaluation); err != nil {
		return err
	}
	if _, err := b.root.UploadEvaluationKey(ctx, bytes.NewReader(evaluation.Bytes()), nil); err != nil {
		return err
	}
	if _, err := b.root.Grant(ctx, client.Key(b.key), access.Everyone, tacitv1.Right_RIGHT_COMPUTE); err != nil {
		return err
	}
	for i, user := range b.users {
		list, err := integer.Encrypt(b.Params, b.key, keys.Secret, fhe.NewSeed(), integer.Plain(b.Type, uint64(i)))
		if err != nil {
			return err
		}
		container, err := list.MarshalBinary()
		if err != nil {
			return err
		}
		uploaded, err := user.UploadList(ctx, container)
		if err != nil {
			return err
		}
		b.inputs = append(b.inputs, graph.Handle(uploaded[0].Handle))
	}
	return nil
}

// spec is the next job of a principal, unlike all before.
func (b *bench) spec(user int) *tacitv1.JobSpec {
	b.serial++
	x := &tacitv1.Input{Value: &tacitv1.Input_Handle{Handle: b.inputs[user][:]}}
	spec := &tacitv1.JobSpec{KeyId: b.key[:]}
	for i := range b.Adds {
		other := x
		if i > 0 {
			other = &tacitv1.Input{Value: &tacitv1.Input_Node{Node: uint32(i - 1)}}
		}
		spec.Nodes = append(spec.Nodes, &tacitv1.Node{Op: tacitv1.Op_OP_ADD.Enum(), Inputs: []*tacitv1.Input{other, x}})
	}
	// The name makes the job one of its own, which no earlier one has computed.
	last := uint32(b.Adds - 1)
	handle := graph.Handle(fhe.NewSeed())
	spec.Outputs = []*tacitv1.Output{{Node: &last, Handle: handle[:]}}
	return spec
}

// round queues all jobs, submits some more than may be queued, and has all
// computed.
func (b *bench) round(ctx context.Context) (r Round, err error) {
	if _, err := b.root.Pause(ctx); err != nil {
		return r, err
	}
	submitted, err := b.submitAll(ctx, &r)
	if err != nil {
		return r, err
	}
	for range overload {
		user := b.serial % b.Principals
		job := fmt.Sprint("over-", b.serial)
		var refused *client.Error
		_, err := b.users[user].Submit(ctx, job, b.spec(user))
		switch {
		case err == nil:
			r.Taken++
			submitted[name(user)+"."+job] = true
		case errors.As(err, &refused) && refused.Code == codes.ResourceExhausted:
			r.Refused++
			if refused.RetryAfter > 0 {
				r.RetryInfo++
			}
		default:
			return r, err
		}
	}
	if b.Computing != nil {
		b.Computing(true)
	}
	before := cpuSeconds()
	if _, err := b.root.Resume(ctx); err != nil {
		return r, err
	}
	ended, err := b.follow(ctx, submitted)
	if b.Computing != nil {
		b.Computing(false)
	}
	if err != nil {
		return r, err
	}
	r.CPUSeconds = cpuSeconds() - before
	b.summarise(&r, ended)
	r.Memory, err = b.settle(ctx)
	return r, err
}

// submitAll submits the jobs of a round: those of the first principal, then those of
// the others in turn.
func (b *bench) submitAll(ctx context.Context, r *Round) (map[string]bool, error) {
	var calls []float64
	submitted := make(map[string]bool, b.Jobs)
	for i := range b.Jobs {
		user := 0
		if half := b.Jobs / 2; i >= half {
			user = 1 + (i-half)%(b.Principals-1)
		}
		job := fmt.Sprint("job-", b.serial)
		begin := time.Now()
		if _, err := b.users[user].Submit(ctx, job, b.spec(user)); err != nil {
			return nil, err
		}
		calls = append(calls, time.Since(begin).Seconds())
		submitted[name(user)+"."+job] = true
	}
	r.Submit = quantiles(calls)
	return submitted, nil
}

// follow returns the jobs of a round when all have ended, in the order in which they
// did.
func (b *bench) follow(ctx context.Context, submitted map[string]bool) (ended []*tacitv1.Job, err error) {
	err = b.root.Feed(ctx, &tacitv1.WatchJobsRequest{Cursor: b.cursor}, func(job *tacitv1.Job, cursor string) error {
		b.cursor = cursor
		if !submitted[job.Id] || !client.Ended(job.State) {
			return nil
		}
		if job.State != tacitv1.JobState_JOB_STATE_SUCCEEDED {
			return fmt.Errorf("load: job %s: %v", job.Id, job.Error)
		}
		ended = append(ended, job)
		if b.Progress != nil {
			b.Progress(len(ended), len(submitted))
		}
		if len(ended) == len(submitted) {
			return io.EOF
		}
		return nil
	})
	if err == io.EOF {
		err = nil
	}
	slices.SortFunc(ended, func(x, y *tacitv1.Job) int { return x.EndTime.AsTime().Compare(y.EndTime.AsTime()) })
	return ended, err
}

// summarise fills in what the jobs of a round tell.
func (b *bench) summarise(r *Round, ended []*tacitv1.Job) {
	start := ended[0].StartTime.AsTime()
	for _, job := range ended {
		if at := job.StartTime.AsTime(); at.Before(start) {
			start = at
		}
	}
	var first, others, execution []float64
	for _, job := range ended {
		owner, _ := access.SplitJob(job.Id)
		// Jobs are queued while the service is paused: they wait from its start on.
		waited := job.StartTime.AsTime().Sub(start).Seconds()
		if owner == name(0) {
			first = append(first, waited)
		} else {
			others = append(others, waited)
		}
		execution = append(execution, job.EndTime.AsTime().Sub(job.StartTime.AsTime()).Seconds())
		r.Bootstraps += job.SpentBootstraps
	}
	r.FirstWait, r.OthersWait, r.Execution = quantiles(first), quantiles(others), quantiles(execution)
	r.Seconds = ended[len(ended)-1].EndTime.AsTime().Sub(start).Seconds()
	r.JobsPerSecond, r.BootstrapsPerSecond = float64(len(ended))/r.Seconds, float64(r.Bootstraps)/r.Seconds
	r.Fairness = fairness(ended, b.Principals)
}

// Markdown writes the report for people.
func (r *Report) Markdown(w io.Writer) error {
	var b bytes.Buffer
	if len(r.Flows) > 0 {
		fmt.Fprintf(&b, "# Load\n\n%d callers wait for each of their jobs before they submit the next, %d jobs of %d additions of %s; %s, %d workers, %s (%s).\n\n",
			r.Flows[0].Callers, r.Jobs, r.Adds, r.Type, r.Parameters.Name, r.Workers, r.CPU.Model, r.CPU.Backend)
		fmt.Fprintf(&b, "| jobs/s accepted and finished | processor time of a job, callers included | from submission to answer, p50 / p99 |\n|---|---|---|\n")
		for _, f := range r.Flows {
			fmt.Fprintf(&b, "| %.0f | %.3g ms | %s |\n", f.JobsPerSecond, 1000*f.CPUPerJob, f.Turnaround)
		}
		r.memoryMarkdown(&b)
		_, err := b.WriteTo(w)
		return err
	}
	fmt.Fprintf(&b, "# Load\n\n%d principals queue %d jobs of %d additions of %s, the first of them half of all; %s, %d workers, %s (%s).\n\n",
		r.Principals, r.Jobs, r.Adds, r.Type, r.Parameters.Name, r.Workers, r.CPU.Model, r.CPU.Backend)
	fmt.Fprintf(&b, "| round | jobs/s | bootstraps/s | wait of the first, p50 / p99 | wait of others, p50 / p99 | execution, p50 / p99 | submission, p50 / p99 | fairness | refused over the bound |\n")
	fmt.Fprintf(&b, "|---|---|---|---|---|---|---|---|---|\n")
	for i, x := range r.Rounds {
		fmt.Fprintf(&b, "| %d | %.1f | %.0f | %s | %s | %s | %s | %.3f | %d of %d, %d with the time to wait |\n",
			i+1, x.JobsPerSecond, x.BootstrapsPerSecond, x.FirstWait, x.OthersWait, x.Execution, x.Submit,
			x.Fairness, x.Refused, x.Refused+x.Taken, x.RetryInfo)
	}
	b.WriteString("\nJobs wait from the moment on from which the service computes; all were queued before. Fairness is Jain's index of\nthe bootstraps of the jobs that had started of each principal when the first of them had none left to start: 1 is equal,\n1/principals is all for one.\n")
	r.memoryMarkdown(&b)
	_, err := b.WriteTo(w)
	return err
}

func (t Times) String() string { return fmt.Sprintf("%.3g / %.3g s", t.P50, t.P99) }
