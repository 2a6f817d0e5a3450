//go:build unix

package cluster

import (
	"os/exec"
	"syscall"
)

// detach keeps the signals of a terminal from a process, which is stopped in its
// turn.
func detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
