package tasks

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"boincdock.org/wrapper/internal/boinc"
	"boincdock.org/wrapper/internal/execx"
)

// Files of ours in the slot.
const (
	CheckpointFile = "wrapper_checkpoint.txt"
	ChildrenFile   = "wrapper_children.txt"
	InitialList    = "initial_file_list"
	GraphicsStatus = "graphics_status.xml"
	// A task writes its page's address here, or a desktop's as host:port.
	GraphicsURL   = "web_graphics_url"
	RemoteDesktop = "remote_desktop_addr"
)

// checkpoint is the content of wrapper_checkpoint.txt.
type checkpoint struct {
	done         int     // tasks
	cpu, runtime float64 // seconds
}

// parseCheckpoint reads three numbers; ok is false for anything else.
func parseCheckpoint(raw []byte) (c checkpoint, ok bool) {
	line, _, _ := strings.Cut(string(raw), "\n")
	f := strings.Fields(line)
	if len(f) < 3 {
		return c, false
	}
	var err [3]error
	c.done, err[0] = strconv.Atoi(f[0])
	c.cpu, err[1] = strconv.ParseFloat(f[1], 64)
	c.runtime, err[2] = strconv.ParseFloat(f[2], 64)
	for _, e := range err {
		if e != nil {
			return checkpoint{}, false
		}
	}
	bad := func(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) || v < 0 }
	if c.done < 0 || bad(c.cpu) || bad(c.runtime) {
		return checkpoint{}, false
	}
	return c, true
}

func (c checkpoint) text() string { return fmt.Sprintf("%d %f %f\n", c.done, c.cpu, c.runtime) }

func (s *session) saveCheckpoint() error {
	path := filepath.Join(s.dir, CheckpointFile)
	if err := boinc.WriteAtomic(path, []byte(s.st.text()), 0o644); err != nil {
		return noSpace(err, "cannot write "+CheckpointFile)
	}
	return nil
}

// checkpointed records that the work up to now will not be lost, here and with the client.
func (s *session) checkpointed() error {
	s.st.cpu, s.st.runtime = s.cpu(), s.elapsed
	if err := s.saveCheckpoint(); err != nil {
		return err
	}
	s.ckptCPU = s.st.cpu
	s.report()
	return nil
}

// cpu is the CPU time of the job, all episodes.
func (s *session) cpu() float64 {
	if s.current != nil {
		return s.taskCPU + s.current.cpu
	}
	return s.taskCPU
}

func (s *session) status() boinc.Status {
	return boinc.Status{CPU: s.cpu(), CheckpointCPU: s.ckptCPU, FractionDone: s.fraction}
}

func (s *session) report() { s.rt.Report(s.status()) }

// progress is the part of the job that is done, 0 to 1.
func (s *session) progress() float64 {
	total, done := 0.0, 0.0
	for i := range s.job.Tasks {
		w := s.job.Tasks[i].Weight
		total += w
		if i < s.st.done {
			done += w
		} else if i == s.st.done && s.current != nil {
			done += w * s.current.progress
		}
	}
	if total <= 0 {
		return float64(s.st.done) / float64(len(s.job.Tasks))
	}
	return min(done/total, 1)
}

func (s *session) readFraction(r *running) {
	if r.task.FractionDoneFile == "" {
		return
	}
	if v, ok := lastNumber(s.path(r.task.FractionDoneFile)); ok {
		r.progress = max(r.progress, v)
	}
}

// lastNumber is the number on the last line of a file that is one, limited to 0..1.
func lastNumber(path string) (float64, bool) {
	st, err := os.Stat(path)
	if err != nil || !st.Mode().IsRegular() {
		return 0, false // a pipe would block us
	}
	f, err := os.Open(path)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	const tail = 4096
	if st.Size() > tail {
		if _, err := f.Seek(-tail, io.SeekEnd); err != nil {
			return 0, false
		}
	}
	raw, err := io.ReadAll(io.LimitReader(f, 2*tail))
	if err != nil {
		return 0, false
	}
	lines := bytes.Split(raw, []byte("\n"))
	for i := len(lines) - 1; i >= 0; i-- {
		v, err := strconv.ParseFloat(string(bytes.TrimSpace(lines[i])), 64)
		if err == nil && !math.IsNaN(v) {
			return min(max(v, 0), 1), true
		}
	}
	return 0, false
}

// stamp tells two contents of a checkpoint file apart.
type stamp struct {
	exists bool
	when   int64 // ns
	size   int64
}

func (s *session) stamp(name string) stamp {
	if name == "" {
		return stamp{}
	}
	path := s.path(name)
	if f, err := os.Open(path); err == nil {
		defer f.Close() // on Windows the directory's data about an open file is old; a handle's is not
		if st, err := f.Stat(); err == nil {
			return stamp{true, st.ModTime().UnixNano(), st.Size()}
		}
	}
	st, err := os.Stat(path)
	if err != nil {
		return stamp{}
	}
	return stamp{true, st.ModTime().UnixNano(), st.Size()}
}

// messages serves trickles and graphics.
func (s *session) messages(state boinc.State) {
	s.rt.Announce()
	if state.TrickleDowns != s.downs {
		s.downs = state.TrickleDowns
		s.cfg.Log("messages from the server for the task: %s", strings.Join(s.rt.TrickleDowns(), " "))
	}
	if s.cfg.Trickle > 0 && s.elapsed-s.trickled >= s.cfg.Trickle {
		ok, err := s.rt.TrickleUp("cpu_time", fmt.Sprintf("<cpu_time>%f</cpu_time>\n", s.elapsed))
		if err != nil {
			s.cfg.Log("warning: %v", err)
		}
		if ok {
			s.trickled = s.elapsed
		}
	}
	if url := s.address(GraphicsURL, localURL); url != s.offered {
		s.offered = url
		s.rt.WebGraphicsURL(url)
	}
	if addr := s.address(RemoteDesktop, localDesktop); addr != s.desktop {
		s.desktop = addr
		s.rt.RemoteDesktop(addr)
	}
}

const here = `(localhost|127\.0\.0\.1|\[::1\])`

var (
	localURL     = regexp.MustCompile(`^https?://` + here + `(:[0-9]{1,5})?(/[!-;=?-~]*)?$`)
	localDesktop = regexp.MustCompile(`^` + here + `:[0-9]{1,5}$`)
)

// address reads an address of this machine from a file in the slot; what was there before if there is none.
func (s *session) address(name string, valid *regexp.Regexp) string {
	before := s.offered
	if name == RemoteDesktop {
		before = s.desktop
	}
	raw, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		return before
	}
	line, _, _ := strings.Cut(string(raw), "\n")
	if line = strings.TrimSpace(line); len(line) > 255 || !valid.MatchString(line) {
		return before
	}
	return line
}

// writeGraphics tells a graphics program how the job is doing (spec 07 §8.6).
func (s *session) writeGraphics(state boinc.State) {
	bit := map[bool]int{true: 1}
	text := fmt.Sprintf(`<graphics_status>
    <updated_time>%f</updated_time>
    <cpu_time>%f</cpu_time>
    <elapsed_time>%f</elapsed_time>
    <fraction_done>%f</fraction_done>
    <boinc_status>
        <no_heartbeat>%d</no_heartbeat>
        <suspended>%d</suspended>
        <quit_request>%d</quit_request>
        <abort_request>%d</abort_request>
        <network_suspended>%d</network_suspended>
    </boinc_status>
</graphics_status>
`, float64(time.Now().UnixNano())/1e9, s.cpu(), s.elapsed, s.fraction, bit[state.ClientGone], bit[state.Suspended],
		bit[state.Quit], bit[state.Abort], bit[state.Beat.NetworkSuspended])
	_ = boinc.WriteAtomic(filepath.Join(s.dir, GraphicsStatus), []byte(text), 0o644)
}

// noteChildren writes down what lives, for the next episode if we get killed.
func (s *session) noteChildren() {
	text := boinc.BootID() + "\n"
	for _, r := range s.all() {
		for _, id := range r.tree.Members() {
			text += fmt.Sprintf("%d %d\n", id.PID, id.Start)
		}
	}
	if text != s.children {
		s.children = text
		_ = boinc.WriteAtomic(filepath.Join(s.dir, ChildrenFile), []byte(text), 0o644)
	}
}

// killLeft kills what an episode has left that was killed itself.
func (s *session) killLeft() {
	path := filepath.Join(s.dir, ChildrenFile)
	raw, err := os.ReadFile(path)
	if err != nil {
		return
	}
	lines := strings.Split(string(raw), "\n")
	var ids []execx.ProcID
	for _, line := range lines[1:] {
		var id execx.ProcID
		if n, _ := fmt.Sscanf(line, "%d %d", &id.PID, &id.Start); n == 2 && lines[0] == boinc.BootID() {
			ids = append(ids, id)
		}
	}
	if n := execx.KillLeft(ids); n > 0 {
		s.cfg.Log("ended %d processes that an earlier episode had left", n)
	}
	_ = os.Remove(path)
}
