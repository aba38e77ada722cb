package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"boincdock.org/wrapper/internal/boinc"
	"boincdock.org/wrapper/internal/fakeclient"
	"boincdock.org/wrapper/internal/tasks"
)

// The test binary is also the wrapper under test, and the program that it runs.
func TestMain(m *testing.M) {
	switch {
	case strings.HasPrefix(filepath.Base(os.Args[0]), "worker"):
		work(os.Args[1:])
		os.Exit(0)
	case os.Getenv("RUN_WRAPPER") == "1":
		run(os.Args[1:], func(o *boinc.Options, c *tasks.Config) {
			c.Period, c.CPUPeriod = 50*time.Millisecond, 200*time.Millisecond
			if v, err := time.ParseDuration(os.Getenv("LOCK_RETRY")); err == nil {
				o.LockRetry = v
			}
		})
	}
	flag.Parse()
	if runtime.GOOS != "windows" {
		flag.Set("test.parallel", "8") // they mostly wait
	}
	os.Exit(m.Run())
}

// work is the program that tasks run: its arguments are commands, done in order.
func work(args []string) {
	for len(args) > 0 {
		verb := args[0]
		word := func() string {
			if len(args) < 2 {
				fmt.Fprintln(os.Stderr, "worker: no word after", verb)
				os.Exit(99)
			}
			w := args[1]
			args = append([]string{verb}, args[2:]...)
			return w
		}
		switch verb {
		case "say":
			fmt.Println(word())
		case "complain":
			fmt.Fprintln(os.Stderr, word())
		case "exit":
			n, _ := strconv.Atoi(word())
			os.Exit(n)
		case "sleep":
			time.Sleep(seconds(word()))
		case "spin":
			for end := cpuTime() + seconds(word()); cpuTime() < end; {
			}
		case "write":
			name := word()
			check(os.WriteFile(name, []byte(word()), 0o644))
		case "append":
			name := word()
			f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
			check(err)
			fmt.Fprintln(f, word())
			f.Close()
		case "env":
			name := word()
			fmt.Printf("%s=%s\n", name, os.Getenv(name))
		case "cwd":
			dir, err := os.Getwd()
			check(err)
			fmt.Println("cwd=" + dir)
		case "stdin":
			io.Copy(os.Stdout, os.Stdin)
		case "args":
			for _, a := range args[1:] {
				fmt.Printf("[%s]\n", a)
			}
			return
		case "await":
			name := word()
			for {
				if _, err := os.Stat(name); err == nil {
					break
				}
				time.Sleep(5 * time.Millisecond)
			}
		case "count": // for ever
			f, err := os.OpenFile(word(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
			check(err)
			for {
				f.WriteString("x")
				time.Sleep(10 * time.Millisecond)
			}
		case "pid":
			check(os.WriteFile(word(), []byte(strconv.Itoa(os.Getpid())), 0o644))
		case "child", "session": // runs the rest as another process and goes on at once; session: in its own
			self, err := os.Executable()
			check(err)
			cmd := exec.Command(self, args[1:]...)
			cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
			cmd.Args[0] = os.Args[0]
			if verb == "session" {
				ownSession(cmd)
			}
			check(cmd.Start())
			if verb == "child" {
				check(cmd.Wait())
			}
			return
		case "deaf":
			ignoreTerm()
		case "crash":
			crash()
		default:
			fmt.Fprintln(os.Stderr, "worker: no verb", verb)
			os.Exit(98)
		}
		args = args[1:]
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(97)
	}
}

func seconds(s string) time.Duration {
	v, _ := strconv.ParseFloat(s, 64)
	return time.Duration(v * float64(time.Second))
}

const limit = 120 * time.Second

// rig is a fake client with a job.xml.
type rig struct {
	*fakeclient.Client
	t   *testing.T
	env []string
}

// newRig lays down a signed program `worker` and a signed job.xml with these elements.
func newRig(t *testing.T, job string) *rig {
	t.Helper()
	t.Parallel()
	return quietRig(t, job)
}

// quietRig does not let the test run beside others.
func quietRig(t *testing.T, job string) *rig {
	t.Helper()
	r := &rig{t: t, Client: fakeclient.New(t, t.TempDir(), "wu_1_0"),
		env: []string{"RUN_WRAPPER=1", "GORACE=atexit_sleep_ms=0", "ORIGINAL=yes"}}
	r.ExtraInit = "<no_priority_change>1</no_priority_change>\n" // else tests starve on a busy machine
	r.program("worker")
	text := "<job_desc>\n" + job + "\n</job_desc>\n"
	r.Link("job.xml", "job_1.xml", &text)
	r.AppFiles = []string{physical("worker"), "job_1.xml"}
	return r
}

func physical(name string) string {
	if runtime.GOOS == "windows" {
		return name + "_1.exe"
	}
	return name + "_1"
}

// program puts a copy of the test binary into the project's directory, and a link to it into the slot.
func (r *rig) program(name string) {
	r.t.Helper()
	self, err := os.Executable()
	if err != nil {
		r.t.Fatal(err)
	}
	target := filepath.Join(r.Project, physical(name))
	if err := os.Link(self, target); err != nil {
		raw, err := os.ReadFile(self)
		if err == nil {
			err = os.WriteFile(target, raw, 0o755)
		}
		if err != nil {
			r.t.Fatal(err)
		}
	}
	r.Link(name, physical(name), nil)
}

func task(inner string) string {
	return "<task>\n<application>worker</application>\n" + inner + "\n</task>\n"
}

func line(text string) string {
	return "<command_line>" + strings.ReplaceAll(text, "&", "&amp;") + "</command_line>\n"
}

func (r *rig) start(args ...string) {
	r.t.Helper()
	self, _ := os.Executable()
	r.Start(self, r.env, args...)
}

func (r *rig) run(args ...string) fakeclient.Verdict {
	r.t.Helper()
	r.start(args...)
	return r.Wait(limit)
}

func (r *rig) stderr() string { return r.Read("stderr.txt") }

// expect checks an end by the client's rules, and that the lock is gone.
func (r *rig) expect(v fakeclient.Verdict, code int, finished bool) {
	r.t.Helper()
	if v.Code != code || v.Finished != finished || v.Delay != -1 {
		r.t.Fatalf("got %+v, want code %d, finished %v; stderr:\n%s", v, code, finished, r.stderr())
	}
	if _, err := os.Stat(filepath.Join(r.Slot, "boinc_lockfile")); err == nil {
		r.t.Error("the lock file is still there")
	}
	if _, err := os.Stat(filepath.Join(r.Slot, tasks.ChildrenFile)); err == nil {
		r.t.Error("the list of children is still there")
	}
	r.checkReports()
}

// checkReports: both CPU fields in every report, plain decimals, progress and CPU time never less than before.
func (r *rig) checkReports() {
	r.t.Helper()
	fraction, cpu := 0.0, 0.0
	for _, rep := range r.Reports() {
		for _, tag := range []string{"current_cpu_time", "checkpoint_cpu_time", "fraction_done"} {
			v := rep.Number(tag)
			if v < 0 || !strings.Contains(rep.Text, fmt.Sprintf("<%s>%.6f</%s>", tag, v, tag)) {
				r.t.Errorf("%s in %q", tag, rep.Text)
			}
		}
		if f := rep.Number("fraction_done"); f < fraction {
			r.t.Errorf("progress fell from %f to %f", fraction, f)
		} else {
			fraction = f
		}
		if c := rep.Number("current_cpu_time"); c < cpu {
			r.t.Errorf("CPU time fell from %f to %f", cpu, c)
		} else {
			cpu = c
		}
	}
}

func (r *rig) expectStderr(words ...string) {
	r.t.Helper()
	text := r.stderr()
	for _, w := range words {
		if !strings.Contains(text, w) {
			r.t.Errorf("stderr lacks %q:\n%s", w, text)
		}
	}
}

func (r *rig) eventually(what string, cond func() bool) {
	r.t.Helper()
	for end := time.Now().Add(limit); !cond(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("not in time: %s; stderr:\n%s", what, r.stderr())
		}
	}
}

func (r *rig) exists(name string) bool {
	_, err := os.Stat(filepath.Join(r.Slot, name))
	return err == nil
}

func (r *rig) size(name string) int64 {
	st, err := os.Stat(filepath.Join(r.Slot, name))
	if err != nil {
		return 0
	}
	return st.Size()
}

// still tells whether a counting program stands still for a while.
func (r *rig) still(name string) bool {
	before := r.size(name)
	time.Sleep(300 * time.Millisecond)
	return r.size(name) == before
}

// pid reads a process number that a task has written.
func (r *rig) pid(name string) int {
	r.t.Helper()
	r.eventually(name, func() bool { return r.Read(name) != "" })
	n, err := strconv.Atoi(r.Read(name))
	if err != nil {
		r.t.Fatal(err)
	}
	return n
}

func (r *rig) gone(name string) {
	r.t.Helper()
	pid := r.pid(name)
	r.eventually(fmt.Sprintf("process %d (%s) to end", pid, name), func() bool { return !alive(pid) })
}

func (r *rig) fractions() (out []float64) {
	for _, rep := range r.Reports() {
		out = append(out, rep.Number("fraction_done"))
	}
	return out
}

func lines(text string) (out []string) {
	s := bufio.NewScanner(strings.NewReader(text))
	for s.Scan() {
		out = append(out, s.Text())
	}
	return out
}
