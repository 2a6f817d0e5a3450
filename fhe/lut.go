package fhe

import (
	"fmt"
	"math/bits"

	"github.com/tacit-fhe/tacit/fhe/noise"
)

// LUT is a look-up table for a programmable bootstrap, in the form of its test
// polynomial. It is defined on messages of [Min, Max] and yields one ciphertext
// per output, all from one blind rotation.
//
// The torus has 2·Boxes boxes and a table is negacyclic, F(m+Boxes) = -F(m), so
// a single output is free on any Boxes consecutive messages. An output reads the
// table at a shift, F(m + shift), by a sample extraction at its offset: every box
// keeps its full width, so several outputs lose nothing in precision. What is
// read may differ from the function by a constant, the bias, which is added
// after the extraction and which lets functions meet in a box or go on beyond
// Boxes messages: 0 or 1 is 1/2 and -1/2 or 1/2, and that is negacyclic.
//
// Errors of outputs read d coefficients apart are correlated, by (1 - 2d/N)/2 of
// the part that comes from rounding the accumulator: a rounding error reaches both
// where two ones of the binary key are d apart. Outputs half a table apart are
// independent, the difference of near ones is quieter than its weights say, and
// their sum is louder, with the default parameters by an eighth at most.
type LUT struct {
	min, max int64
	log      int // the functions count in 2^-log steps
	poly     []uint64
	id       uint64
	outputs  []lutOutput
}

type lutOutput struct {
	offset   int   // coefficient to extract
	negate   bool  // the shift has passed half the torus
	bias     int64 // in 2^-(log+1) steps
	min, max int64
	values   []int64 // at min.. of the table, in its steps
}

// LUTError says why functions do not fit one look-up table.
type LUTError struct {
	Message int64
	Reason  string
}

func (e *LUTError) Error() string {
	return fmt.Sprintf("look-up table at message %d: %s", e.Message, e.Reason)
}

// maxFraction bounds the log of NewFractionLUT.
const maxFraction = 8

// NewLUT builds the table of functions of a message in [lo, hi]; its i-th output
// is Encode(fs[i](m)). One or a power of two of functions fit as long as no box
// is asked for two values that no bias reconciles: always when hi-lo <
// Boxes/len(fs). The error is a *LUTError.
func (p *Parameters) NewLUT(lo, hi int64, fs ...func(m int64) int64) (*LUT, error) {
	if count := len(fs); count == 0 || p.Boxes()%count != 0 {
		return nil, &LUTError{lo, fmt.Sprintf("%d outputs do not divide %d boxes", count, p.Boxes())}
	}
	shifts := make([]int64, len(fs))
	for i := range shifts {
		shifts[i] = int64(i * p.Boxes() / len(fs))
	}
	return p.newLUT(lo, hi, 0, shifts, fs)
}

// NewShiftedLUT is NewLUT with chosen shifts, in boxes, one for each function.
func (p *Parameters) NewShiftedLUT(lo, hi int64, shifts []int64, fs ...func(m int64) int64) (*LUT, error) {
	if len(fs) == 0 || len(fs) != len(shifts) || len(fs) > 2*p.Boxes() {
		return nil, &LUTError{lo, fmt.Sprintf("there are %d shifts for %d outputs", len(shifts), len(fs))}
	}
	return p.newLUT(lo, hi, 0, shifts, fs)
}

// NewFractionLUT builds the table of one function that counts in 2^-log steps,
// log at most 8. Its output is the residue nearest to f(m)/2^log steps; it is a
// ciphertext of messages only in sums in which the fractions cancel.
func (p *Parameters) NewFractionLUT(lo, hi int64, log int, f func(m int64) int64) (*LUT, error) {
	if log < 0 || log > maxFraction {
		return nil, &LUTError{lo, fmt.Sprintf("2^-%d steps are too fine or too coarse", log)}
	}
	return p.newLUT(lo, hi, log, []int64{0}, []func(int64) int64{f})
}

// entry is what an output wants of a box: sign·(2·value - bias).
type entry struct {
	output      int
	sign, value int64
	message     int64
}

func (p *Parameters) newLUT(lo, hi int64, log int, shifts []int64, fs []func(m int64) int64) (*LUT, error) {
	boxes := int64(p.Boxes())
	if hi < lo || hi-lo >= 4*boxes {
		return nil, &LUTError{lo, fmt.Sprintf("domain [%d, %d] is empty or wider than two turns of the torus", lo, hi)}
	}
	lut := &LUT{min: lo, max: hi, log: log}
	wanted := make([][]entry, boxes)
	width := int64(p.lit.PolynomialSize) / boxes
	for i, f := range fs {
		shift := (shifts[i]%(2*boxes) + 2*boxes) % (2 * boxes)
		out := lutOutput{offset: int(shift % boxes * width), negate: shift >= boxes, min: f(lo), max: f(lo)}
		for m := lo; m <= hi; m++ {
			e := entry{i, 1, f(m), m}
			out.min, out.max = min(out.min, e.value), max(out.max, e.value)
			out.values = append(out.values, e.value)
			box := ((m+shift)%(2*boxes) + 2*boxes) % (2 * boxes)
			if box >= boxes {
				box, e.sign = box-boxes, -1
			}
			wanted[box] = append(wanted[box], e)
		}
		if log > 0 { // whole steps around the fractions
			out.min, out.max = out.min>>log, (out.max+1<<log-1)>>log
		}
		lut.outputs = append(lut.outputs, out)
	}
	biases, err := findBiases(len(fs), wanted)
	if err != nil {
		return nil, err
	}
	for i := range lut.outputs {
		lut.outputs[i].bias = biases[i]
	}
	values := make([]int64, boxes)
	for box, entries := range wanted {
		if len(entries) > 0 {
			e := entries[0]
			values[box] = e.sign * (2*e.value - biases[e.output])
		}
	}
	lut.poly = p.testPolynomial(values, log+1)
	lut.id = uint64(log)
	for _, v := range values { // FNV-1a, word by word
		lut.id = (lut.id ^ uint64(v)) * 0x100000001b3
	}
	return lut, nil
}

// findBiases returns the bias of every output with which the outputs agree on
// every box, 0 where nothing forces another.
//
// Two entries of a box ask for sign·(2·value - bias) = sign'·(2·value' - bias'),
// that is bias' = t·bias + c with t = ±1. Outputs that meet are all ±x + c for
// one x, and an output that meets another, or itself, in two ways determines x.
func findBiases(outputs int, wanted [][]entry) ([]int64, error) {
	type affine struct{ sign, c int64 } // sign·x + c
	biases := make([]int64, outputs)
	known := make([]affine, outputs) // sign 0 before it is reached
	for root := range outputs {
		if known[root].sign != 0 {
			continue
		}
		known[root] = affine{1, 0}
		reached := []int{root}
		var x int64
		determined := false
		for grown := true; grown; {
			grown = false
			for _, entries := range wanted {
				for i := 1; i < len(entries); i++ {
					a, b := entries[i-1], entries[i]
					if known[a.output].sign == 0 {
						a, b = b, a
					}
					from, to := known[a.output], &known[b.output]
					if from.sign == 0 {
						continue
					}
					t := a.sign * b.sign
					via := affine{t * from.sign, t*from.c + 2*(b.value-t*a.value)}
					switch {
					case to.sign == 0:
						*to = via
						reached = append(reached, b.output)
						grown = true
					case to.sign == via.sign:
						if to.c != via.c {
							return nil, &LUTError{b.message, "the negacyclic rule F(m+Boxes) = -F(m) is broken"}
						}
					default: // c and c' are even
						solution := (via.c - to.c) / 2 * to.sign
						if determined && solution != x {
							return nil, &LUTError{b.message, "the negacyclic rule F(m+Boxes) = -F(m) is broken"}
						}
						x, determined = solution, true
					}
				}
			}
		}
		for _, i := range reached {
			biases[i] = known[i].sign*x + known[i].c
		}
	}
	return biases, nil
}

// testPolynomial puts box j at the coefficients [j·w - w/2, j·w + w/2), w the
// width of a box, so that an error of up to half a box rounds to the nearest
// message. The lower half of box 0 wraps to the end of the polynomial with its
// sign changed. The values count in 2^-log steps.
func (p *Parameters) testPolynomial(values []int64, log int) []uint64 {
	poly := make([]uint64, p.lit.PolynomialSize)
	width := len(poly) / len(values)
	for i := range poly {
		if box := (i + width/2) / width; box < len(values) {
			poly[i] = p.encodeFraction(values[box], log)
		} else {
			poly[i] = p.encodeFraction(-values[0], log)
		}
	}
	return poly
}

// encodeFraction is the residue nearest to x/2^log steps, log at most
// maxFraction+1.
func (p *Parameters) encodeFraction(x int64, log int) uint64 {
	log += p.lit.MessageBits + p.lit.CarryBits + 1
	// With at most 8 message bits x is below 2^18 and the product below 2^66
	// where q has 48 bits: two words.
	hi, lo := bits.Mul64(uint64(x)&(1<<log-1), p.lit.Modulus)
	lo, carry := bits.Add64(lo, 1<<log/2, 0)
	return (hi+carry)<<(64-log) | lo>>log
}

// Domain returns the messages that the table is defined on.
func (l *LUT) Domain() (lo, hi int64) { return l.min, l.max }

// At is what output i yields for the message m; ok is false outside the domain, or
// if the table counts in fractions.
func (l *LUT) At(i int, m int64) (y int64, ok bool) {
	if m < l.min || m > l.max || l.log > 0 {
		return 0, false
	}
	return l.outputs[i].values[m-l.min], true
}

// Outputs is the number of ciphertexts a bootstrap with this table yields.
func (l *LUT) Outputs() int { return len(l.outputs) }

// Polynomial is the test polynomial, N residues. It must not be changed.
func (l *LUT) Polynomial() []uint64 { return l.poly }

// ID is a number that tables of the same polynomial have in common and others
// have not, but for one pair in 2^32 or so.
func (l *LUT) ID() uint64 { return l.id }

// Offset is the coefficient at which output i is extracted.
func (l *LUT) Offset(i int) int { return l.outputs[i].offset }

// OutputBound is the bound of output i, whose error has the given variance and
// source.
func (l *LUT) OutputBound(i int, variance float64, source uint64) noise.Bound {
	return noise.Bound{Variance: variance, Min: l.outputs[i].min, Max: l.outputs[i].max, Source: source}
}

// Output returns output i of a table as a ciphertext with the residues that were
// extracted at its offset, which it changes where the output is negated or has a
// bias: its error is that of a bootstrap of its own. Outputs of one ciphertext with a
// table and with its negative have opposite errors and masks, and so the same source.
func (p *Parameters) Output(l *LUT, i int, value []uint64) LWE {
	if l.outputs[i].negate {
		for j, x := range value {
			value[j] = SubMod(0, x, p.lit.Modulus)
		}
	}
	if bias := l.outputs[i].bias; bias != 0 {
		body := &value[len(value)-1]
		*body = AddMod(*body, p.encodeFraction(bias, l.log+1), p.lit.Modulus)
	}
	name := min(value[0], SubMod(0, value[0], p.lit.Modulus))
	return LWE{value, l.OutputBound(i, p.BootstrapVariance(), source(name))}
}

// PBS is one programmable bootstrap: the message of In goes through LUT. Out
// receives LUT.Outputs() ciphertexts.
type PBS struct {
	In  LWE
	LUT *LUT
	Out []LWE
}
