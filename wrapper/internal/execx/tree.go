package execx

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// Level is a priority on the scale of the clients' process_priority: 0 (idle) to 5 (highest).
type Level int

// LevelNone leaves the priority as it is inherited.
const LevelNone Level = -1

// Task is a program that is started to run beside us, with all that it starts.
type Task struct {
	Path    string   // absolute path of the program
	Args    []string // its arguments; on Windows only if CmdLine is empty
	CmdLine string   // Windows: what follows the program on the command line, as it is
	Env     []string // the whole environment
	Dir     string   // working directory, absolute
	// nil: the null device.
	Stdin, Stdout, Stderr *os.File
	Level                 Level
}

// ProcID names one life of a process: numbers are reused, start times tell the lives apart.
type ProcID struct {
	PID   int
	Start uint64 // in the system's own unit
}

// Tree is a running task: the process that was started and every process that came from it.
// All methods are safe for concurrent use.
type Tree struct {
	root ProcID
	proc *os.Process
	done chan struct{}

	mu      sync.Mutex
	code    int
	how     string
	ordered bool
	final   float64 // CPU time of processes that are gone, as far as we were told
	highest float64
	sys     treeSys
}

// treeMoment is what a look at the tree shows.
type treeMoment struct {
	alive []member
	cpu   float64 // seconds
}

type member struct {
	ProcID
	stopped bool
}

// Start starts a task. The error names the program.
func Start(t Task) (*Tree, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	files := []*os.File{t.Stdin, t.Stdout, t.Stderr}
	for i, f := range files {
		if f == nil {
			files[i] = null
		}
	}
	tree := &Tree{done: make(chan struct{})}
	if err := tree.launch(t, &os.ProcAttr{Dir: t.Dir, Env: t.Env, Files: files}); err != nil {
		var pe *os.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return nil, fmt.Errorf("cannot start %s: %w", t.Path, err)
	}
	go tree.wait()
	return tree, nil
}

func (t *Tree) wait() {
	state, err := t.proc.Wait()
	t.mu.Lock()
	t.code, t.how = -1, fmt.Sprint(err)
	if err == nil {
		t.code = exitCode(state)
		t.how, t.ordered = state.String(), ordered(state)
		t.final += (state.UserTime() + state.SystemTime()).Seconds()
	}
	t.ended()
	t.mu.Unlock()
	close(t.done)
}

// PID is the number of the process that was started.
func (t *Tree) PID() int { return t.root.PID }

// Done is closed when the process that was started has ended; what it started may still run.
func (t *Tree) Done() <-chan struct{} { return t.done }

// Ended tells whether the process that was started has ended.
func (t *Tree) Ended() bool {
	select {
	case <-t.done:
		return true
	default:
		return false
	}
}

// Code is the exit code of the process that was started, not 0 if a signal killed it. Valid after Done.
func (t *Tree) Code() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.code
}

// How says in words how the process that was started has ended. Valid after Done.
func (t *Tree) How() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.how
}

// Ordered tells whether it has ended by a signal as people and systems send it to end programs, not
// by a mistake of its own. Valid after Done.
func (t *Tree) Ordered() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ordered
}

// CPU is the processor time of the whole tree so far in seconds, user and system. It never gets less.
func (t *Tree) CPU() float64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now, err := t.look(); err == nil && now.cpu > t.highest {
		t.highest = now.cpu
	}
	if t.final > t.highest {
		t.highest = t.final
	}
	return t.highest
}

// Members are the living processes of the tree.
func (t *Tree) Members() []ProcID {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, _ := t.look()
	out := make([]ProcID, len(now.alive))
	for i, m := range now.alive {
		out[i] = m.ProcID
	}
	return out
}

// Suspend stops the tree, or only the process that was started. A process that appears meanwhile is
// stopped too. gentle: by a signal that the program can catch (Unix). Doing it again stops what is new.
func (t *Tree) Suspend(whole, gentle bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for round := 0; round < 50; round++ {
		now, _ := t.look()
		fresh := false
		for _, m := range now.alive {
			if (whole || m.ProcID == t.root) && t.freeze(m, gentle) {
				fresh = true
			}
		}
		if !fresh {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// Resume lets go on what Suspend stopped, and only that.
func (t *Tree) Resume() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.thaw()
}

// Stop ends the tree: asked first, where the system has a way to ask, and killed after grace. It
// returns when nothing is left of it, or after some seconds if something cannot be killed (false).
func (t *Tree) Stop(grace time.Duration) bool {
	t.ask()
	kill := time.Now().Add(grace)
	giveUp := kill.Add(10 * time.Second)
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		t.mu.Lock()
		now, err := t.look()
		if time.Now().After(kill) || grace <= 0 {
			t.kill(now.alive)
		}
		t.mu.Unlock()
		if len(now.alive) == 0 && (err == nil || t.Ended()) {
			<-t.done
			t.release()
			return true
		}
		if time.Now().After(giveUp) {
			return false
		}
		time.Sleep(pause)
	}
}
