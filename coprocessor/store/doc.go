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
// The store has no transaction over several ciphertexts, and needs none. A job
// writes its results with Ciphertexts.PutAll and then records that it is done
// (jobs.Lease.Done); that one compare-and-set is the commit point, and it is
// what makes the results visible: a consumer learns the handles of results from
// a finished job. A worker that dies between the two leaves ciphertexts behind
// that nobody was told about; the job is run again, evaluation is
// deterministic, and storing the same bytes under the same handle is a no-op.
package store
