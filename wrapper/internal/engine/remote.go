package engine

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"time"

	"boincdock.org/wrapper/internal/execx"
)

// Engines that are reached through another program: inside a WSL distribution by
// wsl.exe, on macOS by BOINC's helper Run_Podman (spec 07 §5.5, §6.6, §7.7). Both
// put a POSIX shell between us and the engine's client, and their own exit status
// cannot be relied on. So every argument is quoted once for that shell, and the
// command is followed by a trailer on stderr: a nonce of this call and the client's exit status.

// maxHelper is how long a command may be that Run_Podman joins; maxWSL what a
// Windows environment variable holds.
const (
	maxHelper = 2047
	maxWSL    = 32000
)

// ErrNoShell says that the program between us and the engine could not be started or did not run the command.
var ErrNoShell = errors.New("the way to the container engine is blocked")

// WSL runs commands in a WSL distribution.
type WSL struct {
	Run0   execx.Runner // runs wsl.exe
	Exe    string       // wsl.exe
	Distro string
	User   string // "" = the distribution's default user
	// Trace, if set, is called with each command before it runs.
	Trace func(args []string)
	nonce func() string
}

// wslScript runs the text of BOINC_CALL. It is the same for every call and has nothing that
// Windows' quoting or wsl.exe could change on the way: no quotes, no backslash.
const wslScript = "set -f; IFS=; eval $BOINC_CALL"

// Run implements execx.Runner. c.Args is the command as it is meant inside the distribution.
func (w *WSL) Run(ctx context.Context, c execx.Cmd) (execx.Result, error) {
	if w.Trace != nil {
		w.Trace(c.Args)
	}
	t := newTrailer(w.nonce)
	var script strings.Builder
	script.WriteString("unset IFS; set +f\n")
	for _, e := range c.Env {
		name, value, _ := strings.Cut(e, "=")
		fmt.Fprintf(&script, "export %s=%s\n", name, execx.Quote(value))
	}
	// Killing wsl.exe does not always kill what it started: let it end there as well.
	prefix := ""
	if limit := timeLeft(ctx, c.Timeout); limit > 0 {
		prefix = "$boinc_t "
		fmt.Fprintf(&script, "boinc_t=; command -v timeout >/dev/null 2>&1 && boinc_t=%s\n",
			execx.Quote(fmt.Sprintf("timeout -k 5 %d", int(limit/time.Second)+10)))
	}
	fmt.Fprintf(&script, "%s%s\n%s\n", prefix, execx.Pretty(c.Args), t.command())
	if script.Len() > maxWSL {
		return execx.Result{Status: -1}, fmt.Errorf("the command for the WSL distribution is too long (%d bytes)", script.Len())
	}
	args := []string{w.Exe}
	if w.Distro != "" {
		args = append(args, "-d", w.Distro)
	}
	if w.User != "" {
		args = append(args, "-u", w.User)
	}
	outer := c
	outer.Args = append(args, "--exec", "sh", "-c", wslScript)
	outer.Env = []string{"BOINC_CALL=" + script.String(), "WSLENV=BOINC_CALL/u", "WSL_UTF8=1"}
	return t.run(ctx, w.Run0, outer, c.Args)
}

// Helper runs commands through Run_Podman, which joins its arguments and gives them to a shell.
type Helper struct {
	Run0  execx.Runner
	Exe   string
	Trace func(args []string)
	nonce func() string
}

// Run implements execx.Runner. The helper passes no environment on: values become assignments of env(1).
func (h *Helper) Run(ctx context.Context, c execx.Cmd) (execx.Result, error) {
	if h.Trace != nil {
		h.Trace(c.Args)
	}
	t := newTrailer(h.nonce)
	args := []string{h.Exe}
	for i, a := range withValues(c.Args, c.Env) {
		if i == 0 && !strings.ContainsAny(a, " '\"$`\\;&|<>()*?[]#~!{}\t\n") {
			args = append(args, a) // the helper looks at the program's path itself
			continue
		}
		args = append(args, execx.Quote(a))
	}
	args = append(args, ";", t.command())
	if n := len(strings.Join(args[1:], " ")); n > maxHelper {
		return execx.Result{Status: -1}, fmt.Errorf("the command for %s is too long (%d bytes, at most %d): "+
			"shorten create_args, env or the application arguments", h.Exe, n, maxHelper)
	}
	outer := c
	outer.Args, outer.Env = args, nil
	return t.run(ctx, h.Run0, outer, c.Args)
}

// withValues puts values into "-e NAME" and "--build-arg NAME", which otherwise come from the environment.
func withValues(args, env []string) []string {
	if len(env) == 0 {
		return args
	}
	values := map[string]string{}
	for _, e := range env {
		name, _, _ := strings.Cut(e, "=")
		values[name] = e
	}
	out := append([]string(nil), args...)
	for i := 1; i < len(out); i++ {
		if out[i-1] == "-e" || out[i-1] == "--build-arg" {
			if v, ok := values[out[i]]; ok {
				out[i] = v
			}
		}
	}
	return out
}

func timeLeft(ctx context.Context, limit time.Duration) time.Duration {
	if end, ok := ctx.Deadline(); ok {
		if left := time.Until(end); limit <= 0 || left < limit {
			return left
		}
	}
	return limit
}

// trailer finds the exit status that the far shell reports.
type trailer struct{ nonce string }

func newTrailer(nonce func() string) trailer {
	if nonce != nil {
		return trailer{nonce()}
	}
	b := make([]byte, 8)
	rand.Read(b)
	return trailer{"boinc" + hex.EncodeToString(b)}
}

// command is the shell text that prints the trailer.
func (t trailer) command() string { return `printf '\n%s %d\n' ` + t.nonce + ` $? >&2` }

// run runs the outer command and reads the inner one's status from its stderr.
func (t trailer) run(ctx context.Context, r execx.Runner, outer execx.Cmd, inner []string) (execx.Result, error) {
	var filter *tailFilter
	if outer.Stderr != nil {
		filter = &tailFilter{w: outer.Stderr}
		outer.Stderr = filter
	}
	res, err := r.Run(ctx, outer)
	var text []byte
	if filter != nil {
		text = filter.held
	} else {
		text = res.Stderr
	}
	rest, status, found := t.cut(text)
	if filter != nil {
		filter.w.Write(rest)
	} else {
		res.Stderr = rest
	}
	var e *execx.Error
	if !found {
		if errors.As(err, &e) && (e.Timeout || ctx.Err() != nil) {
			e.Args = inner
			return res, err
		}
		said := strings.TrimSpace(strings.ReplaceAll(string(res.Stdout)+string(rest), "\x00", ""))
		if err == nil {
			err = errors.New("no answer")
		} else if errors.As(err, &e) && e.Inner != nil {
			err = e.Inner
		}
		res.Status = -1
		return res, &failure{kind: ErrNoShell, err: fmt.Errorf("%s: %w: %s", execx.Pretty(outer.Args[:1]), err, said)}
	}
	res.Status = status
	if status == 0 {
		return res, nil
	}
	return res, &execx.Error{Args: inner, Result: res, Inner: fmt.Errorf("exit status %d", status)}
}

var trailerRE = regexp.MustCompile(`^ (\d{1,3})\r?\n`)

// cut takes the trailer out of the text; found is false if this call's nonce is not in it.
func (t trailer) cut(text []byte) (rest []byte, status int, found bool) {
	i := bytes.LastIndex(text, []byte(t.nonce))
	if i < 0 {
		return text, 0, false
	}
	m := trailerRE.FindSubmatch(text[i+len(t.nonce):])
	if m == nil {
		return text, 0, false
	}
	status, _ = strconv.Atoi(string(m[1]))
	rest = bytes.TrimSuffix(bytes.TrimSuffix(text[:i:i], []byte("\n")), []byte("\r"))
	return append(rest, text[i+len(t.nonce)+len(m[0]):]...), status, true
}

// tailFilter passes text on but keeps the last part back, where the trailer is.
type tailFilter struct {
	w    io.Writer
	held []byte
}

const heldBack = 128

func (f *tailFilter) Write(p []byte) (int, error) {
	f.held = append(f.held, p...)
	if over := len(f.held) - heldBack; over > 0 {
		if _, err := f.w.Write(f.held[:over]); err != nil {
			return 0, err
		}
		f.held = append(f.held[:0], f.held[over:]...)
	}
	return len(p), nil
}

// wslPath translates a Windows path by the rule of WSL's default mounts; "" if it cannot be told so.
func wslPath(p string) string {
	if len(p) < 3 || p[1] != ':' || (p[2] != '\\' && p[2] != '/') {
		return ""
	}
	drive := p[0] | 0x20
	if drive < 'a' || drive > 'z' {
		return ""
	}
	return "/mnt/" + string(drive) + strings.TrimRight(strings.ReplaceAll(p[2:], `\`, "/"), "/")
}

// translator asks the distribution how it sees a Windows path, once for each folder.
type translator struct {
	run  execx.Runner
	seen map[string]string
}

// path returns the distribution's name of a Windows path.
func (t *translator) path(ctx context.Context, p string) (string, error) {
	p = strings.ReplaceAll(p, "/", `\`)
	// the longest folder that was asked for before
	known := make([]string, 0, len(t.seen))
	for k := range t.seen {
		known = append(known, k)
	}
	sort.Slice(known, func(i, j int) bool { return len(known[i]) > len(known[j]) })
	for _, k := range known {
		if rest, ok := strings.CutPrefix(p, k); ok && (rest == "" || rest[0] == '\\') {
			return t.seen[k] + strings.ReplaceAll(rest, `\`, "/"), nil
		}
	}
	res, err := t.run.Run(ctx, execx.Cmd{Args: []string{"wslpath", "-a", "-u", p}, Timeout: shortCall})
	out := strings.TrimRight(string(res.Stdout), "\r\n")
	if err != nil || !strings.HasPrefix(out, "/") {
		if errors.Is(err, ErrNoShell) {
			return "", err
		}
		if out = wslPath(p); out == "" {
			return "", fmt.Errorf("the WSL distribution cannot reach %s", p)
		}
	}
	t.seen[p] = strings.TrimRight(out, "/")
	return out, nil
}
