//go:build !linux

package cpu

// hugePages does nothing where there is no advice to give.
func hugePages[W any]([]W) {}
