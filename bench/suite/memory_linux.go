package suite

import (
	"bufio"
	"fmt"
	"os"
	"strings"
)

// resetPeak begins the measurement of peakMemory anew.
func resetPeak() { _ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) }

// peakMemory is the greatest resident set of the process since resetPeak, 0 where
// the system does not tell.
func peakMemory() int64 { return field("/proc/self/status", "VmHWM:") }

// totalMemory is the machine's memory, 0 where the system does not tell.
func totalMemory() int64 { return field("/proc/meminfo", "MemTotal:") }

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
