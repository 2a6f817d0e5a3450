// Package fhe holds the objects of TFHE over a prime modulus: parameters, keys,
// LWE ciphertexts and look-up tables, and encryption and decryption.
//
// An LWE ciphertext at work lives under the big key, the coefficients of the
// GLWE key, modulo q. It encrypts an integer m as round(m·q/(2·Boxes)) + e, and
// carries a public bound on the variance of e and on m (package noise). Linear
// combinations need no key. Everything else is a programmable bootstrap, whose
// input and output this package describes (PBS, LUT) and which package
// bootstrap runs.
//
// What may not enter here: operations on encrypted integers (fhe/integer),
// bootstrapping (bootstrap), files (fhe/keyfile) and anything that knows of
// jobs.
package fhe
