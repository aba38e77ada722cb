package boinc

import (
	"encoding/binary"
	"strconv"
	"syscall"
	"unsafe"
)

// processStart identifies one life of a process: its start time as sysctl
// kern.proc.pid tells it, "" if it cannot be read.
func processStart(pid int) string {
	const kinfoSize = 648 // struct kinfo_proc on both CPUs; it begins with p_starttime
	mib := [4]int32{1, 14, 1, int32(pid)}
	buf := make([]byte, kinfoSize)
	size := uintptr(len(buf))
	_, _, errno := syscall.Syscall6(syscall.SYS___SYSCTL, uintptr(unsafe.Pointer(&mib[0])), uintptr(len(mib)),
		uintptr(unsafe.Pointer(&buf[0])), uintptr(unsafe.Pointer(&size)), 0, 0)
	if errno != 0 || size < 16 {
		return ""
	}
	return strconv.FormatUint(binary.LittleEndian.Uint64(buf), 10) + "." +
		strconv.FormatUint(uint64(binary.LittleEndian.Uint32(buf[8:])), 10)
}

// BootID is not known here: exited containers are then started again.
func BootID() string { return "" }
