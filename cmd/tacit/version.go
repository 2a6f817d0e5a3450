package main

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// released is set by the linker for releases.
var released string

// version is the version of the program: that of the release, or what the build
// knows of the source.
func version() string {
	if released != "" {
		return released
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// versionView is what version prints.
type versionView struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

func versionCommand(u *ui) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Long:  "Prints the version of the program.\n\nJSON: version, go, os, arch.",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := versionView{version(), runtime.Version(), runtime.GOOS, runtime.GOARCH}
			if asJSON {
				return u.printJSON(v)
			}
			u.printf("tacit %s %s %s/%s\n", v.Version, v.Go, v.OS, v.Arch)
			return nil
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}
