package coprocessor

import (
	"context"
	"net"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/tap"
	"google.golang.org/protobuf/proto"
)

// Whoever calls holds memory: that of a request that is on its way, or of an answer
// that is not taken. So calls are counted before anything of them is read, and those
// that do not move on are ended.

const (
	// maxCalls bounds the calls under way; with the largest request that bounds the
	// memory of all that is on its way.
	maxCalls = 1024
	// maxCallsOfHost bounds those from one address, so that there are some left for
	// others.
	maxCallsOfHost = maxCalls / 2
	// maxCallsOfConnection bounds those of one connection.
	maxCallsOfConnection = 128
	// maxConnections bounds the connections that are open.
	maxConnections = 1024
	// maxFetches bounds the fetches under way, each of which holds a ciphertext.
	maxFetches = 64
	// defaultPatience is how long a connection may take to be made, a request to
	// arrive, and a message of an answer to be taken.
	defaultPatience = 30 * time.Second
	// minRate is how many bytes of a stream have to arrive in a second, besides what
	// patience allows.
	minRate = 16 << 10
	// idleConnection is how long a connection is kept without calls.
	idleConnection = 15 * time.Minute
)

// perHost counts what callers hold, in all and by address.
type perHost struct {
	limit, limitOfHost int

	mu    sync.Mutex
	all   int
	hosts map[string]int
}

func newPerHost(limit, limitOfHost int) *perHost {
	return &perHost{limit: limit, limitOfHost: limitOfHost, hosts: make(map[string]int)}
}

// begin counts one more until end is called; ok is false when there are too many.
func (c *perHost) begin(addr net.Addr) (end func(), ok bool) {
	host := addr.String()
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all >= c.limit || c.hosts[host] >= c.limitOfHost {
		return nil, false
	}
	c.all++
	c.hosts[host]++
	return sync.OnceFunc(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.all--
		if c.hosts[host]--; c.hosts[host] == 0 {
			delete(c.hosts, host)
		}
	}), true
}

// Listener bounds the connections that are open: those over the bound, or over half
// of it from one address, are closed at once.
func Listener(l net.Listener) net.Listener {
	return &listener{l, newPerHost(maxConnections, maxConnections/2)}
}

type listener struct {
	net.Listener
	open *perHost
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if end, ok := l.open.begin(conn.RemoteAddr()); ok {
			return &countedConn{conn, end}, nil
		}
		conn.Close()
	}
}

type countedConn struct {
	net.Conn
	end func()
}

func (c *countedConn) Close() error {
	c.end()
	return c.Conn.Close()
}

// stall ends a call that does not move on.
type stall struct {
	timer    *time.Timer
	patience time.Duration
}

type stallKey struct{}

// tap lets a call begin. It runs before anything of the request is read.
func (s *Server) tap(ctx context.Context, info *tap.Info) (context.Context, error) {
	if strings.HasPrefix(info.FullMethodName, "/grpc.health.") {
		return ctx, nil
	}
	from, ok := peer.FromContext(ctx)
	var end func()
	if ok {
		end, ok = s.calls.begin(from.Addr)
	}
	if !ok {
		s.metrics.CallError("TOO_MANY_CALLS")
		return nil, refuse(codes.ResourceExhausted, "TOO_MANY_CALLS", "", "too many calls are under way").status().Err()
	}
	call, cancel := context.WithCancel(ctx)
	st := &stall{time.AfterFunc(s.opts.patience, cancel), s.opts.patience}
	context.AfterFunc(ctx, func() { // the end of the call
		st.timer.Stop()
		end()
	})
	return context.WithValue(call, stallKey{}, st), nil
}

// stallOf is what ends the call of ctx, or nil.
func stallOf(ctx context.Context) *stall {
	st, _ := ctx.Value(stallKey{}).(*stall)
	return st
}

// moved says that the call waits for nobody.
func (st *stall) moved() {
	if st != nil {
		st.timer.Stop()
	}
}

// waits says that the call waits for the caller, who may take so long.
func (st *stall) waits(d time.Duration) {
	if st != nil {
		st.timer.Reset(d)
	}
}

// patientStream is a stream whose caller has to move on.
type patientStream struct {
	grpc.ServerStream
	stall    *stall
	waited   time.Duration // for messages
	received int           // bytes of them
}

func newPatientStream(stream grpc.ServerStream) *patientStream {
	return &patientStream{ServerStream: stream, stall: stallOf(stream.Context())}
}

func (p *patientStream) RecvMsg(m any) error {
	if p.stall != nil {
		earned := time.Duration(p.received) * time.Second / minRate
		p.stall.waits(max(p.stall.patience+earned-p.waited, time.Millisecond))
		defer p.stall.moved()
	}
	begin := time.Now()
	err := p.ServerStream.RecvMsg(m)
	p.waited += time.Since(begin)
	if message, ok := m.(proto.Message); ok && err == nil {
		p.received += proto.Size(message)
	}
	return err
}

func (p *patientStream) SendMsg(m any) error {
	if p.stall != nil {
		p.stall.waits(p.stall.patience)
		defer p.stall.moved()
	}
	return p.ServerStream.SendMsg(m)
}
