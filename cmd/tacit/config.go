package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tacit-fhe/tacit/coprocessor/graph"
)

// configFlagName is the flag that names a file with values for the others.
const configFlagName = "config"

// configFlag adds --config to a command. fromFile reads it.
func configFlag(cmd *cobra.Command) {
	cmd.Flags().String(configFlagName, "", "file with a flag and its value on each line: listen = 127.0.0.1:7400")
	env(cmd, configFlagName)
}

// lineError is a line of a file that is not as it should be.
type lineError struct {
	line int
	err  error
}

func (e *lineError) Error() string { return fmt.Sprintf("line %d: %v", e.line, e.err) }

func (e *lineError) Unwrap() error { return e.err }

// fromFile sets the flags that neither the command line nor the environment did
// to what the file of --config says. Lines are empty, begin with #, or have the
// form flag = value.
func fromFile(cmd *cobra.Command) error {
	f := cmd.Flags().Lookup(configFlagName)
	if f == nil || f.Value.String() == "" {
		return nil
	}
	path := f.Value.String()
	data, err := readFile(path)
	if err != nil {
		return err
	}
	return inFile(path, parseSettings(data, func(name, value string) error {
		f := cmd.Flags().Lookup(name)
		switch {
		case f == nil || !configurable(f):
			if near := graph.Nearest(name, flagNames(cmd, configurable)); near != "" {
				return fmt.Errorf("there is no setting %q, did you mean %s?", name, near)
			}
			return fmt.Errorf("there is no setting %q", name)
		case !f.Changed && value != "": // nothing stands for the default
			return setFrom(cmd, f, value, path)
		}
		return nil
	}))
}

// parseSettings calls set for every line flag = value, once for each flag. The error is
// a *lineError.
func parseSettings(data []byte, set func(name, value string) error) (err error) {
	seen := make(map[string]bool)
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSpace(lines.Text())
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		name, value, ok := strings.Cut(text, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		switch {
		case !ok:
			err = fmt.Errorf("%q is not of the form flag = value", text)
		case seen[name]:
			err = fmt.Errorf("%s is set twice", name)
		default:
			err = set(name, value)
		}
		if err != nil {
			return &lineError{n, err}
		}
		seen[name] = true
	}
	return lines.Err()
}

// configurable says that a flag may be set by the environment and a file.
func configurable(f *pflag.Flag) bool {
	return len(f.Annotations[environment]) > 0 && f.Name != configFlagName
}

// settingView is one setting as config print shows it.
type settingView struct {
	Name     string `json:"name"`
	Value    string `json:"value"`
	From     string `json:"from"`
	Variable string `json:"variable"`
}

func configCommand(u *ui) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Show how a server is configured",
	}
	cmd.AddCommand(configPrintCommand(u))
	return cmd
}

func configPrintCommand(u *ui) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "print",
		Short: "Print the configuration that serve would have",
		Long: `Takes the flags of 'tacit serve', and prints what each setting is and where it
comes from: the command line, an environment variable, the file of --config, or
the default, in this order. Secrets are masked. What is printed can be given to
serve as --config when nothing is masked.

JSON: a list of name, value, from, variable.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			views := []settingView{}
			cmd.Flags().VisitAll(func(f *pflag.Flag) {
				if configurable(f) {
					views = append(views, settingView{f.Name, masked(f.Name, f.Value.String()), setBy(f), f.Annotations[environment][0]})
				}
			})
			if asJSON {
				return u.printJSON(views)
			}
			for _, v := range views {
				u.printf("# %s\n%s\n", v.From, strings.TrimSpace(v.Name+" = "+v.Value))
			}
			return nil
		},
	}
	serveCommand(u).Flags().VisitAll(func(f *pflag.Flag) {
		delete(f.Annotations, cobra.BashCompOneRequiredFlag)
		cmd.Flags().AddFlag(f)
	})
	jsonFlag(cmd, &asJSON)
	return cmd
}

// setBy says what gave a flag its value.
func setBy(f *pflag.Flag) string {
	switch by := f.Annotations[origin]; {
	case len(by) > 0:
		return by[0]
	case f.Changed:
		return "command line"
	}
	return "default"
}

const mask = "********"

// secretWords end the names of settings that are secrets themselves, and not the
// names of files that hold them.
var secretWords = []string{"token", "password", "passphrase", "secret"}

// masked is a value without its secrets: the setting may be one, or a URL that
// has one for the user.
func masked(name, value string) string {
	if value == "" {
		return ""
	}
	if slices.ContainsFunc(secretWords, func(word string) bool { return strings.HasSuffix(name, word) }) {
		return mask
	}
	parts := strings.Split(value, ",")
	for i, part := range parts {
		// A URL that cannot be read may still hold a secret.
		scheme, rest, ok := strings.Cut(part, "://")
		at := strings.LastIndex(rest, "@")
		if !ok || at < 0 {
			continue
		}
		user := mask
		if parsed, err := url.Parse(part); err == nil && parsed.User != nil {
			if _, has := parsed.User.Password(); has {
				user = parsed.User.Username() + ":" + mask
			}
		}
		parts[i] = scheme + "://" + user + rest[at:]
	}
	return strings.Join(parts, ",")
}
