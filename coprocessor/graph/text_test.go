package graph

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

func TestParseText(t *testing.T) {
	h := Handle(bytes32(5, 1))
	digits := h.String()
	got, err := ParseText("\n  key "+digits+"\r\n"+
		"input a=0x"+digits+"# a comment, é\n"+
		"\tb : euint64 = add ( a , 0x0100 ) as "+digits+"\n"+
		"_c = select(b, 00, 258:euint64)\n"+
		"# another\n"+
		"d = max(given)\n"+
		"e = rand()\n"+
		"output b as 0x"+digits+" , _c", map[string]Handle{"given": h})
	if err != nil {
		t.Fatal(err)
	}
	b := typed(euint64, node(add, stored(euint64, 1), scalar("0100")))
	b.Label, b.Result = "b", h[:]
	c := typed(euint64, node(sel, computed(0), scalar(""), scalar("0102")))
	d := node(tacitv1.Op_OP_MAX, stored(euint64, 1))
	d.Label = "d"
	e := node(tacitv1.Op_OP_RAND)
	e.Label = "e"
	want := &tacitv1.JobSpec{KeyId: h[:], Nodes: []*tacitv1.Node{b, c, d, e}, Outputs: outputsOf(0, 1)}
	want.Outputs[0].Handle = h[:]
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestParseTextRefuses(t *testing.T) {
	digits := strings.Repeat("5a", 32)
	long := strings.Repeat("n", 65)
	defined := "input a = 0x" + digits + "\nb = not(a)\n"
	for _, tt := range []struct{ src, want string }{
		{"?", `1:1: "?", want a name`},
		{"\n\n  =", `3:3: "=", want a name`},
		{"7 = not(a)", `1:1: "7", want a name`},
		{"as = not(a)", `1:1: "as" is no name`},
		{long + " = not(a)", `1:1: "` + long[:64] + `"… is no name: it is reserved or longer than 64`},
		{"c", `1:2: the line ends, want "="`},
		{"c = ", `1:5: the line ends, want an operation`},
		{"c = 5", `1:5: "5", want an operation`},
		{"c = nota(b)", `1:5: "nota" is no operation`},
		{"c = not b", `1:9: "b", want "("`},
		{"c = not(b)", `1:9: "b" is not defined above`},
		{defined + "c = not(c)", `3:9: "c" is not defined above`},
		{defined + "c = not(a", `3:10: the line ends, want ")"`},
		{defined + "c = not(a # )", `3:11: the line ends, want ")"`},
		{defined + "c = not(,)", `3:9: ",", want a name or a plaintext`},
		{defined + "c = not(a,)", `3:11: ")", want a name or a plaintext`},
		{defined + "c = not(a a)", `3:11: "a", want ")"`},
		{defined + "c = not(a) b", `3:12: "b", want the end of the line`},
		{defined + "c = add(a, 5:euint)", `3:14: "euint" is no type`},
		{defined + "c = add(a, 5:5)", `3:14: "5", want a type`},
		{defined + "c: euint8 = add(a, 5:euint16)", `3:22: euint16, but the result is already euint8`},
		{defined + "c = ge(a, 5:euint16)", `3:12: the plaintext of ge takes the type of the other operand`},
		{defined + "c: = add(a, 5)", `3:4: "=", want a type`},
		{defined + "c = add(a, 5f)", `3:12: "5f" is no number`},
		{defined + "c = add(a, 0x)", `3:12: "0x" is no number`},
		{defined + "c = add(a, 1_0)", `3:12: "1_0" is no number`},
		{defined + "c = add(a, 0b1)", `3:12: "0b1" is no number`},
		{defined + "c = add(a, -1)", `3:12: "-", want a name or a plaintext`},
		{defined + "c = add(a, 0x1" + digits + ")", `3:12: a plaintext longer than 256 bits`},
		{defined + "c = add(a, " + strings.Repeat("9", 78) + ")", `3:12: a plaintext longer than 256 bits`},
		{defined + "c = add(a, " + strings.Repeat("9", 79) + ")", `3:12: a plaintext longer than 256 bits`},
		{defined + "c = not(a) as", `3:14: the line ends, want 64 hexadecimal digits`},
		{defined + "c = not(a) as 0x5a", `3:15: "0x5a", want 64 hexadecimal digits`},
		{defined + "b = not(a)", `3:1: b is already defined in line 2`},
		{defined + "input b = 0x" + digits, `3:7: b is already defined in line 2`},
		{defined + "input outside = 0x" + digits, `3:7: outside is already bound from outside`},
		{defined + "outside = not(b)", `3:1: outside is already bound from outside`},
		{defined + "input c", `3:8: the line ends, want "="`},
		{defined + "input c = b", `3:11: "b", want 64 hexadecimal digits`},
		{defined + "output", `3:7: the line ends, want a name`},
		{defined + "output a", `3:8: "a" is no result of a statement above`},
		{defined + "output outside", `3:8: "outside" is no result of a statement above`},
		{defined + "output b,", `3:10: the line ends, want a name`},
		{defined + "output b c", `3:10: "c", want the end of the line`},
		{defined + "output b as c", `3:13: "c", want 64 hexadecimal digits`},
		{defined + "c = not(b.2)", `3:11: "2", but no operation has more than two results`},
		{defined + "c = not(b.x)", `3:11: "x", want the index of a result`},
		{defined + "c = not(a.1)", `3:10: ".", want ")"`},
		{defined + "c = not(b, [1])", `3:12: not takes no table here`},
		{defined + "c = lookup(b, [1])", `3:15: a table needs the type of the result before it`},
		{defined + "c: euint256 = lookup(b, [1])", `3:25: a table needs the type of the result before it, of 64 bits`},
		{defined + "c: euint8 = lookup(b, [1, 256])", `3:27: "256" does not fit euint8`},
		{defined + "c: euint8 = lookup(b, [1, ])", `3:27: "]", want a value of the table`},
		{defined + "c: euint8 = lookup(b, [1 2])", `3:26: "2", want ","`},
		{defined + "c: euint8 = lookup(b, [1], [2])", `3:28: lookup takes no table here`},
		{defined + "c: euint8 = lookup(b, [" + strings.Repeat("0,", 256) + "0])", `3:536: a table has 256 values at most`},
		{"key", `1:4: the line ends, want 64 hexadecimal digits`},
		{"key " + digits + "\nkey " + digits, `2:1: the key is already given in line 1`},
		{strings.Repeat("#", MaxTextSize+1), `1:1: 4194305 bytes long`},
	} {
		spec, err := ParseText(tt.src, map[string]Handle{"outside": {}})
		var syntax *SyntaxError
		if !errors.As(err, &syntax) || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%.200q:\ngot  %v, %v\nwant %s", tt.src, spec, err, tt.want)
		}
	}
}

func TestTextRoundTrip(t *testing.T) {
	for _, name := range []string{"transfer.job", "every_op.job", "every_vector_op.job"} {
		_, spec := readJob(t, name)
		checkRoundTrip(t, spec)
	}
}

// checkRoundTrip formats a spec that came from text, and reads it again.
func checkRoundTrip(t *testing.T, spec *tacitv1.JobSpec) {
	t.Helper()
	text, err := FormatText(spec)
	if err != nil {
		t.Fatalf("%v\n%v", err, spec)
	}
	again, err := ParseText(text, nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if !proto.Equal(spec, again) {
		t.Fatalf("-want +got:\n%s\n%s", cmp.Diff(spec, again, protocmp.Transform()), text)
	}
}

func TestFormatTextRefuses(t *testing.T) {
	one := func(change func(*tacitv1.Node)) *tacitv1.JobSpec {
		n := node(not, stored(euint8, 1))
		change(n)
		return specOf(node(not, stored(euint8, 1)), n)
	}
	label := func(label string) *tacitv1.JobSpec {
		return one(func(n *tacitv1.Node) { n.Label = label })
	}
	twins := label("twin")
	twins.Nodes[0].Label = "twin"
	missing := specOf()
	noNode := specOf(node(not, stored(euint8, 1)))
	noNode.Outputs[0].Node = nil
	badOutput := specOf(node(not, stored(euint8, 1)))
	badOutput.Outputs[0].Handle = []byte{1}
	thirdOutput := specOf(node(not, stored(euint8, 1)))
	thirdOutput.Outputs[0].Result = 2
	for _, tt := range []struct {
		spec *tacitv1.JobSpec
		want string
	}{
		{&tacitv1.JobSpec{KeyId: []byte{1}}, "key_id: 1 bytes, want 32"},
		{one(func(n *tacitv1.Node) { n.Op = nil }), "nodes[1].op: absent"},
		{one(func(n *tacitv1.Node) { *n.Op = 22 }), "nodes[1].op: 22 is no operation"},
		{one(func(n *tacitv1.Node) { n.Type = tacitv1.Type(1).Enum() }), "nodes[1].type: 1 is no type"},
		{one(func(n *tacitv1.Node) { n.Result = []byte{1} }), "nodes[1].result: 1 bytes, want 32"},
		{one(func(n *tacitv1.Node) { n.Inputs[0] = nil }), "nodes[1].inputs[0]: has no value"},
		{one(func(n *tacitv1.Node) { n.Inputs[0] = computed(1) }), "nodes[1].inputs[0].node: node 1 is not above"},
		{one(func(n *tacitv1.Node) { n.Inputs[0] = scalar(strings.Repeat("00", 33)) }), "nodes[1].inputs[0].scalar: 33 bytes long"},
		{one(func(n *tacitv1.Node) { n.Inputs[0].GetValue().(*tacitv1.Input_Handle).Handle = nil }), "nodes[1].inputs[0].handle: 0 bytes"},
		{one(func(n *tacitv1.Node) { n.Table = []byte{1} }), "nodes[1].table: 1 bytes, not values"},
		{one(func(n *tacitv1.Node) { n.Inputs[0].Result = 1 }), "nodes[1].inputs[0].result: 1 is no second result"},
		{one(func(n *tacitv1.Node) { n.Inputs[0] = computed(0); n.Inputs[0].Result = 2 }), "nodes[1].inputs[0].result: 2 is no second result"},
		{thirdOutput, "outputs[0].result: 2 is no second result"},
		{label("two words"), `nodes[1].label: "two words" is no name`},
		{label("output"), `nodes[1].label: "output" is no name`},
		{label("_n0"), `nodes[1].label: "_n0" is no name`},
		{twins, "nodes[1].label: nodes[0] has the same label"},
		{missing, "outputs[0].node: absent, or no node"},
		{noNode, "outputs[0].node: absent, or no node"},
		{badOutput, "outputs[0].handle: 1 bytes"},
	} {
		text, err := FormatText(tt.spec)
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("got %q, %v, want %s", text, err, tt.want)
		}
	}
}

func ExampleParseText() {
	names := map[string]Handle{"from": {5}, "to": {5, 1}, "amount": {5, 2}}
	spec, err := ParseText(`
ok = ge(from, amount)
moved = select(ok, amount, 0)
new_from = sub(from, moved)
new_to = add(to, moved)
output new_from, new_to
`, names)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, n := range spec.Nodes {
		fmt.Println(n.Label, OpName(n.GetOp()), len(n.Inputs))
	}
	// Output:
	// ok ge 2
	// moved select 3
	// new_from sub 2
	// new_to add 2
}
