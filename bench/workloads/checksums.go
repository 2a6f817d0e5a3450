package workloads

import (
	"context"
	"hash/crc32"
	"math/rand/v2"
	"slices"

	"github.com/tacit-fhe/tacit/bench/workloads/parity"
	"github.com/tacit-fhe/tacit/fhe"
)

// checksums are those of encrypted bytes.
var checksums = []*Workload{
	checksum("crc-8", "CRC-8 of encrypted bytes (polynomial 0x07).", 8, 0xe0, 0, crc8),
	checksum("crc-32", "CRC-32 of encrypted bytes (IEEE 802.3).", 32, crc32.IEEE, 0xffffffff, crc32.ChecksumIEEE),
}

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
