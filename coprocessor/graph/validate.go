package graph

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// Limits bounds a spec. Every field must be positive.
type Limits struct {
	MaxSpecSize   int // bytes of the encoded spec
	MaxNodes      int
	MaxInputs     int // of all nodes together
	MaxOutputs    int
	MaxBootstraps int // of all needed nodes together
	MaxDepth      int // bootstraps on the longest chain
}

// DefaultLimits returns the limits of a service that is not told others.
func DefaultLimits() Limits {
	return Limits{
		MaxSpecSize:   1 << 20,
		MaxNodes:      10_000,
		MaxInputs:     30_000,
		MaxOutputs:    1_000,
		MaxBootstraps: 1_000_000,
		MaxDepth:      100_000,
	}
}

// maxLabel is the limit on the bytes of a label.
const maxLabel = 128

// maxScalar is the limit on the bytes of a plaintext.
const maxScalar = 32

// Validate checks a spec and gives it its meaning. It reads the spec only, asks resolve once for each distinct handle of
// the store, and allocates in proportion to the spec, after the limits.
//
// A spec that is refused is an *Error, the first fault found. Any other error is that of resolve or of cost.
func Validate(ctx context.Context, spec *tacitv1.JobSpec, resolve Resolve, cost CostFunc, limits Limits) (*Graph, error) {
	spec = orEmpty(spec)
	if err := checkLimits(spec, limits); err != nil {
		return nil, err
	}
	v := &validator{
		spec:   spec,
		cost:   cost,
		limits: limits,
		stored: make(map[Handle]Ciphertext),
		named:  make(map[Handle]int),
		g:      &Graph{nodes: make([]Node, len(spec.Nodes))},
	}
	if err := v.checkKey(); err != nil {
		return nil, err
	}
	for i := range spec.Nodes {
		if err := v.checkNode(i); err != nil {
			return nil, err
		}
	}
	v.link()
	order, err := sortNodes(v.g.nodes)
	if err != nil {
		return nil, err
	}
	if err := v.checkOutputs(); err != nil {
		return nil, err
	}
	for _, i := range order {
		if err := v.resolveNode(ctx, i, resolve); err != nil {
			return nil, err
		}
		if err := v.typeNode(i); err != nil {
			return nil, err
		}
		n := &v.g.nodes[i]
		n.Handle = expressionHandle(v.g, n)
	}
	v.markNeeded(order)
	if err := v.nameOutputs(); err != nil {
		return nil, err
	}
	if err := v.charge(); err != nil {
		return nil, err
	}
	v.g.digest = SpecDigest(spec)
	return v.g, nil
}

// validator is a graph in the making.
type validator struct {
	spec   *tacitv1.JobSpec
	cost   CostFunc
	limits Limits
	stored map[Handle]Ciphertext // what resolve answered
	named  map[Handle]int        // the nodes that the client named
	g      *Graph
}

func refuse(reason Reason, place, format string, args ...any) *Error {
	return &Error{Reason: reason, Place: place, Message: fmt.Sprintf(format, args...)}
}

func nodePlace(i int) string          { return fmt.Sprintf("nodes[%d]", i) }
func inputPlace(i, j int) string      { return fmt.Sprintf("nodes[%d].inputs[%d]", i, j) }
func outputPlace(i int) string        { return fmt.Sprintf("outputs[%d]", i) }
func field(place, name string) string { return place + "." + name }

// checkLimits bounds everything whose size is known before anything is looked at.
func checkLimits(spec *tacitv1.JobSpec, limits Limits) error {
	if n := proto.Size(spec); n > limits.MaxSpecSize {
		return refuse(Limit, "", "the spec is %d bytes long, at most %d are allowed", n, limits.MaxSpecSize)
	}
	if n := len(spec.Nodes); n > limits.MaxNodes {
		return refuse(Limit, "nodes", "%d nodes, at most %d are allowed", n, limits.MaxNodes)
	}
	if n := len(spec.Outputs); n > limits.MaxOutputs {
		return refuse(Limit, "outputs", "%d outputs, at most %d are allowed", n, limits.MaxOutputs)
	}
	inputs := 0
	for i, n := range spec.Nodes {
		if inputs += len(n.GetInputs()); inputs > limits.MaxInputs {
			return refuse(Limit, field(nodePlace(i), "inputs"), "more than the %d inputs in all that are allowed", limits.MaxInputs)
		}
	}
	return nil
}

func (v *validator) checkKey() error {
	if err := checkKnown("", v.spec); err != nil {
		return err
	}
	if len(v.spec.KeyId) != len(v.g.keyID) {
		return refuse(BadKeyID, "key_id", "%d bytes, want %d", len(v.spec.KeyId), len(v.g.keyID))
	}
	v.g.keyID = [32]byte(v.spec.KeyId)
	if _, ok := tacitv1.Strategy_name[int32(v.spec.Strategy)]; !ok {
		return refuse(UnknownStrategy, "strategy", "%d is no strategy", v.spec.Strategy)
	}
	if v.spec.Strategy == tacitv1.Strategy_STRATEGY_AUTO {
		return refuse(UnknownStrategy, "strategy", "auto, which is no strategy until the service that keeps the job has chosen one")
	}
	v.g.strategy = v.spec.Strategy
	return nil
}

// checkKnown refuses a message with fields that this version does not know: to ignore them could change the meaning.
func checkKnown(place string, m proto.Message) error {
	if len(m.ProtoReflect().GetUnknown()) > 0 {
		return refuse(UnknownField, place, "has a field that this version does not know")
	}
	return nil
}

// checkNode checks what can be said of node i alone, fills in its operation and its operands without their types, and
// enters its name.
func (v *validator) checkNode(i int) error {
	place := nodePlace(i)
	spec := orEmpty(v.spec.Nodes[i])
	if err := checkKnown(place, spec); err != nil {
		return err
	}
	if spec.Op == nil {
		return refuse(MissingOp, field(place, "op"), "absent")
	}
	sig, ok := signatures[*spec.Op]
	if !ok {
		return refuse(UnknownOp, field(place, "op"), "%d is no operation", *spec.Op)
	}
	if spec.Type != nil {
		if err := checkType(field(place, "type"), *spec.Type); err != nil {
			return err
		}
	} else if sig.declared {
		return refuse(MissingType, field(place, "type"), "absent, %s needs it", OpName(*spec.Op))
	}
	if n := len(spec.Inputs); sig.most > 0 && (n < sig.arity || n > sig.most) {
		return refuse(Arity, field(place, "inputs"), "%d inputs, %s wants %d to %d", n, OpName(*spec.Op), sig.arity, sig.most)
	} else if sig.most == 0 && n != sig.arity {
		return refuse(Arity, field(place, "inputs"), "%d inputs, %s wants %d", n, OpName(*spec.Op), sig.arity)
	}
	if err := checkLabel(field(place, "label"), spec.Label); err != nil {
		return err
	}
	if sig.tables != (len(spec.Table) > 0) {
		if sig.tables {
			return refuse(BadTable, field(place, "table"), "absent, %s needs it", OpName(*spec.Op))
		}
		return refuse(BadTable, field(place, "table"), "%s takes none", OpName(*spec.Op))
	}
	operands := make([]Operand, len(spec.Inputs))
	for j, in := range spec.Inputs {
		o, err := v.operand(inputPlace(i, j), orEmpty(in))
		if err != nil {
			return err
		}
		if err := checkKind(inputPlace(i, j), *spec.Op, o.Kind, sig.mayBeScalar(j, len(operands)), j >= len(operands)-sig.required); err != nil {
			return err
		}
		operands[j] = o
	}
	if *spec.Op == tacitv1.Op_OP_IF_THEN_ELSE && operands[1].Kind == Scalar && operands[2].Kind == Scalar {
		return refuse(ScalarNotAllowed, inputPlace(i, 2), "a plaintext, but one branch of select must be encrypted")
	}
	v.g.nodes[i] = Node{Op: *spec.Op, Operands: operands, Label: spec.Label, Table: slices.Clone(spec.Table)}
	return v.nameNode(i, spec.Result)
}

// nameNode enters the name that the client gave to node i, if any.
func (v *validator) nameNode(i int, result []byte) error {
	if len(result) == 0 {
		return nil
	}
	place := field(nodePlace(i), "result")
	h, err := handleOf(place, result)
	if err != nil {
		return err
	}
	if first, ok := v.named[h]; ok {
		return refuse(DuplicateResult, place, "%s already names %s", h, nodePlace(first))
	}
	v.named[h] = i
	return nil
}

func checkType(place string, t tacitv1.Type) error {
	if _, ok := Width(t); !ok {
		return refuse(UnknownType, place, "%d is no type", t)
	}
	return nil
}

func checkLabel(place, label string) error {
	if len(label) > maxLabel {
		return refuse(Limit, place, "%d bytes long, at most %d are allowed", len(label), maxLabel)
	}
	if !utf8.ValidString(label) || strings.ContainsFunc(label, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return refuse(BadLabel, place, "not printable UTF-8")
	}
	return nil
}

// checkKind checks that an operand is a plaintext where op requires one, and only where it allows one.
func checkKind(place string, op tacitv1.Op, kind OperandKind, scalarAllowed, scalarRequired bool) error {
	switch {
	case kind == Scalar && !scalarAllowed:
		return refuse(ScalarNotAllowed, place, "a plaintext, %s wants a ciphertext here", OpName(op))
	case kind != Scalar && scalarRequired:
		return refuse(ScalarRequired, place, "a ciphertext, %s wants a plaintext", OpName(op))
	}
	return nil
}

// operand reads an input; of a plaintext it keeps the kind alone, because its range depends on a type not known yet.
func (v *validator) operand(place string, in *tacitv1.Input) (Operand, error) {
	if err := checkKnown(place, in); err != nil {
		return Operand{}, err
	}
	if _, ok := in.Value.(*tacitv1.Input_Node); !ok && in.Result != 0 {
		return Operand{}, refuse(BadResultIndex, field(place, "result"), "%d, but the input is no node", in.Result)
	}
	switch value := in.Value.(type) {
	case *tacitv1.Input_Handle:
		h, err := handleOf(field(place, "handle"), value.Handle)
		if err != nil {
			return Operand{}, err
		}
		return Operand{Kind: Stored, Handle: h}, nil
	case *tacitv1.Input_Node:
		if err := v.checkIndex(field(place, "node"), value.Node); err != nil {
			return Operand{}, err
		}
		if err := v.checkResult(place, value.Node, in.Result); err != nil {
			return Operand{}, err
		}
		return Operand{Kind: Computed, Node: int(value.Node), Result: int(in.Result)}, nil
	case *tacitv1.Input_Scalar:
		if len(value.Scalar) > maxScalar {
			return Operand{}, refuse(ScalarRange, field(place, "scalar"), "%d bytes long, at most %d are allowed", len(value.Scalar), maxScalar)
		}
		return Operand{Kind: Scalar}, nil
	}
	return Operand{}, refuse(MissingInput, place, "has no value")
}

func handleOf(place string, b []byte) (Handle, error) {
	if len(b) != len(Handle{}) {
		return Handle{}, refuse(BadHandle, place, "%d bytes, want %d", len(b), len(Handle{}))
	}
	return Handle(b), nil
}

func (v *validator) checkIndex(place string, node uint32) error {
	if uint64(node) >= uint64(len(v.spec.Nodes)) {
		return refuse(BadNodeIndex, place, "node %d of %d nodes", node, len(v.spec.Nodes))
	}
	return nil
}

// checkResult checks that a node of the spec has a result of that index. What the node lacks to be one is found
// elsewhere.
func (v *validator) checkResult(place string, node, result uint32) error {
	spec := orEmpty(v.spec.Nodes[node])
	if result == 0 || spec.Op == nil || uint64(result) < uint64(results(*spec.Op)) {
		return nil
	}
	return refuse(BadResultIndex, field(place, "result"), "result %d of %s, which has %d", result, OpName(*spec.Op), results(*spec.Op))
}

// link turns operands that carry the name of a node into the result of that node.
func (v *validator) link() {
	for i := range v.g.nodes {
		for j := range v.g.nodes[i].Operands {
			o := &v.g.nodes[i].Operands[j]
			if o.Kind != Stored {
				continue
			}
			if node, ok := v.named[o.Handle]; ok {
				*o = Operand{Kind: Computed, Node: node}
			}
		}
	}
}

// checkOutputs checks the shape of the outputs.
func (v *validator) checkOutputs() error {
	if len(v.spec.Outputs) == 0 {
		return refuse(NoOutput, "outputs", "none, so nothing is to be computed")
	}
	v.g.outputs = make([]Output, len(v.spec.Outputs))
	for i, spec := range v.spec.Outputs {
		place := outputPlace(i)
		spec = orEmpty(spec)
		if err := checkKnown(place, spec); err != nil {
			return err
		}
		if spec.Node == nil {
			return refuse(BadNodeIndex, field(place, "node"), "absent")
		}
		if err := v.checkIndex(field(place, "node"), *spec.Node); err != nil {
			return err
		}
		if err := v.checkResult(place, *spec.Node, spec.Result); err != nil {
			return err
		}
		v.g.outputs[i].Node, v.g.outputs[i].Result = int(*spec.Node), int(spec.Result)
	}
	return nil
}

// resolveNode finds the types of the ciphertexts that node i reads.
func (v *validator) resolveNode(ctx context.Context, i int, resolve Resolve) error {
	for j := range v.g.nodes[i].Operands {
		o := &v.g.nodes[i].Operands[j]
		switch o.Kind {
		case Computed:
			o.Type = v.g.nodes[o.Node].Types()[o.Result]
		case Stored:
			ct, err := v.lookUp(ctx, inputPlace(i, j), o.Handle, resolve)
			if err != nil {
				return err
			}
			o.Type = ct.Type
		}
	}
	return nil
}

// lookUp asks resolve for a handle, once, and checks what it answers.
func (v *validator) lookUp(ctx context.Context, place string, h Handle, resolve Resolve) (Ciphertext, error) {
	if ct, ok := v.stored[h]; ok {
		return ct, nil
	}
	ct, err := resolve(ctx, h)
	if errors.Is(err, ErrUnknownHandle) {
		return Ciphertext{}, refuse(UnknownHandle, place, "no ciphertext has the handle %s", h)
	}
	if err != nil {
		return Ciphertext{}, fmt.Errorf("graph: %s: %w", place, err)
	}
	if ct.KeyID != v.g.keyID {
		return Ciphertext{}, refuse(KeyMismatch, place, "a ciphertext of the key %x, want %x", ct.KeyID, v.g.keyID)
	}
	if err := checkType(place, ct.Type); err != nil {
		return Ciphertext{}, err
	}
	v.stored[h] = ct
	return ct, nil
}

// typeNode checks the operands of node i against each other, reads its plaintexts and finds its type and its cost. The
// types of its encrypted operands are known.
func (v *validator) typeNode(i int) error {
	n := &v.g.nodes[i]
	declared := orEmpty(v.spec.Nodes[i]).Type
	sig := signatures[n.Op]
	first := 0 // the operands from here on have one type
	if n.Op == tacitv1.Op_OP_IF_THEN_ELSE {
		if t := n.Operands[0].Type; t != tacitv1.Type_TYPE_EBOOL {
			return refuse(TypeMismatch, inputPlace(i, 0), "%s, want ebool", TypeName(t))
		}
		first = 1
	}
	last := len(n.Operands) // the operands up to here
	if shifts(n.Op) && n.Operands[1].Kind != Scalar {
		if t := n.Operands[1].Type; !uints.has(t) {
			return refuse(TypeMismatch, inputPlace(i, 1), "%s, %s wants %s", TypeName(t), OpName(n.Op), uints)
		}
		last = 1
	}
	work, err := workType(i, n, first, last, declared)
	if err != nil {
		return err
	}
	if !sig.on.has(work) {
		return refuse(TypeMismatch, inputPlace(i, first), "%s, %s wants %s", TypeName(work), OpName(n.Op), sig.on)
	}
	for j := first; j < last; j++ {
		if n.Operands[j].Kind != Scalar {
			continue
		}
		value, err := v.scalar(i, j, work)
		if err != nil {
			return err
		}
		n.Operands[j].Type, n.Operands[j].Scalar = work, value
	}
	n.Type = work
	switch {
	case sig.decides:
		n.Type = tacitv1.Type_TYPE_EBOOL
	case sig.declared:
		n.Type = *declared
	}
	if IsVector(work) && n.Type != work {
		return refuse(TypeMismatch, field(nodePlace(i), "type"), "%s, but the result is %s", TypeName(n.Type), TypeName(work))
	}
	if sig.tables && IsVector(work) {
		if err := checkVectorTable(field(nodePlace(i), "table"), n.Table, n.Type); err != nil {
			return err
		}
	} else if sig.tables {
		if err := checkTable(field(nodePlace(i), "table"), n.Table, work, n.Type); err != nil {
			return err
		}
	}
	if declared != nil && *declared != n.Type {
		return refuse(TypeMismatch, field(nodePlace(i), "type"), "%s, but the result is %s", TypeName(*declared), TypeName(n.Type))
	}
	return nil
}

// tableBytes is the length of one value of a table, 0 if tables do not have such values.
func tableBytes(t tacitv1.Type) int {
	switch width, _ := Width(t); {
	case width == 1:
		return 1
	case width <= 64:
		return width / 8
	}
	return 0
}

// checkTable checks a table from one type to another.
func checkTable(place string, table []byte, from, to tacitv1.Type) error {
	size, count := tableBytes(to), 256
	if from == tacitv1.Type_TYPE_EBOOL {
		count = 2
	}
	if size == 0 {
		return refuse(BadTable, place, "a table has values of 64 bits at most, not %s", TypeName(to))
	}
	if len(table) != count*size {
		return refuse(BadTable, place, "%d bytes, want %d values of %d", len(table), count, size)
	}
	if to == tacitv1.Type_TYPE_EBOOL {
		if i := slices.IndexFunc(table, func(x byte) bool { return x > 1 }); i >= 0 {
			return refuse(BadTable, place, "value %d is %d, which does not fit ebool", i, table[i])
		}
	}
	return nil
}

// scalar reads plaintext j of node i, which stands for a value of the given type, and checks what the operation wants of
// it.
func (v *validator) scalar(i, j int, t tacitv1.Type) ([]byte, error) {
	op := v.g.nodes[i].Op
	place, value := inputPlace(i, j), trimZeros(orEmpty(v.spec.Nodes[i].Inputs[j]).GetScalar())
	x := new(big.Int).SetBytes(value)
	width, _ := Width(t)
	seed := j == 0 && (op == tacitv1.Op_OP_RAND || op == tacitv1.Op_OP_RAND_BOUNDED) // of any type
	if !seed && x.BitLen() > width {
		return nil, refuse(ScalarRange, place, "0x%x does not fit %s", value, TypeName(t))
	}
	divisor := (op == tacitv1.Op_OP_DIV || op == tacitv1.Op_OP_REM || op == tacitv1.Op_OP_DIV_REM) && j == 1 || op == tacitv1.Op_OP_MUL_DIV && j == 2
	if divisor && x.Sign() == 0 {
		return nil, refuse(DivisionByZero, place, "%s by a plaintext 0", OpName(op))
	}
	if op == tacitv1.Op_OP_RAND_BOUNDED && j == 1 && (x.Sign() == 0 || x.TrailingZeroBits() != uint(x.BitLen()-1)) {
		return nil, refuse(ScalarRange, place, "0x%x is not a power of two", value)
	}
	return value, nil
}

// workType returns the one type of the encrypted operands of node i from first to last; where all are plaintexts, which is
// allowed only where the type is declared, it is that.
func workType(i int, n *Node, first, last int, declared *tacitv1.Type) (tacitv1.Type, error) {
	var work *tacitv1.Type
	for j := first; j < last; j++ {
		o := &n.Operands[j]
		switch {
		case o.Kind == Scalar:
		case work == nil:
			work = &o.Type
		case o.Type != *work:
			return 0, refuse(TypeMismatch, inputPlace(i, j), "%s, want %s", TypeName(o.Type), TypeName(*work))
		}
	}
	if work == nil {
		work = declared
	}
	return *work, nil
}

// markNeeded finds the nodes that an output depends on, their order and the ciphertexts they read.
func (v *validator) markNeeded(order []int) {
	nodes := v.g.nodes
	for _, o := range v.g.outputs {
		nodes[o.Node].Needed = true
	}
	for k := len(order) - 1; k >= 0; k-- {
		if n := &nodes[order[k]]; n.Needed {
			for _, o := range n.Operands {
				if o.Kind == Computed {
					nodes[o.Node].Needed = true
				}
			}
		}
	}
	seen := make(map[Handle]bool, len(v.stored))
	for _, i := range order {
		if !nodes[i].Needed {
			continue
		}
		v.g.order = append(v.g.order, i)
		for _, o := range nodes[i].Operands {
			if o.Kind == Stored && !seen[o.Handle] {
				seen[o.Handle] = true
				v.g.inputs = append(v.g.inputs, o.Handle)
			}
		}
	}
}

// nameOutputs gives every output its handle: its own, or its node's, or the derived one.
func (v *validator) nameOutputs() error {
	names := make(map[int]Handle, len(v.named))
	for h, i := range v.named {
		names[i] = h
	}
	first := make(map[Handle]int, len(v.g.outputs))
	for i := range v.g.outputs {
		o := &v.g.outputs[i]
		place := outputPlace(i)
		name, named := names[o.Node]
		named = named && o.Result == 0
		own := orEmpty(v.spec.Outputs[i]).Handle
		switch {
		case len(own) > 0:
			place = field(place, "handle")
			h, err := handleOf(place, own)
			if err != nil {
				return err
			}
			if named && h != name {
				return refuse(ResultMismatch, place, "%s, but %s is named %s", h, nodePlace(o.Node), name)
			}
			o.Handle = h
		case named:
			o.Handle = name
		default:
			o.Handle = v.g.nodes[o.Node].ResultHandle(o.Result)
		}
		if other, ok := first[o.Handle]; ok {
			return refuse(DuplicateResult, place, "%s is also the handle of %s", o.Handle, outputPlace(other))
		}
		first[o.Handle] = i
		if other, ok := v.named[o.Handle]; ok && (other != o.Node || o.Result != 0) {
			return refuse(DuplicateResult, place, "%s already names %s", o.Handle, nodePlace(other))
		}
		if _, ok := v.stored[o.Handle]; ok {
			return refuse(DuplicateResult, place, "%s is also the handle of an input", o.Handle)
		}
	}
	return nil
}

// charge finds the cost of the needed nodes and adds it up. It stops at the first that goes over a limit, so no sum
// overflows, and no more is estimated than is allowed.
func (v *validator) charge() error {
	depths := make([]int, len(v.g.nodes))
	total := &v.g.cost
	for _, i := range v.g.order {
		n := &v.g.nodes[i]
		var err error
		if n.Cost, err = v.cost(i, v.g.Node(i)); err != nil {
			return fmt.Errorf("graph: %s: %w", nodePlace(i), err)
		}
		for _, o := range n.Operands {
			if o.Kind == Computed {
				depths[i] = max(depths[i], depths[o.Node])
			}
		}
		depths[i] += n.Cost.Depth
		total.Depth = max(total.Depth, depths[i])
		total.Bootstraps += n.Cost.Bootstraps
		if total.Bootstraps > v.limits.MaxBootstraps {
			return refuse(Limit, nodePlace(i), "the job needs more than the %d bootstraps that are allowed", v.limits.MaxBootstraps)
		}
		if total.Depth > v.limits.MaxDepth {
			return refuse(Limit, nodePlace(i), "a chain of more than the %d bootstraps that are allowed", v.limits.MaxDepth)
		}
	}
	return nil
}
