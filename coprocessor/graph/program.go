package graph

import (
	"context"
	"crypto/sha256"
	"fmt"
	"regexp"
	"strings"

	"google.golang.org/protobuf/proto"

	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// Reasons of programs and their calls.
const (
	BadName          Reason = "BAD_NAME"          // not the name of a program or of a parameter, or taken
	NotInProgram     Reason = "NOT_IN_PROGRAM"    // a handle or a name where only parameters may be
	BadParameter     Reason = "BAD_PARAMETER"     // absent, or no parameter of the program
	ArgumentCount    Reason = "ARGUMENT_COUNT"    // not one argument for each parameter, or not one name for each output
	ArgumentMismatch Reason = "ARGUMENT_MISMATCH" // a plaintext for a ciphertext, or the other way round
)

// MaxParameters bounds the parameters of a program.
const MaxParameters = 1024

var (
	programName   = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
	parameterName = regexp.MustCompile(`^[A-Za-z0-9_]{1,64}$`)
)

// EncodeProgram returns the canonical encoding of a program, whose SHA-256 is its digest: its fields in the order of their
// numbers, as protobuf encodes them.
func EncodeProgram(p *tacitv1.Program) ([]byte, error) {
	return proto.MarshalOptions{Deterministic: true}.Marshal(p)
}

// ProgramDigest returns the SHA-256 of the canonical encoding.
func ProgramDigest(p *tacitv1.Program) ([32]byte, error) {
	data, err := EncodeProgram(p)
	return sha256.Sum256(data), err
}

// placeholder is the handle that stands for parameter i when a program is checked.
func placeholder(i int) Handle { return sha256.Sum256(fmt.Appendf(nil, "tacit parameter %d", i)) }

// ValidateProgram checks a program and returns the graph of a call of it with other ciphertexts and with plaintexts of 1.
// What it accepts is refused at a call only for its arguments. The error is an *Error.
func ValidateProgram(ctx context.Context, p *tacitv1.Program, cost CostFunc, limits Limits) (*Graph, error) {
	p = orEmpty(p)
	if err := checkProgram(p, limits); err != nil {
		return nil, err
	}
	types := make(map[Handle]tacitv1.Type)
	call := &tacitv1.ProgramCall{KeyId: make([]byte, 32)}
	for i, param := range p.Parameters {
		a := new(tacitv1.Argument)
		if param.Plaintext {
			a.Value = &tacitv1.Argument_Scalar{Scalar: []byte{1}}
		} else {
			h := placeholder(i)
			types[h] = param.GetType()
			a.Value = &tacitv1.Argument_Handle{Handle: h[:]}
		}
		call.Arguments = append(call.Arguments, a)
	}
	spec, err := Call(p, call)
	if err != nil {
		return nil, err
	}
	if spec.Strategy == tacitv1.Strategy_STRATEGY_AUTO { // that of a call is chosen when it is submitted
		spec.Strategy = tacitv1.Strategy_STRATEGY_THROUGHPUT
	}
	g, err := Validate(ctx, spec, func(_ context.Context, h Handle) (Ciphertext, error) { return Ciphertext{Type: types[h]}, nil }, cost, limits)
	if err != nil {
		return nil, err
	}
	for i, n := range p.Nodes {
		for j, in := range n.GetInputs() {
			param, ok := in.GetValue().(*tacitv1.Input_Parameter)
			if !ok {
				continue
			}
			if want, got := g.nodes[i].Operands[j].Type, p.Parameters[param.Parameter].GetType(); got != want {
				return nil, refuse(TypeMismatch, inputPlace(i, j), "a parameter of type %s, want %s", TypeName(got), TypeName(want))
			}
		}
	}
	return g, nil
}

// checkProgram checks what is special about a program.
func checkProgram(p *tacitv1.Program, limits Limits) error {
	if n := proto.Size(p); n > limits.MaxSpecSize {
		return refuse(Limit, "", "the program is %d bytes long, at most %d are allowed", n, limits.MaxSpecSize)
	}
	if err := checkKnown("", p); err != nil {
		return err
	}
	if !programName.MatchString(p.Name) {
		return refuse(BadName, "name", "not 1 to 64 letters, digits, '-', '_' or '.'")
	}
	if n := len(p.Parameters); n > MaxParameters {
		return refuse(Limit, "parameters", "%d parameters, at most %d are allowed", n, MaxParameters)
	}
	taken := make(map[string]bool)
	for i, param := range p.Parameters {
		place := fmt.Sprintf("parameters[%d]", i)
		param = orEmpty(param)
		if err := checkKnown(place, param); err != nil {
			return err
		}
		switch {
		case !parameterName.MatchString(param.Name):
			return refuse(BadName, field(place, "name"), "not 1 to 64 letters, digits or '_'")
		case taken[param.Name]:
			return refuse(BadName, field(place, "name"), "another parameter is named %s", param.Name)
		case param.Type == nil:
			return refuse(MissingType, field(place, "type"), "absent")
		}
		taken[param.Name] = true
		if err := checkType(field(place, "type"), *param.Type); err != nil {
			return err
		}
	}
	for i, n := range p.Nodes {
		if len(n.GetResult()) > 0 {
			return refuse(NotInProgram, field(nodePlace(i), "result"), "nodes of programs have no names")
		}
		for j, in := range n.GetInputs() {
			switch v := in.GetValue().(type) {
			case *tacitv1.Input_Handle:
				return refuse(NotInProgram, field(inputPlace(i, j), "handle"), "a program reads parameters, not stored ciphertexts")
			case *tacitv1.Input_Parameter:
				if uint64(v.Parameter) >= uint64(len(p.Parameters)) {
					return refuse(BadParameter, field(inputPlace(i, j), "parameter"), "parameter %d of %d parameters", v.Parameter, len(p.Parameters))
				}
				if in.Result != 0 {
					return refuse(BadParameter, field(inputPlace(i, j), "result"), "a parameter has one value")
				}
			}
		}
	}
	for i, o := range p.Outputs {
		if len(o.GetHandle()) > 0 {
			return refuse(NotInProgram, field(outputPlace(i), "handle"), "outputs of programs have no names")
		}
	}
	return nil
}

// Call returns the spec that a program, which ValidateProgram has accepted, and arguments make. Whether the spec is
// accepted depends on the arguments. The error is an *Error whose place is in the call.
func Call(p *tacitv1.Program, call *tacitv1.ProgramCall) (*tacitv1.JobSpec, error) {
	if err := checkKnown("program", call); err != nil {
		return nil, err
	}
	if got, want := len(call.Arguments), len(p.Parameters); got != want {
		return nil, refuse(ArgumentCount, "program.arguments", "%d arguments, %s takes %d", got, p.Name, want)
	}
	if got, want := len(call.Outputs), len(p.Outputs); got != 0 && got != want {
		return nil, refuse(ArgumentCount, "program.outputs", "%d names, %s has %d outputs", got, p.Name, want)
	}
	inputs := make([]*tacitv1.Input, len(call.Arguments))
	for i, a := range call.Arguments {
		place := fmt.Sprintf("program.arguments[%d]", i)
		a = orEmpty(a)
		if err := checkKnown(place, a); err != nil {
			return nil, err
		}
		param := p.Parameters[i]
		switch v := a.Value.(type) {
		case *tacitv1.Argument_Handle:
			if param.Plaintext {
				return nil, refuse(ArgumentMismatch, place, "a ciphertext, %s is a plaintext", param.Name)
			}
			if _, err := handleOf(field(place, "handle"), v.Handle); err != nil {
				return nil, err
			}
			inputs[i] = &tacitv1.Input{Value: &tacitv1.Input_Handle{Handle: v.Handle}}
		case *tacitv1.Argument_Scalar:
			if !param.Plaintext {
				return nil, refuse(ArgumentMismatch, place, "a plaintext, %s is a ciphertext", param.Name)
			}
			inputs[i] = &tacitv1.Input{Value: &tacitv1.Input_Scalar{Scalar: v.Scalar}}
		default:
			return nil, refuse(MissingInput, place, "has no value")
		}
	}
	spec := &tacitv1.JobSpec{KeyId: call.KeyId, Strategy: p.Strategy}
	for _, n := range p.Nodes {
		n = proto.CloneOf(orEmpty(n))
		for j, in := range n.Inputs {
			if v, ok := in.GetValue().(*tacitv1.Input_Parameter); ok {
				n.Inputs[j] = inputs[v.Parameter]
			}
		}
		spec.Nodes = append(spec.Nodes, n)
	}
	for i, o := range p.Outputs {
		o = proto.CloneOf(orEmpty(o))
		if len(call.Outputs) > 0 {
			o.Handle = call.Outputs[i]
		}
		spec.Outputs = append(spec.Outputs, o)
	}
	return spec, nil
}

// ParseScalar reads a plaintext as the text form of a job has it: decimal, or hexadecimal after 0x.
func ParseScalar(text string) ([]byte, error) {
	p := new(parser)
	p.scan(text)
	t := p.take(number, "a number")
	var value []byte
	if p.err == nil {
		value = p.scalar(t)
	}
	if p.err == nil && p.token.kind != end {
		p.unexpected("the end")
	}
	return value, p.err
}

// wordParam begins the declaration of a parameter in the text form of a program.
const wordParam = "param"

var declaration = regexp.MustCompile(`^[ \t]*param[ \t]+([A-Za-z_][A-Za-z0-9_]*)[ \t]*:[ \t]*(plain[ \t]+)?([a-z0-9]+)[ \t]*(#.*)?$`)

// ParseProgramText reads the text form of a program: that of a job, without key and inputs, and a declaration for each
// parameter:
//
//	param from: euint64
//	param limit: plain euint64         # a plaintext
//
// Every error is a *SyntaxError. The program is well formed but may still be refused by ValidateProgram.
func ParseProgramText(name, src string) (*tacitv1.Program, error) {
	if len(src) > MaxTextSize {
		return nil, &SyntaxError{Line: 1, Column: 1, Message: fmt.Sprintf("%d bytes long, at most %d are allowed", len(src), MaxTextSize)}
	}
	p := &tacitv1.Program{Name: name}
	outside := make(map[string]Handle)
	index := make(map[Handle]uint32)
	lines := strings.Split(src, "\n")
	for i, line := range lines {
		line = strings.TrimSuffix(line, "\r")
		trimmed := strings.TrimLeft(line, " \t")
		if !strings.HasPrefix(trimmed, wordParam+" ") && !strings.HasPrefix(trimmed, wordParam+"\t") {
			continue
		}
		bad := func(format string, args ...any) (*tacitv1.Program, error) {
			return nil, &SyntaxError{Line: i + 1, Column: len(line) - len(trimmed) + 1, Message: fmt.Sprintf(format, args...)}
		}
		m := declaration.FindStringSubmatch(line)
		if m == nil {
			return bad("want param NAME: TYPE, or param NAME: plain TYPE")
		}
		t, ok := ParseType(m[3])
		switch {
		case !ok:
			return bad("%s is no type", quote(m[3]))
		case !isName(m[1]) || m[1] == wordParam:
			return bad("%s is no name", quote(m[1]))
		case outside[m[1]] != Handle{}:
			return bad("%s is already a parameter", m[1])
		}
		h := placeholder(len(p.Parameters))
		outside[m[1]], index[h] = h, uint32(len(p.Parameters))
		p.Parameters = append(p.Parameters, &tacitv1.Parameter{Name: m[1], Type: &t, Plaintext: m[2] != ""})
		lines[i] = "" // the numbers of the others stay
	}
	spec, err := ParseText(strings.Join(lines, "\n"), outside)
	if err != nil {
		return nil, err
	}
	if len(spec.KeyId) > 0 {
		return nil, &SyntaxError{Line: 1, Column: 1, Message: "a program has no key: its calls do"}
	}
	for _, n := range spec.Nodes {
		for j, in := range n.Inputs {
			if h := in.GetHandle(); len(h) == len(Handle{}) {
				if i, ok := index[Handle(h)]; ok {
					n.Inputs[j] = &tacitv1.Input{Value: &tacitv1.Input_Parameter{Parameter: i}}
				}
			}
		}
	}
	p.Nodes, p.Outputs, p.Strategy = spec.Nodes, spec.Outputs, spec.Strategy
	return p, nil
}
