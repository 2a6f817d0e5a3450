// Package host runs a coprocessor on a network address: it listens, serves until
// it is told to stop, and drains.
package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"google.golang.org/grpc"

	"github.com/tacit-fhe/tacit/accel"
	"github.com/tacit-fhe/tacit/coprocessor"
	"github.com/tacit-fhe/tacit/coprocessor/access"
	"github.com/tacit-fhe/tacit/coprocessor/store"
)

// callTimeout is how long calls in progress may go on after the jobs have ended.
const callTimeout = 5 * time.Second

// Config says what to run. All fields but TLS, InsecurePlaintext, Storage and
// Monitor are required. Where other machines reach the address, so are TLS and Callers, unless
// InsecurePlaintext says otherwise.
type Config struct {
	coprocessor.Options
	// Listen is a host and a port; port 0 takes a free one.
	Listen string
	// TLS encrypts the connections; nil is plain text.
	TLS *TLSFiles
	// InsecurePlaintext allows an address that other machines reach. The
	// connection is not encrypted.
	InsecurePlaintext bool
	// Storage is where the store is; the zero value is a server over Dir alone.
	Storage StoreConfig
	Monitor MonitorConfig
}

// InsecureError refuses to listen without TLS where other machines reach it.
type InsecureError struct {
	Address string
}

func (e *InsecureError) Error() string {
	return fmt.Sprintf("%s is reached by other machines, and connections are not encrypted", e.Address)
}

// OpenError refuses to listen where other machines reach it when everybody is an
// administrator.
type OpenError struct {
	Address string
}

func (e *OpenError) Error() string {
	return fmt.Sprintf("%s is reached by other machines, and there are no callers: everyone would be an administrator", e.Address)
}

// Run tests the backend, opens the data directory, listens and computes until ctx
// ends. Then it takes no new jobs, lets running ones end within DrainTimeout,
// gives calls in progress a few seconds, and closes. ready is called with the
// address once calls are answered. Traces go where the environment says, if it
// does. The error is nil after an orderly end.
func Run(ctx context.Context, c Config, ready func(address string)) (err error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	address, err := net.ResolveTCPAddr("tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if !c.InsecurePlaintext && !address.IP.IsLoopback() {
		if c.TLS == nil {
			return &InsecureError{c.Listen}
		}
		if c.Callers == nil && c.Role != coprocessor.RoleWorker {
			return &OpenError{c.Listen}
		}
	}
	if c.Callers == nil && c.Role != coprocessor.RoleWorker {
		c.Log.Warn("there are no callers: everyone who connects is an administrator", "principal", access.Local.Name, "listen", c.Listen)
	}
	var transport []grpc.ServerOption
	if c.TLS != nil {
		option, err := c.TLS.credentials(c.Log)
		if err != nil {
			return err
		}
		transport = append(transport, option)
	}
	if err := accel.SelfTest(c.Backend); err != nil {
		return err
	}
	// An address in use is found before the data directory is opened.
	listener, err := net.ListenTCP("tcp", address)
	if err != nil {
		return err
	}
	defer listener.Close()
	monitoring, err := c.Monitor.listen(c.Log)
	if err != nil {
		return err
	}
	if monitoring != nil {
		defer monitoring.Close()
	}
	var options []grpc.ServerOption
	traces, err := tracing(ctx, c.Version, c.Log)
	if err != nil {
		return err
	}
	if traces != nil {
		defer endTracing(traces, c.Log)
		c.Tracer = traces
		options = append(options, traceCalls(traces))
	}
	if c.Storage.Shared() {
		c.Store = func(ctx context.Context) (*store.Node, error) { return c.Storage.Open(ctx, c.Dir, c.Log) }
	}
	TuneCollector()
	server, err := coprocessor.Open(ctx, c.Options)
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = errors.Join(err, server.Close(closing))
	}()
	if monitoring != nil {
		// It answers until the calls have ended: that it drains is worth knowing.
		defer c.Monitor.serve(monitoring, server.Monitor(c.Monitor.Profiling), c.Log)()
	}
	g := server.GRPC(append(options, transport...)...)
	served := make(chan error, 1)
	go func() { served <- g.Serve(coprocessor.Listener(listener, coprocessor.MaxConnections)) }()

	// Whatever ends first, the jobs or the calls, ends the other.
	work, stop := context.WithCancel(ctx)
	defer stop()
	ran := make(chan error, 1)
	go func() { ran <- server.Run(work) }()
	ready(listener.Addr().String())
	select {
	case err = <-ran:
		stopCalls(g)
		return errors.Join(err, <-served)
	case err = <-served:
		stop()
		return errors.Join(err, <-ran)
	}
}

// stopCalls lets calls in progress end and then cuts them off.
func stopCalls(g *grpc.Server) {
	timer := time.AfterFunc(callTimeout, g.Stop)
	defer timer.Stop()
	g.GracefulStop()
}
