package graph

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

var testKey = bytes32(0x6b, 0x6b)

// bytes32 returns the byte first followed by 31 others.
func bytes32(first, others byte) []byte {
	b := slices.Repeat([]byte{others}, 32)
	b[0] = first
	return b
}

var errDown = errors.New("the store is away")

// resolveByFirstByte takes the first byte of a handle for its type. 0xf0 stands for nothing, 0xf1 is of another key, and
// 0xf2 cannot be told.
func resolveByFirstByte(_ context.Context, h Handle) (Ciphertext, error) {
	ct := Ciphertext{Type: tacitv1.Type(h[0]), KeyID: [32]byte(testKey)}
	switch h[0] {
	case 0xf0:
		return Ciphertext{}, fmt.Errorf("looking: %w", ErrUnknownHandle)
	case 0xf1:
		ct.KeyID[31] ^= 1
	case 0xf2:
		return Ciphertext{}, errDown
	}
	return ct, nil
}

func validate(spec *tacitv1.JobSpec, limits Limits) (*Graph, error) {
	return Validate(context.Background(), spec, resolveByFirstByte, DefaultCost, limits)
}

func readJob(t testing.TB, name string) (string, *tacitv1.JobSpec) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	spec, err := ParseText(string(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(text), spec
}

func mustValidate(t testing.TB, spec *tacitv1.JobSpec) *Graph {
	t.Helper()
	g, err := validate(spec, DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func stored(t tacitv1.Type, others byte) *tacitv1.Input {
	return &tacitv1.Input{Value: &tacitv1.Input_Handle{Handle: bytes32(byte(t), others)}}
}

func computed(i uint32) *tacitv1.Input {
	return &tacitv1.Input{Value: &tacitv1.Input_Node{Node: i}}
}

// second is the second result of a node.
func second(i uint32) *tacitv1.Input {
	return &tacitv1.Input{Value: &tacitv1.Input_Node{Node: i}, Result: 1}
}

func tabled(table []byte, n *tacitv1.Node) *tacitv1.Node {
	n.Table = table
	return n
}

func scalar(digits string) *tacitv1.Input {
	b, err := hex.DecodeString(digits)
	if err != nil {
		panic(err)
	}
	return &tacitv1.Input{Value: &tacitv1.Input_Scalar{Scalar: b}}
}

func node(op tacitv1.Op, inputs ...*tacitv1.Input) *tacitv1.Node {
	return &tacitv1.Node{Op: &op, Inputs: inputs}
}

func typed(t tacitv1.Type, n *tacitv1.Node) *tacitv1.Node {
	n.Type = &t
	return n
}

func outputsOf(nodes ...uint32) []*tacitv1.Output {
	var outputs []*tacitv1.Output
	for _, n := range nodes {
		outputs = append(outputs, &tacitv1.Output{Node: &n})
	}
	return outputs
}

// specOf has the nodes given and stores the first.
func specOf(nodes ...*tacitv1.Node) *tacitv1.JobSpec {
	return &tacitv1.JobSpec{KeyId: testKey, Nodes: nodes, Outputs: outputsOf(0)}
}

const (
	ebool   = tacitv1.Type_TYPE_EBOOL
	euint8  = tacitv1.Type_TYPE_EUINT8
	euint16 = tacitv1.Type_TYPE_EUINT16
	euint32 = tacitv1.Type_TYPE_EUINT32
	euint64 = tacitv1.Type_TYPE_EUINT64
	add     = tacitv1.Op_OP_ADD
	ge      = tacitv1.Op_OP_GE
	not     = tacitv1.Op_OP_NOT
	trivial = tacitv1.Op_OP_TRIVIAL_ENCRYPT
	sel     = tacitv1.Op_OP_IF_THEN_ELSE
)

func TestValidateTransfer(t *testing.T) {
	_, spec := readJob(t, "transfer.job")
	g := mustValidate(t, spec)

	from, to, amount := Handle(bytes32(5, 1)), Handle(bytes32(5, 2)), Handle(bytes32(5, 3))
	want := []Node{
		{Op: ge, Type: ebool, Label: "ok", Needed: true, Cost: Cost{Bootstraps: 25, Depth: 4}, Operands: []Operand{
			{Kind: Stored, Type: euint64, Handle: from}, {Kind: Stored, Type: euint64, Handle: amount}}},
		{Op: sel, Type: euint64, Label: "moved", Needed: true, Cost: Cost{Bootstraps: 32, Depth: 1}, Operands: []Operand{
			{Kind: Computed, Type: ebool, Node: 0}, {Kind: Stored, Type: euint64, Handle: amount}, {Kind: Scalar, Type: euint64}}},
		{Op: tacitv1.Op_OP_SUB, Type: euint64, Label: "new_from", Needed: true, Cost: Cost{Bootstraps: 32, Depth: 32}, Operands: []Operand{
			{Kind: Stored, Type: euint64, Handle: from}, {Kind: Computed, Type: euint64, Node: 1}}},
		{Op: add, Type: euint64, Label: "new_to", Needed: true, Cost: Cost{Bootstraps: 32, Depth: 32}, Operands: []Operand{
			{Kind: Stored, Type: euint64, Handle: to}, {Kind: Computed, Type: euint64, Node: 1}}},
	}
	if g.Len() != len(want) {
		t.Fatalf("%d nodes, want %d", g.Len(), len(want))
	}
	for i := range want {
		got := g.Node(i)
		got.Handle = Handle{}
		if diff := cmp.Diff(want[i], got); diff != "" {
			t.Errorf("node %d (-want +got):\n%s", i, diff)
		}
	}
	for _, d := range []string{
		cmp.Diff([]int{0, 1, 2, 3}, g.Order()),
		cmp.Diff([]Handle{from, amount, to}, g.Inputs()),
		cmp.Diff([]Output{{Node: 2, Handle: g.Node(2).Handle}, {Node: 3, Handle: g.Node(3).Handle}}, g.Outputs()),
		cmp.Diff(Cost{Bootstraps: 121, Depth: 37}, g.Cost()),
		cmp.Diff([32]byte(testKey), g.KeyID()),
		cmp.Diff(SpecDigest(spec), g.Digest()),
	} {
		if d != "" {
			t.Errorf("-want +got:\n%s", d)
		}
	}
}

func TestValidateEveryOp(t *testing.T) {
	_, spec := readJob(t, "every_op.job")
	g := mustValidate(t, spec)
	seen := make(map[tacitv1.Op]bool)
	for i := range g.Len() {
		n := g.Node(i)
		seen[n.Op] = true
		if !n.Needed {
			t.Errorf("%s is not needed", n.Label)
		}
	}
	_, spec = readJob(t, "every_vector_op.job")
	for i, v := 0, mustValidate(t, spec); i < v.Len(); i++ {
		seen[v.Node(i).Op] = true
	}
	for op := range signatures {
		if !seen[op] {
			t.Errorf("%s is not in the job", OpName(op))
		}
	}
	var refused *Error
	_, err := Validate(t.Context(), specOf(node(tacitv1.Op_OP_SUM, slices.Repeat([]*tacitv1.Input{stored(euint8, 1)}, 101)...)), resolveByFirstByte, DefaultCost, DefaultLimits())
	if !errors.As(err, &refused) || refused.Reason != Arity {
		t.Errorf("a sum of 101: %v", err)
	}
	outputs := g.Outputs()
	if outputs[1].Handle != Handle(bytes32(9, 2)) || outputs[3].Handle != Handle(bytes32(9, 1)) {
		t.Errorf("outputs are stored at %v", outputs)
	}
}

func TestGraphIsImmutable(t *testing.T) {
	_, spec := readJob(t, "transfer.job")
	g := mustValidate(t, spec)
	before := fmt.Sprint(g.Node(0), g.Order(), g.Inputs(), g.Outputs())
	g.Node(0).Operands[0].Handle[0]++
	g.Order()[0]++
	g.Inputs()[0][0]++
	g.Outputs()[0].Node++
	for _, n := range spec.Nodes {
		for _, in := range n.Inputs {
			clear(in.GetHandle())
		}
	}
	if after := fmt.Sprint(g.Node(0), g.Order(), g.Inputs(), g.Outputs()); after != before {
		t.Errorf("the graph changed from %s to %s", before, after)
	}
}

func TestOnlyWhatAnOutputNeedsIsComputed(t *testing.T) {
	spec := specOf(
		node(add, computed(2), stored(euint8, 1)),
		node(add, computed(2), stored(euint8, 2)), // not needed
		node(not, stored(euint8, 3)),
		node(ge, computed(1), computed(0)), // not needed
	)
	g := mustValidate(t, spec)
	if diff := cmp.Diff([]int{2, 0}, g.Order()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Handle{Handle(bytes32(2, 3)), Handle(bytes32(2, 1))}, g.Inputs()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(Cost{Bootstraps: 4, Depth: 4}, g.Cost()); diff != "" {
		t.Error(diff)
	}
	if g.Node(1).Needed || g.Node(3).Needed || !g.Node(0).Needed || !g.Node(2).Needed {
		t.Error("the wrong nodes are needed")
	}
}

func TestNamesLinkNodes(t *testing.T) {
	name := bytes32(5, 9) // the store would know it as an euint64
	first := node(not, stored(euint8, 1))
	first.Result = name
	spec := specOf(node(not, &tacitv1.Input{Value: &tacitv1.Input_Handle{Handle: name}}), first)
	spec.Outputs = append(spec.Outputs, &tacitv1.Output{Node: proto.Uint32(1), Handle: name})
	g := mustValidate(t, spec)
	want := []Operand{{Kind: Computed, Type: euint8, Node: 1}}
	if diff := cmp.Diff(want, g.Node(0).Operands); diff != "" {
		t.Error(diff)
	}
	if got := g.Outputs()[1].Handle; got != Handle(name) {
		t.Errorf("stored at %s, want %x", got, name)
	}
}

func TestResolveIsAskedOnce(t *testing.T) {
	spec := specOf(node(add, stored(euint8, 1), stored(euint8, 1)), node(not, stored(euint8, 1)))
	asked := 0
	_, err := Validate(context.Background(), spec, func(ctx context.Context, h Handle) (Ciphertext, error) {
		asked++
		return resolveByFirstByte(ctx, h)
	}, DefaultCost, DefaultLimits())
	if err != nil || asked != 1 {
		t.Errorf("asked %d times, %v", asked, err)
	}
}

func TestResolveFailureIsNoRefusal(t *testing.T) {
	_, err := validate(specOf(node(not, stored(0xf2, 1))), DefaultLimits())
	var refused *Error
	if !errors.Is(err, errDown) || errors.As(err, &refused) {
		t.Errorf("got %v, want the error of the store", err)
	}
	if !strings.Contains(fmt.Sprint(err), "nodes[0].inputs[0]") {
		t.Errorf("%v does not name the place", err)
	}
}

func TestValidateRefuses(t *testing.T) {
	small := Limits{MaxSpecSize: 400, MaxNodes: 3, MaxInputs: 5, MaxOutputs: 2, MaxBootstraps: 60, MaxDepth: 33}
	named := func(n *tacitv1.Node, result []byte) *tacitv1.Node {
		n.Result = result
		return n
	}
	labelled := func(label string) *tacitv1.Node {
		n := node(not, stored(euint8, 1))
		n.Label = label
		return n
	}
	storing := func(spec *tacitv1.JobSpec, outputs ...*tacitv1.Output) *tacitv1.JobSpec {
		spec.Outputs = outputs
		return spec
	}
	unknown := func(m proto.Message) {
		m.ProtoReflect().SetUnknown([]byte{0xf8, 0x07, 0x01})
	}
	withUnknown := func(change func(*tacitv1.JobSpec) proto.Message) *tacitv1.JobSpec {
		spec := specOf(node(not, stored(euint8, 1)))
		unknown(change(spec))
		return spec
	}
	not8 := func(others byte) *tacitv1.Node { return node(not, stored(euint8, others)) }
	zero := proto.Uint32(0)

	tests := []struct {
		name   string
		spec   *tacitv1.JobSpec
		reason Reason
		text   string // place and message; a prefix
	}{
		{"nil", nil, BadKeyID, "key_id: 0 bytes, want 32"},
		{"long key id", &tacitv1.JobSpec{KeyId: make([]byte, 33)}, BadKeyID, "key_id: 33 bytes"},
		{"no output", &tacitv1.JobSpec{KeyId: testKey}, NoOutput, "outputs: none"},
		{"spec size", specOf(node(add, scalar(strings.Repeat("00", 400)))), Limit, "the spec is "},
		{"nodes", specOf(nil, nil, nil, nil), Limit, "nodes: 4 nodes, at most 3"},
		{"outputs", storing(specOf(not8(1)), nil, nil, nil), Limit, "outputs: 3 outputs, at most 2"},
		{"inputs", specOf(node(not), node(not, nil, nil, nil, nil, nil, nil)), Limit, "nodes[1].inputs: more than the 5 inputs"},
		{"bootstraps", storing(specOf(node(sel, stored(ebool, 1), stored(euint64, 1), scalar("")), node(add, stored(euint64, 1), scalar(""))),
			outputsOf(0, 1)...), Limit, "nodes[1]: the job needs more than the 60 bootstraps"},
		{"depth", storing(specOf(node(add, stored(euint64, 1), scalar("")), node(ge, computed(0), scalar(""))), outputsOf(1)...), Limit,
			"nodes[1]: a chain of more than the 33 bootstraps"},
		{"unknown field in spec", withUnknown(func(s *tacitv1.JobSpec) proto.Message { return s }), UnknownField, "has a field"},
		{"unknown field in node", withUnknown(func(s *tacitv1.JobSpec) proto.Message { return s.Nodes[0] }), UnknownField, "nodes[0]: has a field"},
		{"unknown field in input", withUnknown(func(s *tacitv1.JobSpec) proto.Message { return s.Nodes[0].Inputs[0] }), UnknownField, "nodes[0].inputs[0]: has a field"},
		{"unknown field in output", withUnknown(func(s *tacitv1.JobSpec) proto.Message { return s.Outputs[0] }), UnknownField, "outputs[0]: has a field"},
		{"nil node", specOf(nil), MissingOp, "nodes[0].op: absent"},
		{"no such op", specOf(node(22)), UnknownOp, "nodes[0].op: 22 is no operation"},
		{"negative op", specOf(node(-1)), UnknownOp, "nodes[0].op: -1 is no operation"},
		{"trivial without type", specOf(node(trivial, scalar("01"))), MissingType, "nodes[0].type: absent"},
		{"no such type", specOf(typed(1, not8(1))), UnknownType, "nodes[0].type: 1 is no type"},
		{"unknown strategy", &tacitv1.JobSpec{KeyId: testKey, Strategy: 9}, UnknownStrategy, "strategy: 9 is no strategy"},
		{"not of an address", specOf(node(not, stored(tacitv1.Type_TYPE_EADDRESS, 1))), TypeMismatch, "nodes[0].inputs[0]: eaddress, not wants ebool, euint8"},
		{"division by zero", specOf(node(tacitv1.Op_OP_DIV, stored(euint8, 1), scalar("00"))), DivisionByZero, "nodes[0].inputs[1]: div by a plaintext 0"},
		{"mul_div by a ciphertext", specOf(node(tacitv1.Op_OP_MUL_DIV, stored(euint8, 1), stored(euint8, 1), stored(euint8, 1))), ScalarRequired, "nodes[0].inputs[2]: a ciphertext"},
		{"mul_div by zero", specOf(node(tacitv1.Op_OP_MUL_DIV, stored(euint8, 1), stored(euint8, 1), scalar(""))), DivisionByZero, "nodes[0].inputs[2]"},
		{"shift by an address", specOf(node(tacitv1.Op_OP_SHL, stored(euint8, 1), stored(tacitv1.Type_TYPE_EADDRESS, 1))), TypeMismatch, "nodes[0].inputs[1]: eaddress, shl wants euint8"},
		{"cast without a type", specOf(node(tacitv1.Op_OP_CAST, stored(euint8, 1))), MissingType, "nodes[0].type: absent, cast needs it"},
		{"rand of an address", specOf(typed(tacitv1.Type_TYPE_EADDRESS, node(tacitv1.Op_OP_RAND, scalar("01")))), TypeMismatch, "nodes[0].inputs[0]: eaddress, rand wants"},
		{"rand of a ciphertext", specOf(typed(euint8, node(tacitv1.Op_OP_RAND, stored(euint8, 1)))), ScalarRequired, "nodes[0].inputs[0]"},
		{"bound no power of two", specOf(typed(euint8, node(tacitv1.Op_OP_RAND_BOUNDED, scalar("01"), scalar("06")))), ScalarRange, "nodes[0].inputs[1]: 0x06 is not a power of two"},
		{"bound too large", specOf(typed(euint8, node(tacitv1.Op_OP_RAND_BOUNDED, scalar("01"), scalar("0100")))), ScalarRange, "nodes[0].inputs[1]: 0x0100 does not fit euint8"},
		{"sum of nothing", specOf(node(tacitv1.Op_OP_SUM)), Arity, "nodes[0].inputs: 0 inputs, sum wants 1 to 100"},
		{"sum of a plaintext", specOf(node(tacitv1.Op_OP_SUM, stored(euint8, 1), scalar("01"))), ScalarNotAllowed, "nodes[0].inputs[1]"},
		{"is_in of a plaintext", specOf(node(tacitv1.Op_OP_IS_IN, scalar("01"), stored(euint8, 1))), ScalarNotAllowed, "nodes[0].inputs[0]"},
		{"both by zero", specOf(node(tacitv1.Op_OP_DIV_REM, stored(euint8, 1), scalar("00"))), DivisionByZero, "nodes[0].inputs[1]: div_rem by a plaintext 0"},
		{"second result of one", specOf(not8(1), node(not, second(0))), BadResultIndex, "nodes[1].inputs[0].result: result 1 of not, which has 1"},
		{"third result of two", storing(specOf(node(tacitv1.Op_OP_ADD_OVERFLOW, stored(euint8, 1), scalar("07"))), &tacitv1.Output{Node: zero, Result: 2}),
			BadResultIndex, "outputs[0].result: result 2 of add_overflow, which has 2"},
		{"result of a plaintext", specOf(node(add, stored(euint8, 1), &tacitv1.Input{Value: scalar("07").Value, Result: 1})), BadResultIndex, "nodes[0].inputs[1].result: 1, but the input is no node"},
		{"flag for a number", specOf(node(add, stored(euint8, 1), second(1)), node(tacitv1.Op_OP_SUB_OVERFLOW, stored(euint8, 1), scalar("07"))), TypeMismatch, "nodes[0].inputs[1]: ebool, want euint8"},
		{"second result with the name of the first", storing(specOf(named(node(tacitv1.Op_OP_DIV_REM, stored(euint8, 1), scalar("07")), testKey)), &tacitv1.Output{Node: zero, Result: 1, Handle: testKey}),
			DuplicateResult, "outputs[0].handle: " + hex.EncodeToString(testKey) + " already names nodes[0]"},
		{"no table", specOf(typed(euint8, node(tacitv1.Op_OP_LOOKUP, stored(euint8, 1)))), BadTable, "nodes[0].table: absent, lookup needs it"},
		{"table of a sum", specOf(tabled([]byte{1, 2}, node(add, stored(euint8, 1), scalar("07")))), BadTable, "nodes[0].table: add takes none"},
		{"look-up without a type", specOf(tabled([]byte{1, 2}, node(tacitv1.Op_OP_LOOKUP, stored(ebool, 1)))), MissingType, "nodes[0].type: absent, lookup needs it"},
		{"short table", specOf(tabled([]byte{1, 2, 3}, typed(euint16, node(tacitv1.Op_OP_LOOKUP, stored(ebool, 1))))), BadTable, "nodes[0].table: 3 bytes, want 2 values of 2"},
		{"table of bits", specOf(tabled([]byte{1, 2}, typed(ebool, node(tacitv1.Op_OP_LOOKUP, stored(ebool, 1))))), BadTable, "nodes[0].table: value 1 is 2, which does not fit ebool"},
		{"table of 128 bits", specOf(tabled(make([]byte, 32), typed(tacitv1.Type_TYPE_EUINT128, node(tacitv1.Op_OP_LOOKUP, stored(ebool, 1))))), BadTable, "nodes[0].table: a table has values of 64 bits"},
		{"look-up of 16 bits", specOf(tabled([]byte{1, 2}, typed(ebool, node(tacitv1.Op_OP_LOOKUP, stored(euint16, 1))))), TypeMismatch, "nodes[0].inputs[0]: euint16, lookup wants ebool, euint8"},
		{"strategy yet to be chosen", &tacitv1.JobSpec{KeyId: testKey, Strategy: tacitv1.Strategy_STRATEGY_AUTO}, UnknownStrategy, "strategy: auto, which is no strategy"},
		{"type is not the result", specOf(typed(euint8, node(ge, stored(euint8, 1), scalar("")))), TypeMismatch, "nodes[0].type: euint8, but the result is ebool"},
		{"operands differ", specOf(not8(1), node(add, stored(euint64, 1), computed(0))), TypeMismatch, "nodes[1].inputs[1]: euint8, want euint64"},
		{"control", specOf(node(sel, stored(euint8, 1), stored(euint8, 1), scalar(""))), TypeMismatch, "nodes[0].inputs[0]: euint8, want ebool"},
		{"branches", specOf(node(sel, stored(ebool, 1), stored(euint8, 1), stored(euint16, 1))), TypeMismatch, "nodes[0].inputs[2]: euint16, want euint8"},
		{"add of ebool", specOf(node(add, stored(ebool, 1), stored(ebool, 1))), TypeMismatch, "nodes[0].inputs[0]: ebool, add wants euint8"},
		{"too many", specOf(node(not, stored(euint8, 1), stored(euint8, 1))), Arity, "nodes[0].inputs: 2 inputs, not wants 1"},
		{"too few", specOf(node(sel)), Arity, "nodes[0].inputs: 0 inputs, select wants 3"},
		{"nil input", specOf(node(not, nil)), MissingInput, "nodes[0].inputs[0]: has no value"},
		{"short handle", specOf(node(not, &tacitv1.Input{Value: &tacitv1.Input_Handle{Handle: make([]byte, 31)}})), BadHandle, "nodes[0].inputs[0].handle: 31 bytes, want 32"},
		{"short result", specOf(named(not8(1), []byte{1})), BadHandle, "nodes[0].result: 1 bytes, want 32"},
		{"long output handle", storing(specOf(not8(1)), &tacitv1.Output{Node: zero, Handle: make([]byte, 33)}), BadHandle, "outputs[0].handle: 33 bytes"},
		{"unknown handle", specOf(not8(1), node(add, computed(0), stored(0xf0, 7))), UnknownHandle, "nodes[1].inputs[1]: no ciphertext has the handle f00707"},
		{"other key", specOf(node(not, stored(0xf1, 1))), KeyMismatch, "nodes[0].inputs[0]: a ciphertext of the key 6b6b"},
		{"node index", specOf(not8(1), node(not, computed(2))), BadNodeIndex, "nodes[1].inputs[0].node: node 2 of 2 nodes"},
		{"huge node index", specOf(node(not, computed(1<<32-1))), BadNodeIndex, "nodes[0].inputs[0].node: node 4294967295 of 1 nodes"},
		{"output index", storing(specOf(not8(1)), outputsOf(1)...), BadNodeIndex, "outputs[0].node: node 1 of 1 nodes"},
		{"no output index", storing(specOf(not8(1)), nil), BadNodeIndex, "outputs[0].node: absent"},
		{"self", specOf(node(not, computed(0))), Cycle, "nodes[0].inputs[0]: a cycle of 1: nodes[0] needs nodes[0]"},
		{"cycle", specOf(node(not, computed(2)), node(add, stored(euint8, 1), computed(2)), node(not, computed(1))), Cycle,
			"nodes[1].inputs[1]: a cycle of 2: nodes[1] needs nodes[2] needs nodes[1]"},
		{"cycle by name", specOf(named(node(not, &tacitv1.Input{Value: &tacitv1.Input_Handle{Handle: testKey}}), testKey)), Cycle, "nodes[0].inputs[0]: "},
		{"left scalar", specOf(node(add, scalar("01"), stored(euint8, 1))), ScalarNotAllowed, "nodes[0].inputs[0]: a plaintext, add wants a ciphertext"},
		{"scalar control", specOf(node(sel, scalar("01"), stored(euint8, 1), stored(euint8, 1))), ScalarNotAllowed, "nodes[0].inputs[0]: a plaintext, select"},
		{"scalar branches", specOf(node(sel, stored(ebool, 1), scalar("01"), scalar("01"))), ScalarNotAllowed, "nodes[0].inputs[2]: a plaintext, but one branch"},
		{"not of a scalar", specOf(node(not, scalar("01"))), ScalarNotAllowed, "nodes[0].inputs[0]: a plaintext, not"},
		{"trivial of a ciphertext", specOf(typed(euint8, node(trivial, stored(euint8, 1)))), ScalarRequired, "nodes[0].inputs[0]: a ciphertext"},
		{"scalar of 33 bytes", specOf(node(add, stored(euint8, 1), scalar(strings.Repeat("00", 33)))), ScalarRange, "nodes[0].inputs[1].scalar: 33 bytes long"},
		{"ebool 2", specOf(typed(ebool, node(trivial, scalar("02")))), ScalarRange, "nodes[0].inputs[0]: 0x02 does not fit ebool"},
		{"euint8 256", specOf(node(add, stored(euint8, 1), scalar("0100"))), ScalarRange, "nodes[0].inputs[1]: 0x0100 does not fit euint8"},
		{"euint16 65536", specOf(node(sel, stored(ebool, 1), scalar("010000"), stored(euint16, 1))), ScalarRange, "nodes[0].inputs[1]: 0x010000 does not fit euint16"},
		{"euint32 2^32", specOf(node(ge, stored(euint32, 1), scalar("0100000000"))), ScalarRange, "nodes[0].inputs[1]: 0x0100000000 does not fit euint32"},
		{"euint64 2^64", specOf(typed(euint64, node(trivial, scalar("010000000000000000")))), ScalarRange, "nodes[0].inputs[0]: 0x010000000000000000 does not fit euint64"},
		{"one name for two nodes", specOf(named(not8(1), testKey), named(not8(2), testKey)), DuplicateResult, "nodes[1].result: 6b6b6b"},
		{"one output twice", storing(specOf(not8(1)), outputsOf(0, 0)...), DuplicateResult, "outputs[1]: "},
		{"output stored over an input", storing(specOf(not8(1)), &tacitv1.Output{Node: zero, Handle: bytes32(2, 1)}), DuplicateResult, "outputs[0].handle: 0201"},
		{"output with the name of another node", storing(specOf(not8(1), named(not8(2), testKey)), &tacitv1.Output{Node: zero, Handle: testKey}), DuplicateResult,
			"outputs[0].handle: " + hex.EncodeToString(testKey) + " already names nodes[1]"},
		{"output with another name", storing(specOf(named(not8(1), testKey)), &tacitv1.Output{Node: zero, Handle: bytes32(1, 2)}), ResultMismatch, "outputs[0].handle: 0102"},
		{"long label", specOf(labelled(strings.Repeat("a", 129))), Limit, "nodes[0].label: 129 bytes long"},
		{"control character", specOf(labelled("a\nb")), BadLabel, "nodes[0].label: not printable"},
		{"broken UTF-8", specOf(labelled("\xff")), BadLabel, "nodes[0].label: not printable"},
	}
	covered := make(map[Reason]bool)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g, err := validate(tt.spec, small)
			var refused *Error
			if !errors.As(err, &refused) {
				t.Fatalf("got %v, %v, want %s", g, err, tt.reason)
			}
			if refused.Reason != tt.reason || !strings.HasPrefix(refused.Error(), tt.text) {
				t.Errorf("got %s %q\nwant %s %q", refused.Reason, refused, tt.reason, tt.text)
			}
		})
		covered[tt.reason] = true
	}
	for _, r := range []Reason{Limit, UnknownField, BadKeyID, NoOutput, MissingOp, UnknownOp, UnknownOp, MissingType, UnknownType,
		TypeMismatch, Arity, MissingInput, BadHandle, UnknownHandle, KeyMismatch, BadNodeIndex, Cycle, ScalarNotAllowed,
		ScalarRequired, ScalarRange, DuplicateResult, ResultMismatch, BadLabel, BadResultIndex, BadTable} {
		if !covered[r] {
			t.Errorf("no spec is refused for %s", r)
		}
	}
}

func TestLongCycleIsCutShort(t *testing.T) {
	const n = 1000
	spec := specOf()
	for i := range uint32(n) {
		spec.Nodes = append(spec.Nodes, node(not, computed((i+1)%n)))
	}
	_, err := validate(spec, DefaultLimits())
	const want = "nodes[0].inputs[0]: a cycle of 1000: nodes[0] needs nodes[1] needs nodes[2] needs nodes[3] needs nodes[4] " +
		"needs nodes[5] needs nodes[6] needs nodes[7] needs … needs nodes[0]"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestLimitsAreInclusive(t *testing.T) {
	spec := specOf(node(add, stored(euint64, 1), scalar("01")), node(add, computed(0), scalar("01")))
	spec.Outputs = outputsOf(0, 1)
	exact := Limits{MaxSpecSize: proto.Size(spec), MaxNodes: 2, MaxInputs: 4, MaxOutputs: 2, MaxBootstraps: 64, MaxDepth: 64}
	if _, err := validate(spec, exact); err != nil {
		t.Error(err)
	}
	for _, less := range []func(*Limits){
		func(l *Limits) { l.MaxSpecSize-- },
		func(l *Limits) { l.MaxNodes-- },
		func(l *Limits) { l.MaxInputs-- },
		func(l *Limits) { l.MaxOutputs-- },
		func(l *Limits) { l.MaxBootstraps-- },
		func(l *Limits) { l.MaxDepth-- },
	} {
		limits := exact
		less(&limits)
		var refused *Error
		if _, err := validate(spec, limits); !errors.As(err, &refused) || refused.Reason != Limit {
			t.Errorf("%+v: got %v", limits, err)
		}
	}
}

func TestScalarsWithinRange(t *testing.T) {
	for _, tt := range []struct {
		typ    tacitv1.Type
		digits string
		want   string
	}{
		{ebool, "", ""},
		{ebool, "01", "01"},
		{euint8, "ff", "ff"},
		{euint16, "ffff", "ffff"},
		{euint32, "00ffffffff", "ffffffff"},
		{euint64, "ffffffffffffffff", "ffffffffffffffff"},
		{euint64, strings.Repeat("00", 24) + "0123456789abcdef", "0123456789abcdef"},
		{tacitv1.Type_TYPE_EADDRESS, strings.Repeat("ab", 20), strings.Repeat("ab", 20)},
		{tacitv1.Type_TYPE_EUINT256, strings.Repeat("ff", 32), strings.Repeat("ff", 32)},
	} {
		g := mustValidate(t, specOf(typed(tt.typ, node(trivial, scalar(tt.digits)))))
		if got := fmt.Sprintf("%x", g.Node(0).Operands[0].Scalar); got != tt.want {
			t.Errorf("%s %s: got %s, want %s", TypeName(tt.typ), tt.digits, got, tt.want)
		}
	}
}

func TestErrorOnTheWire(t *testing.T) {
	for _, tt := range []struct {
		reason Reason
		code   codes.Code
	}{
		{TypeMismatch, codes.InvalidArgument},
		{UnknownHandle, codes.NotFound},
		{UnknownOp, codes.InvalidArgument},
	} {
		got := (&Error{Reason: tt.reason, Place: "nodes[1]", Message: "text"}).JobError()
		want := &tacitv1.JobError{Code: int32(tt.code), Reason: string(tt.reason), Place: "nodes[1]", Message: "text"}
		if !proto.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
}

func TestDefaultCost(t *testing.T) {
	widths := []tacitv1.Type{ebool, euint8, euint16, euint32, euint64}
	for _, tt := range []struct {
		op   tacitv1.Op
		want []Cost // for the widths
	}{
		{add, []Cost{{Bootstraps: 1, Depth: 1}, {Bootstraps: 4, Depth: 4}, {Bootstraps: 8, Depth: 8}, {Bootstraps: 16, Depth: 16}, {Bootstraps: 32, Depth: 32}}},
		{tacitv1.Op_OP_NEG, []Cost{{Bootstraps: 1, Depth: 1}, {Bootstraps: 4, Depth: 4}, {Bootstraps: 8, Depth: 8}, {Bootstraps: 16, Depth: 16}, {Bootstraps: 32, Depth: 32}}},
		{tacitv1.Op_OP_LT, []Cost{{Bootstraps: 1, Depth: 1}, {Bootstraps: 3, Depth: 2}, {Bootstraps: 7, Depth: 3}, {Bootstraps: 12, Depth: 3}, {Bootstraps: 25, Depth: 4}}},
		{tacitv1.Op_OP_EQ, []Cost{{Bootstraps: 1, Depth: 1}, {Bootstraps: 3, Depth: 2}, {Bootstraps: 5, Depth: 2}, {Bootstraps: 9, Depth: 2}, {Bootstraps: 18, Depth: 3}}},
		{tacitv1.Op_OP_XOR, []Cost{{Bootstraps: 1, Depth: 1}, {Bootstraps: 4, Depth: 1}, {Bootstraps: 8, Depth: 1}, {Bootstraps: 16, Depth: 1}, {Bootstraps: 32, Depth: 1}}},
		{sel, []Cost{{Bootstraps: 1, Depth: 1}, {Bootstraps: 4, Depth: 1}, {Bootstraps: 8, Depth: 1}, {Bootstraps: 16, Depth: 1}, {Bootstraps: 32, Depth: 1}}},
		{not, []Cost{{}, {}, {}, {}, {}}},
		{trivial, []Cost{{}, {}, {}, {}, {}}},
	} {
		for i, width := range widths {
			if got := defaultCost(Node{Op: tt.op, Operands: []Operand{{Type: width}}}); got != tt.want[i] {
				t.Errorf("%s of %s: got %+v, want %+v", OpName(tt.op), TypeName(width), got, tt.want[i])
			}
		}
	}
}

func TestParseHandle(t *testing.T) {
	digits := strings.Repeat("0aF1", 16)
	for _, s := range []string{digits, "0x" + digits, strings.ToUpper(digits)} {
		h, err := ParseHandle(s)
		if err != nil || h.String() != strings.ToLower(digits) {
			t.Errorf("%s: got %s, %v", s, h, err)
		}
	}
	for _, s := range []string{"", "0x", digits[1:], digits + "00", "0X" + digits, digits[:63] + "g", "0x0x" + digits[:60]} {
		if h, err := ParseHandle(s); err == nil {
			t.Errorf("%q: got %s, want an error", s, h)
		}
	}
}

func TestNamesOfOpsAndTypes(t *testing.T) {
	for n := range tacitv1.Op_name {
		if op, ok := ParseOp(OpName(tacitv1.Op(n))); !ok || op != tacitv1.Op(n) {
			t.Errorf("op %d does not come back", n)
		}
	}
	for n := range tacitv1.Type_name {
		if typ, ok := ParseType(TypeName(tacitv1.Type(n))); !ok || typ != tacitv1.Type(n) {
			t.Errorf("type %d does not come back", n)
		}
	}
	if _, ok := ParseOp(OpName(22)); ok {
		t.Error("op 22 has a name")
	}
	if _, ok := ParseType(TypeName(1)); ok {
		t.Error("type 1 has a name")
	}
}
