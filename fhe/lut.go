package fhe

import (
	"fmt"

	"github.com/tacit-fhe/tacit/fhe/noise"
)

// LUT is a look-up table for a programmable bootstrap, in the form of its test
// polynomial. It is defined on messages of [Min, Max] and yields one ciphertext
// per output, all from one blind rotation.
//
// The torus has 2·Boxes boxes and a table is negacyclic, f(m+Boxes) = -f(m), so
// a single output is free on any Boxes consecutive messages. A table of t
// outputs places its functions Boxes/t boxes apart and reads each by a sample
// extraction at its offset: every box keeps its full width, so nothing is lost
// in precision.
type LUT struct {
	min, max int64
	poly     []uint64
	outputs  []lutOutput
}

type lutOutput struct {
	offset   int // coefficient to extract
	min, max int64
}

// LUTError says why functions do not fit one look-up table.
type LUTError struct {
	Message int64
	Reason  string
}

func (e *LUTError) Error() string {
	return fmt.Sprintf("look-up table at message %d: %s", e.Message, e.Reason)
}

// NewLUT builds the table of functions of a message in [lo, hi]; its i-th output
// is Encode(fs[i](m)). One or a power of two of functions fit as long as no box
// is asked for two values that the negacyclic rule contradicts: always when
// hi-lo < Boxes/len(fs). The error is a *LUTError.
func (p *Parameters) NewLUT(lo, hi int64, fs ...func(m int64) int64) (*LUT, error) {
	boxes := int64(p.Boxes())
	count := int64(len(fs))
	switch {
	case count == 0 || count > boxes || boxes%count != 0:
		return nil, &LUTError{lo, fmt.Sprintf("%d outputs do not divide %d boxes", count, boxes)}
	case hi < lo || hi-lo >= 2*boxes:
		return nil, &LUTError{lo, fmt.Sprintf("domain [%d, %d] is empty or wider than the torus", lo, hi)}
	}
	lut := &LUT{min: lo, max: hi}
	values := make([]int64, boxes)
	taken := make([]bool, boxes)
	width := int64(p.lit.PolynomialSize) / boxes
	for i, f := range fs {
		step := int64(i) * (boxes / count)
		out := lutOutput{offset: int(step * width), min: f(lo), max: f(lo)}
		for m := lo; m <= hi; m++ {
			v := f(m)
			out.min, out.max = min(out.min, v), max(out.max, v)
			box := ((m+step)%(2*boxes) + 2*boxes) % (2 * boxes)
			if box >= boxes {
				box, v = box-boxes, -v
			}
			if taken[box] && values[box] != v {
				return nil, &LUTError{m, "the negacyclic rule f(m+Boxes) = -f(m) is broken"}
			}
			taken[box], values[box] = true, v
		}
		lut.outputs = append(lut.outputs, out)
	}
	lut.poly = p.testPolynomial(values)
	return lut, nil
}

// testPolynomial puts box j at the coefficients [j·w - w/2, j·w + w/2), w the
// width of a box, so that an error of up to half a box rounds to the nearest
// message. The lower half of box 0 wraps to the end of the polynomial with its
// sign changed.
func (p *Parameters) testPolynomial(values []int64) []uint64 {
	poly := make([]uint64, p.lit.PolynomialSize)
	width := len(poly) / len(values)
	for i := range poly {
		if box := (i + width/2) / width; box < len(values) {
			poly[i] = p.Encode(values[box])
		} else {
			poly[i] = p.Encode(-values[0])
		}
	}
	return poly
}

// Domain returns the messages that the table is defined on.
func (l *LUT) Domain() (lo, hi int64) { return l.min, l.max }

// Outputs is the number of ciphertexts a bootstrap with this table yields.
func (l *LUT) Outputs() int { return len(l.outputs) }

// Polynomial is the test polynomial, N residues. It must not be changed.
func (l *LUT) Polynomial() []uint64 { return l.poly }

// Offset is the coefficient at which output i is extracted.
func (l *LUT) Offset(i int) int { return l.outputs[i].offset }

// OutputBound is the bound of output i, whose error has the given variance and
// source.
func (l *LUT) OutputBound(i int, variance float64, source uint64) noise.Bound {
	return noise.Bound{Variance: variance, Min: l.outputs[i].min, Max: l.outputs[i].max, Source: source}
}

// Output returns output i of a table as a ciphertext with the given residues: its
// error is that of a bootstrap of its own.
func (p *Parameters) Output(l *LUT, i int, value []uint64) LWE {
	return LWE{value, l.OutputBound(i, p.BootstrapVariance(), source(value))}
}

// PBS is one programmable bootstrap: the message of In goes through LUT. Out
// receives LUT.Outputs() ciphertexts.
type PBS struct {
	In  LWE
	LUT *LUT
	Out []LWE
}
