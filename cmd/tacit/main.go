// Command tacit makes keys, encrypts and decrypts, and runs and calls the
// coprocessor. Every command is a file of this package; what they do is done by
// the packages they call. `tacit demo` shows all of it at work.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// run executes a command line and returns its exit code.
func run(args []string, stdin, stdout, stderr *os.File) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)

	u := newUI(stdin, stdout, stderr)
	context.AfterFunc(ctx, func() {
		time.Sleep(progressAfter)
		if u.terminal {
			u.note("\ninterrupted: it ends in order; a second interrupt ends it at once")
		}
	})
	root := rootCommand(u)
	root.SetArgs(args)
	return u.exit(ctx, root.ExecuteContext(ctx))
}
