package main

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tacit-fhe/tacit/cmd/tacit/internal/certtest"
	"github.com/tacit-fhe/tacit/coprocessor/client"
	"github.com/tacit-fhe/tacit/fhe"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// natsVariable names a nats-server program, where it is not in PATH.
const natsVariable = "TACIT_TEST_NATS_SERVER"

// freeAddresses returns addresses on loopback where nobody listens.
func freeAddresses(t *testing.T, n int) (list []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		list = append(list, l.Addr().String())
	}
	return list
}

// natsServers starts three servers of a cluster with the settings that are shipped, and
// returns what starts one of them again, and where they listen.
func natsServers(ctx context.Context, t *testing.T, dir, secret string) (startAgain func(i int) *exec.Cmd, urls []string) {
	t.Helper()
	program := os.Getenv(natsVariable)
	if program == "" {
		var err error
		if program, err = exec.LookPath("nats-server"); err != nil {
			t.Skipf("no nats-server in PATH, and none named by %s", natsVariable)
		}
	}
	addresses := freeAddresses(t, 6)
	clients, routes := addresses[:3], addresses[3:]
	for i := range 3 {
		j, k := (i+1)%3, (i+2)%3
		text := strings.NewReplacer(
			"server_name: a", fmt.Sprint("server_name: n", i),
			"10.0.0.1:4222", clients[i], "10.0.0.1:6222", routes[i], "10.0.0.2:6222", routes[j], "10.0.0.3:6222", routes[k],
			"/var/lib/nats", filepath.Join(dir, fmt.Sprint("nats", i)), "/etc/nats/", dir+"/", "200GB", "2GB",
		).Replace(deployed(t, "nats-server.conf"))
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint("nats", i, ".conf")), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		urls = append(urls, "nats://"+clients[i])
	}
	startAgain = func(i int) *exec.Cmd {
		t.Helper()
		cmd := exec.CommandContext(ctx, program, "-c", filepath.Join(dir, fmt.Sprint("nats", i, ".conf")))
		cmd.Env = append(os.Environ(), "TACIT_SECRET="+secret)
		log, err := os.OpenFile(filepath.Join(dir, fmt.Sprint("nats", i, ".log")), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stdout, cmd.Stderr = log, log
		err = cmd.Start()
		log.Close()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			cmd.Process.Kill()
			cmd.Wait()
			if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
				t.Logf("%s\n%s", log.Name(), text[max(0, len(text)-4000):])
			}
		})
		return cmd
	}
	return startAgain, urls
}

// serve starts a process of the service and returns it with its address.
func serve(ctx context.Context, t *testing.T, args ...string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.CommandContext(ctx, "tacit", append([]string{"serve", "--params", fhe.TestPreset, "--listen", "127.0.0.1:0"}, args...)...)
	cmd.Stderr = t.Output()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	address, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if err != nil || !ok {
		t.Fatalf("%q says %q, %v", args, line, err)
	}
	go io.Copy(io.Discard, stdout)
	return cmd, address
}

// Servers of NATS of their own, with the settings that are shipped: one of them is
// killed while jobs run, and then the worker. Every job that was acknowledged ends, with
// the results of one machine that nothing happened to, which are there when the server is
// back and another one is killed.
func TestExternalServers(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("paths in the settings are those of Unix")
	}
	const jobs, secret = 12, "aSecretOfTheTestsOfTacit1"
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	startAgain, urls := natsServers(ctx, t, dir, secret)
	ca, err := certtest.NewAuthority(in("ca.pem"))
	if err := cmp.Or(err, ca.Member(in("node.pem"), in("node.key")), os.WriteFile(in("secret"), []byte(secret+"\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	var servers []*exec.Cmd
	for i := range 3 {
		servers = append(servers, startAgain(i))
	}
	kill := func(cmd *exec.Cmd) {
		t.Helper()
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		cmd.Wait()
	}

	b := newBatch(t, jobs)
	want := alone(ctx, t, b)
	store := []string{
		"--nats-url", strings.Join(urls, ","), "--replicas", "3", "--nats-ca", in("ca.pem"), "--nats-cert", in("node.pem"), "--nats-key", in("node.key"),
		"--nats-secret-file", in("secret"), "--service-key", in("service.key"), "--lease", "2s", "--drain", "1s",
	}
	_, address := serve(ctx, t, append(store, "--data", in("server"), "--role", "api")...)
	worker := func(n int) *exec.Cmd {
		cmd, _ := serve(ctx, t, append(slices.Clone(store), "--data", in(fmt.Sprint("worker", n)), "--role", "worker")...)
		return cmd
	}
	first := worker(1)
	c := dial(t, address)
	b.upload(ctx, t, c)
	for i, spec := range b.specs {
		if _, err := c.Submit(ctx, fmt.Sprint("job-", i), spec); err != nil {
			t.Fatal(err)
		}
	}
	watching, seen := context.WithCancel(ctx)
	c.Watch(watching, "job-1", func(job *tacitv1.Job, _ *tacitv1.NodeReport) {
		if job != nil && job.State != tacitv1.JobState_JOB_STATE_QUEUED {
			seen()
		}
	})
	kill(servers[0])
	kill(first)
	second := worker(2)
	got, repeated := digests(ctx, t, []*client.Client{c}, jobs)
	t.Logf("%d of %d jobs were begun again", repeated, jobs)
	if !slices.Equal(got, want) {
		t.Errorf("digests %q, want %q", got, want)
	}

	// The server is back and another one goes: what it missed it has caught up with.
	servers[0] = startAgain(0)
	after, err := c.Submit(ctx, "after", b.specs[0])
	if err != nil {
		t.Fatal(err)
	}
	if after, err = c.Wait(ctx, after.Id); err != nil || after.State != tacitv1.JobState_JOB_STATE_SUCCEEDED {
		t.Fatalf("%v, %v", after, err)
	}
	verified := func() {
		t.Helper()
		args := append([]string{"store", "verify"}, store[:12]...)
		if out, err := exec.CommandContext(ctx, "tacit", args...).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
	verified()
	kill(servers[1])
	if got, _ := digests(ctx, t, []*client.Client{c}, jobs); !slices.Equal(got, want) {
		t.Errorf("without another server: digests %q, want %q", got, want)
	}
	verified()
	kill(second)
}
