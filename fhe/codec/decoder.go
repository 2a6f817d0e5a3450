package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
)

// A Decoder reads the fields of a body, little endian. The first error is kept:
// later calls return zero values, and Err returns it. The argument what of each
// call names the field for errors.
type Decoder struct {
	data []byte    // the rest of the body when it is in memory
	r    io.Reader // where the body comes from otherwise
	left uint64    // bytes not read yet, as claimed when r is set
	path []step
	buf  []byte
	err  error
}

type step struct {
	name  string
	index int
}

// NewDecoder returns a decoder of a body of the given length that is read from
// r, usually a [Reader]. Memory grows with the bytes that arrive, not with the
// length.
func NewDecoder(r io.Reader, length uint64) *Decoder {
	return &Decoder{r: r, left: length}
}

// NewBytesDecoder returns a decoder of a body in memory.
func NewBytesDecoder(body []byte) *Decoder {
	return &Decoder{data: body, left: uint64(len(body))}
}

// Enter puts name[index] before the places in errors, or name alone when index
// is negative, until the matching Leave.
func (d *Decoder) Enter(name string, index int) { d.path = append(d.path, step{name, index}) }

// Leave undoes the last Enter.
func (d *Decoder) Leave() { d.path = d.path[:len(d.path)-1] }

func (d *Decoder) place(what string) string {
	var s string
	for _, p := range d.path {
		s += p.name
		if p.index >= 0 {
			s += "[" + strconv.Itoa(p.index) + "]"
		}
		s += "."
	}
	return s + what
}

// Err returns the first error.
func (d *Decoder) Err() error { return d.err }

// Left returns how many bytes of the body have not been read. With a stream it
// is what the sender claims.
func (d *Decoder) Left() uint64 { return d.left }

// Fail records err, with the place of the field what, unless an earlier error
// is there. Callers use it for values that they refuse.
func (d *Decoder) Fail(what string, err error) {
	if d.err == nil {
		d.err = fmt.Errorf("%s: %w", d.place(what), err)
	}
}

// Finish returns the first error, or ErrTrailing when a part of the body has
// not been read.
func (d *Decoder) Finish() error {
	if d.err == nil && d.left > 0 {
		d.err = fmt.Errorf("%w: %d bytes at the end of the body", ErrTrailing, d.left)
	}
	return d.err
}

// need fails unless count elements of size bytes each may remain.
func (d *Decoder) need(what string, count, size uint64) bool {
	if d.err != nil {
		return false
	}
	if count > d.left/size {
		need := uint64(math.MaxUint64)
		if count <= need/size {
			need = count * size
		}
		d.err = &TruncatedError{Place: d.place(what), Need: need, Have: d.left}
		return false
	}
	return true
}

// next returns the next n bytes, valid until the following call, or nil after
// an error.
func (d *Decoder) next(what string, n int) []byte {
	if !d.need(what, uint64(n), 1) {
		return nil
	}
	d.left -= uint64(n)
	if d.r == nil {
		p := d.data[:n]
		d.data = d.data[n:]
		return p
	}
	if cap(d.buf) < n {
		d.buf = make([]byte, n)
	}
	p := d.buf[:n]
	if got, err := io.ReadFull(d.r, p); err != nil {
		d.readError(what, n, got, err)
		return nil
	}
	return p
}

// readError records an error of the stream in which only got of n bytes came.
func (d *Decoder) readError(what string, n, got int, err error) {
	var truncated *TruncatedError
	if err == io.EOF || err == io.ErrUnexpectedEOF || errors.As(err, &truncated) {
		d.err = &TruncatedError{Place: d.place(what), Need: uint64(n), Have: uint64(got)}
		return
	}
	d.Fail(what, err)
}

// U8 reads one byte.
func (d *Decoder) U8(what string) uint8 {
	if p := d.next(what, 1); p != nil {
		return p[0]
	}
	return 0
}

// U16 reads two bytes.
func (d *Decoder) U16(what string) uint16 {
	if p := d.next(what, 2); p != nil {
		return binary.LittleEndian.Uint16(p)
	}
	return 0
}

// U32 reads four bytes.
func (d *Decoder) U32(what string) uint32 {
	if p := d.next(what, 4); p != nil {
		return binary.LittleEndian.Uint32(p)
	}
	return 0
}

// U64 reads eight bytes.
func (d *Decoder) U64(what string) uint64 {
	if p := d.next(what, 8); p != nil {
		return binary.LittleEndian.Uint64(p)
	}
	return 0
}

// F64 reads eight bytes of IEEE 754 bits. NaN and infinities are refused with
// ErrNotFinite.
func (d *Decoder) F64(what string) float64 {
	v := math.Float64frombits(d.U64(what))
	if !finite(v) {
		d.Fail(what, ErrNotFinite)
		return 0
	}
	return v
}

// Count reads a count in four bytes, which may be at most limit (else a
// *LimitError) and for which at least size bytes each must remain (else a
// *TruncatedError). size is at least 1.
func (d *Decoder) Count(what string, limit, size int) int {
	n := d.U32(what)
	if uint64(n) > uint64(limit) && d.err == nil {
		d.err = &LimitError{What: d.place(what), Got: uint64(n), Max: uint64(limit)}
	}
	if !d.need(what, uint64(n), uint64(size)) {
		return 0
	}
	return int(n)
}

// Bytes reads n bytes into new memory.
func (d *Decoder) Bytes(what string, n int) []byte {
	if !d.need(what, uint64(n), 1) {
		return nil
	}
	out := make([]byte, 0, d.reserve(n))
	for len(out) < n && d.err == nil {
		out = append(out, d.next(what, min(n-len(out), chunk*8))...)
	}
	if d.err != nil {
		return nil
	}
	return out
}

// reserve returns how many of n elements to allocate at once: all when the body
// is in memory, where need has compared n with it, and one chunk when n rests
// on a claim.
func (d *Decoder) reserve(n int) int {
	if d.r != nil {
		return min(n, chunk)
	}
	return n
}

// U32s reads n elements of four bytes each into new memory.
func (d *Decoder) U32s(what string, n int) []uint32 {
	return vector(d, what, n, 4, func(_ int, dst []uint32) { d.u32s(what, dst) })
}

// U32sTo reads len(dst) elements of four bytes each.
func (d *Decoder) U32sTo(what string, dst []uint32) {
	vectorTo(d, what, dst, 4, func(_ int, dst []uint32) { d.u32s(what, dst) })
}

func (d *Decoder) u32s(what string, dst []uint32) {
	if p := d.next(what, 4*len(dst)); p != nil {
		for i := range dst {
			dst[i] = binary.LittleEndian.Uint32(p[4*i:])
		}
	}
}

// Residues reads n residues modulo q <= MaxModulus, six bytes each, into new
// memory. A residue that is not below q is a *ResidueError.
func (d *Decoder) Residues(what string, n int, q uint64) []uint64 {
	return vector(d, what, n, ResidueSize, func(base int, dst []uint64) { d.residues(what, base, dst, q) })
}

// ResiduesTo reads len(dst) residues modulo q, as Residues does. After an error
// the content of dst is undefined.
func (d *Decoder) ResiduesTo(what string, dst []uint64, q uint64) {
	vectorTo(d, what, dst, ResidueSize, func(base int, dst []uint64) { d.residues(what, base, dst, q) })
}

func (d *Decoder) residues(what string, base int, dst []uint64, q uint64) {
	p := d.next(what, ResidueSize*len(dst))
	if p == nil {
		return
	}
	for i := range dst {
		b := p[ResidueSize*i : ResidueSize*i+ResidueSize]
		v := uint64(binary.LittleEndian.Uint32(b)) | uint64(binary.LittleEndian.Uint16(b[4:]))<<32
		if v >= q {
			d.err = &ResidueError{Place: d.place(what), Index: base + i, Value: v, Modulus: q}
			return
		}
		dst[i] = v
	}
}

// CutResidues reads n residues modulo q <= MaxModulus without their drop low bits,
// as Encoder.CutResidues writes them, into new memory. A residue that is not below q
// is a *ResidueError, and a bit that is set after the last one is ErrPadding.
func (d *Decoder) CutResidues(what string, n, drop int, q uint64) []uint64 {
	width := 8*ResidueSize - drop
	p := d.Bytes(what, (n*width+7)/8)
	if d.err != nil {
		return nil
	}
	out := make([]uint64, n)
	var have uint64 // bits that were read and not used, fewer than 8 between elements
	count := 0
	for i := range out {
		for ; count < width; count += 8 {
			have |= uint64(p[0]) << count
			p = p[1:]
		}
		x := have & (1<<width - 1) << drop
		if x >= q {
			d.err = &ResidueError{Place: d.place(what), Index: i, Value: x, Modulus: q}
			return nil
		}
		out[i] = x
		have >>= width
		count -= width
	}
	if have != 0 {
		d.Fail(what, ErrPadding)
		return nil
	}
	return out
}

// vector reads n elements of size bytes into new memory that grows with what
// arrives. read fills one chunk; base is the index of its first element.
func vector[T any](d *Decoder, what string, n int, size uint64, read func(base int, dst []T)) []T {
	if !d.need(what, uint64(n), size) {
		return nil
	}
	out := make([]T, 0, d.reserve(n))
	for len(out) < n && d.err == nil {
		base, m := len(out), min(n-len(out), chunk)
		out = slices.Grow(out, m)[:base+m]
		read(base, out[base:])
	}
	if d.err != nil {
		return nil
	}
	return out
}

// vectorTo fills dst, chunk by chunk.
func vectorTo[T any](d *Decoder, what string, dst []T, size uint64, read func(base int, dst []T)) {
	if !d.need(what, uint64(len(dst)), size) {
		return
	}
	for base := 0; base < len(dst) && d.err == nil; base += chunk {
		read(base, dst[base:min(base+chunk, len(dst))])
	}
}
