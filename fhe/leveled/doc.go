// Package leveled is BGV, BFV and CKKS behind one small interface: vectors of
// integers modulo t (BGV, BFV) and of real numbers (CKKS), encrypted slot by slot
// and computed on with additions, multiplications, rotations and, for CKKS,
// polynomials and bootstrapping.
//
// The arithmetic is that of github.com/tuneinsight/lattigo/v5. Nothing of it shows
// in this interface, and everything that protects a user is decided here:
//
//   - Parameter sets are named, complete (both moduli chains are given, nothing is
//     left to a default) and checked against a table of what 128 bits of security allow,
//     see [Security]. The chain that counts is the longest that anything is encrypted
//     under: ciphertext primes and key-switching primes together.
//   - Secret keys are 32-byte seeds. The key polynomial is expanded with SHAKE256.
//   - Every ciphertext carries a [Noise]: level, standard deviation of its error,
//     bound on its message and scale. Each operation first predicts the noise of its result
//     (the Predict methods of [Parameters], which need no ciphertext and no key) and
//     refuses with a typed error when the result could not be decrypted.
//   - Objects are stored and sent in containers of package codec, polynomials written
//     by this package: lattigo's decoders see no bytes at all. Whatever can be recomputed
//     from the parameters (every length, every count) is, and is compared.
//   - The switching keys of CKKS bootstrapping are generated here. Those of lattigo
//     5.0.7 (bootstrapping.Parameters.GenEvaluationKeys) must not be used: the key that
//     leads to the sparse secret is built at the full modulus, where that secret is far
//     too sparse, and in all rows but the first from an all-zero secret, which shows the
//     dense secret to whoever holds the key.
//
// Encryption is IND-CPA, not more. For CKKS a decrypted value also reveals the error in it,
// and with it, if shown to somebody who knows the ciphertext, the secret key (Li and
// Micciancio, 2020/1533): hand out decryptions of CKKS ciphertexts only after rounding
// them to fewer bits than [Decryptor.Reals] gives.
package leveled
