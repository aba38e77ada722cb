package boinc

import (
	"bytes"
	"os"
	"strconv"
)

// processStart identifies one life of a process: its start time in clock ticks since
// boot, "" if it cannot be read. PIDs are reused; this tells the lives apart.
func processStart(pid int) string {
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return ""
	}
	// The second field is the name in parentheses and may hold anything.
	end := bytes.LastIndexByte(raw, ')')
	if end < 0 {
		return ""
	}
	fields := bytes.Fields(raw[end+1:])
	if len(fields) < 20 {
		return ""
	}
	return string(fields[19]) // field 22 of the line
}

// BootID identifies the running boot of this host, "" if unknown.
func BootID() string {
	raw, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(raw))
}
