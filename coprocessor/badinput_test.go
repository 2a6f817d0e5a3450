package coprocessor

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tacit-fhe/tacit/accel/cpu"
	"github.com/tacit-fhe/tacit/bootstrap"
	"github.com/tacit-fhe/tacit/coprocessor/graph"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/codec"
	"github.com/tacit-fhe/tacit/fhe/integer"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// refusal is how a call is to fail. An empty reason is a status of gRPC itself,
// which has no details.
type refusal struct {
	code          codes.Code
	reason, place string
}

// refused is how a call failed. The details of its status must agree.
func refused(t testing.TB, err error) refusal {
	t.Helper()
	if err == nil {
		return refusal{}
	}
	got := refusal{code: status.Code(err)}
	for _, d := range status.Convert(err).Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			if d.Domain != "tacit" {
				t.Errorf("the domain is %q", d.Domain)
			}
			got.reason, got.place = d.Reason, d.Metadata["place"]
		case *tacitv1.JobError:
			if codes.Code(d.Code) != got.code || d.Reason != got.reason || d.Place != got.place || d.Message == "" {
				t.Errorf("the details do not agree: %v, %v", got, d)
			}
		case *errdetails.RetryInfo:
			if got.code != codes.Unavailable && got.code != codes.ResourceExhausted {
				t.Errorf("%v is to be retried", got.code)
			}
		default:
			t.Errorf("a detail of type %T", d)
		}
	}
	return got
}

// unharmed checks that a bad call did nothing: the service serves, what was
// there is there, and a new job runs.
func (s *service) unharmed(spec *tacitv1.JobSpec) (check func()) {
	s.t.Helper()
	earlier := s.run("earlier", spec)
	if earlier.State != tacitv1.JobState_JOB_STATE_SUCCEEDED {
		s.t.Fatalf("the earlier job: %v", earlier)
	}
	want := s.decrypt(earlier.Results[0].Handle)
	listKeys := func() int {
		keys, err := s.CoprocessorClient.ListKeys(s.t.Context(), &tacitv1.ListKeysRequest{})
		if err != nil {
			s.t.Fatal(err)
		}
		return len(keys.Keys)
	}
	keys, count := listKeys(), 0
	return func() {
		s.t.Helper()
		ctx := s.t.Context()
		h, err := healthv1.NewHealthClient(s.conn).Check(ctx, &healthv1.HealthCheckRequest{})
		if err != nil || h.Status != healthv1.HealthCheckResponse_SERVING {
			s.t.Fatalf("health: %v, %v", h, err)
		}
		job, err := s.CoprocessorClient.GetJob(ctx, &tacitv1.GetJobRequest{Id: "earlier"})
		if err != nil || !proto.Equal(job, earlier) {
			s.t.Fatalf("the earlier job has changed: %v, %v", job, err)
		}
		if got := s.decrypt(earlier.Results[0].Handle); got != want {
			s.t.Fatalf("the earlier result has changed from %s to %s", want, got)
		}
		count++
		if job := s.run(fmt.Sprint("later-", count), spec); job.State != tacitv1.JobState_JOB_STATE_SUCCEEDED {
			s.t.Fatalf("a later job: %v", job)
		}
		if now := listKeys(); now != keys {
			s.t.Fatalf("%d keys, there were %d", now, keys)
		}
		if left, _ := filepath.Glob(filepath.Join(s.opts.Dir, "upload-*")); len(left) > 0 {
			s.t.Fatalf("uploads left behind: %v", left)
		}
	}
}

// small starts a server with two euint8 inputs and returns a spec that reads
// them.
func small(t testing.TB, change ...func(*Options)) (*service, func() *tacitv1.JobSpec) {
	s, _ := start(t, change...)
	h := s.prepare(integer.Plain(integer.Uint8, 200), integer.Plain(integer.Uint8, 100))
	return s, func() *tacitv1.JobSpec {
		return spec(t, "input a = 0x"+h[0]+"\ninput b = 0x"+h[1]+"\nx = add(a, b)\ny = ge(a, b)\noutput x, y")
	}
}

// allocates runs f and returns the bytes that it, and all that ran beside it,
// allocated.
func allocates(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// reseal gives a container the digest of its bytes.
func reseal(container []byte) []byte {
	out := bytes.Clone(container)
	sum := sha256.Sum256(out[:len(out)-codec.DigestSize])
	copy(out[len(out)-codec.DigestSize:], sum[:])
	return out
}

// edit returns a copy with a change, and with a digest that is right.
func edit(container []byte, change func([]byte)) []byte {
	out := bytes.Clone(container)
	change(out)
	return reseal(out)
}

// flip returns a copy with one bit of a byte changed.
func flip(container []byte, at int) []byte {
	out := bytes.Clone(container)
	out[at] ^= 1
	return out
}

// Places in a container.
const (
	versionAt     = 5
	kindAt        = 6
	fingerprintAt = 8
	lengthAt      = 40
)

func TestContainerPlaces(t *testing.T) {
	data := encrypted(t, "places", integer.Plain(integer.Bool, 1))
	p := testKeys().Secret.Parameters()
	fp := p.Fingerprint()
	if data[versionAt] != codec.Version || codec.Kind(data[kindAt]) != codec.Ciphertexts || !bytes.Equal(data[fingerprintAt:][:32], fp[:]) ||
		binary.LittleEndian.Uint64(data[lengthAt:]) != uint64(len(data)-codec.Overhead) {
		t.Fatal("the places in this file are not those of the format")
	}
}

func TestBadUploads(t *testing.T) {
	s, good := small(t)
	check := s.unharmed(good())

	// Another key of the same parameters, so that the service must look at it.
	key := otherKey(t)
	list := encrypted(t, "bad", integer.Plain(integer.Uint8, 3), integer.Plain(integer.Bool, 1))
	otherParameters := func(container []byte) []byte {
		p, err := fhe.Preset(fhe.DefaultPreset)
		if err != nil {
			t.Fatal(err)
		}
		fp := p.Fingerprint()
		return edit(container, func(b []byte) { copy(b[fingerprintAt:], fp[:]) })
	}
	residue := func(container []byte, at int) []byte {
		return edit(container, func(b []byte) { copy(b[at:], []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}) })
	}
	length := func(container []byte, n uint64) []byte {
		return edit(container, func(b []byte) { binary.LittleEndian.PutUint64(b[lengthAt:], n) })
	}
	body := codec.HeaderSize

	malformed := func(place string) refusal { return refusal{codes.InvalidArgument, "MALFORMED", place} }
	tooLarge := func(place string) refusal { return refusal{codes.InvalidArgument, "TOO_LARGE", place} }
	truncated := refusal{codes.InvalidArgument, "TRUNCATED", "chunk"}
	trailing := refusal{codes.InvalidArgument, "TRAILING", "chunk"}
	badStream := func(place string) refusal { return refusal{codes.InvalidArgument, "BAD_STREAM", place} }

	tests := []struct {
		name       string
		keys, list upload
		want       refusal // of the list where listWant is empty
		listWant   refusal
	}{
		{name: "empty stream", keys: upload{noHeader: true}, list: upload{noHeader: true}, want: badStream("header")},
		{name: "no header", keys: upload{noHeader: true, content: key}, list: upload{noHeader: true, content: list}, want: badStream("header")},
		{name: "second header", keys: upload{secondHeader: true, content: key, chunk: 100}, list: upload{secondHeader: true, content: list, chunk: 10}, want: badStream("")},
		{name: "header size 2^60", keys: upload{size: 1 << 60, content: key}, list: upload{size: 1 << 60, content: list}, want: tooLarge("header.size")},
		{name: "header size 2^64-1", keys: upload{size: 1<<64 - 1, content: key}, list: upload{size: 1<<64 - 1, content: list}, want: tooLarge("header.size")},
		{name: "header size over the limit", keys: upload{size: DefaultMaxKey + 1, content: key}, list: upload{size: MaxUpload + 1, content: list}, want: tooLarge("header.size")},
		{name: "nothing after a header of the largest size", keys: upload{size: DefaultMaxKey}, list: upload{size: MaxUpload}, want: truncated},
		{name: "no content", keys: upload{}, list: upload{}, want: malformed("header")},
		{name: "truncated", keys: upload{size: uint64(len(key)), content: key[:len(key)/2]}, list: upload{size: uint64(len(list)), content: list[:len(list)/2]}, want: truncated},
		{name: "truncated with a size to match", keys: upload{content: key[:len(key)/2]}, list: upload{content: list[:len(list)/2]},
			want: malformed("bootstrapping key[48].body"), listWant: malformed("body")},
		{name: "without the last byte", keys: upload{content: key[:len(key)-1]}, list: upload{content: list[:len(list)-1]}, want: malformed("digest")},
		{name: "size one more", keys: upload{size: uint64(len(key)) + 1, content: key}, list: upload{size: uint64(len(list)) + 1, content: list}, want: truncated},
		{name: "size one less", keys: upload{size: uint64(len(key)) - 1, content: key}, list: upload{size: uint64(len(list)) - 1, content: list}, want: trailing},
		{name: "size one less, byte by byte", keys: upload{size: uint64(len(key)) - 1, content: key, chunk: len(key) - 1}, list: upload{size: uint64(len(list)) - 1, content: list, chunk: 1}, want: trailing},
		{name: "a byte more", keys: upload{content: append(key[:len(key):len(key)], 0)}, list: upload{content: append(list[:len(list):len(list)], 0)}, want: malformed("")},
		{name: "chunk over the limit", keys: upload{content: make([]byte, MaxChunk+1), chunk: MaxChunk + 1}, list: upload{content: make([]byte, MaxChunk+1), chunk: MaxChunk + 1}, want: tooLarge("chunk")},
		{name: "zeros", keys: upload{content: make([]byte, 1000)}, list: upload{content: make([]byte, 1000)}, want: malformed("magic")},
		{name: "wrong magic", keys: upload{content: reseal(flip(key, 0))}, list: upload{content: reseal(flip(list, 0))}, want: malformed("magic")},
		{name: "other version", keys: upload{content: reseal(flip(key, versionAt))}, list: upload{content: reseal(flip(list, versionAt))}, want: malformed("version")},
		{name: "other kind", keys: upload{content: list}, list: upload{content: key}, want: refusal{codes.InvalidArgument, "WRONG_KIND", "kind"}},
		{name: "no kind", keys: upload{content: edit(key, func(b []byte) { b[kindAt] = 99 })}, list: upload{content: edit(list, func(b []byte) { b[kindAt] = 99 })}, want: refusal{codes.InvalidArgument, "WRONG_KIND", "kind"}},
		{name: "other parameters", keys: upload{content: otherParameters(key)}, list: upload{content: otherParameters(list)}, want: refusal{codes.FailedPrecondition, "PARAMETERS_MISMATCH", "fingerprint"}},
		{name: "body length 2^60", keys: upload{content: length(key, 1<<60)}, list: upload{content: length(list, 1<<60)}, want: tooLarge("body")},
		{name: "flipped byte in the seed", keys: upload{content: flip(key, body)}, list: upload{content: flip(list, body)}, want: malformed("digest")},
		{name: "flipped byte in the digest", keys: upload{content: flip(key, len(key)-1)}, list: upload{content: flip(list, len(list)-1)}, want: malformed("digest")},
		{name: "residue over q", keys: upload{content: residue(key, body+fhe.SeedSize+6*7)}, list: upload{content: residue(list, len(list)-codec.DigestSize-6)},
			want: malformed("bootstrapping key[0].body[7]"), listWant: malformed("bodies[4]")},
		{name: "another key's id", keys: upload{header: make([]byte, 32), content: key}, list: upload{content: edit(list, func(b []byte) { b[body] ^= 1 })},
			want: refusal{codes.InvalidArgument, "DIGEST_MISMATCH", "header.key_id"}, listWant: refusal{codes.NotFound, "UNKNOWN_KEY", "key id"}},
		{name: "key id of 31 bytes, 2^32 values", keys: upload{header: make([]byte, 31), content: key}, list: upload{content: edit(list, func(b []byte) { binary.LittleEndian.PutUint32(b[body+32:], 1<<32-1) })},
			want: refusal{codes.InvalidArgument, "BAD_KEY_ID", "header.key_id"}, listWant: tooLarge("values")},
		{name: "longer body than its fields, no such type", keys: upload{content: length(append(bytes.Clone(key), 0), uint64(len(key)+1-codec.Overhead))},
			list: upload{content: edit(list, func(b []byte) { b[body+36] = 1 })},
			want: tooLarge("evaluation key"), listWant: malformed("values[0].type")},
		{name: "no such form", keys: upload{content: key[:10]}, list: upload{content: edit(list, func(b []byte) { b[body+38] = 9 })},
			want: malformed("header"), listWant: malformed("form")},
		{name: "computed", keys: upload{content: key[:codec.HeaderSize]}, list: upload{content: computed(t)},
			want: malformed("seed"), listWant: refusal{codes.InvalidArgument, "NOT_FRESH", "form"}},
		{name: "packed", keys: upload{content: key[:codec.HeaderSize]}, list: upload{content: packed(t)},
			want: malformed("seed"), listWant: refusal{codes.InvalidArgument, "NOT_FRESH", "form"}},
	}
	for _, test := range tests {
		t.Run(strings.ReplaceAll(test.name, " ", "-"), func(t *testing.T) {
			for i, send := range []func() error{
				func() error { _, err := s.sendKey(t.Context(), test.keys); return err },
				func() error { _, err := s.sendList(t.Context(), test.list); return err },
			} {
				want := test.want
				if i == 1 && test.listWant != (refusal{}) {
					want = test.listWant
				}
				var err error
				used := allocates(func() { err = send() })
				if got := refused(t, err); got != want {
					t.Errorf("%s: %+v, want %+v (%v)", []string{"key", "list"}[i], got, want, err)
				}
				// What is sent is copied a few times on its way, and gRPC has buffers.
				if limit := uint64(8*len(test.keys.content) + 8<<20); used > limit {
					t.Errorf("%d bytes allocated, want at most %d", used, limit)
				}
			}
			check()
		})
	}

	// What was refused can still be stored.
	if _, err := s.sendKey(t.Context(), upload{content: key}); err != nil {
		t.Error(err)
	}
	if _, err := s.sendList(t.Context(), upload{content: list, chunk: 7}); err != nil {
		t.Error(err)
	}
}

// computed is the container of a ciphertext with a noise bound of its sender's.
func computed(t testing.TB) []byte {
	t.Helper()
	p := testKeys().Secret.Parameters()
	list, err := integer.UnmarshalList(encrypted(t, "computed", integer.Plain(integer.Uint8, 3)), p)
	if err != nil {
		t.Fatal(err)
	}
	data, err := integer.NewList(p, list.KeyID(), list.Value(0)).MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// packed is computed, packed.
func packed(t testing.TB) []byte {
	t.Helper()
	list, err := integer.UnmarshalList(computed(t), testKeys().Secret.Parameters())
	if err != nil {
		t.Fatal(err)
	}
	packed, err := integer.Pack(list.Parameters(), list.KeyID(), testEvaluator(t), list.Value(0))
	if err != nil {
		t.Fatal(err)
	}
	data, err := packed.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// testEvaluator evaluates under the key of testKeys.
func testEvaluator(t testing.TB) *bootstrap.Evaluator {
	t.Helper()
	backend, err := cpu.New()
	if err != nil {
		t.Fatal(err)
	}
	evaluator, err := bootstrap.NewEvaluator(testKeys().Evaluation, backend)
	if err != nil {
		t.Fatal(err)
	}
	return evaluator
}

// A client that goes away in the middle of an upload leaves nothing behind.
func TestUploadAbandoned(t *testing.T) {
	s, good := small(t)
	check := s.unharmed(good())
	key := otherKey(t)
	id := sha256.Sum256(key)
	for _, cut := range []int{0, 1, codec.HeaderSize, len(key) / 2, len(key)} {
		ctx, cancel := context.WithCancel(t.Context())
		stream, err := s.CoprocessorClient.UploadEvaluationKey(ctx)
		if err != nil {
			t.Fatal(err)
		}
		err = stream.Send(&tacitv1.UploadEvaluationKeyRequest{Content: &tacitv1.UploadEvaluationKeyRequest_Header{
			Header: &tacitv1.EvaluationKeyHeader{KeyId: id[:], Size: uint64(len(key))}}})
		if err == nil {
			err = stream.Send(&tacitv1.UploadEvaluationKeyRequest{Content: &tacitv1.UploadEvaluationKeyRequest_Chunk{Chunk: key[:cut]}})
		}
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
		cancel()
		if err := stream.RecvMsg(nil); code(err) != codes.Canceled {
			t.Errorf("after %d bytes: %v", cut, err)
		}
		s.freed()
		check()
	}
	if _, err := s.sendKey(t.Context(), upload{content: key}); err != nil {
		t.Error(err)
	}
}

// repeated is a message of any size that takes the memory of one piece.
type repeated struct {
	piece []byte
	times int
}

// repeater encodes repeated messages.
type repeater struct{ encoding.CodecV2 }

func (r repeater) Marshal(v any) (mem.BufferSlice, error) {
	m := v.(*repeated)
	return slices.Repeat(mem.BufferSlice{mem.SliceBuffer(m.piece)}, m.times), nil
}

func (r repeater) Name() string { return "proto" }

// A message of 1 GiB is refused by its length alone.
func TestHugeMessage(t *testing.T) {
	s, good := small(t)
	check := s.unharmed(good())
	huge := &repeated{make([]byte, 1<<20), 1 << 10}
	codec := repeater{encoding.GetCodecV2("proto")}
	options := []grpc.CallOption{grpc.ForceCodecV2(codec), grpc.MaxCallSendMsgSize(2 << 30)}
	for _, method := range []string{
		tacitv1.Coprocessor_SubmitJob_FullMethodName,
		tacitv1.Coprocessor_StatCiphertexts_FullMethodName,
		tacitv1.Coprocessor_UploadCiphertexts_FullMethodName,
		tacitv1.Coprocessor_UploadEvaluationKey_FullMethodName,
	} {
		var err error
		used := allocates(func() {
			var stream grpc.ClientStream
			stream, err = s.conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true}, method, options...)
			if err != nil {
				return
			}
			if err = stream.SendMsg(huge); err == nil || err == io.EOF {
				err = stream.RecvMsg(nil)
			}
		})
		if got := refused(t, err); got != (refusal{code: codes.ResourceExhausted}) || !strings.Contains(err.Error(), "larger than max") {
			t.Errorf("%s: %v", method, err)
		}
		if used > 16<<20 {
			t.Errorf("%s: %d bytes allocated", method, used)
		}
		check()
	}
}

// A message of the largest size that decodes into as many pieces as it can takes
// a bounded multiple of its size.
func TestDenseMessages(t *testing.T) {
	s, good := small(t)
	check := s.unharmed(good())
	size := s.opts.Limits.MaxSpecSize - 1<<10
	for name, test := range map[string]struct {
		method string
		piece  []byte // of two bytes: a field that is there and empty
		spec   bool   // within a spec
		want   refusal
	}{
		"nodes":   {tacitv1.Coprocessor_SubmitJob_FullMethodName, []byte{2<<3 | 2, 0}, true, refusal{codes.InvalidArgument, "LIMIT", "nodes"}},
		"outputs": {tacitv1.Coprocessor_SubmitJob_FullMethodName, []byte{3<<3 | 2, 0}, true, refusal{codes.InvalidArgument, "LIMIT", "outputs"}},
		"handles": {tacitv1.Coprocessor_StatCiphertexts_FullMethodName, []byte{1<<3 | 2, 0}, false, refusal{codes.InvalidArgument, "LIMIT", "handles"}},
	} {
		message := bytes.Repeat(test.piece, size/2)
		if test.spec {
			message = append(binary.AppendUvarint([]byte{2<<3 | 2}, uint64(len(message))), message...)
		}
		var err error
		used := allocates(func() {
			err = s.conn.Invoke(t.Context(), test.method, &repeated{message, 1}, &tacitv1.Job{}, grpc.ForceCodecV2(repeater{encoding.GetCodecV2("proto")}))
		})
		if got := refused(t, err); got != test.want {
			t.Errorf("%s: %+v, want %+v (%v)", name, got, test.want, err)
		}
		if used > 128*uint64(len(message)) {
			t.Errorf("%s: %d MiB allocated for %d MiB", name, used>>20, len(message)>>20)
		}
		check()
	}
}

func TestBadSpecs(t *testing.T) {
	limits := graph.Limits{MaxSpecSize: 2048, MaxNodes: 10, MaxInputs: 25, MaxOutputs: 3, MaxBootstraps: 30, MaxDepth: 20}
	s, good := small(t, func(o *Options) { o.Limits = limits })
	ctx := t.Context()
	if _, err := s.sendKey(ctx, upload{content: otherKey(t)}); err != nil {
		t.Fatal(err)
	}
	check := s.unharmed(good())

	node := func(i uint32) *tacitv1.Input { return &tacitv1.Input{Value: &tacitv1.Input_Node{Node: i}} }
	scalar := func(b ...byte) *tacitv1.Input { return &tacitv1.Input{Value: &tacitv1.Input_Scalar{Scalar: b}} }
	handle := func(b []byte) *tacitv1.Input { return &tacitv1.Input{Value: &tacitv1.Input_Handle{Handle: b}} }
	invalid := func(reason graph.Reason, place string) refusal {
		return refusal{codes.InvalidArgument, string(reason), place}
	}
	clone := func(n *tacitv1.Node, times int) (out []*tacitv1.Node) {
		for range times {
			out = append(out, proto.CloneOf(n))
		}
		return out
	}
	otherID := sha256.Sum256(otherKey(t))

	for _, test := range []struct {
		name   string
		id     string
		change func(*tacitv1.JobSpec)
		want   refusal
	}{
		{name: "empty", change: func(s *tacitv1.JobSpec) { proto.Reset(s) }, want: invalid(graph.BadKeyID, "key_id")},
		{name: "no id", id: "-", want: refusal{codes.InvalidArgument, "BAD_JOB_ID", "id"}},
		{name: "id of 129 characters", id: strings.Repeat("a", 129), want: refusal{codes.InvalidArgument, "BAD_JOB_ID", "id"}},
		{name: "id with a slash", id: "../../etc/passwd", want: refusal{codes.InvalidArgument, "BAD_JOB_ID", "id"}},
		{name: "id with a star", id: "*", want: refusal{codes.InvalidArgument, "BAD_JOB_ID", "id"}},
		{name: "id of another job", id: "earlier", change: func(s *tacitv1.JobSpec) { s.Nodes[0].Label = "z" }, want: refusal{codes.AlreadyExists, "JOB_EXISTS", "id"}},
		{name: "key id of 33 bytes", change: func(s *tacitv1.JobSpec) { s.KeyId = append(s.KeyId, 0) }, want: invalid(graph.BadKeyID, "key_id")},
		{name: "unknown key", change: func(s *tacitv1.JobSpec) {
			s.KeyId[0] ^= 1
			s.Nodes = []*tacitv1.Node{{Op: tacitv1.Op_OP_TRIVIAL_ENCRYPT.Enum(), Type: tacitv1.Type_TYPE_EUINT8.Enum(), Inputs: []*tacitv1.Input{scalar(1)}}}
			s.Outputs = s.Outputs[:1]
		}, want: refusal{codes.NotFound, "UNKNOWN_KEY", "key_id"}},
		{name: "another key", change: func(s *tacitv1.JobSpec) { s.KeyId = otherID[:] }, want: invalid(graph.KeyMismatch, "nodes[0].inputs[0]")},
		{name: "no outputs", change: func(s *tacitv1.JobSpec) { s.Outputs = nil }, want: invalid(graph.NoOutput, "outputs")},
		{name: "no operation", change: func(s *tacitv1.JobSpec) { s.Nodes[1].Op = nil }, want: invalid(graph.MissingOp, "nodes[1].op")},
		{name: "operation 22", change: func(s *tacitv1.JobSpec) { s.Nodes[1].Op = tacitv1.Op(22).Enum() }, want: invalid(graph.UnknownOp, "nodes[1].op")},
		{name: "division by zero", change: func(s *tacitv1.JobSpec) {
			s.Nodes[1].Op = tacitv1.Op_OP_DIV.Enum()
			s.Nodes[1].Inputs[1] = scalar(0)
		},
			want: refusal{codes.InvalidArgument, string(graph.DivisionByZero), "nodes[1].inputs[1]"}},
		{name: "type 99", change: func(s *tacitv1.JobSpec) { s.Nodes[0].Type = tacitv1.Type(99).Enum() },
			want: refusal{codes.InvalidArgument, string(graph.UnknownType), "nodes[0].type"}},
		{name: "wrong result type", change: func(s *tacitv1.JobSpec) { s.Nodes[0].Type = tacitv1.Type_TYPE_EUINT16.Enum() }, want: invalid(graph.TypeMismatch, "nodes[0].type")},
		{name: "wrong operand type", change: func(s *tacitv1.JobSpec) { s.Nodes[0].Inputs[1] = node(1) }, want: invalid(graph.TypeMismatch, "nodes[0].inputs[1]")},
		{name: "arity", change: func(s *tacitv1.JobSpec) { s.Nodes[0].Inputs = s.Nodes[0].Inputs[:1] }, want: invalid(graph.Arity, "nodes[0].inputs")},
		{name: "no input", change: func(s *tacitv1.JobSpec) { s.Nodes[0].Inputs[1] = &tacitv1.Input{} }, want: invalid(graph.MissingInput, "nodes[0].inputs[1]")},
		{name: "cycle", change: func(s *tacitv1.JobSpec) {
			s.Nodes = clone(s.Nodes[0], 3)
			s.Nodes[0].Inputs[1], s.Nodes[1].Inputs[1], s.Nodes[2].Inputs[1] = node(1), node(2), node(0)
		}, want: invalid(graph.Cycle, "nodes[0].inputs[1]")},
		{name: "needs itself", change: func(s *tacitv1.JobSpec) { s.Nodes[0].Inputs[0] = node(0) }, want: invalid(graph.Cycle, "nodes[0].inputs[0]")},
		{name: "node index", change: func(s *tacitv1.JobSpec) { s.Nodes[0].Inputs[0] = node(1<<32 - 1) }, want: invalid(graph.BadNodeIndex, "nodes[0].inputs[0].node")},
		{name: "output index", change: func(s *tacitv1.JobSpec) { s.Outputs[0].Node = proto.Uint32(2) }, want: invalid(graph.BadNodeIndex, "outputs[0].node")},
		{name: "unknown handle", change: func(s *tacitv1.JobSpec) { s.Nodes[0].Inputs[1] = handle(make([]byte, 32)) },
			want: refusal{codes.NotFound, string(graph.UnknownHandle), "nodes[0].inputs[1]"}},
		{name: "handle of 20 bytes", change: func(s *tacitv1.JobSpec) { s.Nodes[0].Inputs[1] = handle(make([]byte, 20)) }, want: invalid(graph.BadHandle, "nodes[0].inputs[1].handle")},
		{name: "scalar out of range", change: func(s *tacitv1.JobSpec) { s.Nodes[0].Inputs[1] = scalar(1, 0) }, want: invalid(graph.ScalarRange, "nodes[0].inputs[1]")},
		{name: "scalar of 33 bytes", change: func(s *tacitv1.JobSpec) { s.Nodes[0].Inputs[1] = scalar(make([]byte, 33)...) }, want: invalid(graph.ScalarRange, "nodes[0].inputs[1].scalar")},
		{name: "scalar on the left", change: func(s *tacitv1.JobSpec) { s.Nodes[0].Inputs[0] = scalar(1) }, want: invalid(graph.ScalarNotAllowed, "nodes[0].inputs[0]")},
		{name: "result is an input", change: func(s *tacitv1.JobSpec) { s.Outputs[0].Handle = s.Nodes[1].Inputs[0].GetHandle() }, want: invalid(graph.DuplicateResult, "outputs[0].handle")},
		{name: "one result twice", change: func(s *tacitv1.JobSpec) { s.Outputs[1].Node = s.Outputs[0].Node }, want: invalid(graph.DuplicateResult, "outputs[1]")},
		{name: "label", change: func(s *tacitv1.JobSpec) { s.Nodes[0].Label = "a\nb" }, want: invalid(graph.BadLabel, "nodes[0].label")},
		{name: "unknown field", change: func(s *tacitv1.JobSpec) { s.Nodes[1].ProtoReflect().SetUnknown([]byte{100<<1 | 0x80, 6, 1}) }, want: invalid(graph.UnknownField, "nodes[1]")},

		{name: "spec size", change: func(s *tacitv1.JobSpec) { s.Nodes[0].Label = strings.Repeat("x", limits.MaxSpecSize) }, want: invalid(graph.Limit, "")},
		{name: "nodes", change: func(s *tacitv1.JobSpec) { s.Nodes = clone(&tacitv1.Node{}, limits.MaxNodes+1) }, want: invalid(graph.Limit, "nodes")},
		{name: "inputs", change: func(s *tacitv1.JobSpec) {
			s.Nodes = clone(&tacitv1.Node{Inputs: []*tacitv1.Input{{}, {}, {}}}, limits.MaxNodes)
		}, want: invalid(graph.Limit, "nodes[8].inputs")},
		{name: "outputs", change: func(s *tacitv1.JobSpec) {
			s.Outputs = []*tacitv1.Output{{}, {}, {}, {}}
		}, want: invalid(graph.Limit, "outputs")},
		{name: "bootstraps", change: func(s *tacitv1.JobSpec) {
			// Nine sums of four bootstraps each: the eighth is one too many.
			s.Nodes = clone(s.Nodes[0], 9)
			for i := range uint32(3) {
				s.Nodes[4+i].Inputs = []*tacitv1.Input{node(2 * i), node(2*i + 1)}
			}
			s.Nodes[8].Op = tacitv1.Op_OP_SUB.Enum()
			s.Outputs = []*tacitv1.Output{{Node: proto.Uint32(6)}, {Node: proto.Uint32(7)}, {Node: proto.Uint32(8)}}
		}, want: invalid(graph.Limit, "nodes[5]")},
		{name: "depth", change: func(s *tacitv1.JobSpec) {
			s.Nodes = clone(s.Nodes[0], 6)
			for i := range 5 {
				s.Nodes[i+1].Inputs[0] = node(uint32(i))
			}
			s.Outputs = []*tacitv1.Output{{Node: proto.Uint32(5)}}
		}, want: invalid(graph.Limit, "nodes[5]")},
	} {
		t.Run(strings.ReplaceAll(test.name, " ", "-"), func(t *testing.T) {
			spec := good()
			if test.change != nil {
				test.change(spec)
			}
			id := test.id
			switch id {
			case "":
				id = "bad"
			case "-":
				id = ""
			}
			_, err := s.CoprocessorClient.SubmitJob(ctx, &tacitv1.SubmitJobRequest{Id: id, Spec: spec})
			if got := refused(t, err); got != test.want {
				t.Errorf("%+v, want %+v (%v)", got, test.want, err)
			}
			if _, err := s.CoprocessorClient.GetJob(ctx, &tacitv1.GetJobRequest{Id: "bad"}); code(err) != codes.NotFound {
				t.Errorf("a refused job is there: %v", err)
			}
			check()
		})
	}
}

// Calls about what is not there, or that make no sense.
func TestBadCalls(t *testing.T) {
	s, good := small(t)
	check := s.unharmed(good())
	ctx := t.Context()
	unknownJob := refusal{codes.NotFound, "UNKNOWN_JOB", ""}
	badID := refusal{codes.InvalidArgument, "BAD_JOB_ID", "id"}
	watch := func(id string) error {
		stream, err := s.CoprocessorClient.WatchJob(ctx, &tacitv1.WatchJobRequest{Id: id})
		if err == nil {
			_, err = stream.Recv()
		}
		return err
	}
	fetch := func(handles ...[]byte) error {
		stream, err := s.CoprocessorClient.FetchCiphertexts(ctx, &tacitv1.FetchCiphertextsRequest{Handles: handles})
		if err == nil {
			_, err = stream.Recv()
		}
		return err
	}
	known, _ := hex.DecodeString(s.prepare(integer.Plain(integer.Uint8, 1))[0])
	unknown := make([]byte, 32)
	many := slices.Repeat([][]byte{unknown}, maxHandles+1)

	for _, test := range []struct {
		name string
		call func() error
		want refusal
	}{
		{"get unknown", func() error {
			_, err := s.CoprocessorClient.GetJob(ctx, &tacitv1.GetJobRequest{Id: "nobody"})
			return err
		}, unknownJob},
		{"get bad id", func() error {
			_, err := s.CoprocessorClient.GetJob(ctx, &tacitv1.GetJobRequest{Id: "a b"})
			return err
		}, badID},
		{"get damaged id", func() error {
			_, err := s.CoprocessorClient.GetJob(ctx, &tacitv1.GetJobRequest{Id: "earlier\x00"})
			return err
		}, badID},
		{"wait unknown", func() error {
			_, err := s.CoprocessorClient.WaitJob(ctx, &tacitv1.WaitJobRequest{Id: "nobody"})
			return err
		}, unknownJob},
		{"wait unknown with a timeout", func() error {
			_, err := s.CoprocessorClient.WaitJob(ctx, &tacitv1.WaitJobRequest{Id: "nobody", Timeout: durationpb.New(0)})
			return err
		}, unknownJob},
		{"wait negative", func() error {
			_, err := s.CoprocessorClient.WaitJob(ctx, &tacitv1.WaitJobRequest{Id: "earlier", Timeout: durationpb.New(-1)})
			return err
		}, refusal{codes.InvalidArgument, "BAD_TIMEOUT", "timeout"}},
		{"wait not a duration", func() error {
			_, err := s.CoprocessorClient.WaitJob(ctx, &tacitv1.WaitJobRequest{Id: "earlier", Timeout: &durationpb.Duration{Seconds: 1 << 62}})
			return err
		}, refusal{codes.InvalidArgument, "BAD_TIMEOUT", "timeout"}},
		{"watch unknown", func() error { return watch("nobody") }, unknownJob},
		{"watch bad id", func() error { return watch("") }, badID},
		{"cancel unknown", func() error {
			_, err := s.CoprocessorClient.CancelJob(ctx, &tacitv1.CancelJobRequest{Id: "nobody"})
			return err
		}, unknownJob},
		{"list jobs token", func() error {
			_, err := s.CoprocessorClient.ListJobs(ctx, &tacitv1.ListJobsRequest{PageToken: "-1"})
			return err
		}, refusal{codes.InvalidArgument, "BAD_PAGE_TOKEN", "page_token"}},
		{"list keys token", func() error {
			_, err := s.CoprocessorClient.ListKeys(ctx, &tacitv1.ListKeysRequest{PageToken: "xyz"})
			return err
		}, refusal{codes.InvalidArgument, "BAD_PAGE_TOKEN", "page_token"}},
		{"stat short handle", func() error {
			_, err := s.CoprocessorClient.StatCiphertexts(ctx, &tacitv1.StatCiphertextsRequest{Handles: [][]byte{known, known[:31]}})
			return err
		}, refusal{codes.InvalidArgument, "BAD_HANDLE", "handles[1]"}},
		{"stat too many", func() error {
			_, err := s.CoprocessorClient.StatCiphertexts(ctx, &tacitv1.StatCiphertextsRequest{Handles: many})
			return err
		}, refusal{codes.InvalidArgument, "LIMIT", "handles"}},
		{"fetch too many", func() error { return fetch(many...) }, refusal{codes.InvalidArgument, "LIMIT", "handles"}},
		{"fetch short handle", func() error { return fetch(known[:1]) }, refusal{codes.InvalidArgument, "BAD_HANDLE", "handles[0]"}},
		// Nothing of the first is sent.
		{"fetch unknown", func() error { return fetch(known, unknown) }, refusal{codes.NotFound, "UNKNOWN_HANDLE", "handles[1]"}},
		{"no such method", func() error {
			return s.conn.Invoke(ctx, "/tacit.v1.Coprocessor/Nothing", &tacitv1.GetInfoRequest{}, &tacitv1.GetInfoResponse{})
		}, refusal{code: codes.Unimplemented}},
	} {
		t.Run(strings.ReplaceAll(test.name, " ", "-"), func(t *testing.T) {
			if err := test.call(); refused(t, err) != test.want {
				t.Errorf("%+v, want %+v (%v)", refused(t, err), test.want, err)
			}
			check()
		})
	}

	// What is missing is told apart from what is there.
	stat, err := s.CoprocessorClient.StatCiphertexts(ctx, &tacitv1.StatCiphertextsRequest{Handles: [][]byte{unknown, known}})
	if err != nil || len(stat.Ciphertexts) != 1 || !bytes.Equal(stat.Ciphertexts[0].Handle, known) ||
		len(stat.Missing) != 1 || !bytes.Equal(stat.Missing[0], unknown) {
		t.Errorf("%v, %v", stat, err)
	}
}

// A full queue refuses, says when to try again, and takes jobs once there is
// room.
func TestFullQueue(t *testing.T) {
	s, good := small(t, func(o *Options) { o.ConcurrentJobs, o.MaxQueued = 1, 1 })
	check := s.unharmed(good())
	ctx := t.Context()
	s.submit("long", s.long())
	s.waitState("long", tacitv1.JobState_JOB_STATE_RUNNING)
	s.submit("queued", good())
	_, err := s.CoprocessorClient.SubmitJob(ctx, &tacitv1.SubmitJobRequest{Id: "refused", Spec: good()})
	if got := refused(t, err); got != (refusal{codes.ResourceExhausted, "QUEUE_FULL", ""}) {
		t.Errorf("%+v", got)
	}
	retry := false
	for _, d := range status.Convert(err).Details() {
		info, ok := d.(*errdetails.RetryInfo)
		retry = retry || ok && info.RetryDelay.AsDuration() > 0
	}
	if !retry {
		t.Error("no RetryInfo")
	}
	s.submit("queued", good()) // which is there already
	if _, err := s.CoprocessorClient.CancelJob(ctx, &tacitv1.CancelJobRequest{Id: "long"}); err != nil {
		t.Fatal(err)
	}
	s.waitState("queued", tacitv1.JobState_JOB_STATE_SUCCEEDED)
	check()
}

// What a service cannot be opened with is told, and nothing stays open.
func TestOpenErrors(t *testing.T) {
	s, _ := start(t)
	if _, err := Open(t.Context(), s.opts); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second service on one directory: %v", err)
	}
	opts := s.opts
	opts.Dir = filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(opts.Dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), opts); err == nil {
		t.Error("a file is no data directory")
	}
	// Parameters that integers cannot be computed with.
	var err error
	opts.Dir = t.TempDir()
	if opts.Params, err = fhe.Preset("tacit-bool-v1"); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), opts); err == nil {
		t.Error("parameters without carry bits")
	}
}

// TestUploadsAreBounded takes all places for uploads.
func TestUploadsAreBounded(t *testing.T) {
	s, _ := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	taken := func(want int) {
		t.Helper()
		for range 1000 {
			if s.uploads.held() == want {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
		t.Fatalf("%d uploads are under way, want %d", s.uploads.held(), want)
	}
	for range maxUploads / 2 { // of one principal
		stream, err := s.CoprocessorClient.UploadCiphertexts(ctx)
		if err != nil {
			t.Fatal(err)
		}
		// The server waits for the rest of what the header promises.
		if err := stream.Send(&tacitv1.UploadCiphertextsRequest{Content: &tacitv1.UploadCiphertextsRequest_Header{Header: &tacitv1.CiphertextsHeader{Size: 100}}}); err != nil {
			t.Fatal(err)
		}
	}
	taken(maxUploads / 2)
	data := encrypted(t, "one too many", integer.Plain(integer.Uint8, 1))
	if _, err := s.sendList(t.Context(), upload{content: data}); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("one upload too many: %v", err)
	}
	cancel()
	taken(0)
}
