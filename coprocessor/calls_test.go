package coprocessor

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"

	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// overTCP serves a service on a loopback address as well.
func (s *service) overTCP(options ...grpc.ServerOption) (address string) {
	s.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	g := s.Server.GRPC(options...)
	var wg sync.WaitGroup
	wg.Go(func() { g.Serve(Listener(l, MaxConnections)) })
	s.t.Cleanup(func() { g.Stop(); wg.Wait() })
	return l.Addr().String()
}

// from connects to a service from an address of this machine.
func from(t testing.TB, host, address string) tacitv1.CoprocessorClient {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, to string) (net.Conn, error) {
			return (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(host)}}).DialContext(ctx, "tcp", to)
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return tacitv1.NewCoprocessorClient(conn)
}

// closed waits until the other end has closed a connection.
func closed(t testing.TB, conn net.Conn) {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Errorf("the connection stays open: %v", err)
	}
}

// http2Conn is a connection that speaks HTTP/2 as badly as a test wants.
type http2Conn struct {
	net.Conn
	*http2.Framer
	t     testing.TB
	block bytes.Buffer
	enc   *hpack.Encoder
	next  uint32 // stream, and one
}

// speak begins HTTP/2 on a connection.
func speak(t testing.TB, conn net.Conn) *http2Conn {
	t.Helper()
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	c := &http2Conn{Conn: conn, Framer: http2.NewFramer(conn, conn), t: t}
	c.enc = hpack.NewEncoder(&c.block)
	if err := c.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return c
}

// call opens a stream for a method, with more headers than it needs. Unless end is set,
// the headers do not end.
func (c *http2Conn) call(method string, end bool, more ...[2]string) (stream uint32, err error) {
	c.block.Reset()
	headers := append([][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", method}, {":authority", "test"}, {"content-type", "application/grpc"}, {"te", "trailers"}}, more...)
	for _, h := range headers {
		if err := c.enc.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]}); err != nil {
			c.t.Fatal(err)
		}
	}
	c.next += 2
	stream = c.next - 1
	return stream, c.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: c.block.Bytes(), EndHeaders: end})
}

// dial connects to an address until the test ends.
func dial(t testing.TB, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// begun is a connection on which a call of a method has sent the first bytes of its
// request, and no more.
func begun(t testing.TB, address, method string, first []byte) net.Conn {
	t.Helper()
	c := speak(t, dial(t, address))
	stream, err := c.call(method, true)
	if err == nil {
		err = c.WriteData(stream, false, first)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c.Conn
}

// ends reads frames until one ends the stream.
func ends(t testing.TB, conn net.Conn) {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	f := http2.NewFramer(io.Discard, conn)
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			t.Errorf("the call goes on: %v", err)
			return
		}
		switch frame := frame.(type) {
		case *http2.RSTStreamFrame:
			return
		case *http2.HeadersFrame:
			if frame.StreamEnded() {
				return
			}
		}
	}
}

// Callers who connect and say nothing, who begin a request and do not end it, or who
// do not take the answer are let go; meanwhile others are served.
func TestCallersWhoDoNotMoveOn(t *testing.T) {
	s, good := small(t, func(o *Options) { o.patience = 500 * time.Millisecond })
	address := s.overTCP()
	var silent, slow []net.Conn
	message := binary.BigEndian.AppendUint32([]byte{0}, 1<<20) // and a megabyte to come
	for range 50 {
		silent = append(silent, dial(t, address))
		slow = append(slow, begun(t, address, tacitv1.Coprocessor_SubmitJob_FullMethodName, append(message, 1, 2, 3)),
			begun(t, address, tacitv1.Coprocessor_UploadCiphertexts_FullMethodName, message[:3]))
	}
	if job := s.run("good", good()); job.State != succeeded {
		t.Errorf("%v", job)
	}
	for _, conn := range slow {
		ends(t, conn)
	}
	for _, conn := range silent {
		closed(t, conn)
	}
	// An upload that trickles is ended, though every byte comes in time.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	stream, err := from(t, "127.0.0.1", address).UploadCiphertexts(ctx)
	if err != nil {
		t.Fatal(err)
	}
	send := &tacitv1.UploadCiphertextsRequest{Content: &tacitv1.UploadCiphertextsRequest_Header{Header: &tacitv1.CiphertextsHeader{Size: 1 << 20}}}
	for err == nil {
		err = stream.Send(send)
		send = &tacitv1.UploadCiphertextsRequest{Content: &tacitv1.UploadCiphertextsRequest_Chunk{Chunk: []byte{1}}}
		time.Sleep(20 * time.Millisecond)
	}
	if _, err := stream.CloseAndRecv(); code(err) != codes.Canceled || ctx.Err() != nil {
		t.Errorf("a trickle ends with %v", err)
	}
	s.freed()
}

// freed waits until no call is under way.
func (s *service) freed() {
	s.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		n := s.calls.held() + s.probes.held()
		if n == 0 {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%d calls are still counted", n)
		}
	}
}

// A host that makes as many calls as it can is refused when it has enough of them;
// another one is not.
func TestCallersWhoFlood(t *testing.T) {
	s, good := small(t)
	s.request(&tacitv1.SubmitJobRequest{Id: "held", Spec: adding(t, named("never"), "held"), MissingInputs: expect(map[string]tacitv1.Type{"never": tacitv1.Type_TYPE_EUINT8})})
	address := s.overTCP()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const connections, each = 6, 100
	var refusedCalls, held sync.Map
	var wg sync.WaitGroup
	for i := range connections {
		client := from(t, "127.0.0.1", address)
		for j := range each {
			wg.Go(func() {
				stream, err := client.WatchJob(ctx, &tacitv1.WatchJobRequest{Id: "held"})
				if err == nil {
					_, err = stream.Recv()
				}
				if err != nil {
					refusedCalls.Store(fmt.Sprint(i, j), err)
					return
				}
				held.Store(fmt.Sprint(i, j), true)
				for err == nil {
					_, err = stream.Recv()
				}
			})
		}
	}
	size := func(m *sync.Map) (n int) {
		m.Range(func(any, any) bool { n++; return true })
		return n
	}
	for deadline := time.Now().Add(30 * time.Second); size(&held)+size(&refusedCalls) < connections*each; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d held, %d refused", size(&held), size(&refusedCalls))
		}
	}
	if n := size(&held); n != maxCallsOfHost {
		t.Errorf("%d calls of one host, want %d", n, maxCallsOfHost)
	}
	refusedCalls.Range(func(_, err any) bool {
		if got := refused(t, err.(error)); got.code != codes.ResourceExhausted || got.reason != "TOO_MANY_CALLS" || retryDelay(t, err.(error)) == 0 {
			t.Errorf("%v", err)
			return false
		}
		return true
	})
	other := &service{s.Server, from(t, "127.0.0.2", address), t, s.conn}
	if job := other.submit("good", good()); job.State != queued && job.State != running && job.State != succeeded {
		t.Errorf("%v", job)
	}
	cancel()
	wg.Wait()
	s.freed()
	s.cancel("held")
}

// Connections are bounded too.
func TestConnectionsAreBounded(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	bounded := &listener{l, newShares(3, 2)}
	var accepted []net.Conn
	var mu sync.Mutex
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := bounded.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			accepted = append(accepted, conn)
			mu.Unlock()
		}
	})
	connect := func() net.Conn { return dial(t, l.Addr().String()) }
	first, second := connect(), connect()
	closed(t, connect())
	mu.Lock()
	accepted[0].Close()
	accepted[0].Close()
	mu.Unlock()
	third := connect()
	closed(t, connect())
	for _, conn := range []net.Conn{second, third} {
		conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		if _, err := conn.Read(make([]byte, 1)); err == io.EOF {
			t.Error("a connection that is allowed is closed")
		}
	}
	closed(t, first)
	l.Close()
	wg.Wait()
	for _, conn := range accepted {
		conn.Close()
	}
}
