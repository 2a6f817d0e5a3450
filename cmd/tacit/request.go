package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/tacit-fhe/tacit/coprocessor/client"
)

// request completes a command that asks a server and prints its answer: it adds the
// flags of a connection and --json. ask returns what JSON shows, and show prints it for
// people. Arguments that can be wrong without a server are read in PreRunE.
func request[T any](u *ui, cmd *cobra.Command, ask func(ctx context.Context, c *client.Client, args []string) (T, error), show func(T)) *cobra.Command {
	var conn connection
	var asJSON bool
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := conn.dial()
		if err != nil {
			return err
		}
		defer c.Close()
		answer, err := ask(cmd.Context(), c, args)
		if err != nil {
			return err
		}
		if asJSON {
			return u.printJSON(answer)
		}
		show(answer)
		return nil
	}
	connectionFlags(cmd, &conn)
	jsonFlag(cmd, &asJSON)
	return cmd
}
