//go:build slow

package coprocessor

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// What the program of jumpingServer has more than this one: a wall clock that can be
// set, while the monotonic clock goes on, as when an operator or NTP sets that of a
// machine. It is that of the whole process, JetStream included.
const (
	jumpingNow = `
package time

import "sync/atomic"

var jump atomic.Int64

// Jump moves the wall clock away from that of the system.
func Jump(d Duration) { jump.Store(int64(d / Second)) }
`
	jumpingChild = `
package coprocessor

import "time"

func init() { jumpClock = time.Jump }
`
)

// jumpingServer builds this test with a time.Now that follows time.Jump.
func jumpingServer(t *testing.T) (program string) {
	t.Helper()
	dir := t.TempDir()
	std := filepath.Join(runtime.GOROOT(), "src", "time")
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	now, err := os.ReadFile(filepath.Join(std, "time.go"))
	if err != nil {
		t.Fatal(err)
	}
	const clock = "sec, nsec, mono := runtimeNow()\n"
	if n := strings.Count(string(now), clock); n != 1 {
		t.Fatalf("time.go of this Go reads the clock at %d places", n)
	}
	replaced := map[string]string{}
	for at, source := range map[string]string{
		filepath.Join(std, "time.go"):                  strings.Replace(string(now), clock, clock+"\tsec += jump.Load()\n", 1),
		filepath.Join(std, "jump.go"):                  jumpingNow,
		filepath.Join(here, "jumping_process_test.go"): jumpingChild,
	} {
		file := filepath.Join(dir, filepath.Base(at))
		if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
			t.Fatal(err)
		}
		replaced[at] = file
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replaced})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	program = filepath.Join(dir, "server")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-overlay", filepath.Join(dir, "overlay.json"), "-o", program, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}

// jump sets the server's wall clock to d from that of the system.
func (p *process) jump(d time.Duration) {
	p.t.Helper()
	if _, err := fmt.Fprintln(p.stdin, d); err != nil {
		p.t.Fatal(err)
	}
	if line, err := p.stdout.ReadString('\n'); err != nil || line != "jumped\n" {
		p.t.Fatalf("the server says %q, %v", line, err)
	}
}

// A server whose clock jumps by hours and days, in both directions, begins every job once
// and loses none.
func TestClockJumps(t *testing.T) {
	program := jumpingServer(t)
	jumps := []time.Duration{time.Hour, -time.Hour, 24 * time.Hour, -24 * time.Hour, 0, 400 * 24 * time.Hour, time.Minute, -10 * time.Second}
	_, repeated := storm(t, &process{t: t, dir: t.TempDir(), program: program}, 5*len(jumps), func(p *process, rng *rand.Rand, i int) {
		time.Sleep(time.Duration(rng.IntN(500)) * time.Millisecond)
		p.jump(jumps[i%len(jumps)])
	})
	if repeated > 0 {
		t.Errorf("%d jobs were begun again", repeated)
	}
}
