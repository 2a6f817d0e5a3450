package main

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tacit-fhe/tacit/coprocessor/graph"
)

// rootCommand is the command line: all commands, with their errors told apart
// from wrong usage.
func rootCommand(u *ui) *cobra.Command {
	root := &cobra.Command{
		Use:   "tacit",
		Short: "Compute on encrypted values that the computer cannot read",
		Long: `tacit makes keys, encrypts and decrypts integers and vectors, and runs and calls a
coprocessor that computes on them without being able to read them.

Start with:  tacit demo

Results go to standard output, everything else to standard error. Flags that
name an environment variable take their value from it when they are not given.

Exit codes: 0 success, 1 failure, 2 wrong usage, 3 a job failed, 4 a job was
cancelled, 5 a job has not ended in time, 6 a receipt does not hold, 130
interrupted.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := fromEnvironment(cmd); err != nil {
				return &usageError{cmd, err}
			}
			if err := fromFile(cmd); err != nil {
				return err
			}
			return checkRequired(cmd)
		},
	}
	root.SetIn(u.in)
	root.SetOut(u.out)
	root.SetErr(u.err)
	root.SetFlagErrorFunc(flagError)
	cobra.EnableCommandSorting = false // in help they stand in the order in which one meets them
	root.AddGroup(commandGroups...)
	addCommands(root, groupValues, keygenCommand(u), encryptCommand(u), decryptCommand(u), inspectCommand(u), paramsCommand(u))
	addCommands(root, groupJobs, uploadCommand(u), submitCommand(u), jobCommand(u), fetchCommand(u), verifyCommand(u), programCommand(u),
		keyCommand(u), accessCommand(u), usageCommand(u))
	addCommands(root, groupServers, serveCommand(u), clusterCommand(u), storeCommand(u), configCommand(u), tokenCommand(u), adminCommand(u))
	addCommands(root, groupMachine, demoCommand(u), doctorCommand(u), benchCommand(u), versionCommand(u))
	root.SetCompletionCommandGroupID(groupMachine)
	root.SetHelpCommandGroupID(groupMachine)
	root.SetUsageFunc(u.usage)
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	tellUsage(root)
	return root
}

// tellUsage makes wrong arguments of a command and its subcommands usage errors.
// A command that only groups others shows its help.
func tellUsage(cmd *cobra.Command) {
	check := cmd.Args
	if cmd.HasSubCommands() {
		check = noSubcommand
		if !cmd.Runnable() {
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		}
	}
	if check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			err := check(cmd, args)
			switch {
			case err == nil:
				return nil
			case !cmd.HasSubCommands():
				want, _, _ := strings.Cut(cmd.UseLine(), " [flags]")
				err = fmt.Errorf("wrong number of arguments: %d, want %s", len(args), want)
			}
			return &usageError{cmd, err}
		}
	}
	for _, c := range cmd.Commands() {
		tellUsage(c)
	}
}

// flagError is wrong usage of flags, with the one that was likely meant.
func flagError(cmd *cobra.Command, err error) error {
	if _, name, ok := strings.Cut(err.Error(), "unknown flag: --"); ok {
		if near := graph.Nearest(name, flagNames(cmd, nil)); near != "" {
			return wrongUsage(cmd, "unknown flag: --%s, did you mean --%s?", name, near)
		}
	}
	return &usageError{cmd, err}
}

// flagNames are the names of the flags of a command that keep allows; nil allows all.
func flagNames(cmd *cobra.Command, keep func(*pflag.Flag) bool) iter.Seq[string] {
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if keep == nil || keep(f) {
			names = append(names, f.Name)
		}
	})
	return slices.Values(names)
}

// checkRequired says which required flags are not set.
func checkRequired(cmd *cobra.Command) error {
	var missing []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if len(f.Annotations[cobra.BashCompOneRequiredFlag]) > 0 && !f.Changed {
			missing = append(missing, "--"+f.Name)
		}
	})
	switch len(missing) {
	case 0:
		return nil
	case 1:
		return wrongUsage(cmd, "%s is needed", missing[0])
	}
	return wrongUsage(cmd, "%s are needed", strings.Join(missing, " and "))
}

func noSubcommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	text := fmt.Sprintf("unknown command %q", args[0])
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		text += ", did you mean " + strings.Join(near, " or ") + "?"
	}
	return fmt.Errorf("%s", text)
}
