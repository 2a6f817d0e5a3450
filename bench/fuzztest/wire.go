package fuzztest

import (
	"bytes"
	"encoding/binary"
)

// field is a field of a message in the wire format of protocol buffers (protobuf.dev, "Encoding"), without its length.
// Which fields are messages themselves is not known: those are taken for it that can be read as one.
type field struct {
	tag   uint64 // number and wire type
	value []byte
}

// Wire types. Groups are not read.
const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireFixed32 = 5
)

const (
	maxFieldNumber = 1<<29 - 1 // of the wire format
	maxFields      = 128       // that are read, which takes time
)

// parseWire reads a message. What has no field, or more than are read, is none.
func parseWire(b []byte) (fields []field, ok bool) {
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 || tag>>3 == 0 || tag>>3 > maxFieldNumber {
			return nil, false
		}
		b = b[n:]
		size := uint64(0)
		switch tag & 7 {
		case wireVarint:
			if _, n = binary.Uvarint(b); n <= 0 {
				return nil, false
			}
			size = uint64(n)
		case wireFixed64:
			size = 8
		case wireFixed32:
			size = 4
		case wireBytes:
			if size, n = binary.Uvarint(b); n <= 0 {
				return nil, false
			}
			b = b[n:]
		default:
			return nil, false
		}
		if size > uint64(len(b)) || len(fields) == maxFields {
			return nil, false
		}
		fields = append(fields, field{tag, b[:size:size]})
		b = b[size:]
	}
	return fields, len(fields) > 0
}

func appendWire(dst []byte, fields []field) []byte {
	for _, f := range fields {
		dst = binary.AppendUvarint(dst, f.tag)
		if f.tag&7 == wireBytes {
			dst = binary.AppendUvarint(dst, uint64(len(f.value)))
		}
		dst = append(dst, f.value...)
	}
	return dst
}

// message makes one change to a message, in it or in one of those within it, after which the lengths are right
// again. What is no message is changed as bytes.
func (m *mutator) message(b []byte, argument int) []byte {
	fields, ok := parseWire(b)
	if !ok {
		return m.change(b, argument)
	}
	i := m.IntN(len(fields))
	at := m.IntN(len(fields) + 1)
	switch m.IntN(12) {
	case 0:
		fields = append(fields[:i], fields[i+1:]...)
	case 1:
		fields = insertField(fields, at, fields[i])
	case 2:
		j := m.IntN(len(fields))
		fields[i], fields[j] = fields[j], fields[i]
	case 3:
		fields[i].tag = uint64(1+m.IntN(16))<<3 | fields[i].tag&7
	case 4, 5: // a field of another message
		o, ok := m.part(m.other(argument))
		switch {
		case ok && m.IntN(2) == 0:
			fields = insertField(fields, at, o)
		case ok:
			fields[i].value = o.value
			fields[i].tag = fields[i].tag&^7 | o.tag&7
		}
	default:
		f := &fields[i]
		switch f.tag & 7 {
		case wireVarint:
			v, _ := binary.Uvarint(f.value)
			if m.IntN(2) == 0 {
				v = m.interesting()
			} else {
				v += uint64(m.IntN(17)) - 8
			}
			f.value = binary.AppendUvarint(nil, v)
		case wireBytes:
			f.value = m.message(bytes.Clone(f.value), argument)
		default:
			f.value = bytes.Clone(f.value)
			f.value[m.IntN(len(f.value))] = byte(m.Uint32())
		}
	}
	return appendWire(nil, fields)
}

func insertField(fields []field, at int, f field) []field {
	out := append(make([]field, 0, len(fields)+1), fields[:at]...)
	return append(append(out, f), fields[at:]...)
}

// part returns a field of a message, or of one within it.
func (m *mutator) part(b []byte) (f field, ok bool) {
	fields, ok := parseWire(b)
	if !ok {
		return f, false
	}
	f = fields[m.IntN(len(fields))]
	if f.tag&7 == wireBytes && m.IntN(2) == 0 {
		if inner, ok := m.part(f.value); ok {
			return inner, true
		}
	}
	return f, true
}
