package coprocessor

import (
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/tacit-fhe/tacit/coprocessor/graph"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// empties is a message that has one embedded, empty message so many times.
func empties(field protowire.Number, n int) []byte {
	one := protowire.AppendVarint(protowire.AppendTag(nil, field, protowire.BytesType), 0)
	return []byte(strings.Repeat(string(one), n))
}

func embed(field protowire.Number, content []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, field, protowire.BytesType), content)
}

// sent is bytes that are sent as they are.
type sent []byte

type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	if raw, ok := v.(sent); ok {
		return mem.BufferSlice{mem.SliceBuffer(raw)}, nil
	}
	b, err := proto.Marshal(v.(proto.Message))
	return mem.BufferSlice{mem.SliceBuffer(b)}, err
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	return proto.Unmarshal(data.Materialize(), v.(proto.Message))
}

// A request of a megabyte that would take a hundred in memory is refused before it
// does, whoever sends it, and however it is nested.
func TestRequestsWithTooManyParts(t *testing.T) {
	s, good := small(t)
	inputs := embed(2, empties(3, 500_000)) // one node with half a million inputs
	for name, request := range map[string][]byte{
		"nodes":     embed(2, empties(2, 500_000)),
		"inputs":    embed(2, inputs),
		"outputs":   embed(2, empties(3, 500_000)),
		"expected":  embed(5, empties(3, 500_000)),
		"arguments": embed(15, empties(3, 500_000)),
		"specs":     empties(2, 500_000), // which are merged
	} {
		var err error
		// Both ends are in this process: what is sent is counted too.
		if n := allocates(func() {
			err = s.conn.Invoke(t.Context(), tacitv1.Coprocessor_SubmitJob_FullMethodName, sent(request), new(tacitv1.Job), grpc.ForceCodecV2(rawCodec{}))
		}); n > 12<<20 {
			t.Errorf("%s: %d bytes allocated for a request of %d", name, n, len(request))
		}
		if got := refused(t, err); got.code != codes.InvalidArgument || got.reason != "LIMIT" {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	handles := sent(empties(1, 500_000))
	stream, err := s.conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, tacitv1.Coprocessor_FetchCiphertexts_FullMethodName, grpc.ForceCodecV2(rawCodec{}))
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.SendMsg(handles); err != nil {
		t.Fatal(err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := stream.RecvMsg(new(tacitv1.FetchCiphertextsResponse)); refused(t, err).reason != "LIMIT" {
		t.Errorf("handles: %v", err)
	}
	if job := s.run("good", good()); job.State != succeeded {
		t.Errorf("%v", job)
	}
}

// The largest spec that is allowed has few enough parts.
func TestElements(t *testing.T) {
	l := graph.DefaultLimits()
	spec := new(tacitv1.JobSpec)
	for i := range l.MaxNodes {
		n := &tacitv1.Node{Op: tacitv1.Op_OP_ADD.Enum(), Label: "x"}
		for range l.MaxInputs / l.MaxNodes {
			n.Inputs = append(n.Inputs, &tacitv1.Input{Value: &tacitv1.Input_Node{Node: uint32(i)}})
		}
		spec.Nodes = append(spec.Nodes, n)
	}
	for range l.MaxOutputs {
		spec.Outputs = append(spec.Outputs, &tacitv1.Output{})
	}
	data, err := proto.Marshal(&tacitv1.SubmitJobRequest{Id: "x", Spec: spec})
	if err != nil {
		t.Fatal(err)
	}
	md := new(tacitv1.SubmitJobRequest).ProtoReflect().Descriptor()
	limit := maxElements(l)
	if n, _ := elements(md, data, limit); n != 1+l.MaxNodes+l.MaxInputs+l.MaxOutputs || n > limit {
		t.Errorf("%d elements, limit %d", n, limit)
	}
	for cut := range min(len(data), 200) {
		elements(md, data[:cut], 1000)
	}
}
