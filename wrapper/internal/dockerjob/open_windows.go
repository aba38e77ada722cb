package dockerjob

import "os"

// openNoBlock: Windows has no FIFOs in directories.
const openNoBlock = 0

// foreignOwner is false: files of containers are made by WSL in the name of the user.
func foreignOwner(os.FileInfo) bool { return false }
