package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/tacit-fhe/tacit/cmd/tacit/internal/cluster"
)

func clusterCommand(u *ui) *cobra.Command {
	var data, listen, params, logLevel, callers string
	var nodes, workers int
	var lease, drain time.Duration
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "cluster --data DIR",
		Short: "Run a coprocessor of several processes on this machine",
		Long: `Runs servers that keep all data together and answer calls, and workers that
compute, all as processes of this machine that talk over loopback. With three servers
(--nodes), any one of them can go, and any worker, without losing anything; a process
that ends is started again. Clients may call any server. With --worker-processes 0 the
servers compute too.

Each process has a directory below --data; they share a secret and the key that
signs receipts, which are made when they are absent. An interrupt (SIGINT) or SIGTERM
ends all of it in order.

A line is printed for every process that has started: its name, role, process id, and the
address where it answers. JSON: an object for each, with name, role, pid and address.

On several machines, run 'tacit serve' on each: 'tacit serve --help' has the flags.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if nodes < 1 || workers < 0 || nodes == 2 {
				return wrongUsage(cmd, "--nodes is 1, or 3 or more: of two, both are needed; --worker-processes is not negative")
			}
			if lease < 0 || drain < 0 {
				return wrongUsage(cmd, "--lease and --drain are not negative")
			}
			program, err := os.Executable()
			if err != nil {
				return err
			}
			if data, err = filepath.Abs(data); err != nil {
				return err
			}
			args := []string{"--params", params, "--log-level", logLevel, "--lease", lease.String(), "--drain", drain.String()}
			if callers != "" {
				args = append(args, "--callers", callers)
			}
			// They share the cores.
			cores := max(1, runtime.GOMAXPROCS(0)/max(workers, 1))
			return cluster.Run(cmd.Context(), cluster.Config{
				Program: program, Data: data, Nodes: nodes, Workers: workers, Listen: listen, Args: args,
				WorkerArgs: []string{"--workers", fmt.Sprint(cores)}, Log: u.err,
			}, func(p cluster.Process) {
				if asJSON {
					u.printJSONLine(p)
					return
				}
				u.printf("%-8s  %-6s  pid %-7d  %s\n", p.Name, p.Role, p.PID, p.Address)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&data, "data", "", "directory of all processes; made if it is absent")
	flags.IntVar(&nodes, "nodes", 3, "servers, which keep three copies of everything when there are as many")
	flags.IntVar(&workers, "worker-processes", 2, "processes that compute; with 0 the servers do")
	flags.StringVar(&listen, "listen", defaultAddress, "host and port of the first server on loopback, the others follow; port 0 takes free ones")
	flags.StringVar(&callers, "callers", "", "who may call: the file of 'tacit token'")
	flags.DurationVar(&lease, "lease", 10*time.Second, "how long a job stays with a worker that gives no sign of life")
	flags.DurationVar(&drain, "drain", 30*time.Second, "how long running jobs may go on after a signal")
	flags.StringVar(&logLevel, "log-level", "warn", "debug, info, warn or error")
	paramsFlag(cmd, &params)
	jsonFlag(cmd, &asJSON)
	env(cmd, "data", "listen", "callers", "lease", "drain", "log-level")
	complete(cmd, "log-level", "debug", "info", "warn", "error")
	required(cmd, "data")
	return cmd
}
