package dockerjob

import (
	"errors"
	"fmt"

	"boincdock.org/wrapper/internal/engine"
)

// Exit codes with a meaning to BOINC (spec 07 §3.6).
const (
	exitOutOfMemory = 205
	exitInitFailure = 206
)

type outcomeKind int

const (
	finished  outcomeKind = iota // the job is over, with a status
	postponed                    // temporary exit
	quitting                     // leave, the container paused
	aborting                     // leave, nothing remains
)

// outcome is how an episode ends. It travels as an error up to Run.
type outcome struct {
	kind   outcomeKind
	status int
	ran    bool // finished: the container ended by itself with status
	delay  int  // postponed: seconds
	notice bool // postponed: show the reason as a notice
	clean  bool // postponed: the container is of no more use
	msg    string
	hint   string
}

func (o *outcome) Error() string { return o.msg }

// fail ends the job with a status: cause and hint go to stderr.
func fail(status int, hint, format string, a ...any) error {
	return &outcome{kind: finished, status: status, msg: fmt.Sprintf(format, a...), hint: hint}
}

// postpone asks the client to start the job again after delay seconds.
func postpone(delay int, notice bool, hint, format string, a ...any) error {
	return &outcome{kind: postponed, delay: delay, notice: notice, msg: fmt.Sprintf(format, a...), hint: hint}
}

// general turns errors that mean the same everywhere into an outcome; others
// become a failure of the job with the given text.
func general(err error, what string) error {
	var o *outcome
	switch {
	case errors.Is(err, errStop):
		return errStop
	case errors.As(err, &o):
		return o
	case errors.Is(err, engine.ErrNoSpace):
		return &outcome{kind: postponed, delay: 3600, notice: true, clean: true, hint: "make room on the disk that holds the containers",
			msg: fmt.Sprintf("%s: no space left on the disk: %s", what, brief(err))}
	case errors.Is(err, engine.ErrUnreachable):
		return postpone(300, false, "is the container engine running, and may this user use it?",
			"%s: the container engine does not answer: %s", what, brief(err))
	case errors.Is(err, engine.ErrNoShell):
		return postpone(600, false, "does `wsl -d` with the distribution that the client names work for this user? `wsl --shutdown` may help",
			"%s: %s", what, brief(err))
	case errors.Is(err, engine.ErrTimeout):
		return postpone(600, false, "the container engine is overloaded or hangs; restarting it may help", "%s: %s", what, brief(err))
	}
	return fail(1, "", "%s: %s", what, brief(err))
}

// brief is what an engine said, its last 8 KiB.
func brief(err error) string {
	out := engine.Output(err)
	if len(out) > 8192 {
		out = "[...]" + out[len(out)-8192:]
	}
	return out
}
