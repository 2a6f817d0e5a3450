package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tacit-fhe/tacit/fhe/codec"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a service that fails as often as told and then answers.
type fake struct {
	tacitv1.UnimplementedCoprocessorServer
	failures []error // for the next calls, in turn

	mu     sync.Mutex
	calls  int
	chunks []int
	got    []byte
	held   map[[32]byte]bool                   // evaluation keys
	send   []*tacitv1.FetchCiphertextsResponse // what Fetch answers
	events [][]*tacitv1.JobEvent               // what each Watch answers
	jobs   []*tacitv1.Job                      // what each WaitJob answers

	cursors []string // of each WatchJobs

	resumes  bool   // uploads of keys go on where they broke off
	total    uint64 // of the key
	forgets  int    // times that such an upload is not there after all, with noUpload
	noUpload error
}

func (f *fake) fail() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if len(f.failures) == 0 {
		return nil
	}
	err := f.failures[0]
	f.failures = f.failures[1:]
	return err
}

func (f *fake) GetInfo(context.Context, *tacitv1.GetInfoRequest) (*tacitv1.GetInfoResponse, error) {
	return &tacitv1.GetInfoResponse{Version: "fake"}, f.fail()
}

func (f *fake) UploadEvaluationKey(stream grpc.ClientStreamingServer[tacitv1.UploadEvaluationKeyRequest, tacitv1.EvaluationKeyInfo]) error {
	m, err := stream.Recv()
	if err != nil {
		return err
	}
	h := m.GetHeader()
	info := &tacitv1.EvaluationKeyInfo{KeyId: h.GetKeyId(), Size: h.GetSize()}
	if f.held[[32]byte(h.GetKeyId())] {
		return stream.SendAndClose(info)
	}
	err = f.receive(h.GetOffset(), func() ([]byte, error) {
		m, err := stream.Recv()
		return m.GetChunk(), err
	})
	if err != nil {
		return err
	}
	return stream.SendAndClose(info)
}

// receive takes the chunks of a key.
func (f *fake) receive(offset uint64, next func() ([]byte, error)) error {
	f.mu.Lock()
	if offset > 0 && f.forgets > 0 {
		f.forgets--
		f.got = nil
		f.mu.Unlock()
		return f.noUpload
	}
	f.got, f.chunks = f.got[:offset], nil
	f.mu.Unlock()
	for {
		chunk, err := next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		f.mu.Lock()
		f.got = append(f.got, chunk...)
		f.chunks = append(f.chunks, len(chunk))
		f.mu.Unlock()
		if err := f.fail(); err != nil {
			return err
		}
	}
}

func (f *fake) StartMigration(_ context.Context, req *tacitv1.StartMigrationRequest) (*tacitv1.Migration, error) {
	f.got = req.MigrationKey
	return &tacitv1.Migration{Moved: 1}, f.fail()
}

func (f *fake) UploadMigrationKey(stream grpc.ClientStreamingServer[tacitv1.UploadMigrationKeyRequest, tacitv1.Migration]) error {
	m, err := stream.Recv()
	if err != nil {
		return err
	}
	h := m.GetHeader()
	err = f.receive(h.GetOffset(), func() ([]byte, error) {
		m, err := stream.Recv()
		return m.GetChunk(), err
	})
	if err != nil {
		return err
	}
	if sum := sha256.Sum256(f.got); !bytes.Equal(h.GetSha256(), sum[:]) || h.GetSize() != uint64(len(f.got)) {
		return status.Error(codes.InvalidArgument, "not what the header said")
	}
	return stream.SendAndClose(&tacitv1.Migration{Moved: 2})
}

func (f *fake) GetEvaluationKeyUpload(_ context.Context, req *tacitv1.GetEvaluationKeyUploadRequest) (*tacitv1.EvaluationKeyUpload, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.resumes {
		return nil, status.Error(codes.Unimplemented, "")
	}
	return &tacitv1.EvaluationKeyUpload{KeyId: req.KeyId, Received: uint64(len(f.got)), Size: f.total}, nil
}

func (f *fake) UploadCiphertexts(stream grpc.ClientStreamingServer[tacitv1.UploadCiphertextsRequest, tacitv1.UploadCiphertextsResponse]) error {
	if err := f.fail(); err != nil {
		return err
	}
	for {
		m, err := stream.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		f.got = append(f.got, m.GetChunk()...)
	}
	return stream.SendAndClose(&tacitv1.UploadCiphertextsResponse{Ciphertexts: []*tacitv1.CiphertextInfo{{Size: uint64(len(f.got))}}})
}

func (f *fake) FetchCiphertexts(_ *tacitv1.FetchCiphertextsRequest, stream grpc.ServerStreamingServer[tacitv1.FetchCiphertextsResponse]) error {
	if err := f.fail(); err != nil {
		return err
	}
	for _, m := range f.send {
		if err := stream.Send(m); err != nil {
			return err
		}
	}
	return nil
}

func (f *fake) WatchJob(_ *tacitv1.WatchJobRequest, stream grpc.ServerStreamingServer[tacitv1.JobEvent]) error {
	if len(f.events) > 0 {
		for _, e := range f.events[0] {
			if err := stream.Send(e); err != nil {
				return err
			}
		}
		f.events = f.events[1:]
	}
	return f.fail()
}

func (f *fake) WaitJob(context.Context, *tacitv1.WaitJobRequest) (*tacitv1.Job, error) {
	if err := f.fail(); err != nil {
		return nil, err
	}
	job := f.jobs[0]
	f.jobs = f.jobs[1:]
	return job, nil
}

func (f *fake) ListJobs(_ context.Context, req *tacitv1.ListJobsRequest) (*tacitv1.ListJobsResponse, error) {
	if err := f.fail(); err != nil {
		return nil, err
	}
	resp := &tacitv1.ListJobsResponse{NextPageToken: req.PageToken + "x"}
	if len(resp.NextPageToken) == 4 {
		resp.NextPageToken = ""
	}
	for range min(req.PageSize, 2) {
		resp.Jobs = append(resp.Jobs, &tacitv1.Job{Id: "page " + req.PageToken})
	}
	return resp, nil
}

func dial(t *testing.T, f *fake) *Client {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	tacitv1.RegisterCoprocessorServer(g, f)
	var wg sync.WaitGroup
	wg.Go(func() { g.Serve(l) })
	c, err := Dial(l.Addr().String(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		g.Stop()
		wg.Wait()
	})
	return c
}

// refusal is a status as the service makes it. A delay of 0 is none.
func refusal(t *testing.T, code codes.Code, reason, place string, delay time.Duration) error {
	t.Helper()
	details := []protoadapt.MessageV1{
		protoadapt.MessageV1Of(&tacitv1.JobError{Code: int32(code), Reason: reason, Place: place, Message: "no"}),
	}
	if delay > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(delay)})
	}
	s, err := status.New(code, place+": no").WithDetails(details...)
	if err != nil {
		t.Fatal(err)
	}
	return s.Err()
}

func TestDial(t *testing.T) {
	for target, ok := range map[string]bool{
		"127.0.0.1:1": true, "[::1]:1": true, "localhost:1": true, "127.1.2.3:1": true,
		"192.0.2.1:1": false, "example.org:1": false, ":1": false, "[::]:1": false, "localhost.example.org:1": false,
	} {
		c, err := Dial(target, Options{})
		if ok != (err == nil) || !ok && !errors.As(err, new(*InsecureError)) {
			t.Errorf("%s: %v", target, err)
		}
		if c != nil {
			c.Close()
		}
		c, err = Dial(target, Options{InsecurePlaintext: true})
		if err != nil {
			t.Errorf("%s, told to: %v", target, err)
			continue
		}
		c.Close()
	}
	if _, err := Dial("localhost", Options{}); err == nil || !strings.Contains(err.Error(), "host:port") {
		t.Errorf("no port: %v", err)
	}
}

func TestRetry(t *testing.T) {
	ms := time.Millisecond
	for name, c := range map[string]struct {
		failures []error
		calls    int
		want     *Error
	}{
		"at once": {calls: 1},
		"twice": {
			failures: []error{refusal(t, codes.Unavailable, "UNAVAILABLE", "", ms), refusal(t, codes.ResourceExhausted, "QUEUE_FULL", "", ms)},
			calls:    3,
		},
		"too often": {
			failures: []error{
				refusal(t, codes.Unavailable, "A", "", ms), refusal(t, codes.Unavailable, "B", "", ms),
				refusal(t, codes.Unavailable, "C", "", ms), refusal(t, codes.Unavailable, "D", "", ms), refusal(t, codes.Unavailable, "E", "", ms),
			},
			calls: 5, want: &Error{Code: codes.Unavailable, Reason: "E", Message: "no"},
		},
		"no retry without a delay": {
			failures: []error{status.Error(codes.ResourceExhausted, "message too large")},
			calls:    1, want: &Error{Code: codes.ResourceExhausted, Message: "message too large"},
		},
		"permanent": {
			failures: []error{refusal(t, codes.InvalidArgument, "TYPE_MISMATCH", "nodes[3].inputs[1]", ms)},
			calls:    1, want: &Error{Code: codes.InvalidArgument, Reason: "TYPE_MISMATCH", Place: "nodes[3].inputs[1]", Message: "no"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fake{failures: c.failures}
			_, err := dial(t, f).Info(t.Context())
			if f.calls != c.calls {
				t.Errorf("%d calls, want %d", f.calls, c.calls)
			}
			if c.want == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var e *Error
			if !errors.As(err, &e) || e.Code != c.want.Code || e.Reason != c.want.Reason || e.Place != c.want.Place || e.Message != c.want.Message {
				t.Errorf("got %#v, want %#v", err, c.want)
			}
		})
	}
}

func TestErrorText(t *testing.T) {
	e := &Error{Place: "nodes[3]", Message: "no"}
	if got := e.Error(); got != "nodes[3]: no" {
		t.Errorf("got %q", got)
	}
	if e.Place = ""; e.Error() != "no" {
		t.Errorf("got %q", e.Error())
	}
}

func TestDelay(t *testing.T) {
	for _, c := range []struct {
		e     Error
		n     int
		want  time.Duration
		again bool
	}{
		{Error{Code: codes.Unavailable}, 0, firstDelay, true},
		{Error{Code: codes.Unavailable}, 2, 4 * firstDelay, true},
		{Error{Code: codes.Unavailable, RetryAfter: 3 * time.Second}, 2, 3 * time.Second, true},
		{Error{Code: codes.ResourceExhausted, RetryAfter: time.Hour}, 0, 0, false},
		{Error{Code: codes.ResourceExhausted}, 0, 0, false},
		{Error{Code: codes.Internal, RetryAfter: time.Second}, 0, 0, false},
	} {
		if d, again := c.e.delay(c.n); d != c.want || again != c.again {
			t.Errorf("%+v after attempt %d: %v, %v, want %v, %v", c.e, c.n, d, again, c.want, c.again)
		}
	}
}

func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	c, err := Dial(l.Addr().String(), Options{Attempts: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.Info(t.Context())
	var e *Error
	if !errors.As(err, &e) || !e.Unreachable() || !strings.Contains(err.Error(), "cannot reach "+l.Addr().String()) {
		t.Errorf("got %#v", err)
	}
	if runtime.GOOS != "windows" && err.Error() != "cannot reach "+c.target+": dial tcp "+c.target+": connect: connection refused" {
		t.Errorf("the cause is not plain: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := c.Info(ctx); err == nil || time.Since(start) > firstDelay {
		t.Errorf("a call that ended waited on: %v after %v", err, time.Since(start))
	}
}

// A secret key is sent by no call.
func TestSecretKeysStay(t *testing.T) {
	f := new(fake)
	c, ctx := dial(t, f), t.Context()
	for _, kind := range []codec.Kind{codec.SecretKey, codec.LeveledSecretKey} {
		key := codec.Encode(kind, [32]byte{}, make([]byte, 100))
		for name, call := range map[string]func() error{
			"evaluation key": func() error { _, err := c.UploadEvaluationKey(ctx, bytes.NewReader(key), nil); return err },
			"public key":     func() error { _, err := c.UploadPublicKey(ctx, key); return err },
			"migration key":  func() error { _, err := c.StartMigration(ctx, key, nil); return err },
			"ciphertexts":    func() error { _, err := c.UploadList(ctx, key); return err },
		} {
			if err := call(); !errors.Is(err, ErrSecretKey) {
				t.Errorf("as %s: %v", name, err)
			}
		}
	}
	if f.calls != 0 {
		t.Errorf("%d calls were made", f.calls)
	}
}

func TestUploadEvaluationKey(t *testing.T) {
	key := bytes.Repeat([]byte("0123456789abcdef"), ChunkSize/16*5/2)
	id := sha256.Sum256(key)
	// The second chunk of the first attempt fails.
	f := &fake{failures: []error{nil, refusal(t, codes.Unavailable, "UNAVAILABLE", "", time.Millisecond)}}
	c := dial(t, f)
	r := bytes.NewReader(key)
	r.Seek(7, io.SeekStart)
	var last int64
	info, err := c.UploadEvaluationKey(t.Context(), r, func(done, total int64) {
		if total != int64(len(key)) {
			t.Errorf("total %d, want %d", total, len(key))
		}
		last = done
	})
	if err != nil || !bytes.Equal(info.KeyId, id[:]) || info.Size != uint64(len(key)) {
		t.Fatalf("%v, %v", info, err)
	}
	if !bytes.Equal(f.got, key) || last != int64(len(key)) || len(f.chunks) != 3 || f.chunks[0] != ChunkSize {
		t.Errorf("%d bytes arrived in chunks %v, progress ended at %d", len(f.got), f.chunks, last)
	}

	held := &fake{held: map[[32]byte]bool{id: true}}
	if info, err = dial(t, held).UploadEvaluationKey(t.Context(), r, nil); err != nil || !bytes.Equal(info.KeyId, id[:]) {
		t.Fatalf("key that is held: %v, %v", info, err)
	}
	if len(held.got) > 0 {
		t.Errorf("%d bytes were taken of a key that is held", len(held.got))
	}
}

// An upload goes on where it broke off, as long as it gets further, and begins again where
// the service has forgotten it.
func TestUploadGoesOn(t *testing.T) {
	key := bytes.Repeat([]byte("0123456789abcdef"), ChunkSize/16*15/2)
	broken := refusal(t, codes.Unavailable, "UNAVAILABLE", "", time.Millisecond)
	upload := func(f *fake, chunks int) {
		t.Helper()
		f.resumes, f.total, f.noUpload = true, uint64(len(key)), refusal(t, codes.FailedPrecondition, "NO_SUCH_UPLOAD", "header.offset", 0)
		c := dial(t, f)
		c.attempts = 3
		var last int64
		_, err := c.UploadEvaluationKey(t.Context(), bytes.NewReader(key), func(done, _ int64) { last = done })
		if last != int64(len(key)) {
			t.Errorf("progress ends at %d", last)
		}
		if err != nil || !bytes.Equal(f.got, key) {
			t.Errorf("%d bytes of %d, %v", len(f.got), len(key), err)
		}
		if f.calls != chunks {
			t.Errorf("%d chunks arrived, want %d", f.calls, chunks)
		}
	}
	// More attempts than are made without progress: no chunk arrives twice.
	upload(&fake{failures: []error{broken, broken, nil, broken, broken, broken}}, 8)
	upload(&fake{failures: []error{nil, broken}, forgets: 1}, 10)

	// Without progress the attempts are counted.
	f := &fake{failures: []error{broken, broken, broken, broken, broken, broken, broken}}
	c := dial(t, f)
	c.attempts = 3
	if _, err := c.UploadEvaluationKey(t.Context(), bytes.NewReader(key), nil); err == nil || f.calls != 3 {
		t.Errorf("%d chunks arrived, %v", f.calls, err)
	}
}

// A migration key goes in one message where it fits, and otherwise as an evaluation key does.
func TestStartMigration(t *testing.T) {
	key := bytes.Repeat([]byte("0123456789abcdef"), ChunkSize/16*5/2)
	broken := refusal(t, codes.Unavailable, "UNAVAILABLE", "", time.Millisecond)
	f := &fake{failures: []error{broken}}
	m, err := dial(t, f).StartMigration(t.Context(), key[:ChunkSize], nil)
	if err != nil || m.Moved != 1 || !bytes.Equal(f.got, key[:ChunkSize]) {
		t.Errorf("a small one: %v, %v", m, err)
	}
	f = &fake{failures: []error{nil, broken}, resumes: true, total: uint64(len(key))}
	var last int64
	m, err = dial(t, f).StartMigration(t.Context(), key, func(done, total int64) {
		if last = done; total != int64(len(key)) {
			t.Errorf("total %d, want %d", total, len(key))
		}
	})
	if err != nil || m.Moved != 2 || !bytes.Equal(f.got, key) || last != int64(len(key)) || f.calls != 3 {
		t.Errorf("a large one: %v, %v, %d bytes in %d chunks, progress ended at %d", m, err, len(f.got), f.calls, last)
	}
}

func TestUploadList(t *testing.T) {
	f := &fake{failures: []error{refusal(t, codes.Unavailable, "UNAVAILABLE", "", time.Millisecond)}}
	data := bytes.Repeat([]byte{1, 2, 3}, ChunkSize)
	infos, err := dial(t, f).UploadList(t.Context(), data)
	if err != nil || len(infos) != 1 || infos[0].Size != uint64(len(data)) || !bytes.Equal(f.got, data) {
		t.Errorf("%v, %v", infos, err)
	}
}

func header(handle [32]byte, record []byte) *tacitv1.FetchCiphertextsResponse {
	digest := sha256.Sum256(record)
	return &tacitv1.FetchCiphertextsResponse{Content: &tacitv1.FetchCiphertextsResponse_Header{
		Header: &tacitv1.CiphertextInfo{Handle: handle[:], Digest: digest[:], Size: uint64(len(record))}}}
}

func chunk(b []byte) *tacitv1.FetchCiphertextsResponse {
	return &tacitv1.FetchCiphertextsResponse{Content: &tacitv1.FetchCiphertextsResponse_Chunk{Chunk: b}}
}

func TestFetch(t *testing.T) {
	a, b := [32]byte{1}, [32]byte{2}
	ra, rb := []byte("record of a"), []byte("record of b")
	huge := header(a, ra)
	huge.GetHeader().Size = 1 << 60
	for name, c := range map[string]struct {
		send []*tacitv1.FetchCiphertextsResponse
		want string // part of the error, or nothing
	}{
		"two":             {[]*tacitv1.FetchCiphertextsResponse{header(a, ra), chunk(ra[:3]), chunk(ra[3:]), header(b, rb), chunk(rb)}, ""},
		"wrong order":     {[]*tacitv1.FetchCiphertextsResponse{header(b, rb), chunk(rb)}, "instead"},
		"altered":         {[]*tacitv1.FetchCiphertextsResponse{header(a, ra), chunk([]byte("record of A")), header(b, rb), chunk(rb)}, "its header says"},
		"altered at last": {[]*tacitv1.FetchCiphertextsResponse{header(a, ra), chunk(ra), header(b, rb), chunk(ra)}, "its header says"},
		"short":           {[]*tacitv1.FetchCiphertextsResponse{header(a, ra), chunk(ra[1:]), header(b, rb), chunk(rb)}, "its header says"},
		"long":            {[]*tacitv1.FetchCiphertextsResponse{header(a, ra), chunk(ra), chunk(ra[:1])}, "more than the 11 bytes"},
		"one missing":     {[]*tacitv1.FetchCiphertextsResponse{header(a, ra), chunk(ra)}, "1 ciphertexts, 2 were asked for"},
		"one too many":    {[]*tacitv1.FetchCiphertextsResponse{header(a, ra), chunk(ra), header(b, rb), chunk(rb), header(a, ra)}, "more ciphertexts"},
		"no header":       {[]*tacitv1.FetchCiphertextsResponse{chunk(ra)}, "before the first header"},
		"huge":            {[]*tacitv1.FetchCiphertextsResponse{huge}, "at most"},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fake{send: c.send}
			got, err := dial(t, f).Fetch(t.Context(), a, b)
			if c.want == "" {
				if err != nil || len(got) != 2 || !bytes.Equal(got[0].Record, ra) || !bytes.Equal(got[1].Record, rb) {
					t.Errorf("got %v, %v", got, err)
				}
				return
			}
			var e *MismatchError
			if !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) || got != nil {
				t.Errorf("got %v, %v, want %q", got, err, c.want)
			}
			if f.calls != 1 {
				t.Errorf("%d calls", f.calls)
			}
		})
	}
}

func jobEvent(s tacitv1.JobState, nodes ...*tacitv1.NodeReport) *tacitv1.JobEvent {
	return &tacitv1.JobEvent{Event: &tacitv1.JobEvent_Job{Job: &tacitv1.Job{Id: "j", State: s, Nodes: nodes}}}
}

func nodeEvent(n *tacitv1.NodeReport) *tacitv1.JobEvent {
	return &tacitv1.JobEvent{Event: &tacitv1.JobEvent_Node{Node: n}}
}

func TestWatch(t *testing.T) {
	pending := &tacitv1.NodeReport{Node: 0, State: tacitv1.NodeState_NODE_STATE_PENDING}
	done := &tacitv1.NodeReport{Node: 0, State: tacitv1.NodeState_NODE_STATE_SUCCEEDED, Bootstraps: 7}
	running, succeeded := tacitv1.JobState_JOB_STATE_RUNNING, tacitv1.JobState_JOB_STATE_SUCCEEDED
	f := &fake{
		// The connection breaks after the first two events.
		events: [][]*tacitv1.JobEvent{
			{jobEvent(running, pending), nodeEvent(&tacitv1.NodeReport{Node: 99})},
			{jobEvent(running, pending), nodeEvent(done), jobEvent(succeeded, done)},
		},
		failures: []error{refusal(t, codes.Unavailable, "UNAVAILABLE", "", time.Millisecond)},
	}
	var seen []string
	job, err := dial(t, f).Watch(t.Context(), "j", func(job *tacitv1.Job, node *tacitv1.NodeReport) {
		s := job.State.String()
		if node != nil {
			s = node.State.String()
		}
		seen = append(seen, s)
	})
	if err != nil || job.State != succeeded || job.Nodes[0].Bootstraps != 7 {
		t.Fatalf("%v, %v", job, err)
	}
	if got := strings.Join(seen, " "); got != "JOB_STATE_RUNNING NODE_STATE_SUCCEEDED JOB_STATE_SUCCEEDED" {
		t.Errorf("saw %s", got)
	}

	f = &fake{events: [][]*tacitv1.JobEvent{{jobEvent(running)}}}
	if _, err := dial(t, f).Watch(t.Context(), "j", nil); !errors.As(err, new(*MismatchError)) {
		t.Errorf("a stream that ends early: %v", err)
	}
	f = &fake{failures: []error{refusal(t, codes.NotFound, "UNKNOWN_JOB", "", 0)}}
	var e *Error
	if _, err := dial(t, f).Watch(t.Context(), "j", nil); !errors.As(err, &e) || e.Reason != "UNKNOWN_JOB" || f.calls != 1 {
		t.Errorf("an unknown job: %v after %d calls", err, f.calls)
	}
}

func TestWait(t *testing.T) {
	f := &fake{jobs: []*tacitv1.Job{{State: tacitv1.JobState_JOB_STATE_QUEUED}, {State: tacitv1.JobState_JOB_STATE_CANCELLED}}}
	if job, err := dial(t, f).Wait(t.Context(), "j"); err != nil || job.State != tacitv1.JobState_JOB_STATE_CANCELLED {
		t.Errorf("%v, %v", job, err)
	}
}

func TestJobs(t *testing.T) {
	for limit, want := range map[int]int{0: 8, 1: 1, 3: 3, 8: 8, 9: 8} {
		n := 0
		err := dial(t, &fake{}).Jobs(t.Context(), JobFilter{Limit: limit}, func(*tacitv1.Job) bool { n++; return true })
		if err != nil || n != want {
			t.Errorf("limit %d: %d jobs, %v, want %d", limit, n, err, want)
		}
	}
	n := 0
	if err := dial(t, &fake{}).Jobs(t.Context(), JobFilter{}, func(*tacitv1.Job) bool { n++; return n < 3 }); err != nil || n != 3 {
		t.Errorf("stopped after %d, %v", n, err)
	}
}

func (f *fake) WatchJobs(req *tacitv1.WatchJobsRequest, stream grpc.ServerStreamingServer[tacitv1.JobEvent]) error {
	f.mu.Lock()
	f.cursors = append(f.cursors, req.Cursor)
	f.mu.Unlock()
	return f.WatchJob(nil, stream)
}

// A feed that breaks goes on after the last event that arrived.
func TestFeed(t *testing.T) {
	event := func(id, cursor string) *tacitv1.JobEvent {
		return &tacitv1.JobEvent{Event: &tacitv1.JobEvent_Job{Job: &tacitv1.Job{Id: id}}, Cursor: cursor}
	}
	broken := refusal(t, codes.Unavailable, "UNAVAILABLE", "", time.Millisecond)
	f := &fake{
		events:   [][]*tacitv1.JobEvent{{event("a", "5"), event("b", "7")}, {}, {event("c", "9")}},
		failures: []error{broken, broken, broken},
	}
	var seen []string
	enough := errors.New("enough")
	err := dial(t, f).Feed(t.Context(), &tacitv1.WatchJobsRequest{Cursor: "3"}, func(job *tacitv1.Job, cursor string) error {
		if seen = append(seen, job.Id+cursor); len(seen) == 3 {
			return enough
		}
		return nil
	})
	if err != enough || strings.Join(seen, " ") != "a5 b7 c9" || strings.Join(f.cursors, " ") != "3 7 7" {
		t.Errorf("%v: %v after %v", err, seen, f.cursors)
	}
	f = &fake{failures: []error{refusal(t, codes.InvalidArgument, "BAD_CURSOR", "cursor", 0)}}
	var e *Error
	if err := dial(t, f).Feed(t.Context(), &tacitv1.WatchJobsRequest{}, nil); !errors.As(err, &e) || e.Reason != "BAD_CURSOR" {
		t.Errorf("%v", err)
	}
}

func TestErrorPlaceOnce(t *testing.T) {
	for _, c := range []struct{ place, message, want string }{
		{"", "no room", "no room"},
		{"id", "an invalid name", "id: an invalid name"},
		{"key[81].body", "evaluation key: key[81].body: truncated", "evaluation key: key[81].body: truncated"},
	} {
		if got := (&Error{Place: c.place, Message: c.message}).Error(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
