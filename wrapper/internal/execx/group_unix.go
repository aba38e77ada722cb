//go:build unix

package execx

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
)

// isolate puts the command into its own process group, so that it can be killed
// with its children and does not see our terminal's signals.
func isolate(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}

func killGroup(cmd *exec.Cmd) error {
	err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}
