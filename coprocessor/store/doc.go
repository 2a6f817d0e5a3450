// Package store keeps what must survive a crash: ciphertexts, evaluation keys,
// and any other bytes that are named by their digest. Everything lies in NATS
// JetStream, either in a server embedded in this process (Embedded) or in an
// external one; the code is the same, because every type here is opened over a
// jetstream.JetStream.
//
// # What a reader can rely on
//
// A write that returned nil is on disk (Embedded runs with SyncAlways; an
// external server must be configured so). Every read is checked against a
// SHA-256: JetStream reports a record with a flipped byte as "not found", so a
// record whose name the server still indexes but cannot return is a
// *DataLossError, never a *NotFoundError.
//
// # All at once
//
// The results of a job are stored by Ciphertexts.PutAll: the records first, which
// nobody sees, and then all descriptions in one atomic batch of JetStream, which is
// what makes the ciphertexts exist. So of two jobs that race for the same names, one
// stores all of its results and the other none. A worker that dies before the batch
// leaves records that Collect removes; one that dies after it leaves what its
// successor stores again: evaluation is deterministic, and storing the same bytes
// under the same handle is a no-op. jobs.Lease.Done then records that the job is done.
//
// # What is remembered
//
// A Node keeps what it last read and wrote in memory (memory.go), 64 MB of it: all
// of it where no other process reaches the server, and else only bytes under their own
// digest, which nobody changes. What changes on disk meanwhile is found by whoever reads
// the disk: Verify, or the next process.
package store
