// Package noisebench measures the noise of every step of TFHE with real keys and
// compares it with what package fhe/noise predicts, in the manner of the field:
// the variance against its 99 % confidence interval, the mean against zero, and
// the number of wrong decisions at a reduced precision against its
// Clopper-Pearson interval.
//
// # What a prediction is compared with
//
// The formulas of fhe/noise are averages over all keys. A measurement sees a few
// keys, and part of the noise is a sum over the ones of the key, so that its
// variance over ciphertexts differs from key to key by some per cent, as much as
// the width of an interval. A 99 % interval therefore means something only
// against the prediction for the very keys that were used: the formula, with what
// counts of these keys in the place of its mean. Let s be the small key (n
// bits, |s| ones), S the big key (k·N bits, |S| ones), and ρ = B^-2l/12 the
// variance of the rounding error of a gadget of l digits in base B.
//
//   - Key switch: the rounding error of mask coefficient i counts where S_i = 1,
//     so |S|·ρ takes the place of ½kN·ρ.
//   - Blind rotation: a step whose bit is set adds the rounding errors of a
//     decomposition, δ_0 - Σ_u δ_u·S_u, so |s|·(1 + |S|)·ρ takes the place of
//     ½n·(1 + ½kN)·ρ. With blocks of bits it is the blocks with a bit set that
//     count, twice each. An unrolled step adds the errors whatever its bits are.
//     The accumulator starts as a table without a mask, so that the first step
//     has no mask digits to multiply the key's errors with, and no rounding: its
//     share of these two comes off. The formula leaves it in, about 1/n of the
//     whole; it shows where n is small. Every sample has a table of its own, of
//     random functions: the first step multiplies the errors of the key with the
//     table itself, so that under one key one table gives its outputs a fixed
//     offset, of √(¼/n) of a standard deviation or so.
//   - Centred modulus switch: of the c cases of a step (two for one bit, 2^g
//     patterns of a group, l+1 of a block) c-1 have a rounding error, and 1/c of
//     their sum is taken out. What is left has the variance (c²-c-1)/c² of one
//     rounding error where a bit is set and (c-1)/c² elsewhere. For c = 2 both
//     are ¼, and every key is alike.
//   - Packing: each of its key switches rounds as the key switch above does, so that
//     |S|·ρ takes the place of ½kN·ρ there too. What rounding at rest adds, e·(S_i - ½)
//     for each mask coefficient, has the same variance under every key.
//   - Encryption under the secret key, and linear combinations of its
//     ciphertexts: no key enters.
//
// The errors inside the keys are fixed for a key as well, but there are many
// thousands of them, and the sum of their squares stays within about one per cent
// of its mean.
//
// Encryption under a public key is measured with a key pair of its own for every
// sample, so that the average over keys is the right prediction. With one key
// the errors of the public key, multiplied by a binary secret of mean ½, would
// put a mean into each slot that no number of ciphertexts averages away. Every
// sample is also a ciphertext of its own: neighbouring slots share errors and
// their sum over a binary key, and are far from independent. For the same reason
// a bootstrap gives one sample for each output of its table, not one for each
// coefficient of its accumulator. Packed are lists of some twenty to thirty
// ciphertexts, each at a coefficient of its own.
//
// # The intervals
//
// The interval of a variance is that of chi-squared, with the degrees of freedom
// corrected by the kurtosis κ of the sample, 2(m-1)/(κ-1) for m samples (Box,
// "Non-normality and tests on variances", Biometrika 40, 1953): m-1 for a
// Gaussian, more for the uniform errors of an encryption, whose variance is known
// better. One interval in a hundred misses its value when all is right.
//
// # Wrong decisions
//
// A bootstrap decodes the phase E that is left modulo 2N, and is wrong where E
// leaves [-T, T) around its message, T half a box. The experiment takes a smaller
// T, such that about one decision in twenty is wrong, on the very E that a
// bootstrap computes: from fresh ciphertexts, from fresh ones that were packed for
// rest, and from outputs of other bootstraps, in the heaviest combination
// w·x + y - z that the parameters allow.
// With E a Gaussian rounded to an integer, its variance V₀ before the rounding,
// the probability is
//
//	½·erfc((T - ½)/√(2V₀)) + ½·erfc((T + ½)/√(2V₀)).
//
// Keys and ciphertexts follow from the seed of a run, so that a report can be made
// again to the last digit. The keys protect nothing: their seeds and weights are
// printed.
//
// What may not enter here: timing, which is other benchmarks' work.
package noisebench
