package graph

import (
	"encoding/binary"
	"math"
	"slices"
	"strconv"
	"strings"

	tacitv1 "github.com/tacit-fhe/tacit/proto/tacit/v1"
)

// vectors are the types of the leveled schemes.
const vectors typeSet = 1<<tacitv1.Type_TYPE_BGV | 1<<tacitv1.Type_TYPE_BFV | 1<<tacitv1.Type_TYPE_CKKS

// MaxVector is the greatest number of values in a table of an operation on vectors.
const MaxVector = 1 << 15

// numberBytes is the length of one value of such a table.
const numberBytes = 8

// IsVector tells whether t is a type of the leveled schemes.
func IsVector(t tacitv1.Type) bool { return vectors.has(t) }

// checkVectorTable checks the numbers of a table that belongs to a vector.
func checkVectorTable(place string, table []byte, t tacitv1.Type) error {
	if n := len(table); n%numberBytes != 0 || n/numberBytes > MaxVector {
		return refuse(BadTable, place, "%d bytes, want 1 to %d numbers of %d", n, MaxVector, numberBytes)
	}
	if t != tacitv1.Type_TYPE_CKKS {
		return nil
	}
	for i, v := range Reals(table) {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return refuse(BadTable, place, "value %d is not a finite number", i)
		}
	}
	return nil
}

// Integers returns the numbers of a table of a BGV or BFV vector.
func Integers(table []byte) []int64 {
	var out []int64
	for b := range slices.Chunk(table, numberBytes) {
		out = append(out, int64(binary.BigEndian.Uint64(b)))
	}
	return out
}

// Reals returns the numbers of a table of a CKKS vector.
func Reals(table []byte) []float64 {
	var out []float64
	for _, v := range Integers(table) {
		out = append(out, math.Float64frombits(uint64(v)))
	}
	return out
}

// IntegerTable returns the table that Integers reads.
func IntegerTable(values ...int64) []byte {
	var out []byte
	for _, v := range values {
		out = binary.BigEndian.AppendUint64(out, uint64(v))
	}
	return out
}

// RealTable returns the table that Reals reads.
func RealTable(values ...float64) []byte {
	var out []byte
	for _, v := range values {
		out = binary.BigEndian.AppendUint64(out, math.Float64bits(v))
	}
	return out
}

// vector reads the numbers of a table and the bracket behind them. The token is the first number.
func (p *parser) vector(node *tacitv1.Node) {
	start := p.token
	text, rest, closed := strings.Cut(p.text[start.column-1:], "]")
	if !closed {
		p.fail(start, "the table does not end on this line, want \"]\"")
		return
	}
	words := strings.Split(text, ",")
	if len(words) > MaxVector {
		p.fail(start, "a table has %d numbers at most", MaxVector)
		return
	}
	for _, w := range words {
		w = strings.TrimSpace(w)
		if *node.Type == tacitv1.Type_TYPE_CKKS {
			v, err := strconv.ParseFloat(w, 64)
			if err != nil || math.IsNaN(v) || math.IsInf(v, 0) || strings.ContainsAny(w, "_xXpP") {
				p.fail(start, "%s is no number", quote(w))
				return
			}
			node.Table = append(node.Table, RealTable(v)...)
			continue
		}
		v, err := strconv.ParseInt(w, 10, 64)
		if err != nil {
			p.fail(start, "%s is no integer", quote(w))
			return
		}
		node.Table = append(node.Table, IntegerTable(v)...)
	}
	p.next = len(p.text) - len(rest)
	p.advance()
}

// formatVector writes the numbers of a table such that vector reads the same again.
func formatVector(table []byte, t tacitv1.Type) (words []string) {
	if t == tacitv1.Type_TYPE_CKKS {
		for _, v := range Reals(table) {
			words = append(words, strconv.FormatFloat(v, 'g', -1, 64))
		}
		return words
	}
	for _, v := range Integers(table) {
		words = append(words, strconv.FormatInt(v, 10))
	}
	return words
}
