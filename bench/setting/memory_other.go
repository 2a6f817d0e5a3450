//go:build !linux

package setting

// The system is not asked.

// ResetPeak begins the measurement of PeakMemory anew.
func ResetPeak() {}

// PeakMemory is 0: the greatest resident set of the process is not known here.
func PeakMemory() int64 { return 0 }

// ResidentMemory is 0: the resident set of the process is not known here.
func ResidentMemory() int64 { return 0 }

// TotalMemory is 0: the machine's memory is not known here.
func TotalMemory() int64 { return 0 }

// AllowedMemory is 0: how much memory the process may take is not known here.
func AllowedMemory() int64 { return 0 }
