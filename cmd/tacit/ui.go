package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"regexp"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"google.golang.org/grpc/codes"

	"github.com/tacit-fhe/tacit/accel/cpu"
	"github.com/tacit-fhe/tacit/cmd/tacit/internal/host"
	"github.com/tacit-fhe/tacit/cmd/tacit/internal/inspect"
	"github.com/tacit-fhe/tacit/cmd/tacit/internal/jobfile"
	"github.com/tacit-fhe/tacit/coprocessor/client"
	"github.com/tacit-fhe/tacit/coprocessor/graph"
	"github.com/tacit-fhe/tacit/coprocessor/store"
	"github.com/tacit-fhe/tacit/coprocessor/upkeep"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/codec"
	"github.com/tacit-fhe/tacit/fhe/keyfile"
	"github.com/tacit-fhe/tacit/fhe/leveled"
)

// The rules of all text:
//
//   - What a command is for goes to standard output, and nothing else does. With
//     --json it is JSON; field names are stable and listed in the help.
//   - Everything else goes to standard error: progress, "warning: …", and last
//     "error: …" with, where something can be done about it, "hint: …". These
//     begin with a small letter, have no full stop, and name the file or the place
//     at fault.
//   - Progress is shown only on a terminal and only when work takes over a
//     second. Logs are for serve alone.
//   - Digests, handles and key ids are 64 hexadecimal digits without 0x. Sizes
//     are decimal, durations have a unit.
//   - Secrets are never arguments and never printed, but for what decrypt is
//     asked for. Files are never overwritten.
type ui struct {
	in, out, err *os.File
	terminal     bool // err is one
	now          func() time.Time
}

func newUI(in, out, err *os.File) *ui {
	return &ui{in, out, err, term.IsTerminal(int(err.Fd())), time.Now}
}

// The exit codes, as the help of the root command lists them.
const (
	exitFailure     = 1
	exitUsage       = 2
	exitFailed      = 3
	exitCancelled   = 4
	exitTimeout     = 5
	exitRefuted     = 6
	exitInterrupted = 130
)

// usageError is a command line that cannot be understood.
type usageError struct {
	cmd *cobra.Command
	err error
}

func (e *usageError) Error() string { return e.err.Error() }

func (e *usageError) Unwrap() error { return e.err }

func (e *usageError) Hint() string { return "see '" + e.cmd.CommandPath() + " --help'" }

// wrongUsage is a usageError of a command.
func wrongUsage(cmd *cobra.Command, format string, args ...any) error {
	return &usageError{cmd, fmt.Errorf(format, args...)}
}

// hinted is an error with advice.
type hinted struct {
	error
	hint string
}

func (e *hinted) Unwrap() error { return e.error }

func (e *hinted) Hint() string { return e.hint }

// fileError is an error with the file it is about.
type fileError struct {
	path string
	err  error
}

func (e *fileError) Error() string {
	separator := ": "
	if _, ok := e.err.(*graph.SyntaxError); ok { // begins with a line and a column
		separator = ":"
	}
	return e.path + separator + e.err.Error()
}

func (e *fileError) Unwrap() error { return e.err }

// inFile adds the file to an error that names none, and is about one.
func inFile(path string, err error) error {
	var call *client.Error
	switch {
	case err == nil, errors.As(err, new(*os.PathError)), errors.As(err, new(*fileError)):
		return err
	case errors.As(err, &call) && (call.Unreachable() || call.Code == codes.Unauthenticated):
		return err
	}
	return &fileError{path, err}
}

// exit tells what went wrong and returns the exit code.
func (u *ui) exit(ctx context.Context, err error) int {
	if err == nil {
		return 0
	}
	interrupted := ctx.Err() != nil && errors.Is(err, context.Canceled)
	if interrupted {
		u.note("error: interrupted")
	} else {
		u.note("error: %s", forPeople(err.Error()))
	}
	if hint := hintFor(err); hint != "" {
		u.note("hint: %s", hint)
	}
	if interrupted {
		return exitInterrupted
	}
	var usage *usageError
	var ended *jobEndError
	var refuted *refutedError
	switch {
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &ended):
		return ended.exitCode()
	case errors.As(err, &refuted):
		return exitRefuted
	}
	return exitFailure
}

// packages matches the names of packages that errors carry, for those who program.
var packages = regexp.MustCompile(`(^|: )(?:access|client|codec|jobs|keyfile|leveled|store): `)

// fingerprint matches the beginning of the fingerprint of parameters, as errors have it.
var fingerprint = regexp.MustCompile(`\b[0-9a-f]{16}\b`)

// forPeople is the text of an error without names of packages, and with those of
// parameter sets in place of their fingerprints.
func forPeople(text string) string {
	return fingerprint.ReplaceAllStringFunc(packages.ReplaceAllString(text, "$1"), setName)
}

// setName is the name of the parameter set whose fingerprint begins with hexadecimal
// digits, or the digits.
func setName(digits string) string {
	for _, name := range fhe.PresetNames() {
		if p, err := fhe.Preset(name); err == nil && strings.HasPrefix(fmt.Sprintf("%x", p.Fingerprint()), digits) {
			return name
		}
	}
	for _, name := range leveled.Names() {
		if p, err := leveled.ByName(name); err == nil && strings.HasPrefix(fmt.Sprintf("%x", p.Fingerprint()), digits) {
			return name
		}
	}
	return digits
}

// hintFor says how an error can be avoided, or nothing.
func hintFor(err error) string {
	var (
		own       interface{ Hint() string }
		call      *client.Error
		plaintext *client.InsecureError
		listen    *host.InsecureError
		profiling *host.ProfilingError
		locked    *store.LockedError
		key       *inspect.KeyError
		truncated *codec.TruncatedError
		params    *codec.ParametersError
		bind      *jobfile.BindError
		noCPU     *cpu.UnavailableError
	)
	switch {
	case errors.Is(err, fs.ErrExist):
		return "files are never overwritten: choose another name, or move the old file away"
	case errors.As(err, &own):
		return own.Hint()
	case errors.As(err, &call):
		return callHint(call)
	case errors.As(err, &plaintext):
		return "encrypt the connection with --tls or --tls-ca, or accept the risk with --insecure-plaintext, where no token is sent"
	case errors.As(err, &listen):
		return "encrypt connections with --tls-cert and --tls-key, or accept the risk with --insecure-plaintext"
	case errors.As(err, new(*host.OpenError)):
		return "make a file of callers with 'tacit token create' and give it with --callers"
	case errors.As(err, &profiling):
		return "use a loopback address for --metrics-listen, or leave --pprof out"
	case errors.As(err, &locked):
		return "stop the other process, or choose another directory with --data"
	case errors.As(err, new(*store.StandaloneError)):
		return "start the cluster over empty directories and copy the data with 'tacit store copy'"
	case errors.As(err, new(*store.MemberError)):
		return "a directory stays with its --node; start the server that it belongs to, or choose another directory with --data"
	case errors.As(err, new(*store.PlaintextError)):
		return "give the certificates of --nats-ca, --nats-cert and --nats-key, or use loopback addresses"
	case errors.As(err, new(*store.UnreachableError)):
		return "compare --nats-url and the credentials with those of the servers, and see whether more than half of them run"
	case errors.As(err, new(*store.PayloadError)):
		return "set max_payload of the NATS servers to 8.5MB or more"
	case errors.As(err, new(*upkeep.NotEmptyError)):
		return "choose a directory that does not exist, or servers that hold nothing"
	case errors.As(err, &key):
		return "use the key that the ciphertexts were made under; 'tacit inspect FILE' prints the id of both"
	case errors.As(err, &truncated):
		return "the file is incomplete: copy or make it again"
	case errors.Is(err, codec.ErrDigest):
		return "the file was changed after it was written: copy or make it again"
	case errors.As(err, &params):
		return "'tacit params' lists the parameter sets, 'tacit inspect FILE' says which one a file is for"
	case errors.As(err, new(*graph.SyntaxError)):
		return "'tacit submit --help' describes the text form of jobs"
	case errors.Is(err, syscall.EADDRINUSE):
		return "another process has this address, perhaps another server: stop it, or choose another address"
	case errors.Is(err, syscall.ENOSPC):
		return "make room, or choose another folder"
	case errors.Is(err, fs.ErrPermission):
		return "choose a place where you may read and write, or change its permissions"
	case errors.As(err, &bind) && bind.Meant != "":
		return "did you mean " + bind.Meant + "?"
	case errors.As(err, &bind) && len(bind.Missing) > 0:
		return fmt.Sprintf("bind each to a handle or a file: --bind %s=inputs.ct#0", bind.Missing[0].Text)
	case errors.As(err, &noCPU):
		return "unset " + cpu.EnvVar + ", or set it to one of those in this build"
	case errors.Is(err, keyfile.ErrWrongPassphrase):
		return "passphrases are compared byte by byte; one trailing newline of a passphrase file is ignored"
	}
	return ""
}

func callHint(e *client.Error) string {
	if e.Unreachable() {
		switch {
		case strings.Contains(e.Message, "failed to verify certificate"):
			return "name the authority of the server's certificate with --tls-ca, and the name in it with --tls-server-name where that is not its host"
		case strings.Contains(e.Message, "dial "):
			return "start a server with 'tacit serve', or name another one with --server"
		}
		return "what answers there may want TLS (--tls, or --tls-ca with the authority of its certificate), or a certificate of ours too (--tls-cert), or no TLS"
	}
	switch e.Reason {
	case "NO_CREDENTIALS":
		return "say who you are with --token-file, --signing-key or --tls-cert"
	case "BAD_CREDENTIALS", "EXPIRED_CREDENTIALS":
		return "ask the operator of the server for another credential"
	case "STALE_SIGNATURE":
		return "compare the clocks of this machine and of the server"
	case "ROLE_MISSING":
		return "ask the operator of the server for a credential with this role"
	case "RIGHT_MISSING":
		return "ask an owner of the ciphertext for the right"
	case "UNKNOWN_KEY":
		return "upload the evaluation key first: tacit upload evaluation.key; one of somebody else needs the right to compute with it"
	case "PARAMETERS_MISMATCH":
		return "the server computes with another parameter set: make keys for it, or start a server with other --params"
	case "MALFORMED":
		return "the file is incomplete or was changed: 'tacit inspect FILE' says where; copy or make it again"
	case "STORE_FULL":
		return "the server has no room: its operator makes some with 'tacit store gc', or adds some"
	case "NOT_FRESH":
		return "results are on the server already: refer to them by their handles"
	case "JOB_EXISTS":
		return "choose another --id, or leave it out"
	case "UNKNOWN_JOB":
		return "'tacit job list' lists the jobs"
	case "UNKNOWN_HANDLE":
		return "upload the ciphertext first, or submit the job that makes it; to wait for it, give its type: --bind NAME=HANDLE:TYPE"
	case "PENDING_HANDLE":
		return "wait for the job that makes it: 'tacit job list --state waiting,queued,running'"
	case "BUDGET_EXHAUSTED":
		return "'tacit usage' says what is left, and until when; the operator sets budgets with 'tacit token quota'"
	case "OVER_BUDGET":
		return "the operator sets budgets with 'tacit token quota'; 'tacit job estimate' says what a job takes"
	}
	return ""
}

// note writes a line to standard error.
func (u *ui) note(format string, args ...any) { fmt.Fprintf(u.err, format+"\n", args...) }

// warn writes a warning.
func (u *ui) warn(format string, args ...any) { u.note("warning: "+format, args...) }

// printf writes a result.
func (u *ui) printf(format string, args ...any) { fmt.Fprintf(u.out, format, args...) }

// printJSON writes a result as JSON.
func (u *ui) printJSON(v any) error { return writeJSON(u.out, v) }

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// printJSONLine writes a result as one line of JSON.
func (u *ui) printJSONLine(v any) error {
	e := json.NewEncoder(u.out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// table writes rows of cells, which rows hands to row, in columns.
func (u *ui) table(rows func(row func(cells ...any))) {
	var text bytes.Buffer
	t := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	defer func() {
		t.Flush()
		for line := range bytes.Lines(text.Bytes()) {
			u.printf("%s\n", bytes.TrimRight(line, " \n")) // cells that are empty at the end
		}
	}()
	rows(func(cells ...any) {
		for i, c := range cells {
			if i > 0 {
				fmt.Fprint(t, "\t")
			}
			fmt.Fprint(t, c)
		}
		fmt.Fprintln(t)
	})
}

// size is a number of bytes for people.
func size[N int | int64 | uint64](n N) string {
	switch f := float64(n); {
	case f >= 1e9:
		return fmt.Sprintf("%.1f GB", f/1e9)
	case f >= 1e6:
		return fmt.Sprintf("%.1f MB", f/1e6)
	case f >= 1e3:
		return fmt.Sprintf("%.1f kB", f/1e3)
	}
	return fmt.Sprintf("%d bytes", n)
}

// count is a number of things for people, which are named in the singular.
func count(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}

// duration is a duration for people, to three digits.
func duration(d time.Duration) string {
	switch {
	case d >= time.Minute:
		return d.Round(time.Second).String()
	case d >= 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	}
	return d.Round(10 * time.Microsecond).String()
}

// power is 2^log2 for people.
func power(log2 float64) string { return fmt.Sprintf("2^%.1f", math.Round(log2*10)/10) }
