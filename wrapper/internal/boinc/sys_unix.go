//go:build unix

package boinc

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

// attach maps the file that the client made in the slot.
func attach(dir string, _ *InitData) ([]byte, error) {
	f, err := os.OpenFile(filepath.Join(dir, MmapFile), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st.Size() < SegmentSize {
		return nil, fmt.Errorf("%s has %d bytes instead of %d", MmapFile, st.Size(), SegmentSize)
	}
	return syscall.Mmap(int(f.Fd()), 0, SegmentSize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
}

type slotLock struct{ f *os.File }

// takeLock takes the slot's lock without waiting. A file system that has no
// locks counts as success.
func takeLock(path string) (*slotLock, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o664)
	if err != nil {
		return nil, err
	}
	lk := syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart}
	err = syscall.FcntlFlock(f.Fd(), syscall.F_SETLK, &lk)
	if err != nil && !errors.Is(err, syscall.ENOSYS) && !errors.Is(err, syscall.ENOTSUP) {
		f.Close()
		return nil, err
	}
	return &slotLock{f: f}, nil
}

// release deletes the file before it closes it: whoever opens the name later locks a fresh file.
func (l *slotLock) release(path string) {
	os.Remove(path)
	l.f.Close()
}

// FileLock is an exclusive lock between processes on one host; see TryFileLock.
type FileLock struct{ f *os.File }

// ErrLocked says that another process holds the lock.
var ErrLocked = errors.New("locked by another process")

// TryFileLock takes the lock on path, making the file if absent, or returns
// ErrLocked at once. The kernel frees it when the holder dies.
func TryFileLock(path string) (*FileLock, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o664)
		if err != nil {
			return nil, err
		}
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err != nil && !errors.Is(err, syscall.ENOSYS) && !errors.Is(err, syscall.ENOTSUP) {
			f.Close()
			if errors.Is(err, syscall.EWOULDBLOCK) {
				return nil, ErrLocked
			}
			return nil, err
		}
		// The last holder may have deleted the file between our open and our lock.
		mine, err1 := f.Stat()
		there, err2 := os.Stat(path)
		if err1 == nil && err2 == nil && os.SameFile(mine, there) {
			return &FileLock{f: f}, nil
		}
		f.Close()
	}
}

// Unlock deletes the file and frees the lock.
func (l *FileLock) Unlock() {
	os.Remove(l.f.Name())
	l.f.Close()
}

// processGone: only "no such process" means dead; no permission means alive.
func processGone(pid int) bool {
	return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH)
}

// parentGone tells whether our parent is no longer the process it was.
func parentGone(parent int) bool { return os.Getppid() != parent }

// openStderr has nothing to do: the client has opened stderr.txt.
func openStderr(string) {}

// normalPriority has nothing to do: clients give wrappers a middle priority if the app version says is_wrapper.
func normalPriority() {}

func quitSignals(c chan<- os.Signal) {
	signal.Ignore(syscall.SIGPIPE, syscall.SIGTTOU, syscall.SIGTTIN)
	signal.Notify(c, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGTSTP)
}
