package main

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tacit-fhe/tacit/bench/peers"
	"github.com/tacit-fhe/tacit/bench/suite"
)

// adaptersDir has the adapters of the repository, from its root.
const adaptersDir = "bench/peers/adapters"

func benchPeersCommand(u *ui) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "peers [PATH]",
		Short: "List the adapters of other libraries for 'bench run'",
		Long: `Lists adapters: programs that run the workloads of 'bench run' with another library.
PATH is a program, the folder of an adapter or a folder of such folders; by default it
is ` + adaptersDir + `. Those that are installed say what they have programs for; for the
others there is the command that installs them. 'tacit bench run --adapter PATH' runs them.

JSON: a list of adapter, library, version, build, schemes [scheme, workloads], and absent,
install of those that are not installed.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := adaptersDir
			if len(args) == 1 {
				path = args[0]
			}
			type entry struct {
				Adapter string                `json:"adapter"`
				Library string                `json:"library"`
				Version string                `json:"version,omitempty"`
				Build   string                `json:"build,omitempty"`
				Schemes []peers.SchemeOffered `json:"schemes,omitempty"`
				Absent  string                `json:"absent,omitempty"`
				Install string                `json:"install,omitempty"`
			}
			manifests, err := peers.Find(path)
			if errors.As(err, new(*peers.AbsentError)) {
				return &hinted{err, "name a folder of adapters; those of the project are bench/peers/adapters in a clone of its repository"}
			}
			if err != nil {
				return err
			}
			var all []entry
			for _, m := range manifests {
				e := entry{Adapter: m.Name(), Library: m.Library, Install: m.Install}
				a, err := m.Start(cmd.Context())
				if absent := (*peers.AbsentError)(nil); errors.As(err, &absent) {
					e.Absent = absent.Reason
				} else if err != nil {
					return err
				} else {
					e.Library, e.Version, e.Build, e.Schemes, e.Install = a.Library, a.Version, a.Build, a.Schemes, ""
					if err := a.Close(); err != nil {
						return err
					}
				}
				all = append(all, e)
			}
			if asJSON {
				return u.printJSON(all)
			}
			u.table(func(row func(cells ...any)) {
				row("ADAPTER", "LIBRARY", "RUNS")
				for _, e := range all {
					if e.Absent != "" {
						row(e.Adapter, e.Library, "absent: "+e.Absent+"; to install it: "+e.Install)
					}
					for _, s := range e.Schemes {
						row(e.Adapter, e.Library+" "+e.Version, s.Scheme+": "+strings.Join(s.Workloads, " "))
					}
				}
			})
			return nil
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

// runAdapters measures other libraries with the adapters at a path, and returns nothing
// if none is installed.
func (u *ui) runAdapters(ctx context.Context, path string, o suite.Options) (*suite.Results, error) {
	if o.Out == "" {
		return nil, errors.New("results of adapters are added to a file: name one with --out")
	}
	var absent *peers.AbsentError
	manifests, err := peers.Find(path)
	if errors.As(err, &absent) {
		u.warn("%v: skipped", absent)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var results *suite.Results
	for _, m := range manifests {
		a, err := m.Start(ctx)
		if errors.As(err, &absent) {
			u.warn("%v: skipped", absent)
			if hint := absent.Hint(); hint != "" {
				u.note("hint: %s", hint)
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		results, err = suite.RunPeer(ctx, o, a)
		if err := errors.Join(err, a.Close()); err != nil {
			return nil, err
		}
	}
	return results, nil
}
