// Command docker_wrapper runs a BOINC job in a container (spec chapter 07 §7).
package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
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

// Tests put another system in place of these.
var (
	goos        = runtime.GOOS
	helper      = runPodman
	retryDelays = []time.Duration{30 * time.Second, 60 * time.Second, 120 * time.Second}
)

const usage = `docker_wrapper runs a BOINC job in a container.

Usage: docker_wrapper [options] [application arguments]

  --config FILE       job description (default job.toml)
  --dockerfile FILE   default Dockerfile
  --verbose           log every engine command
  --sporadic          the job computes when the client says so (files ac and ca)
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
			o.job.Sporadic = true
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
	engines := finder{goos: goos, runner: execx.OS{}, warn: func(format string, a ...any) { logf("warning: "+format, a...) },
		helper: helper, wish: o.engine,
		trace: func(args []string) {
			if trace.Load() {
				logf("running: %s", execx.Pretty(args))
			}
		}}
	o.job.RetryDelays = retryDelays
	o.job.Engines = func(ctx context.Context) (engine.Engine, error) {
		return engines.choose(ctx, rt.InitData(), rt.Standalone())
	}
	dockerjob.Run(rt, o.job)
}
