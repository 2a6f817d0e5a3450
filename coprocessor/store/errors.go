package store

import "fmt"

// LockedError reports that another process, or another Node of this one, has
// the data directory open.
type LockedError struct {
	Dir string
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("store: %s is in use by another process", e.Dir)
}

// NotFoundError reports a ciphertext handle that was never stored.
type NotFoundError struct {
	Handle [32]byte
}

func (e *NotFoundError) Error() string {
	return fmt.Sprintf("store: ciphertext %x: not found", e.Handle)
}

// KeyNotFoundError reports an evaluation key that was never stored.
type KeyNotFoundError struct {
	ID [32]byte
}

func (e *KeyNotFoundError) Error() string {
	return fmt.Sprintf("store: key %x: not found", e.ID)
}

// ConflictError reports that a handle already names another ciphertext: other
// bytes, another type or another key. Evaluation is deterministic, so this is
// an alarm and not a race.
type ConflictError struct {
	Handle [32]byte
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("store: ciphertext %x: the handle already names another ciphertext", e.Handle)
}

// DataLossError reports a record that was stored and can no longer be read, or
// whose bytes no longer have the digest they were stored with.
type DataLossError struct {
	Bucket string
	Key    string
	Detail string
}

func (e *DataLossError) Error() string {
	return fmt.Sprintf("store: data loss in %s/%s: %s", e.Bucket, e.Key, e.Detail)
}

// SizeError reports bytes that exceed a limit. Size is 0 when the input was a
// stream that was cut off at the limit.
type SizeError struct {
	What  string
	Size  int64
	Limit int64
}

func (e *SizeError) Error() string {
	if e.Size == 0 {
		return fmt.Sprintf("store: %s: larger than the limit of %d bytes", e.What, e.Limit)
	}
	return fmt.Sprintf("store: %s: %d bytes, limit %d", e.What, e.Size, e.Limit)
}

// DigestError reports key bytes whose SHA-256 is not the key id they were
// offered under.
type DigestError struct {
	Want [32]byte
	Got  [32]byte
}

func (e *DigestError) Error() string {
	return fmt.Sprintf("store: key %x: the content has SHA-256 %x", e.Want, e.Got)
}
