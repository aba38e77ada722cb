// Package tasks runs the programs of a job.xml one after the other under a BOINC client (spec 07 §8).
package tasks

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"boincdock.org/wrapper/internal/boinc"
	"boincdock.org/wrapper/internal/execx"
	"boincdock.org/wrapper/internal/jobxml"
)

// JobFile is the logical name of the job's description.
const JobFile = "job.xml"

// Config is what the command line says.
type Config struct {
	NThreads  int      // for $NTHREADS
	Device    int      // for $GPU_DEVICE_NUM if the client names no GPU; -1 = none
	Trickle   float64  // seconds of running between two messages with the run time; 0 = none
	UseTSTP   bool     // suspend by a signal that programs can catch
	Sporadic  bool     // exchange files ac and ca
	NoCheck   bool     // standalone: programs need not be signed
	AppArgs   []string // for tasks with append_cmdline_args
	Unknown   string   // first option that is not ours: allowed if a task takes our arguments
	Usage     string   // shown with it
	Log       func(format string, a ...any)
	Period    time.Duration // of the main loop, default 1 s
	CPUPeriod time.Duration // of CPU measurements, default 10 s
}

// ending is why an episode ends.
type ending struct {
	status  int    // of the job; if delay is 0
	delay   int    // seconds of a temporary exit
	message string // for stderr, and for the volunteer at a temporary exit
	hint    string
}

func (e *ending) Error() string { return e.message }

func fail(status int, format string, a ...any) error {
	return &ending{status: status, message: fmt.Sprintf(format, a...)}
}

// Exit statuses of jobs (spec 07 §3.6).
const (
	statusFailed      = 1
	statusChildFailed = 195
	statusInit        = 206
)

// errStop says that the client wants us to end.
var errStop = errors.New("stopped by the client")

// session is one episode of one job.
type session struct {
	cfg     Config
	rt      *boinc.Runtime
	init    *boinc.InitData
	dir     string // slot
	project string // project directory, absolute
	job     *jobxml.Job

	st       checkpoint
	taskCPU  float64 // of the tasks that are done
	ckptCPU  float64 // as last reported
	fraction float64 // highest so far
	elapsed  float64 // seconds of running in all episodes
	clock    time.Time
	nextCPU  time.Time
	frozen   bool
	trickled float64 // elapsed at the last trickle
	downs    int
	offered  string // graphics address told to the client
	desktop  string

	current  *running
	daemons  []*running
	left     []*running // ended tasks; what they started may still live
	children string     // as last written
}

// running is a task with its processes.
type running struct {
	task     *jobxml.Task
	name     string // for messages
	tree     *execx.Tree
	ran      float64 // seconds
	cpu      float64
	progress float64
	mark     stamp // of the checkpoint file
	restarts int
	rested   bool // a daemon that has ended by itself
}

// Run runs the job to the end of this episode. It ends the process.
func Run(rt *boinc.Runtime, cfg Config) {
	if cfg.Period == 0 {
		cfg.Period = time.Second
	}
	if cfg.CPUPeriod == 0 {
		cfg.CPUPeriod = 10 * time.Second
	}
	s := &session{cfg: cfg, rt: rt, init: rt.InitData(), dir: rt.Dir(), clock: time.Now()}
	s.project = s.init.ProjectDir
	if rt.Standalone() || s.project == "" {
		s.project = s.dir
	}
	if !filepath.IsAbs(s.project) {
		s.project = filepath.Join(s.dir, s.project)
	}
	s.project = filepath.Clean(s.project)
	execx.AdoptOrphans()
	err := s.run()
	if rt.State().Abort {
		err = errStop
		s.stopAll(true)
	} else {
		s.stopAll(false)
	}
	if err == nil {
		err = s.outputs()
	}
	s.conclude(err)
}

func (s *session) conclude(err error) {
	var e *ending
	switch {
	case err == nil:
		s.cfg.Log("all tasks are done")
		s.finish(0, "")
	case errors.Is(err, errStop):
		s.rt.Report(s.status())
		s.rt.Leave()
	case errors.As(err, &e):
		s.cfg.Log("error: %s", e.message)
		if e.hint != "" {
			s.cfg.Log("hint: %s", e.hint)
		}
		if e.delay > 0 {
			s.rt.Report(s.status())
			s.rt.TemporaryExit(e.delay, e.message, true)
			return
		}
		s.finish(e.status, e.message)
	default:
		s.cfg.Log("error: %v", err)
		s.finish(statusFailed, err.Error())
	}
}

func (s *session) finish(status int, message string) {
	last := s.status()
	if status == 0 {
		last.FractionDone = 1
	}
	last.CheckpointCPU = last.CPU
	s.rt.Finish(status, message, false, last)
}

func (s *session) run() error {
	s.ckptCPU, s.taskCPU = s.init.WUCPUTime, s.init.WUCPUTime
	s.report()
	if err := s.readJob(); err != nil {
		return err
	}
	s.killLeft()
	if err := s.begin(); err != nil {
		return err
	}
	if s.cfg.Sporadic {
		if err := s.rt.Sporadic(); err != nil {
			return err
		}
	}
	if s.st.done > len(s.job.Tasks) {
		return fail(statusFailed, "%s says that %d tasks are done, but %s has %d", CheckpointFile, s.st.done, JobFile, len(s.job.Tasks))
	}
	s.fraction = s.progress()
	s.report()
	if s.st.done == len(s.job.Tasks) {
		return nil // ended between the last task and the outputs
	}
	if err := s.awaitGo(); err != nil {
		return err
	}
	for i := range s.job.Daemons {
		t := &s.job.Daemons[i]
		r, err := s.start(t, fmt.Sprintf("daemon %d (%s)", i+1, t.Application))
		if err != nil {
			return err
		}
		s.daemons = append(s.daemons, r)
		s.noteChildren()
	}
	for s.st.done < len(s.job.Tasks) {
		if err := s.runTask(&s.job.Tasks[s.st.done]); err != nil {
			return err
		}
	}
	return nil
}

// readJob reads job.xml and checks it against our command line.
func (s *session) readJob() error {
	raw, err := os.ReadFile(boinc.Physical(s.dir, JobFile))
	if err != nil {
		return &ending{status: statusInit, message: fmt.Sprintf("%s cannot be read: %v", JobFile, err),
			hint: "the app version or the job needs a file with the logical name " + JobFile}
	}
	if s.job, err = jobxml.Parse(raw); err != nil {
		return fail(statusInit, "%v", err)
	}
	for _, w := range s.job.Warnings {
		s.cfg.Log("warning: %s", w)
	}
	if s.cfg.Unknown != "" && !s.job.AppendsArgs() {
		return &ending{status: statusInit, message: fmt.Sprintf("unknown option %s", s.cfg.Unknown),
			hint: "no task of " + JobFile + " has <append_cmdline_args/>\n" + s.cfg.Usage}
	}
	return s.checkPrograms()
}

// runTask runs the task that is due to its end, and records that it is done.
func (s *session) runTask(t *jobxml.Task) error {
	if err := s.awaitGo(); err != nil {
		return err
	}
	name := fmt.Sprintf("task %d of %d (%s)", s.st.done+1, len(s.job.Tasks), t.Application)
	if t.FractionDoneFile != "" {
		if err := os.Remove(s.path(t.FractionDoneFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fail(statusChildFailed, "%s: %v", name, err)
		}
	}
	mark := s.stamp(t.CheckpointFile)
	r, err := s.start(t, name)
	if err != nil {
		return err
	}
	r.mark = mark
	s.current = r
	s.noteChildren()
	err = s.watch(r)
	s.current = nil
	r.cpu = r.tree.CPU()
	if len(r.tree.Members()) > 0 {
		s.left = append(s.left, r)
	} else {
		s.stop(r, true)
	}
	if err != nil {
		s.taskCPU += r.cpu
		return err
	}
	s.cfg.Log("%s is done, CPU time %.2f s", name, r.cpu)
	s.taskCPU += r.cpu
	s.st.done++
	s.fraction = max(s.fraction, s.progress())
	return s.checkpointed()
}

// watch serves the client until the task has ended.
func (s *session) watch(r *running) error {
	tick := time.NewTicker(s.cfg.Period)
	defer tick.Stop()
	for {
		select {
		case <-r.tree.Done():
		case <-s.rt.Changed():
		case <-tick.C:
		}
		if err := s.serve(); err != nil {
			return err
		}
		if r.tree.Ended() {
			return s.verdict(r)
		}
		if limit := r.task.TimeLimit; limit > 0 && r.ran > limit {
			s.cfg.Log("%s has run for its time limit of %g s: ending it, and going on as if it had ended by itself", r.name, limit)
			r.cpu = r.tree.CPU()
			s.stop(r, false)
			return nil
		}
		if now := s.stamp(r.task.CheckpointFile); now != r.mark {
			r.mark = now
			if now.exists {
				r.cpu = r.tree.CPU()
				if err := s.checkpointed(); err != nil {
					return err
				}
			}
		}
	}
}

// verdict says what the end of a task means.
func (s *session) verdict(r *running) error {
	if r.tree.Code() == 0 {
		return nil
	}
	// When a machine shuts down, its processes are asked to end all at once: the task's end may reach us first.
	for end := time.Now().Add(3 * time.Second); r.tree.Ordered() && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if s.rt.State().Stop() {
			return errStop
		}
	}
	return fail(statusChildFailed, "%s ended with %s", r.name, r.tree.How())
}

// awaitGo waits while the job is suspended.
func (s *session) awaitGo() error {
	tick := time.NewTicker(s.cfg.Period)
	defer tick.Stop()
	for {
		if err := s.serve(); err != nil {
			return err
		}
		if !s.frozen {
			return nil
		}
		select {
		case <-s.rt.Changed():
		case <-tick.C:
		}
	}
}

// serve does what is due whatever runs: the client's wishes, time, measurements, reports.
func (s *session) serve() error {
	now := time.Now()
	passed := now.Sub(s.clock).Seconds()
	s.clock = now
	if !s.frozen {
		s.elapsed += passed
		if s.current != nil {
			s.current.ran += passed
		}
	}
	state := s.rt.State()
	if state.Stop() {
		return errStop
	}
	if state.Suspended != s.frozen || (s.frozen && now.After(s.nextCPU)) {
		s.freeze(state.Suspended)
	}
	if err := s.tendDaemons(); err != nil {
		return err
	}
	if now.After(s.nextCPU) {
		s.nextCPU = now.Add(s.cfg.CPUPeriod)
		if s.current != nil {
			s.current.cpu = s.current.tree.CPU()
		}
		s.noteChildren()
	}
	if s.current != nil {
		s.readFraction(s.current)
	}
	s.fraction = max(s.fraction, s.progress())
	s.report()
	s.messages(state)
	if s.job.Graphics {
		s.writeGraphics(state)
	}
	return nil
}

// all are the processes of which something may live.
func (s *session) all() []*running {
	out := append([]*running(nil), s.daemons...)
	out = append(out, s.left...)
	if s.current != nil {
		out = append(out, s.current)
	}
	return out
}

// freeze makes all processes stand still or go on.
func (s *session) freeze(on bool) {
	for _, r := range s.all() {
		if on {
			r.tree.Suspend(!r.task.OnlyFirstProcess, s.cfg.UseTSTP)
		} else {
			r.tree.Resume()
		}
	}
	if on && !s.frozen && s.current != nil {
		s.current.cpu = s.current.tree.CPU()
	}
	s.frozen = on
}

// tendDaemons starts daemons again that have died.
func (s *session) tendDaemons() error {
	for i, r := range s.daemons {
		if r.rested || s.frozen || !r.tree.Ended() {
			continue
		}
		if r.tree.Code() == 0 {
			s.cfg.Log("%s has ended by itself", r.name)
			r.rested = true
			continue
		}
		if r.restarts == maxRestarts {
			return fail(statusChildFailed, "%s ended with %s, after %d restarts", r.name, r.tree.How(), r.restarts)
		}
		s.cfg.Log("%s ended with %s: starting it again", r.name, r.tree.How())
		s.stop(r, true)
		fresh, err := s.start(r.task, r.name)
		if err != nil {
			return err
		}
		fresh.restarts = r.restarts + 1
		s.daemons[i] = fresh
	}
	return nil
}

const maxRestarts = 5

// stopAll ends everything that we started. At an abort nobody gets time to tidy up.
func (s *session) stopAll(abort bool) {
	var wg sync.WaitGroup
	for _, r := range s.all() {
		wg.Add(1)
		go func(r *running) {
			defer wg.Done()
			s.stop(r, abort)
		}(r)
	}
	wg.Wait()
	s.current, s.daemons, s.left = nil, nil, nil
	_ = os.Remove(filepath.Join(s.dir, ChildrenFile))
}

func (s *session) stop(r *running, now bool) {
	grace := time.Duration(r.task.StopGrace * float64(time.Second))
	if now {
		grace = 0
	}
	if !r.tree.Stop(grace) {
		s.cfg.Log("warning: %s has processes that cannot be ended", r.name)
	}
}

func (s *session) path(name string) string {
	return boinc.Physical(s.dir, name)
}
