package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"boincdock.org/wrapper/internal/boinc"
	"boincdock.org/wrapper/internal/engine"
	"boincdock.org/wrapper/internal/execx"
)

// places where clients of engines are when PATH does not say: macOS starts BOINC with a minimal one (spec 07 §5.1, §7.7).
var places = map[string][]string{
	"docker": {"/usr/bin/docker", "/usr/local/bin/docker", "/snap/bin/docker", "/Applications/Docker.app/Contents/Resources/bin/docker"},
	"podman": {"/usr/bin/podman", "/opt/podman/bin/podman", "/opt/homebrew/bin/podman", "/usr/local/bin/podman"},
}

// runPodman is BOINC's helper on macOS.
const runPodman = "/Library/Application Support/BOINC Data/Run_Podman"

// finder looks for the engine of a job on this machine.
type finder struct {
	goos   string
	runner execx.Runner // without trace
	trace  func(args []string)
	warn   func(format string, a ...any)
	helper string // path of Run_Podman
	wish   string // --engine, "" = any
}

// find returns the path of an engine's client.
func find(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		if abs, err := filepath.Abs(path); err == nil {
			return abs, nil
		}
		return path, nil
	}
	for _, path := range places[name] {
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: no such program", name)
}

// choose takes the engine that the client found, else the first one that answers (spec 07 §7.7).
func (f finder) choose(ctx context.Context, d *boinc.InitData, standalone bool) (engine.Engine, error) {
	if f.goos == "windows" {
		return f.inWSL(ctx, d, standalone)
	}
	var problems []error
	for _, name := range f.names(d.DockerType) {
		path, err := find(name)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		eng := f.local(name, path)
		if d.DockerType != boinc.DockerTypeNone {
			return eng, nil // the client has tried it; a call that fails will say so
		}
		if _, err := eng.Check(ctx); err != nil {
			problems = append(problems, fmt.Errorf("%s: %s", name, engine.Output(err)))
			continue
		}
		return eng, nil
	}
	return nil, errors.Join(problems...)
}

// names lists the engines to try in order.
func (f finder) names(dockerType int) []string {
	switch {
	case f.wish != "":
		return []string{f.wish}
	case dockerType == boinc.DockerTypeDocker:
		return []string{"docker"}
	case dockerType == boinc.DockerTypePodman:
		return []string{"podman"}
	}
	return []string{"podman", "docker"}
}

func (f finder) local(name, path string) *engine.CLI {
	var run execx.Runner = traced{f.runner, f.trace}
	if name == "podman" {
		if _, err := os.Stat(f.helper); f.goos == "darwin" && err == nil {
			run = &engine.Helper{Run0: f.runner, Exe: f.helper, Trace: f.trace}
		}
	}
	eng := engine.NewDocker(run, path)
	if name == "podman" {
		eng = engine.NewPodman(run, path)
	}
	if f.goos == "darwin" {
		eng.OnMac()
	}
	eng.Warn = f.warn
	return eng
}

// inWSL takes BOINC's own distribution if it has an engine, else the first that has one.
func (f finder) inWSL(ctx context.Context, d *boinc.InitData, standalone bool) (engine.Engine, error) {
	exe, err := exec.LookPath("wsl.exe")
	if err != nil {
		exe = filepath.Join(os.Getenv("SystemRoot"), "System32", "wsl.exe")
	}
	if standalone {
		return f.probeWSL(ctx, exe)
	}
	var best *boinc.Distro
	for i := range d.Distros {
		o := &d.Distros[i]
		if o.Disallowed || o.DockerVersion == "" {
			continue
		}
		if best == nil || o.Name == boinc.BudaRunner {
			best = o
		}
	}
	if best == nil {
		return nil, fmt.Errorf("the client knows of no WSL distribution with Docker or Podman (%d distributions, without those it may not use)", len(d.Distros))
	}
	return f.distro(exe, best.Name, best.Version, best.DockerType == boinc.DockerTypePodman), nil
}

// distro makes the provider. Podman runs as root, except in new versions of BOINC's own distribution (spec 07 §6.6).
func (f finder) distro(exe, name string, version int, podman bool) *engine.CLI {
	w := &engine.WSL{Run0: f.runner, Exe: exe, Distro: name, Trace: f.trace}
	if podman && (name != boinc.BudaRunner || version < boinc.BudaRunnerNoRoot) {
		w.User = "root"
	}
	eng := engine.InWSL(w, podman)
	eng.Warn = f.warn
	return eng
}

// probeWSL tries what there may be when no client says it.
func (f finder) probeWSL(ctx context.Context, exe string) (engine.Engine, error) {
	var problems []error
	for _, name := range f.names(boinc.DockerTypeNone) {
		for _, distro := range []string{boinc.BudaRunner, ""} {
			eng := f.distro(exe, distro, 1, name == "podman")
			if _, err := eng.Check(ctx); err != nil {
				problems = append(problems, fmt.Errorf("%s in WSL %q: %s", name, distro, engine.Output(err)))
				continue
			}
			return eng, nil
		}
	}
	return nil, errors.Join(problems...)
}

// traced shows commands before they run.
type traced struct {
	execx.Runner
	trace func(args []string)
}

func (t traced) Run(ctx context.Context, c execx.Cmd) (execx.Result, error) {
	if t.trace != nil {
		t.trace(c.Args)
	}
	return t.Runner.Run(ctx, c)
}
