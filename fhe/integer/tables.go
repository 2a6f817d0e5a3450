package integer

import "github.com/tacit-fhe/tacit/fhe"

// signReach bounds the arguments of sign tests, zero tests and predicates. The
// sign is negacyclic on [-15, 15]; what is 0 or 1 there and differs from the
// other half of the torus, or agrees with it, is so with a bias.
const signReach = 15

// tables holds every look-up table that does not depend on a plaintext of more
// than one block.
type tables struct {
	identity *fhe.LUT // [0, 15]

	// A sum of blocks on [c, c+15], or less where message and carry are outputs
	// of one table.
	message, quarter [4]*fhe.LUT
	halves           [4]*fhe.LUT // [c, c+8]: message and carry
	pair             [2]*fhe.LUT // [c, c+10]: message, and two whose difference is the carry less 1
	stairs           *fhe.LUT    // [0, 15]: (m + i)/4 for i = 0..3

	// Lookahead: message and status of a block, on [0, 7], by scale and whether a
	// carry may come in; and the message with the carry in.
	status            [4][2]*fhe.LUT
	carryIn, carryIn2 *fhe.LUT // [0, 7] and [0, 15]

	sign                  [4]*fhe.LUT      // [-15, 15]: sign times 1, 2, 4 and 8
	predicate             map[Op]*fhe.LUT  // [-15, 15]: m < 0, m ≤ 0, m > 0, m ≥ 0
	negative, notNegative *fhe.LUT         // [-16, 15]
	isZero                *fhe.LUT         // [-15, 15]
	notZero               *fhe.LUT         // [-15, 15]
	allFlags              *fhe.LUT         // [-16, 0]: m = 0
	someFlag              *fhe.LUT         // [-16, 0]: m ≠ 0
	bits                  map[Op]*fhe.LUT  // [0, 15]: 4a + b
	bit                   map[Op]*fhe.LUT  // [0, 2]: a + b of single bits
	mask                  map[Op]maskTable // [0, 3]: by the plaintext operand

	ifThen [4]*fhe.LUT // [0, 7]: 4c + b, the plaintext where c, else b
	ifElse [4]*fhe.LUT // [0, 7]: 4c + a, a where c, else the plaintext
	ifBit  *fhe.LUT    // [0, 7]: 4c + 2a + b of single bits
	ifDiff *fhe.LUT    // [-3, 10]: 7c + a - b, a - b where c, else 0

	ifScale *fhe.LUT // [0, 1]: 7c

	both *fhe.LUT // [0, 7]: 4c + b, whether c and b are not 0

	factor  *fhe.LUT // [0, 3]: the factor of a product, see productBoxes
	product *fhe.LUT // [0, 18]: the low and the high part of a product of two factors
	// [0, 7]: 4c + m, m where c is 0, else 0, and its factor
	quotientDigit *fhe.LUT

	// Shifts by an encrypted digit s, on 4s + x. A block is shifted by a bit, or
	// not, and moved by a block if s is at least 2, see shiftTables.
	shiftLeft, shiftRight shiftTables
	pick                  *fhe.LUT // [0, 15]: x where s = 0, 1, 2 or 3, else 0
	pick2                 *fhe.LUT // [0, 7]: the same for s = 0 and 1
	lowBit                *fhe.LUT // [0, 3]
	middle                *fhe.LUT // [0, 15]: 4a + b, the low bit of a over the high bit of b

	uniform, uniformBit *fhe.LUT // [-16, 15]: every message for as much of the torus
	oneHot              *fhe.LUT // [0, 15]: 16 outputs, output i is m = i
	topBits             *fhe.LUT // [0, 3]: 16 times the low and the high bit
}

// maskTable has no tables for 0 and 3: those results are constants or linear.
type maskTable [4]*fhe.LUT

// shiftTables hold what a shift by s bits leaves of a block x: kept at its place,
// or a block further if s is at least 2, and moved on one block more. Both have
// two outputs, for s < 2 and for s ≥ 2.
type shiftTables struct{ kept, moved *fhe.LUT }

// bitOps are the operations on blocks bit by bit; Eq and Ne are those of Bool.
var bitOps = map[Op]func(a, b int64) int64{
	OpAnd: func(a, b int64) int64 { return a & b },
	OpOr:  func(a, b int64) int64 { return a | b },
	OpXor: func(a, b int64) int64 { return a ^ b },
	OpNe:  func(a, b int64) int64 { return a ^ b },
	OpEq:  func(a, b int64) int64 { return 1 ^ a ^ b },
}

// signPredicates are the comparisons of a and b by the sign of a - b.
var signPredicates = map[Op]func(m int64) int64{
	OpLt: func(m int64) int64 { return truth(m < 0) },
	OpLe: func(m int64) int64 { return truth(m <= 0) },
	OpGt: func(m int64) int64 { return truth(m > 0) },
	OpGe: func(m int64) int64 { return truth(m >= 0) },
}

// message and quarter split a sum of blocks into what stays and what is carried.
func message(m int64) int64 { return m & 3 }
func quarter(m int64) int64 { return m >> 2 }

// stair is quarter, moved by i. The table of stair(0) alone is quarter less 2,
// which is negacyclic and goes on to 18: all of them are in it, at their shifts.
// They give the message as well, (m+1)/4 + (m+2)/4 + (m+3)/4 - 3·(m/4) = m mod 4,
// with a norm of 12.
func stair(i int64) func(int64) int64 { return func(m int64) int64 { return (m + i) / 4 } }

// pairBoxes are tables whose boxes c..c+10 hold the message less 2 or 1, and the
// others what makes F(m + shift) - F(m + shift + 1) the carry less 1.
var (
	pairBoxes  = [2][16]int64{{-2, -1, 0, 1, -2, -1, 0, 1, -2, -1, 0, 1, 2, 2, 2, 2}, {-1, 0, 1, 2, -1, 0, 1, 2, -1, 0, 1, 2, 2, 2, 2, 2}}
	pairShifts = [2]int64{8, 7}
)

// factors turns blocks into numbers whose sums tell apart what products can be:
// those of two factors that are not 0 are 2, 4, 6, 10, 12 and 18, for 1·1, 1·2,
// 2·2, 1·3, 2·3 and 3·3. productBoxes holds the low part of the product, less 1,
// at the sum, and the high part, less 1, 4 boxes lower, that is productShift
// higher. The boxes 7 and 11 are free.
var (
	factors      = [4]int64{0, 1, 3, 9}
	productBoxes = [16]int64{-1, -1, 0, -1, 1, -1, -1, 0, 0, -1, 2, 0, 1, 1, 1, 1}
)

const productShift = -4

// box reads a table as the torus does, F(m + 16) = -F(m).
func box(boxes [16]int64, m int64) int64 {
	if m&16 != 0 {
		return -boxes[m&15]
	}
	return boxes[m&15]
}

// carryIn adds the carry c to the message m mod 4 of an argument 4c + m, and
// carryIn2 that of 4s + m, which is s ≥ 2.
func carryIn(m int64) int64  { return (m + m/4) & 3 }
func carryIn2(m int64) int64 { return (m + m/8) & 3 }

// quotientDigit takes a count of up to 3, and 4 more if it is void.
func quotientDigit(m int64) int64 { return m * truth(m < 4) }

// picked is x of an argument 4s + x if s is i, else 0.
func picked(i int64) func(int64) int64 {
	return func(m int64) int64 { return truth(m>>2 == i) * (m & 3) }
}

func isZero(m int64) int64  { return truth(m == 0) }
func notZero(m int64) int64 { return truth(m != 0) }

func truth(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func signOf(m int64) int64 { return truth(m > 0) - truth(m < 0) }

func newTables(p *fhe.Parameters) (*tables, error) {
	var failed error
	keep := func(l *fhe.LUT, err error) *fhe.LUT {
		if err != nil && failed == nil {
			failed = err
		}
		return l
	}
	lut := func(lo, hi int64, fs ...func(m int64) int64) *fhe.LUT { return keep(p.NewLUT(lo, hi, fs...)) }
	shifted := func(lo, hi int64, shifts []int64, fs ...func(m int64) int64) *fhe.LUT {
		return keep(p.NewShiftedLUT(lo, hi, shifts, fs...))
	}
	t := &tables{
		identity: lut(0, 15, func(m int64) int64 { return m }),
		stairs:   shifted(0, foldReach, []int64{0, 1, 2, 3}, stair(0), stair(1), stair(2), stair(3)),
		carryIn:  lut(0, 7, carryIn),
		carryIn2: lut(0, 15, carryIn2),
		factor:   lut(0, 3, func(m int64) int64 { return factors[m] }),
		product: shifted(0, 2*factors[3], []int64{0, productShift},
			func(m int64) int64 { return 1 + box(productBoxes, m) },
			func(m int64) int64 { return 1 + box(productBoxes, m+productShift) }),
		quotientDigit: lut(0, 7, quotientDigit, func(m int64) int64 { return factors[quotientDigit(m)] }),
		pick:          shifted(0, 15, []int64{0, -4, -8, -12}, picked(0), picked(1), picked(2), picked(3)),
		pick2:         shifted(0, 7, []int64{0, -4}, picked(0), picked(1)),
		lowBit:        lut(0, 3, func(m int64) int64 { return m & 1 }),
		middle:        lut(0, 15, func(m int64) int64 { return m >> 1 & 3 }),
		uniform:       lut(-16, 15, func(m int64) int64 { return 3*truth(m < 0) ^ m&3 }),
		uniformBit:    lut(-16, 15, func(m int64) int64 { return truth(m < 0) ^ m&1 }),
		topBits:       lut(0, 3, func(m int64) int64 { return m & 1 << 4 }, func(m int64) int64 { return m >> 1 << 4 }),
		both:          lut(0, 7, func(m int64) int64 { return truth(m > 4) }),
		allFlags:      lut(-16, 0, isZero),
		someFlag:      lut(-16, 0, notZero),
		predicate:     map[Op]*fhe.LUT{},
		negative:      lut(-16, 15, signPredicates[OpLt]),
		notNegative:   lut(-16, 15, signPredicates[OpGe]),
		isZero:        lut(-signReach, signReach, isZero),
		notZero:       lut(-signReach, signReach, notZero),
		bits:          map[Op]*fhe.LUT{},
		bit:           map[Op]*fhe.LUT{},
		mask:          map[Op]maskTable{},
		ifBit: lut(0, 7, func(m int64) int64 {
			if m >= 4 {
				return m / 2 % 2
			}
			return m % 2
		}),
		ifScale: lut(0, 1, func(c int64) int64 { return 7 * c }),
		ifDiff: lut(-3, 10, func(m int64) int64 {
			if m >= 4 {
				return m - 7
			}
			return 0
		}),
	}
	halfway := func(f func(x int64) int64, s int64) *fhe.LUT {
		at := func(m int64) int64 {
			switch m >> 2 {
			case 0:
				return truth(s == 0) * m
			case 1:
				return f(m & 3)
			}
			return 0
		}
		return shifted(0, 15, []int64{0, -8}, at, func(m int64) int64 { return at((m - 8) & 31) })
	}
	up, down := func(x int64) int64 { return x & 1 << 1 }, func(x int64) int64 { return x >> 1 }
	t.shiftLeft = shiftTables{halfway(up, 0), halfway(down, 1)}
	t.shiftRight = shiftTables{halfway(down, 0), halfway(up, 1)}
	var shifts []int64
	var hot []func(int64) int64
	for i := range int64(16) {
		shifts = append(shifts, -i)
		hot = append(hot, func(m int64) int64 { return truth(m == i) })
	}
	t.oneHot = shifted(0, 15, shifts, hot...)
	for c := range t.message {
		lo := int64(c)
		t.message[c] = lut(lo, lo+foldReach, message)
		t.quarter[c] = lut(lo, lo+foldReach, quarter)
		t.halves[c] = lut(lo, lo+8, message, quarter)
	}
	for c, boxes := range pairBoxes {
		lo, shift := int64(c), pairShifts[c]
		t.pair[c] = shifted(lo, lo+pairReach, []int64{0, shift, shift + 1}, message,
			func(m int64) int64 { return box(boxes, m+shift) },
			func(m int64) int64 { return box(boxes, m+shift+1) })
	}
	for i := range t.status {
		t.status[i][0] = lut(0, 7, message, func(m int64) int64 { return (2*truth(m >= 4) - 1) << i })
		t.status[i][1] = lut(0, 7, message, func(m int64) int64 { return signOf(m-3) << i })
	}
	for i := range t.sign {
		t.sign[i] = lut(-signReach, signReach, func(m int64) int64 { return signOf(m) << i })
	}
	for op, f := range signPredicates {
		t.predicate[op] = lut(-signReach, signReach, f)
	}
	for op, f := range bitOps {
		t.bit[op] = lut(0, 2, func(m int64) int64 { return f(m/2, (m+1)/2) })
		if op == OpEq || op == OpNe {
			continue
		}
		t.bits[op] = lut(0, 15, func(m int64) int64 { return f(m/4, m%4) })
		var mask maskTable
		for _, x := range []int{1, 2} {
			mask[x] = lut(0, 3, func(m int64) int64 { return f(m, int64(x)) })
		}
		t.mask[op] = mask
	}
	for x := range t.ifThen {
		t.ifThen[x] = lut(0, 7, func(m int64) int64 {
			if m >= 4 {
				return int64(x)
			}
			return m
		})
		t.ifElse[x] = lut(0, 7, func(m int64) int64 {
			if m >= 4 {
				return m - 4
			}
			return int64(x)
		})
	}
	return t, failed
}
