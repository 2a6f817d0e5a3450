package coprocessor

import (
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/tacit-fhe/tacit/bench/fuzztest"
	"github.com/tacit-fhe/tacit/fhe/codec"
	"github.com/tacit-fhe/tacit/fhe/integer"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// blame checks that a refusal blames what was sent, and says why.
func blame(t *testing.T, err error) {
	t.Helper()
	switch got := refused(t, err); {
	case got.code == codes.Internal || got.code == codes.Unavailable || got.code == codes.Unknown:
		t.Errorf("the service blames itself: %v", err)
	case got.reason == "":
		t.Errorf("no reason: %v", err)
	}
}

// FuzzUploadCiphertexts sends containers, and bodies in containers that are
// right, in chunks of any size.
func FuzzUploadCiphertexts(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 4 << 20, PerByte: 64})
	s, _ := start(f)
	s.prepare(integer.Plain(integer.Bool, 1))
	params := testKeys().Secret.Parameters()
	for _, container := range [][]byte{
		encrypted(f, "fuzz", integer.Plain(integer.Uint8, 200), integer.Plain(integer.Bool, 1)), encrypted(f, "fuzz none"), computed(f),
	} {
		f.Add(container, uint16(1), false)
		f.Add(container[codec.HeaderSize:len(container)-codec.DigestSize], uint16(1000), true)
		f.Add(container[:len(container)/2], uint16(7), false)
	}
	f.Fuzz(func(t *testing.T, data []byte, chunk uint16, wrap bool) {
		if wrap {
			data = codec.Encode(codec.Ciphertexts, params.Fingerprint(), data)
		}
		// A service of its own test, so that a failure is this input's.
		resp, err := (&service{t: t, CoprocessorClient: s.CoprocessorClient}).sendList(t.Context(), upload{content: data, chunk: max(int(chunk), len(data)/16+1)})
		if err != nil {
			blame(t, err)
			return
		}
		list, err := integer.UnmarshalList(data, params)
		if err != nil || !list.Fresh() || list.Len() != len(resp.Ciphertexts) {
			t.Errorf("stored, though %v: %v", err, resp)
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
		job, err := s.CoprocessorClient.SubmitJob(t.Context(), &tacitv1.SubmitJobRequest{Id: "fuzz", Spec: spec})
		if err != nil {
			blame(t, err)
		} else if len(job.Nodes) != len(spec.Nodes) {
			t.Errorf("%d nodes of %d", len(job.Nodes), len(spec.Nodes))
		}
	})
}
