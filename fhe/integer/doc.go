// Package integer computes on encrypted booleans and integers.
//
// A value of w bits is w/2 ciphertexts of two message bits each, least
// significant first; a boolean is one ciphertext of 0 or 1. An Evaluator turns
// an operation into linear combinations, which are free, and programmable
// bootstraps, which are what an operation costs. It does not run them itself: it
// hands them to a Bootstrapper, all that do not depend on each other in one
// call.
//
// A ciphertext is clean when its error is that of a bootstrap output or less and
// independent of every other ciphertext. The outputs of Select between two ciphertexts, of Min and Max, and of shifts
// by an encrypted amount are correct but not clean: where one is too noisy for
// the packed form of the next operation, that operation falls back to one that
// needs more bootstraps. Estimate knows exactly how many: it runs the same code on
// outlines of the ciphertexts, and what it returns is the outline of the result.
//
// # What keeps the count low
//
//   - Sums wait in columns until they have filled a block (columns): one
//     bootstrap takes a sum of up to 15 apart into message and carry. Up to 8 it
//     does so by two halves of one table, up to 10 by a table whose steps are
//     the carry (pairBoxes), up to 15 by a staircase and its shifts (stair), at
//     twelve times the variance.
//   - A product of two blocks takes one bootstrap for both of its digits: the
//     blocks become numbers whose sums tell products apart, arranged so that the
//     low digits and the high digits are the same table at two shifts
//     (productBoxes).
//   - Sign, zero test and being negative are negacyclic, or are so up to a
//     constant, on differences in -15..15: two blocks of either operand at once,
//     less a borrow of the blocks below. Four signs or sixteen flags join in one
//     bootstrap.
//   - A table of which all but some boxes are 0 yields a block at every place
//     where an encrypted digit may move it, for the price of one (shift).
//   - A function of eight bits is sixteen bootstraps for four bits of result,
//     by a Walsh-Hadamard sum: adding half the torus negates a table (lookup).
//   - Public knowledge of a block, from a plaintext operand, from its bounds or
//     because the terms of a sum cancel, removes the bootstraps whose outcome it
//     decides. A plaintext factor is digits from -2 to 2, a plaintext divisor a
//     product.
//
// The failure probability of every input is that of its noise bound, which is
// checked before each bootstrap. Where a parameter set has no room for a form,
// sums are shorter, blocks are refreshed, or the condition of a select is scaled
// by a bootstrap of its own.
//
// # Strategies
//
// Throughput spends the fewest bootstraps: carries ripple. Latency takes the
// fewest rounds: carries look ahead by prefixes that join four at a time. Both
// give the same plaintexts, each always the same ciphertexts. Bootstraps and
// rounds, of encrypted operands with the default parameters:
//
//	                        Throughput           Latency
//	                        64 bits   32 bits    64 bits   32 bits
//	add, sub, neg           32/32     16/16      111/4     54/4
//	eq, ne                  17/2      9/2        the same
//	lt, le, gt, ge          16/16     8/8        21/3      11/3
//	min, max                49/18     25/10      54/5      28/5
//	and, or, xor            32/1      16/1       the same
//	select                  33/2      17/2       the same
//	shl, shr, rotl, rotr    128/3     65/4       the same
//	mul                     920/61    248/23     1051/10   297/9
//	div and rem             2079/944 591/280    4287/311  1158/148
//	lookup of 8 bits        38/3 for 8 bits of result
//
// A set with room for a norm of 51 saves one bootstrap of a select, min or max,
// and a few of products and long sums.
//
// What may not enter here: running bootstraps (package bootstrap), keys, jobs.
package integer
