package tasks

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"boincdock.org/wrapper/internal/boinc"
	"boincdock.org/wrapper/internal/execx"
	"boincdock.org/wrapper/internal/jobxml"
)

const windows = runtime.GOOS == "windows"

// start starts a task or daemon.
func (s *session) start(t *jobxml.Task, name string) (*running, error) {
	program, err := s.program(t)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	dir := s.dir
	if t.ExecDir != "" {
		if dir = s.macros().plain(t.ExecDir); !filepath.IsAbs(dir) {
			dir = filepath.Join(s.dir, dir)
		}
		if st, err := os.Stat(dir); err != nil || !st.IsDir() {
			return nil, fail(statusChildFailed, "%s: <exec_dir> %s is not a directory", name, dir)
		}
	}
	spawn := execx.Task{Path: program, Env: s.environment(t), Dir: dir, Level: s.level(t)}
	if windows {
		spawn.CmdLine = s.commandLine(t)
		spawn.Stdout, spawn.Stderr = os.Stderr, os.Stderr
	} else {
		spawn.Args = s.arguments(t)
		spawn.Stdin, spawn.Stdout, spawn.Stderr = os.Stdin, os.Stdout, os.Stderr
	}
	files, err := s.streams(t, &spawn)
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	if err != nil {
		return nil, fail(statusChildFailed, "%s: %v", name, err)
	}
	if windows {
		s.cfg.Log("starting %s: %s %s", name, filepath.Base(program), spawn.CmdLine)
	} else {
		s.cfg.Log("starting %s: %s", name, execx.Pretty(append([]string{filepath.Base(program)}, spawn.Args...)))
	}
	tree, err := execx.Start(spawn)
	if err != nil {
		e := &ending{status: statusFailed, message: fmt.Sprintf("%s: %v", name, err)}
		if errors.Is(err, os.ErrPermission) {
			e.hint = "the file must be marked <executable/> in the app version, or be run by an interpreter"
		}
		return nil, e
	}
	r := &running{task: t, name: name, tree: tree}
	s.nextCPU = s.clock // measured soon, then at intervals
	return r, nil
}

const projectDirMacro = "$PROJECT_DIR"

// program is the absolute path of a task's program.
func (s *session) program(t *jobxml.Task) (string, error) {
	path := t.Application
	if _, rest, found := strings.Cut(path, projectDirMacro); found {
		path = s.project + rest
	} else {
		path = boinc.Physical(s.dir, path)
	}
	path = filepath.FromSlash(path)
	st, err := os.Stat(path)
	if err != nil {
		return "", &ending{status: statusFailed, message: fmt.Sprintf("<application> %s: there is no file %s", t.Application, path),
			hint: "it must be the logical name of a file of the app version"}
	}
	if !st.Mode().IsRegular() {
		return "", fail(statusFailed, "<application> %s: %s is not a file", t.Application, path)
	}
	return path, nil
}

// level is the priority of a task's processes.
func (s *session) level(t *jobxml.Task) execx.Level {
	switch {
	case s.init.NoPriorityChange:
		return execx.LevelNone
	case s.init.ProcessPriority >= 0 && s.init.ProcessPriority <= 4:
		return execx.Level(s.init.ProcessPriority)
	}
	return execx.Level(t.Priority - 1)
}

// environment is ours with the task's additions. A value may refer to what the variable was before.
func (s *session) environment(t *jobxml.Task) []string {
	var env []string
	if !t.ClearEnv {
		env = os.Environ()
	}
	for _, e := range t.Setenv {
		old, at := "", -1
		for i, entry := range env {
			name, value, _ := strings.Cut(entry, "=")
			if name == e.Name || (windows && strings.EqualFold(name, e.Name)) {
				old, at = value, i
			}
		}
		value := strings.ReplaceAll(s.macros().plain(e.Value), "$"+e.Name, old)
		if at >= 0 {
			env[at] = e.Name + "=" + value
		} else {
			env = append(env, e.Name+"="+value)
		}
	}
	return env
}

// macros are the words that stand for something in command_line, exec_dir and setenv.
type macros []struct{ word, value string }

func (s *session) macros() macros {
	project := s.project
	if s.rt.Standalone() {
		project = "."
	}
	m := macros{{projectDirMacro, project}, {"$NTHREADS", strconv.Itoa(s.cfg.NThreads)}, {"$PWD", s.dir}}
	device := s.init.GPUDeviceNum
	if device < 0 {
		device = s.cfg.Device
	}
	if device >= 0 {
		m = append(m, struct{ word, value string }{"$GPU_DEVICE_NUM", strconv.Itoa(device)})
	}
	return m
}

func (m macros) plain(text string) string {
	for _, macro := range m {
		text = strings.ReplaceAll(text, macro.word, macro.value)
	}
	return text
}

const resolveWord = "boinc_resolve("

// resolves replaces each boinc_resolve(NAME) by what put makes of the path.
func (s *session) resolves(t *jobxml.Task, text string, put func(path string) string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, resolveWord)
		name, after, closed := strings.Cut(rest, ")")
		if !found || !closed {
			b.WriteString(text)
			return b.String()
		}
		b.WriteString(before)
		path := boinc.Resolve(s.dir, strings.TrimSpace(name))
		if t.ExecDir != "" && !filepath.IsAbs(path) {
			path = filepath.Join(s.dir, path) // the task looks from elsewhere
		}
		if windows && !t.ForwardSlashes {
			path = strings.ReplaceAll(path, "/", `\`)
		} else if windows {
			path = strings.ReplaceAll(path, `\`, "/")
		}
		b.WriteString(put(path))
		text = after
	}
}

// arguments are a task's on Unix. What stands for a macro never splits an argument, whatever is in it.
func (s *session) arguments(t *jobxml.Task) []string {
	var values []string
	hold := func(value string) string { // \x00 cannot be in job.xml
		values = append(values, value)
		return "\x00" + strconv.Itoa(len(values)-1) + "\x00"
	}
	line := s.resolves(t, t.CommandLine, hold)
	for _, macro := range s.macros() {
		for strings.Contains(line, macro.word) {
			line = strings.Replace(line, macro.word, hold(macro.value), 1)
		}
	}
	var out []string
	for _, word := range boinc.SplitArgs(line) {
		parts := strings.Split(word, "\x00")
		for i := 1; i < len(parts); i += 2 {
			n, _ := strconv.Atoi(parts[i])
			parts[i] = values[n]
		}
		out = append(out, strings.Join(parts, ""))
	}
	if t.AppendArgs {
		for _, arg := range s.cfg.AppArgs {
			out = append(out, s.resolves(t, arg, func(path string) string { return path }))
		}
	}
	return out
}

// commandLine is a task's on Windows, where each program splits its own. A path with blanks gets quotes
// unless the job's author has put some around it.
func (s *session) commandLine(t *jobxml.Task) string {
	m := s.macros()
	plain := func(value string) string { return value }
	line := s.resolves(t, t.CommandLine, plain)
	var b strings.Builder
	quoted := false
	for len(line) > 0 {
		word, value := "", ""
		for _, macro := range m {
			if strings.HasPrefix(line, macro.word) {
				word, value = macro.word, macro.value
			}
		}
		if word == "" {
			quoted = quoted != (line[0] == '"')
			b.WriteByte(line[0])
			line = line[1:]
			continue
		}
		if !quoted && strings.ContainsAny(value, " \t") {
			value = `"` + value + `"`
		}
		b.WriteString(value)
		line = line[len(word):]
	}
	if t.AppendArgs {
		for _, arg := range s.cfg.AppArgs {
			b.WriteString(" " + quoteWindows(s.resolves(t, arg, plain)))
		}
	}
	return strings.TrimSpace(b.String())
}

func quoteWindows(arg string) string {
	if arg != "" && !strings.ContainsAny(arg, " \t\"") {
		return arg
	}
	return `"` + strings.ReplaceAll(arg, `"`, `\"`) + `"`
}

// streams opens the files that stand for a task's standard streams. The caller closes them.
func (s *session) streams(t *jobxml.Task, spawn *execx.Task) (files []*os.File, err error) {
	for _, stream := range []struct {
		name string
		flag int
		dst  **os.File
	}{
		{t.Stdin, os.O_RDONLY, &spawn.Stdin},
		{t.Stdout, os.O_WRONLY | os.O_CREATE | os.O_APPEND, &spawn.Stdout},
		{t.Stderr, os.O_WRONLY | os.O_CREATE | os.O_APPEND, &spawn.Stderr},
	} {
		if stream.name == "" {
			continue
		}
		path := s.path(stream.name)
		if stream.flag != os.O_RDONLY {
			if err := s.confined(path); err != nil {
				return files, err
			}
		}
		f, err := os.OpenFile(path, stream.flag, 0o644)
		if err != nil {
			return files, err
		}
		files = append(files, f)
		*stream.dst = f
	}
	return files, nil
}

// confined refuses to write through a link that leads out of the slot and the project's directory.
func (s *session) confined(path string) error {
	if s.rt.Standalone() || boinc.Inside(s.dir, path) || boinc.Inside(s.project, path) {
		return nil
	}
	return fail(statusInit, "%s lies outside the slot and the project's directory", path)
}
