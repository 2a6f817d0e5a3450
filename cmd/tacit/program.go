package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/tacit-fhe/tacit/cmd/tacit/internal/jobfile"
	"github.com/tacit-fhe/tacit/coprocessor/client"
	"github.com/tacit-fhe/tacit/coprocessor/graph"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

func programCommand(u *ui) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "program",
		Short: "Store jobs with parameters, and call them",
		Long: `A program is a job with parameters in place of its inputs, for any key. It is stored
once, validated then, and called by its digest with arguments; each call is a job like
any other. Its text is that of a job with a declaration for each parameter:

  param from: euint64
  param to: euint64
  param fee: plain euint64       # a plaintext
  ok       = ge(from, fee)
  ...

Whoever stores a program owns it. 'tacit access grant DIGEST --program' lets others
read it, or, with the right compute, call it.`,
	}
	cmd.AddCommand(programUploadCommand(u), programListCommand(u), programShowCommand(u), programCallCommand(u))
	return cmd
}

// programView is a stored program.
type programView struct {
	Digest     string          `json:"digest"`
	Name       string          `json:"name"`
	Parameters []parameterView `json:"parameters"`
	Outputs    []string        `json:"outputs"`
	Bootstraps uint64          `json:"bootstraps"`
	Depth      uint32          `json:"depth"`
	Created    *time.Time      `json:"created,omitempty"`
}

type parameterView struct {
	Name      string `json:"name"`
	Type      string `json:"type"`
	Plaintext bool   `json:"plaintext"`
}

const programFields = "digest, name, parameters [name, type, plaintext], outputs (types),\nbootstraps, depth, created"

func newProgramView(p *tacitv1.ProgramInfo) programView {
	v := programView{
		Digest: hex.EncodeToString(p.Digest), Name: p.Name, Parameters: []parameterView{}, Outputs: []string{},
		Bootstraps: p.Bootstraps, Depth: p.Depth, Created: timeOf(p.CreateTime),
	}
	for _, q := range p.Parameters {
		v.Parameters = append(v.Parameters, parameterView{q.GetName(), graph.TypeName(q.GetType()), q.GetPlaintext()})
	}
	for _, t := range p.Outputs {
		v.Outputs = append(v.Outputs, graph.TypeName(t))
	}
	return v
}

// signature is a program's name, parameters and outputs in a line.
func (v programView) signature() string {
	var params []string
	for _, p := range v.Parameters {
		t := p.Type
		if p.Plaintext {
			t = "plain " + t
		}
		params = append(params, p.Name+": "+t)
	}
	return fmt.Sprintf("%s(%s) -> %s", v.Name, strings.Join(params, ", "), strings.Join(v.Outputs, ", "))
}

func (u *ui) printPrograms(views []programView) {
	u.table(func(row func(...any)) {
		for _, v := range views {
			row(v.Digest, v.signature(), fmt.Sprintf("%d bootstraps", v.Bootstraps))
		}
	})
}

func programUploadCommand(u *ui) *cobra.Command {
	var name string
	var programs []*tacitv1.Program
	cmd := request(u, &cobra.Command{
		Use:   "upload FILE...",
		Short: "Validate and store programs",
		Long: `Stores programs, in the text form or as a Program in protojson. A program in text has
the name of its file, without the extension, unless --name says another. The cost is
that of a call with plaintexts of 1.

JSON: a list of ` + programFields + ".",
		Args: cobra.MinimumNArgs(1),
		PreRunE: func(_ *cobra.Command, args []string) error {
			for _, path := range args {
				p, err := readProgram(path, name)
				if err != nil {
					return inFile(path, err)
				}
				programs = append(programs, p)
			}
			return nil
		},
	}, func(ctx context.Context, c *client.Client, args []string) (views []programView, err error) {
		for i, p := range programs {
			info, err := c.UploadProgram(ctx, p)
			if err != nil {
				return nil, inFile(args[i], err)
			}
			views = append(views, newProgramView(info))
		}
		return views, nil
	}, u.printPrograms)
	cmd.Flags().StringVar(&name, "name", "", "name of a program in text")
	return cmd
}

// readProgram reads a program from a file.
func readProgram(path, name string) (*tacitv1.Program, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	if name == "" {
		base := filepath.Base(path)
		name = strings.TrimSuffix(base, filepath.Ext(base))
	}
	return parseProgram(data, name)
}

// parseProgram reads a program as protojson or, with a name, as text.
func parseProgram(data []byte, name string) (*tacitv1.Program, error) {
	if jobfile.JSON(data) {
		p := new(tacitv1.Program)
		if err := protojson.Unmarshal(data, p); err != nil {
			return nil, &jobfile.JSONError{Err: err}
		}
		return p, nil
	}
	return graph.ParseProgramText(name, string(data))
}

func programListCommand(u *ui) *cobra.Command {
	return request(u, &cobra.Command{
		Use:   "list",
		Short: "List the programs that we have rights on",
		Long:  "Lists programs.\n\nJSON: a list of " + programFields + ".",
		Args:  cobra.NoArgs,
	}, func(ctx context.Context, c *client.Client, _ []string) ([]programView, error) {
		views := []programView{}
		err := c.Programs(ctx, func(p *tacitv1.ProgramInfo) bool {
			views = append(views, newProgramView(p))
			return true
		})
		return views, err
	}, u.printPrograms)
}

// parseDigest reads the digest of a program in an argument.
func parseDigest(cmd *cobra.Command, text string) ([32]byte, error) {
	h, err := graph.ParseHandle(text)
	if err != nil {
		return [32]byte{}, wrongUsage(cmd, "%q is no digest: 64 hexadecimal digits, with or without 0x", text)
	}
	return h, nil
}

func programShowCommand(u *ui) *cobra.Command {
	var conn connection
	cmd := &cobra.Command{
		Use:   "show DIGEST",
		Short: "Print a program as protojson",
		Long:  "Prints a stored program as a Program in protojson, which 'tacit program upload' reads.",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			digest, err := parseDigest(cmd, args[0])
			if err != nil {
				return err
			}
			c, err := conn.dial()
			if err != nil {
				return err
			}
			defer c.Close()
			p, err := c.Program(cmd.Context(), digest)
			if err != nil {
				return err
			}
			text, err := protojson.MarshalOptions{Multiline: true}.Marshal(p)
			if err == nil {
				u.printf("%s\n", text)
			}
			return err
		},
	}
	connectionFlags(cmd, &conn)
	return cmd
}

func programCallCommand(u *ui) *cobra.Command {
	var conn connection
	var id, key string
	var args []string
	var wait, asJSON bool
	cmd := &cobra.Command{
		Use:   "call DIGEST --key KEYID --arg NAME=VALUE...",
		Short: "Have a server compute a program on arguments",
		Long: `Submits a job that computes a stored program. An argument is name=HANDLE for a
ciphertext and name=NUMBER, decimal or after 0x hexadecimal, for a plaintext. It takes
the right to read the program.

JSON: ` + jobFields + `.`,
		Example: `  tacit program call 5e1f… --key 9a3c… --arg from=$FROM --arg to=$TO --arg fee=3 --wait`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, positional []string) error {
			digest, err := parseDigest(cmd, positional[0])
			if err != nil {
				return err
			}
			keyID, err := parseKeyID(cmd, key)
			if err != nil {
				return err
			}
			c, err := conn.dial()
			if err != nil {
				return err
			}
			defer c.Close()
			ctx := cmd.Context()
			p, err := c.Program(ctx, digest)
			if err != nil {
				return err
			}
			call := &tacitv1.ProgramCall{Digest: digest[:], KeyId: keyID[:]}
			if call.Arguments, err = parseArguments(cmd, p, args); err != nil {
				return err
			}
			if id == "" {
				spec, err := graph.Call(p, call)
				if err != nil {
					return err
				}
				d := graph.SpecDigest(spec)
				id = hex.EncodeToString(d[:])
			}
			job, err := c.Call(ctx, id, call)
			if err == nil && wait {
				job, err = u.follow(ctx, c, id)
			}
			if err != nil {
				return err
			}
			view := newJobView(job)
			if !asJSON {
				u.describeJob(view)
			} else if err := u.printJSON(view); err != nil {
				return err
			}
			if !wait {
				return nil
			}
			return ended(view)
		},
	}
	flags := cmd.Flags()
	connectionFlags(cmd, &conn)
	flags.StringVar(&id, "id", "", "name of the job: letters, digits, - and _")
	flags.StringVar(&key, "key", "", "id of the evaluation key of the arguments")
	flags.StringArrayVar(&args, "arg", nil, "name=HANDLE or name=NUMBER; once for each parameter")
	flags.BoolVar(&wait, "wait", false, "wait for the job's end")
	jsonFlag(cmd, &asJSON)
	required(cmd, "key")
	return cmd
}

// parseArguments puts arguments by name into the order of a program's parameters.
func parseArguments(cmd *cobra.Command, p *tacitv1.Program, texts []string) ([]*tacitv1.Argument, error) {
	given := make(map[string]string)
	for _, text := range texts {
		name, value, ok := strings.Cut(text, "=")
		if _, twice := given[name]; !ok || twice {
			return nil, wrongUsage(cmd, "--arg: %q is not of the form name=value, or %s has a value already", text, name)
		}
		given[name] = value
	}
	var out []*tacitv1.Argument
	for _, param := range p.Parameters {
		value, ok := given[param.GetName()]
		if !ok {
			return nil, wrongUsage(cmd, "there is no --arg %s=…", param.GetName())
		}
		delete(given, param.GetName())
		if param.GetPlaintext() {
			n, err := graph.ParseScalar(value)
			if err != nil {
				return nil, wrongUsage(cmd, "--arg %s: %v", param.GetName(), err)
			}
			out = append(out, &tacitv1.Argument{Value: &tacitv1.Argument_Scalar{Scalar: n}})
			continue
		}
		h, err := graph.ParseHandle(value)
		if err != nil {
			return nil, wrongUsage(cmd, "--arg %s: %q is no handle", param.GetName(), value)
		}
		out = append(out, &tacitv1.Argument{Value: &tacitv1.Argument_Handle{Handle: h[:]}})
	}
	for name := range given {
		return nil, wrongUsage(cmd, "--arg: %s has no parameter %s", p.Name, name)
	}
	return out, nil
}
