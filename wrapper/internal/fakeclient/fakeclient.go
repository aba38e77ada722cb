// Package fakeclient plays the BOINC client in tests: it sets up project and
// slot directories, starts a program as a client does, talks to it through the
// shared memory file and reads its exit by the client's rules (spec 07 §1, §2, §3.6).
package fakeclient

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"boincdock.org/wrapper/internal/boinc"
)

// Folder is the name of the project's directory.
const Folder = "sim.example.org_alpha"

// Client is one data directory with one slot.
type Client struct {
	T       testing.TB
	Data    string // data directory
	Project string
	Slot    string
	Period  time.Duration // of heartbeats and reading, 1 s with a real client
	// Values of init_data.xml.
	WU, Result, App, PlanClass string
	Version                    int
	NCPUs, WUCPU, DiskBound    float64
	CheckpointPeriod           float64
	DockerType                 int // 0: the element is missing, as with clients before 8.2
	AppFiles                   []string
	ExtraInit                  string
	HostExtra                  string      // inside host_info
	ClientPID                  int         // 0: ours
	Credential                 *Credential // user of the program, nil = ours (Unix)

	mu                 sync.Mutex
	seg                *boinc.Segment
	mem                []byte
	memory             string // name of the shared memory, Windows
	queue              []string
	seen               []Report
	trickles, graphics []string
	beats              string
	mute               bool
	stop               chan struct{}
	wg                 sync.WaitGroup
	cmd                *exec.Cmd
	done               chan struct{}
}

// Report is one app_status message.
type Report struct {
	Text string
	When time.Time
}

// Number reads one field of the report, -1 if it is missing.
func (r Report) Number(tag string) float64 {
	_, rest, found := strings.Cut(r.Text, "<"+tag+">")
	value, _, _ := strings.Cut(rest, "<")
	v, err := strconv.ParseFloat(value, 64)
	if !found || err != nil {
		return -1
	}
	return v
}

// New makes the directories below dir.
func New(t testing.TB, dir, result string) *Client {
	c := &Client{T: t, Data: dir, Period: 50 * time.Millisecond, WU: strings.TrimSuffix(result, "_0"), Result: result,
		App: "worker", Version: 103, NCPUs: 1, CheckpointPeriod: 60, DockerType: 1}
	c.Project = filepath.Join(dir, "projects", Folder)
	for n := 0; ; n++ {
		c.Slot = filepath.Join(dir, "slots", strconv.Itoa(n))
		if err := os.MkdirAll(filepath.Dir(c.Slot), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(c.Slot, 0o755); err == nil {
			break
		} else if !os.IsExist(err) {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(c.Project, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// Put writes a slot file.
func (c *Client) Put(name, text string) {
	if err := os.WriteFile(filepath.Join(c.Slot, name), []byte(text), 0o644); err != nil {
		c.T.Fatal(err)
	}
}

// Link writes a link file to a project file, and the project file if text is not nil.
func (c *Client) Link(name, physical string, text *string) {
	c.Put(name, "<soft_link>../../projects/"+Folder+"/"+physical+"</soft_link>\n")
	if text != nil {
		if err := os.WriteFile(filepath.Join(c.Project, physical), []byte(*text), 0o644); err != nil {
			c.T.Fatal(err)
		}
	}
}

// Read returns a slot file, "" if there is none.
func (c *Client) Read(name string) string {
	raw, _ := os.ReadFile(filepath.Join(c.Slot, name))
	return string(raw)
}

func (c *Client) initData() string {
	pid := c.ClientPID
	if pid == 0 {
		pid = os.Getpid()
	}
	docker := ""
	if c.DockerType != 0 {
		docker = fmt.Sprintf("    <docker_version>28.2.2</docker_version>\n    <docker_type>%d</docker_type>\n", c.DockerType)
	}
	files := ""
	for _, f := range c.AppFiles {
		files += "<app_file>" + f + "</app_file>\n"
	}
	comm := ""
	if name := c.commObjName(); name != "" {
		comm = "<comm_obj_name>" + name + "</comm_obj_name>\n"
	}
	return fmt.Sprintf(`<app_init_data>
<major_version>8</major_version>
<minor_version>2</minor_version>
<release>15</release>
<app_version>%d</app_version>
<app_name>%s</app_name>
<plan_class>%s</plan_class>
<project_preferences>
<slot>77</slot>
</project_preferences>
<project_dir>%s</project_dir>
<boinc_dir>%s</boinc_dir>
<authenticator>secret_account_key</authenticator>
<wu_name>%s</wu_name>
<result_name>%s</result_name>
<shm_key>-1</shm_key>
<slot>0</slot>
<client_pid>%d</client_pid>
<wu_cpu_time>%f</wu_cpu_time>
<checkpoint_period>%f</checkpoint_period>
<fraction_done_start>0.000000</fraction_done_start>
<fraction_done_end>1.000000</fraction_done_end>
<gpu_type></gpu_type>
<gpu_device_num>-1</gpu_device_num>
<ncpus>%f</ncpus>
<rsc_disk_bound>%f</rsc_disk_bound>
<rsc_memory_bound>100000000.000000</rsc_memory_bound>
<host_info>
    <timezone>0</timezone>
%s</host_info>
%s%s%s</app_init_data>
`, c.Version, c.App, c.PlanClass, c.Project, c.Data, c.WU, c.Result, pid, c.WUCPU, c.CheckpointPeriod, c.NCPUs, c.DiskBound,
		docker+c.HostExtra, comm, c.ExtraInit, files)
}

// Start starts the program in the slot, with fresh shared memory, init_data.xml and stderr.txt appended to.
func (c *Client) Start(program string, env []string, args ...string) {
	c.Put(boinc.InitDataFile, c.initData())
	os.Remove(filepath.Join(c.Slot, boinc.TempExitFile))
	c.attach()
	stderr, err := os.OpenFile(filepath.Join(c.Slot, boinc.StderrFile), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		c.T.Fatal(err)
	}
	defer stderr.Close()
	cmd := exec.Command(program, args...)
	cmd.Dir = c.Slot
	cmd.Env = append(os.Environ(), env...)
	c.prepare(cmd, stderr)
	if err := cmd.Start(); err != nil {
		c.T.Fatal(err)
	}
	c.mu.Lock()
	c.cmd, c.done, c.stop = cmd, make(chan struct{}), make(chan struct{})
	c.queue, c.seen = nil, nil
	done, stop := c.done, c.stop
	c.mu.Unlock()
	go func() { cmd.Wait(); close(done) }()
	c.wg.Add(1)
	go c.play(stop)
}

// play is the client's poll: heartbeat, queued message, status.
func (c *Client) play(stop chan struct{}) {
	defer c.wg.Done()
	tick := time.NewTicker(c.Period)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		c.mu.Lock()
		if !c.mute {
			c.seg.Send(boinc.Heartbeat, "<heartbeat/><wss>1.000000e+06</wss><max_wss>8.000000e+09</max_wss>"+c.beats)
			if len(c.queue) > 0 && c.seg.Send(boinc.ControlRequest, c.queue[0]) {
				c.queue = c.queue[1:]
			}
			c.collect()
		}
		c.mu.Unlock()
	}
}

func (c *Client) collect() {
	if text, ok := c.seg.Receive(boinc.TrickleUp); ok {
		c.trickles = append(c.trickles, text)
	}
	if text, ok := c.seg.Receive(boinc.GraphicsReply); ok {
		c.graphics = append(c.graphics, text)
	}
	if text, ok := c.seg.Receive(boinc.AppStatus); ok {
		c.seen = append(c.seen, Report{Text: text, When: time.Now()})
	}
}

// Say queues a process-control message.
func (c *Client) Say(msg string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue = append(c.queue, msg)
}

// SetBeat sets what heartbeats carry besides the memory figures.
func (c *Client) SetBeat(extra string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.beats = extra
}

// Mute stops all reading and writing.
func (c *Client) Mute(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mute = on
}

// Reports returns the status messages of this episode.
func (c *Client) Reports() []Report {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Report(nil), c.seen...)
}

// Trickles returns the messages on the trickle-up channel.
func (c *Client) Trickles() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.trickles...)
}

// Graphics returns the messages about graphics.
func (c *Client) Graphics() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.graphics...)
}

// TrickleDown says that a message from the server lies in the slot.
func (c *Client) TrickleDown() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seg.Send(boinc.TrickleDown, "<have_trickle_down/>\n")
}

// Last returns the newest report, empty if there is none.
func (c *Client) Last() Report {
	if r := c.Reports(); len(r) > 0 {
		return r[len(r)-1]
	}
	return Report{}
}

// PID is the program's process id.
func (c *Client) PID() int { return c.cmd.Process.Pid }

// KillWrapper is kill -9 of the program.
func (c *Client) KillWrapper() {
	c.cmd.Process.Kill()
	c.Wait(10 * time.Second)
}

// Verdict is what the client makes of an exit (spec 07 §3.6).
type Verdict struct {
	Code     int  // exit status, -1 if killed by a signal
	Finished bool // success, or failure if Code is not 0
	Delay    int  // temporary exit: seconds, -1 if there was none
	Reason   string
	Notice   bool
}

// Wait waits for the program's end.
func (c *Client) Wait(limit time.Duration) Verdict {
	c.T.Helper()
	select {
	case <-c.done:
	case <-time.After(limit):
		c.T.Fatalf("the program did not end within %v; stderr:\n%s", limit, c.Read(boinc.StderrFile))
	}
	c.hangUp()
	v := Verdict{Code: c.cmd.ProcessState.ExitCode(), Delay: -1}
	if raw, err := os.ReadFile(filepath.Join(c.Slot, boinc.TempExitFile)); err == nil {
		lines := strings.Split(string(raw), "\n")
		if len(lines) > 2 { // a file without a reason line is ignored
			n, err := strconv.Atoi(lines[0])
			if err != nil || n < 0 || n > 86400 {
				n = 300
			}
			v.Delay, v.Reason, v.Notice = n, lines[1], len(lines) > 2 && lines[2] == "notice"
		}
	}
	_, err := os.Stat(filepath.Join(c.Slot, boinc.FinishFile))
	v.Finished = err == nil
	return v
}

// hangUp ends the playing, after a last look at the status.
func (c *Client) hangUp() {
	c.mu.Lock()
	stop := c.stop
	c.stop = nil
	c.mu.Unlock()
	if stop == nil {
		return
	}
	close(stop)
	c.wg.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.collect()
	c.detach()
	c.seg = nil
}

// Close kills what still runs.
func (c *Client) Close() {
	c.mu.Lock()
	cmd, done := c.cmd, c.done
	c.mu.Unlock()
	if cmd != nil {
		cmd.Process.Kill()
		<-done
	}
	c.hangUp()
}
