package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"
)

// The headings of commands in the help of the root command, in its order.
const (
	groupValues  = "values"
	groupJobs    = "jobs"
	groupServers = "servers"
	groupMachine = "machine"
)

var commandGroups = []*cobra.Group{
	{ID: groupValues, Title: "Keys and values:"},
	{ID: groupJobs, Title: "Work for a server:"},
	{ID: groupServers, Title: "Running a server:"},
	{ID: groupMachine, Title: "This machine:"},
}

// addCommands adds commands under a heading.
func addCommands(root *cobra.Command, group string, commands ...*cobra.Command) {
	for _, c := range commands {
		c.GroupID = group
	}
	root.AddCommand(commands...)
}

// The headings of flags, in the order of help. Flags without one come first.
const (
	flagsServer   = "The server and who we are"
	flagsCallers  = "Address and callers"
	flagsCompute  = "Computing"
	flagsKept     = "Limits, and what is kept"
	flagsShared   = "Several processes"
	flagsWatching = "Watching it"
)

var flagGroups = []string{"", flagsServer, flagsCallers, flagsCompute, flagsKept, flagsShared, flagsWatching}

// heading is the annotation of a flag that names its heading.
const heading = "tacit_heading"

// under puts flags of a command under a heading in its help.
func under(cmd *cobra.Command, title string, flags ...string) {
	for _, name := range flags {
		if err := cmd.Flags().SetAnnotation(name, heading, []string{title}); err != nil {
			panic(err) // no such flag: a mistake in the program
		}
	}
}

// flagUsages describes the flags of a command under their headings, in lines as wide as
// the terminal.
func (u *ui) flagUsages(flags *pflag.FlagSet) string {
	width := 0
	if w, _, err := term.GetSize(int(u.out.Fd())); err == nil {
		width = w
	}
	var text strings.Builder
	for _, title := range flagGroups {
		group := pflag.NewFlagSet("", pflag.ContinueOnError)
		flags.VisitAll(func(f *pflag.Flag) {
			of := ""
			if titles := f.Annotations[heading]; len(titles) > 0 {
				of = titles[0]
			}
			if of == title {
				group.AddFlag(f)
			}
		})
		if !group.HasAvailableFlags() {
			continue
		}
		if title == "" {
			title = "Flags"
		}
		fmt.Fprintf(&text, "\n%s:\n%s", title, group.FlagUsagesWrapped(width))
	}
	return text.String()
}

// usage writes how a command is called: usage line, examples, subcommands and flags.
func (u *ui) usage(cmd *cobra.Command) error {
	out := cmd.OutOrStderr()
	fmt.Fprintln(out, "Usage:")
	if cmd.HasSubCommands() {
		fmt.Fprintf(out, "  %s COMMAND\n", cmd.CommandPath())
	} else {
		fmt.Fprintf(out, "  %s\n", cmd.UseLine())
	}
	if cmd.HasExample() {
		fmt.Fprintf(out, "\nExamples:\n%s\n", cmd.Example)
	}
	groups := slices.Clone(cmd.Groups())
	if len(groups) == 0 && cmd.HasSubCommands() {
		groups = []*cobra.Group{{Title: "Commands:"}}
	}
	for _, g := range groups {
		fmt.Fprintf(out, "\n%s\n", g.Title)
		for _, c := range cmd.Commands() {
			if c.GroupID == g.ID && (c.IsAvailableCommand() || c.Name() == "help") {
				fmt.Fprintf(out, "  %-*s %s\n", cmd.Commands()[0].NamePadding(), c.Name(), c.Short)
			}
		}
	}
	fmt.Fprint(out, u.flagUsages(cmd.LocalFlags()))
	if cmd.HasSubCommands() {
		fmt.Fprintf(out, "\n'%s COMMAND --help' describes a command.\n", cmd.CommandPath())
	}
	return nil
}
