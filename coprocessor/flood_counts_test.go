//go:build !slow

package coprocessor

const (
	connectionsThatStop = 24     // of each kind
	resets              = 10_000 // of each connection
)
