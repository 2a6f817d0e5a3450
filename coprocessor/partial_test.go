package coprocessor

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tacit-fhe/tacit/coprocessor/client"
	"github.com/tacit-fhe/tacit/fhe"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// arrived is how much of an upload has arrived, and whether it has ended.
func (ps *partials) arrived(name partialName) (n int64, ended bool) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if p := ps.of[name]; p != nil {
		return p.n, p.stop == nil
	}
	return 0, true
}

// sendFrom sends a key from a place on, in small chunks, up to another.
func (s *service) sendFrom(ctx context.Context, t *testing.T, key []byte, id []byte, from, to int) (stream interface {
	CloseAndRecv() (*tacitv1.EvaluationKeyInfo, error)
}) {
	t.Helper()
	up, err := s.CoprocessorClient.UploadEvaluationKey(ctx)
	if err != nil {
		t.Fatal(err)
	}
	up.Send(&tacitv1.UploadEvaluationKeyRequest{Content: &tacitv1.UploadEvaluationKeyRequest_Header{
		Header: &tacitv1.EvaluationKeyHeader{KeyId: id, Size: uint64(len(key)), Offset: uint64(from)},
	}})
	for len(key[from:to]) > 0 {
		n := min(10_000, to-from)
		up.Send(&tacitv1.UploadEvaluationKeyRequest{Content: &tacitv1.UploadEvaluationKeyRequest_Chunk{Chunk: key[from : from+n]}})
		from += n
	}
	return up
}

// An upload of a key that broke off is continued by its principal where it was, and what
// has arrived is worth nothing until all of it is right.
func TestUploadIsContinued(t *testing.T) {
	g := guard(t)
	key := otherKey(t)
	id := upload{content: key}.id()
	alice := g.user("alice")
	half := len(key) / 2
	name := partialName{"alice", fhe.KeyID(id)}
	interrupt := func(key []byte) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		alice.sendFrom(ctx, t, key, id, 0, half)
		for n := int64(0); n < int64(half); n, _ = alice.partials.arrived(name) {
			time.Sleep(time.Millisecond)
		}
		cancel()
		for ended := false; !ended; _, ended = alice.partials.arrived(name) {
			time.Sleep(time.Millisecond)
		}
		u, err := alice.CoprocessorClient.GetEvaluationKeyUpload(t.Context(), &tacitv1.GetEvaluationKeyUploadRequest{KeyId: id})
		if err != nil || u.Received != uint64(half) || u.Size != uint64(len(key)) {
			t.Fatalf("%v, %v, want %d bytes", u, err, half)
		}
	}
	interrupt(key)
	if u, err := g.user("carol").CoprocessorClient.GetEvaluationKeyUpload(t.Context(), &tacitv1.GetEvaluationKeyUploadRequest{KeyId: id}); err != nil || u.Received != 0 {
		t.Errorf("another principal: %v, %v", u, err)
	}
	for name, from := range map[string]*service{"another principal": g.user("carol"), "beyond what is there": alice} {
		if _, err := from.sendFrom(t.Context(), t, key, id, half+1, len(key)).CloseAndRecv(); refused(t, err) != (refusal{codes.FailedPrecondition, "NO_SUCH_UPLOAD", "header.offset"}) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := alice.CoprocessorClient.GetKey(t.Context(), &tacitv1.GetKeyRequest{KeyId: id}); code(err) != codes.NotFound {
		t.Errorf("half a key: %v", err)
	}
	// From an earlier place too.
	info, err := alice.sendFrom(t.Context(), t, key, id, half-100, len(key)).CloseAndRecv()
	if err != nil || !bytes.Equal(info.KeyId, id) || info.Size != uint64(len(key)) {
		t.Fatalf("%v, %v", info, err)
	}
	if n, _ := g.partials.received(name); n != 0 {
		t.Errorf("%d bytes are left", n)
	}
	r, _, err := g.keys.Open(t.Context(), [32]byte(id))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if stored, err := io.ReadAll(r); err != nil || !bytes.Equal(stored, key) {
		t.Errorf("%d bytes are stored, %v", len(stored), err)
	}

	// What is wrong in the beginning shows at the end, and nothing is kept.
	alice = guard(t).user("alice")
	interrupt(flip(key, half/2))
	if _, err := alice.sendFrom(t.Context(), t, key, id, half, len(key)).CloseAndRecv(); code(err) != codes.InvalidArgument {
		t.Errorf("a key whose first half is wrong: %v", err)
	}
	if n, _ := alice.partials.received(name); n != 0 {
		t.Errorf("%d bytes are left of what is wrong", n)
	}
}

// An upload of a key that its sender has stored already takes no room on the disk.
func TestUploadAgainNeedsNoRoom(t *testing.T) {
	s, _ := start(t)
	key := evaluationKey(t)
	if _, err := s.sendKey(t.Context(), upload{content: key}); err != nil {
		t.Fatal(err)
	}
	s.partials.dir = filepath.Join(t.TempDir(), "none")
	if _, err := s.sendKey(t.Context(), upload{content: key}); err != nil {
		t.Error(err)
	}
	if _, err := s.sendKey(t.Context(), upload{content: otherKey(t)}); code(err) != codes.Unavailable {
		t.Errorf("where there is no room: %v", err)
	}
}

// A client whose connection breaks in the middle, again and again, sends no byte of a key
// much more often than once.
func TestUploadOverABrokenConnection(t *testing.T) {
	s, _ := start(t)
	var b bytes.Buffer
	if _, err := vectorKeys["bgv-13"]().Evaluation.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	key := b.Bytes()
	if len(key) < 3*client.ChunkSize {
		t.Fatalf("the key has %d bytes, less than three chunks", len(key))
	}
	c, proxy := s.dialBroken(t)
	var last int64
	if _, err := c.UploadEvaluationKey(t.Context(), bytes.NewReader(key), func(done, _ int64) { last = done }); err != nil || last != int64(len(key)) {
		t.Fatalf("%d bytes of %d, %v", last, len(key), err)
	}
	if broken, bytes := proxy.broken(); broken == 0 || bytes > int64(len(key)*2) {
		t.Errorf("%d connections were broken, %d bytes sent of %d", broken, bytes, len(key))
	} else {
		t.Logf("%d connections were broken, %d bytes sent of %d", broken, bytes, len(key))
	}
	id := upload{content: key}.id()
	r, _, err := s.keys.Open(t.Context(), [32]byte(id))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if stored, err := io.ReadAll(r); err != nil || !bytes.Equal(stored, key) {
		t.Errorf("%d bytes are stored, %v", len(stored), err)
	}
}

// breaker passes connections on, and breaks each after so many bytes.
type breaker struct {
	address string
	mu      sync.Mutex
	count   int
	bytes   int64
}

func (b *breaker) broken() (int, int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.count, b.bytes
}

// dialBroken returns a client whose connections break after one chunk and a half.
func (s *service) dialBroken(t *testing.T) (*client.Client, *breaker) {
	t.Helper()
	proxy := newBreaker(t, s.overTCP(), client.ChunkSize*3/2)
	c, err := client.Dial(proxy.address, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, proxy
}

func newBreaker(t *testing.T, to string, after int64) *breaker {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &breaker{address: l.Addr().String()}
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	t.Cleanup(func() { l.Close() })
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			if err != nil {
				conn.Close()
				return
			}
			wg.Go(func() {
				n, err := io.CopyN(server, conn, after)
				b.mu.Lock()
				b.bytes += n
				if err == nil {
					b.count++
				}
				b.mu.Unlock()
				server.Close()
				conn.Close()
			})
			wg.Go(func() { io.Copy(conn, server) })
		}
	})
	return b
}

// What a broken connection leaves can be continued; what is at fault, or fills the disk, goes.
func TestInterrupted(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{io.EOF, false},
		{context.Canceled, true},
		{refuse(codes.InvalidArgument, "TRUNCATED", "", "the upload ends"), true},
		{refuse(codes.InvalidArgument, "TOO_LARGE", "", "more than was said"), false},
		{&fs.PathError{Op: "write", Path: "upload-1", Err: syscall.EIO}, true},
		{&fs.PathError{Op: "write", Path: "upload-1", Err: syscall.ENOSPC}, false},
	} {
		if got := (&partialReader{err: c.err}).interrupted(); got != c.want {
			t.Errorf("%v: %v", c.err, got)
		}
	}
}

// What is kept of interrupted uploads is bounded, and goes when its time is over.
func TestPartials(t *testing.T) {
	dir := t.TempDir()
	ps := newPartials(dir)
	begin := func(principal string, key byte, size, offset uint64) (*partial, error) {
		return ps.begin(t.Context(), partialName{principal, fhe.KeyID{key}}, size, offset, func() {})
	}
	interrupt := func(principal string, key byte, n int) {
		t.Helper()
		p, err := begin(principal, key, 100, 0)
		if err != nil {
			t.Fatal(err)
		}
		io.ReadFull(&partialReader{all: ps, p: p, in: bytes.NewReader(make([]byte, n))}, make([]byte, n))
		ps.end(p, true)
	}
	has := func(principal string, key byte) int64 {
		n, _ := ps.received(partialName{principal, fhe.KeyID{key}})
		return n
	}
	for key := range byte(4) {
		interrupt("a", key, 10+int(key))
	}
	if has("a", 0)+has("a", 1) != 0 || has("a", 2) != 12 || has("a", 3) != 13 {
		t.Errorf("of one: %d %d %d %d", has("a", 0), has("a", 1), has("a", 2), has("a", 3))
	}
	for i := range byte(maxPartials) {
		interrupt(string('b'+rune(i)), 9, 5)
	}
	if has("a", 2)+has("a", 3) != 0 || has("b", 9) != 5 || len(ps.of) != maxPartials {
		t.Errorf("in all: %d, of the first %d and %d", len(ps.of), has("a", 2), has("a", 3))
	}
	// One under way is nobody else's, unless it stands still; then it is ended.
	p, err := begin("b", 9, 100, 5)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := begin("b", 9, 100, 5); faultOf(err).reason != "NO_SUCH_UPLOAD" || has("b", 9) != 0 {
		t.Errorf("one that moves: %v", err)
	}
	beside, err := begin("b", 9, 100, 0)
	if err != nil {
		t.Fatal(err)
	}
	ps.end(beside, true)
	p.stop = func() { go ps.end(p, true) }
	p.moved = time.Now().Add(-time.Hour)
	if has("b", 9) != 5 {
		t.Error("one that stands still cannot be continued")
	}
	p, err = begin("b", 9, 100, 3)
	if err != nil || p.n != 3 {
		t.Fatalf("%v, %v", p, err)
	}
	ps.end(p, true)
	if _, err := begin("b", 9, 99, 3); faultOf(err).reason != "NO_SUCH_UPLOAD" {
		t.Errorf("of another size: %v", err)
	}

	ps.age = time.Millisecond
	interrupt("z", 1, 7)
	for has("z", 1) != 0 {
		runtime.Gosched()
	}
	last, err := begin("y", 1, 100, 0)
	if err != nil {
		t.Fatal(err)
	}
	ps.close()
	last.n = 4
	ps.end(last, true)
	if len(ps.of) != 0 {
		t.Errorf("%d are left", len(ps.of))
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) != 0 {
		t.Errorf("files are left: %v, %v", left, err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
}
