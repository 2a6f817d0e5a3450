package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/accel/cpu"
	"github.com/tacit-fhe/tacit/cmd/tacit/internal/device"
	"github.com/tacit-fhe/tacit/coprocessor/client"
	"github.com/tacit-fhe/tacit/coprocessor/signature"
	"github.com/tacit-fhe/tacit/fhe"
)

// environment is the annotation of a flag that names its environment variable.
const environment = "tacit_environment"

// env lets flags of a command be set by the environment: --a-b by TACIT_A_B.
func env(cmd *cobra.Command, flags ...string) {
	for _, name := range flags {
		envAs(cmd, name, "TACIT_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_")))
	}
}

// envAs lets a flag of a command be set by a variable of another name.
func envAs(cmd *cobra.Command, flag, variable string) {
	cmd.Flags().Lookup(flag).Usage += " [$" + variable + "]"
	if err := cmd.Flags().SetAnnotation(flag, environment, []string{variable}); err != nil {
		panic(err) // no such flag: a mistake in the program
	}
}

// fromEnvironment sets the flags that were not given.
func fromEnvironment(cmd *cobra.Command) (err error) {
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		variable := f.Annotations[environment]
		if err != nil || f.Changed || len(variable) == 0 {
			return
		}
		if value := os.Getenv(variable[0]); value != "" {
			if e := setFrom(cmd, f, value, variable[0]); e != nil {
				err = fmt.Errorf("%s: %w", variable[0], e)
			}
		}
	})
	return err
}

// origin is the annotation of a flag that was set by something other than the
// command line.
const origin = "tacit_origin"

// setFrom sets a flag and remembers what it was set by.
func setFrom(cmd *cobra.Command, f *pflag.Flag, value, by string) error {
	if err := cmd.Flags().Set(f.Name, value); err != nil {
		return err
	}
	return cmd.Flags().SetAnnotation(f.Name, origin, []string{by})
}

// required marks flags that have no default.
func required(cmd *cobra.Command, flags ...string) {
	for _, name := range flags {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // no such flag: a mistake in the program
		}
	}
}

// preset returns a parameter set, with a warning if it protects nothing.
func (u *ui) preset(name string) (*fhe.Parameters, error) {
	p, err := fhe.Preset(name)
	if err != nil {
		return nil, &hinted{err, "'tacit params' describes the parameter sets"}
	}
	if p.Literal().TestOnly {
		u.warn("%s is for tests: its keys protect nothing", name)
	}
	return p, nil
}

// paramsFlag adds --params to a command, which takes the names of more sets than TFHE's.
func paramsFlag(cmd *cobra.Command, name *string, more ...string) {
	cmd.Flags().StringVar(name, "params", fhe.DefaultPreset, "parameter set, see 'tacit params'")
	env(cmd, "params")
	complete(cmd, "params", slices.Concat(fhe.PresetNames(), more)...)
}

// deviceFlag adds --device to a command.
func deviceFlag(cmd *cobra.Command, name *string) {
	cmd.Flags().StringVar(name, "device", device.Auto, "auto, cpu, cuda or cuda:0,1: GPUs if there are any, or what is named; cores help GPUs where that pays")
	env(cmd, "device")
	complete(cmd, "device", device.Auto, device.CPU, device.CUDA)
}

// openDevice returns the backend of --device. report is told of GPUs that fail while
// others, or the processor, go on.
func (u *ui) openDevice(cmd *cobra.Command, name string, report func(error)) (backend accel.Backend, why, err error) {
	backend, why, err = device.Open(name, report)
	switch {
	case errors.As(err, new(*device.NameError)):
		return nil, nil, &usageError{cmd, err}
	case errors.As(err, new(*cpu.UnavailableError)):
		return nil, nil, err
	case err != nil:
		return nil, nil, &hinted{err, "'tacit doctor' shows the GPUs that were found, or why there are none"}
	}
	return backend, why, nil
}

// warnDevice is a report for commands of a person.
func (u *ui) warnDevice(err error) { u.warn("%v", err) }

// jsonFlag adds --json to a command.
func jsonFlag(cmd *cobra.Command, asJSON *bool) {
	cmd.Flags().BoolVar(asJSON, "json", false, "print JSON")
}

// complete offers values for a flag in the shell.
func complete(cmd *cobra.Command, flag string, values ...string) {
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // no such flag: a mistake in the program
	}
}

// connection is how commands reach a server, and as whom.
type connection struct {
	server     string
	plaintext  bool
	tls        bool
	certs      client.TLSFiles
	tokenFile  string
	signingKey string
	audience   string
}

// connectionFlags adds --server and what else a connection needs to a command.
func connectionFlags(cmd *cobra.Command, c *connection) {
	flags := cmd.Flags()
	flags.StringVar(&c.server, "server", defaultAddress, "host and port of the server")
	flags.BoolVar(&c.plaintext, "insecure-plaintext", false, "talk to another machine without encryption")
	flags.BoolVar(&c.tls, "tls", false, "encrypt the connection, with the authorities of the system or of --tls-ca")
	flags.StringVar(&c.certs.CA, "tls-ca", "", "authority in PEM that the server's certificate must come from; implies --tls")
	flags.StringVar(&c.certs.Cert, "tls-cert", "", "our certificate in PEM; implies --tls")
	flags.StringVar(&c.certs.Key, "tls-key", "", "key of our certificate in PEM")
	flags.StringVar(&c.certs.ServerName, "tls-server-name", "", "name that the server's certificate must have, instead of its host")
	flags.StringVar(&c.tokenFile, "token-file", "", "file with the token that says who we are")
	flags.StringVar(&c.signingKey, "signing-key", "", "Ed25519 key in PEM that signs our calls, instead of a token")
	flags.StringVar(&c.audience, "audience", signature.DefaultAudience, "name of the server in signed calls")
	names := []string{"server", "insecure-plaintext", "tls", "tls-ca", "tls-cert", "tls-key", "tls-server-name", "token-file", "signing-key", "audience"}
	env(cmd, names...)
	under(cmd, flagsServer, names...)
}

func (c *connection) dial() (*client.Client, error) {
	opts := client.Options{InsecurePlaintext: c.plaintext, Audience: c.audience}
	var err error
	if (c.certs.Cert == "") != (c.certs.Key == "") {
		return nil, &client.OptionsError{Reason: "--tls-cert and --tls-key go together"}
	}
	if c.tls || c.certs.CA != "" || c.certs.Cert != "" {
		if opts.TLS, err = c.certs.Config(); err != nil {
			return nil, err
		}
	}
	if c.tokenFile != "" {
		if opts.Token, err = readAs(c.tokenFile, parseToken); err != nil {
			return nil, err
		}
	}
	if c.signingKey != "" {
		if opts.Signer, err = readAs(c.signingKey, parseSigningKey); err != nil {
			return nil, err
		}
	}
	return client.Dial(c.server, opts)
}
