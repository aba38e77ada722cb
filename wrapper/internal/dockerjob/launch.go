package dockerjob

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"boincdock.org/wrapper/internal/boinc"
	"boincdock.org/wrapper/internal/engine"
)

// launch brings the container from whatever state it is in to running (or
// paused, or ended): spec 07 §7.6. One failure to create or start is repaired from the image.
func (s *Session) launch() error {
	if err := s.planImage(); err != nil {
		return err
	}
	for attempt := 1; ; attempt++ {
		err := s.launchOnce()
		var o *outcome
		if err == nil || errors.Is(err, errStop) || errors.As(err, &o) {
			return err
		}
		if attempt == 2 || errors.Is(err, engine.ErrUnreachable) || errors.Is(err, engine.ErrNoSpace) {
			return general(err, "starting the container")
		}
		s.logf("warning: starting the container failed, trying once more from the image: %s", brief(err))
		if err := s.removeContainer(); err != nil {
			return err
		}
	}
}

func (s *Session) launchOnce() error {
	c, err := s.inspect()
	for wait := 0; err == nil && wait < 30 && passing(c.State); wait++ {
		if err := s.sleep(time.Second); err != nil {
			return err
		}
		c, err = s.inspect()
	}
	switch {
	case errors.Is(err, engine.ErrNotFound):
		return s.fresh()
	case err != nil:
		return general(err, "looking for the container "+s.container)
	}
	s.image.ref = s.st.imageOr(s.image.ref)
	switch c.State {
	case engine.Created, engine.Configured, engine.Initialized:
		return s.start(c)
	case engine.Running:
		s.logf("the container is still running: going on with it")
		return s.adopt(c)
	case engine.Paused:
		return s.wake(c)
	case engine.Exited, engine.Stopped:
		if s.endedByItself(c) {
			s.logf("the container has ended meanwhile")
			s.meter.adopt(s.st)
			return nil
		}
		s.logf("starting the container again after it was stopped from outside of the job")
		return s.start(c)
	}
	s.logf("warning: the container is in state %q: making a new one", c.State)
	if err := s.removeContainer(); err != nil {
		return err
	}
	return s.fresh()
}

// passing tells whether a state will become another one by itself.
func passing(state string) bool {
	return state == engine.Restarting || state == engine.Removing || state == engine.Stopping
}

// endedByItself: the exit code counts only if the payload ended it. After a reboot, after our own
// stop, and when the engine went down with the container, it says nothing.
func (s *Session) endedByItself(c engine.Container) bool {
	st := s.st
	switch {
	case !st.Started || st.Stopped || st.ContainerID != c.ID:
		return false
	case st.BootID == "" || st.BootID != boinc.BootID():
		return false
	case st.StartedAt != "" && st.StartedAt != c.StartedAt:
		return false
	case st.EngineLost && c.ExitCode != 0 && !c.OOMKilled:
		return false
	}
	return true
}

func (st state) imageOr(ref string) string {
	if st.Image != "" {
		return st.Image
	}
	return ref
}

func (s *Session) inspect() (c engine.Container, err error) {
	err = s.try(func(ctx context.Context) (e error) {
		c, e = s.eng.Inspect(ctx, s.container)
		return e
	})
	return c, err
}

func (s *Session) removeContainer() error {
	if err := s.try(func(ctx context.Context) error { return s.eng.Remove(ctx, s.container) }); err != nil {
		return general(err, "removing the container "+s.container)
	}
	return nil
}

// fresh makes the container from the image and starts it.
func (s *Session) fresh() error {
	s.st = state{CPU: s.st.CPU, Fraction: s.st.Fraction}
	lock, err := s.ensureImage()
	if err != nil {
		return err
	}
	s.st.Image, s.st.Built = s.image.ref, s.image.built
	err = s.create()
	lock.Unlock()
	if err != nil {
		return err
	}
	c, err := s.inspect()
	if err != nil {
		return err
	}
	return s.start(c)
}

func (s *Session) create() error {
	spec, err := s.createSpec()
	if err != nil {
		return err
	}
	err = s.try(func(ctx context.Context) error { return s.eng.Create(ctx, spec) })
	if errors.Is(err, engine.ErrInUse) { // a call that timed out made it after all
		if err := s.removeContainer(); err != nil {
			return err
		}
		err = s.try(func(ctx context.Context) error { return s.eng.Create(ctx, spec) })
	}
	return err
}

func (s *Session) createSpec() (engine.CreateSpec, error) {
	d, sp := s.init, s.spec
	c := engine.CreateSpec{Name: s.container, Image: s.image.ref,
		Labels: map[string]string{"boinc.result": d.ResultName, "boinc.project": d.ProjectFolder(), labelClient: s.clientID(), labelSlot: s.dir},
		Env:    s.env(), ProxyEnv: ProxyEnv(d.Proxy), Ports: sp.Portmap, NoNetwork: !sp.Network, LogSize: "1m", LogFiles: 2,
		NoNewPrivs: !s.trusted, Extra: sp.CreateArgs, Entrypoint: sp.Entrypoint, Command: sp.Command, Memory: sp.MemoryLimit}
	if sp.Results != nil {
		c.LogSize, c.LogFiles = "64m", 1 // the streams are part of the result
	}
	if sp.MemoryLimitFromBound && d.RscMemoryBound >= 6<<20 {
		c.Memory = int64(d.RscMemoryBound)
	}
	if sp.CPULimit && d.NCPUs >= 1 && !s.rt.Standalone() {
		c.CPUs = d.NCPUs
	}
	if useGPU := d.GPUType != "" && d.GPUDeviceNum >= 0; sp.UseGPU != nil && *sp.UseGPU || sp.UseGPU == nil && useGPU {
		c.GPU = &engine.GPU{Vendor: d.GPUType, Device: d.GPUDeviceNum}
	}
	if sp.GraphicsPort != 0 {
		port, err := freePort()
		if err != nil {
			return c, general(err, "finding a free port")
		}
		s.st.HostPort = port
		c.Ports = append(c.Ports, fmt.Sprintf("127.0.0.1:%d:%d", port, sp.GraphicsPort))
	}
	return c, s.addMounts(&c)
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func (s *Session) addMounts(c *engine.CreateSpec) error {
	sp := s.spec
	hide := sp.HideInitData != nil && *sp.HideInitData || sp.HideInitData == nil && !s.trusted
	for _, guest := range sp.SlotMounts() {
		c.Mounts = append(c.Mounts, engine.Mount{Host: s.dir, Guest: guest})
		if hide && !s.rt.Standalone() {
			empty := filepath.Join(s.dir, emptyFile)
			if err := os.WriteFile(empty, nil, 0o644); err != nil {
				return general(err, "hiding init_data.xml")
			}
			c.Mounts = append(c.Mounts, engine.Mount{Host: empty, Guest: strings.TrimRight(guest, "/") + "/" + boinc.InitDataFile, ReadOnly: true})
		}
	}
	if sp.ProjectDirMount != "" {
		if err := s.mountProject(c); err != nil {
			return err
		}
	}
	for _, m := range sp.Mount {
		if s.trusted {
			c.RawMounts = append(c.RawMounts, m)
			continue
		}
		src, guest, _ := strings.Cut(m, ":")
		host := filepath.Join(s.dir, filepath.FromSlash(src))
		if !boinc.Inside(s.dir, host) {
			return fail(exitInitFailure, "", "job.toml: mount: %q leads out of the slot", src)
		}
		guest, option, _ := strings.Cut(guest, ":")
		c.Mounts = append(c.Mounts, engine.Mount{Host: host, Guest: guest, ReadOnly: option == "ro"})
	}
	return nil
}

// mountProject mounts the project directory. It holds other applications' signed executables: a job that
// is not signed gets it read-only, with its own outputs writable on top (spec 07 §7.4).
func (s *Session) mountProject(c *engine.CreateSpec) error {
	readonly := s.spec.ProjectDirReadonly || !s.trusted
	project, err := filepath.EvalSymlinks(s.project)
	if err != nil {
		return general(err, "the project directory")
	}
	c.Mounts = append(c.Mounts, engine.Mount{Host: project, Guest: s.spec.ProjectDirMount, ReadOnly: readonly})
	if !readonly {
		return nil
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return general(err, "the slot directory")
	}
	for _, e := range entries {
		if e.IsDir() || !boinc.IsLink(s.dir, e.Name()) {
			continue
		}
		target := boinc.Physical(s.dir, e.Name())
		if !sameDir(filepath.Dir(target), project) {
			continue
		}
		st, err := os.Stat(target)
		if err == nil && (st.Size() > 0 || s.init.IsAppFile(filepath.Base(target))) {
			continue // an input
		}
		if err != nil {
			if err := os.WriteFile(target, nil, 0o644); err != nil {
				return general(err, "preparing the output "+e.Name())
			}
		}
		guest := strings.TrimRight(s.spec.ProjectDirMount, "/") + "/" + filepath.Base(target)
		c.Mounts = append(c.Mounts, engine.Mount{Host: target, Guest: guest})
	}
	return nil
}

// start starts a container that does not run, with its inputs in place.
func (s *Session) start(c engine.Container) error {
	if !s.st.CopiedIn || s.st.ContainerID != c.ID {
		if err := s.copyIn(); err != nil {
			return err
		}
		s.st.CopiedIn = true
	}
	if err := s.waitWhileSuspended(); err != nil {
		return err
	}
	s.st.ContainerID, s.st.BootID, s.st.StartedAt = c.ID, boinc.BootID(), ""
	s.st.Started, s.st.Stopped, s.st.EngineLost = true, false, false
	s.meter.restart(time.Now())
	s.saveState()
	if err := s.try(func(ctx context.Context) error { return s.eng.Start(ctx, s.container) }); err != nil {
		return err
	}
	return s.running()
}

// running notes the start time and offers the graphics page.
func (s *Session) running() error {
	c, err := s.inspect()
	if errors.Is(err, engine.ErrNotFound) {
		return s.vanished()
	}
	if err != nil {
		return general(err, "looking at the started container")
	}
	s.current = c
	s.st.ContainerID, s.st.StartedAt, s.st.BootID, s.st.Started = c.ID, c.StartedAt, boinc.BootID(), true
	s.st.Stopped, s.st.EngineLost = false, false
	s.saveState()
	if s.st.HostPort != 0 {
		s.rt.WebGraphicsURL(fmt.Sprintf("http://localhost:%d", s.st.HostPort))
	}
	return nil
}

// adopt goes on with a container that an earlier episode left.
func (s *Session) adopt(c engine.Container) error {
	if s.st.ContainerID == c.ID && s.st.StartedAt == c.StartedAt {
		s.meter.adopt(s.st)
	}
	return s.running()
}

// wake goes on with a paused container.
func (s *Session) wake(c engine.Container) error {
	s.logf("going on with the paused container")
	if err := s.adopt(c); err != nil {
		return err
	}
	s.paused = true
	if s.rt.State().Suspended {
		return nil
	}
	err := s.try(func(ctx context.Context) error { return s.eng.Unpause(ctx, s.container) })
	if err == nil {
		s.paused = false
		s.meter.frozen(time.Now())
		return nil
	}
	if errors.Is(err, errStop) || errors.Is(err, engine.ErrUnreachable) {
		return general(err, "resuming the container")
	}
	s.logf("warning: cannot unpause the container, starting it again: %s", brief(err))
	s.paused = false
	err = s.await(func(ctx context.Context) error {
		s.eng.Signal(ctx, s.container, "KILL")
		return nil
	})
	if err != nil {
		return err
	}
	return s.start(c)
}
