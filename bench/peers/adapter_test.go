package peers

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tacit-fhe/tacit/bench/fuzztest"
)

// The test binary is an adapter where this variable says which.
const fakeVariable = "TACIT_TEST_ADAPTER"

func TestMain(m *testing.M) {
	if kind := os.Getenv(fakeVariable); kind != "" {
		fake(kind)
		return
	}
	os.Exit(m.Run())
}

// fake answers what the tests expect of an adapter of a kind.
func fake(kind string) {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		switch line := lines.Text(); {
		case strings.Contains(line, `"describe"`) && kind == "old":
			fmt.Println(`{"protocol": 0}`)
		case strings.Contains(line, `"describe"`) && kind == "nameless":
			fmt.Println(`{"protocol": 1, "library": "a/b"}`)
		case strings.Contains(line, `"setup"`) && kind == "endless":
			fmt.Println(`{"set": "clear", "security_bits": 128, "keygen_seconds": 0.5, "capacity": 1000000000000}`)
		case strings.Contains(line, `"setup"`) && kind == "spaced":
			fmt.Println(`{"set": "two words", "security_bits": 128, "keygen_seconds": 0.5, "capacity": 3}`)
		case strings.Contains(line, `"describe"`) && kind == "mute":
			fmt.Fprintln(os.Stderr, "the library is not there")
			return
		case strings.Contains(line, `"describe"`):
			fmt.Println(`{"protocol": 1, "library": "fake", "version": "1", "build": "in the clear", "schemes": [{"scheme": "bgv", "workloads": ["votes"]}]}`)
		case strings.Contains(line, `"setup"`) && kind == "greedy":
			fmt.Println(`{"set": "clear", "security_bits": 128, "keygen_seconds": 0.5, "capacity": 3, "threads": 2}`)
		case strings.Contains(line, `"setup"`):
			fmt.Println(`{"set": "clear", "security_bits": 128, "keygen_seconds": 0.5, "capacity": 3}`)
		case strings.Contains(line, `"run"`) && kind == "short":
			fmt.Println(`{"results": [], "seconds": {"compute": 1}}`)
		case strings.Contains(line, `"run"`) && kind == "words":
			fmt.Println(`{"results": [["one"], ["two"]], "seconds": {"compute": 1}}`)
		case strings.Contains(line, `"run"`) && kind == "refuses":
			fmt.Println(`{"error": "no memory"}`)
		case strings.Contains(line, `"run"`) && kind == "noise":
			fmt.Println(`hello`)
		case strings.Contains(line, `["4","5"]`):
			fmt.Println(`{"results": [["9"], ["-1"]], "seconds": {"encrypt": 0.1, "compute": 0.2, "decrypt": 0.3}, "request_bytes": 10}`)
		}
	}
	if kind == "stays" {
		time.Sleep(time.Hour)
	}
}

func TestAdapter(t *testing.T) {
	items := [][]*big.Int{{big.NewInt(4), big.NewInt(5)}, {big.NewInt(1), big.NewInt(-2)}}
	for _, c := range []struct{ kind, want string }{
		{"good", ""},
		{"old", "speaks protocol 0"},
		{"mute", "the library is not there"},
		{"short", "another number of items"},
		{"words", "not a number"},
		{"nameless", "is not the name of a library"},
		{"greedy", "uses 2 threads of 1"},
		{"endless", "its capacity is not in"},
		{"spaced", `"two words" is not the name of a set`},
		{"refuses", "no memory"},
		{"noise", "not JSON"},
	} {
		t.Setenv(fakeVariable, c.kind)
		err := func() error {
			a, err := Start(t.Context(), os.Args[0])
			if err != nil {
				return err
			}
			defer func() {
				if err := a.Close(); err != nil {
					t.Errorf("%s: end: %v", c.kind, err)
				}
			}()
			if len(a.Schemes) != 1 || a.Schemes[0].Scheme != "bgv" || a.Build != "in the clear" {
				t.Errorf("%s: description %+v", c.kind, a.Description)
			}
			s, err := a.Setup("bgv", "votes", 2, 1)
			if err != nil {
				return err
			}
			if s.Capacity != 3 || s.Security != 128 {
				t.Errorf("%s: set-up %+v", c.kind, s)
			}
			answer, got, err := a.Run(items)
			if err != nil {
				return err
			}
			if answer.Seconds.Compute != 0.2 || answer.RequestBytes != 10 || got[0][0].Int64() != 9 || got[1][0].Int64() != -1 {
				t.Errorf("%s: answer %+v, results %v", c.kind, answer, got)
			}
			return nil
		}()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v", c.kind, err)
		}
	}
}

func TestAdapterThatStays(t *testing.T) {
	defer func(before time.Duration) { stopAfter = before }(stopAfter)
	stopAfter = 10 * time.Millisecond
	t.Setenv(fakeVariable, "stays")
	a, err := Start(t.Context(), os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err == nil {
		t.Error("it ended by itself")
	}
}

func TestAdapterIsNotThere(t *testing.T) {
	if _, err := Start(t.Context(), "./no-such-adapter"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// TestFind has a folder of adapters, of which one is installed.
func TestFind(t *testing.T) {
	t.Setenv(fakeVariable, "good")
	dir := t.TempDir()
	write := func(name, manifest string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, ManifestName), []byte(manifest), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	program, err := json.Marshal(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Find(dir); !errors.As(err, new(*AbsentError)) {
		t.Errorf("an empty folder: %v", err)
	}
	write("b", `{"library": "B", "run": ["build/adapter"], "install": "make b"}`)
	if _, err := Find(filepath.Join(dir, "none")); !errors.As(err, new(*AbsentError)) {
		t.Errorf("no folder: %v", err)
	}
	write("a", `{"library": "A", "run": [`+string(program)+`], "install": "make a"}`)
	all, err := Find(dir)
	if err != nil || len(all) != 2 || all[0].Name() != "a" || all[1].Library != "B" {
		t.Fatalf("%+v, %v", all, err)
	}
	a, err := all[0].Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	var absent *AbsentError
	if _, err := all[1].Start(t.Context()); !errors.As(err, &absent) || absent.Adapter != "b" || absent.Hint() != "to install it: make b" {
		t.Errorf("%v", err)
	}
	t.Setenv(fakeVariable, "old")
	if _, err := all[0].Start(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "adapter a: describe: ") {
		t.Errorf("an error does not name the adapter: %v", err)
	}
	if one, err := Find(filepath.Join(dir, "b")); err != nil || len(one) != 1 || one[0].Name() != "b" {
		t.Errorf("the folder of an adapter: %+v, %v", one, err)
	}
	if one, err := Find(os.Args[0]); err != nil || len(one) != 1 || one[0].Name() != os.Args[0] {
		t.Errorf("a program: %+v, %v", one, err)
	}
	for _, bad := range []string{`{`, `{"run": []}`, `{"run": ["x"], "license": ""}`, `{"library": "` + strings.Repeat("x", maxManifest) + `", "run": ["x"]}`} {
		write("b", bad)
		if _, err := Find(dir); err == nil {
			t.Errorf("%.40s is a manifest", bad)
		}
	}
}

// TestShipped reads the manifests of the adapters in this repository.
func TestShipped(t *testing.T) {
	all, err := Find("adapters")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		if m.Library == "" || !strings.Contains(m.Install, "bench/peers/adapters/"+m.Name()) {
			t.Errorf("%s: %+v", m.Name(), m)
		}
	}
}

func TestQuoted(t *testing.T) {
	p, err := Quoted()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range p.Sources {
		if s.Library == "" || s.Version == "" || s.Source == "" || s.Machine == "" || s.Setting == "" || len(s.Figures) == 0 {
			t.Errorf("%s %s: no version, source, machine, setting or figures", s.Library, s.Version)
		}
		for _, f := range s.Figures {
			if f.What == "" || f.Unit == "" || !(f.Value > 0) {
				t.Errorf("%s: %+v", s.Library, f)
			}
		}
	}
}

// FuzzDecode feeds lines that an adapter may answer with.
func FuzzDecode(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 64 << 10, PerByte: 128})
	f.Add([]byte(`{"protocol": 1, "library": "fake", "version": "1", "build": "in the clear", "schemes": [{"scheme": "bgv", "workloads": ["votes"]}]}`))
	f.Add([]byte(`{"set": "clear", "security_bits": 128, "keygen_seconds": 0.5, "capacity": 3, "threads": 2}`))
	f.Add([]byte(`{"results": [["9"], ["-1"]], "seconds": {"encrypt": 0.1, "compute": 0.2, "decrypt": 0.3}, "request_bytes": 10}`))
	f.Add([]byte(`{"error": "no memory"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		decode(line, new(Description))
		decode(line, new(Setup))
		answer := new(Answer)
		if decode(line, answer) != nil {
			return
		}
		results, err := answer.numbers()
		if err == nil && len(results) != len(answer.Results) {
			t.Errorf("%d results of %d", len(results), len(answer.Results))
		}
	})
}

// FuzzManifest feeds manifests of adapters.
func FuzzManifest(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 64 << 10, PerByte: 128})
	f.Add([]byte(`{"library": "fake 1", "run": ["./fake", "-x"], "install": "sh bench/peers/adapters/fake/install.sh"}`))
	f.Add([]byte(`{"run": []}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if m, err := parseManifest(data); err == nil && m.Name() == "" {
			t.Errorf("%+v has no name", m)
		}
	})
}
