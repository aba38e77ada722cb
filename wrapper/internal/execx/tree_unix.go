//go:build unix

package execx

import (
	"os"
	"sync"
	"syscall"
	"time"
)

// procInfo is one process in a snapshot of all.
type procInfo struct {
	ProcID
	ppid, pgid      int
	cpu             float64 // seconds; on Linux with those of children it has waited for
	zombie, stopped bool
}

// treeSys is what a tree remembers between looks: a process whose parent has died keeps belonging to it.
type treeSys struct {
	known  map[ProcID]bool
	frozen map[ProcID]bool
}

// niceness of the levels 0 to 5.
var niceness = []int{19, 10, 0, -10, -15, -20}

// roots are the processes that os.Process.Wait waits for; the mutex also covers the moment of
// starting. It may be taken while a tree's is held, not the other way round.
var roots = rootSet{pids: map[int]bool{}, owner: map[ProcID]*Tree{}}

type rootSet struct {
	sync.Mutex
	pids   map[int]bool
	adopts bool             // orphans come to us
	trees  []*Tree          // not released yet, the newest last
	owner  map[ProcID]*Tree // of each process seen at the last look
}

func (r *rootSet) disown(t *Tree) {
	for id, owner := range r.owner {
		if owner == t {
			delete(r.owner, id)
		}
	}
}

func (t *Tree) launch(task Task, attr *os.ProcAttr) error {
	attr.Sys = &syscall.SysProcAttr{Setpgid: true}
	argv := append([]string{task.Path}, task.Args...)
	roots.Lock()
	defer roots.Unlock()
	p, err := startProcess(task.Path, argv, attr)
	if err != nil {
		return err
	}
	t.proc = p
	t.root = ProcID{PID: p.Pid, Start: startOf(p.Pid)}
	t.sys = treeSys{known: map[ProcID]bool{t.root: true}, frozen: map[ProcID]bool{}}
	roots.pids[p.Pid] = true
	roots.trees = append(roots.trees, t)
	if task.Level >= 0 && int(task.Level) < len(niceness) {
		// May fail for want of rights: then it runs with ours.
		_ = syscall.Setpriority(syscall.PRIO_PGRP, p.Pid, niceness[task.Level])
	}
	return nil
}

// ended runs when the first process has been waited for. The caller holds t.mu.
func (t *Tree) ended() {
	roots.Lock()
	defer roots.Unlock()
	delete(roots.pids, t.root.PID)
}

func (t *Tree) release() {
	roots.Lock()
	defer roots.Unlock()
	for i, other := range roots.trees {
		if other == t {
			roots.trees = append(roots.trees[:i:i], roots.trees[i+1:]...)
			break
		}
	}
	roots.disown(t)
}

func exitCode(state *os.ProcessState) int {
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return int(ws) & 0xffff
	}
	return state.ExitCode()
}

func ordered(state *os.ProcessState) bool {
	ws, ok := state.Sys().(syscall.WaitStatus)
	if !ok || !ws.Signaled() {
		return false
	}
	switch ws.Signal() {
	case syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGKILL:
		return true
	}
	return false
}

// look takes a snapshot and updates who belongs to the tree. The caller holds t.mu.
func (t *Tree) look() (treeMoment, error) {
	all, err := processes()
	if err != nil {
		return treeMoment{}, err
	}
	mine := t.claim(all)
	now := treeMoment{cpu: t.final}
	known := map[ProcID]bool{t.root: true}
	for _, p := range mine {
		known[p.ProcID] = true
		if p.zombie && p.ppid == os.Getpid() && p.ProcID != t.root {
			t.reap(p)
			continue
		}
		if !p.zombie {
			now.alive = append(now.alive, member{ProcID: p.ProcID, stopped: p.stopped})
		}
		if p.ProcID != t.root || !t.Ended() { // else its time is in final
			now.cpu += p.cpu
		}
	}
	t.sys.known = known
	now.cpu = max(now.cpu, t.final)
	return now, nil
}

// claim picks the tree's processes: those that belong, and for the newest tree also orphans that came to us
// and that no tree has seen before (they left their process group and lost their parent between two looks).
func (t *Tree) claim(all []procInfo) []procInfo {
	roots.Lock()
	defer roots.Unlock()
	if roots.adopts && len(roots.trees) > 0 && roots.trees[len(roots.trees)-1] == t {
		for _, p := range all {
			if p.ppid == os.Getpid() && !roots.pids[p.PID] && !roots.pids[p.pgid] && roots.owner[p.ProcID] == nil {
				t.sys.known[p.ProcID] = true
			}
		}
	}
	mine := t.belonging(all)
	roots.disown(t)
	for _, p := range mine {
		roots.owner[p.ProcID] = t
	}
	return mine
}

// belonging picks processes that were known before, are in the process group of the first one,
// or are children of one that belongs.
func (t *Tree) belonging(all []procInfo) []procInfo {
	children := map[int][]int{}
	var queue []int
	in := map[int]bool{}
	groupGone := t.root.PID == 0 // no first process: kernel threads are in group 0
	for i, p := range all {
		children[p.ppid] = append(children[p.ppid], i)
		if p.PID == t.root.PID && p.ProcID != t.root {
			groupGone = true // the number has been given away; so may be the group's
		}
	}
	for i, p := range all {
		if t.sys.known[p.ProcID] || (!groupGone && p.pgid == t.root.PID && p.Start >= t.root.Start) {
			queue, in[i] = append(queue, i), true
		}
	}
	var out []procInfo
	for len(queue) > 0 {
		i := queue[0]
		queue = queue[1:]
		out = append(out, all[i])
		for _, c := range children[all[i].PID] {
			if !in[c] {
				queue, in[c] = append(queue, c), true
			}
		}
	}
	return out
}

// reap waits for an orphan that came to us and has ended.
func (t *Tree) reap(p procInfo) {
	var ru syscall.Rusage
	pid, err := syscall.Wait4(p.PID, nil, syscall.WNOHANG, &ru)
	if err == nil && pid == p.PID {
		t.final += time.Duration(ru.Utime.Nano() + ru.Stime.Nano()).Seconds()
	}
}

func (t *Tree) signal(m member, sig syscall.Signal) {
	if m.ProcID == t.root {
		_ = t.proc.Signal(sig) // knows whether the number is still this process's
		return
	}
	if startOf(m.PID) == m.Start {
		_ = syscall.Kill(m.PID, sig)
	}
}

// freeze returns false if the process was frozen before.
func (t *Tree) freeze(m member, gentle bool) bool {
	if t.sys.frozen[m.ProcID] {
		return false
	}
	t.sys.frozen[m.ProcID] = true
	if gentle {
		t.signal(m, syscall.SIGTSTP)
	} else {
		t.signal(m, syscall.SIGSTOP)
	}
	return true
}

func (t *Tree) thaw() {
	for id := range t.sys.frozen {
		t.signal(member{ProcID: id}, syscall.SIGCONT)
	}
	t.sys.frozen = map[ProcID]bool{}
}

// ask sends TERM, and CONT so that stopped processes can take notice.
func (t *Tree) ask() {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, err := t.look()
	if err != nil {
		_ = syscall.Kill(-t.root.PID, syscall.SIGTERM)
		_ = syscall.Kill(-t.root.PID, syscall.SIGCONT)
		return
	}
	for _, m := range now.alive {
		t.signal(m, syscall.SIGTERM)
	}
	for _, m := range now.alive {
		t.signal(m, syscall.SIGCONT)
	}
	t.sys.frozen = map[ProcID]bool{}
}

func (t *Tree) kill(alive []member) {
	for _, m := range alive {
		t.signal(m, syscall.SIGKILL)
	}
	if !t.Ended() {
		_ = t.proc.Kill()
	}
}

// KillLeft kills what an earlier life of the caller has left: those of ids that still
// live, and all that came from them. It returns how many there were.
func KillLeft(ids []ProcID) int {
	total := 0
	t := &Tree{sys: treeSys{known: map[ProcID]bool{}}, done: make(chan struct{})}
	close(t.done)
	for _, id := range ids {
		if id.PID > 1 && id.PID != os.Getpid() {
			t.sys.known[id] = true
		}
	}
	for round := 0; round < 50; round++ {
		all, err := processes()
		if err != nil {
			return total
		}
		left := 0
		for _, p := range t.belonging(all) {
			t.sys.known[p.ProcID] = true
			if !p.zombie {
				left++
				if startOf(p.PID) == p.Start {
					_ = syscall.Kill(p.PID, syscall.SIGKILL)
				}
			}
		}
		if left == 0 {
			return total
		}
		total = max(total, left)
		time.Sleep(20 * time.Millisecond)
	}
	return total
}
