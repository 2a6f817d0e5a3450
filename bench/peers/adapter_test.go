package peers

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"strings"
	"testing"
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
		case strings.Contains(line, `"describe"`) && kind == "mute":
			fmt.Fprintln(os.Stderr, "the library is not there")
			return
		case strings.Contains(line, `"describe"`):
			fmt.Println(`{"protocol": 1, "library": "fake", "version": "1", "schemes": [{"scheme": "bgv", "workloads": ["votes"]}]}`)
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
}

func TestAdapter(t *testing.T) {
	items := [][]*big.Int{{big.NewInt(4), big.NewInt(5)}, {big.NewInt(1), big.NewInt(-2)}}
	for _, c := range []struct{ kind, want string }{
		{"good", ""},
		{"old", "speaks protocol 0"},
		{"mute", "the library is not there"},
		{"short", "another number of items"},
		{"words", "not a number"},
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
			if !a.Offers("bgv", "votes") || a.Offers("bfv", "votes") {
				t.Errorf("%s: offers %+v", c.kind, a.Schemes)
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

func TestAdapterIsNotThere(t *testing.T) {
	if _, err := Start(t.Context(), "./no-such-adapter"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func TestQuoted(t *testing.T) {
	p, err := Quoted()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range p.Sources {
		if s.Library == "" || s.Source == "" || s.Machine == "" || len(s.Figures) == 0 {
			t.Errorf("%s %s: no source, machine or figures", s.Library, s.Version)
		}
		for _, f := range s.Figures {
			if f.What == "" || f.Unit == "" || !(f.Value > 0) {
				t.Errorf("%s: %+v", s.Library, f)
			}
		}
	}
}
