package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tacit-fhe/tacit/cmd/tacit/internal/certtest"
	"github.com/tacit-fhe/tacit/coprocessor/receipt"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"tacit": main})
}

func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:   "testdata/script",
		Setup: setup,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "waitserver": waitServer, "cut": cut, "flip": flip, "chain": chain,
			"servicekey": serviceKey, "certs": certs,
			"handles": capture(`"handle": "([0-9a-f]{64})"`), "keyid": capture(`"key_id": "([0-9a-f]{64})"`), "digest": capture(`"digest": "([0-9a-f]{64})"`),
			"tokenid": tokenID, "sleep": sleep, "damage": damage,
		},
	})
}

// setup gives each script the insecure parameters and an address of its own.
func setup(e *testscript.Env) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		return err
	}
	e.Setenv("TACIT_SERVER", address)
	e.Setenv("TACIT_LISTEN", address)
	e.Setenv("TACIT_PARAMS", "insecure-test-2m2c-v1")
	return nil
}

// exits CODE COMMAND... runs a command that must end with an exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits code command...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// waitserver waits until the server takes connections.
func waitServer(ts *testscript.TestScript, _ bool, _ []string) {
	for range 200 {
		if conn, err := net.Dial("tcp", ts.Getenv("TACIT_SERVER")); err == nil {
			ts.Check(conn.Close())
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	ts.Fatalf("no server at %s", ts.Getenv("TACIT_SERVER"))
}

// certs DIR makes an authority, the certificates of a server and of the client
// carol, and a key that signs calls.
func certs(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: certs dir")
	}
	in := func(name string) string { return filepath.Join(ts.MkAbs(args[0]), name) }
	ts.Check(os.Mkdir(in(""), 0o700))
	ca, err := certtest.NewAuthority(in("ca.pem"))
	ts.Check(err)
	ts.Check(ca.Server(in("server.pem"), in("server.key")))
	ts.Check(ca.Client(in("carol.pem"), in("carol.key"), "carol", false))
	ts.Check(certtest.Signing(in("signing.key"), in("signing.pem")))
}

// capture is a command FILE NAME... that sets variables to what a pattern finds in
// a file, in its order.
func capture(pattern string) func(*testscript.TestScript, bool, []string) {
	re := regexp.MustCompile(pattern)
	return func(ts *testscript.TestScript, _ bool, args []string) {
		found := re.FindAllStringSubmatch(ts.ReadFile(args[0]), -1)
		for i, name := range args[1:] {
			if i >= len(found) {
				ts.Fatalf("%s has %d matches", args[0], len(found))
			}
			ts.Setenv(name, found[i][1])
		}
	}
}

// tokenid FILE PRINCIPAL NAME sets a variable to the id of the credential of a
// principal in a list.
func tokenID(ts *testscript.TestScript, neg bool, args []string) {
	capture(`(?m)^([0-9a-f]{8})  `+regexp.QuoteMeta(args[1])+` `)(ts, neg, []string{args[0], args[2]})
}

// sleep DURATION waits.
func sleep(ts *testscript.TestScript, _ bool, args []string) {
	d, err := time.ParseDuration(args[0])
	ts.Check(err)
	time.Sleep(d)
}

// cut FILE SIZE NEW copies the beginning of a file.
func cut(ts *testscript.TestScript, _ bool, args []string) {
	data, n := fileAndNumber(ts, args)
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), data[:n], 0o600))
}

// flip FILE OFFSET NEW copies a file with one bit changed.
func flip(ts *testscript.TestScript, _ bool, args []string) {
	data, n := fileAndNumber(ts, args)
	data[n] ^= 1
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), data, 0o600))
}

func fileAndNumber(ts *testscript.TestScript, args []string) ([]byte, int) {
	if len(args) != 3 {
		ts.Fatalf("want a file, a number and a new file")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	return []byte(ts.ReadFile(args[0])), n
}

// servicekey VARIABLE sets a variable to the public key in data/service.key, and
// KEY0 to a key that is nobody's.
func serviceKey(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("want a variable")
	}
	key, err := receipt.LoadKey(ts.MkAbs("data/service.key"))
	ts.Check(err)
	ts.Setenv(args[0], fmt.Sprintf("%x", receipt.PublicKey(key)))
	ts.Setenv("KEY0", strings.Repeat("0", 64))
}

// chain N FILE writes a job of N additions, one after the other.
func chain(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	var b strings.Builder
	b.WriteString("a0 = add(x, x)\n")
	for i := 1; i < n; i++ {
		fmt.Fprintf(&b, "a%d = add(a%d, x)\n", i, i-1)
	}
	fmt.Fprintf(&b, "output a%d\n", n-1)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(b.String()), 0o600))
}

// damage DIR changes a bit in the middle of the largest file below a directory.
func damage(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("want a directory")
	}
	largest, size := "", int64(0)
	ts.Check(filepath.WalkDir(ts.MkAbs(args[0]), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Size() > size {
			largest, size = path, info.Size()
		}
		return err
	}))
	data, err := os.ReadFile(largest)
	ts.Check(err)
	data[len(data)/2] ^= 1
	ts.Check(os.WriteFile(largest, data, 0o600))
}
