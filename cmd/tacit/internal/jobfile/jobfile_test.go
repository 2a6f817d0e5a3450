package jobfile

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/tacit-fhe/tacit/bench/fuzztest"
	"github.com/tacit-fhe/tacit/coprocessor/graph"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

const transfer = `# a transfer of amount from from to nowhere
input to = 0x` + "1111111111111111111111111111111111111111111111111111111111111111" + `
ok = ge(from, amount)
sent: euint64 = select(ok, amount, 0)
new_from = sub(from, sent)   # unknown(word)
new_to = add(to, sent)
output ok, new_from, new_to
`

func TestText(t *testing.T) {
	f, err := Parse([]byte(transfer))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"amount", "from"}; !slices.Equal(f.Names, want) {
		t.Errorf("names %q, want %q", f.Names, want)
	}
	from, amount := graph.Handle{1}, graph.Handle{2}
	spec, err := f.Spec(map[string]graph.Handle{"from": from, "amount": amount})
	if err != nil {
		t.Fatal(err)
	}
	if got := spec.Nodes[0].Inputs; graph.Handle(got[0].GetHandle()) != from || graph.Handle(got[1].GetHandle()) != amount {
		t.Errorf("bound to %x and %x", got[0].GetHandle(), got[1].GetHandle())
	}
	if got := OutputNames(spec); !slices.Equal(got, []string{"ok", "new_from", "new_to"}) {
		t.Errorf("outputs %q", got)
	}
	for _, c := range []struct {
		names       []string
		want, meant string
	}{
		{nil, "the job needs ciphertexts for from (line 3), amount (line 3)", ""},
		{[]string{"amount"}, "the job needs ciphertexts for from (line 3)", ""},
		{[]string{"x", "amount", "from", "a"}, "the job has no use for a, x", ""},
		{[]string{"amuont", "from"}, "the job needs ciphertexts for amount (line 3); the job has no use for amuont", "amount"},
	} {
		names := make(map[string]graph.Handle)
		for _, n := range c.names {
			names[n] = graph.Handle{}
		}
		_, err := f.Spec(names)
		var e *BindError
		if !errors.As(err, &e) || e.Error() != c.want || e.Meant != c.meant {
			t.Errorf("%q: got %v (%s), want %s (%s)", c.names, err, e.Meant, c.want, c.meant)
		}
	}
}

func TestLine(t *testing.T) {
	f, err := Parse([]byte(transfer))
	if err != nil {
		t.Fatal(err)
	}
	for place, want := range map[string]int{
		"nodes[0]": 3, "nodes[3].inputs[1]": 6, "nodes[4]": 0, "nodes[99999999999999999999]": 0, "outputs[0]": 0, "": 0,
	} {
		if got := f.Line(place); got != want {
			t.Errorf("%s: line %d, want %d", place, got, want)
		}
	}
	if f, err = Parse([]byte(`{"nodes": [{"op": "OP_NOT"}]}`)); err != nil || f.Line("nodes[0]") != 0 {
		t.Errorf("protojson has a line %d, %v", f.Line("nodes[0]"), err)
	}
}

// TestMisspelled: a result that is misspelled is not mistaken for an input in silence.
func TestMisspelled(t *testing.T) {
	f, err := Parse([]byte("total = add(a, b)\ntwice = add(totla, total)\noutput twice\n"))
	if err != nil {
		t.Fatal(err)
	}
	var e *BindError
	if err := f.Check([]string{"a", "b"}); !errors.As(err, &e) || e.Meant != "total" || e.Missing[0] != (graph.Name{Text: "totla", Line: 2, Column: 13}) {
		t.Errorf("%v, %+v", err, e)
	}
}

func TestSyntax(t *testing.T) {
	for text, want := range map[string]string{
		"a = add(b, c)\nb = add(a, a)\n": `1:9: "b" is not defined above, but in line 2`,
		"a = add(b, a)\n":                `1:12: "a" is not defined above, but in line 1`,
		"a = frobnicate(x)\n":            `1:5: "frobnicate" is no operation`,
		"a = sbu(x, y)\n":                `1:5: "sbu" is no operation, did you mean sub?`,
		"a: euint46 = cast(x)\n":         `1:4: "euint46" is no type, did you mean euint16?`,
		"strategy latecny\n":             `1:10: "latecny" is no strategy, did you mean latency?`,
		"\nstategy latency\n":            `2:1: "stategy" begins no statement, did you mean strategy?`,
		"outptu x\n":                     `1:1: "outptu" begins no statement, did you mean output?`,
		"x add(a)\n":                     `1:3: "add", want "="`,
		"a = add(as, x)\n":               `1:9: "as" is no name`,
		"a = add(x\n":                    "1:11:",
	} {
		_, err := Parse([]byte(text))
		var e *graph.SyntaxError
		if !errors.As(err, &e) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestJSON(t *testing.T) {
	f, err := Parse([]byte(`  {"nodes": [{"op": "OP_NOT", "inputs": [{"node": 1}], "label": "../evil"}], "outputs": [{"node": 0}, {"node": 7}]}`))
	if err != nil || len(f.Names) > 0 {
		t.Fatalf("%v, %v", f, err)
	}
	spec, err := f.Spec(nil)
	if err != nil || spec.Nodes[0].GetOp() != tacitv1.Op_OP_NOT {
		t.Fatalf("%v, %v", spec, err)
	}
	if got := OutputNames(spec); !slices.Equal(got, []string{"output-0", "output-1"}) {
		t.Errorf("outputs %q", got)
	}
	if _, err := f.Spec(map[string]graph.Handle{"a": {}}); !errors.As(err, new(*BindError)) {
		t.Errorf("a binding for a job without names: %v", err)
	}
	for _, text := range []string{`{`, `{"nodez": []}`, `{"nodes": [{"op": "OP_WHAT"}]}`} {
		if _, err := Parse([]byte(text)); !errors.As(err, new(*JSONError)) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestOutputNamesTwice(t *testing.T) {
	spec := &tacitv1.JobSpec{
		Nodes:   []*tacitv1.Node{{Label: "a"}},
		Outputs: []*tacitv1.Output{{Node: proto.Uint32(0)}, {Node: proto.Uint32(0)}, {Node: proto.Uint32(0), Result: 1}},
	}
	if got := OutputNames(spec); !slices.Equal(got, []string{"a", "output-1", "a.1"}) {
		t.Errorf("got %q", got)
	}
}

func TestParseBinding(t *testing.T) {
	h := strings.Repeat("ab", 32)
	handle, err := graph.ParseHandle(h)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]Binding{
		"a=" + h:      {Name: "a", Handle: handle},
		"a=0x" + h:    {Name: "a", Handle: handle},
		"a=in.ct":     {Name: "a", File: "in.ct"},
		"a=in.ct#3":   {Name: "a", File: "in.ct", Index: 3},
		"a=x#y.ct#12": {Name: "a", File: "x#y.ct", Index: 12},
		"a=b=c.ct":    {Name: "a", File: "b=c.ct"},
	} {
		if got, err := ParseBinding(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v, want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "a", "a=", "=b", "a=#1", "a=f#-1", "a=f#x", "a=f#"} {
		if got, err := ParseBinding(text); err == nil {
			t.Errorf("%q: %+v, want an error", text, got)
		}
	}
}

func FuzzParse(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 256 << 10, PerByte: 1000})
	f.Add([]byte(transfer))
	f.Add([]byte(`{"outputs": [{"node": 0}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Parse(data)
		if err != nil {
			return
		}
		names := make(map[string]graph.Handle)
		for _, n := range file.Names {
			names[n] = graph.Handle{1}
		}
		spec, err := file.Spec(names)
		if err != nil {
			t.Fatalf("%q with its names bound: %v", data, err)
		}
		if len(OutputNames(spec)) != len(spec.Outputs) {
			t.Error("a name is missing")
		}
	})
}

// FuzzParseBinding feeds the reader of what names are bound to.
func FuzzParseBinding(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 64 << 10, PerByte: 64})
	for _, text := range []string{"a=in.ct#3", "a=x#y.ct#12", "a=0x" + strings.Repeat("01", 32) + ":euint8", "a=f#-1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		b, err := ParseBinding(text)
		if err == nil && (b.Name == "" || b.Index < 0 || b.File == "" && b.Handle == graph.Handle{} && !strings.Contains(text, strings.Repeat("0", 64))) {
			t.Errorf("%q is %+v", text, b)
		}
	})
}
