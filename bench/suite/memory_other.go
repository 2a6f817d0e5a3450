//go:build !linux

package suite

// The system is not asked.

func resetPeak() {}

func peakMemory() int64 { return 0 }

func totalMemory() int64 { return 0 }
