package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/tacit-fhe/tacit/cmd/tacit/internal/jobfile"
)

var (
	indented  = regexp.MustCompile(`(?m)(?:^    .*\n)+`)
	comment   = regexp.MustCompile(`\s{2,}#.*`)
	inline    = regexp.MustCompile("`(tacit [^`\n]+)`")
	statement = regexp.MustCompile(`(?m)^output `)
)

// commandLines returns the command lines of the program in a document: those that stand
// alone, and those within sentences, which need not be whole.
func commandLines(text string) (lines []string) {
	for _, block := range indented.FindAllString(text, -1) {
		for line := range strings.Lines(strings.ReplaceAll(block, "\\\n", "")) {
			line = strings.TrimSpace(comment.ReplaceAllString(strings.TrimSpace(line), ""))
			if strings.HasPrefix(line, "tacit ") {
				lines = append(lines, line)
			}
		}
	}
	for _, m := range inline.FindAllStringSubmatch(text, -1) {
		lines = append(lines, m[1])
	}
	return lines
}

// understood says whether a command line names a command and flags that exist.
func understood(line string) error {
	root := rootCommand(newUI(os.Stdin, os.Stdout, os.Stderr))
	cmd, args, err := root.Find(strings.Fields(strings.ReplaceAll(line, "'", ""))[1:])
	if err == nil && cmd.HasSubCommands() && len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		err = errors.New("no command " + args[0])
	}
	if err == nil {
		err = cmd.ParseFlags(args)
	}
	if errors.Is(err, pflag.ErrHelp) {
		err = nil
	}
	return err
}

// TestDocuments: the commands and the jobs in Markdown files are such. What is recorded
// in bench/results and told in the list of changes stays as it was.
func TestDocuments(t *testing.T) {
	root := filepath.Join("..", "..")
	commands, jobs := 0, 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != root || d.Name() == "node_modules" || d.Name() == "results"):
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".md" || d.Name() == "CHANGELOG.md":
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, line := range commandLines(string(data)) {
			commands++
			if err := understood(line); err != nil && understood(line+" value") != nil { // a sentence may end with the flag
				t.Errorf("%s: %s: %v", path, line, err)
			}
		}
		for _, block := range indented.FindAllString(string(data), -1) {
			block = regexp.MustCompile(`(?m)^    `).ReplaceAllString(block, "")
			if !statement.MatchString(block) || !strings.Contains(block, " = ") || strings.Contains(block, "operation  state") {
				continue
			}
			jobs++
			if strings.HasPrefix(block, "param ") {
				_, err = parseProgram([]byte(block), "program")
			} else {
				_, err = jobfile.Parse([]byte(block))
			}
			if err != nil {
				t.Errorf("%s: %v in\n%s", path, err, block)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if commands < 50 || jobs < 3 {
		t.Errorf("%d commands and %d jobs were found", commands, jobs)
	}
}

func TestUnderstood(t *testing.T) {
	for line, ok := range map[string]bool{
		"tacit serve --data DIR --listen :7400": true, "tacit job list": true, "tacit bench run --workload 'integer-*' --quick": true, "tacit key": true,
		"tacit serv": false, "tacit serve --nothing": false, "tacit job lst": false, "tacit key service --rotate": true, "tacit --help": true,
	} {
		if err := understood(line); (err == nil) != ok {
			t.Errorf("%s: %v", line, err)
		}
	}
	got := commandLines("Text `tacit key` and `go test`.\n\n    tacit a --b \\\n        c  # d\n    go x\n")
	if len(got) != 2 || got[0] != "tacit a --b         c" || got[1] != "tacit key" {
		t.Errorf("%q", got)
	}
}
