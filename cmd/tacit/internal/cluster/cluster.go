// Package cluster runs the processes of a coprocessor on one machine: servers that
// keep the data and answer calls, and workers that compute. It starts them, starts
// those again that end by themselves, and stops them in order.
package cluster

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Config says what to run. All fields but Args are required.
type Config struct {
	// Program is the tacit that is run, with the arguments of serve.
	Program string
	// Data is the directory of everything, made where there is none.
	Data string
	// Nodes is the number of servers, 1 or more, and Workers that of workers.
	Nodes, Workers int
	// Listen is the host and port where the first server answers calls; those after
	// it have the ports that follow. Port 0 takes free ones. The host is loopback.
	Listen string
	// Args are further arguments for every process, NodeArgs for servers and
	// WorkerArgs for workers.
	Args, NodeArgs, WorkerArgs []string
	// Log receives what the processes write, each line with the name of the process.
	Log io.Writer
}

// Process is one that runs.
type Process struct {
	Name    string `json:"name"`
	Role    string `json:"role"` // as serve has it
	PID     int    `json:"pid"`
	Address string `json:"address"` // where it answers calls, or its health
}

const (
	restartPause = time.Second
	// stopTimeout is what a process has to stop, besides the time it drains.
	stopTimeout = 2 * time.Minute
)

// Run runs the processes until ctx ends and stops them, workers first. started is
// told of each process that answers, one at a time.
func Run(ctx context.Context, c Config, started func(Process)) error {
	members, err := c.plan()
	if err != nil {
		return err
	}
	s := &supervisor{config: c, started: started, up: make(chan struct{})}
	// The workers end before the servers do.
	nodes, stopNodes := context.WithCancel(context.WithoutCancel(ctx))
	defer stopNodes()
	workers, stopWorkers := context.WithCancel(ctx)
	defer stopWorkers()
	var servers, computing sync.WaitGroup
	for _, m := range members {
		if m.role == "worker" {
			computing.Go(func() {
				select {
				case <-s.up: // there is somebody to connect to
					s.keep(workers, m)
				case <-workers.Done():
				}
			})
		} else {
			servers.Go(func() { s.keep(nodes, m) })
		}
	}
	<-ctx.Done()
	computing.Wait()
	stopNodes()
	servers.Wait()
	return nil
}

// member is one process to be.
type member struct {
	name, role string
	args       []string
}

// plan prepares the directory and decides the arguments of every process.
func (c *Config) plan() ([]member, error) {
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	first, err := strconv.Atoi(port)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return nil, err
	}
	secret, err := c.secret()
	if err != nil {
		return nil, err
	}
	// Who restarts a server needs its ports again: they are chosen here.
	free, err := freeAddresses(host, 3*c.Nodes)
	if err != nil {
		return nil, err
	}
	routes, clients, addresses := free[:c.Nodes], free[c.Nodes:2*c.Nodes], free[2*c.Nodes:]
	var urls []string
	for i := range c.Nodes {
		if first > 0 {
			addresses[i] = net.JoinHostPort(host, strconv.Itoa(first+i))
		}
		urls = append(urls, "nats://"+clients[i])
	}
	replicas := strconv.Itoa(min(c.Nodes, 3))
	common := append([]string{"serve", "--until-eof", "--nats-secret-file", secret, "--service-key", filepath.Join(c.Data, "service.key"), "--replicas", replicas}, c.Args...)
	var out []member
	for i := range c.Nodes {
		name := fmt.Sprint("node", i+1)
		role := "api"
		if c.Workers == 0 {
			role = "all"
		}
		args := append([]string{}, common...)
		args = append(args, "--data", filepath.Join(c.Data, name), "--role", role, "--listen", addresses[i], "--nats-listen", clients[i])
		if c.Nodes > 1 {
			args = append(args, "--node", name, "--cluster-listen", routes[i], "--peers", strings.Join(routes, ","))
		}
		out = append(out, member{name, role, append(args, c.NodeArgs...)})
	}
	for i := range c.Workers {
		name := fmt.Sprint("worker", i+1)
		args := append([]string{}, common...)
		args = append(args, "--data", filepath.Join(c.Data, name), "--role", "worker", "--listen", net.JoinHostPort(host, "0"), "--nats-url", strings.Join(urls, ","))
		out = append(out, member{name, "worker", append(args, c.WorkerArgs...)})
	}
	return out, nil
}

// secret returns the file with the secret of the cluster, made where there is none.
func (c *Config) secret() (string, error) {
	path := filepath.Join(c.Data, "secret")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return path, nil
	}
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(rand.Text() + "\n")
	return path, errors.Join(err, f.Close())
}

// freeAddresses returns addresses that nobody listens on now.
func freeAddresses(host string, count int) ([]string, error) {
	out := make([]string, count)
	for i := range out {
		l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			return nil, err
		}
		defer l.Close() // after all, so that they differ
		out[i] = l.Addr().String()
	}
	return out, nil
}

// supervisor keeps processes running.
type supervisor struct {
	config Config
	up     chan struct{} // closed when a server answers

	mu      sync.Mutex // of what follows
	started func(Process)
	any     bool // up is closed
}

// keep runs a process, again and again, until ctx ends.
func (s *supervisor) keep(ctx context.Context, m member) {
	for ctx.Err() == nil {
		err := s.run(ctx, m)
		if ctx.Err() != nil {
			return
		}
		s.log(m.name, fmt.Sprintf("ended, and is started again: %v", err))
		select {
		case <-time.After(restartPause):
		case <-ctx.Done():
		}
	}
}

// run runs a process once. It ends in order when its standard input does, which
// also happens when we are gone.
func (s *supervisor) run(ctx context.Context, m member) error {
	cmd := exec.Command(s.config.Program, m.args...)
	detach(cmd)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	running, ended := context.WithCancel(context.WithoutCancel(ctx))
	defer ended()
	defer context.AfterFunc(ctx, func() {
		stdin.Close()
		// One that does not end is ended, which loses nothing.
		kill := time.AfterFunc(stopTimeout, func() { cmd.Process.Kill() })
		context.AfterFunc(running, func() { kill.Stop() })
	})()
	var reading sync.WaitGroup
	reading.Go(func() {
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			s.log(m.name, lines.Text())
		}
	})
	reading.Go(func() {
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			address, ok := strings.CutPrefix(lines.Text(), "listening on ")
			if !ok {
				continue
			}
			s.mu.Lock()
			s.started(Process{Name: m.name, Role: m.role, PID: cmd.Process.Pid, Address: address})
			if !s.any {
				s.any = true
				close(s.up)
			}
			s.mu.Unlock()
		}
	})
	reading.Wait()
	return cmd.Wait()
}

func (s *supervisor) log(name, line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.config.Log, "%s: %s\n", name, line)
}
