package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tacit-fhe/tacit/fhe"
)

// fakeUI is a ui whose clock stands still, with what it writes to standard error.
func fakeUI(t *testing.T, terminal bool) (u *ui, now *time.Time, written func() string) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	now = new(time.Time)
	u = &ui{err: w, terminal: terminal, now: func() time.Time { return *now }}
	return u, now, func() string {
		w.Close()
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
}

func TestProgress(t *testing.T) {
	for name, c := range map[string]struct {
		terminal bool
		after    time.Duration // of the first report
		want     string
	}{
		"on a terminal": {true, 2 * time.Second, "\rwork: 50 %, 2s left\rwork: 75 %, 1s left" +
			"\r" + strings.Repeat(" ", len("work: 75 %, 1s left")) + "\r"},
		"too short":      {true, 100 * time.Millisecond, ""},
		"not a terminal": {false, 2 * time.Second, ""},
	} {
		t.Run(name, func(t *testing.T) {
			u, now, written := fakeUI(t, c.terminal)
			p := u.progress("work")
			*now = now.Add(c.after)
			p.share(50, 100)
			*now = now.Add(progressEvery / 2)
			p.share(60, 100) // too soon after the last
			*now = now.Add(c.after / 2)
			p.share(75, 100)
			p.share(0, 0)
			p.end()
			if got := written(); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestShorterProgressLineClearsTheLonger(t *testing.T) {
	u, now, written := fakeUI(t, true)
	p := u.progress("job")
	*now = now.Add(time.Minute)
	p.status(func(d time.Duration) string { return "a long text" })
	*now = now.Add(time.Minute)
	p.status(func(d time.Duration) string { return d.String() })
	if got, want := written(), "\rjob: a long text\rjob: 2m0s       "; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestNumbers(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{size(0), "0 bytes"}, {size(999), "999 bytes"}, {size(1000), "1.0 kB"}, {size(uint64(21_300_000)), "21.3 MB"}, {size(1_780_000_000), "1.8 GB"},
		{count(1, "value"), "1 value"}, {count(0, "value"), "0 values"},
		{duration(1234567), "1.23ms"}, {duration(1234567890), "1.23s"}, {duration(12345678900), "12.3s"}, {duration(123456789000), "2m3s"},
		{power(-130.46), "2^-130.5"}, {power(-144), "2^-144.0"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

func TestForPeople(t *testing.T) {
	p, err := fhe.Preset(fhe.DefaultPreset)
	if err != nil {
		t.Fatal(err)
	}
	f := p.Fingerprint()
	for text, want := range map[string]string{
		"keyfile: a.key exists already":                   "a.key exists already",
		"x.ct: key id: store: key ab12: not found":        "x.ct: key id: key ab12: not found",
		fmt.Sprintf("codec: for %x, want %x", f[:8], f):   fmt.Sprintf("for %s, want %x", fhe.DefaultPreset, f),
		"0123456789abcdef stays, as does mystore: and so": "0123456789abcdef stays, as does mystore: and so",
	} {
		if got := forPeople(text); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestTableHasNoTail(t *testing.T) {
	u, _, written := fakeUI(t, false)
	u.out = u.err
	u.table(func(row func(...any)) {
		row("a", "bb", "c")
		row("aa", "", "")
	})
	if got := written(); got != "a   bb  c\naa\n" {
		t.Errorf("%q", got)
	}
}

func TestJobEnd(t *testing.T) {
	for _, c := range []struct {
		job  jobView
		text string
		code int
	}{
		{jobView{ID: "j", State: "failed", Error: &errorView{Code: "FailedPrecondition", Reason: "NOISE_BOUND", Place: "nodes[3]", Message: "too noisy"}},
			"job j failed: nodes[3]: too noisy (NOISE_BOUND)", exitFailed},
		{jobView{ID: "j", State: "failed", Error: &errorView{Reason: "ATTEMPTS_EXHAUSTED", Message: "gone"}}, "job j failed: gone (ATTEMPTS_EXHAUSTED)", exitFailed},
		{jobView{ID: "j", State: "cancelled"}, "job j cancelled", exitCancelled},
		{jobView{ID: "j", State: "running"}, "job j has not ended in time, it is running", exitTimeout},
	} {
		err := ended(c.job)
		if err == nil || err.Error() != c.text || err.(*jobEndError).exitCode() != c.code {
			t.Errorf("%+v: %v, want %s", c.job, err, c.text)
		}
	}
	if err := ended(jobView{State: "succeeded"}); err != nil {
		t.Error(err)
	}
}

func TestPrintNodesStopsSomewhere(t *testing.T) {
	u, _, written := fakeUI(t, false)
	u.out = u.err
	nodes := make([]nodeView, maxRows+8)
	for i := range nodes {
		nodes[i] = nodeView{Node: uint32(i), State: "succeeded"}
	}
	nodes[0].State, nodes[1].State = "pending", "skipped"
	u.printNodes(nodes)
	got := written()
	if n := bytes.Count([]byte(got), []byte("succeeded")); n != maxRows || !strings.HasSuffix(got, "and 6 more, which --json shows\n") {
		t.Errorf("%d rows:\n%s", n, got)
	}
}
