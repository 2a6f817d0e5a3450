package setting

import (
	"bufio"
	"fmt"
	"os"
	"path"
	"strconv"
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

// AllowedMemory is how much memory the process may take in bytes: the machine's, or less
// where a limit is set for its control group (cgroup v2) or one around that, as for
// containers and services; 0 where the system does not tell.
func AllowedMemory() int64 { return allowed(TotalMemory(), "/proc/self/cgroup", "/sys/fs/cgroup") }

// allowed is AllowedMemory of a process whose groups are named in a file, and lie in a
// folder.
func allowed(total int64, groups, root string) int64 {
	list, err := os.ReadFile(groups)
	if err != nil {
		return total
	}
	for line := range strings.Lines(string(list)) {
		group, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if !ok {
			continue // of version 1
		}
		for group = path.Clean("/" + group); ; group = path.Dir(group) {
			text, err := os.ReadFile(path.Join(root, group, "memory.max"))
			if limit, notNumber := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && notNumber == nil && limit < total {
				total = limit
			}
			if group == "/" {
				break
			}
		}
	}
	return total
}

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
