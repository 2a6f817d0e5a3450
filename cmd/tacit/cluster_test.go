package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/tacit-fhe/tacit/accel/cpu"
	"github.com/tacit-fhe/tacit/cmd/tacit/internal/cluster"
	"github.com/tacit-fhe/tacit/cmd/tacit/internal/host"
	"github.com/tacit-fhe/tacit/coprocessor"
	"github.com/tacit-fhe/tacit/coprocessor/client"
	"github.com/tacit-fhe/tacit/coprocessor/graph"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/integer"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// batch is a number of jobs on two ciphertexts of one key.
type batch struct {
	key, list []byte
	id        fhe.KeyID
	jobs      int
	specs     []*tacitv1.JobSpec // after upload
}

func newBatch(t *testing.T, jobs int) *batch {
	t.Helper()
	p, err := fhe.Preset(fhe.TestPreset)
	if err != nil {
		t.Fatal(err)
	}
	backend, err := cpu.New()
	if err != nil {
		t.Fatal(err)
	}
	keys, err := fhe.GenerateKeys(t.Context(), p, fhe.NewSeed(), backend, nil)
	if err != nil {
		t.Fatal(err)
	}
	var key bytes.Buffer
	if _, err := keys.Evaluation.WriteTo(&key); err != nil {
		t.Fatal(err)
	}
	list, err := integer.Encrypt(p, keys.Secret.ID(), keys.Secret, fhe.NewSeed(), integer.Plain(integer.Uint64, 12345), integer.Plain(integer.Uint64, 67890))
	if err != nil {
		t.Fatal(err)
	}
	b := &batch{key: key.Bytes()}
	if b.list, err = list.MarshalBinary(); err != nil {
		t.Fatal(err)
	}
	b.jobs, b.id = jobs, keys.Secret.ID()
	return b
}

// upload stores the key and the ciphertexts, and makes the specs of jobs on them.
func (b *batch) upload(ctx context.Context, t *testing.T, c *client.Client) {
	t.Helper()
	if _, err := c.UploadEvaluationKey(ctx, bytes.NewReader(b.key), nil); err != nil {
		t.Fatal(err)
	}
	infos, err := c.UploadList(ctx, b.list)
	if err != nil {
		t.Fatal(err)
	}
	b.specs = nil
	for i := range b.jobs {
		var text strings.Builder
		fmt.Fprintf(&text, "a0 = add(x, %d)\n", i)
		for n := range 12 {
			fmt.Fprintf(&text, "a%d = add(a%d, y)\n", n+1, n)
		}
		text.WriteString("output a12\n")
		spec, err := graph.ParseText(text.String(), map[string]graph.Handle{"x": graph.Handle(infos[0].Handle), "y": graph.Handle(infos[1].Handle)})
		if err != nil {
			t.Fatal(err)
		}
		spec.KeyId = b.id[:]
		b.specs = append(b.specs, spec)
	}
}

// digests waits for all jobs and returns the digest of the result of each.
func digests(ctx context.Context, t *testing.T, clients []*client.Client, jobs int) (out []string, repeated int) {
	t.Helper()
	for i := range jobs {
		job, err := clients[i%len(clients)].Wait(ctx, fmt.Sprint("job-", i))
		if err != nil {
			t.Fatalf("job %d: %v", i, err)
		}
		if job.State != tacitv1.JobState_JOB_STATE_SUCCEEDED || len(job.Results) != 1 {
			t.Fatalf("job %d: %v", i, job)
		}
		if job.Attempts > 1 {
			repeated++
		}
		out = append(out, hex.EncodeToString(job.Results[0].Digest))
	}
	return out, repeated
}

func dial(t *testing.T, address string) *client.Client {
	t.Helper()
	c, err := client.Dial(address, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// A server and a worker of three and two are killed while jobs run. Every job that
// was acknowledged ends, with the results of one machine that nothing happened to.
func TestCluster(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("its processes are told to end in another way")
	}
	const jobs = 12
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	b := newBatch(t, jobs)
	want := alone(ctx, t, b)

	cmd := exec.CommandContext(ctx, "tacit", "cluster", "--data", t.TempDir(), "--listen", "127.0.0.1:0",
		"--params", fhe.TestPreset, "--lease", "2s", "--drain", "1s", "--json")
	cmd.Stderr = t.Output()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Signal(os.Interrupt)
	lines := json.NewDecoder(bufio.NewReader(stdout))
	next := func() (p cluster.Process) {
		t.Helper()
		if err := lines.Decode(&p); err != nil {
			t.Fatal(err)
		}
		return p
	}
	processes := make(map[string]cluster.Process)
	for len(processes) < 5 {
		p := next()
		processes[p.Name] = p
	}
	var clients []*client.Client
	for _, name := range []string{"node1", "node2"} {
		clients = append(clients, dial(t, processes[name].Address))
	}
	b.upload(ctx, t, clients[0])
	for i, spec := range b.specs {
		if _, err := clients[(i+1)%2].Submit(ctx, fmt.Sprint("job-", i), spec); err != nil {
			t.Fatal(err)
		}
	}
	watching, seen := context.WithCancel(ctx)
	clients[0].Watch(watching, "job-1", func(job *tacitv1.Job, _ *tacitv1.NodeReport) {
		if job != nil && job.State != tacitv1.JobState_JOB_STATE_QUEUED {
			seen()
		}
	})
	for _, name := range []string{"worker1", "node3"} {
		p, err := os.FindProcess(processes[name].PID)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	killed := time.Now()
	got, repeated := digests(ctx, t, clients, jobs)
	t.Logf("%d of %d jobs were begun again; all had ended %v after the kill", repeated, jobs, time.Since(killed).Round(time.Millisecond))
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("job %d has the digest %s, want %s", i, got[i], want[i])
		}
	}

	// Both are started again, and the server has caught up.
	for range 2 {
		p := next()
		if p.PID == processes[p.Name].PID {
			t.Errorf("%s has not been killed", p.Name)
		}
		processes[p.Name] = p
	}
	back := dial(t, processes["node3"].Address)
	if got, _ := digests(ctx, t, []*client.Client{back}, jobs); strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("from the server that was away: %q", got)
	}

	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, stdout)
	if err := cmd.Wait(); err != nil {
		t.Errorf("the cluster ended with %v", err)
	}
}

// alone runs a batch on one server and returns the digests of the results.
func alone(ctx context.Context, t *testing.T, b *batch) (want []string) {
	t.Helper()
	p, err := fhe.Preset(fhe.TestPreset)
	if err != nil {
		t.Fatal(err)
	}
	backend, err := cpu.New()
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	err = host.Run(ctx, host.Config{
		Options: coprocessor.Options{Dir: t.TempDir(), Params: p, Backend: backend, Version: "test"}, Listen: "127.0.0.1:0",
	}, func(address string) {
		defer cancel()
		c := dial(t, address)
		b.upload(ctx, t, c)
		for i, spec := range b.specs {
			if _, err := c.Submit(ctx, fmt.Sprint("job-", i), spec); err != nil {
				t.Fatal(err)
			}
		}
		want, _ = digests(ctx, t, []*client.Client{c}, len(b.specs))
	})
	if err != nil {
		t.Fatal(err)
	}
	return want
}
