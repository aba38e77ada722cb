package execx

import (
	"encoding/binary"
	"os"
	"runtime"
	"syscall"
	"unsafe"
)

// struct kinfo_proc and struct proc_taskinfo of <sys/sysctl.h> and <sys/proc_info.h>, both CPUs.
const (
	kinfoSize   = 648
	offStat     = 36
	offPID      = 40
	offPPID     = 560
	offPGID     = 564
	stateStop   = 4
	stateZombie = 5

	sysProcInfo  = 336
	callPIDInfo  = 2
	flavorTask   = 4
	taskInfoSize = 96
	offUser      = 16
	offSystem    = 24
)

// processes asks sysctl kern.proc.all. CPU times of children that have ended are not told.
func processes() ([]procInfo, error) {
	raw, err := kernProc(0, 0)
	if err != nil {
		return nil, err
	}
	out := make([]procInfo, 0, len(raw)/kinfoSize)
	for ; len(raw) >= kinfoSize; raw = raw[kinfoSize:] {
		p := kinfo(raw)
		p.cpu = cpuOf(p.PID)
		out = append(out, p)
	}
	return out, nil
}

func kinfo(raw []byte) procInfo {
	word := func(off int) int { return int(int32(binary.LittleEndian.Uint32(raw[off:]))) }
	start := binary.LittleEndian.Uint64(raw)*1000000 + uint64(binary.LittleEndian.Uint32(raw[8:]))
	return procInfo{ProcID: ProcID{PID: word(offPID), Start: start}, ppid: word(offPPID), pgid: word(offPGID),
		zombie: raw[offStat] == stateZombie, stopped: raw[offStat] == stateStop}
}

func startOf(pid int) uint64 {
	raw, err := kernProc(1, pid)
	if err != nil || len(raw) < kinfoSize {
		return 0
	}
	return kinfo(raw).Start
}

// kernProc reads sysctl kern.proc.<what>.<arg>.
func kernProc(what, arg int) ([]byte, error) {
	mib := [4]int32{1, 14, int32(what), int32(arg)}
	call := func(buf unsafe.Pointer, size *uintptr) error {
		_, _, errno := syscall.Syscall6(syscall.SYS___SYSCTL, uintptr(unsafe.Pointer(&mib[0])), uintptr(len(mib)),
			uintptr(buf), uintptr(unsafe.Pointer(size)), 0, 0)
		if errno != 0 {
			return errno
		}
		return nil
	}
	for {
		var size uintptr
		if err := call(nil, &size); err != nil {
			return nil, err
		}
		size += 64 * kinfoSize // processes that start meanwhile
		buf := make([]byte, size)
		switch err := call(unsafe.Pointer(&buf[0]), &size); err {
		case nil:
			return buf[:size], nil
		case syscall.ENOMEM:
			continue
		default:
			return nil, err
		}
	}
}

// cpuOf is a process's own CPU time in seconds, 0 if it cannot be read.
func cpuOf(pid int) float64 {
	buf := make([]byte, taskInfoSize)
	n, _, errno := syscall.Syscall6(sysProcInfo, callPIDInfo, uintptr(pid), flavorTask, 0,
		uintptr(unsafe.Pointer(&buf[0])), taskInfoSize)
	if errno != 0 || n < taskInfoSize {
		return 0
	}
	ticks := binary.LittleEndian.Uint64(buf[offUser:]) + binary.LittleEndian.Uint64(buf[offSystem:])
	seconds := float64(ticks) / 1e9
	if runtime.GOARCH == "arm64" {
		seconds *= 125.0 / 3.0 // the clock of Apple's own CPUs has 24 MHz
	}
	return seconds
}

func startProcess(path string, argv []string, attr *os.ProcAttr) (*os.Process, error) {
	return os.StartProcess(path, argv, attr)
}

// AdoptOrphans has no counterpart on macOS; orphans are known by their process group.
func AdoptOrphans() {}
