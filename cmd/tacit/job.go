package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/tacit-fhe/tacit/coprocessor/client"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

func jobCommand(u *ui) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "job",
		Short: "Look at jobs, wait for them, cancel them, get their receipts",
	}
	cmd.AddCommand(
		jobCall(u, "get", "Describe a job", "", func(ctx context.Context, c *client.Client, id string) (*tacitv1.Job, error) { return c.Job(ctx, id) }),
		jobCall(u, "cancel", "Cancel a job that has not ended", "A job that has ended stays as it is.\n\n",
			func(ctx context.Context, c *client.Client, id string) (*tacitv1.Job, error) { return c.Cancel(ctx, id) }),
		jobWaitCommand(u), jobWatchCommand(u), jobListCommand(u), jobReceiptCommand(u),
	)
	return cmd
}

// jobCall is a command that makes one call about a job and prints the job.
func jobCall(u *ui, name, short, long string, call func(context.Context, *client.Client, string) (*tacitv1.Job, error)) *cobra.Command {
	var conn connection
	var asJSON bool
	cmd := &cobra.Command{
		Use:   name + " ID",
		Short: short,
		Long:  short + ".\n\n" + long + "JSON: " + jobFields + ".",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := conn.dial()
			if err != nil {
				return err
			}
			defer c.Close()
			job, err := call(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			return u.showJob(newJobView(job), asJSON)
		},
	}
	connectionFlags(cmd, &conn)
	jsonFlag(cmd, &asJSON)
	return cmd
}

// showJob prints a job, and why it failed if it did.
func (u *ui) showJob(v jobView, asJSON bool) error {
	if asJSON {
		return u.printJSON(v)
	}
	u.printJob(v)
	if v.Error != nil {
		u.printf("%v\n", &jobEndError{v})
	}
	return nil
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
	Job  *jobView  `json:"job,omitempty"`
	Node *nodeView `json:"node,omitempty"`
}

func jobWatchCommand(u *ui) *cobra.Command {
	var conn connection
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "watch ID",
		Short: "Print what happens to a job until it ends",
		Long: `Prints a line whenever the state of a job or of one of its operations changes. The
exit code is 3 when the job failed and 4 when it was cancelled.

JSON: one object a line, with either node [node, label, state, bootstraps, depth,
seconds, log2_failure_probability] or job [` + jobFields + `].`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := conn.dial()
			if err != nil {
				return err
			}
			defer c.Close()
			var printed error
			job, err := c.Watch(cmd.Context(), args[0], func(job *tacitv1.Job, node *tacitv1.NodeReport) {
				v := newJobView(job)
				switch {
				case asJSON && node != nil:
					n := newNodeView(node)
					printed = errors.Join(printed, u.printJSONLine(eventView{Node: &n}))
				case asJSON:
					printed = errors.Join(printed, u.printJSONLine(eventView{Job: &v}))
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
	jsonFlag(cmd, &asJSON)
	return cmd
}

func jobListCommand(u *ui) *cobra.Command {
	var conn connection
	var asJSON bool
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the jobs, the newest first",
		Long: `Lists the jobs, the newest first.

JSON: a list of jobs without their nodes: id, state, spec_digest, created,
started, ended, attempts, error [code, reason, place, message].`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return wrongUsage(cmd, "--limit is not negative")
			}
			c, err := conn.dial()
			if err != nil {
				return err
			}
			defer c.Close()
			views := []jobView{}
			if err := c.Jobs(cmd.Context(), limit, func(job *tacitv1.Job) bool {
				views = append(views, newJobView(job))
				return true
			}); err != nil {
				return err
			}
			if asJSON {
				return u.printJSON(views)
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
			return nil
		},
	}
	connectionFlags(cmd, &conn)
	cmd.Flags().IntVar(&limit, "limit", 100, "at most this many; 0 is all")
	jsonFlag(cmd, &asJSON)
	return cmd
}
