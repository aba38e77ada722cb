//go:build unix

package execx

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func shell(t *testing.T, script string) (*Tree, string) {
	t.Helper()
	dir := t.TempDir()
	tree, err := Start(Task{Path: "/bin/sh", Args: []string{"-c", script}, Env: os.Environ(), Dir: dir, Level: LevelNone})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tree.Stop(0) })
	return tree, dir
}

func number(t *testing.T, path string) int {
	t.Helper()
	n := 0
	waitFor(t, func() bool {
		raw, _ := os.ReadFile(path)
		n, _ = strconv.Atoi(strings.TrimSpace(string(raw)))
		return n > 0
	})
	return n
}

func running(pid int) bool {
	p, ok := readStatForTest(pid)
	return ok && !p.zombie
}

func readStatForTest(pid int) (procInfo, bool) {
	all, _ := processes()
	for _, p := range all {
		if p.PID == pid {
			return p, true
		}
	}
	return procInfo{}, false
}

func TestTreeTellsHowItEnded(t *testing.T) {
	for script, want := range map[string]struct {
		code    int
		how     string
		ordered bool
	}{
		"exit 0":        {0, "exit status 0", false},
		"exit 7":        {7, "exit status 7", false},
		"kill -TERM $$": {15, "signal: terminated", true},
		"kill -KILL $$": {9, "signal: killed", true},
		"kill -USR1 $$": {10, "signal: user defined signal 1", false},
	} {
		tree, _ := shell(t, script)
		<-tree.Done()
		if tree.Code() != want.code || tree.How() != want.how || tree.Ordered() != want.ordered {
			t.Errorf("%s: %d, %s, %v", script, tree.Code(), tree.How(), tree.Ordered())
		}
	}
}

func TestMissingProgramOfATree(t *testing.T) {
	_, err := Start(Task{Path: "/no/such", Level: LevelNone})
	if err == nil || !strings.Contains(err.Error(), "cannot start /no/such: no such file") {
		t.Error(err)
	}
}

const burn = "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done; "

// CPU time of children that have ended, whoever waited for them, counts, and it never gets less.
func TestTreeCountsTheTimeOfAll(t *testing.T) {
	tree, dir := shell(t, "("+burn+"); ("+burn+") & wait; echo 1 > burnt; sleep 60")
	number(t, filepath.Join(dir, "burnt"))
	inside := tree.CPU()
	if inside < 0.02 {
		t.Errorf("%f s", inside)
	}
	if !tree.Stop(5 * time.Second) {
		t.Error("not stopped")
	}
	if after := tree.CPU(); after < inside {
		t.Errorf("%f after %f", after, inside)
	}
}

func TestTreeFindsOrphans(t *testing.T) {
	tree, dir := shell(t, "(sleep 600 & echo $! > orphan); exit 0")
	pid := number(t, filepath.Join(dir, "orphan"))
	<-tree.Done()
	found := false
	for _, id := range tree.Members() {
		found = found || id.PID == pid
	}
	if !found {
		t.Error("the orphan is not known")
	}
	tree.Suspend(true, false)
	waitFor(t, func() bool { p, _ := readStatForTest(pid); return p.stopped })
	if !tree.Stop(time.Second) || running(pid) { // also what stands still is asked and ends
		t.Error("lives")
	}
}

func TestStopKillsWhatDoesNotListen(t *testing.T) {
	tree, dir := shell(t, "trap '' TERM; echo $$ > pid; while :; do sleep 0.1; done")
	pid := number(t, filepath.Join(dir, "pid"))
	start := time.Now()
	if !tree.Stop(300*time.Millisecond) || running(pid) {
		t.Error("lives")
	}
	if d := time.Since(start); d < 300*time.Millisecond || d > 5*time.Second {
		t.Errorf("after %v", d)
	}
}

func TestStopIsGracefulFirst(t *testing.T) {
	tree, dir := shell(t, "trap 'echo bye > said; exit 0' TERM; echo $$ > pid; while :; do sleep 0.05; done")
	number(t, filepath.Join(dir, "pid"))
	tree.Suspend(true, false)
	tree.Stop(10 * time.Second)
	if said, _ := os.ReadFile(filepath.Join(dir, "said")); string(said) != "bye\n" {
		t.Errorf("%q", said)
	}
}

func TestResumeLetsOnlyGoOnWhatWasSuspended(t *testing.T) {
	tree, dir := shell(t, "sleep 600 & echo $! > a; kill -STOP $!; echo $$ > b; sleep 600")
	a, b := number(t, filepath.Join(dir, "a")), number(t, filepath.Join(dir, "b"))
	tree.Suspend(false, false) // the first process only
	waitFor(t, func() bool { p, _ := readStatForTest(b); return p.stopped })
	tree.Resume()
	waitFor(t, func() bool { p, _ := readStatForTest(b); return !p.stopped })
	if p, _ := readStatForTest(a); !p.stopped {
		t.Error("a process that stopped by itself was resumed")
	}
}

func TestPriority(t *testing.T) {
	tree, err := Start(Task{Path: "/bin/sleep", Args: []string{"60"}, Dir: "/", Level: 0})
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Stop(0)
	// The kernel's call tells 20 - nice.
	if p, err := syscall.Getpriority(syscall.PRIO_PROCESS, tree.PID()); err != nil || p != 1 {
		t.Errorf("%d %v", p, err)
	}
}

func TestKillLeft(t *testing.T) {
	tree, dir := shell(t, "trap '' TERM; (sleep 600 & echo $! > child; wait) & echo $! > sub; wait; sleep 60")
	child, sub := number(t, filepath.Join(dir, "child")), number(t, filepath.Join(dir, "sub"))
	ids := tree.Members()
	for i := range ids {
		if ids[i].PID != sub {
			ids[i].Start++ // another life of that number: must not be touched
		}
	}
	if n := KillLeft(ids); n != 2 || running(child) || running(sub) {
		t.Errorf("%d", n)
	}
	if !running(tree.PID()) {
		t.Error("killed a process that only has the number")
	}
	if KillLeft([]ProcID{{PID: 1, Start: startOf(1)}, {PID: os.Getpid(), Start: startOf(os.Getpid())}}) != 0 {
		t.Error("who is that?")
	}
}
