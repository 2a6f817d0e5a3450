//go:build !slow

package coprocessor

const (
	connectionsThatStop = 24   // of each kind
	resets              = 5000 // of each connection
	resetBytes          = 32 << 20
)
