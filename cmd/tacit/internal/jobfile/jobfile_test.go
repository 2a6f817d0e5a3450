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
		names []string
		want  BindError
	}{
		{nil, BindError{Missing: []string{"amount", "from"}}},
		{[]string{"amount"}, BindError{Missing: []string{"from"}}},
		{[]string{"x", "amount", "from", "a"}, BindError{Unused: []string{"a", "x"}}},
	} {
		names := make(map[string]graph.Handle)
		for _, n := range c.names {
			names[n] = graph.Handle{}
		}
		_, err := f.Spec(names)
		var e *BindError
		if !errors.As(err, &e) || e.Error() != c.want.Error() {
			t.Errorf("%q: got %v, want %v", c.names, err, &c.want)
		}
	}
}

func TestSyntax(t *testing.T) {
	for text, want := range map[string]string{
		"a = add(b, c)\nb = add(a, a)\n": "1:9:", // used above its definition
		"a = frobnicate(x)\n":            "frobnicate",
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
