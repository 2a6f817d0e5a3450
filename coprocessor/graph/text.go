package graph

import (
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"

	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// MaxTextSize is the limit on the bytes of a job in text form.
const MaxTextSize = 4 << 20

// SyntaxError is a fault in the text form of a job.
type SyntaxError struct {
	Line, Column int // both from 1; the column counts bytes
	Message      string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Message) }

// ParseText reads the text form of a job, a straight line of statements, one a line:
//
//	# A transfer that moves nothing when the balance is too low.
//	key 0x…                                    # the key id, 64 digits; optional
//	strategy latency                           # or throughput, which is the default, or auto: the service chooses
//	input from = 0x…                           # the handle of a stored ciphertext
//	input to = 0x…
//	input amount = 0x…
//	ok = ge(from, amount)
//	moved = select(ok, amount, 0:euint64)
//	new_from = sub(from, moved)
//	new_to: euint64 = add(to, moved) as 0x…    # names the result
//	output new_from as 0x…, new_to             # stores both, the first under the handle given here
//	share = div_rem(amount, 3)
//	output share, share.1                      # the first result and the second
//	odd: ebool = lookup(ok, [0, 1])            # the last operand is the table
//	scores: ckks = mul_plain(x, [0.5, -1e-3])  # of vectors, signed integers or real numbers
//
// Operations have the names of OpName. An operand is the name of an input, of a statement above or of names, or a
// plaintext, decimal or after 0x hexadecimal. A type after the result or after a plaintext is the type of the result; it
// is needed by trivial_encrypt, cast, rand and look-ups, there before the table. A name is a letter or underscore, then letters, digits and underscores, 64 at
// most. It becomes the node's label, except when it begins with an underscore. The names bound from outside may not be
// defined again.
//
// Every error is a *SyntaxError. The spec is well formed but may still be refused by Validate.
func ParseText(src string, names map[string]Handle) (*tacitv1.JobSpec, error) {
	p := newParser(names)
	if err := p.read(src); err != nil {
		return nil, err
	}
	return p.spec, nil
}

// Outline is what the text form of a job says before its names are bound.
type Outline struct {
	Free    []Name   // what it uses and does not define, in the order of first use
	Defined []string // what it defines, in order
	Lines   []int    // of the statement of each node, from 1
}

// Name is a name in a text and where it is first used.
type Name struct {
	Text         string
	Line, Column int // both from 1; the column counts bytes
}

// ReadOutline reads the text form of a job for its outline. With all free names given to
// it, ParseText takes the text too; until then they pass for names bound from outside.
// Every error is a *SyntaxError.
func ReadOutline(src string) (*Outline, error) {
	p := newParser(make(map[string]Handle))
	p.outline = &Outline{}
	if err := p.read(src); err != nil {
		return nil, err
	}
	return p.outline, nil
}

// Words that begin a statement or stand within one, and so name nothing.
const (
	wordKey    = "key"
	wordInput  = "input"
	wordOutput = "output"
	wordAs     = "as"

	wordStrategy = "strategy"
)

// statements are the words that begin a statement.
var statements = []string{wordKey, wordInput, wordOutput, wordStrategy}

func reserved(word string) bool {
	return word == wordAs || slices.Contains(statements, word)
}

// maxName is the limit on the bytes of a name.
const maxName = 64

// unlabelled tells the names that do not become labels.
func unlabelled(name string) bool { return strings.HasPrefix(name, "_") }

func isLetter(c byte) bool { return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }
func isDigit(c byte) bool  { return '0' <= c && c <= '9' }

// isName tells whether s is a name.
func isName(s string) bool {
	if s == "" || len(s) > maxName || !isLetter(s[0]) || reserved(s) {
		return false
	}
	return wordEnd(s) == len(s)
}

// wordEnd returns how many bytes at the start of s are letters, digits and underscores.
func wordEnd(s string) int {
	n := 0
	for n < len(s) && (isLetter(s[n]) || isDigit(s[n])) {
		n++
	}
	return n
}

type tokenKind uint8

const (
	end    tokenKind = iota // of the line, or a comment
	word                    // begins with a letter
	number                  // begins with a digit
	mark                    // one of = ( ) , : . [ ]
	stray                   // anything else
)

type token struct {
	kind   tokenKind
	text   string
	column int
}

// symbol is what a name stands for.
type symbol struct {
	line   int
	isNode bool
	node   uint32
	handle Handle
}

// parser reads one line at a time. The first error stays, and ends the line.
type parser struct {
	spec    *tacitv1.JobSpec
	outside map[string]Handle
	outline *Outline // or nil; with it, names that are used and not defined go to outside
	symbols map[string]symbol
	keyLine int // where the key is, 0 for nowhere
	line    int
	text    string // of the line
	next    int    // offset behind the token
	token   token
	err     error
}

func newParser(outside map[string]Handle) *parser {
	return &parser{spec: &tacitv1.JobSpec{}, outside: outside, symbols: make(map[string]symbol)}
}

// read reads a text to its end or to the first error.
func (p *parser) read(src string) error {
	if len(src) > MaxTextSize {
		return &SyntaxError{Line: 1, Column: 1, Message: fmt.Sprintf("%d bytes long, at most %d are allowed", len(src), MaxTextSize)}
	}
	for line := range strings.Lines(src) {
		p.line++
		p.scan(line)
		if p.token.kind != end {
			p.statement()
			if p.err == nil && p.token.kind != end {
				p.unexpected("the end of the line")
			}
		}
		if p.err != nil {
			return p.err
		}
	}
	return nil
}

func (p *parser) scan(line string) {
	p.text, p.next = line, 0
	p.advance()
}

// advance reads the next token.
func (p *parser) advance() {
	for p.next < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.next]) >= 0 {
		p.next++
	}
	rest := p.text[p.next:]
	kind, n := stray, 1
	switch {
	case rest == "" || rest[0] == '#':
		kind, n = end, 0
	case isLetter(rest[0]):
		kind, n = word, wordEnd(rest)
	case isDigit(rest[0]):
		kind, n = number, wordEnd(rest)
	case strings.IndexByte("=(),:.[]", rest[0]) >= 0:
		kind = mark
	}
	p.token = token{kind, rest[:n], p.next + 1}
	p.next += n
}

// fail records an error at a token and ends the line.
func (p *parser) fail(at token, format string, args ...any) {
	if p.err == nil {
		p.err = &SyntaxError{Line: p.line, Column: at.column, Message: fmt.Sprintf(format, args...)}
	}
	p.next = len(p.text)
	p.token = token{kind: end, column: at.column}
}

func (p *parser) unexpected(want string) {
	if p.token.kind == end {
		p.fail(p.token, "the line ends, want %s", want)
		return
	}
	p.fail(p.token, "%s, want %s", quote(p.token.text), want)
}

// unknown refuses a word that is none of those there are.
func unknown[V any](p *parser, at token, kind string, known map[string]V) {
	text := fmt.Sprintf("%s is no %s", quote(at.text), kind)
	if near := Nearest(at.text, maps.Keys(known)); near != "" {
		text += ", did you mean " + near + "?"
	}
	p.fail(at, "%s", text)
}

// quote makes a token safe and short enough for a message.
func quote(s string) string {
	if len(s) > maxName {
		return fmt.Sprintf("%q…", s[:maxName])
	}
	return fmt.Sprintf("%q", s)
}

// take returns the token and goes on when it is of the kind wanted.
func (p *parser) take(kind tokenKind, want string) token {
	t := p.token
	if t.kind != kind {
		p.unexpected(want)
		return t
	}
	p.advance()
	return t
}

// accept goes on when the token is the mark or the word given.
func (p *parser) accept(text string) bool {
	if p.token.kind == end || p.token.text != text {
		return false
	}
	p.advance()
	return true
}

func (p *parser) expect(text string) {
	if !p.accept(text) {
		p.unexpected(fmt.Sprintf("%q", text))
	}
}

func (p *parser) statement() {
	switch {
	case p.token.text == wordKey:
		p.key()
	case p.accept(wordStrategy):
		p.strategy()
	case p.accept(wordInput):
		name := p.define()
		p.expect("=")
		h := p.handle()
		p.bind(name, symbol{handle: h})
	case p.accept(wordOutput):
		p.output()
		for p.accept(",") {
			p.output()
		}
	default:
		p.assignment()
	}
}

func (p *parser) key() {
	at := p.token
	p.advance()
	if p.keyLine != 0 {
		p.fail(at, "the key is already given in line %d", p.keyLine)
		return
	}
	p.keyLine = p.line
	h := p.handle()
	p.spec.KeyId = h[:]
}

// strategy reads the name of a strategy.
func (p *parser) strategy() {
	t := p.take(word, "a strategy")
	if p.err != nil {
		return
	}
	s, ok := strategiesByName[t.text]
	if !ok {
		unknown(p, t, "strategy", strategiesByName)
		return
	}
	p.spec.Strategy = s
}

// handle reads 64 hexadecimal digits, with or without 0x.
func (p *parser) handle() Handle {
	const want = "64 hexadecimal digits, with or without 0x"
	t := p.token
	h, err := ParseHandle(t.text)
	if t.kind == end || err != nil {
		p.unexpected(want)
		return Handle{}
	}
	p.advance()
	return h
}

// define reads a name that is not taken.
func (p *parser) define() token {
	t := p.take(word, "a name")
	if p.err != nil {
		return t
	}
	if !isName(t.text) {
		p.fail(t, "%s is no name: it is reserved or longer than %d", quote(t.text), maxName)
	} else if s, ok := p.symbols[t.text]; ok {
		p.fail(t, "%s is already defined in line %d", t.text, s.line)
	} else if _, ok := p.outside[t.text]; ok {
		p.taken(t)
	}
	return t
}

// taken refuses to define a name that is bound from outside or, in an outline, was used
// before.
func (p *parser) taken(name token) {
	if p.outline == nil {
		p.fail(name, "%s is already bound from outside", name.text)
		return
	}
	used := p.outline.Free[slices.IndexFunc(p.outline.Free, func(n Name) bool { return n.Text == name.text })]
	defined := p.line
	p.line = used.Line
	p.fail(token{column: used.Column}, "%q is not defined above, but in line %d", name.text, defined)
}

func (p *parser) bind(name token, s symbol) {
	if _, ok := p.outside[name.text]; ok { // the statement uses what it defines
		p.taken(name)
		return
	}
	s.line = p.line
	p.symbols[name.text] = s
	if p.outline != nil {
		p.outline.Defined = append(p.outline.Defined, name.text)
	}
}

func (p *parser) output() {
	t := p.take(word, "a name")
	if p.err != nil {
		return
	}
	s, ok := p.symbols[t.text]
	if !ok || !s.isNode {
		p.fail(t, "%s is no result of a statement above", quote(t.text))
		return
	}
	o := &tacitv1.Output{Node: &s.node, Result: p.result()}
	o.Handle = p.as()
	p.spec.Outputs = append(p.spec.Outputs, o)
}

// result reads an optional dot and the index of a result.
func (p *parser) result() uint32 {
	if !p.accept(".") {
		return 0
	}
	t := p.take(number, "the index of a result")
	if p.err != nil {
		return 0
	}
	if t.text != "0" && t.text != "1" {
		p.fail(t, "%s, but no operation has more than two results, 0 and 1", quote(t.text))
	}
	return uint32(t.text[0] - '0')
}

// as reads an optional handle after the word as.
func (p *parser) as() []byte {
	if !p.accept(wordAs) {
		return nil
	}
	h := p.handle()
	return h[:]
}

func (p *parser) assignment() {
	name := p.define()
	node := &tacitv1.Node{}
	if !unlabelled(name.text) {
		node.Label = name.text
	}
	if p.accept(":") {
		p.resultType(node)
	}
	if near := Nearest(name.text, slices.Values(statements)); near != "" && p.err == nil && p.token.text != "=" {
		p.fail(name, "%s begins no statement, did you mean %s?", quote(name.text), near)
	}
	p.expect("=")
	opToken := p.take(word, "an operation")
	if p.err != nil {
		return
	}
	op, ok := ParseOp(opToken.text)
	if !ok {
		unknown(p, opToken, "operation", opsByName)
		return
	}
	node.Op = &op
	p.expect("(")
	if !p.accept(")") {
		p.operand(node)
		for p.accept(",") {
			p.operand(node)
		}
		p.expect(")")
	}
	node.Result = p.as()
	if p.err != nil {
		return
	}
	p.bind(name, symbol{isNode: true, node: uint32(len(p.spec.Nodes))})
	p.spec.Nodes = append(p.spec.Nodes, node)
	if p.outline != nil {
		p.outline.Lines = append(p.outline.Lines, p.line)
	}
}

// resultType reads a type and makes it the type of the result of node, which has no other.
func (p *parser) resultType(node *tacitv1.Node) {
	t := p.take(word, "a type")
	if p.err != nil {
		return
	}
	typ, ok := ParseType(t.text)
	if !ok {
		unknown(p, t, "type", typesByName)
		return
	}
	if node.Type != nil && *node.Type != typ {
		p.fail(t, "%s, but the result is already %s", TypeName(typ), TypeName(*node.Type))
		return
	}
	node.Type = &typ
}

func (p *parser) operand(node *tacitv1.Node) {
	t := p.token
	if p.accept("[") {
		p.table(t, node)
		return
	}
	switch t.kind {
	case word:
		p.advance()
		in := p.named(t)
		if _, ok := in.Value.(*tacitv1.Input_Node); ok {
			in.Result = p.result()
		}
		node.Inputs = append(node.Inputs, in)
	case number:
		p.advance()
		node.Inputs = append(node.Inputs, &tacitv1.Input{Value: &tacitv1.Input_Scalar{Scalar: p.scalar(t)}})
		colon := p.token
		if !p.accept(":") {
			return
		}
		if signatures[node.GetOp()].decides {
			p.fail(colon, "the plaintext of %s takes the type of the other operand, leave it out here", OpName(node.GetOp()))
			return
		}
		p.resultType(node)
	default:
		p.unexpected("a name or a plaintext")
	}
}

// maxTable is the limit on the values of a table.
const maxTable = 256

// table reads the values of the table of node, and the bracket behind them.
func (p *parser) table(at token, node *tacitv1.Node) {
	size := tableBytes(node.GetType())
	switch {
	case !signatures[node.GetOp()].tables || len(node.Table) > 0:
		p.fail(at, "%s takes no table here", OpName(node.GetOp()))
		return
	case node.Type == nil || size == 0:
		p.fail(at, "a table needs the type of the result before it, of 64 bits at most")
		return
	case IsVector(*node.Type):
		p.vector(node)
		return
	}
	for {
		t := p.take(number, "a value of the table")
		if p.err != nil {
			return
		}
		value := p.scalar(t)
		if len(value) > size {
			p.fail(t, "%s does not fit %s", quote(t.text), TypeName(*node.Type))
		}
		if len(node.Table) == maxTable*size {
			p.fail(t, "a table has %d values at most", maxTable)
		}
		if p.err != nil {
			return
		}
		node.Table = append(node.Table, make([]byte, size-len(value))...)
		node.Table = append(node.Table, value...)
		if p.accept("]") {
			return
		}
		p.expect(",")
		if p.err != nil {
			return
		}
	}
}

// named returns the input that a name stands for.
func (p *parser) named(t token) *tacitv1.Input {
	s, ok := p.symbols[t.text]
	if ok && s.isNode {
		return &tacitv1.Input{Value: &tacitv1.Input_Node{Node: s.node}}
	}
	if !ok {
		s.handle, ok = p.outside[t.text]
	}
	switch {
	case ok:
	case p.outline == nil:
		p.fail(t, "%s is not defined above", quote(t.text))
	case !isName(t.text):
		p.fail(t, "%s is no name: it is reserved or longer than %d", quote(t.text), maxName)
	default:
		p.outside[t.text] = Handle{}
		p.outline.Free = append(p.outline.Free, Name{t.text, p.line, t.column})
	}
	return &tacitv1.Input{Value: &tacitv1.Input_Handle{Handle: s.handle[:]}}
}

// scalar returns the big-endian bytes of a number, without leading zeros.
func (p *parser) scalar(t token) []byte {
	// The decimal digits of the largest plaintext are the longest way to write it.
	const longest = 78
	digits, base := t.text, 10
	if hex, ok := strings.CutPrefix(digits, "0x"); ok {
		digits, base = hex, 16
	}
	digits = strings.TrimLeft(digits, "0")
	if digits == "" && t.text != "0x" {
		return []byte{}
	}
	if len(digits) > longest {
		p.fail(t, "a plaintext longer than %d bits", 8*maxScalar)
		return nil
	}
	value, ok := new(big.Int), !strings.Contains(digits, "_")
	if ok {
		_, ok = value.SetString(digits, base)
	}
	if !ok {
		p.fail(t, "%s is no number", quote(t.text))
		return nil
	}
	if value.BitLen() > 8*maxScalar {
		p.fail(t, "a plaintext longer than %d bits", 8*maxScalar)
		return nil
	}
	return value.Bytes()
}
