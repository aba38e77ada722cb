// Package jobxml reads job.xml, the description of a job for `wrapper` (spec 07 §8.1). Mistakes are
// told with line and element.
package jobxml

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"

	"boincdock.org/wrapper/internal/boinc"
)

// Task is one program to run.
type Task struct {
	Line             int
	Application      string
	CommandLine      string
	Stdin            string // logical names, "" = none
	Stdout           string
	Stderr           string
	Weight           float64
	CheckpointFile   string
	FractionDoneFile string
	ExecDir          string
	Setenv           []Env
	ClearEnv         bool // do not inherit the environment
	OnlyFirstProcess bool // <multi_process>0</multi_process>: suspend the program, not what it started
	Daemon           bool
	AppendArgs       bool
	TimeLimit        float64 // seconds of running, 0 = none
	StopGrace        float64 // seconds between being asked to end and being killed
	Priority         int     // 1..5
	ForwardSlashes   bool
}

// Env is one <setenv>.
type Env struct{ Name, Value string }

// Pattern is a <filename> of zip_output.
type Pattern struct {
	Text string
	*regexp.Regexp
}

// Job is a job.xml.
type Job struct {
	Tasks    []Task // in order, without the daemons
	Daemons  []Task
	UnzipIn  []string // logical names
	ZipOut   string   // logical name, "" = none
	Patterns []Pattern
	Rename   []string
	Graphics bool
	Warnings []string
}

// AppendsArgs tells whether any program gets our own arguments.
func (j *Job) AppendsArgs() bool {
	for _, t := range append(append([]Task(nil), j.Tasks...), j.Daemons...) {
		if t.AppendArgs {
			return true
		}
	}
	return false
}

// DefaultGrace in seconds between being asked to end and being killed. MaxGrace leaves time before the
// client's own limit of 60 s for a quit.
const (
	DefaultGrace = 10
	MaxGrace     = 45

	maxFile = 4 << 20
)

// Parse reads the text of a job.xml. The error is an *Error.
func Parse(raw []byte) (*Job, error) {
	job := &Job{}
	warn := func(line int, format string, a ...any) {
		if len(job.Warnings) < 50 {
			job.Warnings = append(job.Warnings, fmt.Sprintf("job.xml line %d: ", line)+fmt.Sprintf(format, a...))
		}
	}
	if len(raw) > maxFile {
		return nil, &Error{Line: 1, Message: fmt.Sprintf("%d bytes are too many", len(raw))}
	}
	raw = []byte(strings.TrimPrefix(string(raw), "\ufeff"))
	src, err := newSource(raw, warn)
	if err != nil {
		return nil, err
	}
	top, err := src.children(0, len(raw), "")
	if err != nil {
		return nil, err
	}
	found := false
	for _, n := range top {
		if n.name != "job_desc" || found {
			return nil, &Error{Line: n.line, Element: n.name, Message: "the file must be one <job_desc> element"}
		}
		found = true
		if err := job.read(src, n); err != nil {
			return nil, err
		}
	}
	if !found {
		return nil, &Error{Line: 1, Message: "no <job_desc>"}
	}
	return job, nil
}

func (j *Job) read(src *source, desc node) error {
	nodes, err := src.children(desc.start, desc.end, "job_desc")
	if err != nil {
		return err
	}
	for _, n := range nodes {
		switch n.name {
		case "task":
			t, err := readTask(src, n)
			if err != nil {
				return err
			}
			if t.Daemon {
				j.Daemons = append(j.Daemons, t)
			} else {
				j.Tasks = append(j.Tasks, t)
			}
		case "unzip_input", "zip_output", "rename_output":
			err = j.readFiles(src, n)
		case "enable_graphics_support":
			j.Graphics, err = src.flag(n)
		default:
			src.warn(n.line, "unknown element <%s> is ignored", n.name)
		}
		if err != nil {
			return err
		}
	}
	if len(j.Tasks) == 0 {
		return &Error{Line: desc.line, Element: "job_desc", Message: "there is no <task> that is not a daemon"}
	}
	return nil
}

var fileElements = map[string]bool{"unzip_input/zipfilename": true, "zip_output/zipfilename": true,
	"zip_output/filename": true, "rename_output/filename": true}

// readFiles reads unzip_input, zip_output and rename_output.
func (j *Job) readFiles(src *source, n node) error {
	nodes, err := src.children(n.start, n.end, n.name)
	if err != nil {
		return err
	}
	count := 0
	for _, c := range nodes {
		if !fileElements[n.name+"/"+c.name] {
			src.warn(c.line, "unknown element <%s> in <%s> is ignored", c.name, n.name)
			continue
		}
		text, err := src.filled(c)
		if err != nil {
			return err
		}
		switch n.name + "/" + c.name {
		case "unzip_input/zipfilename":
			j.UnzipIn = append(j.UnzipIn, text)
			count++
		case "zip_output/zipfilename":
			if j.ZipOut != "" {
				return &Error{Line: c.line, Element: c.name, Message: "there can be only one zip_output file"}
			}
			j.ZipOut = text
			count++
		case "zip_output/filename":
			re, err := regexp.Compile(text)
			if err != nil {
				return &Error{Line: c.line, Element: c.name, Message: fmt.Sprintf("not a regular expression: %v", err)}
			}
			j.Patterns = append(j.Patterns, Pattern{text, re})
		case "rename_output/filename":
			j.Rename = append(j.Rename, text)
			count++
		}
	}
	if count == 0 {
		want := map[string]string{"rename_output": "filename"}[n.name]
		if want == "" {
			want = "zipfilename"
		}
		return &Error{Line: n.line, Element: n.name, Message: "<" + want + "> is missing"}
	}
	return nil
}

func readTask(src *source, n node) (Task, error) {
	t := Task{Line: n.line, Weight: 1, Priority: 1, StopGrace: DefaultGrace}
	nodes, err := src.children(n.start, n.end, "task")
	if err != nil {
		return t, err
	}
	seen := map[string]bool{}
	for _, c := range nodes {
		if seen[c.name] && c.name != "setenv" {
			src.warn(c.line, "<%s> is given again; the last one counts", c.name)
		}
		seen[c.name] = true
		if err := t.set(src, c); err != nil {
			return t, err
		}
	}
	if t.Application == "" {
		return t, &Error{Line: n.line, Element: "task", Message: "<application> is missing"}
	}
	return t, nil
}

func (t *Task) set(src *source, c node) (err error) {
	switch c.name {
	case "application":
		t.Application, err = src.filled(c)
	case "command_line":
		t.CommandLine, err = src.value(c)
		if err == nil && unclosedResolve(t.CommandLine) {
			err = &Error{Line: c.line, Element: c.name, Message: "boinc_resolve( without )"}
		}
	case "stdin_filename":
		t.Stdin, err = src.value(c)
	case "stdout_filename":
		t.Stdout, err = src.value(c)
	case "stderr_filename":
		t.Stderr, err = src.value(c)
	case "weight":
		t.Weight, err = src.number(c, 0, 1e9)
	case "checkpoint_filename":
		t.CheckpointFile, err = src.value(c)
	case "fraction_done_filename":
		t.FractionDoneFile, err = src.value(c)
	case "exec_dir":
		t.ExecDir, err = src.value(c)
	case "setenv":
		err = t.setenv(src, c)
	case "clear_env":
		t.ClearEnv, err = src.flag(c)
	case "multi_process":
		t.OnlyFirstProcess, err = src.flag(c)
		t.OnlyFirstProcess = !t.OnlyFirstProcess
	case "daemon", "is_daemon":
		t.Daemon, err = src.flag(c)
	case "append_cmdline_args":
		t.AppendArgs, err = src.flag(c)
	case "time_limit":
		t.TimeLimit, err = src.number(c, 0, 1e9)
	case "stop_grace":
		t.StopGrace, err = src.number(c, 0, MaxGrace)
	case "priority":
		var v float64
		v, err = src.number(c, 1, 5)
		if t.Priority = int(v); err == nil && float64(t.Priority) != v {
			err = &Error{Line: c.line, Element: c.name, Message: "must be 1, 2, 3, 4 or 5"}
		}
	case "forward_slashes":
		t.ForwardSlashes, err = src.flag(c)
	default:
		src.warn(c.line, "unknown element <%s> in <task> is ignored", c.name)
	}
	return err
}

func (t *Task) setenv(src *source, c node) error {
	text, err := src.filled(c)
	if err != nil {
		return err
	}
	name, value, found := strings.Cut(text, "=")
	if name = strings.TrimSpace(name); !found || name == "" {
		return &Error{Line: c.line, Element: c.name, Message: fmt.Sprintf("must be NAME=VALUE, not %q", shorten(text))}
	}
	t.Setenv = append(t.Setenv, Env{name, value})
	return nil
}

// unclosedResolve tells whether a boinc_resolve( has no ).
func unclosedResolve(s string) bool {
	i := strings.LastIndex(s, "boinc_resolve(")
	return i >= 0 && !strings.Contains(s[i:], ")")
}

// value is a leaf's text, trimmed and unescaped.
func (s *source) value(n node) (string, error) {
	text := boinc.Unescape(strings.TrimSpace(string(s.text[n.start:n.end])))
	if strings.ContainsRune(text, 0) {
		return "", &Error{Line: n.line, Element: n.name, Message: "has a NUL byte"}
	}
	return text, nil
}

// filled is a value that must not be empty.
func (s *source) filled(n node) (string, error) {
	text, err := s.value(n)
	if err == nil && text == "" {
		err = &Error{Line: n.line, Element: n.name, Message: "is empty"}
	}
	return text, err
}

func (s *source) flag(n node) (bool, error) {
	text, err := s.value(n)
	switch {
	case err != nil:
		return false, err
	case n.empty, text == "1", text == "true":
		return true, nil
	case text == "0", text == "false":
		return false, nil
	}
	return false, &Error{Line: n.line, Element: n.name, Message: fmt.Sprintf("must be <%s/>, 1 or 0, not %q", n.name, shorten(text))}
}

func (s *source) number(n node, low, high float64) (float64, error) {
	text, err := s.value(n)
	if err != nil {
		return 0, err
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(v) || strings.ContainsAny(text, "xX_") {
		return 0, &Error{Line: n.line, Element: n.name, Message: fmt.Sprintf("%q is not a number", shorten(text))}
	}
	if v < low || v > high {
		return 0, &Error{Line: n.line, Element: n.name, Message: fmt.Sprintf("%s is out of range (%g to %g)", shorten(text), low, high)}
	}
	return v, nil
}
