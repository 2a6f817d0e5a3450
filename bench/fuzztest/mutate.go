package fuzztest

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"reflect"
	"strconv"
)

// slackLength is how much longer than the longest argument of the corpus an argument may become, in bytes.
const slackLength = 4096

// at returns the input of an execution: first those of the corpus as they are, then mutations of them. It is the
// same for the same seed, number and corpus, and shares no memory with the corpus.
func (c *corpus) at(seed, number uint64) input {
	if number < uint64(len(c.inputs)) {
		return clone(c.inputs[number])
	}
	m := &mutator{Rand: rand.New(rand.NewPCG(seed, number)), corpus: c}
	which := m.pick()
	in := clone(c.inputs[which])
	m.text = c.text[which]
	// Mostly the bytes, sometimes the other arguments, sometimes both.
	what := m.IntN(8)
	for i, a := range in {
		b, isBytes := raw(a)
		switch {
		case isBytes && (what != 0 || len(in) == 1):
			b = m.bytes(b, i)
			if _, isString := a.(string); isString {
				in[i] = string(b)
			} else {
				in[i] = b[:len(b):len(b)]
			}
		case !isBytes && what < 3 && (what == 0 || m.IntN(2) == 0):
			in[i] = m.scalar(a)
		}
	}
	return in
}

func clone(in input) input {
	out := make(input, len(in))
	for i, a := range in {
		if b, ok := a.([]byte); ok {
			a = append(make([]byte, 0, len(b)), b...)
		}
		out[i] = a
	}
	return out
}

// mutator changes one input.
type mutator struct {
	*rand.Rand
	corpus *corpus
	text   bool // the input is text
}

// pick returns an input of the corpus, of two the smaller one more often: more executions in the same time.
func (m *mutator) pick() int {
	n := len(m.corpus.inputs)
	a, b := m.IntN(n), m.IntN(n)
	if m.corpus.inputs[b].size() < m.corpus.inputs[a].size() && m.IntN(4) != 0 {
		return b
	}
	return a
}

// other returns the argument of another input.
func (m *mutator) other(argument int) []byte {
	b, _ := raw(m.corpus.inputs[m.pick()][argument])
	return b
}

// bytes changes an argument, one to sixteen times.
func (m *mutator) bytes(b []byte, argument int) []byte {
	most := 2*m.corpus.longest + slackLength
	_, wire := parseWire(b)
	for range 1 << m.IntN(5) {
		switch {
		case m.text && m.IntN(2) == 0:
			b = m.token(b)
		case wire && m.IntN(8) != 0:
			b = m.message(b, argument)
		default:
			b = m.change(b, argument)
		}
		if len(b) > most {
			b = b[:most]
		}
	}
	return b
}

// span returns a part of n bytes, seldom a long one: its first byte, and the one after its last.
func (m *mutator) span(n int) (begin, end int) {
	if n == 0 {
		return 0, 0
	}
	length := 1 + m.IntN(n)
	if m.IntN(4) != 0 {
		length = 1 + m.IntN(min(n, 32))
	}
	begin = m.IntN(n - length + 1)
	return begin, begin + length
}

// change makes one change that knows nothing of text.
func (m *mutator) change(b []byte, argument int) []byte {
	if len(b) == 0 {
		return m.insert(b, m.junk())
	}
	i := m.IntN(len(b))
	switch m.IntN(12) {
	case 0:
		b[i] ^= 1 << m.IntN(8)
	case 1:
		b[i] = byte(m.Uint32())
	case 2:
		b[i] += byte(m.IntN(33) - 16)
	case 3:
		m.field(b, func(uint64) uint64 { return m.interesting() })
	case 4: // what may be a length
		m.field(b, func(old uint64) uint64 {
			switch m.IntN(6) {
			case 0:
				return uint64(len(b))
			case 1:
				return uint64(len(b) - i)
			case 2:
				return old * 2
			case 3:
				return old * 256
			default:
				return old + uint64(m.IntN(33)) - 16
			}
		})
	case 5:
		return b[:i]
	case 6:
		begin, end := m.span(len(b))
		return append(b[:begin], b[end:]...)
	case 7:
		return m.insert(b, m.junk())
	case 8: // a block twice, or many times
		begin, end := m.span(len(b))
		block := bytes.Clone(b[begin:end])
		if m.IntN(8) == 0 && len(block) < 64 {
			block = bytes.Repeat(block, 1+m.IntN(64))
		}
		return m.insert(b, block)
	case 9:
		begin, end := m.span(len(b))
		copy(b[i:], bytes.Clone(b[begin:end]))
	case 10: // the beginning of one and the end of another
		o := m.other(argument)
		at := i
		if m.IntN(2) == 0 {
			at = m.IntN(len(o) + 1)
		}
		return append(b[:i:i], o[min(at, len(o)):]...)
	case 11:
		o := m.other(argument)
		begin, end := m.span(len(o))
		if m.IntN(2) == 0 {
			return m.insert(b, o[begin:end])
		}
		copy(b[i:], o[begin:end])
	}
	return b
}

// field changes an integer of one to eight bytes, in either order of bytes.
func (m *mutator) field(b []byte, change func(old uint64) uint64) {
	size := 1 << m.IntN(4)
	if size > len(b) {
		return
	}
	part := b[m.IntN(len(b)-size+1):][:size]
	var word [8]byte
	if m.IntN(2) == 0 {
		copy(word[:], part)
		binary.LittleEndian.PutUint64(word[:], change(binary.LittleEndian.Uint64(word[:])))
		copy(part, word[:])
	} else {
		copy(word[8-size:], part)
		binary.BigEndian.PutUint64(word[:], change(binary.BigEndian.Uint64(word[:])))
		copy(part, word[8-size:])
	}
}

// interesting returns a number at which decoders break: near a power of two, or a small one.
func (m *mutator) interesting() uint64 {
	switch n := uint64(1) << m.IntN(64); m.IntN(5) {
	case 0:
		return n
	case 1:
		return n - 1
	case 2:
		return n + 1
	case 3:
		return -n
	default:
		return uint64(m.IntN(17))
	}
}

// junk returns a few bytes, random or alike.
func (m *mutator) junk() []byte {
	b := make([]byte, 1+m.IntN(32))
	fill := m.Uint64()
	for i := range b {
		switch {
		case fill%4 == 0:
			b[i] = byte(fill >> 8)
		case fill%4 > 1:
			b[i] = byte(m.Uint32())
		}
	}
	return b
}

func (m *mutator) insert(b, block []byte) []byte {
	i := m.IntN(len(b) + 1)
	out := make([]byte, 0, len(b)+len(block))
	return append(append(append(out, b[:i]...), block...), b[i:]...)
}

// token makes one change to a word, a number or a mark of a text.
func (m *mutator) token(b []byte) []byte {
	if len(b) == 0 {
		return m.insert(b, m.word())
	}
	begin, end := tokenAt(b, m.IntN(len(b)))
	switch m.IntN(5) {
	case 0: // take one away
		return append(b[:begin], b[end:]...)
	case 1: // another one beside it
		end = begin
	case 2: // a line twice
		begin = bytes.LastIndexByte(b[:begin], '\n') + 1
		if after := bytes.IndexByte(b[begin:], '\n'); after >= 0 {
			end = begin + after + 1
		} else {
			end = len(b)
		}
		line := bytes.Clone(b[begin:end])
		return splice(b, begin, begin, line)
	}
	return splice(b, begin, end, m.word())
}

// word returns a token of the corpus, or a number.
func (m *mutator) word() []byte {
	if len(m.corpus.tokens) == 0 || m.IntN(8) == 0 {
		return strconv.AppendUint(nil, m.interesting(), 10)
	}
	return []byte(m.corpus.tokens[m.IntN(len(m.corpus.tokens))])
}

// splice replaces a part.
func splice(b []byte, begin, end int, by []byte) []byte {
	out := make([]byte, 0, len(b)-(end-begin)+len(by))
	return append(append(append(out, b[:begin]...), by...), b[end:]...)
}

// scalar returns another value of the same type.
func (m *mutator) scalar(a any) any {
	v := reflect.New(reflect.TypeOf(a)).Elem()
	v.Set(reflect.ValueOf(a))
	n := m.interesting()
	switch m.IntN(4) {
	case 0:
		n = m.Uint64()
	case 1:
		n = uint64(m.IntN(math.MaxUint16))
	}
	near := m.IntN(4) == 0
	switch {
	case v.Kind() == reflect.Bool:
		v.SetBool(!v.Bool())
	case v.CanUint() && near:
		v.SetUint(v.Uint() + n%16 - 8)
	case v.CanUint():
		v.SetUint(n)
	case near:
		v.SetInt(v.Int() + int64(n%16) - 8)
	default:
		v.SetInt(int64(n))
	}
	return v.Interface()
}
