package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

func deployed(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "coprocessor", "deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// serveFlags returns the flags of serve, and the environment variables that set
// them.
func serveFlags() (flags *pflag.FlagSet, variables []string) {
	cmd := serveCommand(newUI(os.Stdin, os.Stdout, os.Stderr))
	cmd.Flags().VisitAll(func(f *pflag.Flag) { variables = append(variables, f.Annotations[environment]...) })
	return cmd.Flags(), variables
}

// TestUnit reads the systemd unit as systemd does, and its command line as serve
// does.
func TestUnit(t *testing.T) {
	section := ""
	settings := make(map[string]string)
	for line := range strings.Lines(deployed(t, "tacit.service")) {
		line = strings.TrimSpace(line)
		name, value, ok := strings.Cut(line, "=")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]"):
			section = line[1 : len(line)-1]
			if !slices.Contains([]string{"Unit", "Service", "Install"}, section) {
				t.Errorf("section %s", section)
			}
		case !ok || section == "" || !regexp.MustCompile(`^[A-Z][A-Za-z]+$`).MatchString(name):
			t.Errorf("line %q", line)
		default:
			key := section + "." + name
			if _, twice := settings[key]; twice {
				t.Errorf("%s is set twice", key)
			}
			settings[key] = value
		}
	}
	for key, want := range map[string]string{
		"Service.DynamicUser": "yes", "Service.StateDirectory": "tacit", "Service.StateDirectoryMode": "0700",
		"Service.KillSignal": "SIGTERM", "Install.WantedBy": "multi-user.target",
	} {
		if settings[key] != want {
			t.Errorf("%s = %q, want %q", key, settings[key], want)
		}
	}
	words := strings.Fields(settings["Service.ExecStart"])
	if len(words) < 2 || filepath.Base(words[0]) != "tacit" || words[1] != "serve" {
		t.Fatalf("ExecStart %q", words)
	}
	flags, _ := serveFlags()
	if err := flags.Parse(words[2:]); err != nil || flags.NArg() > 0 {
		t.Fatalf("%v, %q", err, flags.Args())
	}
	if got := flags.Lookup("data").Value.String(); got != "%S/tacit" {
		t.Errorf("--data %s is not the state directory", got)
	}
	drain, err := flags.GetDuration("drain")
	if err != nil {
		t.Fatal(err)
	}
	stop, err := time.ParseDuration(settings["Service.TimeoutStopSec"] + "s")
	if err != nil || stop < drain+time.Minute {
		t.Errorf("%v to stop, %v to drain: %v", stop, drain, err)
	}
}

// TestContainerfile checks that the image's settings are settings.
func TestContainerfile(t *testing.T) {
	text := deployed(t, "Containerfile")
	_, variables := serveFlags()
	found := regexp.MustCompile(`\bTACIT_[A-Z_]+`).FindAllString(text, -1)
	if len(found) == 0 {
		t.Error("no settings")
	}
	for _, v := range found {
		if !slices.Contains(variables, v) {
			t.Errorf("serve does not read %s", v)
		}
	}
	for _, want := range []string{"\nFROM scratch\n", "\nUSER 65532:65532\n", "CGO_ENABLED=0 ", "-X main.released=", `CMD ["serve"]`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q", want)
		}
	}
	if _, port, _ := strings.Cut(defaultAddress, ":"); !strings.Contains(text, "EXPOSE "+port+" ") {
		t.Errorf("port %s is not exposed", port)
	}
}

// TestClusterSettings reads the settings of machines of a cluster as serve does.
func TestClusterSettings(t *testing.T) {
	for _, name := range []string{"cluster.conf", "worker.conf"} {
		cmd := serveCommand(newUI(os.Stdin, os.Stdout, os.Stderr))
		if err := cmd.Flags().Set("config", filepath.Join("..", "..", "coprocessor", "deploy", name)); err != nil {
			t.Fatal(err)
		}
		if err := fromFile(cmd); err != nil {
			t.Error(err)
		}
	}
	text := deployed(t, "compose.yaml")
	_, variables := serveFlags()
	for _, v := range regexp.MustCompile(`\bTACIT_[A-Z_]+`).FindAllString(text, -1) {
		if !slices.Contains(variables, v) {
			t.Errorf("serve does not read %s", v)
		}
	}
	commands := regexp.MustCompile(`(?m)^    command: serve (.*)$`).FindAllStringSubmatch(text, -1)
	if len(commands) != 4 {
		t.Errorf("%d commands", len(commands))
	}
	for _, c := range commands {
		flags, _ := serveFlags()
		if err := flags.Parse(strings.Fields(c[1])); err != nil {
			t.Errorf("%q: %v", c[1], err)
		}
	}
}
