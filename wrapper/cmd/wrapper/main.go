// Command wrapper runs the programs that a job.xml names under a BOINC client (spec chapter 07 §8).
package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"boincdock.org/wrapper/internal/boinc"
	"boincdock.org/wrapper/internal/tasks"
)

// version is set by build.sh.
var version = "dev"

const usage = `wrapper runs the programs that job.xml names, one after the other.

Usage: wrapper [options] [--passthrough_child ARGUMENTS...]

  --nthreads N           what $NTHREADS stands for (default 1)
  --device N             what $GPU_DEVICE_NUM stands for, if the client does not say
  --trickle SECONDS      send a message with the run time each so often
  --sporadic             exchange the files ac and ca of a sporadic job
  --use_tstp             suspend by SIGTSTP, which programs can catch, instead of SIGSTOP
  --no_check_executables without a client only: programs need not be signed
  --passthrough_child    what follows goes to tasks with <append_cmdline_args/>;
                         without it, all arguments do
  --version, -v          print the version
  --help                 print this text
`

// parse reads the command line. done: there is nothing left to do.
func parse(args []string) (cfg tasks.Config, done bool, err error) {
	cfg = tasks.Config{NThreads: 1, Device: -1, AppArgs: args, Usage: usage}
	for i := 0; i < len(args); i++ {
		number := func(low int) (v int) {
			name := args[i]
			if i++; i == len(args) {
				err = fmt.Errorf("%s needs a value", name)
				return 0
			}
			v, perr := strconv.Atoi(args[i])
			if perr != nil || v < low {
				err = fmt.Errorf("%s: %q must be a whole number, at least %d", name, args[i], low)
			}
			return v
		}
		switch args[i] {
		case "--nthreads":
			cfg.NThreads = number(1)
		case "--device":
			cfg.Device = number(0)
		case "--trickle":
			name := args[i]
			if i++; i == len(args) {
				err = fmt.Errorf("%s needs a value", name)
				break
			}
			if cfg.Trickle, err = strconv.ParseFloat(args[i], 64); err != nil || !(cfg.Trickle >= 0 && cfg.Trickle < 1e9) {
				err = fmt.Errorf("%s: %q must be a number of seconds", name, args[i])
			}
		case "--sporadic":
			cfg.Sporadic = true
		case "--use_tstp":
			cfg.UseTSTP = true
		case "--no_check_executables":
			cfg.NoCheck = true
		case "--version", "-v":
			fmt.Printf("wrapper %s (BOINC API %s)\n", version, boinc.APIVersion)
			done = true
		case "--help":
			fmt.Print(usage)
			done = true
		case "--passthrough_child":
			cfg.AppArgs = args[i+1:]
			return cfg, done, err
		default:
			if cfg.Unknown == "" {
				cfg.Unknown = args[i]
			}
		}
		if err != nil || done {
			return cfg, done, err
		}
	}
	return cfg, false, nil
}

func main() { run(os.Args[1:], func(*boinc.Options, *tasks.Config) {}) }

// run lets a test change what is not on the command line.
func run(args []string, adjust func(*boinc.Options, *tasks.Config)) {
	cfg, done, err := parse(args)
	if done {
		return
	}
	cfg.Log = func(format string, a ...any) {
		text := strings.ReplaceAll(fmt.Sprintf(format, a...), "\x00", "?")
		text = strings.ReplaceAll(text, "</stderr_txt>", "<\\/stderr_txt>")
		fmt.Fprintf(os.Stderr, "%s wrapper: %s\n", time.Now().Format("15:04:05"), text)
	}
	opts := boinc.Options{Log: cfg.Log}
	adjust(&opts, &cfg)
	rt := boinc.Init(opts)
	cfg.Log("version %s", version)
	if err != nil {
		cfg.Log("error: %v", err)
		rt.Finish(206, err.Error(), false, boinc.Status{CPU: rt.InitData().WUCPUTime})
	}
	tasks.Run(rt, cfg)
}
