package workloads

import (
	"context"
	"hash/crc32"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"

	"github.com/tacit-fhe/tacit/bench/workloads/parity"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/integer"
	"github.com/tacit-fhe/tacit/fhe/leveled"
)

// studies are the programs that comparisons of libraries measure ("New Insights
// into Fully Homomorphic Encryption Libraries via Standardized Benchmarks",
// 2022/425).
var studies = []*Workload{
	{
		Name: "chi-squared", About: "The terms of a chi-squared test of three genotype counts of 6 bits.",
		Unit: "tests", Sizes: []int{1},
		Inputs: func(r *rand.Rand, _ int) Values { return uniform(r, 3, 6) },
		Oracle: func(_ int, in Values) Values {
			v := ints(in)
			d, b, c := 4*v[0]*v[2]-v[1]*v[1], 2*v[0]+v[1], 2*v[2]+v[1]
			return of(d*d, 2*b*b, b*c, 2*c*c)
		},
		Integers: &Integers{Types: func(int) []integer.Type { return same(integer.Uint8, 3) }, Compute: chiSquared},
		Vectors: &Vectors{
			Depth: constant(2), Max: constant(int64(4 * 63 * 63 * 4 * 63 * 63)), Bits: 6, Degrees: []int{4, 2},
			Split: apart,
			Compute: func(e *VectorEvaluator, _ int, in []Vector) []Vector {
				n0, n1, n2 := in[0], in[1], in[2]
				d := e.Sub(e.MulScalar(e.Mul(n0, n2), 4), e.Mul(n1, n1))
				b, c := e.Add(e.MulScalar(n0, 2), n1), e.Add(e.MulScalar(n2, 2), n1)
				return []Vector{e.Mul(d, d), e.MulScalar(e.Mul(b, b), 2), e.Mul(b, c), e.MulScalar(e.Mul(c, c), 2)}
			},
		},
	},
	{
		Name: "euclidean", About: "The squared Euclidean distance of two vectors of 8-bit numbers.",
		Unit: "coordinates", Sizes: []int{4, 16, 64},
		Inputs: func(r *rand.Rand, size int) Values { return uniform(r, 2*size, 8) },
		Oracle: distance(func(d int64) int64 { return d * d }),
		Integers: &Integers{
			Types: func(size int) []integer.Type { return same(integer.Uint8, 2*size) },
			Compute: termwise(func(ctx context.Context, e *integer.Evaluator, a, b *integer.Value) (*integer.Value, error) {
				// The square of a difference below 2^8 is right modulo 2^16, wrapped or not.
				wide, err := widen(ctx, e, integer.Uint16, []*integer.Value{a, b})
				if err != nil {
					return nil, err
				}
				d, err := e.Sub(ctx, wide[0], wide[1])
				if err != nil {
					return nil, err
				}
				return e.Mul(ctx, d, d)
			}),
		},
		Vectors: &Vectors{
			Depth: constant(1), Max: func(size int) int64 { return int64(size) << 16 }, Bits: 8, Degrees: []int{2},
			Split: halves, Compute: squaredDistance,
		},
	},
	{
		Name: "hamming", About: "The Hamming distance of two vectors of bits.",
		Unit: "bits", Sizes: []int{16, 64, 256},
		Inputs: func(r *rand.Rand, size int) Values { return uniform(r, 2*size, 1) },
		Oracle: distance(func(d int64) int64 { return d * d }),
		Integers: &Integers{
			Types: func(size int) []integer.Type { return same(integer.Bool, 2*size) },
			Compute: termwise(func(ctx context.Context, e *integer.Evaluator, a, b *integer.Value) (*integer.Value, error) {
				return e.Ne(ctx, a, b)
			}),
		},
		Vectors: &Vectors{
			Depth: constant(1), Max: func(size int) int64 { return int64(size) }, Degrees: []int{2},
			Split: halves, Compute: squaredDistance,
		},
	},
	{
		Name: "manhattan", About: "The Manhattan distance of two vectors of 8-bit numbers.",
		Unit: "coordinates", Sizes: []int{4, 16, 64},
		Inputs: func(r *rand.Rand, size int) Values { return uniform(r, 2*size, 8) },
		Oracle: distance(func(d int64) int64 { return max(d, -d) }),
		Integers: &Integers{
			Types: func(size int) []integer.Type { return same(integer.Uint8, 2*size) },
			Compute: termwise(func(ctx context.Context, e *integer.Evaluator, a, b *integer.Value) (*integer.Value, error) {
				p, err := exchange(ctx, e, pair{a, b})
				if err != nil {
					return nil, err
				}
				return e.Sub(ctx, p[0][1], p[0][0])
			}),
		},
		Absent: leveledAbsent("an absolute value takes a comparison: " + noCompare),
	},
	{
		Name: "logistic", About: "Inference of a logistic regression with a public model on 8 encrypted features of 5 bits, as a probability in 1/256.",
		Unit: "features", Sizes: []int{8}, Tolerance: 4,
		Inputs: func(r *rand.Rand, size int) Values { return uniform(r, size, 5) },
		Oracle: func(_ int, in Values) Values {
			z := int64(logisticBias)
			for i, x := range ints(in) {
				z += logisticWeights[i] * x
			}
			return of(int64(math.Round(256 * sigmoid(float64(z)/256))))
		},
		Integers: &Integers{Types: func(size int) []integer.Type { return same(integer.Uint8, size) }, Compute: logistic},
		Vectors: &Vectors{
			Depth: constant(6), Max: constant(int64(1 << 20)), Bits: 5, Real: true,
			Compute: func(e *VectorEvaluator, size int, in []Vector) []Vector {
				z := e.AddPlain(e.InnerSum(e.MulPlain(in[0], logisticWeights), size), []int64{logisticBias}, 1)
				// Slots hold z/32, which lies in [-64, 64]; the probability counts in units of 32.
				return []Vector{e.Evaluate(z, leveled.Approximate(func(x float64) float64 { return 8 * sigmoid(x/8) }, -64, 64, 15))}
			},
		},
		Absent: map[string]string{BGV: noSigmoid, BFV: noSigmoid},
	},
	{
		Name: "matrix", About: "The product of two square matrices of 8-bit numbers.",
		Unit: "rows", Sizes: []int{2, 4, 8},
		Inputs: func(r *rand.Rand, size int) Values { return uniform(r, 2*size*size, 8) },
		Oracle: func(n int, in Values) Values {
			v := ints(in)
			a, b, c := v[:n*n], v[n*n:], make([]int64, n*n)
			for i := range c {
				for k := range n {
					c[i] += a[i/n*n+k] * b[k*n+i%n]
				}
			}
			return of(c...)
		},
		Integers: &Integers{Types: func(n int) []integer.Type { return same(integer.Uint8, 2*n*n) }, Compute: matrix},
		Vectors: &Vectors{
			Depth: constant(1), Max: func(n int) int64 { return int64(n) << 16 }, Bits: 8, Degrees: []int{2},
			Results: func(n int) int { return n * n },
			// For every k column k of the first and row k of the second, repeated to whole matrices.
			Split: func(n int, in []int64) [][]int64 {
				out := make([][]int64, 2*n)
				for k := range n {
					for i := range n * n {
						out[k] = append(out[k], in[i/n*n+k])
						out[n+k] = append(out[n+k], in[n*n+k*n+i%n])
					}
				}
				return out
			},
			Compute: func(e *VectorEvaluator, n int, in []Vector) []Vector {
				sum := e.Mul(in[0], in[n])
				for k := 1; k < n; k++ {
					sum = e.Add(sum, e.Mul(in[k], in[n+k]))
				}
				return []Vector{sum}
			},
		},
	},
	{
		Name: "network", About: "Inference of a public neural network of 4 inputs of 4 bits, 4 neurons with squares and 2 outputs.",
		Unit: "inputs", Sizes: []int{4},
		Inputs: func(r *rand.Rand, size int) Values { return uniform(r, size, 4) },
		Oracle: func(_ int, in Values) Values {
			out := []int64{networkBias, networkBias}
			for j, weights := range networkHidden {
				h := int64(0)
				for i, x := range ints(in) {
					h += weights[i] * x
				}
				for o := range out {
					out[o] += networkOutput[o][j] * h * h
				}
			}
			return of(out...)
		},
		Integers: &Integers{Types: func(size int) []integer.Type { return same(integer.Uint8, size) }, Compute: inference},
		Vectors: &Vectors{
			Depth: constant(3), Max: constant(int64(1 << 20)), Bits: 4, Degrees: []int{2},
			// The inputs once for every neuron.
			Split: func(_ int, in []int64) [][]int64 { return [][]int64{slices.Repeat(in, len(networkHidden))} },
			Compute: func(e *VectorEvaluator, size int, in []Vector) (out []Vector) {
				h := e.InnerSum(e.MulPlain(in[0], slices.Concat(networkHidden...)), size)
				h = e.Mul(h, h)
				for _, weights := range networkOutput {
					spread := make([]int64, size*len(weights)) // neuron j is in slot size·j
					for j, w := range weights {
						spread[size*j] = w
					}
					out = append(out, e.AddPlain(e.InnerSum(e.MulPlain(h, spread), len(spread)), []int64{networkBias}, 2))
				}
				return out
			},
		},
	},
	{
		Name: "retrieval", About: "Private information retrieval: one of the server's bytes by an encrypted index, the sum over all of them included.",
		Unit: "bytes", Sizes: []int{16, 64, 256},
		Inputs: func(r *rand.Rand, size int) Values { return of(r.Int64N(int64(size))) },
		Oracle: func(_ int, in Values) Values { return of(stored(in[0].Int64())) },
		Integers: &Integers{
			Types: func(int) []integer.Type { return same(integer.Uint8, 1) },
			Compute: func(ctx context.Context, e *integer.Evaluator, size int, in []*integer.Value) ([]*integer.Value, error) {
				values := make([]uint64, 256)
				for i := range size {
					values[i] = uint64(stored(int64(i)))
				}
				table, err := integer.NewTable(integer.Uint8, values)
				if err != nil {
					return nil, err
				}
				return e.ApplyAll(ctx, integer.OpLookup, in[0], table)
			},
		},
		Vectors: &Vectors{
			Depth: constant(1), Max: constant(int64(255)),
			Split: func(size int, in []int64) [][]int64 { // 1 at the index
				query := make([]int64, size)
				query[in[0]] = 1
				return [][]int64{query}
			},
			Compute: func(e *VectorEvaluator, size int, in []Vector) []Vector {
				bytes := make([]int64, size)
				for i := range bytes {
					bytes[i] = stored(int64(i))
				}
				return []Vector{e.InnerSum(e.MulPlain(in[0], bytes), size)}
			},
		},
	},
	checksum("crc-8", "CRC-8 of encrypted bytes (polynomial 0x07).", 8, 0xe0, 0, crc8),
	checksum("crc-32", "CRC-32 of encrypted bytes (IEEE 802.3).", 32, crc32.IEEE, 0xffffffff, crc32.ChecksumIEEE),
	{
		Name: "sort", About: "Numbers of 8 bits in ascending order.",
		Unit: "numbers", Sizes: []int{4, 8, 16},
		Inputs: func(r *rand.Rand, size int) Values { return uniform(r, size, 8) },
		Oracle: func(_ int, in Values) Values { return slices.SortedFunc(slices.Values(in), (*big.Int).Cmp) },
		Integers: &Integers{
			Types: func(size int) []integer.Type { return same(integer.Uint8, size) },
			Compute: func(ctx context.Context, e *integer.Evaluator, _ int, in []*integer.Value) ([]*integer.Value, error) {
				return Sort(ctx, e, in)
			},
		},
		Absent: leveledAbsent(noCompare),
	},
	{
		Name: "fibonacci", About: "A Fibonacci number from two encrypted ones of 8 bits.",
		Unit: "steps", Sizes: []int{10, 20},
		Inputs: func(r *rand.Rand, _ int) Values { return uniform(r, 2, 8) },
		Oracle: func(size int, in Values) Values {
			a, b := in[0].Int64(), in[1].Int64()
			for range size {
				a, b = b, a+b
			}
			return of(a)
		},
		Integers: &Integers{
			Types: func(int) []integer.Type { return same(integer.Uint32, 2) },
			Compute: func(ctx context.Context, e *integer.Evaluator, size int, in []*integer.Value) ([]*integer.Value, error) {
				a, b := in[0], in[1]
				for range size - 1 {
					next, err := e.Add(ctx, a, b)
					if err != nil {
						return nil, err
					}
					a, b = b, next
				}
				return []*integer.Value{b}, nil
			},
		},
		Vectors: &Vectors{
			Depth: constant(0), Bits: 8, Split: apart,
			Max: func(size int) int64 { return 1 << (8 + 7*size/10) }, // the golden ratio is below 2^0.7
			Compute: func(e *VectorEvaluator, size int, in []Vector) []Vector {
				a, b := in[0], in[1]
				for range size - 1 {
					a, b = b, e.Add(a, b)
				}
				return []Vector{b}
			},
		},
	},
	{
		Name: "key-value", About: "Look-up of an encrypted key of 16 bits in an encrypted store: its value of 16 bits, or 0, and whether it is there.",
		Unit: "entries", Sizes: []int{4, 16, 64},
		Inputs: func(r *rand.Rand, size int) Values { // the query, all keys, all values
			keys := r.Perm(1 << 16)[:size+1]
			in := of(int64(keys[r.IntN(size+1)])) // the last one is not in the store
			for _, k := range keys[:size] {
				in = append(in, big.NewInt(int64(k)))
			}
			return append(in, uniform(r, size, 16)...)
		},
		Oracle: func(size int, in Values) Values {
			for i, k := range in[1 : 1+size] {
				if k.Cmp(in[0]) == 0 {
					return Values{in[1+size+i], big.NewInt(1)}
				}
			}
			return of(0, 0)
		},
		Integers: &Integers{
			Types: func(size int) []integer.Type { return same(integer.Uint16, 1+2*size) },
			Compute: func(ctx context.Context, e *integer.Evaluator, size int, in []*integer.Value) ([]*integer.Value, error) {
				value, found, err := Find(ctx, e, in[0], in[1:1+size], in[1+size:])
				return []*integer.Value{value, found}, err
			},
		},
		Absent: leveledAbsent("whether two encrypted numbers are equal is a polynomial of a degree of the order of the plaintext modulus"),
	},
}

const noSigmoid = "a sigmoid is a polynomial with real coefficients"

// apart makes a vector of every input.
func apart(_ int, in []int64) (out [][]int64) {
	for _, x := range in {
		out = append(out, []int64{x})
	}
	return out
}

// halves makes two vectors of the inputs.
func halves(size int, in []int64) [][]int64 { return [][]int64{in[:size], in[size:]} }

// distance is the sum of a function of the differences of two vectors.
func distance(f func(d int64) int64) func(size int, in Values) Values {
	return func(size int, in Values) Values {
		v := ints(in)
		sum := int64(0)
		for i, x := range v[:size] {
			sum += f(x - v[size+i])
		}
		return of(sum)
	}
}

func squaredDistance(e *VectorEvaluator, size int, in []Vector) []Vector {
	d := e.Sub(in[0], in[1])
	return []Vector{e.InnerSum(e.Mul(d, d), powerOfTwo(size))}
}

// termwise is the sum, as a Uint32, of a function of the coordinates of two vectors.
func termwise(f func(ctx context.Context, e *integer.Evaluator, a, b *integer.Value) (*integer.Value, error)) func(context.Context, *integer.Evaluator, int, []*integer.Value) ([]*integer.Value, error) {
	return func(ctx context.Context, e *integer.Evaluator, size int, in []*integer.Value) ([]*integer.Value, error) {
		terms := make([]*integer.Value, size)
		var g group
		for i := range terms {
			g.set(&terms[i], func() (*integer.Value, error) {
				x, err := f(ctx, e, in[i], in[size+i])
				if err != nil {
					return nil, err
				}
				return e.Cast(ctx, x, integer.Uint32)
			})
		}
		if err := g.end(); err != nil {
			return nil, err
		}
		out, err := sum(ctx, e, operands(terms))
		return []*integer.Value{out}, err
	}
}

func operands(values []*integer.Value) []integer.Operand {
	out := make([]integer.Operand, len(values))
	for i, v := range values {
		out[i] = v
	}
	return out
}

func chiSquared(ctx context.Context, e *integer.Evaluator, _ int, in []*integer.Value) ([]*integer.Value, error) {
	var product, square, b, c *integer.Value
	narrow, err := widen(ctx, e, integer.Uint16, in)
	if err != nil {
		return nil, err
	}
	twice := func(x, y *integer.Value) (*integer.Value, error) { // 2x + y
		double, err := e.Shl(ctx, x, integer.Plain(integer.Uint16, 1))
		if err != nil {
			return nil, err
		}
		return e.Add(ctx, double, y)
	}
	var g group
	g.set(&product, func() (*integer.Value, error) {
		p, err := e.Mul(ctx, narrow[0], narrow[2])
		if err != nil {
			return nil, err
		}
		return e.Shl(ctx, p, integer.Plain(integer.Uint16, 2))
	})
	g.set(&square, func() (*integer.Value, error) { return e.Mul(ctx, narrow[1], narrow[1]) })
	g.set(&b, func() (*integer.Value, error) { return twice(narrow[0], narrow[1]) })
	g.set(&c, func() (*integer.Value, error) { return twice(narrow[2], narrow[1]) })
	if err := g.end(); err != nil {
		return nil, err
	}
	out := make([]*integer.Value, 4)
	g.set(&out[0], func() (*integer.Value, error) { // of the absolute value, whose upper half is 0
		p, err := exchange(ctx, e, pair{product, square})
		if err != nil {
			return nil, err
		}
		d, err := e.Sub(ctx, p[0][1], p[0][0])
		if err != nil {
			return nil, err
		}
		if d, err = e.Cast(ctx, d, integer.Uint32); err != nil {
			return nil, err
		}
		return e.Mul(ctx, d, d)
	})
	for i, f := range [][2]*integer.Value{{b, b}, {b, c}, {c, c}} {
		g.set(&out[1+i], func() (*integer.Value, error) {
			x, err := e.Mul(ctx, f[0], f[1])
			if err != nil {
				return nil, err
			}
			if x, err = e.Cast(ctx, x, integer.Uint32); err != nil || i == 1 {
				return x, err
			}
			return e.Shl(ctx, x, integer.Plain(integer.Uint32, 1))
		})
	}
	return out, g.end()
}

// logisticWeights and logisticBias are the model, in 1/256.
var logisticWeights = []int64{3, -5, 7, 1, -2, -7, 4, 6}

const logisticBias = -90

func sigmoid(z float64) float64 { return 1 / (1 + math.Exp(-z)) }

// widen casts values. Of those that were narrower, the upper part is known to be 0
// and costs nothing.
func widen(ctx context.Context, e *integer.Evaluator, t integer.Type, in []*integer.Value) ([]*integer.Value, error) {
	out := make([]*integer.Value, len(in))
	for i, v := range in {
		x, err := e.Cast(ctx, v, t)
		if err != nil {
			return nil, err
		}
		out[i] = x
	}
	return out, nil
}

// weighted is Σ weights·in modulo the range of t: what is added, less what is
// taken away.
func weighted(ctx context.Context, e *integer.Evaluator, t integer.Type, weights []int64, in []*integer.Value) (*integer.Value, error) {
	in, err := widen(ctx, e, t, in)
	if err != nil {
		return nil, err
	}
	terms := make([]*integer.Value, len(in))
	var g group
	for i, w := range weights {
		g.set(&terms[i], func() (*integer.Value, error) {
			return e.Mul(ctx, in[i], integer.Plain(t, uint64(max(w, -w))))
		})
	}
	if err := g.end(); err != nil {
		return nil, err
	}
	side := func(sign int64) (*integer.Value, error) {
		of := []integer.Operand{integer.Plain(t, 0)}
		for i, w := range weights {
			if w*sign > 0 {
				of = append(of, terms[i])
			}
		}
		return e.Sum(ctx, of...)
	}
	var plus, minus *integer.Value
	g.set(&plus, func() (*integer.Value, error) { return side(1) })
	g.set(&minus, func() (*integer.Value, error) { return side(-1) })
	if err := g.end(); err != nil {
		return nil, err
	}
	return e.Sub(ctx, plus, minus)
}

func logistic(ctx context.Context, e *integer.Evaluator, _ int, in []*integer.Value) ([]*integer.Value, error) {
	// The score lies in (-2^11, 2^11); its upper eight of twelve bits decide the probability.
	const offset, step = 1 << 11, 4
	z, err := weighted(ctx, e, integer.Uint16, logisticWeights, in)
	if err != nil {
		return nil, err
	}
	if z, err = e.Add(ctx, z, integer.Plain(integer.Uint16, offset+logisticBias)); err != nil {
		return nil, err
	}
	if z, err = e.Shr(ctx, z, integer.Plain(integer.Uint16, step)); err != nil {
		return nil, err
	}
	if z, err = e.Cast(ctx, z, integer.Uint8); err != nil {
		return nil, err
	}
	values := make([]uint64, 256)
	for u := range values {
		middle := float64(u<<step + 1<<(step-1) - offset)
		values[u] = uint64(min(255, math.Round(256*sigmoid(middle/256))))
	}
	table, err := integer.NewTable(integer.Uint8, values)
	if err != nil {
		return nil, err
	}
	return e.ApplyAll(ctx, integer.OpLookup, z, table)
}

func matrix(ctx context.Context, e *integer.Evaluator, n int, in []*integer.Value) ([]*integer.Value, error) {
	in, err := widen(ctx, e, integer.Uint16, in)
	if err != nil {
		return nil, err
	}
	out := make([]*integer.Value, n*n)
	var g group
	for i := range out {
		g.set(&out[i], func() (*integer.Value, error) {
			terms := make([]*integer.Value, n)
			var products group
			for k := range terms {
				products.set(&terms[k], func() (*integer.Value, error) {
					p, err := e.Mul(ctx, in[i/n*n+k], in[n*n+k*n+i%n])
					if err != nil {
						return nil, err
					}
					return e.Cast(ctx, p, integer.Uint32)
				})
			}
			if err := products.end(); err != nil {
				return nil, err
			}
			return e.Sum(ctx, operands(terms)...)
		})
	}
	return out, g.end()
}

// The weights of the neurons and of the outputs of the network, and what keeps the
// outputs positive.
var (
	networkHidden = [][]int64{{2, -1, 3, 1}, {-3, 2, 1, -2}, {1, 1, -2, 3}, {-1, 3, -1, -3}}
	networkOutput = [][]int64{{2, -1, 1, -3}, {-2, 3, -1, 1}}
)

const networkBias = 400000

func inference(ctx context.Context, e *integer.Evaluator, _ int, in []*integer.Value) ([]*integer.Value, error) {
	squares := make([]*integer.Value, len(networkHidden))
	var g group
	for j, weights := range networkHidden {
		g.set(&squares[j], func() (*integer.Value, error) {
			// Below 2^8 in absolute value: the square is right modulo 2^16.
			h, err := weighted(ctx, e, integer.Uint16, weights, in)
			if err != nil {
				return nil, err
			}
			if h, err = e.Mul(ctx, h, h); err != nil {
				return nil, err
			}
			return e.Cast(ctx, h, integer.Uint32)
		})
	}
	if err := g.end(); err != nil {
		return nil, err
	}
	out := make([]*integer.Value, len(networkOutput))
	for o, weights := range networkOutput {
		g.set(&out[o], func() (*integer.Value, error) {
			x, err := weighted(ctx, e, integer.Uint32, weights, squares)
			if err != nil {
				return nil, err
			}
			return e.Add(ctx, x, integer.Plain(integer.Uint32, networkBias))
		})
	}
	return out, g.end()
}

// stored is the server's byte at an index.
func stored(i int64) int64 { return (73*i*i + 41*i + 7) % 251 }

// checksum is a cyclic redundancy check with the reflected polynomial of so many
// bits. Bits are taken from the least significant on, and the register starts as
// given and is complemented at the end by the same. crc-8 is not reflected: the bits
// of its bytes and of its result are turned around, which is free.
func checksum(name, about string, bits int, polynomial, start uint32, oracle func([]byte) uint32) *Workload {
	reflected := bits == 32
	return &Workload{
		Name: name, About: about, Unit: "bytes", Sizes: []int{4, 16, 64},
		Inputs: func(r *rand.Rand, size int) Values { return uniform(r, size, 8) },
		Oracle: func(_ int, in Values) Values {
			data := make([]byte, len(in))
			for i, x := range ints(in) {
				data[i] = byte(x)
			}
			return of(int64(oracle(data)))
		},
		Bits: &Bits{
			In:  func(size int) []int { return slices.Repeat([]int{8}, size) },
			Out: constant([]int{bits}),
			Prepare: func(p *fhe.Parameters, boot parity.Bootstrapper) (func(context.Context, int, []fhe.LWE) ([]fhe.LWE, error), error) {
				e, err := parity.NewEvaluator(p, boot)
				return func(_ context.Context, _ int, in []fhe.LWE) ([]fhe.LWE, error) {
					data := make([]parity.Bit, len(in))
					for i, c := range in {
						at := i
						if !reflected {
							at ^= 7
						}
						data[at] = parity.New(c)
					}
					register := make([]parity.Bit, bits)
					for i := range register {
						register[i] = parity.Plain(start>>i&1 == 1)
					}
					for _, bit := range data {
						out := parity.Xor(register[0], bit)
						register = append(register[1:len(register):len(register)], parity.Bit{})
						for i := range register {
							if polynomial>>i&1 == 1 {
								register[i] = parity.Xor(register[i], out)
							}
						}
					}
					result := make([]fhe.LWE, bits)
					for i, b := range register {
						at := i
						if !reflected {
							at = bits - 1 - i
						}
						result[at] = e.Ciphertext(parity.Xor(b, parity.Plain(start>>i&1 == 1)))
					}
					return result, nil
				}, err
			},
		},
		Absent: leveledAbsent(noBits),
	}
}

// crc8 is the check with the polynomial x^8 + x^2 + x + 1.
func crc8(data []byte) (c uint32) {
	for _, b := range data {
		c ^= uint32(b)
		for range 8 {
			c <<= 1
			if c>>8 == 1 {
				c ^= 0x107
			}
		}
	}
	return c
}
