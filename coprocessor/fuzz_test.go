package coprocessor

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tacit-fhe/tacit/bench/fuzztest"
	"github.com/tacit-fhe/tacit/coprocessor/access"
	"github.com/tacit-fhe/tacit/coprocessor/graph"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/codec"
	"github.com/tacit-fhe/tacit/fhe/integer"
	"github.com/tacit-fhe/tacit/fhe/leveled"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// blame checks that a refusal blames what was sent, and says why.
func blame(t *testing.T, err error) {
	t.Helper()
	switch f := faultOf(err); {
	case f.code == codes.Internal || f.code == codes.Unavailable || f.code == codes.Unknown:
		t.Errorf("the service blames itself: %v", err)
	case f.reason == "" || f.message == "":
		t.Errorf("no reason: %v", err)
	}
}

// callBy is the context of a call.
func callBy(ctx context.Context, p access.Principal) context.Context {
	return context.WithValue(ctx, callKey{}, &call{principal: p})
}

// outsider may compute, and has no right to anything.
var outsider = access.Principal{Name: "outsider", Roles: []access.Role{access.User}}

// received is an upload without a connection: the messages that have arrived, and the answer.
type received[Req, Res any] struct {
	grpc.ServerStream
	ctx      context.Context
	messages []*Req
	answer   *Res
}

func (r *received[Req, Res]) Context() context.Context { return r.ctx }

func (r *received[Req, Res]) Recv() (*Req, error) {
	if len(r.messages) == 0 {
		return nil, io.EOF
	}
	m := r.messages[0]
	r.messages = r.messages[1:]
	return m, nil
}

func (r *received[Req, Res]) SendAndClose(m *Res) error {
	r.answer = m
	return nil
}

// oddities are the ways in which the messages of an upload differ from those of a client.
const (
	oddNoHeader byte = 1 << iota
	oddSecondHeader
	oddEmptyChunks
	oddNoContent
	oddDigest      // a SHA-256 in the header
	oddWrongDigest // which is another one
	oddShortDigest // or none
	oddEnd         // the last chunk is missing
)

// uploadOf is an upload of a container in chunks.
func uploadOf(container []byte, chunk int, size uint64, odd byte) (messages []*tacitv1.UploadCiphertextsRequest) {
	h := &tacitv1.CiphertextsHeader{Size: size}
	if odd&oddDigest != 0 {
		digest := sha256.Sum256(container)
		if odd&oddWrongDigest != 0 {
			digest[31] ^= 1
		}
		if h.Sha256 = digest[:]; odd&oddShortDigest != 0 {
			h.Sha256 = digest[:31]
		}
	}
	header := &tacitv1.UploadCiphertextsRequest{Content: &tacitv1.UploadCiphertextsRequest_Header{Header: h}}
	if odd&oddNoHeader == 0 {
		messages = append(messages, header)
	}
	for c := range slices.Chunk(container, max(chunk, len(container)/16+1)) {
		messages = append(messages, &tacitv1.UploadCiphertextsRequest{Content: &tacitv1.UploadCiphertextsRequest_Chunk{Chunk: c}})
		if odd&oddEmptyChunks != 0 {
			messages = append(messages, &tacitv1.UploadCiphertextsRequest{Content: &tacitv1.UploadCiphertextsRequest_Chunk{}})
		}
	}
	if odd&oddEnd != 0 {
		messages = messages[:max(len(messages)-1, 0)]
	}
	if odd&oddSecondHeader != 0 {
		messages = append(messages, header)
	}
	if odd&oddNoContent != 0 {
		messages = append(messages, new(tacitv1.UploadCiphertextsRequest))
	}
	return messages
}

// FuzzUploadCiphertexts uploads containers, and bodies in containers that are right, in messages that are in order or not.
// A caller who may not use the key is refused whatever it uploads; what is refused for that reason alone, its owner uploads
// too, until there are as many ciphertexts as fit into a test.
func FuzzUploadCiphertexts(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 4 << 20, PerByte: 64})
	s, _ := start(f)
	s.prepare(integer.Plain(integer.Bool, 1))
	params := testKeys().Secret.Parameters()
	for _, container := range [][]byte{
		encrypted(f, "fuzz", integer.Plain(integer.Uint8, 200), integer.Plain(integer.Bool, 1)), encrypted(f, "fuzz none"), computed(f),
	} {
		f.Add(container, uint16(100), int64(0), false, byte(0))
		for odd := range 8 {
			f.Add(container, uint16(100), int64(0), false, byte(1)<<odd|oddDigest)
		}
		f.Add(container[codec.HeaderSize:len(container)-codec.DigestSize], uint16(1000), int64(0), true, byte(0))
		f.Add(container[codec.HeaderSize:len(container)-codec.DigestSize], uint16(1000), int64(0), true, oddDigest)
	}
	uploads, stored := 0, 0
	f.Fuzz(func(t *testing.T, data []byte, chunk uint16, more int64, wrap bool, odd byte) {
		if wrap {
			data = codec.Encode(codec.Ciphertexts, params.Fingerprint(), data)
		}
		size := uint64(int64(len(data)) + more)
		messages := uploadOf(data, int(chunk), size, odd)
		upload := func(p access.Principal) (*tacitv1.UploadCiphertextsResponse, error) {
			r := &received[tacitv1.UploadCiphertextsRequest, tacitv1.UploadCiphertextsResponse]{ctx: callBy(t.Context(), p), messages: messages}
			err := s.Server.UploadCiphertexts(r)
			return r.answer, err
		}
		_, err := upload(outsider)
		if err == nil {
			t.Fatal("an outsider has stored ciphertexts")
		}
		blame(t, err)
		list, decodes := integer.UnmarshalList(data, params)
		inOrder := more == 0 && odd&^(oddDigest|oddEmptyChunks) == 0
		if early := faultOf(err).reason != "UNKNOWN_KEY"; early != (decodes != nil || !list.Fresh()) && (inOrder || !early) {
			t.Fatalf("%v, though decoding gives %v", err, decodes)
		} else if early {
			return
		}
		if more != 0 || odd&(oddNoHeader|oddSecondHeader|oddNoContent) != 0 {
			t.Errorf("it comes to the key, though it has %d bytes more than it says and %b", more, odd)
		}
		if uploads++; uploads > 1000 || stored > 500 {
			return
		}
		answer, err := upload(access.Local)
		if err != nil {
			blame(t, err)
		}
		if stored += list.Len(); len(answer.GetCiphertexts()) != list.Len() && err == nil || (err == nil) != (list.KeyID() == testKeys().Secret.ID()) {
			t.Errorf("%d are stored of %d: %v", len(answer.GetCiphertexts()), list.Len(), err)
		}
	})
}

// FuzzUploadEvaluationKey uploads what is no key, in messages that are in order or not, at once and in two parts, of which the
// second continues the first. Both ways it is refused for the same reason, and only what may become a key is kept.
func FuzzUploadEvaluationKey(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 8 << 20, PerByte: 64})
	s, _ := start(f)
	params := testKeys().Secret.Parameters()
	vectors, err := leveled.ByName("bgv-13")
	if err != nil {
		f.Fatal(err)
	}
	prints := [][32]byte{params.Fingerprint(), vectors.Fingerprint(), {}}
	key := evaluationKey(f)[:2000]
	for odd := range 8 {
		f.Add(key, uint16(1500), uint16(100), uint32(0), byte(1)<<odd, byte(0))
	}
	f.Add(key, uint16(1500), uint16(100), uint32(300_000), byte(0), byte(0))
	f.Add(key, uint16(codec.HeaderSize-1), uint16(100), uint32(1), byte(0), byte(0))
	f.Add(key[codec.HeaderSize:], uint16(60), uint16(10), uint32(0), byte(0), byte(codec.EvaluationKey))
	f.Add([]byte{1, 2, 0, 1, 0, 0, 0, 2, 0, 0, 0}, uint16(52), uint16(10), uint32(0), byte(0), byte(codec.LeveledEvaluationKey))
	f.Fuzz(func(t *testing.T, data []byte, cut, chunk uint16, more uint32, odd, kind byte) {
		if kind %= 32; kind != 0 {
			data = codec.Encode(codec.Kind(kind), prints[int(kind)%len(prints)], data)
		}
		id := fhe.KeyID(sha256.Sum256(data))
		size := uint64(len(data)) + uint64(more)
		name := partialName{outsider.Name, id}
		upload := func(part []byte, offset uint64, odd byte) error {
			var messages []*tacitv1.UploadEvaluationKeyRequest
			for _, m := range uploadOf(part, int(chunk), size, odd) {
				out := new(tacitv1.UploadEvaluationKeyRequest)
				switch {
				case m.GetHeader() != nil:
					h := &tacitv1.EvaluationKeyHeader{KeyId: id[:], Size: size, Offset: offset}
					if odd&oddShortDigest != 0 {
						h.KeyId = h.KeyId[:31]
					}
					out.Content = &tacitv1.UploadEvaluationKeyRequest_Header{Header: h}
				case m.Content != nil:
					out.Content = &tacitv1.UploadEvaluationKeyRequest_Chunk{Chunk: m.GetChunk()}
				}
				messages = append(messages, out)
			}
			err := s.Server.UploadEvaluationKey(&received[tacitv1.UploadEvaluationKeyRequest, tacitv1.EvaluationKeyInfo]{ctx: callBy(t.Context(), outsider), messages: messages})
			if err == nil {
				t.Fatal("a part of a key is stored")
			}
			blame(t, err)
			n, whole := s.partials.received(name)
			why := faultOf(err)
			kept := why.reason == "TRUNCATED" && n <= int64(offset)+int64(len(part)) && whole == size ||
				(why.reason == "BAD_STREAM" && why.place == "header" || why.reason == "BAD_KEY_ID") && n == int64(offset) // it has not begun
			if n > 0 && !kept {
				t.Fatalf("%d bytes of %d are kept: %v", n, whole, err)
			}
			return err
		}
		anew, err := s.partials.begin(t.Context(), name, size, 0, func() {})
		if err != nil {
			t.Fatal(err)
		}
		s.partials.end(anew, false) // nor what was kept before
		atOnce := upload(data, 0, odd)
		first := data[:min(int(cut), len(data))]
		if faultOf(upload(first, 0, odd&oddEmptyChunks)).reason != "TRUNCATED" || len(first) == 0 {
			return
		}
		if n, _ := s.partials.received(name); n != int64(len(first)) {
			t.Fatalf("%d bytes are kept, %d have arrived", n, len(first))
		}
		inParts := upload(data[len(first):], uint64(len(first)), odd)
		if a, b := faultOf(atOnce), faultOf(inParts); odd&(oddNoHeader|oddEnd) == 0 && (a.reason != b.reason || a.place != b.place) {
			t.Errorf("at once: %v; in two parts: %v", atOnce, inParts)
		}
	})
}

// FuzzSubmitJob submits any spec that can be sent. All have one id, so one job
// at most is stored.
func FuzzSubmitJob(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 4 << 20, PerByte: 1000})
	s, good := small(f)
	seed := func(spec *tacitv1.JobSpec) {
		data, err := proto.Marshal(spec)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	seed(good())
	seed(&tacitv1.JobSpec{KeyId: make([]byte, 32)})
	cycle := good()
	cycle.Nodes[0].Inputs[0] = &tacitv1.Input{Value: &tacitv1.Input_Node{Node: 0}}
	seed(cycle)
	conflict := good()
	conflict.Outputs[0].Handle = conflict.Nodes[0].Inputs[0].GetHandle()
	seed(conflict)
	trivial := good()
	trivial.Nodes[0] = &tacitv1.Node{Op: tacitv1.Op_OP_TRIVIAL_ENCRYPT.Enum(), Type: tacitv1.Type_TYPE_EUINT64.Enum(),
		Inputs: []*tacitv1.Input{{Value: &tacitv1.Input_Scalar{Scalar: []byte{1, 2}}}}, Result: named("fuzz"), Label: "x"}
	seed(trivial)
	f.Fuzz(func(t *testing.T, data []byte) {
		spec := new(tacitv1.JobSpec)
		if proto.Unmarshal(data, spec) != nil {
			return
		}
		req := &tacitv1.SubmitJobRequest{Id: "fuzz", Spec: spec}
		if _, err := s.Server.SubmitJob(callBy(t.Context(), outsider), req); err == nil {
			t.Fatal("an outsider has submitted a job")
		} else {
			blame(t, err)
		}
		job, err := s.Server.SubmitJob(callBy(t.Context(), access.Local), req)
		if err != nil {
			blame(t, err)
		} else if len(job.Nodes) != len(spec.Nodes) {
			t.Errorf("%d nodes of %d", len(job.Nodes), len(spec.Nodes))
		}
	})
}

// FuzzReadFresh reads uploads of ciphertexts from chunks of any size, as what they hold would be stored, and as records of the
// store: integers, vectors, and either as bodies in containers that are right.
func FuzzReadFresh(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 1 << 20, PerByte: 64})
	params := testKeys().Secret.Parameters()
	vectors, err := leveled.ByName("bgv-13")
	if err != nil {
		f.Fatal(err)
	}
	var head []byte // of vectors, whose residues no fuzzer makes up
	head = append(head, make([]byte, 32)...)
	head = append(head, 1, 0, 2, 0, 16, 0, 0, 20)
	f.Add(head, uint16(100), uint32(len(head)), byte(codec.LeveledCiphertexts))
	for _, container := range [][]byte{
		encrypted(f, "fuzz", integer.Plain(integer.Uint8, 200), integer.Plain(integer.Bool, 1)), encrypted(f, "fuzz none"), computed(f), packed(f),
	} {
		f.Add(container, uint16(1), uint32(len(container)), byte(0))
		body := container[codec.HeaderSize : len(container)-codec.DigestSize]
		f.Add(body, uint16(1000), uint32(len(container)), byte(codec.Ciphertexts))
		padded := bytes.Clone(body)
		padded[len(padded)-1] |= 0x80
		f.Add(padded, uint16(1000), uint32(len(container)), byte(codec.Ciphertexts))
	}
	f.Fuzz(func(t *testing.T, data []byte, chunk uint16, size uint32, kind byte) {
		switch codec.Kind(kind) {
		case codec.Ciphertexts:
			data = codec.Encode(codec.Ciphertexts, params.Fingerprint(), data)
		case codec.LeveledCiphertexts:
			data = codec.Encode(codec.LeveledCiphertexts, vectors.Fingerprint(), data)
		}
		rest := data
		received, err := io.ReadAll(&chunks{left: uint64(size), next: func() ([]byte, error) {
			if len(rest) == 0 {
				return nil, io.EOF
			}
			next := rest[:min(len(rest), max(int(chunk), len(rest)/16+1))]
			rest = rest[len(next):]
			return next, nil
		}})
		switch {
		case err != nil:
			blame(t, err)
		case !bytes.Equal(received, data) || len(data) != int(size):
			t.Errorf("%d bytes of %d were read, the header said %d", len(received), len(data), size)
		}
		upload, err := readFresh(data, params)
		if err != nil {
			blame(t, err)
		}
		for i, record := range upload.records {
			if err == nil && !isVectorRecord(record) {
				if list, err := storedList(record, graph.Handle{}, params); err != nil || list.KeyID() != upload.key || uint8(list.Type(0)) != upload.types[i] {
					t.Errorf("value %d cannot be read again as it was: %v", i, err)
				}
			}
		}
		if isVectorRecord(data) {
			storedVector(data, graph.Handle{})
		} else {
			storedList(data, graph.Handle{}, params)
		}
	})
}

// FuzzKeys reads keys as their uploads do: evaluation keys for integers and for vectors, public keys and migration keys.
func FuzzKeys(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 2 << 20, PerByte: 32})
	params := testKeys().Secret.Parameters()
	vectors, err := leveled.ByName("bgv-13")
	if err != nil {
		f.Fatal(err)
	}
	prints := [][32]byte{params.Fingerprint(), vectors.Fingerprint(), {}}
	public, err := testKeys().Public.MarshalBinary()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(public, byte(0), byte(0))
	f.Add(public[codec.HeaderSize:len(public)-codec.DigestSize], byte(codec.PublicKey), byte(0))
	f.Add(public[codec.HeaderSize:len(public)-codec.DigestSize], byte(codec.PublicKey), byte(2))
	evaluation := evaluationKey(f)
	f.Add(evaluation[:codec.HeaderSize+500], byte(0), byte(0))
	f.Add([]byte{1, 2, 0, 1, 0, 0, 0, 2, 0, 0, 0}, byte(codec.LeveledEvaluationKey), byte(1))
	f.Add([]byte{4, 0, 0}, byte(codec.LeveledEvaluationKey), byte(1))                         // unknown flags
	f.Add([]byte{0, 2, 0, 2, 0, 0, 0, 1, 0, 0, 0}, byte(codec.LeveledEvaluationKey), byte(1)) // rotations out of order
	f.Add(make([]byte, 128), byte(codec.MigrationKey), byte(0))
	f.Add(append(prints[0][:], make([]byte, 1000)...), byte(codec.MigrationKey), byte(0))
	f.Add(append([]byte{1}, make([]byte, 1000)...), byte(codec.LeveledMigrationKey), byte(1))
	f.Fuzz(func(t *testing.T, data []byte, kind, set byte) {
		if kind %= 32; kind != 0 {
			data = codec.Encode(codec.Kind(kind), prints[int(set)%len(prints)], data)
		}
		// What is sealed as a key of one kind is read as that alone: the others look at its kind and no further.
		is := func(k codec.Kind) bool { return kind == 0 || codec.Kind(kind) == k }
		if is(codec.EvaluationKey) || is(codec.LeveledEvaluationKey) {
			if _, _, err := checkEvaluationKey(bytes.NewReader(data), params); err != nil {
				blame(t, err)
			}
		}
		if is(codec.PublicKey) {
			if pk, err := fhe.UnmarshalPublicKey(data); err != nil {
				blame(t, err)
			} else if again, _ := pk.MarshalBinary(); !bytes.Equal(again, data) {
				t.Error("a public key is not canonical")
			}
		}
		if is(codec.MigrationKey) || is(codec.LeveledMigrationKey) {
			if _, err := checkMigrationKey(bytes.NewReader(data)); err != nil {
				blame(t, err)
			}
		}
	})
}

// FuzzRequests decodes what may be sent to each method as gRPC does and checks what is checked before anything is looked up.
func FuzzRequests(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 512 << 10, PerByte: 1000})
	var kinds []protoreflect.MessageType
	kindOf := make(map[protoreflect.FullName]byte)
	for _, file := range []protoreflect.FileDescriptor{tacitv1.File_tacit_v1_coprocessor_proto, tacitv1.File_tacit_v1_admin_proto} {
		for i := range file.Services().Len() {
			methods := file.Services().Get(i).Methods()
			for j := range methods.Len() {
				name := methods.Get(j).Input().FullName()
				kind, err := protoregistry.GlobalTypes.FindMessageByName(name)
				if err != nil {
					f.Fatal(err)
				}
				kindOf[name] = byte(len(kinds))
				kinds = append(kinds, kind)
			}
		}
	}
	call := &tacitv1.ProgramCall{Digest: make([]byte, 32), KeyId: make([]byte, 32), Arguments: []*tacitv1.Argument{{Value: &tacitv1.Argument_Scalar{Scalar: []byte{1}}}}}
	resource := &tacitv1.Resource{Id: &tacitv1.Resource_Handle{Handle: make([]byte, 32)}}
	for _, m := range []proto.Message{
		&tacitv1.SubmitJobRequest{Id: "a", Spec: spec(f, "input a = 0x"+strings.Repeat("01", 32)+"\nx = not(a)\noutput x"), Priority: 5, Deadline: durationpb.New(time.Hour)},
		&tacitv1.SubmitJobRequest{Id: "b.c", Program: call, MissingInputs: &tacitv1.MissingInputs{Timeout: durationpb.New(1), Expected: []*tacitv1.ExpectedInput{{Handle: make([]byte, 32), Type: tacitv1.Type_TYPE_EBOOL.Enum()}}}},
		&tacitv1.GrantRequest{Resource: resource, Grant: &tacitv1.PrincipalRights{Principal: "a", Rights: []tacitv1.Right{tacitv1.Right_RIGHT_READ}}},
		&tacitv1.StatCiphertextsRequest{Handles: [][]byte{make([]byte, 32), nil}},
		&tacitv1.ListJobsRequest{PageToken: "1", States: []tacitv1.JobState{tacitv1.JobState_JOB_STATE_RUNNING}, Principal: "a"},
		&tacitv1.WatchJobsRequest{Cursor: "18446744073709551615"},
		&tacitv1.QuarantineRequest{},
	} {
		data, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, kindOf[m.ProtoReflect().Descriptor().FullName()])
	}
	f.Add(empties(2, 5000), kindOf["tacit.v1.SubmitJobRequest"])
	c := newBoundedCodec(2000)
	read := requestReader(f)
	f.Fuzz(func(t *testing.T, data []byte, kind byte) {
		m := kinds[int(kind)%len(kinds)].New().Interface()
		if err := c.Unmarshal(mem.BufferSlice{mem.SliceBuffer(data)}, m); err != nil {
			return
		}
		if err := tooMany(m); err != nil {
			blame(t, err)
			return
		}
		for _, err := range read(m) {
			if err != nil {
				blame(t, err)
			}
		}
	})
}

// requestReader returns what checks a request as far as that takes no store: of a spec, everything against two ciphertexts
// that are there, 0x01… of euint8 and 0x02… of ebool.
func requestReader(t testing.TB) func(m proto.Message) []error {
	params := testKeys().Secret.Parameters()
	stored := make(map[byte][]byte)
	for i, plain := range []integer.Scalar{integer.Plain(integer.Uint8, 5), integer.Plain(integer.Bool, 1)} {
		stored[byte(i+1)] = encrypted(t, fmt.Sprint("requests ", i), plain)
	}
	integers, err := integer.New(params, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{opts: Options{Params: params, Limits: graph.Limits{MaxSpecSize: 1 << 16, MaxNodes: 64, MaxInputs: 128, MaxOutputs: 16, MaxBootstraps: 1 << 20, MaxDepth: 1 << 20}}.withDefaults(),
		integers: integers, estimates: newTurns(1, maxWaiting, maxWaitingOfPrincipal)}
	program, err := graph.ParseProgramText("p", "param a: euint8\nparam b: plain euint8\nx = add(a, b)\noutput x")
	if err != nil {
		t.Fatal(err)
	}
	caller := func() context.Context {
		return callBy(context.Background(), access.Principal{Name: "a", Roles: []access.Role{access.User}})
	}
	spec := func(spec *tacitv1.JobSpec, call *tacitv1.ProgramCall) error {
		if call != nil {
			var err error
			if spec, err = graph.Call(program, call); err != nil {
				return err
			}
		}
		e := newEstimator(s.integers, spec)
		g, err := graph.Validate(caller(), spec, func(_ context.Context, h graph.Handle) (graph.Ciphertext, error) {
			record, ok := stored[h[0]]
			if !ok {
				return graph.Ciphertext{}, graph.ErrUnknownHandle
			}
			return e.stored(h, record, params)
		}, e.cost, s.opts.Limits)
		if err != nil {
			return err
		}
		graph.SpecDigest(spec)
		newPlan(g, nil).cost()
		return nil
	}
	return func(m proto.Message) (errs []error) {
		add := func(_ any, err error) { errs = append(errs, err) }
		ctx := caller()
		switch m := m.(type) {
		case *tacitv1.SubmitJobRequest:
			add(wishes(m))
			add(parseExpected(m.MissingInputs.GetExpected(), "missing_inputs.expected"))
			add(s.jobID(ctx, m.Id))
			add(nil, spec(m.Spec, m.Program))
		case *tacitv1.EstimateJobRequest:
			add(parseExpected(m.Expected, "expected"))
			add(nil, spec(m.Spec, m.Program))
		case *tacitv1.UploadProgramRequest:
			add(s.checkProgram(ctx, m.Program))
		case *tacitv1.GetJobRequest:
			add(s.jobID(ctx, m.Id))
		case *tacitv1.StatCiphertextsRequest:
			add(parseHandles(m.Handles))
			add(s.version(ctx, m.KeyId))
		case *tacitv1.FetchCiphertextsRequest:
			add(parseHandles(m.Handles))
			add(s.version(ctx, m.KeyId))
		case *tacitv1.ListJobsRequest:
			add(s.jobsOf(ctx, m.Principal))
			add(parseStates(m.States))
		case *tacitv1.WatchJobsRequest:
			add(parseCursor(m.Cursor))
			add(s.jobsOf(ctx, m.Principal))
			add(parseStates(m.States))
		case *tacitv1.GrantRequest:
			add(parseResource(m.Resource))
			add(parseRights(m.Grant.GetRights()))
		case *tacitv1.GetAccessRequest:
			add(parseResource(m.Resource))
		case *tacitv1.GetKeyRequest:
			add(s.keyID(ctx, m.KeyId))
		}
		return errs
	}
}

// FuzzAuthorization has calls with any authorization and any request: nobody is let in but with the token or the signature of a
// caller.
func FuzzAuthorization(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 64 << 10, PerByte: 64})
	who := newCallers(f)
	const method = tacitv1.Coprocessor_GetJob_FullMethodName
	good, err := proto.Marshal(&tacitv1.GetJobRequest{Id: "a"})
	if err != nil {
		f.Fatal(err)
	}
	signed := who.signedAt(f, time.Now())(method, &tacitv1.GetJobRequest{Id: "a"})[0]
	f.Add("Bearer "+who.tokens["alice"], good)
	f.Add("bearer "+who.tokens["eve"], good)
	f.Add(signed, good)
	f.Add(signed, []byte{})
	f.Add("Basic YWxpY2U6", good)
	s := &Server{opts: Options{Callers: who.Callers, Audience: "here"}.withDefaults()}
	f.Fuzz(func(t *testing.T, authorization string, request []byte) {
		s.replay = access.NewReplay(time.Now().Add(-time.Minute))
		c := &call{method: method}
		m := new(tacitv1.GetJobRequest)
		if proto.Unmarshal(request, m) != nil {
			return
		}
		ctx := metadata.NewIncomingContext(context.Background(), metadata.Pairs("authorization", authorization))
		p, err := s.authenticate(ctx, c)
		if err == nil {
			err = s.admit(ctx, c, p, m)
		}
		if err != nil {
			blame(t, err)
			return
		}
		_, token, _ := strings.Cut(authorization, " ")
		known := slices.ContainsFunc(slices.Collect(maps.Values(who.tokens)), func(k string) bool { return k == token })
		if !known && (authorization != signed || m.Id != "a") {
			t.Errorf("%q with %v is let in", authorization, m)
		}
	})
}
