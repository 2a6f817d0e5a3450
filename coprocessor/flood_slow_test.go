//go:build slow

package coprocessor

const (
	connectionsThatStop = 500     // of each kind
	resets              = 200_000 // of each connection
)
