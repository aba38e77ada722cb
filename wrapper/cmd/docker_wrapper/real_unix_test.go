//go:build unix

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"boincdock.org/wrapper/internal/fakeclient"
)

// reachEngine: it is on this system, in the PATH.
func (r *realRig) reachEngine() {}

func makeExecutable(t *testing.T, file string) {
	t.Helper()
	if err := os.Chmod(file, 0o755); err != nil {
		t.Fatal(err)
	}
}

// docker runs a command of the engine; its output.
func docker(t *testing.T, args ...string) string {
	t.Helper()
	name := "docker"
	if underPodman() {
		name = "podman"
	}
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "PODMAN_IGNORE_CGROUPSV1_WARNING=1")
	out, _ := cmd.CombinedOutput()
	return strings.TrimSpace(string(out))
}

// The client runs as another user than root: what a root container makes in the slot must be deletable.
func TestRealOwnership(t *testing.T) {
	if os.Geteuid() != 0 || underPodman() {
		t.Skip("needs root to become another user, and Docker")
	}
	r := newReal(t, "own")
	r.dockerfile("mkdir -p d/e; echo x > d/e/f; chmod 700 d; echo out > out; chmod 600 out")
	r.Put("job.toml", "keep_image = false")
	gid := uint32(dockerGroup(t))
	filepath.WalkDir(r.Data, func(p string, _ os.DirEntry, _ error) error { return os.Chown(p, 12345, int(gid)) })
	os.Chmod(r.Data, 0o755)
	self, _ := os.Executable()
	program := filepath.Join(r.Data, "wrapper")
	if out, err := exec.Command("cp", self, program).CombinedOutput(); err != nil {
		t.Fatal(string(out))
	}
	r.Credential = &syscall.Credential{Uid: 12345, Gid: gid, NoSetGroups: true}
	r.Start(program, r.env)
	r.expect(r.Wait(r.patience()), fakeclient.Verdict{Finished: true})
	st, err := os.Stat(filepath.Join(r.Slot, "d", "e", "f"))
	if err != nil || st.Sys().(*syscall.Stat_t).Uid != 12345 {
		t.Errorf("%v %v", st, err)
	}
	r.gone()
}

func dockerGroup(t *testing.T) int {
	st, err := os.Stat("/var/run/docker.sock")
	if err != nil {
		t.Skip(err)
	}
	return int(st.Sys().(*syscall.Stat_t).Gid)
}
