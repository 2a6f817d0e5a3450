package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tacit-fhe/tacit/coprocessor/client"
	"github.com/tacit-fhe/tacit/coprocessor/graph"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

func adminCommand(u *ui) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "admin",
		Short: "Hold jobs back, try failed ones again, see who uses how much",
		Long:  `What only administrators may do with a running server.`,
	}
	cmd.AddCommand(
		adminCall(u, "status", "Say what is held back, and what there is to do", "", (*client.Client).Status),
		adminCall(u, "pause", "Start no jobs any more", "Jobs that run go on, and new ones are taken. All processes of the service do so, also after\na restart.\n\n", (*client.Client).Pause),
		adminCall(u, "resume", "Start jobs again", "Undoes pause, and drain of the process that is called.\n\n", (*client.Client).Resume),
		adminDrainCommand(u),
		adminHoldCommand(u, "quarantine", "Start no jobs of a principal or a key, and take no new ones", (*client.Client).Quarantine),
		adminHoldCommand(u, "release", "Undo quarantine", (*client.Client).Release),
		jobCall(u, "retry", "Try a failed job again", "It is tried as if it had been submitted now, without its deadline.\n\n",
			func(ctx context.Context, c *client.Client, id string) (*tacitv1.Job, error) {
				return c.RetryJob(ctx, id)
			}),
		adminDiscardCommand(u), adminDeadLettersCommand(u), adminUsageCommand(u),
	)
	return cmd
}

// discardView is what discard has done.
type discardView struct {
	Discarded string `json:"discarded"`
}

func adminDiscardCommand(u *ui) *cobra.Command {
	return request(u, &cobra.Command{
		Use:   "discard ID",
		Short: "Give up a job whose record is damaged",
		Long: `Gives up a job whose record is damaged: lists and metrics tell of it no more, and what
is left of it is removed. Its id stays taken, and asking for it is answered with
DATA_LOSS. 'tacit store copy', which makes a store without the damage, keeps what is left
of damaged jobs unless they are discarded: results above all.

JSON: discarded (the id).`,
		Args: cobra.ExactArgs(1),
	}, func(ctx context.Context, c *client.Client, args []string) (discardView, error) {
		return discardView{args[0]}, c.DiscardJob(ctx, args[0])
	}, func(v discardView) { u.printf("job %s is discarded\n", v.Discarded) })
}

// statusView is what a service does and does not do.
type statusView struct {
	Paused     bool              `json:"paused"`
	Draining   bool              `json:"draining"`
	Principals []string          `json:"quarantined_principals"`
	Keys       []string          `json:"quarantined_keys"`
	Jobs       map[string]uint64 `json:"jobs"`
	Running    uint32            `json:"running_here"`
	Backlog    uint64            `json:"backlog"`
	Damaged    uint64            `json:"damaged_jobs"`
}

const statusFields = "paused, draining, quarantined_principals, quarantined_keys, jobs (by state),\nrunning_here, backlog (bootstraps), damaged_jobs"

func newStatusView(s *tacitv1.ServiceStatus) statusView {
	v := statusView{
		Paused: s.Paused, Draining: s.Draining, Principals: append([]string{}, s.QuarantinedPrincipals...), Keys: []string{},
		Jobs: counts(s.Jobs), Running: s.RunningHere, Backlog: s.Backlog, Damaged: s.DamagedJobs,
	}
	for _, k := range s.QuarantinedKeys {
		v.Keys = append(v.Keys, hex.EncodeToString(k))
	}
	return v
}

func counts(list []*tacitv1.JobCount) map[string]uint64 {
	m := make(map[string]uint64)
	for _, c := range list {
		m[stateName(c.State)] = c.Count
	}
	return m
}

func (u *ui) printStatus(v statusView) {
	switch {
	case v.Paused && v.Draining:
		u.printf("paused, draining\n")
	case v.Paused:
		u.printf("paused\n")
	case v.Draining:
		u.printf("draining\n")
	default:
		u.printf("jobs are started\n")
	}
	u.table(func(row func(...any)) {
		for _, name := range stateNames() {
			row("  "+name, v.Jobs[name])
		}
		row("  running here", v.Running)
		row("  bootstraps to do", v.Backlog)
		if v.Damaged > 0 {
			row("  damaged", v.Damaged)
		}
	})
	for _, p := range v.Principals {
		u.printf("quarantined: principal %s\n", p)
	}
	for _, k := range v.Keys {
		u.printf("quarantined: key %s\n", k)
	}
}

// statusOf makes a view of an answer.
func statusOf(s *tacitv1.ServiceStatus, err error) (statusView, error) {
	if err != nil {
		return statusView{}, err
	}
	return newStatusView(s), nil
}

// adminCall is a command that makes one call without arguments and prints the
// status.
func adminCall(u *ui, name, short, long string, call func(*client.Client, context.Context) (*tacitv1.ServiceStatus, error)) *cobra.Command {
	return request(u, &cobra.Command{
		Use:   name,
		Short: short,
		Long:  short + ".\n\n" + long + "JSON: " + statusFields + ".",
		Args:  cobra.NoArgs,
	}, func(ctx context.Context, c *client.Client, _ []string) (statusView, error) {
		return statusOf(call(c, ctx))
	}, u.printStatus)
}

// drainStep is how often a drain looks whether it is over.
const drainStep = 200 * time.Millisecond

func adminDrainCommand(u *ui) *cobra.Command {
	var wait bool
	cmd := request(u, &cobra.Command{
		Use:   "drain",
		Short: "Have the process that is called take no new jobs and start none",
		Long: `Has the process that is called, and no other, take no new jobs and start none. What
runs goes on; with --wait the command ends when nothing does, and the process may be
stopped. Health checks answer NOT_SERVING meanwhile.

JSON: ` + statusFields + `.`,
		Args: cobra.NoArgs,
	}, func(ctx context.Context, c *client.Client, _ []string) (statusView, error) {
		s, err := c.Drain(ctx)
		bar := u.progress("drain")
		defer bar.end()
		for err == nil && wait && s.RunningHere > 0 {
			bar.status(func(elapsed time.Duration) string {
				return fmt.Sprintf("%d jobs run, %s", s.RunningHere, elapsed.Round(time.Second))
			})
			select {
			case <-time.After(drainStep):
			case <-ctx.Done():
				return statusView{}, ctx.Err()
			}
			s, err = c.Status(ctx)
		}
		return statusOf(s, err)
	}, u.printStatus)
	cmd.Flags().BoolVar(&wait, "wait", false, "end when no job runs any more")
	return cmd
}

// adminHoldCommand is a command about a principal or a key.
func adminHoldCommand(u *ui, name, short string, call func(*client.Client, context.Context, string, []byte) (*tacitv1.ServiceStatus, error)) *cobra.Command {
	var principal, key string
	var id []byte
	cmd := request(u, &cobra.Command{
		Use:   name + " {--principal NAME | --key ID}",
		Short: short,
		Long:  short + ", on all processes of the service, also\nafter a restart. Jobs that run go on.\n\nJSON: " + statusFields + ".",
		Args:  cobra.NoArgs,
		PreRunE: func(cmd *cobra.Command, _ []string) error {
			if (principal == "") == (key == "") {
				return wrongUsage(cmd, "one of --principal and --key is needed")
			}
			if key == "" {
				return nil
			}
			h, err := graph.ParseHandle(key)
			if err != nil {
				return wrongUsage(cmd, "--key: a key id is 64 hexadecimal digits")
			}
			id = h[:]
			return nil
		},
	}, func(ctx context.Context, c *client.Client, _ []string) (statusView, error) {
		return statusOf(call(c, ctx, principal, id))
	}, u.printStatus)
	cmd.Flags().StringVar(&principal, "principal", "", "whose jobs")
	cmd.Flags().StringVar(&key, "key", "", "the jobs of this evaluation key")
	return cmd
}

func adminDeadLettersCommand(u *ui) *cobra.Command {
	var limit int
	cmd := request(u, &cobra.Command{
		Use:   "dead-letters",
		Short: "List the jobs that failed in every attempt, the newest first",
		Long: `Lists the jobs that were given up after as many attempts as the server makes, the
newest first. 'tacit admin retry' tries one again.

JSON: as 'tacit job list'.`,
		Args:    cobra.NoArgs,
		PreRunE: func(cmd *cobra.Command, _ []string) error { return checkLimit(cmd, limit) },
	}, func(ctx context.Context, c *client.Client, _ []string) ([]jobView, error) {
		views := []jobView{}
		err := c.DeadLetters(ctx, limit, func(job *tacitv1.Job) bool {
			views = append(views, newJobView(job))
			return true
		})
		return views, err
	}, func(views []jobView) {
		for _, v := range views {
			u.printf("%v\n", &jobEndError{v})
		}
	})
	limitFlag(cmd, &limit)
	return cmd
}

// limitFlag adds --limit to a command that lists jobs.
func limitFlag(cmd *cobra.Command, limit *int) {
	cmd.Flags().IntVar(limit, "limit", 100, "at most this many; 0 is all")
}

func checkLimit(cmd *cobra.Command, limit int) error {
	if limit < 0 {
		return wrongUsage(cmd, "--limit is not negative")
	}
	return nil
}

// usageView is what a principal has and may have.
type usageView struct {
	Principal string            `json:"principal"`
	Weight    float64           `json:"weight"`
	Budget    uint64            `json:"budget,omitempty"`
	Used      uint64            `json:"used"`
	From      *time.Time        `json:"from"`
	To        *time.Time        `json:"to"`
	MaxQueued uint32            `json:"max_queued,omitempty"`
	Jobs      map[string]uint64 `json:"jobs"`
}

func newUsageView(u *tacitv1.Usage) usageView {
	return usageView{u.Principal, u.Weight, u.Budget, u.Used, timeOf(u.StartTime), timeOf(u.EndTime), u.MaxQueued, counts(u.Jobs)}
}

const usageFields = "principal, weight, budget and used (bootstraps), from, to, max_queued, jobs\n(by state)"

func (u *ui) printUsage(views []usageView) {
	u.table(func(row func(...any)) {
		row("principal", "bootstraps", "budget", "until", "weight", "jobs")
		for _, v := range views {
			budget, until := "-", "-"
			if v.Budget > 0 {
				budget = fmt.Sprint(v.Budget)
			}
			if v.To != nil {
				until = v.To.UTC().Format(time.RFC3339)
			}
			var jobs []string
			for _, name := range stateNames() {
				if n := v.Jobs[name]; n > 0 {
					jobs = append(jobs, fmt.Sprint(n, " ", name))
				}
			}
			row(v.Principal, v.Used, budget, until, v.Weight, strings.Join(jobs, ", "))
		}
	})
}

func adminUsageCommand(u *ui) *cobra.Command {
	return request(u, &cobra.Command{
		Use:   "usage",
		Short: "Say what all principals use of their budgets",
		Long: `Prints, for every principal that has jobs, the bootstraps of the jobs that it has
submitted in this period: what those that have ended spent, and what the others are
estimated at. 'tacit usage' prints one's own; 'tacit token quota' sets budgets.

JSON: a list of ` + usageFields + `.`,
		Args: cobra.NoArgs,
	}, func(ctx context.Context, c *client.Client, _ []string) ([]usageView, error) {
		list, err := c.AllUsage(ctx)
		views := []usageView{}
		for _, l := range list {
			views = append(views, newUsageView(l))
		}
		return views, err
	}, u.printUsage)
}

func usageCommand(u *ui) *cobra.Command {
	return request(u, &cobra.Command{
		Use:   "usage",
		Short: "Say what you have used of your budget",
		Long: `Prints the bootstraps of the jobs that you have submitted in this period, and what you
may use in it.

JSON: ` + usageFields + `.`,
		Args: cobra.NoArgs,
	}, func(ctx context.Context, c *client.Client, _ []string) (v usageView, err error) {
		usage, err := c.Usage(ctx, "")
		if err == nil {
			v = newUsageView(usage)
		}
		return v, err
	}, func(v usageView) { u.printUsage([]usageView{v}) })
}
