// Package graph gives a job its meaning: it turns a tacitv1.JobSpec, which comes from outside and may be anything, into
// a Graph that is typed, acyclic, within limits and immutable.
//
// It holds the handles, the table of operations, validation, the cost model, the names of results, the digest of a spec
// and the text form of jobs. It computes on no ciphertext and reads no store: what a handle stands for is asked of the
// caller.
package graph
