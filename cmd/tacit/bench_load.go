package main

import (
	"errors"
	"os"
	"runtime/pprof"

	"github.com/spf13/cobra"

	"github.com/tacit-fhe/tacit/bench/load"
	"github.com/tacit-fhe/tacit/cmd/tacit/internal/host"
	"github.com/tacit-fhe/tacit/fhe/integer"
)

func benchLoadCommand(u *ui) *cobra.Command {
	var params, typeName, device, out, profile, heapProfile string
	var asJSON bool
	o := load.Options{}
	cmd := &cobra.Command{
		Use:   "load",
		Short: "Put a service under load by many principals, and see how it shares",
		Long: `Runs a service in this process, over a temporary directory and real connections, and
has many principals queue jobs, the first of them half of all and before the others.
Then more is submitted than may be queued, and then all jobs are computed. Prints how
long jobs waited and ran, how evenly the principals were served, and how what is too
much was answered. With --for, rounds are repeated, to see that memory stays as it
is: what is in use after each round, when the jobs beyond --keep-jobs-count are removed,
and how the last half of the rounds compares with the first. With --callers, so many callers submit one job each and wait for it instead, again
and again; with --params insecure-test-mock-v1 the service is a mock, and what is seen is what
jobs cost besides their arithmetic. --cpu-profile writes a profile of the time in which the service computes, and
--heap-profile one of what is in memory in the end, which 'go tool pprof -top -cum' shows.

JSON: parameters, cpu, workers, principals, jobs, adds, type, keep_jobs_count,
rounds [seconds, jobs_per_second, bootstraps, bootstraps_per_second, submit_seconds
[p50, p99], first_wait_seconds, others_wait_seconds, execution_seconds, fairness,
refused, refused_with_time, taken_over_bound, cpu_seconds, jobs_kept,
live_bytes_after, heap_bytes_after, resident_bytes_after, goroutines_after], growth
[live, resident, goroutines, bytes_per_job] of four rounds or more; with --callers
flows [callers, seconds, jobs_per_second, turnaround_seconds, cpu_seconds, jobs_kept,
live_bytes_after, ...] instead of rounds.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			p, err := u.preset(params)
			if err != nil {
				return err
			}
			if o.Type, err = integer.ParseType(typeName); err != nil || o.Type == integer.Bool {
				return wrongUsage(cmd, "--type: %q is no type of integers", typeName)
			}
			backend, _, err := u.openDevice(cmd, device, u.warnDevice)
			if err != nil {
				return err
			}
			defer backend.Close()
			if profile != "" {
				f, err := os.OpenFile(profile, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
				if err != nil {
					return err
				}
				defer f.Close()
				var failed error
				profiled := false
				o.Computing = func(begins bool) {
					switch {
					case !begins:
						pprof.StopCPUProfile()
					case !profiled: // a profile is of one round
						profiled, failed = true, pprof.StartCPUProfile(f)
					}
				}
				defer func() { err = errors.Join(err, failed) }()
			}
			if heapProfile != "" {
				f, err := os.OpenFile(heapProfile, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
				if err != nil {
					return err
				}
				defer f.Close()
				var failed error
				o.Done = func() { failed = pprof.WriteHeapProfile(f) }
				defer func() { err = errors.Join(err, failed) }()
			}
			o.Params, o.Backend = p, backend
			host.TuneCollector() // as a server does
			report, err := measured(u, "jobs", &o.Progress, func() (*load.Report, error) { return load.Run(cmd.Context(), o) })
			if err != nil {
				return err
			}
			return u.writeReport(report, asJSON, out)
		},
	}
	flags := cmd.Flags()
	paramsFlag(cmd, &params)
	deviceFlag(cmd, &device)
	flags.StringVar(&typeName, "type", integer.Uint64.String(), "type of the operands")
	flags.IntVar(&o.Workers, "workers", 0, "cores that bootstrap, or help a GPU where that pays; 0 is all")
	flags.IntVar(&o.Principals, "principals", 50, "how many submit jobs")
	flags.IntVar(&o.Jobs, "jobs", 1000, "jobs of a round")
	flags.IntVar(&o.Adds, "adds", 1, "additions of a job, one after the other")
	flags.IntVar(&o.Callers, "callers", 0, "callers who wait for each job before they submit the next; 0 queues all jobs first")
	flags.DurationVar(&o.For, "for", 0, "how long rounds are repeated; 0 is one round")
	flags.IntVar(&o.KeepJobs, "keep-jobs-count", defaultKeepJobs, "how many jobs that have ended the service keeps, a round of them at least; 0 is all")
	flags.StringVar(&heapProfile, "heap-profile", "", "file for a profile of the memory after the last round")
	flags.StringVar(&profile, "cpu-profile", "", "file for a profile of the processor time")
	reportFlags(cmd, &out, &asJSON)
	return cmd
}
