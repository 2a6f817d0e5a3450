// Package workloads holds the computations that are measured, each with an oracle
// that computes the same on plaintexts.
//
// The functions of this package are what a server runs: they take an evaluator and
// ciphertexts, never a secret key, and are what to copy for a program of one's
// own.
package workloads
