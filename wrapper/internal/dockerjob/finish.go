package dockerjob

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"boincdock.org/wrapper/internal/engine"
)

const (
	logKept     = 48 << 10 // of the container's output, in stderr.txt: the client sends 63 KiB in all
	cleanupTime = 50 * time.Second
)

// conclude ends the episode as err says; nil means that the container ended. It
// ends the process.
func (s *Session) conclude(err error) {
	if err == nil {
		err = s.finishJob()
	}
	var o *outcome
	if errors.Is(err, errStop) {
		if state := s.rt.State(); state.Abort {
			s.abort()
		} else {
			s.quit()
		}
		s.rt.Leave()
		return
	}
	if !errors.As(err, &o) {
		errors.As(general(err, "running the job"), &o)
	}
	if o.msg != "" {
		s.logf("error: %s", o.msg)
	}
	if o.hint != "" {
		s.logf("hint: %s", o.hint)
	}
	if o.kind == postponed {
		s.postponeJob(o)
		return
	}
	last := s.meter.status()
	last.CheckpointCPU = last.CPU
	if o.ran && o.status == 0 {
		last.FractionDone = 1
	}
	s.rt.Ending(last)
	s.cleanUp()
	s.rt.Finish(o.status, "", false, last)
}

// finishJob handles a container that has ended: outputs, log, and the outcome.
func (s *Session) finishJob() error {
	c := s.current
	if c.ID == "" {
		var err error
		if c, err = s.inspect(); err != nil {
			return general(err, "looking at the ended container")
		}
	}
	status := c.ExitCode & 0xff
	o := &outcome{kind: finished, status: status, ran: true}
	if status == 137 && c.OOMKilled {
		o.status = exitOutOfMemory
		o.msg, o.hint = "the container was killed because it used more memory than it may", "memory_limit in job.toml sets the limit"
	} else if status != 0 {
		o.msg = "the container ended with exit code " + strconv.Itoa(status)
		if status > 128 {
			o.hint = "it was killed by signal " + strconv.Itoa(status-128)
		}
	}
	if status == 0 {
		if err := s.copyOut(); err != nil {
			var failed *outcome
			if errors.Is(err, errStop) || (errors.As(err, &failed) && failed.kind != finished) {
				return err
			}
			s.containerLog()
			return general(err, "fetching the outputs")
		}
	}
	if s.rt.State().Abort {
		return errStop
	}
	s.containerLog()
	return o
}

// tail keeps the last bytes of both streams of a container.
type tail struct {
	mu   sync.Mutex
	buf  []byte
	left int64
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - logKept; over > logKept {
		t.left += int64(over)
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

// text is what was kept, without what would cut or end the client's stderr report.
func (t *tail) text() []byte {
	b := t.buf
	cut := t.left > 0
	if over := len(b) - logKept; over > 0 {
		b, cut = b[over:], true
	}
	if cut {
		if nl := bytes.IndexByte(b, '\n'); nl >= 0 && nl < 1024 {
			b = b[nl+1:]
		}
		b = append([]byte("[... the beginning is left out ...]\n"), b...)
	}
	b = bytes.ReplaceAll(b, []byte{0}, []byte("?"))
	return bytes.ReplaceAll(b, []byte("</stderr_txt>"), []byte("<\\/stderr_txt>"))
}

// containerLog writes what the container printed to our stderr, which the client sends to the project.
func (s *Session) containerLog() {
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTime)
	defer cancel()
	t := &tail{}
	err := s.eng.Logs(ctx, s.container, t, t)
	text := strings.TrimRight(string(t.text()), "\n")
	if text != "" {
		text += "\n"
	}
	os.Stderr.WriteString("stderr from container:\n" + text + "stderr end\n")
	if err != nil {
		s.logf("warning: cannot read the container's output: %s", brief(err))
	}
}

// cleanUp removes the container, what its image leaves, and our files. Best
// effort: the job's result does not depend on it.
func (s *Session) cleanUp() {
	if s.eng != nil && s.container != "" {
		ctx, cancel := context.WithTimeout(context.Background(), cleanupTime)
		s.takeOwnership(ctx)
		if !s.cfg.Keep {
			if err := s.eng.Remove(ctx, s.container); err != nil {
				s.logf("warning: cannot remove the container %s: %s", s.container, brief(err))
			}
			s.releaseImage(ctx)
		}
		cancel()
	}
	s.removeFiles()
}

func (s *Session) removeFiles() {
	for _, f := range []string{stateFile, emptyFile} {
		os.Remove(filepath.Join(s.dir, f))
	}
	os.RemoveAll(filepath.Join(s.dir, contextDir))
}

// abort leaves nothing behind.
func (s *Session) abort() {
	s.logf("the client aborts the job")
	s.cleanUp()
}

// postponeJob ends the episode. The container stays for the next one, unless it
// is what fills the disk; it must not compute unsupervised meanwhile.
func (s *Session) postponeJob(o *outcome) {
	if s.eng != nil && s.container != "" {
		ctx, cancel := context.WithTimeout(context.Background(), cleanupTime)
		if o.clean {
			s.eng.Remove(ctx, s.container)
			s.releaseImage(ctx)
			s.removeFiles()
		} else if s.st.Started {
			s.st.EngineLost = true // whatever ends the container meanwhile
			s.saveState()
		}
		if c, err := s.eng.Inspect(ctx, s.container); !o.clean && err == nil && c.State == engine.Running {
			s.eng.Pause(ctx, s.container)
		}
		cancel()
	}
	s.report()
	s.rt.TemporaryExit(o.delay, o.msg, o.notice)
}

// takeOwnership gives files that a root container made in the slot to our own
// user: the client, who is the same user, could not delete them otherwise (spec 07 §7.10).
func (s *Session) takeOwnership(ctx context.Context) {
	if s.spec == nil || len(s.spec.SlotMounts()) == 0 || s.image.ref == "" || !s.foreignFiles() {
		return
	}
	ref := s.image.ref
	if err := s.eng.GiveTo(ctx, ref, s.dir, os.Geteuid(), os.Getegid()); err != nil {
		s.logf("warning: files in the slot belong to another user and cannot be given to this one: %s", brief(err))
	}
}

func (s *Session) foreignFiles() bool {
	if os.Geteuid() <= 0 {
		return false // root may delete anything; Windows has no such owners
	}
	found := false
	filepath.WalkDir(s.dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			found = true // a directory that we cannot even read
			return filepath.SkipAll
		}
		if info, err := e.Info(); err == nil && foreignOwner(info) {
			found = true
			return filepath.SkipAll
		}
		return nil
	})
	return found
}
