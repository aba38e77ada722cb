// Package execx is the whole process layer: commands are argument lists, never
// shell strings; every call has a time limit, its own process group and bounded
// output; a failure carries the command in a form that can be pasted.
package execx

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// DefaultMaxOutput is how much of each stream is kept, half of it from the start and half from the end.
const DefaultMaxOutput = 1 << 20

// Cmd is one command to run.
type Cmd struct {
	Args      []string      // program and arguments
	Env       []string      // NAME=VALUE, added to our own environment
	Dir       string        // working directory, "" = ours
	Stdin     io.Reader     // nil = empty
	Stdout    io.Writer     // nil = kept in Result.Stdout
	Stderr    io.Writer     // nil = kept in Result.Stderr
	Timeout   time.Duration // 0 = none
	MaxOutput int           // bytes kept per stream, 0 = DefaultMaxOutput
}

// Result is what a command left.
type Result struct {
	Stdout, Stderr []byte
	Status         int // exit status, -1 if it did not run or was killed
}

// Runner runs commands. The error is nil only for exit status 0.
type Runner interface {
	Run(ctx context.Context, c Cmd) (Result, error)
}

// Error is a command that failed.
type Error struct {
	Args    []string
	Result  Result
	Timeout bool  // killed by the time limit
	Inner   error // what os/exec or the context said
}

func (e *Error) Unwrap() error { return e.Inner }

func (e *Error) Error() string {
	what := fmt.Sprintf("exit status %d", e.Result.Status)
	switch {
	case e.Timeout:
		what = "timed out"
	case e.Result.Status < 0 && e.Inner != nil:
		what = e.Inner.Error()
	}
	msg := Pretty(e.Args) + ": " + what
	if out := strings.TrimSpace(e.Output()); out != "" {
		msg += "\n" + out
	}
	return msg
}

// Output is what the command printed, stderr first.
func (e *Error) Output() string { return string(e.Result.Stderr) + string(e.Result.Stdout) }

// Pretty formats an argument list so that it can be pasted into a POSIX shell.
func Pretty(args []string) string {
	quoted := make([]string, len(args))
	for i, a := range args {
		quoted[i] = Quote(a)
	}
	return strings.Join(quoted, " ")
}

// Quote quotes one word for a POSIX shell.
func Quote(s string) string {
	safe := s != ""
	for _, c := range s {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:=@,+%", c) {
			safe = false
			break
		}
	}
	if safe {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// OS runs commands on this machine.
type OS struct {
	// Trace, if set, is called with each command before it runs.
	Trace func(args []string)
}

// Run implements Runner. When ctx ends, the command's whole process group is killed.
func (o OS) Run(ctx context.Context, c Cmd) (Result, error) {
	if len(c.Args) == 0 {
		return Result{Status: -1}, errors.New("execx: empty command")
	}
	if o.Trace != nil {
		o.Trace(c.Args)
	}
	parent := ctx
	if c.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.Timeout)
		defer cancel()
	}
	limit := c.MaxOutput
	if limit <= 0 {
		limit = DefaultMaxOutput
	}
	stdout, stderr := NewHeadTail(limit), NewHeadTail(limit)
	cmd := exec.CommandContext(ctx, c.Args[0], c.Args[1:]...)
	cmd.Dir, cmd.Stdin = c.Dir, c.Stdin
	cmd.Stdout, cmd.Stderr = io.Writer(stdout), io.Writer(stderr)
	if c.Stdout != nil {
		cmd.Stdout = c.Stdout
	}
	if c.Stderr != nil {
		cmd.Stderr = c.Stderr
	}
	if len(c.Env) > 0 {
		cmd.Env = append(os.Environ(), c.Env...)
	}
	isolate(cmd)
	cmd.Cancel = func() error { return killGroup(cmd) }
	cmd.WaitDelay = 5 * time.Second // a grandchild that keeps our pipes open must not hang us
	err := cmd.Run()
	res := Result{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), Status: -1}
	if cmd.ProcessState != nil {
		res.Status = cmd.ProcessState.ExitCode()
	}
	if err == nil {
		return res, nil
	}
	if cerr := ctx.Err(); cerr != nil && res.Status != 0 {
		return res, &Error{Args: c.Args, Result: res, Timeout: parent.Err() == nil, Inner: cerr}
	}
	return res, &Error{Args: c.Args, Result: res, Inner: err}
}

// HeadTail is a writer that keeps the first and the last part of what it is
// given, and how much was left out between them. Safe for concurrent use.
type HeadTail struct {
	mu         sync.Mutex
	half       int
	head, tail []byte
	dropped    int64
}

// NewHeadTail keeps up to limit bytes.
func NewHeadTail(limit int) *HeadTail { return &HeadTail{half: limit / 2} }

func (h *HeadTail) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := len(p)
	if room := h.half - len(h.head); room > 0 {
		if room > len(p) {
			room = len(p)
		}
		h.head = append(h.head, p[:room]...)
		p = p[room:]
	}
	h.tail = append(h.tail, p...)
	if over := len(h.tail) - 2*h.half; over > 0 { // trim rarely, not at each write
		cut := len(h.tail) - h.half
		h.dropped += int64(cut)
		h.tail = append(h.tail[:0], h.tail[cut:]...)
	}
	return n, nil
}

// Bytes returns what was kept, with a line in place of what was left out.
func (h *HeadTail) Bytes() []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	tail, dropped := h.tail, h.dropped
	if over := len(tail) - h.half; over > 0 {
		dropped += int64(over)
		tail = tail[over:]
	}
	if dropped == 0 {
		return append(bytes.Clone(h.head), tail...)
	}
	out := append(bytes.Clone(h.head), fmt.Sprintf("\n[... %d bytes left out ...]\n", dropped)...)
	return append(out, tail...)
}
