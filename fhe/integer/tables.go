package integer

import "github.com/tacit-fhe/tacit/fhe"

const (
	signReach = 15 // sign and zero test are negacyclic on [-15, 15]
	lastReach = 7  // a predicate is not, and has the 15 messages of [-7, 7]
)

// tables holds every look-up table that does not depend on a plaintext of more
// than one block.
type tables struct {
	identity *fhe.LUT // [0, 3]

	// [0, 7]: message and carry of a + b + carry, or message alone.
	sum, sumLast *fhe.LUT
	// [0, 7]: message and borrow of 4 + a - b - borrow, or message alone.
	difference, differenceLast *fhe.LUT

	sign      [4]*fhe.LUT      // [-15, 15]: sign times 1, 2, 4 and 8
	predicate map[Op]*fhe.LUT  // [-7, 7]: m < 0, m ≤ 0, m > 0, m ≥ 0
	isZero    *fhe.LUT         // [-15, 15]
	notZero   *fhe.LUT         // [-15, 0]
	bits      map[Op]*fhe.LUT  // [0, 15]: 4a + b
	bit       map[Op]*fhe.LUT  // [0, 2]: a + b of single bits
	mask      map[Op]maskTable // [0, 3]: by the plaintext operand

	ifThen [4]*fhe.LUT // [0, 7]: 4c + b, the plaintext where c, else b
	ifElse [4]*fhe.LUT // [0, 7]: 4c + a, a where c, else the plaintext
	ifBit  *fhe.LUT    // [0, 7]: 4c + 2a + b of single bits
	ifDiff *fhe.LUT    // [-3, 10]: 7c + a - b, a - b where c, else 0

	ifScale *fhe.LUT // [0, 1]: 7c
}

type maskTable [4]*fhe.LUT

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
	lut := func(lo, hi int64, fs ...func(m int64) int64) *fhe.LUT {
		l, err := p.NewLUT(lo, hi, fs...)
		if err != nil && failed == nil {
			failed = err
		}
		return l
	}
	message := func(m int64) int64 { return m % 4 }
	t := &tables{
		identity:       lut(0, 3, message),
		sum:            lut(0, 7, message, func(m int64) int64 { return m / 4 }),
		sumLast:        lut(0, 7, message),
		difference:     lut(0, 7, message, func(m int64) int64 { return 1 - m/4 }),
		differenceLast: lut(0, 7, message),
		predicate:      map[Op]*fhe.LUT{},
		isZero:         lut(-signReach, signReach, isZero),
		notZero:        lut(-signReach, 0, notZero),
		bits:           map[Op]*fhe.LUT{},
		bit:            map[Op]*fhe.LUT{},
		mask:           map[Op]maskTable{},
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
	for i := range t.sign {
		t.sign[i] = lut(-signReach, signReach, func(m int64) int64 { return signOf(m) << i })
	}
	for op, f := range signPredicates {
		t.predicate[op] = lut(-lastReach, lastReach, f)
	}
	for op, f := range bitOps {
		t.bit[op] = lut(0, 2, func(m int64) int64 { return f(m/2, (m+1)/2) })
		if op == OpEq || op == OpNe {
			continue
		}
		t.bits[op] = lut(0, 15, func(m int64) int64 { return f(m/4, m%4) })
		var mask maskTable
		for x := range mask {
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
