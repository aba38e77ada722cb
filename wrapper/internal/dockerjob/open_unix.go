//go:build unix

package dockerjob

import (
	"os"
	"syscall"
)

// openNoBlock: a payload may put a FIFO or a link in place of a file that we read.
const openNoBlock = syscall.O_NONBLOCK | syscall.O_NOFOLLOW

// foreignOwner tells whether a file belongs to another user than ours.
func foreignOwner(info os.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) != os.Geteuid()
}
