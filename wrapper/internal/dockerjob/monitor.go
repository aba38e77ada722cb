package dockerjob

import (
	"context"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"time"

	"boincdock.org/wrapper/internal/engine"
)

// Pace of the monitor.
const (
	settleTime     = time.Second      // a suspend or resume must last this long …
	settleQuiet    = 10 * time.Second // … unless the last one is this long ago
	firstSample    = 300 * time.Millisecond
	counterPeriod  = 10 * time.Second // between samples that are cheap to take
	percentPeriod  = 10 * time.Second
	watchdogPeriod = 5 * time.Minute  // a `wait` is asked again: engines have lost them
	engineGrace    = 15 * time.Second // how long an engine may be away before the job is postponed
)

// ended is what the waiter found out.
type ended struct {
	c   engine.Container
	err error
}

// monitor follows the running container until it ends or the client wants us to end.
func (s *Session) monitor() error {
	ctx, cancel := context.WithCancel(context.Background())
	waiter := make(chan ended, 1)
	samples := make(chan sampled, 1)
	done := make(chan struct{})
	go func() { waiter <- s.awaitEnd(ctx); close(done) }()
	pruned := make(chan struct{})
	go func() { s.prune(ctx); close(pruned) }()
	defer func() { cancel(); <-done; <-pruned }()

	sampling, interval := false, firstSample
	nextSample := time.Now().Add(interval)
	var nextLook time.Time
	var lastChange time.Time // of the container's paused state
	wish, wishSince := s.paused, time.Time{}
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case e := <-waiter:
			return s.containerEnded(e)
		case r := <-samples:
			sampling = false
			s.takeSample(r)
			if interval *= 2; r.s.HavePercent && interval > percentPeriod {
				interval = percentPeriod
			} else if !r.s.HavePercent && interval > counterPeriod {
				interval = counterPeriod
			}
			nextSample = time.Now().Add(interval)
		case <-s.rt.Changed():
		case <-tick.C:
		}
		state, now := s.rt.State(), time.Now()
		if state.Stop() {
			return errStop
		}
		if state.Suspended != wish {
			wish, wishSince = state.Suspended, now
		}
		if wish != s.paused && (now.Sub(wishSince) >= settleTime || now.Sub(lastChange) >= settleQuiet) {
			if err := s.setPaused(wish); err != nil {
				return err
			}
			lastChange = time.Now()
		}
		if !sampling && !s.paused && now.After(nextSample) {
			sampling = true
			c := s.current
			go func() { samples <- s.sample(ctx, c) }()
		}
		if s.meter.tick(now) {
			s.saveState()
		}
		if now.After(nextLook) { // trickles and early uploads of the payload
			s.rt.Announce()
			nextLook = now.Add(time.Second)
		}
		s.report()
	}
}

// awaitEnd returns when the container does not run any more. A `wait` that
// breaks is not an end: the engine is asked what is the case.
func (s *Session) awaitEnd(ctx context.Context) ended {
	var lost time.Time
	for ctx.Err() == nil {
		wctx, cancel := context.WithTimeout(ctx, watchdogPeriod)
		code, err := s.eng.Wait(wctx, s.container)
		cancel()
		c, ierr := s.eng.Inspect(ctx, s.container)
		switch {
		case ctx.Err() != nil:
			return ended{err: ctx.Err()}
		case ierr == nil && (c.State == engine.Exited || c.State == engine.Stopped || c.State == engine.Dead):
			return ended{c: c}
		case errors.Is(ierr, engine.ErrNotFound):
			if err == nil { // removed from outside right after its end
				return ended{c: engine.Container{State: engine.Exited, ExitCode: code}, err: engine.ErrNotFound}
			}
			return ended{err: ierr}
		case ierr != nil:
			if lost.IsZero() {
				lost = time.Now()
			}
			if time.Since(lost) > engineGrace {
				return ended{err: ierr}
			}
		default:
			lost = time.Time{}
		}
		if err != nil && wctx.Err() == nil || ierr != nil {
			pause(ctx, time.Second)
		}
	}
	return ended{err: ctx.Err()}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func (s *Session) containerEnded(e ended) error {
	if errors.Is(e.err, engine.ErrNotFound) {
		return s.vanished()
	}
	if e.err != nil {
		s.st.EngineLost = true
		s.saveState()
		return postpone(300, false, "is the container engine running?", "the container engine does not answer: %s", brief(e.err))
	}
	s.current = e.c
	return nil
}

func (s *Session) vanished() error {
	return fail(1, "something outside of BOINC removed it", "the container %s has vanished", s.container)
}

// sampled is one measurement with what else is to be looked at.
type sampled struct {
	s        engine.Sample
	err      error
	when     time.Time
	fraction []byte
}

func (s *Session) sample(ctx context.Context, c engine.Container) sampled {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	select { // one at a time, so that measurements are in order
	case s.sampler <- struct{}{}:
		defer func() { <-s.sampler }()
	case <-ctx.Done():
		return sampled{err: ctx.Err()}
	}
	r := sampled{fraction: s.readFraction(ctx)}
	r.s, r.err = s.eng.Stats(ctx, s.container, c)
	r.when = time.Now()
	return r
}

func (s *Session) takeSample(r sampled) {
	if r.err == nil && r.when.After(s.meter.lastSample) {
		s.meter.add(r.s, r.when)
	}
	s.meter.progress(r.fraction)
}

// readFraction reads the payload's progress from the slot, or from the
// container in copy mode. The file is written by the payload: it may be
// anything, so only the end of a regular file is read.
func (s *Session) readFraction(ctx context.Context) []byte {
	if !s.spec.CopyMode() {
		return readTail(filepath.Join(s.dir, fractionFile))
	}
	now := time.Now()
	if now.Before(s.nextFraction) {
		return nil
	}
	text, err := s.fetchSmall(ctx, path.Join("/", s.workdir, fractionFile))
	if err != nil { // most jobs have none: ask less and less often
		if s.fractionWait *= 2; s.fractionWait < 10*time.Second {
			s.fractionWait = 10 * time.Second
		} else if s.fractionWait > 5*time.Minute {
			s.fractionWait = 5 * time.Minute
		}
	} else {
		s.fractionWait = percentPeriod
	}
	s.nextFraction = now.Add(s.fractionWait)
	return text
}

func readTail(path string) []byte {
	st, err := os.Lstat(path)
	if err != nil || !st.Mode().IsRegular() {
		return nil
	}
	f, err := os.OpenFile(path, os.O_RDONLY|openNoBlock, 0)
	if err != nil {
		return nil
	}
	defer f.Close()
	const limit = 4096
	if st.Size() > limit {
		f.Seek(-limit, io.SeekEnd)
	}
	raw, _ := io.ReadAll(io.LimitReader(f, limit))
	return raw
}

// setPaused makes the container follow the client's wish.
func (s *Session) setPaused(want bool) error {
	if want {
		// what was used until now is a checkpoint: a paused container loses nothing
		if r := s.sampleNow(); r.err == nil {
			s.takeSample(r)
		}
	}
	err := s.await(func(ctx context.Context) error { return s.freeze(ctx, want) })
	if errors.Is(err, errStop) {
		return err
	}
	now := time.Now()
	s.paused = want
	if err != nil {
		// If it does not run any more, the waiter knows; else try again at the next change.
		s.logf("warning: cannot %s the container: %s", map[bool]string{true: "pause", false: "resume"}[want], brief(err))
		c, ierr := s.inspect()
		if ierr == nil && c.State == engine.Running {
			s.paused = false
		}
		return nil
	}
	s.meter.frozen(now)
	s.meter.mark(now)
	s.saveState()
	return nil
}

func (s *Session) sampleNow() (r sampled) {
	err := s.await(func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		r = s.sample(ctx, s.current)
		return nil
	})
	if err != nil {
		r.err = err
	}
	return r
}

// freeze pauses or resumes. An engine that cannot freeze (rootless Podman with
// control groups v1) gets a signal to the first process instead.
func (s *Session) freeze(ctx context.Context, want bool) error {
	if s.sigstop {
		return s.eng.Signal(ctx, s.container, map[bool]string{true: "STOP", false: "CONT"}[want])
	}
	if !want {
		return s.eng.Unpause(ctx, s.container)
	}
	err := s.eng.Pause(ctx, s.container)
	if err == nil || ctx.Err() != nil || errors.Is(err, engine.ErrUnreachable) || errors.Is(err, engine.ErrNotFound) {
		return err
	}
	c, ierr := s.eng.Inspect(ctx, s.container)
	if ierr != nil || c.State != engine.Running {
		if c.State == engine.Paused {
			return nil
		}
		return err
	}
	s.logf("warning: this engine cannot pause the container (%s): its first process is stopped by signal instead", brief(err))
	if serr := s.eng.Signal(ctx, s.container, "STOP"); serr != nil {
		return err
	}
	s.sigstop = true
	return nil
}

// quit leaves the container so that a later episode can go on with it. It is never left computing.
func (s *Session) quit() {
	if s.eng == nil || s.container == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 45*time.Second)
	defer cancel()
	c, err := s.eng.Inspect(ctx, s.container)
	if err == nil && c.State == engine.Running {
		if r := s.sample(ctx, c); r.err == nil {
			s.takeSample(r)
		}
		pctx, pcancel := context.WithTimeout(ctx, 20*time.Second)
		err := s.eng.Pause(pctx, s.container)
		pcancel()
		if err != nil {
			s.logf("warning: cannot pause the container, stopping it: %s", brief(err))
			// Known before the stop: if we are killed meanwhile, its exit code must not count.
			s.st.Stopped = true
			s.saveState()
			if err := s.eng.Stop(ctx, s.container, 10); err != nil {
				s.logf("warning: cannot stop the container either: %s", brief(err))
			}
		}
	}
	s.meter.mark(time.Now())
	s.saveState()
	s.report()
	s.rt.Leave()
}
