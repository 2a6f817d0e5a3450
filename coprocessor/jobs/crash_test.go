package jobs_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tacit-fhe/tacit/coprocessor/jobs"
	"github.com/tacit-fhe/tacit/coprocessor/store"
	"github.com/tacit-fhe/tacit/coprocessor/store/storetest"
)

// crashOptions are those of the process that is killed and of the one that
// checks. Nobody runs out of attempts.
var crashOptions = jobs.Options{MaxAttempts: 1000, RetryDelay: time.Millisecond, LeaseDuration: time.Hour, Exclusive: true}

func crashResult(id string) []byte {
	d := sha256.Sum256([]byte(id))
	return d[:]
}

// TestCrashChild is the process that is killed. It submits and works, and
// prints a line for each acknowledgement after it has it.
func TestCrashChild(t *testing.T) {
	dir, round := os.Getenv("TACIT_TEST_CRASH_DIR"), os.Getenv("TACIT_TEST_CRASH_ROUND")
	if dir == "" {
		t.Skip("runs in a child process only")
	}
	ctx := t.Context()
	n := storetest.Start(t, dir)
	cts, err := store.OpenCiphertexts(ctx, n.JetStream())
	must(t, err)
	q := open(t, n, crashOptions)
	fmt.Println("ready")
	var wg sync.WaitGroup
	for i := range 2 {
		wg.Go(func() {
			for j := 0; ; j++ {
				id := fmt.Sprintf("%s.%d.%d", round, i, j)
				if _, _, err := q.Submit(ctx, jobs.Submission{ID: id, Spec: []byte(id)}); err != nil {
					t.Error(err)
					return
				}
				fmt.Println("submitted", id)
			}
		})
		wg.Go(func() {
			for {
				l, err := q.Claim(ctx)
				if err != nil {
					t.Error(err)
					return
				}
				id := l.Job().ID
				ct := store.Ciphertext{Handle: sha256.Sum256([]byte(id)), Record: crashResult(id)}
				if err := cts.Put(ctx, ct); err != nil {
					t.Error(err)
					return
				}
				// Some attempts fail, some are given back.
				switch rand.IntN(8) {
				case 0:
					err = l.Fail(ctx, []byte("again"), true)
				case 1:
					err = l.Release(ctx)
				default:
					err = l.Done(ctx, crashResult(id))
					if err == nil {
						fmt.Println("done", id)
					}
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// A process that is killed at random moments, again and again, loses no job
// that it acknowledged, and none that it finished is run again.
func TestCrash(t *testing.T) {
	const rounds = 10
	dir := t.TempDir()
	submitted, done := map[string]bool{}, map[string]bool{}
	for round := range rounds {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestCrashChild$")
		cmd.Env = append(os.Environ(), "TACIT_TEST_CRASH_DIR="+dir, fmt.Sprintf("TACIT_TEST_CRASH_ROUND=%d", round))
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		r := bufio.NewReader(out)
		for {
			// A line that the kill cut off acknowledged nothing.
			line, err := r.ReadString('\n')
			if err == io.EOF {
				break
			}
			must(t, err)
			what, id, _ := strings.Cut(strings.TrimSpace(line), " ")
			switch what {
			case "ready":
				time.AfterFunc(time.Duration(rand.IntN(300))*time.Millisecond, func() { cmd.Process.Kill() })
			case "submitted":
				submitted[id] = true
			case "done":
				if done[id] {
					t.Errorf("job %s was done twice", id)
				}
				done[id] = true
			default:
				t.Fatalf("round %d: the child says %q", round, line)
			}
		}
		if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Fatalf("round %d: the child ended by itself: %v", round, err)
		}
	}
	if len(submitted) < rounds || len(done) < rounds {
		t.Fatalf("only %d jobs were submitted and %d done: the test shows nothing", len(submitted), len(done))
	}

	n := storetest.Start(t, dir)
	cts, err := store.OpenCiphertexts(t.Context(), n.JetStream())
	must(t, err)
	q := open(t, n, crashOptions)
	for id := range done {
		job, err := q.Get(t.Context(), id)
		if err != nil || job.State != jobs.Done || string(job.Result) != string(crashResult(id)) {
			t.Errorf("job %s, which was done: %v, %v", id, job.State, err)
		}
		got, err := cts.Get(t.Context(), sha256.Sum256([]byte(id)))
		if err != nil || string(got) != string(crashResult(id)) {
			t.Errorf("the ciphertext of job %s: %v", id, err)
		}
	}

	// Whatever was not finished is finished now, each job once.
	ctx, cancel := context.WithCancel(t.Context())
	worker := make(chan struct{})
	finished := 0
	go func() {
		defer close(worker)
		for {
			l, err := q.Claim(ctx)
			if err != nil {
				return
			}
			id := l.Job().ID
			if done[id] {
				t.Errorf("job %s, which was done, is claimed again", id)
			}
			done[id] = true
			finished++
			if err := l.Done(context.WithoutCancel(ctx), crashResult(id)); err != nil {
				t.Error(err)
			}
		}
	}()
	for id := range submitted {
		if job := wait(t, q, id); job.State != jobs.Done || string(job.Spec) != id || string(job.Result) != string(crashResult(id)) {
			t.Errorf("job %s, which was acknowledged: %+v", id, job)
		}
	}
	cancel()
	<-worker
	t.Logf("%d jobs acknowledged in %d lives, %d of them finished in the last", len(submitted), rounds+1, finished)
}
