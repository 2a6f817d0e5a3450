package coprocessor

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/tap"
	"google.golang.org/protobuf/proto"

	"github.com/tacit-fhe/tacit/coprocessor/graph"
	"github.com/tacit-fhe/tacit/fhe/integer"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// usage is what a process holds after garbage is collected.
type usage struct {
	bytes      int64 // of the heap and of stacks
	goroutines int
}

func used() usage {
	runtime.GC()
	runtime.GC() // what was in a sync.Pool goes with the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return usage{int64(m.HeapAlloc + m.StackInuse), runtime.NumGoroutine()}
}

// within checks what has come to be held against a bound.
func (before usage) within(t testing.TB, what string, bound usage) {
	t.Helper()
	now := used()
	grown := usage{now.bytes - before.bytes, now.goroutines - before.goroutines}
	if grown.bytes > bound.bytes || grown.goroutines > bound.goroutines {
		t.Errorf("%s: %d KiB and %d goroutines, at most %d KiB and %d are allowed", what, grown.bytes>>10, grown.goroutines, bound.bytes>>10, bound.goroutines)
	} else {
		t.Logf("%s: %d KiB and %d goroutines", what, grown.bytes>>10, grown.goroutines)
	}
}

// Connections that never come to a call, at whatever point they stop, hold a bounded
// amount of memory each, and are let go; others are served meanwhile.
func TestConnectionsThatStop(t *testing.T) {
	s, good := small(t, func(o *Options) { o.patience = time.Second })
	cert := httptest.NewTLSServer(nil)
	cert.Close()
	address := s.overTCP(grpc.Creds(credentials.NewServerTLSFromCert(&cert.TLS.Certificates[0])))
	hello := func() []byte {
		var b bytes.Buffer
		tls.Client(writeOnly{&b}, &tls.Config{InsecureSkipVerify: true}).Handshake()
		return b.Bytes()
	}()
	connect := func(i int) net.Conn {
		local := &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i%8))}
		conn, err := (&net.Dialer{LocalAddr: local}).Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	secure := func(i int) net.Conn {
		conn := tls.Client(connect(i), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
		if err := conn.Handshake(); err != nil {
			return nil // there are too many
		}
		return conn
	}
	var tricklers sync.WaitGroup
	defer tricklers.Wait()
	trickle := func(conn net.Conn, b []byte) {
		tricklers.Go(func() {
			for i := 0; ; i++ {
				if _, err := conn.Write(b[i%len(b):][:1]); err != nil {
					return
				}
				time.Sleep(50 * time.Millisecond)
			}
		})
	}
	kinds := []struct {
		name string
		stop func(i int) net.Conn
	}{
		{"nothing", connect},
		{"half a TLS handshake", func(i int) net.Conn {
			conn := connect(i)
			conn.Write(hello[:len(hello)/2])
			return conn
		}},
		{"a TLS handshake byte by byte", func(i int) net.Conn {
			conn := connect(i)
			trickle(conn, hello)
			return conn
		}},
		{"no preface", secure},
		{"a preface byte by byte", func(i int) net.Conn {
			conn := secure(i)
			if conn != nil {
				trickle(conn, []byte(http2.ClientPreface))
			}
			return conn
		}},
		{"headers that do not end", func(i int) net.Conn {
			conn := secure(i)
			if conn != nil {
				speak(t, conn).call(tacitv1.Coprocessor_GetInfo_FullMethodName, false)
			}
			return conn
		}},
	}
	before := used()
	stopped := make(map[string][]net.Conn)
	total := 0
	for i := range connectionsThatStop {
		for _, kind := range kinds {
			if conn := kind.stop(i); conn != nil {
				stopped[kind.name] = append(stopped[kind.name], conn)
				total++
			}
		}
	}
	// Each has a few buffers of up to 32 KiB here, and on the other side, which is in this process too.
	before.within(t, fmt.Sprintf("%d connections that stop", total), usage{int64(total) * 160 << 10, total * 5})
	if job := s.run("good", good()); job.State != succeeded {
		t.Errorf("%v", job)
	}
	for name, conns := range stopped {
		for _, conn := range conns {
			if !over(conn) {
				t.Errorf("%s: a connection stays open", name)
				break
			}
		}
	}
	s.freed()
}

// over waits until the other end has closed or reset a connection.
func over(conn net.Conn) bool {
	conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	_, err := io.Copy(io.Discard, conn)
	var timeout net.Error
	return !errors.As(err, &timeout) || !timeout.Timeout()
}

// writeOnly is a connection that takes what is written and says nothing.
type writeOnly struct{ io.Writer }

func (writeOnly) Read([]byte) (int, error)         { return 0, io.EOF }
func (writeOnly) Close() error                     { return nil }
func (writeOnly) LocalAddr() net.Addr              { return nil }
func (writeOnly) RemoteAddr() net.Addr             { return nil }
func (writeOnly) SetDeadline(time.Time) error      { return nil }
func (writeOnly) SetReadDeadline(time.Time) error  { return nil }
func (writeOnly) SetWriteDeadline(time.Time) error { return nil }

// Who opens calls and resets them at once, as fast as it can (CVE-2023-44487), has no more
// of them counted than who leaves them open, and nothing is held for those that are over.
func TestRapidReset(t *testing.T) {
	s, good := small(t)
	s.request(&tacitv1.SubmitJobRequest{Id: "held", Spec: adding(t, named("never"), "held"), MissingInputs: expect(map[string]tacitv1.Type{"never": tacitv1.Type_TYPE_EUINT8})})
	request, err := proto.Marshal(&tacitv1.WaitJobRequest{Id: "held"})
	if err != nil {
		t.Fatal(err)
	}
	message := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(request))), request...)
	address := s.overTCP()
	before := used()
	const connections = 4
	var wg sync.WaitGroup
	var pause sync.RWMutex // held for reading by who sends
	var arrived []func()   // return when the service has read all that was sent
	for range connections {
		c := speak(t, dial(t, address))
		acks := make(chan struct{}, 1)
		go func() {
			defer close(acks)
			for {
				frame, err := c.ReadFrame()
				if err != nil {
					return
				}
				if settings, ok := frame.(*http2.SettingsFrame); ok && settings.IsAck() {
					acks <- struct{}{}
				}
			}
		}()
		<-acks // of the preface
		arrived = append(arrived, func() {
			c.WriteSettings()
			<-acks
		})
		reset := func() error {
			pause.RLock()
			defer pause.RUnlock()
			stream, err := c.call(tacitv1.Coprocessor_WaitJob_FullMethodName, true)
			if err == nil {
				err = c.WriteData(stream, true, message)
			}
			if err == nil {
				err = c.WriteRSTStream(stream, http2.ErrCodeCancel)
			}
			return err
		}
		wg.Go(func() {
			for range resets {
				if reset() != nil {
					return // let go for it
				}
			}
		})
	}
	flooded := make(chan struct{})
	go func() { wg.Wait(); close(flooded) }()
	for i, lasts := 0, true; lasts; i++ {
		if n := s.calls.held(); n > connections*(maxCallsOfConnection+1) {
			t.Errorf("%d calls are counted", n)
		}
		if n := runtime.NumGoroutine() - before.goroutines; n > connections*(2*maxCallsOfConnection+8) {
			t.Errorf("there are %d goroutines more", n)
		}
		if i == 0 {
			if job := s.run("good", good()); job.State != succeeded {
				t.Errorf("%v", job)
			}
		}
		select {
		case <-flooded:
			lasts = false
		case <-time.After(100 * time.Millisecond):
		}
		// While nobody sends, what a collection finds is what is held. While calls are made,
		// it finds those of its own time as well, however many that are.
		pause.Lock()
		for _, wait := range arrived {
			wait()
		}
		s.freed()
		before.within(t, "calls that were reset at once", usage{8 << 20, connections * 16})
		pause.Unlock()
	}
	s.cancel("held")
}

// A call counts until its handler has returned, not only until the caller is gone.
func TestCallsCountUntilTheyReturn(t *testing.T) {
	s, _ := start(t)
	ctx, cancel := context.WithCancel(peer.NewContext(t.Context(), &peer.Peer{Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}}))
	tapped, err := s.tap(ctx, &tap.Info{FullMethodName: "/x"})
	if err != nil {
		t.Fatal(err)
	}
	begun, end, returned := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(returned)
		s.unary(tapped, &tacitv1.GetInfoRequest{}, &grpc.UnaryServerInfo{FullMethod: "/x"}, func(context.Context, any) (any, error) {
			close(begun)
			<-end
			return nil, nil
		})
	}()
	<-begun
	cancel()
	// What runs at the end of the context has run, or will: the call is counted either way.
	if n := s.calls.held(); n != 1 {
		t.Errorf("%d calls are counted while one runs", n)
	}
	close(end)
	<-returned
	s.freed()
	if _, err := s.unary(tapped, &tacitv1.GetInfoRequest{}, &grpc.UnaryServerInfo{FullMethod: "/x"}, func(context.Context, any) (any, error) {
		t.Error("a call that has ended runs")
		return nil, nil
	}); err == nil {
		t.Error("a call that has ended is answered")
	}
}

// Headers are small, whatever a caller makes of compression.
func TestLargeHeaders(t *testing.T) {
	s, good := small(t)
	address := s.overTCP()
	before := used()
	large := [2]string{"x-large", strings.Repeat("x", 4000)}
	var more [][2]string
	for range 1000 {
		more = append(more, large) // a byte each, after the first
	}
	const connections = 20
	for range connections {
		c := speak(t, dial(t, address))
		go io.Copy(io.Discard, c.Conn)
		for range maxCallsOfConnection {
			if _, err := c.call(tacitv1.Coprocessor_SubmitJob_FullMethodName, true, more...); err != nil {
				break
			}
		}
	}
	before.within(t, "headers of 4 MB", usage{connections * 256 << 10, connections * 5})
	if job := s.run("good", good()); job.State != succeeded {
		t.Errorf("%v", job)
	}
}

// Who pings all the time is let go.
func TestPings(t *testing.T) {
	s, _ := start(t)
	c := speak(t, dial(t, s.overTCP()))
	go func() {
		for c.WritePing(false, [8]byte{}) == nil {
		}
	}()
	c.SetReadDeadline(time.Now().Add(20 * time.Second))
	for {
		frame, err := c.ReadFrame()
		if err != nil {
			t.Fatalf("not told to go: %v", err)
		}
		if away, ok := frame.(*http2.GoAwayFrame); ok {
			if away.ErrCode != http2.ErrCodeEnhanceYourCalm {
				t.Errorf("%v", away)
			}
			break
		}
	}
	if !over(c.Conn) {
		t.Error("the connection stays open")
	}
}

// One principal begins uploads of the largest size and does not go on: it gets half of
// the places and little memory; another one uploads and computes.
func TestUploadsOfOnePrincipal(t *testing.T) {
	g := guard(t)
	bob := g.user("bob")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	before := used()
	const each = 2 * maxUploads
	chunk := make([]byte, MaxChunk)
	errs := make(chan error, each)
	for range each {
		stream, err := bob.CoprocessorClient.UploadCiphertexts(ctx)
		if err != nil {
			t.Fatal(err)
		}
		stream.Send(&tacitv1.UploadCiphertextsRequest{Content: &tacitv1.UploadCiphertextsRequest_Header{Header: &tacitv1.CiphertextsHeader{Size: MaxUpload}}})
		for range MaxUpload/MaxChunk - 1 {
			stream.Send(&tacitv1.UploadCiphertextsRequest{Content: &tacitv1.UploadCiphertextsRequest_Chunk{Chunk: chunk}})
		}
		go func() { errs <- stream.RecvMsg(new(tacitv1.UploadCiphertextsResponse)) }()
	}
	for range each - maxUploads/2 {
		if err := <-errs; refused(t, err) != (refusal{codes.ResourceExhausted, "TOO_MANY_UPLOADS", ""}) || retryDelay(t, err) == 0 {
			t.Fatalf("%v", err)
		}
	}
	// The bytes of each that has a place, in a buffer that grows by a quarter, and what is on its way.
	before.within(t, "uploads that stall", usage{maxUploads / 2 * (MaxUpload*3/2 + 2*MaxChunk), each * 4})
	alice := g.user("alice")
	data := encrypted(t, "beside a flood", integer.Plain(integer.Uint8, 1))
	if _, err := alice.sendList(t.Context(), upload{content: data}); err != nil {
		t.Errorf("another principal: %v", err)
	}
	if job := alice.run("beside", spec(t, g.sum("sub(a, b)"))); job.State != succeeded {
		t.Errorf("%v", job)
	}
	cancel()
	for range maxUploads / 2 {
		<-errs
	}
	g.freed()
}

// One principal submits as many jobs as it can: another one's job is taken and is next.
func TestJobsOfOnePrincipal(t *testing.T) {
	const places = 40
	g := guard(t, func(o *Options) { o.MaxQueued, o.ConcurrentJobs = places, 1 })
	alice, root := g.user("alice"), g.user("root")
	if _, err := root.admin().Pause(with(t.Context(), g.token("root")("", nil)), &tacitv1.PauseRequest{}); err != nil {
		t.Fatal(err)
	}
	var flood []string
	for i := 0; ; i++ {
		id := fmt.Sprint("flood-", i)
		_, err := alice.CoprocessorClient.SubmitJob(t.Context(), &tacitv1.SubmitJobRequest{Id: id, Spec: spec(t, g.sum(fmt.Sprintf("add(a, %d)", i%200)))})
		if err != nil {
			if got := refused(t, err); got != (refusal{codes.ResourceExhausted, "QUEUE_FULL", ""}) || retryDelay(t, err) == 0 {
				t.Fatalf("%v", err)
			}
			break
		}
		flood = append(flood, id)
	}
	if len(flood) != places*9/10 {
		t.Errorf("one principal has %d jobs of %d that may wait", len(flood), places)
	}
	other := root.submit("other", spec(t, g.sum("mul(a, b)")))
	if _, err := root.admin().Resume(with(t.Context(), g.token("root")("", nil)), &tacitv1.ResumeRequest{}); err != nil {
		t.Fatal(err)
	}
	other = root.waitState(other.Id, succeeded)
	before := 0
	for _, id := range flood {
		if job := alice.get(id); job.StartTime != nil && job.StartTime.AsTime().Before(other.StartTime.AsTime()) {
			before++
		}
	}
	if before > 2 {
		t.Errorf("%d jobs of the flood came before the job of another principal", before)
	}
	t.Logf("%d jobs of the flood came first", before)
	for _, id := range flood {
		alice.CoprocessorClient.CancelJob(t.Context(), &tacitv1.CancelJobRequest{Id: id})
	}
}

// One principal has the largest specs checked, as many at a time as it can: what waits
// is bounded, and a call of another principal is served meanwhile.
func TestSpecsOfOnePrincipal(t *testing.T) {
	// A slow machine may take long to decode all that arrives.
	g := guard(t, func(o *Options) { o.patience = time.Hour })
	alice, root := g.user("alice"), g.user("root")
	large := g.largeSpec(t)
	size := proto.Size(large)
	// With all places taken, everything waits.
	var ends []func()
	for range maxEstimates {
		end, err := g.estimates.begin(t.Context(), "", func() int { return 0 })
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, end)
	}
	before := used()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const calls = 40
	errs := make(chan error, calls)
	for range calls {
		go func() {
			_, err := alice.CoprocessorClient.EstimateJob(ctx, &tacitv1.EstimateJobRequest{Spec: large})
			errs <- err
		}()
	}
	fit := maxWaitingOfPrincipal / size
	for range calls - fit {
		if err := <-errs; refused(t, err) != (refusal{codes.ResourceExhausted, "TOO_MANY_CALLS", ""}) || retryDelay(t, err) == 0 {
			t.Fatalf("%v", err)
		}
	}
	// Decoded, a spec takes some ten times its size; the callers hold theirs encoded.
	before.within(t, fmt.Sprintf("%d calls with %d KiB each", calls, size>>10), usage{16*maxWaitingOfPrincipal + calls*int64(size), calls * 6})
	answered := make(chan error, 1)
	go func() {
		_, err := root.CoprocessorClient.EstimateJob(t.Context(), &tacitv1.EstimateJobRequest{Spec: &tacitv1.JobSpec{KeyId: g.key()}})
		answered <- err
	}()
	for g.estimates.lines() < 2 {
		runtime.Gosched()
	}
	// The next place but one is the other principal's.
	ends[0]()
	ends[1]()
	if err := <-answered; code(err) == codes.ResourceExhausted {
		t.Errorf("%v", err)
	}
	cancel()
	for _, end := range ends[2:] {
		end()
	}
	for range fit {
		<-errs
	}
	g.freed()
}

// largeSpec is a spec as large as specs may be.
func (g *guarded) largeSpec(t testing.TB) *tacitv1.JobSpec {
	text := "input a = 0x" + g.handles[0] + "\n"
	for i := range 9000 {
		text += fmt.Sprintf("x%d = add(a, %d)\n", i, i%256)
	}
	large := spec(t, text+"output x0")
	for _, n := range large.Nodes {
		n.Label = strings.Repeat("l", 40)
	}
	if n := proto.Size(large); n > graph.DefaultLimits().MaxSpecSize || n < graph.DefaultLimits().MaxSpecSize/2 {
		t.Fatalf("the spec has %d bytes", n)
	}
	return large
}

// lines is how many principals wait.
func (t *turns) lines() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.order)
}

// Places go to principals in turn, and who gives up leaves the line.
func TestTurns(t *testing.T) {
	turns := newTurns(1, 100, 60)
	nothing := func() int { t.Error("the size of a call that does not wait"); return 0 }
	end, err := turns.begin(t.Context(), "a", nothing)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string)
	line := func(ctx context.Context, who, name string, size int) {
		t.Helper()
		before := turns.bytes()
		go func() {
			end, err := turns.begin(ctx, who, func() int { return size })
			if err != nil {
				name = "not " + name
			} else {
				defer end()
			}
			got <- name
		}()
		for turns.bytes() == before {
			runtime.Gosched()
		}
	}
	gone, leave := context.WithCancel(t.Context())
	line(t.Context(), "a", "a1", 30)
	line(gone, "a", "a2", 20)
	if _, err := turns.begin(t.Context(), "a", func() int { return 20 }); faultOf(err).reason != "TOO_MANY_CALLS" {
		t.Errorf("more of one than may wait: %v", err)
	}
	line(t.Context(), "b", "b1", 30)
	if _, err := turns.begin(t.Context(), "b", func() int { return 25 }); faultOf(err).reason != "TOO_MANY_CALLS" {
		t.Errorf("more than may wait: %v", err)
	}
	line(t.Context(), "a", "a3", 5)
	line(t.Context(), "c", "c1", 1000) // alone, it may
	leave()
	if name := <-got; name != "not a2" {
		t.Errorf("%s", name)
	}
	end()
	for _, want := range []string{"a1", "b1", "c1", "a3"} {
		if name := <-got; name != want {
			t.Errorf("%s, want %s", name, want)
		}
	}
	end, err = turns.begin(t.Context(), "d", func() int { return 0 }) // when the last one has ended
	if err != nil || turns.lines() != 0 || turns.bytes() != 0 || len(turns.queues) != 0 {
		t.Errorf("%v, %+v", err, turns)
	}
	end()
}

// bytes is how many bytes wait.
func (t *turns) bytes() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.waiting
}

// A principal has half of all calls, wherever it calls from.
func TestCallsOfOnePrincipal(t *testing.T) {
	g := guard(t)
	var ends []func()
	for range maxCallsOfPrincipal {
		end, ok := g.callsOf.begin("alice")
		if !ok {
			t.Fatal("too many")
		}
		ends = append(ends, end)
	}
	_, err := g.user("alice").CoprocessorClient.GetInfo(t.Context(), &tacitv1.GetInfoRequest{})
	if got := refused(t, err); got != (refusal{codes.ResourceExhausted, "TOO_MANY_CALLS", ""}) || retryDelay(t, err) == 0 {
		t.Errorf("%v", err)
	}
	if _, err := g.user("bob").CoprocessorClient.GetInfo(t.Context(), &tacitv1.GetInfoRequest{}); err != nil {
		t.Errorf("another principal: %v", err)
	}
	for _, end := range ends {
		end()
	}
	if _, err := g.user("alice").CoprocessorClient.GetInfo(t.Context(), &tacitv1.GetInfoRequest{}); err != nil {
		t.Error(err)
	}
}

func TestHostOf(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1:80": "192.0.2.1", "[::ffff:192.0.2.1]:80": "192.0.2.1", "[2001:db8::1:2]:80": "2001:db8::/64",
		"[2001:db8:0:0:ffff::]:1": "2001:db8::/64", "[2001:db8:0:1::]:1": "2001:db8:0:1::/64", "[fe80::1%eth0]:1": "fe80::/64", "pipe": "pipe",
	} {
		if got := hostOf(name(address)); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}

// name is an address that is not of a network.
type name string

func (n name) Network() string { return "test" }
func (n name) String() string  { return string(n) }
