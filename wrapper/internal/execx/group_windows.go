package execx

import (
	"os/exec"
	"syscall"
)

const createNoWindow = 0x08000000

// isolate gives the command no console window and keeps our Ctrl-C from it.
func isolate(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: createNoWindow | syscall.CREATE_NEW_PROCESS_GROUP}
}

// killGroup kills the command. Windows has no groups of processes; what the command started may go on.
func killGroup(cmd *exec.Cmd) error { return cmd.Process.Kill() }
