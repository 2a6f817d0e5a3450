// Package ptx runs PTX, the assembly of NVIDIA's GPUs, on the processor: the very
// text that ships is tested where there is no GPU. It knows the instructions that
// Tacit's kernels use and refuses others when it parses. It reports accesses
// outside buffers and shared memory, races between threads, misaligned accesses and
// barriers that not all threads of a block reach. It is slow and no way to compute.
//
// Instructions have the semantics of "Parallel Thread Execution ISA", version 7.0.
package ptx

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// warpSize is the number of threads that run in step.
const warpSize = 32

// lanes is a register of all threads of a warp. Values of less than 64 bits are
// zero-extended; a predicate is 0 or 1.
type lanes [warpSize]uint64

// Module is a parsed PTX text.
type Module struct {
	kernels map[string]*kernel
}

type kernel struct {
	name       string
	params     int
	maxThreads int
	code       []instruction
	registers  int
	consts     []constant
	specials   map[string]int // special register to slot
	firstParam int            // slot of the first parameter
}

// constant is a slot that holds an immediate value.
type constant struct {
	slot  int
	value uint64
}

type kind uint8

const (
	compute kind = iota
	load
	store
	atomicAdd
	branch
	exit
	barrier
)

type instruction struct {
	text    string
	kind    kind
	run     alu
	d       int
	s       [4]int
	guard   int // slot of the predicate, or -1
	negated bool
	target  int
	// of load, store and atomicAdd
	shared  bool
	width   uint64
	offset  uint64
	address int
	values  []int // slots
}

var (
	entryPattern   = regexp.MustCompile(`(?s)\.visible \.entry (\w+)\(\n(.*?)\n\)(.*?)\n\{\n(.*?)\n\}`)
	paramPattern   = regexp.MustCompile(`\.param \.\w+ (\w+)`)
	threadsPattern = regexp.MustCompile(`\.maxntid (\d+)`)
)

// Parse reads a text as clang writes it. Parameters of kernels are all of 8 bytes.
func Parse(src string) (*Module, error) {
	m := &Module{kernels: make(map[string]*kernel)}
	for _, e := range entryPattern.FindAllStringSubmatch(src, -1) {
		p := &parser{
			kernel: &kernel{name: e[1], specials: make(map[string]int), maxThreads: 1024},
			slots:  make(map[string]int), labels: make(map[string]int),
		}
		if t := threadsPattern.FindStringSubmatch(e[3]); t != nil {
			p.maxThreads, _ = strconv.Atoi(t[1])
		}
		for _, param := range paramPattern.FindAllStringSubmatch(e[2], -1) {
			p.slot("param " + param[1])
			p.params++
		}
		for line := range strings.Lines(e[4]) {
			if err := p.line(line); err != nil {
				return nil, fmt.Errorf("ptx: kernel %s: %q: %w", p.name, strings.TrimSpace(line), err)
			}
		}
		for i := range p.code {
			if in := &p.code[i]; in.kind == branch {
				target, ok := p.labels[p.jumps[i]]
				if !ok {
					return nil, fmt.Errorf("ptx: kernel %s: no label %s", p.name, p.jumps[i])
				}
				in.target = target
			}
		}
		p.registers = len(p.slots)
		m.kernels[p.name] = p.kernel
	}
	if len(m.kernels) == 0 {
		return nil, fmt.Errorf("ptx: no kernel in the text")
	}
	return m, nil
}

// Kernels returns the names of the kernels.
func (m *Module) Kernels() []string {
	var names []string
	for name := range m.kernels {
		names = append(names, name)
	}
	return names
}

type parser struct {
	*kernel
	slots  map[string]int
	labels map[string]int
	jumps  map[int]string
}

// slot returns the place of a register, constant or parameter.
func (p *parser) slot(name string) int {
	i, ok := p.slots[name]
	if !ok {
		i = len(p.slots)
		p.slots[name] = i
	}
	return i
}

func (p *parser) line(line string) error {
	line, _, _ = strings.Cut(line, "//")
	line = strings.TrimSpace(line)
	switch {
	case line == "" || strings.HasPrefix(line, ".reg ") || strings.HasPrefix(line, ".pragma "):
		return nil
	case strings.HasSuffix(line, ":"):
		p.labels[line[:len(line)-1]] = len(p.code)
		return nil
	}
	line, ok := strings.CutSuffix(line, ";")
	if !ok {
		return fmt.Errorf("not an instruction")
	}
	in := instruction{text: line, guard: -1}
	if rest, ok := strings.CutPrefix(line, "@"); ok {
		guard, rest, _ := strings.Cut(rest, " ")
		guard, in.negated = strings.CutPrefix(guard, "!")
		in.guard, line = p.slot(guard), strings.TrimSpace(rest)
	}
	name := line
	var operands []string
	if i := strings.IndexAny(line, " \t"); i >= 0 {
		name, operands = line[:i], split(line[i:])
	}
	if err := p.instruction(&in, name, operands); err != nil {
		return err
	}
	p.code = append(p.code, in)
	return nil
}

// split cuts operands at the commas outside braces.
func split(s string) (parts []string) {
	depth, start := 0, 0
	for i, c := range s + "," {
		switch {
		case c == '{':
			depth++
		case c == '}':
			depth--
		case c == ',' && depth == 0:
			parts = append(parts, strings.TrimSpace(s[start:i]))
			start = i + 1
		}
	}
	return parts
}

// operand returns the slot of a register or an immediate value.
func (p *parser) operand(s string) (int, error) {
	switch {
	case s == "":
		return 0, fmt.Errorf("an operand is missing")
	case strings.HasPrefix(s, "%"):
		slot := p.slot(s)
		switch s {
		case "%tid.x", "%ntid.x", "%ctaid.x", "%nctaid.x":
			p.specials[s] = slot
		}
		return slot, nil
	}
	var value uint64
	if bits, ok := strings.CutPrefix(s, "0d"); ok {
		v, err := strconv.ParseUint(bits, 16, 64)
		if err != nil {
			return 0, err
		}
		value = v
	} else if v, err := strconv.ParseInt(s, 0, 64); err == nil {
		value = uint64(v)
	} else if value, err = strconv.ParseUint(s, 0, 64); err != nil {
		if s != "memory" { // the dynamic shared memory, which begins at 0
			return 0, err
		}
		value = 0
	}
	name := fmt.Sprintf("constant %d", value)
	slot, known := p.slots[name]
	if !known {
		slot = p.slot(name)
		p.consts = append(p.consts, constant{slot, value})
	}
	return slot, nil
}

func (p *parser) instruction(in *instruction, name string, operands []string) (err error) {
	parts := strings.Split(name, ".")
	switch parts[0] {
	case "ret":
		in.kind = exit
		return nil
	case "bra":
		in.kind = branch
		if p.jumps == nil {
			p.jumps = make(map[int]string)
		}
		p.jumps[len(p.code)] = operands[0]
		return nil
	case "bar":
		if name != "bar.sync" || len(operands) != 1 || operands[0] != "0" {
			return fmt.Errorf("unknown barrier")
		}
		in.kind = barrier
		return nil
	case "ld", "st", "atom":
		return p.memory(in, parts, operands)
	}
	if len(operands) < 2 || len(operands) > 5 {
		return fmt.Errorf("%d operands", len(operands))
	}
	if in.run, err = lookUp(name); err != nil {
		return err
	}
	if in.d, err = p.operand(operands[0]); err != nil {
		return err
	}
	for i, o := range operands[1:] {
		if in.s[i], err = p.operand(o); err != nil {
			return err
		}
	}
	return nil
}

// memory parses ld, st and atom.
func (p *parser) memory(in *instruction, parts, operands []string) error {
	typ := parts[len(parts)-1]
	bits, err := strconv.ParseUint(strings.TrimLeft(typ, "usbf"), 10, 8)
	if err != nil || bits != 32 && bits != 64 {
		return fmt.Errorf("type %s", typ)
	}
	in.width = bits / 8
	where, value := operands[1], operands[0]
	switch parts[0] {
	case "ld":
		in.kind = load
	case "st":
		in.kind = store
		where, value = operands[0], operands[1]
	case "atom":
		in.kind = atomicAdd
		if len(parts) != 4 || parts[1] != "global" || parts[2] != "add" || typ != "u32" || len(operands) != 3 {
			return fmt.Errorf("unknown instruction")
		}
		value = operands[2]
	}
	where, ok := strings.CutPrefix(where, "[")
	if !ok {
		return fmt.Errorf("no address")
	}
	where = strings.TrimSuffix(where, "]")
	base, offset, hasOffset := strings.Cut(where, "+")
	if hasOffset {
		o, err := strconv.ParseInt(offset, 10, 64)
		if err != nil {
			return err
		}
		in.offset = uint64(o)
	}
	if parts[1] == "param" {
		slot, known := p.slots["param "+base]
		if !known || in.kind != load || hasOffset {
			return fmt.Errorf("no such parameter")
		}
		in.kind, in.run, in.s[0] = compute, move(in.width*8), slot
		in.d, err = p.operand(value)
		return err
	}
	switch parts[1] {
	case "shared":
		in.shared = true
	case "global":
	default:
		return fmt.Errorf("unknown state space")
	}
	if in.address, err = p.operand(base); err != nil {
		return err
	}
	for _, v := range split(strings.Trim(value, "{}")) {
		slot, err := p.operand(v)
		if err != nil {
			return err
		}
		in.values = append(in.values, slot)
	}
	return nil
}

// alu computes a register from up to three others, for all lanes at a time.
type alu func(d, a, b, c *lanes)

// lookUp returns what an instruction computes.
func lookUp(name string) (alu, error) {
	if run, ok := alus[name]; ok {
		return run, nil
	}
	parts := strings.Split(name, ".")
	typ := parts[len(parts)-1]
	size, _ := strconv.ParseUint(strings.TrimLeft(typ, "usbf"), 10, 8)
	switch parts[0] {
	case "mov":
		if typ == "pred" {
			return move(64), nil
		}
		return move(size), nil
	case "cvta":
		return move(64), nil
	case "selp":
		return func(d, a, b, c *lanes) {
			for i := range d {
				if c[i] != 0 {
					d[i] = a[i]
				} else {
					d[i] = b[i]
				}
			}
		}, nil
	case "setp":
		if len(parts) == 3 {
			return comparison(parts[1], typ)
		}
	}
	if len(parts) == 2 {
		switch name := parts[0]; name {
		case "and", "or", "xor", "shl":
			f := map[string]func(a, b uint64) uint64{
				"and": func(a, b uint64) uint64 { return a & b },
				"or":  func(a, b uint64) uint64 { return a | b },
				"xor": func(a, b uint64) uint64 { return a ^ b },
				"shl": func(a, b uint64) uint64 { return a << uint32(b) },
			}[name]
			return pointwise(size, f), nil
		case "not":
			if typ == "pred" {
				size = 1
			}
			return pointwise(size, func(a, _ uint64) uint64 { return ^a }), nil
		}
	}
	return nil, fmt.Errorf("unknown instruction %s", name)
}

// mask has the low bits of a type set; 0 bits are those of a predicate.
func mask(size uint64) uint64 {
	if size == 0 {
		return 1
	}
	return ^uint64(0) >> (64 - size)
}

func move(size uint64) alu {
	m := mask(size)
	return func(d, a, _, _ *lanes) {
		for i := range d {
			d[i] = a[i] & m
		}
	}
}

func pointwise(size uint64, f func(a, b uint64) uint64) alu {
	m := mask(size)
	return func(d, a, b, _ *lanes) {
		for i := range d {
			d[i] = f(a[i], b[i]) & m
		}
	}
}

// comparison sets a predicate.
func comparison(op, typ string) (alu, error) {
	var order func(a, b uint64) int // -1, 0, 1, or 2 for unordered
	switch typ {
	case "f64":
		order = func(a, b uint64) int {
			x, y := math.Float64frombits(a), math.Float64frombits(b)
			switch {
			case x < y:
				return -1
			case x > y:
				return 1
			case x == y:
				return 0
			}
			return 2
		}
	case "s32":
		order = func(a, b uint64) int { return compare(int32(a), int32(b)) }
	case "s64":
		order = func(a, b uint64) int { return compare(int64(a), int64(b)) }
	case "u32", "b32":
		order = func(a, b uint64) int { return compare(uint32(a), uint32(b)) }
	case "u64", "b64":
		order = func(a, b uint64) int { return compare(a, b) }
	default:
		return nil, fmt.Errorf("comparison of %s", typ)
	}
	var holds [4]bool // of -1, 0, 1 and 2
	switch op {
	case "lt":
		holds = [4]bool{true}
	case "le":
		holds = [4]bool{true, true}
	case "gt":
		holds = [4]bool{2: true}
	case "ge":
		holds = [4]bool{1: true, 2: true}
	case "eq":
		holds = [4]bool{1: true}
	case "ne":
		holds = [4]bool{true, false, true}
	default:
		return nil, fmt.Errorf("comparison %s", op)
	}
	return func(d, a, b, _ *lanes) {
		for i := range d {
			d[i] = 0
			if holds[order(a[i], b[i])+1] {
				d[i] = 1
			}
		}
	}, nil
}

func compare[T int32 | int64 | uint32 | uint64](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
