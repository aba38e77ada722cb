// Command docker_wrapper runs a BOINC job in a container (spec chapter 07 §7).
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"time"

	"boincdock.org/wrapper/internal/boinc"
	"boincdock.org/wrapper/internal/dockerjob"
	"boincdock.org/wrapper/internal/engine"
	"boincdock.org/wrapper/internal/execx"
)

// version is set by build.sh.
var version = "dev"

const usage = `docker_wrapper runs a BOINC job in a container.

Usage: docker_wrapper [options] [application arguments]

  --config FILE       job description (default job.toml)
  --dockerfile FILE   default Dockerfile
  --verbose           log every engine command
  --engine NAME       docker or podman (without a client only)
  --keep              leave container and image (without a client only)
  --version           print the version
  --help              print this text

Every other argument goes to the application, as the environment variable ARGS.
`

type options struct {
	job    dockerjob.Config
	engine string
	done   bool
}

// parse reads the command line. Unknown arguments are the application's, in any position.
func parse(args []string) (options, error) {
	o := options{job: dockerjob.Config{ConfigFile: "job.toml", Dockerfile: "Dockerfile"}}
	for i := 0; i < len(args); i++ {
		value := func() (string, error) {
			if i++; i == len(args) {
				return "", fmt.Errorf("%s needs a value", args[i-1])
			}
			return args[i], nil
		}
		var err error
		switch args[i] {
		case "--config":
			o.job.ConfigFile, err = value()
		case "--dockerfile":
			o.job.Dockerfile, err = value()
		case "--engine":
			o.engine, err = value()
		case "--verbose":
			o.job.Verbose = true
		case "--keep":
			o.job.Keep = true
		case "--sporadic":
			// accepted for compatibility: jobs of ours are never sporadic
		case "--version":
			fmt.Printf("docker_wrapper %s (BOINC API %s)\n", version, boinc.APIVersion)
			o.done = true
		case "--help":
			fmt.Print(usage)
			o.done = true
		default:
			o.job.AppArgs = append(o.job.AppArgs, args[i])
		}
		if err != nil {
			return o, err
		}
	}
	return o, nil
}

func main() {
	o, err := parse(os.Args[1:])
	if err != nil {
		fmt.Fprintf(os.Stderr, "docker_wrapper: error: %v\n", err)
		os.Exit(206)
	}
	if o.done {
		return
	}
	logf := func(format string, a ...any) {
		text := strings.ReplaceAll(fmt.Sprintf(format, a...), "\x00", "?")
		text = strings.ReplaceAll(text, "</stderr_txt>", "<\\/stderr_txt>")
		fmt.Fprintf(os.Stderr, "%s docker_wrapper: %s\n", time.Now().Format("15:04:05"), text)
	}
	o.job.Log = logf
	rt := boinc.Init(boinc.Options{Log: logf})
	logf("version %s", version)
	o.job.Keep = o.job.Keep && rt.Standalone()
	if !rt.Standalone() {
		o.engine = ""
	}
	var trace atomic.Bool
	o.job.Trace = trace.Store
	runner := execx.OS{Trace: func(args []string) {
		if trace.Load() {
			logf("running: %s", execx.Pretty(args))
		}
	}}
	o.job.RetryDelays = []time.Duration{30 * time.Second, 60 * time.Second, 120 * time.Second}
	o.job.Engines = func(ctx context.Context, dockerType int) (engine.Engine, error) {
		return choose(ctx, runner, dockerType, o.engine)
	}
	dockerjob.Run(rt, o.job)
}

// places where clients of engines are when PATH does not say.
var places = map[string][]string{
	"docker": {"/usr/bin/docker", "/usr/local/bin/docker", "/snap/bin/docker", "/Applications/Docker.app/Contents/Resources/bin/docker"},
	"podman": {"/usr/bin/podman", "/usr/local/bin/podman", "/opt/podman/bin/podman", "/opt/homebrew/bin/podman"},
}

func find(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
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
func choose(ctx context.Context, run execx.Runner, dockerType int, wish string) (engine.Engine, error) {
	names := []string{"podman", "docker"}
	switch {
	case wish != "":
		names = []string{wish}
	case dockerType == boinc.DockerTypeDocker:
		names = []string{"docker"}
	case dockerType == boinc.DockerTypePodman:
		names = []string{"podman"}
	}
	var problems []error
	for _, name := range names {
		path, err := find(name)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		var eng engine.Engine
		if name == "podman" {
			eng = engine.NewPodman(run, path)
		} else {
			eng = engine.NewDocker(run, path)
		}
		if dockerType != boinc.DockerTypeNone {
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
