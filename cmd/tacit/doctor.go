package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/tacit-fhe/tacit/cmd/tacit/internal/doctor"
)

// doctorView is what doctor prints.
type doctorView struct {
	Version  string         `json:"version"`
	Healthy  bool           `json:"healthy"`
	Features []string       `json:"features"`
	Checks   []doctor.Check `json:"checks"`
}

func doctorCommand(u *ui) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check that this machine computes right",
		Long: `Checks the processor, the memory and the arithmetic: every implementation that
runs here against known answers, and a key generation and a bootstrap against
known digests. GPUs that are there are checked in the same way, and where there are
none, the reason is shown. The exit code is 1 when a check fails.

JSON: version, healthy, features, checks [name, ok, detail].`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			checks := doctor.Run(cmd.Context())
			if err := cmd.Context().Err(); err != nil {
				return err // not the machine's fault
			}
			v := doctorView{version(), doctor.Healthy(checks), doctor.Features(), checks}
			if asJSON {
				if err := u.printJSON(v); err != nil {
					return err
				}
			} else {
				u.table(func(row func(...any)) {
					row("ok", "version", v.Version)
					for _, c := range checks {
						row(map[bool]string{true: "ok", false: "FAILED"}[c.OK], c.Name, c.Detail)
					}
				})
			}
			if !v.Healthy {
				return errors.New("a check failed: do not compute on this machine")
			}
			return nil
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}
