package boinc

import (
	"crypto/md5"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"
)

func segment(t *testing.T) (*Segment, []byte) {
	t.Helper()
	mem := make([]byte, SegmentSize)
	s, err := NewSegment(mem)
	if err != nil {
		t.Fatal(err)
	}
	return s, mem
}

func sum(mem []byte) string {
	h := md5.Sum(mem)
	return hex.EncodeToString(h[:])
}

// Spec 07 §14.1.
func TestSegmentBytes(t *testing.T) {
	s, mem := segment(t)
	if !s.Send(ControlRequest, "<quit/>") || sum(mem) != "7ad9bf5207627fb2950dd0a53f1969e3" {
		t.Errorf("quit: % x", mem[:10])
	}
	if s.Send(ControlRequest, "<abort/>") || sum(mem) != "7ad9bf5207627fb2950dd0a53f1969e3" {
		t.Error("a full channel was written to")
	}
	if msg, ok := s.Receive(ControlRequest); !ok || msg != "<quit/>" || mem[0] != 0 || string(mem[1:9]) != "<quit/>\x00" {
		t.Errorf("%q % x", msg, mem[:10])
	}
	if _, ok := s.Receive(ControlRequest); ok {
		t.Error("an empty channel gave a message")
	}

	s, mem = segment(t)
	text := Status{CPU: 12.5, CheckpointCPU: 10, FractionDone: 0.25}.Text()
	if len(text) != 140 || !s.Send(AppStatus, text) || sum(mem) != "c0d9c7a5bc64054a6588a21ddd363cd4" {
		t.Errorf("status: %d bytes, %s", len(text), sum(mem))
	}
	s, mem = segment(t)
	if !s.Send(TrickleUp, strings.Repeat("a", 2000)) || sum(mem) != "d77b4c20b98e5d697dbeca6eb4f70f83" {
		t.Errorf("long text: %s", sum(mem))
	}
	if msg, _ := s.Receive(TrickleUp); len(msg) != 1022 {
		t.Errorf("%d bytes", len(msg))
	}
	for _, text := range []string{"", "a", "ab", "abc", "abcd", "abcde"} {
		s, _ = segment(t)
		s.Send(AppStatus, text+"\x00rest")
		if msg, ok := s.Receive(AppStatus); !ok || msg != text {
			t.Errorf("%q: got %q", text, msg)
		}
	}
}

func TestHeartbeat(t *testing.T) {
	var b Beat
	if !b.Update("<heartbeat/><wss>1.234560e+08</wss><max_wss>8.000000e+09</max_wss><network_suspended/>") ||
		b != (Beat{WSS: 123456000, MaxWSS: 8e9, NetworkSuspended: true}) {
		t.Fatalf("%+v", b)
	}
	if !b.Update("<heartbeat/><wss>1e-400</wss>") || b.NetworkSuspended || b.WSS != 123456000 {
		t.Fatalf("%+v", b)
	}
	b.Update("<heartbeat/><wss>1e999</wss><max_wss>x</max_wss><suspend_network/><sporadic_ca>2</sporadic_ca>")
	if b != (Beat{WSS: 123456000, MaxWSS: 8e9, NetworkSuspended: true, SporadicCA: 2}) {
		t.Fatalf("%+v", b)
	}
	if b.Update("nothing") {
		t.Fatal("not a heartbeat")
	}
}

func TestStatusHasBothCPUFieldsAndPlainDecimals(t *testing.T) {
	text := Status{CPU: 5123.45, WSS: 1e9, WantNetwork: true}.Text()
	want := "<current_cpu_time>5123.450000</current_cpu_time>\n<checkpoint_cpu_time>0.000000</checkpoint_cpu_time>\n" +
		"<fraction_done>0.000000</fraction_done>\n<wss>1000000000.000000</wss>\n<want_network>1</want_network>\n"
	if text != want {
		t.Fatalf("%q", text)
	}
}

const sample = `<app_init_data>
<major_version>8</major_version>
<app_version>103</app_version>
<app_name>Fold</app_name>
<project_preferences>
<color>red</color><slot>99</slot>
</project_preferences>
<user_name>Zo&#195;&#171; &amp; Co&#9;x</user_name>
<project_dir>C:\ProgramData\BOINC/projects/sim.example.org_alpha</project_dir>
<authenticator>secret</authenticator>
<wu_name>Fold_12</wu_name>
<result_name>Fold_12_0</result_name>
<shm_key>-1</shm_key>
<client_pid>4711</client_pid>
<wu_cpu_time>12.500000</wu_cpu_time>
<using_sandbox>0</using_sandbox>
<checkpoint_period>45.700000</checkpoint_period>
<ncpus>2.500000</ncpus>
<unknown_thing a="b">
 <ncpus>7</ncpus>
</unknown_thing>
<host_info>
    <docker_version>28.3.3</docker_version>
    <docker_type>2</docker_type>
</host_info>
<proxy_info>
  <use_http_proxy/>
  <http_server_name>px</http_server_name>
  <http_server_port>3128</http_server_port>
  <http_user_name>u&amp;</http_user_name>
</proxy_info>
<broken>
<app_file>docker_wrapper_1</app_file>
<app_file>job.toml</app_file>
</app_init_data>
`

func TestInitData(t *testing.T) {
	d, err := ParseInitData([]byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	want := NewInitData()
	want.MajorVersion, want.AppVersion, want.AppName = 8, 103, "Fold"
	want.UserName = "Zoë & Co\tx"
	want.ProjectDir = `C:\ProgramData\BOINC/projects/sim.example.org_alpha`
	want.WUName, want.ResultName, want.ClientPID, want.WUCPUTime = "Fold_12", "Fold_12_0", 4711, 12.5
	want.CheckpointPeriod, want.NCPUs, want.DockerVersion, want.DockerType = 45.7, 2.5, "28.3.3", DockerTypePodman
	want.Proxy = ProxyInfo{UseHTTP: true, HTTPServer: "px", HTTPPort: 3128, HTTPUser: "u&"}
	want.AppFiles = []string{"docker_wrapper_1", "job.toml"}
	if !reflect.DeepEqual(d, want) {
		t.Errorf("got  %+v\nwant %+v", d, want)
	}
	if d.ProjectFolder() != "sim.example.org_alpha" || !d.IsAppFile("job.toml") || d.IsAppFile("x") {
		t.Error("helpers")
	}
	if d.MinCheckpointPeriod(0) != 45 || NewInitData().MinCheckpointPeriod(0) != 300 {
		t.Error("checkpoint period")
	}
	if d, err = ParseInitData([]byte("<app_init_data>\xe9<user_name>Ren\xe9</user_name></app_init_data>")); err != nil || d.UserName != "Ren\xe9" {
		t.Error("Latin-1 bytes")
	}
}

func TestBadInitData(t *testing.T) {
	for _, text := range []string{"", "<app_init_data>", "</app_init_data>", sample[:len(sample)-5], "<app_init_data><slot>"} {
		if _, err := ParseInitData([]byte(text)); !errors.Is(err, ErrBadInitData) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestResolve(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"link":  "<soft_link>../../projects/sim.example.org_alpha/in_1</soft_link>\n",
		"blank": "<soft_link> ../../projects/p/a&amp;b </soft_link>",
		"plain": "data\n<soft_link>x</soft_link>\n", "empty": "", "open": "<soft_link>../../p",
	} {
		os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644)
	}
	symlinks := runtime.GOOS != "windows" // there they need a privilege
	if err := os.Symlink("link", filepath.Join(dir, "sym")); err != nil && symlinks {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"link": "../../projects/sim.example.org_alpha/in_1", "blank": "../../projects/p/a&b",
		"plain": "plain", "empty": "empty", "absent": "absent", "sym": "sym", "open": "../../p",
	} {
		if got := Resolve(dir, name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if IsLink(dir, "sym") != symlinks || !IsLink(dir, "link") || IsLink(dir, "plain") || IsLink(dir, "absent") {
		t.Error("IsLink")
	}
}

func TestInside(t *testing.T) {
	dir := t.TempDir()
	os.Mkdir(filepath.Join(dir, "in"), 0o755)
	os.Symlink("/etc", filepath.Join(dir, "in", "out"))
	outside := runtime.GOOS == "windows" // no symbolic link was made there
	for path, want := range map[string]bool{"in": true, "in/a/b": true, "..": false, "in/../../x": false, "in/out/passwd": outside, "..x": true} {
		if got := Inside(dir, filepath.Join(dir, path)); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
}

func TestSplitArgs(t *testing.T) {
	for in, want := range map[string][]string{
		"": nil, " a  b\t": {"a", "b"}, `'a b' "c'd"`: {"a b", "c'd"}, `x'y z`: {"x'y", "z"}, `'a'b`: {"a", "b"},
		`"open end`: {"open end"}, `'' x`: {"", "x"}, `a\ b`: {`a\`, "b"},
	} {
		if got := SplitArgs(in); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestExitFiles(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{finishText(0, "", false), "0\n"},
		{finishText(1, "disk full", true), "1\ndisk full\nnotice\n"},
		{tempExitText(600, "waiting", false), "600\nwaiting\n"},
		{tempExitText(600, "waiting\nfor\x00x", true), "600\nwaiting for x\nnotice\n"},
		{tempExitText(5, "", false), "5\nwaiting\n"}, // without a reason the client ignores the file
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}

func TestProcessStartTellsLivesApart(t *testing.T) {
	if a, b := processStart(os.Getpid()), processStart(os.Getpid()); a == "" || a != b {
		t.Skip("no start times here")
	}
	if processStart(1) == processStart(os.Getpid()) {
		t.Error("two processes, one start time")
	}
	if processGone(os.Getpid()) || !processGone(1<<22+12345) {
		t.Error("processGone")
	}
}

func TestFileLockExcludesAndSurvivesDeletion(t *testing.T) {
	path := filepath.Join(t.TempDir(), "l")
	a, err := TryFileLock(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := TryFileLock(path); !errors.Is(err, ErrLocked) {
		t.Fatal(err)
	}
	a.Unlock()
	b, err := TryFileLock(path)
	if err != nil {
		t.Fatal(err)
	}
	b.Unlock()
}

func TestFiniteRefusesWhatIsOutOfRange(t *testing.T) {
	for _, s := range []string{"1e-400", "1e999", "nan", "inf", "", "x", "-1e-999"} {
		if _, ok := finite(s); ok {
			t.Error(s)
		}
	}
	for _, s := range []string{"0", "0.000", "0e-5", "-1.5e3"} {
		if _, ok := finite(s); !ok {
			t.Error(s)
		}
	}
}

// slow tells whether something always takes longer than a second; once may be the machine's fault.
func slow(fn func()) bool {
	for try := 0; try < 3; try++ {
		start := time.Now()
		if fn(); time.Since(start) < time.Second {
			return false
		}
	}
	return true
}

func FuzzInitData(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte("<app_init_data><a><a><a></app_init_data>"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var d *InitData
		var err error
		if slow(func() { d, err = ParseInitData(raw) }) {
			t.Fatal("slow")
		}
		if (d == nil) == (err == nil) {
			t.Fatal("either data or an error")
		}
	})
}

func FuzzMessages(f *testing.F) {
	f.Add("<heartbeat/><wss>1</wss><max_wss>2</max_wss>")
	f.Add("<suspend/>")
	f.Fuzz(func(t *testing.T, msg string) {
		ParseControl(msg)
		b := Beat{WSS: 1}
		b.Update(msg)
		if b.WSS != b.WSS || b.SporadicCA < 0 {
			t.Fatal("nonsense taken in")
		}
		s, _ := segment(t)
		s.Send(AppStatus, msg)
		got, ok := s.Receive(AppStatus)
		want, _, _ := strings.Cut(msg, "\x00")
		if len(want) > 1022 {
			want = want[:1022]
		}
		if !ok || got != want {
			t.Fatalf("%q became %q", want, got)
		}
	})
}
