package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/tacit-fhe/tacit/coprocessor"
	"github.com/tacit-fhe/tacit/coprocessor/monitor"
)

// monitorConnections bounds the connections to the metrics, half of them from one address.
const monitorConnections = 64

// MonitorConfig says where operators look.
type MonitorConfig struct {
	// Listen is a host and a port, the loopback address where the host is empty;
	// empty for nowhere.
	Listen string
	// Profiling answers for profiles too, on loopback addresses alone.
	Profiling bool
	// Ready is called with the address when it is listened on; nil calls nothing.
	Ready func(address string)
}

// ProfilingError refuses to hand out profiles where other machines ask for them:
// they show what is in memory, and cost what they measure.
type ProfilingError struct {
	Address string
}

func (e *ProfilingError) Error() string {
	return fmt.Sprintf("%s is reached by other machines, and profiles are for this one alone", e.Address)
}

// listen takes the address; the listener is nil when there is none to take.
func (c MonitorConfig) listen(log *slog.Logger) (net.Listener, error) {
	if c.Listen == "" {
		return nil, nil
	}
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	address, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	if !address.IP.IsLoopback() {
		if c.Profiling {
			return nil, &ProfilingError{c.Listen}
		}
		log.Warn("other machines can read metrics and the ids of jobs, without encryption", "address", c.Listen)
	}
	l, err := net.ListenTCP("tcp", address)
	if err != nil {
		return nil, err
	}
	return coprocessor.Listener(l, monitorConnections), nil
}

// serve answers on a listener until the returned function is called.
func (c MonitorConfig) serve(l net.Listener, h http.Handler, log *slog.Logger) (stop func()) {
	server := monitor.NewServer(h)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("metrics are not served any more", "error", err)
		}
	}()
	if c.Ready != nil {
		c.Ready(l.Addr().String())
	}
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if server.Shutdown(ctx) != nil {
			server.Close()
		}
		<-ended
	}
}
