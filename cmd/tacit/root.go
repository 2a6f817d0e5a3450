package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// rootCommand is the command line: all commands, with their errors told apart
// from wrong usage.
func rootCommand(u *ui) *cobra.Command {
	root := &cobra.Command{
		Use:   "tacit",
		Short: "Compute on encrypted integers that the computer cannot read",
		Long: `tacit makes keys, encrypts and decrypts integers, and runs and calls a
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
			if err := cmd.ValidateRequiredFlags(); err != nil {
				return &usageError{cmd, err}
			}
			return nil
		},
	}
	root.SetIn(u.in)
	root.SetOut(u.out)
	root.SetErr(u.err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return &usageError{cmd, err} })
	root.AddCommand(
		keygenCommand(u), encryptCommand(u), decryptCommand(u), inspectCommand(u), paramsCommand(u),
		serveCommand(u), clusterCommand(u), storeCommand(u), configCommand(u), uploadCommand(u), submitCommand(u), jobCommand(u), fetchCommand(u), verifyCommand(u),
		tokenCommand(u), accessCommand(u), keyCommand(u), programCommand(u), usageCommand(u), adminCommand(u), demoCommand(u), doctorCommand(u), benchCommand(u), versionCommand(u),
	)
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
			if err := check(cmd, args); err != nil {
				return &usageError{cmd, err}
			}
			return nil
		}
	}
	for _, c := range cmd.Commands() {
		tellUsage(c)
	}
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
