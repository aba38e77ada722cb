package boinc

import (
	"strconv"
	"strings"
)

// Control is what a process-control message asks for.
type Control struct {
	Suspend, Resume, Quit, Abort, Reread bool
}

// ParseControl reads a process-control message by substring search (spec 07 §2.3).
func ParseControl(msg string) Control {
	return Control{
		Suspend: strings.Contains(msg, "<suspend/>"),
		Resume:  strings.Contains(msg, "<resume/>"),
		Quit:    strings.Contains(msg, "<quit/>"),
		Abort:   strings.Contains(msg, "<abort/>"),
		Reread:  strings.Contains(msg, "<reread_app_info/>"),
	}
}

// Beat is the state that heartbeats carry. Numbers keep their old value when a
// heartbeat does not have them; NetworkSuspended is of the latest heartbeat.
type Beat struct {
	WSS, MaxWSS      float64 // bytes: this job's resident memory as the client measured it; RAM BOINC may use
	NetworkSuspended bool
	SporadicCA       int
}

// Update takes a heartbeat message in; it returns false if msg is not a heartbeat.
func (b *Beat) Update(msg string) bool {
	if !strings.Contains(msg, "<heartbeat/>") {
		return false
	}
	numberAfter(msg, "<wss>", &b.WSS)
	numberAfter(msg, "<max_wss>", &b.MaxWSS)
	b.NetworkSuspended = strings.Contains(msg, "<network_suspended/>") || strings.Contains(msg, "<suspend_network/>")
	var ca float64
	if numberAfter(msg, "<sporadic_ca>", &ca) && ca >= 0 && ca < 100 {
		b.SporadicCA = int(ca)
	}
	return true
}

// numberAfter reads the number that follows tag; it returns false, leaving dst
// alone, if there is none or it is out of range.
func numberAfter(msg, tag string, dst *float64) bool {
	_, rest, found := strings.Cut(msg, tag)
	if !found {
		return false
	}
	rest = strings.TrimLeft(rest, " \t\r\n")
	n := 0
	for n < len(rest) && strings.IndexByte("0123456789+-.eE", rest[n]) >= 0 {
		n++
	}
	v, ok := finite(rest[:n])
	if ok {
		*dst = v
	}
	return ok
}

// Status is one report to the client. CPU times are in seconds over all
// episodes of the job; both are always sent, because a message without them
// would wipe the client's record (spec 07 §2.3).
type Status struct {
	CPU           float64
	CheckpointCPU float64 // a change is the checkpoint signal
	FractionDone  float64 // 0..1
	WSS           float64 // bytes; 0 = not known, not sent
	OtherPID      int     // 0 = none
	WantNetwork   bool
	Sporadic      bool // a sporadic job; the runtime sets both fields
	SporadicAC    int
}

// Text formats the report.
func (s Status) Text() string {
	var b strings.Builder
	field := func(name string, v float64) {
		b.WriteString("<" + name + ">")
		b.WriteString(strconv.FormatFloat(v, 'f', 6, 64))
		b.WriteString("</" + name + ">\n")
	}
	field("current_cpu_time", s.CPU)
	field("checkpoint_cpu_time", s.CheckpointCPU)
	field("fraction_done", s.FractionDone)
	if s.OtherPID > 0 {
		b.WriteString("<other_pid>" + strconv.Itoa(s.OtherPID) + "</other_pid>\n")
	}
	if s.WSS > 0 {
		field("wss", s.WSS)
	}
	if s.WantNetwork {
		b.WriteString("<want_network>1</want_network>\n")
	}
	if s.Sporadic {
		b.WriteString("<sporadic_ac>" + strconv.Itoa(s.SporadicAC) + "</sporadic_ac>\n")
	}
	return b.String()
}
