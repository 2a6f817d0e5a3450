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
		adminDeadLettersCommand(u), adminUsageCommand(u),
	)
	return cmd
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
}

const statusFields = "paused, draining, quarantined_principals, quarantined_keys, jobs (by state),\nrunning_here, backlog (bootstraps)"

func newStatusView(s *tacitv1.ServiceStatus) statusView {
	v := statusView{
		Paused: s.Paused, Draining: s.Draining, Principals: append([]string{}, s.QuarantinedPrincipals...), Keys: []string{},
		Jobs: counts(s.Jobs), Running: s.RunningHere, Backlog: s.Backlog,
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

func (u *ui) showStatus(s *tacitv1.ServiceStatus, asJSON bool) error {
	v := newStatusView(s)
	if asJSON {
		return u.printJSON(v)
	}
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
	})
	for _, p := range v.Principals {
		u.printf("quarantined: principal %s\n", p)
	}
	for _, k := range v.Keys {
		u.printf("quarantined: key %s\n", k)
	}
	return nil
}

// adminCall is a command that makes one call without arguments and prints the
// status.
func adminCall(u *ui, name, short, long string, call func(*client.Client, context.Context) (*tacitv1.ServiceStatus, error)) *cobra.Command {
	var conn connection
	var asJSON bool
	cmd := &cobra.Command{
		Use:   name,
		Short: short,
		Long:  short + ".\n\n" + long + "JSON: " + statusFields + ".",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := conn.dial()
			if err != nil {
				return err
			}
			defer c.Close()
			s, err := call(c, cmd.Context())
			if err != nil {
				return err
			}
			return u.showStatus(s, asJSON)
		},
	}
	connectionFlags(cmd, &conn)
	jsonFlag(cmd, &asJSON)
	return cmd
}

// drainStep is how often a drain looks whether it is over.
const drainStep = 200 * time.Millisecond

func adminDrainCommand(u *ui) *cobra.Command {
	var conn connection
	var wait, asJSON bool
	cmd := &cobra.Command{
		Use:   "drain",
		Short: "Have the process that is called take no new jobs and start none",
		Long: `Has the process that is called, and no other, take no new jobs and start none. What
runs goes on; with --wait the command ends when nothing does, and the process may be
stopped. Health checks answer NOT_SERVING meanwhile.

JSON: ` + statusFields + `.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := conn.dial()
			if err != nil {
				return err
			}
			defer c.Close()
			s, err := c.Drain(cmd.Context())
			bar := u.progress("drain")
			defer bar.end()
			for err == nil && wait && s.RunningHere > 0 {
				bar.status(func(elapsed time.Duration) string {
					return fmt.Sprintf("%d jobs run, %s", s.RunningHere, elapsed.Round(time.Second))
				})
				select {
				case <-time.After(drainStep):
				case <-cmd.Context().Done():
					return cmd.Context().Err()
				}
				s, err = c.Status(cmd.Context())
			}
			if err != nil {
				return err
			}
			return u.showStatus(s, asJSON)
		},
	}
	connectionFlags(cmd, &conn)
	cmd.Flags().BoolVar(&wait, "wait", false, "end when no job runs any more")
	jsonFlag(cmd, &asJSON)
	return cmd
}

// adminHoldCommand is a command about a principal or a key.
func adminHoldCommand(u *ui, name, short string, call func(*client.Client, context.Context, string, []byte) (*tacitv1.ServiceStatus, error)) *cobra.Command {
	var conn connection
	var principal, key string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   name + " {--principal NAME | --key ID}",
		Short: short,
		Long:  short + ", on all processes of the service, also\nafter a restart. Jobs that run go on.\n\nJSON: " + statusFields + ".",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if (principal == "") == (key == "") {
				return wrongUsage(cmd, "one of --principal and --key is needed")
			}
			var id []byte
			if key != "" {
				h, err := graph.ParseHandle(key)
				if err != nil {
					return wrongUsage(cmd, "--key: a key id is 64 hexadecimal digits")
				}
				id = h[:]
			}
			c, err := conn.dial()
			if err != nil {
				return err
			}
			defer c.Close()
			s, err := call(c, cmd.Context(), principal, id)
			if err != nil {
				return err
			}
			return u.showStatus(s, asJSON)
		},
	}
	connectionFlags(cmd, &conn)
	cmd.Flags().StringVar(&principal, "principal", "", "whose jobs")
	cmd.Flags().StringVar(&key, "key", "", "the jobs of this evaluation key")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func adminDeadLettersCommand(u *ui) *cobra.Command {
	var conn connection
	var limit int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "dead-letters",
		Short: "List the jobs that failed in every attempt, the newest first",
		Long: `Lists the jobs that were given up after as many attempts as the server makes, the
newest first. 'tacit admin retry' tries one again.

JSON: as 'tacit job list'.`,
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
			if err := c.DeadLetters(cmd.Context(), limit, func(job *tacitv1.Job) bool {
				views = append(views, newJobView(job))
				return true
			}); err != nil {
				return err
			}
			if asJSON {
				return u.printJSON(views)
			}
			for _, v := range views {
				u.printf("%v\n", &jobEndError{v})
			}
			return nil
		},
	}
	connectionFlags(cmd, &conn)
	cmd.Flags().IntVar(&limit, "limit", 100, "at most this many; 0 is all")
	jsonFlag(cmd, &asJSON)
	return cmd
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
	var conn connection
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "usage",
		Short: "Say what all principals use of their budgets",
		Long: `Prints, for every principal that has jobs, the bootstraps of the jobs that it has
submitted in this period: what those that have ended spent, and what the others are
estimated at. 'tacit usage' prints one's own; 'tacit token quota' sets budgets.

JSON: a list of ` + usageFields + `.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := conn.dial()
			if err != nil {
				return err
			}
			defer c.Close()
			list, err := c.AllUsage(cmd.Context())
			if err != nil {
				return err
			}
			views := []usageView{}
			for _, l := range list {
				views = append(views, newUsageView(l))
			}
			if asJSON {
				return u.printJSON(views)
			}
			u.printUsage(views)
			return nil
		},
	}
	connectionFlags(cmd, &conn)
	jsonFlag(cmd, &asJSON)
	return cmd
}

func usageCommand(u *ui) *cobra.Command {
	var conn connection
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "usage",
		Short: "Say what you have used of your budget",
		Long: `Prints the bootstraps of the jobs that you have submitted in this period, and what you
may use in it.

JSON: ` + usageFields + `.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := conn.dial()
			if err != nil {
				return err
			}
			defer c.Close()
			usage, err := c.Usage(cmd.Context(), "")
			if err != nil {
				return err
			}
			v := newUsageView(usage)
			if asJSON {
				return u.printJSON(v)
			}
			u.printUsage([]usageView{v})
			return nil
		},
	}
	connectionFlags(cmd, &conn)
	jsonFlag(cmd, &asJSON)
	return cmd
}
