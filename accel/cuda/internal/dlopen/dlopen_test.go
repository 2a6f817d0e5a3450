//go:build linux && (amd64 || arm64) && !cuda && !nogpu

package dlopen

import (
	"strings"
	"sync"
	"testing"
)

// TestOpenSaysWhy: where there is no driver, the reason is told, however busy the threads
// of the process are.
func TestOpenSaysWhy(t *testing.T) {
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 50 {
				if _, err := Open(); err != nil && !strings.Contains(err.Error(), library) && strings.Contains(err.Error(), "no NVIDIA driver") {
					t.Errorf("no reason: %v", err)
					return
				}
			}
		})
	}
	group.Wait()
}
