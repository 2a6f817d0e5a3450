package fhe

import "math/bits"

// AddMod returns a+b mod q for a, b < q < 2^63, without a branch.
func AddMod(a, b, q uint64) uint64 {
	s := a + b
	d, borrow := bits.Sub64(s, q, 0)
	return d + q&-borrow
}

// SubMod returns a-b mod q for a, b < q, without a branch.
func SubMod(a, b, q uint64) uint64 {
	d, borrow := bits.Sub64(a, b, 0)
	return d + q&-borrow
}
