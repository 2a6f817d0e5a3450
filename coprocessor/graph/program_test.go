package graph

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/tacit-fhe/tacit/bench/fuzztest"
	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

const feeText = `
param from: euint64
param to: euint64      # who gets it
param fee: plain euint64

limit = add(to, fee)
ok = ge(from, limit)
sent = select(ok, limit, 0)
new_from = sub(from, sent)
new_to = add(to, sent)
output ok, new_from, new_to
`

func program(t testing.TB, text string) *tacitv1.Program {
	t.Helper()
	p, err := ParseProgramText("fee", text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func oneEach(int, Node) (Cost, error) { return Cost{Bootstraps: 1, Depth: 1}, nil }

func TestProgram(t *testing.T) {
	ctx := context.Background()
	p := program(t, "param a: euint64\nparam b: euint8\nparam k: plain euint64\nx = add(a, k)\ny = mul(x, a)\nc: euint64 = cast(b)\nz = add(c, y)\noutput z, x")
	g, err := ValidateProgram(ctx, p, oneEach, DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	if g.Cost() != (Cost{Bootstraps: 4, Depth: 3}) || len(g.Inputs()) != 2 {
		t.Errorf("%+v, %d inputs", g.Cost(), len(g.Inputs()))
	}
	auto := proto.CloneOf(p)
	auto.Strategy = tacitv1.Strategy_STRATEGY_AUTO
	if _, err := ValidateProgram(ctx, auto, oneEach, DefaultLimits()); err != nil {
		t.Errorf("a program whose strategy is chosen at each call: %v", err)
	}
	a, b, out := Handle{1}, Handle{2}, Handle{3}
	call := &tacitv1.ProgramCall{KeyId: make([]byte, 32), Arguments: []*tacitv1.Argument{
		{Value: &tacitv1.Argument_Handle{Handle: a[:]}}, {Value: &tacitv1.Argument_Handle{Handle: b[:]}}, {Value: &tacitv1.Argument_Scalar{Scalar: []byte{7}}},
	}}
	spec, err := Call(p, call)
	if err != nil {
		t.Fatal(err)
	}
	want, err := ParseText("input a = "+a.String()+"\ninput b = "+b.String()+"\nx = add(a, 7)\ny = mul(x, a)\nc: euint64 = cast(b)\nz = add(c, y)\noutput z, x", nil)
	if err != nil {
		t.Fatal(err)
	}
	want.KeyId = make([]byte, 32)
	if !proto.Equal(spec, want) {
		t.Errorf("%v\nwant %v", spec, want)
	}
	call.Outputs = [][]byte{out[:], nil}
	if spec, err = Call(p, call); err != nil || string(spec.Outputs[0].Handle) != string(out[:]) || len(spec.Outputs[1].Handle) != 0 {
		t.Errorf("%v, %v", spec, err)
	}
	if spec.Nodes[0] == p.Nodes[0] || p.Nodes[0].Inputs[0].GetHandle() != nil {
		t.Error("a call changed the program")
	}
}

func TestProgramRefuses(t *testing.T) {
	ctx := context.Background()
	for name, c := range map[string]struct {
		change func(p *tacitv1.Program)
		reason Reason
		place  string
	}{
		"no name":        {func(p *tacitv1.Program) { p.Name = "" }, BadName, "name"},
		"bad name":       {func(p *tacitv1.Program) { p.Name = "a b" }, BadName, "name"},
		"parameter name": {func(p *tacitv1.Program) { p.Parameters[1].Name = "" }, BadName, "parameters[1].name"},
		"taken":          {func(p *tacitv1.Program) { p.Parameters[1].Name = "from" }, BadName, "parameters[1].name"},
		"no type":        {func(p *tacitv1.Program) { p.Parameters[0].Type = nil }, MissingType, "parameters[0].type"},
		"nil parameter":  {func(p *tacitv1.Program) { p.Parameters[0] = nil }, BadName, "parameters[0].name"},
		"unknown type":   {func(p *tacitv1.Program) { p.Parameters[0].Type = tacitv1.Type(99).Enum() }, UnknownType, "parameters[0].type"},
		"another type":   {func(p *tacitv1.Program) { p.Parameters[0].Type = tacitv1.Type_TYPE_EUINT8.Enum() }, TypeMismatch, ""},
		"plaintext type": {func(p *tacitv1.Program) { p.Parameters[2].Type = tacitv1.Type_TYPE_EUINT8.Enum() }, TypeMismatch, "nodes[0].inputs[1]"},
		"a handle": {func(p *tacitv1.Program) {
			p.Nodes[0].Inputs[0].Value = &tacitv1.Input_Handle{Handle: make([]byte, 32)}
		}, NotInProgram, "nodes[0].inputs[0].handle"},
		"a name":        {func(p *tacitv1.Program) { p.Nodes[0].Result = make([]byte, 32) }, NotInProgram, "nodes[0].result"},
		"output name":   {func(p *tacitv1.Program) { p.Outputs[0].Handle = make([]byte, 32) }, NotInProgram, "outputs[0].handle"},
		"no parameter":  {func(p *tacitv1.Program) { p.Nodes[0].Inputs[0].Value = &tacitv1.Input_Parameter{Parameter: 3} }, BadParameter, "nodes[0].inputs[0].parameter"},
		"no output":     {func(p *tacitv1.Program) { p.Outputs = nil }, NoOutput, "outputs"},
		"nil node":      {func(p *tacitv1.Program) { p.Nodes[0] = nil }, MissingOp, "nodes[0].op"},
		"scalar places": {func(p *tacitv1.Program) { p.Parameters[0].Plaintext = true }, ScalarNotAllowed, "nodes[1].inputs[0]"},
		"many":          {func(p *tacitv1.Program) { p.Parameters = make([]*tacitv1.Parameter, MaxParameters+1) }, Limit, "parameters"},
	} {
		p := program(t, feeText)
		c.change(p)
		_, err := ValidateProgram(ctx, p, oneEach, DefaultLimits())
		var e *Error
		if !errors.As(err, &e) || e.Reason != c.reason || c.place != "" && e.Place != c.place {
			t.Errorf("%s: %v, want %s at %s", name, err, c.reason, c.place)
		}
	}
	p := program(t, feeText)
	h, s := &tacitv1.Argument{Value: &tacitv1.Argument_Handle{Handle: make([]byte, 32)}}, &tacitv1.Argument{Value: &tacitv1.Argument_Scalar{}}
	for name, c := range map[string]struct {
		call   *tacitv1.ProgramCall
		reason Reason
	}{
		"too few":     {&tacitv1.ProgramCall{Arguments: []*tacitv1.Argument{h, h}}, ArgumentCount},
		"outputs":     {&tacitv1.ProgramCall{Arguments: []*tacitv1.Argument{h, h, s}, Outputs: [][]byte{nil}}, ArgumentCount},
		"scalar":      {&tacitv1.ProgramCall{Arguments: []*tacitv1.Argument{s, h, s}}, ArgumentMismatch},
		"ciphertext":  {&tacitv1.ProgramCall{Arguments: []*tacitv1.Argument{h, h, h}}, ArgumentMismatch},
		"nothing":     {&tacitv1.ProgramCall{Arguments: []*tacitv1.Argument{h, nil, s}}, MissingInput},
		"short":       {&tacitv1.ProgramCall{Arguments: []*tacitv1.Argument{h, {Value: &tacitv1.Argument_Handle{Handle: []byte{1}}}, s}}, BadHandle},
		"no argument": {nil, ArgumentCount},
	} {
		var e *Error
		if _, err := Call(p, orEmpty(c.call)); !errors.As(err, &e) || e.Reason != c.reason {
			t.Errorf("%s: %v, want %s", name, err, c.reason)
		}
	}
	for _, text := range []string{
		"param", "param a", "param a: x8", "param a: plain", "param key: ebool", "param a: ebool\nparam a: ebool", "param 1: ebool",
		"key 0x" + Handle{}.String() + "\n", "b = not(a)", "param a: ebool trailing",
	} {
		if p, err := ParseProgramText("p", text); !errors.As(err, new(*SyntaxError)) {
			t.Errorf("%q: %v, %v", text, p, err)
		}
	}
}

// FuzzProgram feeds the parser and the validation of programs.
func FuzzProgram(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 256 << 10, PerByte: 1000})
	f.Add([]byte(feeText), true)
	good, err := EncodeProgram(program(f, feeText))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good, false)
	limits := Limits{MaxSpecSize: 1 << 12, MaxNodes: 64, MaxInputs: 128, MaxOutputs: 16, MaxBootstraps: 1000, MaxDepth: 100}
	f.Fuzz(func(t *testing.T, data []byte, text bool) {
		p := new(tacitv1.Program)
		if text {
			var err error
			if p, err = ParseProgramText("fuzz", string(data)); err != nil {
				if !errors.As(err, new(*SyntaxError)) {
					t.Fatal(err)
				}
				return
			}
		} else if proto.Unmarshal(data, p) != nil {
			return
		}
		g, err := ValidateProgram(context.Background(), p, oneEach, limits)
		if err != nil {
			if !errors.As(err, new(*Error)) {
				t.Fatal(err)
			}
			return
		}
		if len(g.Outputs()) != len(p.Outputs) {
			t.Error("outputs are missing")
		}
	})
}

// FuzzCall feeds calls of a program, and the readers of the arguments of the command line.
func FuzzCall(tf *testing.F) {
	f := fuzztest.New(tf, fuzztest.Bound{Constant: 256 << 10, PerByte: 500})
	p := program(f, feeText)
	h := &tacitv1.Argument{Value: &tacitv1.Argument_Handle{Handle: bytes.Repeat([]byte{5}, 32)}}
	s := &tacitv1.Argument{Value: &tacitv1.Argument_Scalar{Scalar: []byte{1}}}
	for _, call := range []*tacitv1.ProgramCall{{Arguments: []*tacitv1.Argument{h, h, s}}, {KeyId: make([]byte, 32), Arguments: []*tacitv1.Argument{s}, Outputs: [][]byte{{1}}}} {
		data, err := proto.Marshal(call)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte("0xff"))
	f.Add([]byte("0x" + Handle{1}.String()))
	f.Fuzz(func(t *testing.T, data []byte) {
		if h, err := ParseHandle(string(data)); err == nil && !strings.EqualFold(h.String(), strings.TrimPrefix(string(data), "0x")) {
			t.Errorf("%q is the handle %v", data, h)
		}
		ParseScalar(string(data))
		call := new(tacitv1.ProgramCall)
		if proto.Unmarshal(data, call) != nil {
			return
		}
		spec, err := Call(p, call)
		if err != nil {
			if !errors.As(err, new(*Error)) {
				t.Fatal(err)
			}
			return
		}
		if _, err := validate(spec, DefaultLimits()); err != nil && !errors.As(err, new(*Error)) {
			t.Fatal(err)
		}
	})
}
