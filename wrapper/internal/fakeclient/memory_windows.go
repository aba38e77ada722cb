package fakeclient

import (
	"fmt"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"boincdock.org/wrapper/internal/boinc"
)

// Credential is of use on Unix only.
type Credential struct{}

var (
	lastMemory atomic.Int64
	handles    sync.Map // *Client: handle of its memory
)

// commObjName makes a name for the memory, as <comm_obj_name> of init_data.xml has it.
func (c *Client) commObjName() string {
	if c.memory == "" {
		c.memory = fmt.Sprintf("boinc_%d_%d", os.Getpid(), lastMemory.Add(1))
	}
	return c.memory
}

func (c *Client) attach() {
	name, err := syscall.UTF16PtrFromString("shm_" + c.commObjName())
	if err != nil {
		c.T.Fatal(err)
	}
	h, err := syscall.CreateFileMapping(syscall.InvalidHandle, nil, syscall.PAGE_READWRITE, 0, boinc.SegmentSize, name)
	if err != nil {
		c.T.Fatal(err)
	}
	addr, err := syscall.MapViewOfFile(h, syscall.FILE_MAP_WRITE|syscall.FILE_MAP_READ, 0, 0, 0)
	if err != nil {
		c.T.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	handles.Store(c, h)
	c.mem = unsafe.Slice(*(**byte)(unsafe.Pointer(&addr)), boinc.SegmentSize)
	for i := range c.mem {
		c.mem[i] = 0
	}
	c.seg, _ = boinc.NewSegment(c.mem)
}

func (c *Client) detach() {
	syscall.UnmapViewOfFile(uintptr(unsafe.Pointer(&c.mem[0])))
	if h, ok := handles.LoadAndDelete(c); ok {
		syscall.CloseHandle(h.(syscall.Handle))
	}
}

// prepare: a job on Windows gets no standard streams.
func (c *Client) prepare(cmd *exec.Cmd, _ *os.File) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: 0x08000000}
}
