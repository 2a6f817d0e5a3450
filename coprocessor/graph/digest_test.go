package graph

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// encode writes one number or one byte string of the canonical encoding, a second time.
func encode[T int | string | []byte](v T) []byte {
	number := func(n int) []byte { return []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)} }
	switch v := any(v).(type) {
	case int:
		return number(v)
	case string:
		return append(number(len(v)), v...)
	case []byte:
		return append(number(len(v)), v...)
	}
	panic("unreachable")
}

func TestSpecDigestIsTheEncodingThatIsDocumented(t *testing.T) {
	first := typed(euint8, node(add, stored(euint8, 1), scalar("0007")))
	first.Label = "sum"
	other := node(not, computed(0), nil)
	other.Result = testKey
	spec := specOf(first, other)
	looked := tabled([]byte{5, 6}, node(tacitv1.Op_OP_LOOKUP, second(1)))
	spec.Nodes = append(spec.Nodes, looked)
	spec.Outputs = append(spec.Outputs, &tacitv1.Output{Handle: []byte{1}, Result: 1})
	want := slices.Concat(
		encode("tacit/v1/job-spec"), encode(testKey),
		encode(3),
		encode(1), encode(0), encode(1), encode(2), encode(2), encode(1), encode(bytes32(2, 1)), encode(3), encode("\x07"), encode(""), encode("sum"),
		encode(1), encode(21), encode(0), encode(2), encode(2), encode(0), encode(0), encode(testKey), encode(""),
		encode(2), encode("\x05\x06"), encode(1), encode(132), encode(0), encode(1), encode(4), encode(1), encode(2), encode(1), encode(""), encode(""),
		encode(2),
		encode(1), encode(0), encode(""),
		encode(2), encode(1), encode(0), encode("\x01"),
	)
	if got := SpecDigest(spec); got != sha256.Sum256(want) {
		t.Errorf("got %x, want that of %x", got, want)
	}
}

// TestKnownDigests fails when a digest changes that clients may have kept.
func TestKnownDigests(t *testing.T) {
	_, spec := readJob(t, "transfer.job")
	g := mustValidate(t, spec)
	digest := g.Digest()
	for _, tt := range []struct{ what, got, want string }{
		{"spec", hex.EncodeToString(digest[:]), "aa95904ca70c33b443e71fe19bb2efeb3739f7ffb243a7cd5d6e8669bc395478"},
		{"new_from", g.Outputs()[0].Handle.String(), "557084764d5c003cc94fa4f326c0f14777454ee3cfaaad009070e697576d8422"},
		{"new_to", g.Outputs()[1].Handle.String(), "ed755265b3a25bfd8868f688508322e869bceb2b5a594414bbefc4fc77c56c3d"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.what, tt.got, tt.want)
		}
	}
}

func TestSpecDigestCoversEveryField(t *testing.T) {
	_, spec := readJob(t, "every_op.job")
	seen := map[[32]byte]string{SpecDigest(spec): "the spec itself"}
	op, typ := tacitv1.Op_OP_MAX, tacitv1.Type_TYPE_EUINT256
	for name, change := range map[string]func(*tacitv1.JobSpec){
		"key":             func(s *tacitv1.JobSpec) { s.KeyId[3]++ },
		"no key":          func(s *tacitv1.JobSpec) { s.KeyId = nil },
		"op":              func(s *tacitv1.JobSpec) { s.Nodes[0].Op = &op },
		"no op":           func(s *tacitv1.JobSpec) { s.Nodes[0].Op = nil },
		"type":            func(s *tacitv1.JobSpec) { s.Nodes[0].Type = &typ },
		"type 0":          func(s *tacitv1.JobSpec) { s.Nodes[0].Type = new(tacitv1.Type) },
		"label":           func(s *tacitv1.JobSpec) { s.Nodes[0].Label += "x" },
		"result":          func(s *tacitv1.JobSpec) { s.Nodes[0].Result = testKey },
		"handle":          func(s *tacitv1.JobSpec) { s.Nodes[0].Inputs[0].GetHandle()[9]++ },
		"scalar":          func(s *tacitv1.JobSpec) { s.Nodes[0].Inputs[1] = scalar("fe") },
		"node for scalar": func(s *tacitv1.JobSpec) { s.Nodes[0].Inputs[1] = computed(0xff) },
		"node":            func(s *tacitv1.JobSpec) { s.Nodes[0].Inputs[1] = computed(0xfe) },
		"no input":        func(s *tacitv1.JobSpec) { s.Nodes[0].Inputs[1] = nil },
		"fewer inputs":    func(s *tacitv1.JobSpec) { s.Nodes[0].Inputs = s.Nodes[0].Inputs[:1] },
		"fewer nodes":     func(s *tacitv1.JobSpec) { s.Nodes = s.Nodes[1:] },
		"order":           func(s *tacitv1.JobSpec) { s.Nodes[0], s.Nodes[1] = s.Nodes[1], s.Nodes[0] },
		"output":          func(s *tacitv1.JobSpec) { *s.Outputs[0].Node++ },
		"no output":       func(s *tacitv1.JobSpec) { s.Outputs[0].Node = nil },
		"output handle":   func(s *tacitv1.JobSpec) { s.Outputs[0].Handle = testKey },
		"result of node":  func(s *tacitv1.JobSpec) { s.Nodes[0].Inputs[0].Result = 1 },
		"result of none":  func(s *tacitv1.JobSpec) { s.Nodes[0].Inputs[1] = &tacitv1.Input{Result: 1} },
		"table":           func(s *tacitv1.JobSpec) { s.Nodes[0].Table = []byte{0} },
		"longer table":    func(s *tacitv1.JobSpec) { s.Nodes[0].Table = []byte{0, 0} },
		"strategy":        func(s *tacitv1.JobSpec) { s.Strategy = tacitv1.Strategy_STRATEGY_LATENCY },
		"no strategy yet": func(s *tacitv1.JobSpec) { s.Strategy = tacitv1.Strategy_STRATEGY_AUTO },
		"output result":   func(s *tacitv1.JobSpec) { s.Outputs[0].Result = 1 },
		"fewer outputs":   func(s *tacitv1.JobSpec) { s.Outputs = s.Outputs[1:] },
	} {
		other := proto.CloneOf(spec)
		change(other)
		d := SpecDigest(other)
		if same, ok := seen[d]; ok {
			t.Errorf("%s has the digest of %s", name, same)
		}
		seen[d] = name
	}
}

func TestSpecDigestOfTheSameSpec(t *testing.T) {
	if SpecDigest(nil) != SpecDigest(&tacitv1.JobSpec{}) {
		t.Error("no spec and an empty one differ")
	}
	if SpecDigest(specOf(nil)) != SpecDigest(specOf(&tacitv1.Node{})) {
		t.Error("no node and an empty one differ")
	}
	if SpecDigest(specOf(node(not, scalar("000001")))) != SpecDigest(specOf(node(not, scalar("01")))) {
		t.Error("leading zeros of a plaintext count")
	}
}

func TestDerivedHandles(t *testing.T) {
	handle := func(spec *tacitv1.JobSpec) Handle { return mustValidate(t, spec).Outputs()[0].Handle }
	sum := func() *tacitv1.Node { return node(add, stored(euint8, 1), scalar("07")) }
	base := handle(specOf(sum()))

	// The same expression, said otherwise.
	labelled := sum()
	labelled.Label = "sum"
	for name, spec := range map[string]*tacitv1.JobSpec{
		"label":            specOf(labelled),
		"declared type":    specOf(typed(euint8, sum())),
		"leading zeros":    specOf(node(add, stored(euint8, 1), scalar("000007"))),
		"among other jobs": specOf(sum(), node(not, computed(0))),
	} {
		if handle(spec) != base {
			t.Errorf("%s changes the handle", name)
		}
	}

	// Other expressions.
	otherKey := bytes32(1, 1)
	seen := map[Handle]string{base: "the base"}
	remainder := specOf(node(tacitv1.Op_OP_DIV_REM, stored(euint8, 1), scalar("07")))
	remainder.Outputs[0].Result = 1
	for name, spec := range map[string]*tacitv1.JobSpec{
		"op":               specOf(node(tacitv1.Op_OP_SUB, stored(euint8, 1), scalar("07"))),
		"input":            specOf(node(add, stored(euint8, 2), scalar("07"))),
		"type":             specOf(node(add, stored(euint16, 1), scalar("07"))),
		"scalar":           specOf(node(add, stored(euint8, 1), scalar("08"))),
		"swapped branches": specOf(node(sel, stored(ebool, 1), scalar("07"), stored(euint8, 1))),
		"branches":         specOf(node(sel, stored(ebool, 1), stored(euint8, 1), scalar("07"))),
		"trivial euint8":   specOf(typed(euint8, node(trivial, scalar("07")))),
		"trivial euint16":  specOf(typed(euint16, node(trivial, scalar("07")))),
		"deeper":           specOf(node(not, computed(1)), sum()),
		"deeper still":     specOf(node(not, computed(1)), node(not, computed(2)), sum()),
		"bits":             specOf(tabled([]byte{0, 1}, typed(euint8, node(tacitv1.Op_OP_LOOKUP, stored(ebool, 1))))),
		"another table":    specOf(tabled([]byte{0, 2}, typed(euint8, node(tacitv1.Op_OP_LOOKUP, stored(ebool, 1))))),
		"quotient":         specOf(node(tacitv1.Op_OP_DIV_REM, stored(euint8, 1), scalar("07"))),
		"of the quotient":  specOf(node(not, computed(1)), node(tacitv1.Op_OP_DIV_REM, stored(euint8, 1), scalar("07"))),
		"of the remainder": specOf(node(not, second(1)), node(tacitv1.Op_OP_DIV_REM, stored(euint8, 1), scalar("07"))),
		"remainder":        remainder,
		"compared euint8":  specOf(node(ge, stored(euint8, 1), scalar("07"))),
	} {
		h := handle(spec)
		if same, ok := seen[h]; ok {
			t.Errorf("%s has the handle of %s", name, same)
		}
		seen[h] = name
	}
	g, err := Validate(t.Context(), &tacitv1.JobSpec{KeyId: otherKey, Nodes: []*tacitv1.Node{typed(euint8, node(trivial, scalar("07")))}, Outputs: outputsOf(0)},
		resolveByFirstByte, DefaultCost, DefaultLimits())
	if err != nil || seen[g.Outputs()[0].Handle] != "" {
		t.Errorf("another key gives the same handle, %v", err)
	}

	// A node that depends on another is named after the expression, not after the name that the client gave.
	first := sum()
	first.Result = testKey
	named := mustValidate(t, specOf(node(not, computed(1)), first)).Outputs()[0].Handle
	if named != handle(specOf(node(not, computed(1)), sum())) {
		t.Error("the name of an operand changes the handle")
	}
}
