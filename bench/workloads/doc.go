// Package workloads holds the computations that are measured. A Workload has
// inputs, an oracle that computes on plaintexts, sizes from small to large, and a
// program for each kind of scheme that can express it, or the reason why one
// cannot.
//
// Programs are what a server runs: they take an evaluator and ciphertexts, never a
// secret key, and are what to copy for a program of one's own.
//
// What may not enter here: keys, timing (package suite).
package workloads
