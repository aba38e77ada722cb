package execx

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

var (
	kernel32                 = syscall.NewLazyDLL("kernel32.dll")
	ntdll                    = syscall.NewLazyDLL("ntdll.dll")
	procCreateJob            = kernel32.NewProc("CreateJobObjectW")
	procSetJob               = kernel32.NewProc("SetInformationJobObject")
	procQueryJob             = kernel32.NewProc("QueryInformationJobObject")
	procAssignJob            = kernel32.NewProc("AssignProcessToJobObject")
	procTerminateJob         = kernel32.NewProc("TerminateJobObject")
	procNtSuspend            = ntdll.NewProc("NtSuspendProcess")
	procNtResume             = ntdll.NewProc("NtResumeProcess")
	priorityClass            = []uint32{0x40, 0x4000, 0x20, 0x8000, 0x80, 0x100} // of the levels 0 to 5
	errNoJob                 = errors.New("the process is in no job object")
	_                [0]byte = [unsafe.Sizeof(jobLimits{}) - 144]byte{} // the size that the system checks
)

const (
	createSuspended = 0x4
	suspendResume   = 0x800
	killOnClose     = 0x2000
	jobTimes        = 1 // JobObjectBasicAccountingInformation
	jobProcesses    = 3 // JobObjectBasicProcessIdList
	jobLimitInfo    = 9 // JobObjectExtendedLimitInformation
)

// jobLimits is JOBOBJECT_EXTENDED_LIMIT_INFORMATION.
type jobLimits struct {
	processTime, jobTime  int64
	flags                 uint32
	_                     uint32
	minSet, maxSet        uintptr
	active                uint32
	_                     uint32
	affinity              uintptr
	priority, scheduling  uint32
	io                    [6]uint64
	procMemory, jobMemory uintptr
	peakProc, peakJob     uintptr
}

// treeSys: the job object holds the whole tree; the system kills it when our last handle closes, so also if we
// are killed. Without it (0) the tree is what descends from the first process.
type treeSys struct {
	job    syscall.Handle
	frozen map[ProcID]bool
}

func (t *Tree) launch(task Task, attr *os.ProcAttr) error {
	attr.Sys = &syscall.SysProcAttr{CreationFlags: createSuspended | createNoWindow}
	if task.Level >= 0 && int(task.Level) < len(priorityClass) {
		attr.Sys.CreationFlags |= priorityClass[task.Level]
	}
	path, argv := task.Path, append([]string{task.Path}, task.Args...)
	line := commandLine(task)
	if ext := strings.ToLower(path[strings.LastIndexByte(path, '.')+1:]); ext == "bat" || ext == "cmd" {
		path = os.Getenv("SystemRoot") + `\System32\cmd.exe`
		if shell := os.Getenv("ComSpec"); shell != "" {
			path = shell
		}
		line = syscall.EscapeArg(path) + ` /d /s /c "` + line + `"`
	}
	attr.Sys.CmdLine = line
	job := newJob()
	p, err := os.StartProcess(path, argv, attr)
	if err != nil {
		closeHandle(job)
		return err
	}
	h, err := syscall.OpenProcess(suspendResume|syscall.PROCESS_TERMINATE|0x100|syscall.PROCESS_QUERY_INFORMATION, false,
		uint32(p.Pid))
	if err != nil {
		_ = p.Kill()
		closeHandle(job)
		return err
	}
	defer syscall.CloseHandle(h)
	if job != 0 {
		if ok, _, _ := procAssignJob.Call(uintptr(job), uintptr(h)); ok == 0 {
			closeHandle(job)
			job = 0
		}
	}
	t.proc, t.root = p, ProcID{PID: p.Pid, Start: startOf(p.Pid)}
	t.sys = treeSys{job: job, frozen: map[ProcID]bool{}}
	procNtResume.Call(uintptr(h))
	return nil
}

// commandLine is the program in quotes and its arguments.
func commandLine(task Task) string {
	line := `"` + task.Path + `"`
	if task.CmdLine != "" {
		return line + " " + task.CmdLine
	}
	for _, a := range task.Args {
		line += " " + syscall.EscapeArg(a)
	}
	return line
}

func newJob() syscall.Handle {
	h, _, _ := procCreateJob.Call(0, 0)
	if h == 0 {
		return 0
	}
	limits := jobLimits{flags: killOnClose}
	procSetJob.Call(h, jobLimitInfo, uintptr(unsafe.Pointer(&limits)), unsafe.Sizeof(limits))
	return syscall.Handle(h)
}

func closeHandle(h syscall.Handle) {
	if h != 0 {
		syscall.CloseHandle(h)
	}
}

func (t *Tree) ended() {}

// release closes the job, which kills what is still in it.
func (t *Tree) release() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sys.job != 0 {
		if now, err := t.jobCPU(); err == nil && now > t.final {
			t.final = now
		}
		syscall.CloseHandle(t.sys.job)
		t.sys.job = 0
	}
}

func exitCode(state *os.ProcessState) int { return state.ExitCode() }

// ordered: what ends a program from outside at a shutdown or by Ctrl-C (spec 07 §3.6).
func ordered(state *os.ProcessState) bool {
	switch uint32(state.ExitCode()) {
	case 0xC000013A, 0x40010004, 0xC0000142, 0xC000026B:
		return true
	}
	return false
}

func (t *Tree) look() (treeMoment, error) {
	now := treeMoment{cpu: t.final}
	pids, err := t.jobPIDs()
	if err != nil {
		pids, err = t.descendants()
	}
	sum := 0.0
	for _, pid := range pids {
		start, cpu, alive := times(pid)
		sum += cpu
		id := ProcID{PID: pid, Start: start}
		if alive && (id != t.root || !t.Ended()) {
			now.alive = append(now.alive, member{ProcID: id, stopped: t.sys.frozen[id]})
		}
	}
	now.cpu = max(now.cpu, sum)
	if total, err := t.jobCPU(); err == nil { // also of processes that have ended
		now.cpu = max(now.cpu, total)
	}
	return now, err
}

func (t *Tree) jobCPU() (float64, error) {
	var info struct {
		user, kernel, periodUser, periodKernel int64 // 100 ns
		faults, total, active, terminated      uint32
	}
	if t.sys.job == 0 {
		return 0, errNoJob
	}
	ok, _, err := procQueryJob.Call(uintptr(t.sys.job), jobTimes, uintptr(unsafe.Pointer(&info)), unsafe.Sizeof(info), 0)
	if ok == 0 {
		return 0, err
	}
	return float64(info.user+info.kernel) / 1e7, nil
}

func (t *Tree) jobPIDs() ([]int, error) {
	if t.sys.job == 0 {
		return nil, errNoJob
	}
	for room := 64; ; room *= 4 {
		// Two counts of 32 bits (of all, of those told), then the numbers as words of 64.
		buf := make([]uintptr, room+1)
		size := uintptr(len(buf)) * unsafe.Sizeof(buf[0])
		ok, _, err := procQueryJob.Call(uintptr(t.sys.job), jobProcesses, uintptr(unsafe.Pointer(&buf[0])), size, 0)
		if ok == 0 && errors.Is(err, syscall.ERROR_MORE_DATA) && room < 1<<16 {
			continue
		}
		if ok == 0 {
			return nil, err
		}
		n := int(buf[0] >> 32)
		pids := make([]int, min(n, room))
		for i := range pids {
			pids[i] = int(buf[1+i])
		}
		return pids, nil
	}
}

// descendants finds the tree by parents' numbers. A process that is older than its parent is not its
// child: the parent's number was given away again.
func (t *Tree) descendants() ([]int, error) {
	snap, err := syscall.CreateToolhelp32Snapshot(syscall.TH32CS_SNAPPROCESS, 0)
	if err != nil {
		return nil, err
	}
	defer syscall.CloseHandle(snap)
	children := map[int][]int{}
	var e syscall.ProcessEntry32
	e.Size = uint32(unsafe.Sizeof(e))
	for err = syscall.Process32First(snap, &e); err == nil; err = syscall.Process32Next(snap, &e) {
		children[int(e.ParentProcessID)] = append(children[int(e.ParentProcessID)], int(e.ProcessID))
	}
	out := []int{t.root.PID}
	for i := 0; i < len(out); i++ {
		born := startOf(out[i])
		if i == 0 {
			born = t.root.Start
		}
		for _, c := range children[out[i]] {
			if startOf(c) >= born && c != out[i] {
				out = append(out, c)
			}
		}
	}
	return out, nil
}

// times are creation time, CPU seconds, and whether it runs.
func times(pid int) (start uint64, cpu float64, alive bool) {
	h, err := syscall.OpenProcess(syscall.PROCESS_QUERY_INFORMATION, false, uint32(pid))
	if err != nil {
		return 0, 0, false
	}
	defer syscall.CloseHandle(h)
	var created, exited, kernel, user syscall.Filetime
	if err := syscall.GetProcessTimes(h, &created, &exited, &kernel, &user); err != nil {
		return 0, 0, false
	}
	ticks := func(f syscall.Filetime) uint64 { return uint64(f.HighDateTime)<<32 | uint64(f.LowDateTime) }
	var code uint32
	alive = syscall.GetExitCodeProcess(h, &code) == nil && code == 259
	return ticks(created), float64(ticks(kernel)+ticks(user)) / 1e7, alive
}

func startOf(pid int) uint64 {
	start, _, _ := times(pid)
	return start
}

func (t *Tree) freeze(m member, _ bool) bool {
	if t.sys.frozen[m.ProcID] {
		return false
	}
	if callProcess(m.ProcID, procNtSuspend) {
		t.sys.frozen[m.ProcID] = true
		return true
	}
	return false
}

func (t *Tree) thaw() {
	for id := range t.sys.frozen {
		callProcess(id, procNtResume)
	}
	t.sys.frozen = map[ProcID]bool{}
}

// callProcess calls a function of ntdll that takes a process handle.
func callProcess(id ProcID, fn *syscall.LazyProc) bool {
	h, err := syscall.OpenProcess(suspendResume|syscall.PROCESS_QUERY_INFORMATION, false, uint32(id.PID))
	if err != nil {
		return false
	}
	defer syscall.CloseHandle(h)
	if startOf(id.PID) != id.Start {
		return false
	}
	status, _, _ := fn.Call(uintptr(h))
	return status == 0
}

// ask: Windows has no way to ask a program without a window; the tree is killed.
func (t *Tree) ask() {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, _ := t.look()
	t.kill(now.alive)
}

func (t *Tree) kill(alive []member) {
	if t.sys.job != 0 {
		procTerminateJob.Call(uintptr(t.sys.job), 1)
	}
	for _, m := range alive {
		if h, err := syscall.OpenProcess(syscall.PROCESS_TERMINATE, false, uint32(m.PID)); err == nil {
			if startOf(m.PID) == m.Start {
				_ = syscall.TerminateProcess(h, 1)
			}
			syscall.CloseHandle(h)
		}
	}
	if !t.Ended() {
		_ = t.proc.Kill()
	}
	time.Sleep(time.Millisecond)
}

// AdoptOrphans has nothing to do: processes cannot leave a job object.
func AdoptOrphans() {}

// KillLeft has nothing to do: the system has killed what an earlier life left.
func KillLeft([]ProcID) int { return 0 }
