package dockerjob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"boincdock.org/wrapper/internal/boinc"
	"boincdock.org/wrapper/internal/engine"
	"boincdock.org/wrapper/internal/jobspec"
)

// Config is what the command line says.
type Config struct {
	ConfigFile string   // logical name, default job.toml
	Dockerfile string   // logical name, default Dockerfile
	AppArgs    []string // for the container, as ARGS
	Verbose    bool
	Keep       bool // leave container and image (standalone)
	Sporadic   bool // the job and the client talk through the files ac and ca
	// Log writes one line for the volunteer's and the project's eyes.
	Log func(format string, a ...any)
	// Trace, if set, turns the logging of engine commands on or off.
	Trace func(on bool)
	// Engines are asked in turn until one answers, unless init_data.xml names one.
	Engines func(ctx context.Context) (engine.Engine, error)
	// RetryDelays before further tries to build or pull when the network fails.
	RetryDelays []time.Duration
}

// Session is one episode of one job.
type Session struct {
	cfg       Config
	rt        *boinc.Runtime
	init      *boinc.InitData
	dir       string // slot
	project   string // project directory, absolute
	spec      *jobspec.Spec
	trusted   bool
	eng       engine.Engine
	container string
	image     imagePlan
	st        state
	meter     *meter
	paused    bool   // as far as we know
	sigstop   bool   // pausing by signal, because the engine cannot freeze
	workdir   string // of the image
	current   engine.Container
	sampler   chan struct{} // holds one token while a measurement is taken

	nextFraction time.Time // copy mode: when to ask for the progress file again
	fractionWait time.Duration
}

// errStop says that the client wants the program to end.
var errStop = errors.New("stopped by the client")

// Run runs the job to the end of this episode. It ends the process.
func Run(rt *boinc.Runtime, cfg Config) {
	s := &Session{cfg: cfg, rt: rt, init: rt.InitData(), dir: rt.Dir(), sampler: make(chan struct{}, 1)}
	s.st = loadState(s.dir)
	s.workdir = s.st.Workdir
	s.project = s.projectDir()
	s.meter = newMeter(s.init, s.st)
	s.report()
	s.conclude(s.episode())
}

func (s *Session) episode() error {
	if err := s.readSpec(); err != nil {
		return err
	}
	if s.cfg.Sporadic && !s.rt.Standalone() {
		if err := s.rt.Sporadic(); err != nil {
			return general(err, "preparing the files of a sporadic job")
		}
	}
	if err := s.findEngine(); err != nil {
		return err
	}
	if err := s.launch(); err != nil {
		return err
	}
	return s.monitor()
}

func (s *Session) logf(format string, a ...any) { s.cfg.Log(format, a...) }

// projectDir: the slot-relative path is what the client itself uses; project_dir may be of another mount namespace.
func (s *Session) projectDir() string {
	if s.rt.Standalone() {
		return filepath.Join(s.dir, "project")
	}
	return filepath.Join(s.dir, "..", "..", "projects", s.init.ProjectFolder())
}

// readSpec reads job.toml and decides whether it is part of the signed app version.
func (s *Session) readSpec() error {
	name := s.cfg.ConfigFile
	raw, err := os.ReadFile(boinc.Physical(s.dir, name))
	switch {
	case errors.Is(err, os.ErrNotExist):
		s.spec, s.trusted = jobspec.Default(), true
	case err != nil:
		return fail(exitInitFailure, "", "cannot read %s: %v", name, err)
	default:
		spec, err := jobspec.Parse(string(raw))
		if err != nil {
			return fail(exitInitFailure, "the project has to correct the file; nothing is wrong with this computer", "%v", err)
		}
		s.spec, s.trusted = spec, s.rt.Standalone() || s.isAppFile(name)
	}
	if s.cfg.Trace != nil {
		s.cfg.Trace(s.cfg.Verbose || s.spec.Verbose == 2)
	}
	for _, w := range s.spec.Warnings {
		s.logf("warning: %s", w)
	}
	if !s.trusted {
		if err := s.spec.Restrict(); err != nil {
			return fail(exitInitFailure, "such settings must come with the signed app version", "%v", err)
		}
	}
	if s.rt.Standalone() {
		s.container = standaloneName
	} else {
		s.container = ContainerName(s.init)
	}
	s.meter.period = s.init.MinCheckpointPeriod(0)
	if s.spec.CheckpointPeriod > 0 {
		s.meter.period = s.spec.CheckpointPeriod
	}
	return nil
}

// isAppFile tells whether a slot file is one of the app version's signed files:
// a link to one, or a copy with the same bytes.
func (s *Session) isAppFile(name string) bool {
	if boinc.IsLink(s.dir, name) {
		target := boinc.Physical(s.dir, name)
		return s.init.IsAppFile(filepath.Base(target)) && sameDir(filepath.Dir(target), s.project)
	}
	mine, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		return false
	}
	for _, f := range s.init.AppFiles {
		if f != filepath.Base(f) {
			continue
		}
		path := filepath.Join(s.project, f)
		if st, err := os.Stat(path); err != nil || st.Size() != int64(len(mine)) {
			continue
		}
		if theirs, err := os.ReadFile(path); err == nil && bytes.Equal(mine, theirs) {
			return true
		}
	}
	return false
}

func sameDir(a, b string) bool {
	x, err1 := os.Stat(a)
	y, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}

// source returns the real path of a slot file, and refuses one that leads out of slot and project directory.
func (s *Session) source(name string) (string, error) {
	path := boinc.Physical(s.dir, name)
	if s.rt.Standalone() || boinc.Inside(s.dir, path) || boinc.Inside(s.project, path) {
		return path, nil
	}
	return "", fail(exitInitFailure, "files of a job lie in its slot and its project's directory", "%s points to %s, outside of the job's directories", name, path)
}

func (s *Session) findEngine() error {
	return s.await(func(ctx context.Context) error {
		eng, err := s.cfg.Engines(ctx)
		if err != nil {
			return postpone(3600, false, noEngineHint(), "no container engine: %v", err)
		}
		s.eng = eng
		return nil
	})
}

// noEngineHint tells the volunteer what to install.
func noEngineHint() string {
	if runtime.GOOS == "windows" {
		return "install BOINC's WSL distribution " + boinc.BudaRunner + ", or Docker or Podman in another one that the client may use, then restart the client"
	}
	return "install Docker or Podman and let the BOINC client's user use it (for Docker on Linux: member of the group docker), then restart the client"
}

// await runs a call to the engine while the client is still served. When the
// client wants us to end, the call is cancelled and errStop returned.
func (s *Session) await(fn func(ctx context.Context) error) error {
	if s.rt.State().Stop() {
		return errStop
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- fn(ctx) }()
	for {
		select {
		case err := <-done:
			return err
		case <-s.rt.Changed():
			if s.rt.State().Stop() {
				cancel()
				<-done
				return errStop
			}
		}
	}
}

// try is await for calls that can be repeated: three time-outs in a row give up.
func (s *Session) try(fn func(ctx context.Context) error) error {
	var err error
	for i := 0; i < 3; i++ {
		if err = s.await(fn); !errors.Is(err, engine.ErrTimeout) {
			return err
		}
		s.logf("warning: %v", err)
	}
	return err
}

// sleep waits while the client is served.
func (s *Session) sleep(d time.Duration) error {
	return s.await(func(ctx context.Context) error {
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
		return nil
	})
}

// waitWhileSuspended returns when the job may compute.
func (s *Session) waitWhileSuspended() error {
	for s.rt.State().Suspended {
		select {
		case <-s.rt.Changed():
		case <-time.After(time.Second):
		}
		if s.rt.State().Stop() {
			return errStop
		}
	}
	return nil
}

// report hands the latest figures to the runtime, which sends them.
func (s *Session) report() { s.rt.Report(s.meter.status()) }

// saveState keeps the figures for the next episode; a full disk must not end the job here.
func (s *Session) saveState() {
	s.st.CPU, s.st.Counter, s.st.Fraction = s.meter.total, s.meter.counter, s.meter.fraction
	s.st.Workdir = s.workdir
	if err := s.st.save(s.dir); err != nil {
		s.logf("warning: cannot write %s: %v", stateFile, err)
	}
}

func (s *Session) env() []string {
	env := []string{}
	if len(s.cfg.AppArgs) > 0 {
		args := "ARGS="
		for _, a := range s.cfg.AppArgs {
			args += " " + a
		}
		env = append(env, args)
	}
	d := s.init
	env = append(env,
		fmt.Sprintf("BOINC_NCPUS=%g", d.NCPUs),
		fmt.Sprintf("BOINC_CHECKPOINT_PERIOD=%d", s.meter.period),
		"BOINC_GPU_TYPE="+d.GPUType,
		fmt.Sprintf("BOINC_GPU_DEVICE_NUM=%d", d.GPUDeviceNum),
		"BOINC_WU_NAME="+d.WUName,
		"BOINC_RESULT_NAME="+d.ResultName)
	if s.spec.ProjectDirMount != "" {
		env = append(env, "BOINC_PROJECT_MOUNT="+s.spec.ProjectDirMount)
	}
	for _, k := range sortedKeys(s.spec.Env) {
		env = append(env, k+"="+s.spec.Env[k])
	}
	return env
}
