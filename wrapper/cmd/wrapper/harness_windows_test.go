package main

import (
	"os/exec"
	"syscall"
	"time"
)

func ownSession(*exec.Cmd) {}

func ignoreTerm() {}

func crash() { syscall.NewLazyDLL("kernel32.dll").NewProc("ExitProcess").Call(0xc0000005) }

// cpuTime is what this process has used.
func cpuTime() time.Duration {
	self, _ := syscall.GetCurrentProcess()
	var c, e, k, u syscall.Filetime
	syscall.GetProcessTimes(self, &c, &e, &k, &u)
	ticks := func(f syscall.Filetime) int64 { return int64(f.HighDateTime)<<32 | int64(f.LowDateTime) }
	return time.Duration(100 * (ticks(k) + ticks(u)))
}

func alive(pid int) bool {
	h, err := syscall.OpenProcess(syscall.PROCESS_QUERY_INFORMATION, false, uint32(pid))
	if err != nil {
		return false
	}
	defer syscall.CloseHandle(h)
	var code uint32
	return syscall.GetExitCodeProcess(h, &code) == nil && code == 259
}
