package coprocessor

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
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
	// maxCallsOfPrincipal bounds those of one principal, wherever they come from.
	maxCallsOfPrincipal = maxCalls / 2
	// maxProbes bounds the calls of the health service, which are counted apart: who
	// asks is to be answered also when there are too many others.
	maxProbes = 256
	// MaxConnections bounds the connections that are open.
	MaxConnections = 1024
	// maxFetches bounds the fetches under way, each of which holds a ciphertext.
	maxFetches = 64
	// maxWaiting and maxWaitingOfPrincipal bound the requests that wait to be validated,
	// in bytes; decoded they take some ten times as much.
	maxWaiting            = 64 << 20
	maxWaitingOfPrincipal = 16 << 20
	// maxHeaders bounds the header list of a call in bytes: names and values, and 32
	// for each.
	maxHeaders = 16 << 10
	// streamWindow and connectionWindow are how many bytes of a call and of a connection
	// may be on their way unread, besides a message that has begun.
	streamWindow     = 256 << 10
	connectionWindow = 1 << 20
	// defaultPatience is how long a connection may take to be made, a request to
	// arrive, and a message of an answer to be taken.
	defaultPatience = 30 * time.Second
	// minRate is how many bytes of a stream have to arrive in a second, besides what
	// patience allows.
	minRate = 16 << 10
	// idleConnection is how long a connection is kept without calls.
	idleConnection = 15 * time.Minute
)

// Listener bounds the connections that are open: those over the limit, or over half
// of it from one address (of IPv6, one network of 64 bits), are closed at once.
func Listener(l net.Listener, limit int) net.Listener {
	return &listener{l, newShares(limit, limit/2)}
}

type listener struct {
	net.Listener
	open *shares
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if end, ok := l.open.begin(hostOf(conn.RemoteAddr())); ok {
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

// stall ends a call that does not move on, and counts it until it has ended and its
// handler has returned: who resets its calls as soon as they are made gets no more of
// them than others.
type stall struct {
	timer    *time.Timer
	patience time.Duration
	cancel   context.CancelFunc
	holders  atomic.Int32 // the call, and its handler
	end      func()
}

// enter says that a handler begins; it returns false when the call has ended.
func (st *stall) enter() bool {
	if st == nil {
		return true
	}
	for {
		n := st.holders.Load()
		if n == 0 {
			return false
		}
		if st.holders.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// leave says that a handler has returned, or the call has ended.
func (st *stall) leave() {
	if st != nil && st.holders.Add(-1) == 0 {
		st.end()
	}
}

type stallKey struct{}

// tap lets a call begin. It runs before anything of the request is read.
func (s *Server) tap(ctx context.Context, info *tap.Info) (context.Context, error) {
	counted := s.calls
	if strings.HasPrefix(info.FullMethodName, "/grpc.health.") {
		counted = s.probes
	}
	from, ok := peer.FromContext(ctx)
	var end func()
	if ok {
		end, ok = counted.begin(hostOf(from.Addr))
	}
	if !ok {
		s.metrics.CallError("TOO_MANY_CALLS")
		return nil, tooManyCalls().status().Err()
	}
	call, cancel := context.WithCancel(ctx)
	st := &stall{timer: time.AfterFunc(s.opts.patience, cancel), patience: s.opts.patience, cancel: cancel, end: end}
	st.holders.Store(1)
	context.AfterFunc(ctx, func() { // the end of the call
		st.timer.Stop()
		st.leave()
	})
	return context.WithValue(call, stallKey{}, st), nil
}

func tooManyCalls() *fault {
	return refuse(codes.ResourceExhausted, "TOO_MANY_CALLS", "", "too many calls are under way")
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

// stop ends the call.
func (st *stall) stop() {
	if st != nil {
		st.cancel()
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
		earned := time.Duration(float64(p.received) / minRate * float64(time.Second))
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
