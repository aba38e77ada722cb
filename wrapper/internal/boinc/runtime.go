package boinc

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// APIVersion is announced to BOINC's version tools, which look for it in the
// output of strings(1) at the end of a line; hence the NULs around it.
const APIVersion = "8.2.15"

var apiMark = []byte("\x00API_VERSION_" + APIVersion + "\x00")

// Timing of the protocol (spec 07 §2.4).
const (
	pollPeriod      = 200 * time.Millisecond // upstream 100; clients act once a second
	reportPeriod    = time.Second
	alivePeriod     = 10 * time.Second
	heartbeatLimit  = 30 * time.Second
	lockRetry       = 35 * time.Second
	finishSendLimit = 3 * time.Second
)

// Options of Init.
type Options struct {
	Dir       string                        // slot directory, default "."
	Log       func(format string, a ...any) // one line to stderr
	Exit      func(code int)                // default os.Exit; must not return
	LockRetry time.Duration                 // default 35 s
}

// State is what the client has told so far.
type State struct {
	Suspended     bool
	Quit          bool // stop so that the work can go on later
	Abort         bool // stop for good
	ClientGone    bool // act as for Quit
	HaveHeartbeat bool
	Beat          Beat
	TrickleDowns  int // announcements of messages from the server, see Runtime.TrickleDowns
}

// Stop tells whether the program has to end now.
func (s State) Stop() bool { return s.Quit || s.Abort || s.ClientGone }

// Runtime is the connection to the client. Its poller goroutine is the only
// user of the shared memory. All methods are safe for concurrent use.
type Runtime struct {
	opts       Options
	dir        string
	init       *InitData
	standalone bool
	lock       *slotLock
	seg        *Segment
	changed    chan struct{}
	signals    chan os.Signal
	quit       chan struct{} // closed to end the poller
	done       chan struct{}

	mu          sync.Mutex
	state       State
	status      Status
	haveStatus  bool
	wantNetwork bool
	lastSent    string
	lastSend    time.Time
	lastBeat    time.Time
	lastAlive   time.Time
	clientStart string
	parent      int    // our parent if that is the client, else 0
	graphics    string // message about graphics to be sent
	out         outbox
	sporadic    *sporadic
	finished    bool
	ending      chan struct{} // closed when the last status is sent
}

// Init does what a program does first under a client (spec 07 §3.1): a finish file left by
// an earlier episode ends the program at once, then slot lock, init_data.xml, shared
// memory, poller. It does not return when the program cannot run now: it
// writes a temporary-exit file with the reason and exits.
// Without init_data.xml the runtime is in standalone mode.
func Init(opts Options) *Runtime {
	if opts.Dir == "" {
		opts.Dir = "."
	}
	if opts.Exit == nil {
		opts.Exit = os.Exit
	}
	if opts.LockRetry == 0 {
		opts.LockRetry = lockRetry
	}
	if opts.Log == nil {
		opts.Log = func(f string, a ...any) { fmt.Fprintf(os.Stderr, f+"\n", a...) }
	}
	dir, err := filepath.Abs(opts.Dir)
	if err != nil {
		dir = opts.Dir
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	r := &Runtime{opts: opts, dir: dir, changed: make(chan struct{}, 1), quit: make(chan struct{}),
		done: make(chan struct{}), signals: make(chan os.Signal, 8)}
	_, err = os.Stat(filepath.Join(dir, InitDataFile))
	r.standalone = errors.Is(err, os.ErrNotExist)
	if !r.standalone {
		openStderr(dir)
	}
	if status, found := previousFinish(dir); found && !r.standalone {
		opts.Log("an earlier episode of this job already finished with status %d", status)
		opts.Exit(status)
	}
	r.takeSlotLock()
	r.readInitData()
	if !r.init.NoPriorityChange {
		normalPriority()
	}
	r.attach()
	r.Announce() // again, if the client has not fetched it before it restarted us
	_ = apiMark[len(apiMark)-1]
	quitSignals(r.signals)
	now := time.Now()
	r.lastBeat, r.lastAlive = now, now
	r.lastSend = now // a job that is over at once finds the channel empty for its last status
	if pid := r.init.ClientPID; pid > 0 {
		r.clientStart = processStart(pid)
		if pid == os.Getppid() && !r.init.UsingSandbox {
			r.parent = pid
		}
	}
	go r.poll()
	return r
}

func (r *Runtime) takeSlotLock() {
	path := filepath.Join(r.dir, LockFile)
	lock, err := takeLock(path)
	if err != nil {
		r.opts.Log("the slot is locked by another process (%v); trying again in %v", err, r.opts.LockRetry)
		time.Sleep(r.opts.LockRetry)
		lock, err = takeLock(path)
	}
	if err != nil {
		r.TemporaryExit(600, "another process is running in this slot", false)
	}
	r.lock = lock
}

func (r *Runtime) readInitData() {
	if r.standalone {
		r.init = NewInitData()
		return
	}
	d, err := ReadInitData(filepath.Join(r.dir, InitDataFile))
	if err != nil {
		r.opts.Log("error: %v", err)
		r.TemporaryExit(60, "init_data.xml cannot be read", false)
	}
	r.init = d
	if d.ShmKey != -1 && d.CommObjName == "" {
		r.opts.Log("error: the client set up System V shared memory (shm_key %d)\n"+
			"hint: the app version needs <api_version> 7.5 or later", d.ShmKey)
		r.TemporaryExit(3600, "the app version lacks api_version 7.5 or later", false)
	}
}

func (r *Runtime) attach() {
	if r.standalone {
		return
	}
	mem, err := attach(r.dir, r.init)
	if err == nil {
		r.seg, err = NewSegment(mem)
	}
	if err != nil {
		r.opts.Log("error: cannot attach the client's shared memory: %v", err)
		r.TemporaryExit(60, "cannot attach shared memory", false)
	}
}

// InitData is the parsed init_data.xml, read again when the client says that it has changed; do not change it.
func (r *Runtime) InitData() *InitData {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.init
}

// Standalone tells whether the program runs without a client.
func (r *Runtime) Standalone() bool { return r.standalone }

// Dir is the absolute path of the slot, symbolic links resolved.
func (r *Runtime) Dir() string { return r.dir }

// Changed receives a value after State may have changed.
func (r *Runtime) Changed() <-chan struct{} { return r.changed }

// State returns the latest state.
func (r *Runtime) State() State {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state
}

// Report sets the status that the poller sends next, at most once per second. FractionDone is
// scaled into the range that init_data.xml gives.
func (r *Runtime) Report(s Status) {
	s.FractionDone = r.scaled(s.FractionDone)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status, r.haveStatus = s, true
}

func (r *Runtime) scaled(f float64) float64 {
	if f <= 0 {
		return 0
	}
	init := r.InitData()
	return init.FractionStart + f*(init.FractionEnd-init.FractionStart)
}

// WantNetwork tells the client whether the job waits for the network.
func (r *Runtime) WantNetwork(want bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wantNetwork = want
}

// WebGraphicsURL offers a page for the client's "show graphics" button. At most 255 bytes.
func (r *Runtime) WebGraphicsURL(url string) { r.offer("web_graphics_url", url) }

// RemoteDesktop offers a desktop, host:port, for the same button. At most 255 bytes.
func (r *Runtime) RemoteDesktop(addr string) { r.offer("remote_desktop_addr", addr) }

func (r *Runtime) offer(tag, value string) {
	if len(value) > 255 {
		r.opts.Log("%s is too long for the client: %d bytes", tag, len(value))
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.graphics = "<" + tag + ">" + value + "</" + tag + ">"
}

// poll is the poller goroutine.
func (r *Runtime) poll() {
	defer close(r.done)
	tick := time.NewTicker(pollPeriod)
	defer tick.Stop()
	for {
		select {
		case <-r.quit:
			return
		case sig := <-r.signals:
			r.opts.Log("received signal %v: stopping so that the job can go on later", sig)
			r.update(func(s *State) { s.Quit = true })
		case now := <-tick.C:
			if r.seg != nil {
				r.receive(now)
				r.checkClient(now)
				r.send(now)
			}
		}
	}
}

// update changes the state and wakes the main loop if it differs.
func (r *Runtime) update(change func(*State)) {
	r.mu.Lock()
	old := r.state
	change(&r.state)
	differs := old != r.state
	r.mu.Unlock()
	if differs {
		select {
		case r.changed <- struct{}{}:
		default:
		}
	}
}

func (r *Runtime) receive(now time.Time) {
	if msg, ok := r.seg.Receive(Heartbeat); ok {
		r.update(func(s *State) {
			if s.Beat.Update(msg) {
				s.HaveHeartbeat = true
				r.lastBeat = now
			}
		})
	}
	if msg, ok := r.seg.Receive(ControlRequest); ok {
		c := ParseControl(msg)
		r.update(func(s *State) {
			switch {
			case c.Abort:
				s.Abort = true
			case c.Quit:
				s.Quit = true
			case c.Suspend:
				s.Suspended = true
			case c.Resume:
				s.Suspended = false
			}
		})
		if c.Reread {
			r.reread()
		}
	}
	if msg, ok := r.seg.Receive(TrickleDown); ok && strings.Contains(msg, "<have_trickle_down/>") {
		r.update(func(s *State) { s.TrickleDowns++ })
	}
}

// reread takes in what the client has changed in init_data.xml, such as the proxy.
func (r *Runtime) reread() {
	d, err := ReadInitData(filepath.Join(r.dir, InitDataFile))
	if err != nil {
		r.opts.Log("the changed init_data.xml cannot be read: %v", err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.init = d
}

func (r *Runtime) checkClient(now time.Time) {
	gone := false
	if pid := r.init.ClientPID; pid > 0 {
		if now.Sub(r.lastAlive) < alivePeriod {
			return
		}
		r.lastAlive = now
		gone = processGone(pid)
		if start := processStart(pid); start != "" && r.clientStart != "" && start != r.clientStart {
			gone = true
		}
		if r.parent != 0 && parentGone(r.parent) {
			gone = true
		}
	} else {
		gone = now.Sub(r.lastBeat) > heartbeatLimit
	}
	if gone && !r.State().ClientGone {
		r.opts.Log("the client is gone: stopping so that the job can go on later")
		r.update(func(s *State) { s.ClientGone = true })
	}
}

func (r *Runtime) send(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.finished {
		return
	}
	if now.Sub(r.lastSend) >= reportPeriod && r.haveStatus {
		s := r.status
		s.WantNetwork = r.wantNetwork
		if r.sporadic != nil {
			r.sporadic.exchange(r.dir, r.state)
			s.SporadicAC, s.Sporadic = r.sporadic.app, true
		}
		// A suspended job has nothing new to say; only what differs is sent.
		if text := s.Text(); !r.state.Suspended || text != r.lastSent {
			if r.seg.Send(AppStatus, text) {
				r.lastSent, r.lastSend = text, now
			}
		}
	}
	r.announce()
	if r.graphics != "" && r.seg.Send(GraphicsReply, r.graphics) {
		r.graphics = ""
	}
}

// flush puts the latest status into the channel, waiting up to limit for the client to take the
// one before. The client looks at the channel once more when the program has
// ended, so a message that is in place is never lost.
func (r *Runtime) flush(limit time.Duration) {
	if r.seg == nil {
		return
	}
	r.mu.Lock()
	s := r.status
	have := r.haveStatus
	s.WantNetwork = r.wantNetwork
	r.finished = true // the poller sends no more
	last := r.lastSent
	r.mu.Unlock()
	text := s.Text()
	if !have || text == last {
		return
	}
	for end := time.Now().Add(limit); !r.seg.Send(AppStatus, text) && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
}

// Ending sends the last status while the caller cleans up before Finish: the client takes a message only once a second.
// No other status is sent afterwards.
func (r *Runtime) Ending(last Status) {
	r.Report(last)
	r.ending = make(chan struct{})
	go func() {
		r.flush(finishSendLimit)
		close(r.ending)
	}()
}

// Finish ends the job with a status of 0..255. The caller has put all outputs
// in place and stopped all children. last is sent unless Ending was called. It does not return.
func (r *Runtime) Finish(status int, message string, notice bool, last Status) {
	if status < 0 || status > 255 {
		status = 1
	}
	if r.ending == nil {
		r.Ending(last)
	}
	<-r.ending
	path := filepath.Join(r.dir, FinishFile)
	if err := WriteAtomic(path, []byte(finishText(status, message, notice)), 0o644); err != nil {
		r.opts.Log("error: cannot write %s: %v", FinishFile, err)
	}
	r.exit(status)
}

// TemporaryExit ends the program now and asks the client to start it again after delay seconds
// (0..86400). reason is shown to the volunteer, as a notice if notice. It does not return.
func (r *Runtime) TemporaryExit(delay int, reason string, notice bool) {
	if delay < 0 {
		delay = 0
	}
	if delay > 86400 {
		delay = 86400
	}
	r.opts.Log("temporary exit, again in %d s: %s", delay, oneLine(reason))
	path := filepath.Join(r.dir, TempExitFile)
	if err := WriteAtomic(path, []byte(tempExitText(delay, reason, notice)), 0o644); err != nil {
		r.opts.Log("error: cannot write %s: %v", TempExitFile, err)
	}
	r.exit(0)
}

// Leave ends the program for quit, abort and a dead client: exit 0 and no
// file. The latest status is left for the client. It does not return.
func (r *Runtime) Leave() {
	r.flush(500 * time.Millisecond)
	r.exit(0)
}

func (r *Runtime) exit(code int) {
	if r.lock != nil {
		r.lock.release(filepath.Join(r.dir, LockFile))
		r.lock = nil
	}
	r.opts.Exit(code)
}
