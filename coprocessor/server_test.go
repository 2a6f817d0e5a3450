package coprocessor

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tacit-fhe/tacit/accel/cpu"
	"github.com/tacit-fhe/tacit/coprocessor/graph"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/integer"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testSeed(label string) [fhe.SeedSize]byte {
	return sha256.Sum256([]byte("coprocessor test " + label))
}

// testKeys are the keys of most tests, otherKeys those of another client.
var (
	testKeys  = sync.OnceValue(func() *fhe.KeySet { return generate("keys") })
	otherKeys = sync.OnceValue(func() *fhe.KeySet { return generate("other keys") })
)

func generate(label string) *fhe.KeySet {
	p, err := fhe.Preset(fhe.TestPreset)
	if err != nil {
		panic(err)
	}
	backend, err := cpu.New()
	if err != nil {
		panic(err)
	}
	keys, err := fhe.GenerateKeys(context.Background(), p, testSeed(label), backend, nil)
	if err != nil {
		panic(err)
	}
	return keys
}

// service is a running server and a connection to it.
type service struct {
	*Server
	tacitv1.CoprocessorClient
	t    testing.TB
	conn *grpc.ClientConn
}

// start runs a server over a directory until the test ends or stop is called.
func start(t testing.TB, change ...func(*Options)) (s *service, stop func()) {
	t.Helper()
	return startWith(t, nil, change...)
}

// startWith is start with options for gRPC.
func startWith(t testing.TB, grpcOptions []grpc.ServerOption, change ...func(*Options)) (s *service, stop func()) {
	t.Helper()
	backend, err := cpu.New()
	if err != nil {
		t.Fatal(err)
	}
	opts := Options{Params: testKeys().Secret.Parameters(), Backend: backend, Workers: 2, Version: "test"}
	for _, c := range change {
		c(&opts)
	}
	if opts.Dir == "" {
		opts.Dir = t.TempDir()
	}
	server, err := Open(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	listener := bufconn.Listen(1 << 20)
	g := server.GRPC(grpcOptions...)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { g.Serve(listener) })
	wg.Go(func() {
		if err := server.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	conn, err := grpc.NewClient("passthrough:///bufconn",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16<<20)))
	if err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		cancel()
		conn.Close()
		g.Stop()
		wg.Wait()
		if err := server.Close(context.Background()); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	t.Cleanup(stop)
	return &service{server, tacitv1.NewCoprocessorClient(conn), t, conn}, stop
}

// upload is what a client sends.
type upload struct {
	noHeader bool
	header   []byte // the key id; of the content if nil
	size     uint64 // in the header; that of the content if 0
	content  []byte
	chunk    int // bytes in each chunk; MaxChunk if 0
	// secondHeader sends the header once more, after the first chunk.
	secondHeader bool
}

func (u upload) id() []byte {
	if u.header != nil {
		return u.header
	}
	d := sha256.Sum256(u.content)
	return d[:]
}

func (u upload) announced() uint64 {
	if u.size != 0 {
		return u.size
	}
	return uint64(len(u.content))
}

// sendAll sends an upload until the server has ended the stream, and returns the
// answer.
func sendAll[Req, Res any](u upload, stream grpc.ClientStreamingClient[Req, Res], header *Req, chunk func([]byte) *Req) (*Res, error) {
	var messages []*Req
	if !u.noHeader {
		messages = append(messages, header)
	}
	size := u.chunk
	if size == 0 {
		size = MaxChunk
	}
	for c := range slices.Chunk(u.content, size) {
		messages = append(messages, chunk(c))
	}
	if u.secondHeader {
		messages = slices.Insert(messages, 2, header)
	}
	for _, m := range messages {
		if err := stream.Send(m); err != nil {
			break // CloseAndRecv has the reason
		}
	}
	return stream.CloseAndRecv()
}

func (s *service) sendKey(ctx context.Context, u upload) (*tacitv1.EvaluationKeyInfo, error) {
	stream, err := s.CoprocessorClient.UploadEvaluationKey(ctx)
	if err != nil {
		return nil, err
	}
	header := &tacitv1.EvaluationKeyHeader{KeyId: u.id(), Size: u.announced()}
	return sendAll(u, stream,
		&tacitv1.UploadEvaluationKeyRequest{Content: &tacitv1.UploadEvaluationKeyRequest_Header{Header: header}},
		func(c []byte) *tacitv1.UploadEvaluationKeyRequest {
			return &tacitv1.UploadEvaluationKeyRequest{Content: &tacitv1.UploadEvaluationKeyRequest_Chunk{Chunk: c}}
		})
}

func (s *service) sendMigrationKey(ctx context.Context, u upload) (*tacitv1.Migration, error) {
	stream, err := s.CoprocessorClient.UploadMigrationKey(ctx)
	if err != nil {
		return nil, err
	}
	header := &tacitv1.MigrationKeyHeader{Sha256: u.id(), Size: u.announced()}
	return sendAll(u, stream,
		&tacitv1.UploadMigrationKeyRequest{Content: &tacitv1.UploadMigrationKeyRequest_Header{Header: header}},
		func(c []byte) *tacitv1.UploadMigrationKeyRequest {
			return &tacitv1.UploadMigrationKeyRequest{Content: &tacitv1.UploadMigrationKeyRequest_Chunk{Chunk: c}}
		})
}

func (s *service) sendList(ctx context.Context, u upload) (*tacitv1.UploadCiphertextsResponse, error) {
	stream, err := s.CoprocessorClient.UploadCiphertexts(ctx)
	if err != nil {
		return nil, err
	}
	header := &tacitv1.CiphertextsHeader{Size: u.announced()}
	return sendAll(u, stream,
		&tacitv1.UploadCiphertextsRequest{Content: &tacitv1.UploadCiphertextsRequest_Header{Header: header}},
		func(c []byte) *tacitv1.UploadCiphertextsRequest {
			return &tacitv1.UploadCiphertextsRequest{Content: &tacitv1.UploadCiphertextsRequest_Chunk{Chunk: c}}
		})
}

func evaluationKey(t testing.TB) []byte { return containerOf(t, testKeys()) }

func otherKey(t testing.TB) []byte { return containerOf(t, otherKeys()) }

// containerOf is the container of an evaluation key.
func containerOf(t testing.TB, keys *fhe.KeySet) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := keys.Evaluation.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// encrypted is the container of fresh ciphertexts under testKeys.
func encrypted(t testing.TB, label string, plaintexts ...integer.Scalar) []byte {
	t.Helper()
	return encryptedUnder(t, testKeys().Secret, label, plaintexts...)
}

func encryptedUnder(t testing.TB, sk *fhe.SecretKey, label string, plaintexts ...integer.Scalar) []byte {
	t.Helper()
	list, err := integer.Encrypt(sk.Parameters(), sk.ID(), sk, testSeed(label), plaintexts...)
	if err != nil {
		t.Fatal(err)
	}
	data, err := list.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// prepare uploads the evaluation key and ciphertexts and returns their handles.
func (s *service) prepare(plaintexts ...integer.Scalar) []string {
	s.t.Helper()
	ctx := s.t.Context()
	if _, err := s.sendKey(ctx, upload{content: evaluationKey(s.t)}); err != nil {
		s.t.Fatal(err)
	}
	data := encrypted(s.t, "inputs", plaintexts...)
	resp, err := s.sendList(ctx, upload{content: data})
	if err != nil {
		s.t.Fatal(err)
	}
	var handles []string
	for _, c := range resp.Ciphertexts {
		handles = append(handles, hex.EncodeToString(c.Handle))
	}
	return handles
}

// spec parses a job in text form under testKeys.
func spec(t testing.TB, text string) *tacitv1.JobSpec {
	t.Helper()
	return specUnder(t, testKeys().Secret.ID(), text)
}

func specUnder(t testing.TB, id fhe.KeyID, text string) *tacitv1.JobSpec {
	t.Helper()
	s, err := graph.ParseText("key 0x"+id.String()+"\n"+text, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// sums is a spec of so many euint64 additions, each on the one before, that
// stores the last; about 10 ms each.
func (s *service) sums(n int) *tacitv1.JobSpec {
	s.t.Helper()
	h := s.prepare(integer.Plain(integer.Uint64, 1), integer.Plain(integer.Uint64, 2))
	var text strings.Builder
	fmt.Fprintf(&text, "input a = 0x%s\ninput x0 = 0x%s\n", h[0], h[1])
	for i := range n {
		fmt.Fprintf(&text, "x%d = add(x%d, a)\n", i+1, i)
	}
	fmt.Fprintf(&text, "output x%d", n)
	return spec(s.t, text.String())
}

// long is a spec that takes longer than any test waits.
func (s *service) long() *tacitv1.JobSpec { return s.sums(2000) }

const transfer = `
ok = ge(from, amount)
sent = select(ok, amount, 0)
new_from = sub(from, sent)
new_to = add(to, sent)
output ok, new_from, new_to
`

func transferSpec(t testing.TB, h []string) *tacitv1.JobSpec {
	return spec(t, "input from = 0x"+h[0]+"\ninput to = 0x"+h[1]+"\ninput amount = 0x"+h[2]+transfer)
}

// fetch returns a stored ciphertext, its digest checked.
func (s *service) fetch(handle []byte) *integer.List {
	s.t.Helper()
	return s.fetchUnder(testKeys().Secret.Parameters(), handle)
}

// fetchUnder is fetch for ciphertexts with other parameters.
func (s *service) fetchUnder(p *fhe.Parameters, handle []byte) *integer.List {
	s.t.Helper()
	stream, err := s.CoprocessorClient.FetchCiphertexts(s.t.Context(), &tacitv1.FetchCiphertextsRequest{Handles: [][]byte{handle}})
	if err != nil {
		s.t.Fatal(err)
	}
	var header *tacitv1.CiphertextInfo
	var data []byte
	for {
		m, err := stream.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			s.t.Fatal(err)
		}
		if h := m.GetHeader(); h != nil {
			header = h
		}
		data = append(data, m.GetChunk()...)
	}
	if d := sha256.Sum256(data); !bytes.Equal(d[:], header.GetDigest()) || uint64(len(data)) != header.GetSize() {
		s.t.Fatal("a fetched ciphertext is not what its header says")
	}
	list, err := integer.UnmarshalList(data, p)
	if err != nil {
		s.t.Fatal(err)
	}
	return list
}

func (s *service) decrypt(handle []byte) string {
	s.t.Helper()
	return s.decryptUnder(testKeys().Secret, handle)
}

func (s *service) decryptUnder(sk *fhe.SecretKey, handle []byte) string {
	s.t.Helper()
	return integer.Decrypt(sk, s.fetch(handle).Value(0)).String()
}

func (s *service) submit(id string, spec *tacitv1.JobSpec) *tacitv1.Job {
	s.t.Helper()
	job, err := s.CoprocessorClient.SubmitJob(s.t.Context(), &tacitv1.SubmitJobRequest{Id: id, Spec: spec})
	if err != nil {
		s.t.Fatal(err)
	}
	return job
}

func (s *service) get(id string) *tacitv1.Job {
	s.t.Helper()
	job, err := s.CoprocessorClient.GetJob(s.t.Context(), &tacitv1.GetJobRequest{Id: id})
	if err != nil {
		s.t.Fatal(err)
	}
	return job
}

func (s *service) cancel(id string) *tacitv1.Job {
	s.t.Helper()
	job, err := s.CoprocessorClient.CancelJob(s.t.Context(), &tacitv1.CancelJobRequest{Id: id})
	if err != nil {
		s.t.Fatal(err)
	}
	return job
}

// waitFor polls a job until it is as wanted.
func (s *service) waitFor(id string, wanted func(*tacitv1.Job) bool) *tacitv1.Job {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(2 * time.Millisecond) {
		job := s.get(id)
		if wanted(job) {
			return job
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("job %s is not as wanted: %v", id, job)
		}
	}
}

func (s *service) waitState(id string, state tacitv1.JobState) *tacitv1.Job {
	s.t.Helper()
	return s.waitFor(id, func(j *tacitv1.Job) bool { return j.State == state })
}

// run submits a job and waits for its end.
func (s *service) run(id string, spec *tacitv1.JobSpec) *tacitv1.Job {
	s.t.Helper()
	s.submit(id, spec)
	job, err := s.CoprocessorClient.WaitJob(s.t.Context(), &tacitv1.WaitJobRequest{Id: id, Timeout: durationpb.New(time.Minute)})
	if err != nil {
		s.t.Fatal(err)
	}
	return job
}

func TestTransfer(t *testing.T) {
	s, _ := start(t)
	for _, c := range []struct {
		from, to, amount uint64
		want             []string
	}{
		{1000, 250, 300, []string{"ebool:true", "euint64:700", "euint64:550"}},
		{1000, 250, 1001, []string{"ebool:false", "euint64:1000", "euint64:250"}},
		{1 << 63, 1<<64 - 1, 1 << 63, []string{"ebool:true", "euint64:0", "euint64:9223372036854775807"}},
	} {
		h := s.prepare(integer.Plain(integer.Uint64, c.from), integer.Plain(integer.Uint64, c.to), integer.Plain(integer.Uint64, c.amount))
		job := s.run("transfer-"+h[0][:8], transferSpec(t, h))
		if job.State != tacitv1.JobState_JOB_STATE_SUCCEEDED {
			t.Fatalf("%v: %v", job.State, job.Error)
		}
		for i, r := range job.Results {
			if got := s.decrypt(r.Handle); got != c.want[i] {
				t.Errorf("result %d is %s, want %s", i, got, c.want[i])
			}
		}
		total := uint64(0)
		for _, n := range job.Nodes {
			if n.State != tacitv1.NodeState_NODE_STATE_SUCCEEDED || n.Log2FailureProbability == nil || *n.Log2FailureProbability > -120 {
				t.Errorf("node %v", n)
			}
			total += n.Bootstraps
		}
		if total > 121 {
			t.Errorf("%d bootstraps, want at most 121", total)
		}
	}
}

func code(err error) codes.Code { return status.Code(err) }
