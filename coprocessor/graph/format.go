package graph

import (
	"fmt"
	"math/big"
	"slices"
	"strings"

	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// FormatText writes a spec in the text form, such that ParseText gives the same spec again, up to leading zeros of
// plaintexts. It refuses, with an *Error, what the form cannot say: a node that reads a later one, a label that is no
// name or not unique, an absent operation, a malformed handle.
func FormatText(spec *tacitv1.JobSpec) (string, error) {
	f := &formatter{
		nodes:   make([]string, len(spec.GetNodes())),
		handles: make(map[Handle]string),
		used:    make(map[string]int),
	}
	return f.format(orEmpty(spec))
}

// formatter writes a spec. It names nodes first and then the ciphertexts that they read.
type formatter struct {
	nodes   []string          // name of each node
	handles map[Handle]string // name of each ciphertext
	used    map[string]int    // the node of each name
	inputs  strings.Builder
	body    strings.Builder
}

func (f *formatter) format(spec *tacitv1.JobSpec) (string, error) {
	if len(spec.KeyId) > 0 {
		key, err := handleOf("key_id", spec.KeyId)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&f.inputs, "%s 0x%s\n", wordKey, key)
	}
	if s := spec.Strategy; s != tacitv1.Strategy_STRATEGY_THROUGHPUT {
		if _, ok := strategiesByName[StrategyName(s)]; !ok {
			return "", refuse(UnknownStrategy, "strategy", "%d is no strategy", s)
		}
		fmt.Fprintf(&f.inputs, "%s %s\n", wordStrategy, StrategyName(s))
	}
	for i, n := range spec.Nodes {
		if err := f.node(i, orEmpty(n)); err != nil {
			return "", err
		}
	}
	for i, o := range spec.Outputs {
		if err := f.output(i, orEmpty(o)); err != nil {
			return "", err
		}
	}
	return f.inputs.String() + f.body.String(), nil
}

func (f *formatter) node(i int, n *tacitv1.Node) error {
	place := nodePlace(i)
	if n.Op == nil {
		return refuse(MissingOp, field(place, "op"), "absent")
	}
	if _, ok := ParseOp(OpName(*n.Op)); !ok {
		return refuse(UnknownOp, field(place, "op"), "%d is no operation", *n.Op)
	}
	name := n.Label
	if name == "" {
		name = fmt.Sprintf("_n%d", i)
	} else if !isName(name) || unlabelled(name) {
		return refuse(BadLabel, field(place, "label"), "%q is no name of the text form", name)
	}
	if other, ok := f.used[name]; ok {
		return refuse(BadLabel, field(place, "label"), "%s has the same label", nodePlace(other))
	}
	f.body.WriteString(name)
	if n.Type != nil {
		if _, ok := ParseType(TypeName(*n.Type)); !ok {
			return refuse(UnknownType, field(place, "type"), "%d is no type", *n.Type)
		}
		f.body.WriteString(": " + TypeName(*n.Type))
	}
	f.body.WriteString(" = " + OpName(*n.Op) + "(")
	var arguments []string
	for j, in := range n.Inputs {
		text, err := f.input(i, inputPlace(i, j), orEmpty(in))
		if err != nil {
			return err
		}
		arguments = append(arguments, text)
	}
	if len(n.Table) > 0 {
		text, err := formatTable(field(place, "table"), n)
		if err != nil {
			return err
		}
		arguments = append(arguments, text)
	}
	f.body.WriteString(strings.Join(arguments, ", "))
	f.body.WriteString(")")
	if err := f.as(field(place, "result"), n.Result); err != nil {
		return err
	}
	f.nodes[i], f.used[name] = name, i
	return nil
}

// formatTable writes the values of a table.
func formatTable(place string, n *tacitv1.Node) (string, error) {
	size := 0
	if n.Type != nil && signatures[*n.Op].tables {
		size = tableBytes(*n.Type)
	}
	most := maxTable
	if n.Type != nil && IsVector(*n.Type) {
		most = MaxVector
	}
	if size == 0 || len(n.Table)%size != 0 || len(n.Table)/size > most {
		return "", refuse(BadTable, place, "%d bytes, not values of the type of a look-up", len(n.Table))
	}
	var values []string
	for v := range slices.Chunk(n.Table, size) {
		values = append(values, new(big.Int).SetBytes(v).String())
	}
	if IsVector(*n.Type) {
		values = formatVector(n.Table, *n.Type)
	}
	return "[" + strings.Join(values, ", ") + "]", nil
}

// resultOf is the text of result k of the node of a name.
func resultOf(name string, k uint32) string {
	if k == 0 {
		return name
	}
	return fmt.Sprintf("%s.%d", name, k)
}

// input returns the text of an input of node i.
func (f *formatter) input(i int, place string, in *tacitv1.Input) (string, error) {
	if _, ok := in.Value.(*tacitv1.Input_Node); in.Result > 1 || in.Result != 0 && !ok {
		return "", refuse(BadResultIndex, field(place, "result"), "%d is no second result of a node", in.Result)
	}
	switch v := in.Value.(type) {
	case *tacitv1.Input_Handle:
		h, err := handleOf(field(place, "handle"), v.Handle)
		if err != nil {
			return "", err
		}
		name, ok := f.handles[h]
		if !ok {
			name = fmt.Sprintf("_h%d", len(f.handles))
			f.handles[h] = name
			fmt.Fprintf(&f.inputs, "%s %s = 0x%s\n", wordInput, name, h)
		}
		return name, nil
	case *tacitv1.Input_Node:
		if uint64(v.Node) >= uint64(i) {
			return "", refuse(BadNodeIndex, field(place, "node"), "node %d is not above, as the text form wants it", v.Node)
		}
		return resultOf(f.nodes[v.Node], in.Result), nil
	case *tacitv1.Input_Scalar:
		if len(v.Scalar) > maxScalar {
			return "", refuse(ScalarRange, field(place, "scalar"), "%d bytes long, at most %d are allowed", len(v.Scalar), maxScalar)
		}
		return new(big.Int).SetBytes(v.Scalar).String(), nil
	}
	return "", refuse(MissingInput, place, "has no value")
}

func (f *formatter) output(i int, o *tacitv1.Output) error {
	place := outputPlace(i)
	if o.Node == nil || uint64(*o.Node) >= uint64(len(f.nodes)) {
		return refuse(BadNodeIndex, field(place, "node"), "absent, or no node")
	}
	if o.Result > 1 {
		return refuse(BadResultIndex, field(place, "result"), "%d is no second result of a node", o.Result)
	}
	f.body.WriteString(wordOutput + " " + resultOf(f.nodes[*o.Node], o.Result))
	return f.as(field(place, "handle"), o.Handle)
}

// as writes an optional handle and ends the line.
func (f *formatter) as(place string, handle []byte) error {
	if len(handle) > 0 {
		h, err := handleOf(place, handle)
		if err != nil {
			return err
		}
		f.body.WriteString(" " + wordAs + " 0x" + h.String())
	}
	f.body.WriteString("\n")
	return nil
}
