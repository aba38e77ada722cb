package boinc

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"unsafe"
)

var (
	kernel32            = syscall.NewLazyDLL("kernel32.dll")
	procOpenFileMapping = kernel32.NewProc("OpenFileMappingW")
	procSetStdHandle    = kernel32.NewProc("SetStdHandle")
	procSetPriority     = kernel32.NewProc("SetPriorityClass")
)

const (
	fileMapAllAccess    = 0xf001f
	stillActive         = 259
	normalPriorityClass = 0x20
	flagDeleteOnClose   = 0x04000000
	errAccessDenied     = syscall.Errno(5)
	errSharing          = syscall.Errno(32)
)

// attach opens the named memory that the client made: shm_<comm_obj_name>, of
// the whole machine when jobs run under a service account, else of the session.
func attach(_ string, init *InitData) ([]byte, error) {
	if init.CommObjName == "" {
		return nil, errors.New("init_data.xml has no comm_obj_name")
	}
	var first error
	for _, name := range []string{`Global\shm_` + init.CommObjName, "shm_" + init.CommObjName} {
		text, err := syscall.UTF16PtrFromString(name)
		if err != nil {
			return nil, err
		}
		h, _, err := procOpenFileMapping.Call(fileMapAllAccess, 0, uintptr(unsafe.Pointer(text)))
		if h == 0 {
			first = fmt.Errorf("%s: %w", name, err)
			continue
		}
		addr, err := syscall.MapViewOfFile(syscall.Handle(h), fileMapAllAccess, 0, 0, 0)
		syscall.CloseHandle(syscall.Handle(h)) // the view keeps the memory
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return bytesAt(addr), nil
	}
	return nil, first
}

// bytesAt is a mapped view as a slice. The address is no Go memory, so the
// collector never moves it; the indirection tells vet so.
func bytesAt(addr uintptr) []byte {
	return unsafe.Slice(*(**byte)(unsafe.Pointer(&addr)), SegmentSize)
}

type slotLock struct{ h syscall.Handle }

// takeLock opens the file so that nobody else can, without waiting.
func takeLock(path string) (*slotLock, error) {
	h, err := openAlone(path, 0)
	if err != nil {
		return nil, err
	}
	return &slotLock{h: h}, nil
}

func openAlone(path string, flags uint32) (syscall.Handle, error) {
	text, err := syscall.UTF16PtrFromString(path)
	if err != nil {
		return 0, err
	}
	access := uint32(syscall.GENERIC_WRITE)
	if flags&flagDeleteOnClose != 0 {
		access |= 0x10000 // DELETE
	}
	return syscall.CreateFile(text, access, 0, nil, syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL|flags, 0)
}

func (l *slotLock) release(path string) {
	syscall.CloseHandle(l.h)
	os.Remove(path)
}

// FileLock is an exclusive lock between processes on one host; see TryFileLock.
type FileLock struct{ h syscall.Handle }

// ErrLocked says that another process holds the lock.
var ErrLocked = errors.New("locked by another process")

// TryFileLock takes the lock on path, making the file if absent, or returns
// ErrLocked at once. The system frees it when the holder dies.
func TryFileLock(path string) (*FileLock, error) {
	h, err := openAlone(path, flagDeleteOnClose)
	// While the last holder's file is being deleted, opening it is denied.
	if errors.Is(err, errSharing) || errors.Is(err, errAccessDenied) && exists(path) {
		return nil, ErrLocked
	}
	if err != nil {
		return nil, &os.PathError{Op: "lock", Path: path, Err: err}
	}
	return &FileLock{h: h}, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// Unlock frees the lock; the file goes with it.
func (l *FileLock) Unlock() { syscall.CloseHandle(l.h) }

// processGone: a process that we may not look at is alive.
func processGone(pid int) bool {
	h, err := syscall.OpenProcess(syscall.PROCESS_QUERY_INFORMATION, false, uint32(pid))
	if err != nil {
		return !errors.Is(err, errAccessDenied)
	}
	defer syscall.CloseHandle(h)
	var code uint32
	// Somebody's open handle keeps a dead process visible.
	return syscall.GetExitCodeProcess(h, &code) == nil && code != stillActive
}

// processStart identifies one life of a process by its creation time, "" if it cannot be read.
func processStart(pid int) string {
	h, err := syscall.OpenProcess(syscall.PROCESS_QUERY_INFORMATION, false, uint32(pid))
	if err != nil {
		return ""
	}
	defer syscall.CloseHandle(h)
	var created, exited, kernel, user syscall.Filetime
	if err := syscall.GetProcessTimes(h, &created, &exited, &kernel, &user); err != nil {
		return ""
	}
	return strconv.FormatInt(created.Nanoseconds(), 10)
}

// parentGone is not asked on Windows, where a process keeps its parent's number for life.
func parentGone(int) bool { return false }

// BootID is not known here: exited containers are then started again.
func BootID() string { return "" }

func quitSignals(c chan<- os.Signal) {
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
}

// openStderr makes stderr.txt the process's standard error, which clients on Windows leave to the
// program (spec 07 §3.1).
func openStderr(dir string) {
	f, err := os.OpenFile(filepath.Join(dir, StderrFile), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return // nobody could read the complaint
	}
	os.Stderr = f
	const stdErrorHandle = ^uintptr(11) // -12; the Go runtime looks it up when it has to report a crash
	procSetStdHandle.Call(stdErrorHandle, f.Fd())
}

// normalPriority gives a program that waits and watches the priority to answer in time.
func normalPriority() {
	if self, err := syscall.GetCurrentProcess(); err == nil {
		procSetPriority.Call(uintptr(self), normalPriorityClass)
	}
}
