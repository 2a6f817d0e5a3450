package jobs_test

import (
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tacit-fhe/tacit/coprocessor/jobs"
	"github.com/tacit-fhe/tacit/coprocessor/store"
)

// external starts a server that listens on the loopback interface, as another
// process would.
func external(t *testing.T, dir string, port int) *server.Server {
	t.Helper()
	srv, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: port, StoreDir: dir, JetStream: true, SyncAlways: true,
		NoSigs: true, NoLog: true, MaxPayload: store.MaxRecord + 1<<16,
	})
	must(t, err)
	srv.Start()
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server does not start")
	}
	t.Cleanup(func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	})
	return srv
}

func connect(t *testing.T, srv *server.Server) jetstream.JetStream {
	t.Helper()
	conn, err := nats.Connect(srv.ClientURL(), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond))
	must(t, err)
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn, jetstream.WithDefaultTimeout(time.Second))
	must(t, err)
	return js
}

// When the server goes away, a worker ends its work once its lease has run out;
// when the server is back, everything goes on.
func TestServerRestart(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	srv := external(t, dir, server.RANDOM_PORT)
	port := srv.Addr().(*net.TCPAddr).Port
	open := func() *jobs.Queue {
		q, err := jobs.Open(ctx, connect(t, srv), jobs.Options{LeaseDuration: 500 * time.Millisecond})
		must(t, err)
		t.Cleanup(q.Close)
		return q
	}
	q, other := open(), open()
	submit(t, q, "a")
	submit(t, q, "b")
	l := claim(t, q)

	srv.Shutdown()
	srv.WaitForShutdown()
	if cause := ended(t, l); cause != jobs.ErrLeaseLost {
		t.Errorf("cause: %v", cause)
	}
	external(t, dir, port)

	// The job that lost its worker is taken over, and the changes that one
	// queue makes reach the other.
	for range 2 {
		l := claim(t, other)
		must(t, l.Done(ctx, []byte(l.Job().ID)))
	}
	for _, id := range []string{"a", "b"} {
		if job := wait(t, q, id); string(job.Result) != id {
			t.Errorf("%+v", job)
		}
	}
	if err := l.Done(ctx, nil); err != jobs.ErrLeaseLost {
		t.Errorf("Done by the late worker: %v", err)
	}
	submit(t, q, "c")
	must(t, claim(t, other).Done(ctx, nil))
	wait(t, q, "c")
	// While the server is there to answer.
	q.Close()
	other.Close()
}
