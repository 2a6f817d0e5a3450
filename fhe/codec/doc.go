// Package codec is the one container of every file and wire object of Tacit:
// keys and ciphertexts.
//
// # Layout
//
// All integers are little endian.
//
//	offset     size   field
//	0          5      magic, the ASCII bytes "TACIT"
//	5          1      format version, 1
//	6          2      kind (see the Kind constants)
//	8          32     fingerprint of the parameter set
//	40         8      length of the body in bytes, n
//	48         n      body, laid out by the package that owns the kind
//	48+n       32     SHA-256 of bytes 0 to 48+n-1
//
// The digest of an object is the last field, the SHA-256 of everything before
// it. It is not the key id of an evaluation key, which is the SHA-256 of the
// whole container, digest included: what sha256sum prints for the file.
//
// # Reading what strangers wrote
//
// A reader says what it expects: the kind, the parameters, and a limit for the
// body. Header fields are checked in the order in which they are stored, and
// the length is compared with the limit before anything is allocated for it.
// The body is read with a [Decoder], which checks each count against the
// caller's maximum and against the bytes that remain. Errors are typed and name
// the place and the numbers. SHA-256 protects against damage, not
// against forgery: an object with a right digest may still have been made by an
// adversary.
//
// The package knows bytes only. What a body means, and whether its values are
// acceptable, is decided by the package that owns the kind.
package codec
