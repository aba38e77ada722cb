//go:build unix

package fakeclient

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"boincdock.org/wrapper/internal/boinc"
)

// Credential is a user of the system.
type Credential = syscall.Credential

// commObjName: the memory is a file in the slot.
func (c *Client) commObjName() string { return c.memory }

func (c *Client) attach() {
	path := filepath.Join(c.Slot, boinc.MmapFile)
	os.Remove(path)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		c.T.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(boinc.SegmentSize); err != nil {
		c.T.Fatal(err)
	}
	mem, err := syscall.Mmap(int(f.Fd()), 0, boinc.SegmentSize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		c.T.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mem = mem
	c.seg, _ = boinc.NewSegment(mem)
}

func (c *Client) detach() { syscall.Munmap(c.mem) }

func (c *Client) prepare(cmd *exec.Cmd, stderr *os.File) {
	cmd.Stderr = stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: c.Credential}
	if c.Credential == nil {
		return
	}
	for _, f := range []string{boinc.InitDataFile, boinc.MmapFile, boinc.StderrFile} {
		if err := os.Chown(filepath.Join(c.Slot, f), int(c.Credential.Uid), int(c.Credential.Gid)); err != nil {
			c.T.Fatal(err)
		}
	}
}
