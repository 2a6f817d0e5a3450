package codec

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

const (
	// MaxModulus is the greatest modulus of a packed residue vector.
	MaxModulus = 1 << 48
	// ResidueSize is the number of bytes of a packed residue.
	ResidueSize = 6

	// chunk is how many elements of a vector are converted at a time.
	chunk = 1024
)

// An Encoder writes the fields of a body, little endian. The first error is
// kept: later calls do nothing, and Err returns it.
type Encoder struct {
	w   io.Writer
	buf []byte
	err error
}

// NewEncoder returns an encoder to w: a [Writer], or a bytes.Buffer.
func NewEncoder(w io.Writer) *Encoder { return &Encoder{w: w} }

// Err returns the first error.
func (e *Encoder) Err() error { return e.err }

func (e *Encoder) write(p []byte) {
	if e.err == nil {
		_, e.err = e.w.Write(p)
	}
}

// U8 writes one byte.
func (e *Encoder) U8(v uint8) {
	e.buf = append(e.buf[:0], v)
	e.write(e.buf)
}

// U16 writes two bytes.
func (e *Encoder) U16(v uint16) {
	e.buf = binary.LittleEndian.AppendUint16(e.buf[:0], v)
	e.write(e.buf)
}

// U32 writes four bytes.
func (e *Encoder) U32(v uint32) {
	e.buf = binary.LittleEndian.AppendUint32(e.buf[:0], v)
	e.write(e.buf)
}

// U64 writes eight bytes.
func (e *Encoder) U64(v uint64) {
	e.buf = binary.LittleEndian.AppendUint64(e.buf[:0], v)
	e.write(e.buf)
}

// F64 writes the IEEE 754 bits of v in eight bytes. NaN and infinities are
// refused with ErrNotFinite.
func (e *Encoder) F64(v float64) {
	if !finite(v) {
		e.fail(fmt.Errorf("%w: %v", ErrNotFinite, v))
		return
	}
	e.U64(math.Float64bits(v))
}

// Bytes writes p, without its length.
func (e *Encoder) Bytes(p []byte) { e.write(p) }

// U32s writes a vector, four bytes for each element, without its length.
func (e *Encoder) U32s(v []uint32) {
	for len(v) > 0 && e.err == nil {
		n := min(len(v), chunk)
		e.buf = e.buf[:0]
		for _, x := range v[:n] {
			e.buf = binary.LittleEndian.AppendUint32(e.buf, x)
		}
		e.write(e.buf)
		v = v[n:]
	}
}

// Residues writes a vector of residues modulo q <= MaxModulus, six bytes for
// each element, without its length. An element that is not below q is a
// *ResidueError.
func (e *Encoder) Residues(v []uint64, q uint64) {
	if q > MaxModulus {
		e.fail(&LimitError{What: "modulus", Got: q, Max: MaxModulus})
	}
	for base := 0; base < len(v) && e.err == nil; base += chunk {
		e.buf = e.buf[:0]
		for i, x := range v[base:min(base+chunk, len(v))] {
			if x >= q {
				e.fail(&ResidueError{Place: "residues", Index: base + i, Value: x, Modulus: q})
				return
			}
			e.buf = append(e.buf, byte(x), byte(x>>8), byte(x>>16), byte(x>>24), byte(x>>32), byte(x>>40))
		}
		e.write(e.buf)
	}
}

// CutResidues writes a vector of residues modulo q <= MaxModulus whose drop low
// bits are zero, 48-drop bits for each element, without its length: the bits of the
// elements follow one another, low bits first, and zeros fill the last byte. An
// element that is not below q, or has one of the low bits, is a *ResidueError. drop
// is in [0, 47].
func (e *Encoder) CutResidues(v []uint64, drop int, q uint64) {
	if q > MaxModulus {
		e.fail(&LimitError{What: "modulus", Got: q, Max: MaxModulus})
	}
	if e.err != nil {
		return
	}
	width := 8*ResidueSize - drop
	e.buf = e.buf[:0]
	var have uint64 // bits that wait, fewer than 8 between elements
	count := 0
	for i, x := range v {
		if x >= q || x>>drop<<drop != x {
			e.fail(&ResidueError{Place: "residues", Index: i, Value: x, Modulus: q})
			return
		}
		have |= x >> drop << count
		for count += width; count >= 8; count -= 8 {
			e.buf = append(e.buf, byte(have))
			have >>= 8
		}
	}
	if count > 0 {
		e.buf = append(e.buf, byte(have))
	}
	e.write(e.buf)
}

func (e *Encoder) fail(err error) {
	if e.err == nil {
		e.err = err
	}
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
