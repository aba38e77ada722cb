package execx

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
)

// clockTicks per second: the kernel's interface to user space has had this value on all our CPUs.
const clockTicks = 100

// processes reads all processes from /proc.
func processes() ([]procInfo, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	names, err := dir.Readdirnames(-1)
	dir.Close()
	if err != nil {
		return nil, err
	}
	out := make([]procInfo, 0, len(names))
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			if p, ok := readStat(pid); ok {
				out = append(out, p)
			}
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no processes in /proc")
	}
	return out, nil
}

func readStat(pid int) (procInfo, bool) {
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return procInfo{}, false
	}
	// The second field is the name in parentheses and may hold anything.
	end := bytes.LastIndexByte(raw, ')')
	if end < 0 {
		return procInfo{}, false
	}
	f := bytes.Fields(raw[end+1:])
	if len(f) < 20 {
		return procInfo{}, false
	}
	number := func(i int) uint64 { // i as in proc(5), which counts from 1; f begins with the third
		v, _ := strconv.ParseUint(string(f[i-3]), 10, 64)
		return v
	}
	p := procInfo{ProcID: ProcID{PID: pid, Start: number(22)}, ppid: int(number(4)), pgid: int(number(5))}
	p.zombie = f[0][0] == 'Z' || f[0][0] == 'X'
	p.stopped = f[0][0] == 'T' || f[0][0] == 't'
	// utime, stime, and of children that were waited for cutime, cstime.
	p.cpu = float64(number(14)+number(15)+number(16)+number(17)) / clockTicks
	return p, true
}

func startOf(pid int) uint64 {
	p, _ := readStat(pid)
	return p.Start
}

// starter starts all processes: the signal that a child gets at its parent's death (below) comes when
// the thread that started it ends, so one thread does it and never ends.
var starter = struct {
	once sync.Once
	jobs chan func()
}{jobs: make(chan func())}

// startProcess starts a process that dies with us, even if we are killed.
func startProcess(path string, argv []string, attr *os.ProcAttr) (p *os.Process, err error) {
	starter.once.Do(func() {
		go func() {
			runtime.LockOSThread()
			for job := range starter.jobs {
				job()
			}
		}()
	})
	attr.Sys.Pdeathsig = syscall.SIGKILL
	done := make(chan struct{})
	starter.jobs <- func() {
		p, err = os.StartProcess(path, argv, attr)
		close(done)
	}
	<-done
	return p, err
}

// AdoptOrphans makes this process the new parent of descendants whose parent dies, so that
// none escapes. Only for programs that start processes with Start alone.
func AdoptOrphans() {
	const prSetChildSubreaper = 36
	_, _, errno := syscall.RawSyscall6(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0, 0, 0, 0)
	roots.Lock()
	defer roots.Unlock()
	roots.adopts = errno == 0
}
