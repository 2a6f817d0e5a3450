package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tacit-fhe/tacit/coprocessor/client"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

func jobCommand(u *ui) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "job",
		Short: "Estimate jobs, look at them, wait for them, cancel them, get their receipts",
	}
	cmd.AddCommand(
		jobCall(u, "get", "Describe a job", "", func(ctx context.Context, c *client.Client, id string) (*tacitv1.Job, error) { return c.Job(ctx, id) }),
		jobCall(u, "cancel", "Cancel a job that has not ended", "A job that has ended stays as it is.\n\n",
			func(ctx context.Context, c *client.Client, id string) (*tacitv1.Job, error) { return c.Cancel(ctx, id) }),
		jobWaitCommand(u), jobWatchCommand(u), jobFeedCommand(u), jobListCommand(u), jobReceiptCommand(u), jobEstimateCommand(u),
	)
	return cmd
}

// jobCall is a command that makes one call about a job and prints the job.
func jobCall(u *ui, name, short, long string, call func(context.Context, *client.Client, string) (*tacitv1.Job, error)) *cobra.Command {
	return request(u, &cobra.Command{
		Use:   name + " ID",
		Short: short,
		Long:  short + ".\n\n" + long + "JSON: " + jobFields + ".",
		Args:  cobra.ExactArgs(1),
	}, func(ctx context.Context, c *client.Client, args []string) (v jobView, err error) {
		job, err := call(ctx, c, args[0])
		if err == nil {
			v = newJobView(job)
		}
		return v, err
	}, u.describeJob)
}

// describeJob prints a job, and why it failed if it did.
func (u *ui) describeJob(v jobView) {
	u.printJob(v)
	if v.Error != nil {
		u.printf("%v\n", &jobEndError{v})
	}
}

func jobWaitCommand(u *ui) *cobra.Command {
	var conn connection
	var asJSON bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "wait ID",
		Short: "Wait for the end of a job",
		Long: `Waits for the end of a job and prints it. The exit code is 3 when the job failed, 4
when it was cancelled, and 5 when it has not ended within --timeout.

JSON: ` + jobFields + `.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := conn.dial()
			if err != nil {
				return err
			}
			defer c.Close()
			// Not a deadline, which the server would know of and answer itself.
			ctx, cancel := context.WithCancelCause(cmd.Context())
			defer cancel(nil)
			if timeout > 0 {
				timer := time.AfterFunc(timeout, func() { cancel(errTimeout) })
				defer timer.Stop()
			}
			job, err := u.follow(ctx, c, args[0])
			if err != nil && context.Cause(ctx) == errTimeout {
				job, err = c.Job(cmd.Context(), args[0])
			}
			if err != nil {
				return err
			}
			v := newJobView(job)
			if asJSON {
				err = u.printJSON(v)
			} else {
				u.printJob(v)
			}
			if err != nil {
				return err
			}
			return ended(v)
		},
	}
	connectionFlags(cmd, &conn)
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "how long to wait; 0 is for ever")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// errTimeout ends a wait.
var errTimeout = errors.New("the time to wait is over")

// eventView is one line of job watch.
type eventView struct {
	Job    *jobView  `json:"job,omitempty"`
	Node   *nodeView `json:"node,omitempty"`
	Cursor string    `json:"cursor"`
}

func jobWatchCommand(u *ui) *cobra.Command {
	var conn connection
	var from string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "watch ID",
		Short: "Print what happens to a job until it ends",
		Long: `Prints a line whenever the state of a job or of one of its operations changes. The
exit code is 3 when the job failed and 4 when it was cancelled. With --from and the
cursor of an event, which --json shows, it goes on after that event.

JSON: one object a line, with cursor and either node [node, label, state,
bootstraps, depth, seconds, log2_failure_probability] or job [` + jobFields + `].`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := conn.dial()
			if err != nil {
				return err
			}
			defer c.Close()
			var printed error
			job, err := c.WatchFrom(cmd.Context(), args[0], from, func(job *tacitv1.Job, node *tacitv1.NodeReport, cursor string) {
				v := newJobView(job)
				switch {
				case asJSON && node != nil:
					n := newNodeView(node)
					printed = errors.Join(printed, u.printJSONLine(eventView{Node: &n, Cursor: cursor}))
				case asJSON:
					printed = errors.Join(printed, u.printJSONLine(eventView{Job: &v, Cursor: cursor}))
				case node != nil:
					n := newNodeView(node)
					u.printf("%s %s\n", n.name(), n.cost())
				case client.Ended(job.State):
					u.printJob(v)
				default:
					u.printf("job %s %s\n", v.ID, v.State)
				}
			})
			if err = errors.Join(err, printed); err != nil {
				return err
			}
			return ended(newJobView(job))
		},
	}
	connectionFlags(cmd, &conn)
	cmd.Flags().StringVar(&from, "from", "", "cursor of the last event that was seen")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// jobFilter is which jobs a command is about.
type jobFilter struct {
	states    []string
	principal string
}

func (f *jobFilter) flags(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&f.states, "state", nil, "these states only: "+strings.Join(stateNames(), ", "))
	cmd.Flags().StringVar(&f.principal, "principal", "", "the jobs of this principal; empty is your own, or an administrator's all")
	complete(cmd, "state", stateNames()...)
}

// parse returns the states that the flags name.
func (f *jobFilter) parse(cmd *cobra.Command) (states []tacitv1.JobState, err error) {
	for _, name := range f.states {
		s, ok := tacitv1.JobState_value["JOB_STATE_"+strings.ToUpper(name)]
		if !ok || s == 0 {
			return nil, wrongUsage(cmd, "--state: no state is named %.20q: there are %s", name, strings.Join(stateNames(), ", "))
		}
		states = append(states, tacitv1.JobState(s))
	}
	return states, nil
}

// stateNames are the names of the states of jobs.
func stateNames() (names []string) {
	for _, s := range []tacitv1.JobState{
		tacitv1.JobState_JOB_STATE_WAITING, tacitv1.JobState_JOB_STATE_QUEUED, tacitv1.JobState_JOB_STATE_RUNNING,
		tacitv1.JobState_JOB_STATE_SUCCEEDED, tacitv1.JobState_JOB_STATE_FAILED, tacitv1.JobState_JOB_STATE_CANCELLED,
	} {
		names = append(names, stateName(s))
	}
	return names
}

func jobFeedCommand(u *ui) *cobra.Command {
	var conn connection
	var filter jobFilter
	var from string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "feed",
		Short: "Print what becomes of all jobs",
		Long: `Prints a line for every job that has changed its state after a cursor, and for every
change from then on, until it is interrupted. A program that goes on with --from and
the last cursor that it has seen misses no job's end.

JSON: one object a line, with cursor and job: id, state, created, started, ended,
attempts, priority, deadline, wait_deadline, estimated_bootstraps, spent_bootstraps,
error [code, reason, place, message, job_id].`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			states, err := filter.parse(cmd)
			if err != nil {
				return err
			}
			c, err := conn.dial()
			if err != nil {
				return err
			}
			defer c.Close()
			req := &tacitv1.WatchJobsRequest{Cursor: from, States: states, Principal: filter.principal}
			return c.Feed(cmd.Context(), req, func(job *tacitv1.Job, cursor string) error {
				v := newJobView(job)
				if asJSON {
					return u.printJSONLine(eventView{Job: &v, Cursor: cursor})
				}
				u.printf("%s %s %s\n", cursor, v.ID, v.State)
				return nil
			})
		},
	}
	connectionFlags(cmd, &conn)
	filter.flags(cmd)
	cmd.Flags().StringVar(&from, "from", "", "cursor of the last event that was seen; empty is the beginning")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func jobListCommand(u *ui) *cobra.Command {
	var filter jobFilter
	var states []tacitv1.JobState
	var limit int
	cmd := request(u, &cobra.Command{
		Use:   "list",
		Short: "List the jobs, the newest first",
		Long: `Lists the jobs, the newest first.

JSON: a list of jobs without their nodes: id, state, created, started, ended,
attempts, priority, deadline, wait_deadline, estimated_bootstraps, spent_bootstraps,
error [code, reason, place, message, job_id].`,
		Args: cobra.NoArgs,
		PreRunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := checkLimit(cmd, limit); err != nil {
				return err
			}
			states, err = filter.parse(cmd)
			return err
		},
	}, func(ctx context.Context, c *client.Client, _ []string) ([]jobView, error) {
		views := []jobView{}
		err := c.Jobs(ctx, client.JobFilter{States: states, Principal: filter.principal, Limit: limit}, func(job *tacitv1.Job) bool {
			views = append(views, newJobView(job))
			return true
		})
		return views, err
	}, u.printJobs)
	filter.flags(cmd)
	limitFlag(cmd, &limit)
	return cmd
}

// printJobs prints a line for each job.
func (u *ui) printJobs(views []jobView) {
	if len(views) == 0 {
		u.note("there are no such jobs")
	}
	u.table(func(row func(...any)) {
		for _, v := range views {
			created, took := "", ""
			if v.Created != nil {
				created = v.Created.Format(time.RFC3339)
			}
			if d := v.took(); d > 0 {
				took = duration(d)
			}
			row(v.ID, v.State, created, took)
		}
	})
}
