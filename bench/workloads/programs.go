package workloads

import (
	"context"
	stdaes "crypto/aes"
	"math/big"
	"math/rand/v2"
	"slices"

	"github.com/tacit-fhe/tacit/bench/workloads/aes"
	"github.com/tacit-fhe/tacit/bench/workloads/parity"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/integer"
)

// Why a leveled scheme has no program.
const (
	noCompare = "comparisons are polynomials of a degree of the order of the plaintext modulus, or approximate"
	noBits    = "an exclusive or of bits costs a multiplication where the plaintext modulus is not 2"
	noWrap    = "slots hold numbers modulo a small prime, or approximate ones, not integers of this width that wrap"
)

// leveledAbsent gives one reason for BGV, BFV and CKKS.
func leveledAbsent(reason string) map[string]string {
	return map[string]string{BGV: reason, BFV: reason, CKKS: reason}
}

// programs are those of contracts and ciphers.
var programs = []*Workload{
	{
		Name: "transfer", About: "A confidential transfer: a balance covers an amount or nothing moves.",
		Unit: "bits", Sizes: []int{64, 128},
		Inputs: func(r *rand.Rand, size int) Values { // from, to, amount: about half are covered
			v := uniform(r, 3, size-1)
			return v
		},
		Oracle: func(size int, in Values) Values {
			from, to, amount := in[0], in[1], in[2]
			ok := from.Cmp(amount) >= 0
			if !ok {
				amount = new(big.Int)
			}
			sum := new(big.Int).Add(to, amount)
			return Values{new(big.Int).Sub(from, amount), sum.And(sum, mask(size)), big.NewInt(boolean(ok))}
		},
		Integers: &Integers{
			Types: func(size int) []integer.Type { return same(width(size), 3) },
			Compute: func(ctx context.Context, e *integer.Evaluator, _ int, in []*integer.Value) ([]*integer.Value, error) {
				from, to, ok, err := Transfer(ctx, e, in[0], in[1], in[2])
				return []*integer.Value{from, to, ok}, err
			},
		},
		Absent: leveledAbsent(noCompare),
	},
	{
		Name: "auction", About: "A sealed-bid auction: the highest of 32-bit bids and who made it.",
		Unit: "bids", Sizes: []int{4, 16, 64},
		Inputs: func(r *rand.Rand, size int) Values { return uniform(r, size, 32) },
		Oracle: func(_ int, in Values) Values {
			best := 0
			for i, x := range in {
				if x.Cmp(in[best]) > 0 {
					best = i
				}
			}
			return Values{in[best], big.NewInt(int64(best))}
		},
		Integers: &Integers{
			Types: func(size int) []integer.Type { return same(integer.Uint32, size) },
			Compute: func(ctx context.Context, e *integer.Evaluator, _ int, in []*integer.Value) ([]*integer.Value, error) {
				highest, winner, err := Auction(ctx, e, in)
				return []*integer.Value{highest, winner}, err
			},
		},
		Absent: leveledAbsent(noCompare),
	},
	{
		Name: "votes", About: "A private count: how many of the ballots say yes.",
		Unit: "ballots", Sizes: []int{16, 64, 256},
		Inputs: func(r *rand.Rand, size int) Values { return uniform(r, size, 1) },
		Oracle: func(_ int, in Values) Values { return of(total(ints(in))) },
		Integers: &Integers{
			Types: func(size int) []integer.Type { return same(integer.Bool, size) },
			Compute: func(ctx context.Context, e *integer.Evaluator, _ int, in []*integer.Value) ([]*integer.Value, error) {
				yes, err := Tally(ctx, e, in)
				return []*integer.Value{yes}, err
			},
		},
		// The ballots of one vote come in one ciphertext: clients that send one each
		// would have theirs added up first.
		Vectors: &Vectors{
			Depth: constant(0), Max: func(size int) int64 { return int64(size) },
			Compute: func(e *VectorEvaluator, size int, in []Vector) []Vector {
				return []Vector{e.InnerSum(in[0], powerOfTwo(size))}
			},
		},
	},
	{
		Name: "median", About: "The median of five values.",
		Unit: "bits", Sizes: []int{8, 16, 32, 64},
		Inputs: func(r *rand.Rand, size int) Values { return uniform(r, 5, size) },
		Oracle: func(_ int, in Values) Values {
			return Values{slices.SortedFunc(slices.Values(in), (*big.Int).Cmp)[2]}
		},
		Integers: &Integers{
			Types: func(size int) []integer.Type { return same(width(size), 5) },
			Compute: func(ctx context.Context, e *integer.Evaluator, _ int, in []*integer.Value) ([]*integer.Value, error) {
				m, err := MedianOfFive(ctx, e, [5]*integer.Value(in))
				return []*integer.Value{m}, err
			},
		},
		Absent: leveledAbsent(noCompare),
	},
	{
		Name: "aes-128", About: "AES-128 of encrypted blocks under an encrypted key, the key's expansion included.",
		Unit: "blocks", Sizes: []int{1, 4}, Slow: true,
		Inputs: func(r *rand.Rand, size int) Values { return uniform(r, 1+size, 8*aes.BlockSize) },
		Oracle: func(_ int, in Values) Values {
			bytes := func(x *big.Int) []byte { // the first byte is the least significant
				b := x.FillBytes(make([]byte, aes.BlockSize))
				slices.Reverse(b)
				return b
			}
			cipher, err := stdaes.NewCipher(bytes(in[0]))
			if err != nil {
				panic(err) // of the size of the key, which is right
			}
			var out Values
			for _, x := range in[1:] {
				block := make([]byte, aes.BlockSize)
				cipher.Encrypt(block, bytes(x))
				slices.Reverse(block)
				out = append(out, new(big.Int).SetBytes(block))
			}
			return out
		},
		Bits: &Bits{
			In:  func(size int) []int { return slices.Repeat([]int{8 * aes.BlockSize}, 1+size) },
			Out: func(size int) []int { return slices.Repeat([]int{8 * aes.BlockSize}, size) },
			Prepare: func(p *fhe.Parameters, boot parity.Bootstrapper) (func(context.Context, int, []fhe.LWE) ([]fhe.LWE, error), error) {
				e, err := aes.New(p, boot)
				return func(ctx context.Context, _ int, in []fhe.LWE) ([]fhe.LWE, error) {
					blocks := slices.Collect(slices.Chunk(in, 8*aes.BlockSize))
					key, err := e.Expand(ctx, blocks[0])
					if err != nil {
						return nil, err
					}
					out, err := e.Encrypt(ctx, key, blocks[1:]...)
					return slices.Concat(out...), err
				}, err
			},
		},
		Absent: leveledAbsent(noBits),
	},
}

// total is the sum of numbers.
func total(x []int64) (sum int64) {
	for _, v := range x {
		sum += v
	}
	return sum
}
