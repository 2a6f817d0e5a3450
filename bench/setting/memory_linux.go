package setting

import (
	"bufio"
	"fmt"
	"os"
	"strings"
)

// ResetPeak begins the measurement of PeakMemory anew.
func ResetPeak() { _ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) }

// PeakMemory is the greatest resident set of the process since ResetPeak in bytes, 0
// where the system does not tell.
func PeakMemory() int64 { return field("/proc/self/status", "VmHWM:") }

// ResidentMemory is the resident set of the process in bytes, 0 where the system does not
// tell.
func ResidentMemory() int64 { return field("/proc/self/status", "VmRSS:") }

// TotalMemory is the machine's memory in bytes, 0 where the system does not tell.
func TotalMemory() int64 { return field("/proc/meminfo", "MemTotal:") }

// field is a number of kB from a file of the system, in bytes.
func field(path, name string) (bytes int64) {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if value, ok := strings.CutPrefix(s.Text(), name); ok {
			if _, err := fmt.Sscan(value, &bytes); err != nil {
				return 0
			}
			return bytes << 10
		}
	}
	return 0
}
