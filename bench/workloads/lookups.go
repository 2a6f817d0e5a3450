package workloads

import (
	"context"
	"math/big"
	"math/rand/v2"

	"github.com/tacit-fhe/tacit/fhe/integer"
)

// lookups find what belongs to an encrypted index or key.
var lookups = []*Workload{
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

// stored is the server's byte at an index.
func stored(i int64) int64 { return (73*i*i + 41*i + 7) % 251 }
