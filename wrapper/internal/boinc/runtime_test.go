package boinc

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// quiet is a runtime without its poller, in a slot of its own.
func quiet(t *testing.T, d *InitData) *Runtime {
	t.Helper()
	s, _ := segment(t)
	return &Runtime{opts: Options{Log: t.Logf}, dir: t.TempDir(), init: d, seg: s, changed: make(chan struct{}, 1)}
}

// Row 9.
func TestNoHeartbeatFromAClientWithoutNumber(t *testing.T) {
	r := quiet(t, NewInitData())
	now := time.Now()
	r.lastBeat = now
	if r.checkClient(now.Add(30 * time.Second)); r.State().ClientGone {
		t.Error("too early")
	}
	r.seg.Send(Heartbeat, "<heartbeat/>")
	r.receive(now.Add(20 * time.Second))
	if r.checkClient(now.Add(49 * time.Second)); r.State().ClientGone || !r.State().HaveHeartbeat {
		t.Error("a heartbeat did not help")
	}
	if r.checkClient(now.Add(51 * time.Second)); !r.State().ClientGone {
		t.Error("not noticed")
	}
}

// Row 8, second half: the client's number belongs to another process now.
func TestClientsNumberIsReused(t *testing.T) {
	d := NewInitData()
	d.ClientPID = os.Getpid()
	r := quiet(t, d)
	r.clientStart = processStart(os.Getpid())
	now := time.Now()
	r.lastAlive, r.lastBeat = now, now.Add(-time.Hour) // missing heartbeats do not matter then
	if r.checkClient(now.Add(9 * time.Second)); r.lastAlive != now {
		t.Error("looked too often")
	}
	if r.checkClient(now.Add(11 * time.Second)); r.State().ClientGone {
		t.Error("alive")
	}
	r.clientStart = "another life"
	if r.checkClient(now.Add(22 * time.Second)); !r.State().ClientGone {
		t.Error("not noticed")
	}
}

func TestMessagesInTurn(t *testing.T) {
	r := quiet(t, NewInitData())
	for _, m := range []struct {
		text string
		want State
	}{
		{"<suspend/>", State{Suspended: true}}, {"<resume/>", State{}}, {"<suspend/>", State{Suspended: true}},
		{"<network_available/>", State{Suspended: true}}, {"<quit/>", State{Suspended: true, Quit: true}},
		{"<abort/>", State{Suspended: true, Quit: true, Abort: true}},
	} {
		r.seg.Send(ControlRequest, m.text)
		if r.receive(time.Now()); r.State() != m.want {
			t.Errorf("%s: %+v", m.text, r.State())
		}
	}
}

// The client rewrites init_data.xml when the proxy changes.
func TestReread(t *testing.T) {
	r := quiet(t, NewInitData())
	r.seg.Send(ControlRequest, "<reread_app_info/>")
	r.receive(time.Now()) // no file: as it was
	text := "<app_init_data><proxy_info><use_http_proxy/><http_server_name>p2</http_server_name></proxy_info></app_init_data>"
	os.WriteFile(filepath.Join(r.dir, InitDataFile), []byte(text), 0o644)
	r.seg.Send(ControlRequest, "<reread_app_info/>")
	if r.receive(time.Now()); r.InitData().Proxy.HTTPServer != "p2" {
		t.Errorf("%+v", r.InitData().Proxy)
	}
}

// Row 22.
func TestTrickleUp(t *testing.T) {
	r := quiet(t, NewInitData())
	path := filepath.Join(r.dir, TrickleUpFile)
	up := func(body string) bool {
		ok, err := r.TrickleUp("my variety", body)
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	sent := func() string {
		r.send(time.Now())
		text, _ := r.seg.Receive(TrickleUp)
		return text
	}
	if !up("<a/>\n") || sent() != "<have_new_trickle_up/>\n" || sent() != "" {
		t.Error("first")
	}
	if raw, _ := os.ReadFile(path); string(raw) != "<variety>my_variety</variety>\n<a/>\n" {
		t.Errorf("%q", raw)
	}
	if up("<b/>\n") {
		t.Error("one is pending")
	}
	os.Remove(path)
	if up("<b/>\n") {
		t.Error("two in one second would have one name at the client")
	}
	r.out.gone = r.out.gone.Add(-trickleGap)
	if !up("<b/>\n") || sent() != "<have_new_trickle_up/>\n" {
		t.Error("second")
	}
	r.Announce() // ours is no news
	if text := sent(); text != "" {
		t.Error(text)
	}
	os.Remove(path)
	os.WriteFile(path, []byte("<variety>the task's own</variety>"), 0o644)
	os.WriteFile(filepath.Join(r.dir, "boinc_ufr_out"), nil, 0o644)
	r.Announce()
	if text := sent(); text != "<have_new_trickle_up/>\n<have_new_upload_file/>\n" {
		t.Error(text)
	}
	r.Announce()
	if text := sent(); text != "" {
		t.Error(text)
	}
	// A full channel: kept for later.
	r.seg.Send(TrickleUp, "unread")
	os.WriteFile(filepath.Join(r.dir, "boinc_ufr_out2"), nil, 0o644)
	r.Announce()
	if text := sent(); text != "unread" {
		t.Error(text)
	}
	if text := sent(); text != "<have_new_upload_file/>\n" {
		t.Error(text)
	}
}

func TestTrickleDowns(t *testing.T) {
	r := quiet(t, NewInitData())
	for _, n := range []int{200, 9, 1000} {
		os.WriteFile(filepath.Join(r.dir, fmt.Sprintf("trickle_down_%d", n)), nil, 0o644)
	}
	if got := r.TrickleDowns(); !reflect.DeepEqual(got, []string{"trickle_down_9", "trickle_down_200", "trickle_down_1000"}) {
		t.Error(got)
	}
	r.seg.Send(TrickleDown, "<upload_file_status/>")
	r.receive(time.Now())
	r.seg.Send(TrickleDown, "<have_trickle_down/>")
	if r.receive(time.Now()); r.State().TrickleDowns != 1 {
		t.Error("not announced")
	}
}

func TestSporadic(t *testing.T) {
	r := quiet(t, NewInitData())
	if err := r.Sporadic(); err != nil {
		t.Fatal(err)
	}
	read := func(name string) string { raw, _ := os.ReadFile(filepath.Join(r.dir, name)); return string(raw) }
	if read("ca") != "1\n" || read("ac") != "" {
		t.Errorf("%q %q", read("ca"), read("ac"))
	}
	report := func() string {
		r.lastSend = time.Time{}
		r.Report(Status{})
		r.send(time.Now())
		text, _ := r.seg.Receive(AppStatus)
		return text
	}
	if text := report(); !strings.Contains(text, "<sporadic_ac>0</sporadic_ac>") {
		t.Error(text)
	}
	r.seg.Send(Heartbeat, "<heartbeat/><sporadic_ca>3</sporadic_ca>")
	r.receive(time.Now())
	os.WriteFile(filepath.Join(r.dir, "ac"), append([]byte("2\n"), make([]byte, 254)...), 0o644)
	if text := report(); !strings.Contains(text, "<sporadic_ac>2</sporadic_ac>") || read("ca") != "3\n" {
		t.Errorf("%q %q", text, read("ca"))
	}
	os.WriteFile(filepath.Join(r.dir, "ac"), []byte("nonsense"), 0o644)
	if text := report(); !strings.Contains(text, "<sporadic_ac>2</sporadic_ac>") {
		t.Error(text)
	}
}

func TestGraphicsMessages(t *testing.T) {
	r := quiet(t, NewInitData())
	r.WebGraphicsURL("http://localhost:" + strings.Repeat("1", 255))
	r.send(time.Now())
	if text, ok := r.seg.Receive(GraphicsReply); ok {
		t.Error(text)
	}
	r.RemoteDesktop("127.0.0.1:5901")
	r.send(time.Now())
	if text, _ := r.seg.Receive(GraphicsReply); text != "<remote_desktop_addr>127.0.0.1:5901</remote_desktop_addr>" {
		t.Error(text)
	}
}

func TestProgressRange(t *testing.T) {
	d := NewInitData()
	d.FractionStart, d.FractionEnd = 0.2, 0.6
	r := quiet(t, d)
	for in, want := range map[float64]float64{0: 0, 0.5: 0.4, 1: 0.6} {
		if got := r.scaled(in); got < want-1e-9 || got > want+1e-9 {
			t.Errorf("%f: %f", in, got)
		}
	}
}

// Row 11: how the three clients write it.
func TestInitDataOfEachClient(t *testing.T) {
	head := "<app_init_data>\n<major_version>%d</major_version>\n<minor_version>%d</minor_version>\n<release>%d</release>\n" +
		"<app_version>100</app_version>\n<app_name>a</app_name>\n%s<user_name>Ren&#195;&#169;</user_name>\n" +
		"<project_dir>/var/lib/boinc/projects/p</project_dir>\n<shm_key>-1</shm_key>\n<client_pid>5</client_pid>\n" +
		"<gpu_type></gpu_type>\n<gpu_device_num>-1</gpu_device_num>\n<gpu_opencl_dev_index>-1</gpu_opencl_dev_index>\n" +
		"<no_priority_change>1</no_priority_change>\n<process_priority>-1</process_priority>\n" +
		"<process_priority_special>2</process_priority_special>\n<host_info>\n    <domain_name>h\xe9</domain_name>\n%s</host_info>\n%s" +
		"<global_preferences>\n   <ncpus>99</ncpus>\n</global_preferences>\n<app_file>one</app_file>\n<app_file>two</app_file>\n</app_init_data>\n"
	for _, c := range []struct {
		major, minor, release int
		plan, host, proxy     string
		docker                int
		proxyName             string
	}{
		{7, 20, 5, "", "    <wsl_available>0</wsl_available>\n", "<proxy_info>\n    <socks_server_name>s</socks_server_name>\n" +
			"    <socks_server_port>80</socks_server_port>\n    <http_server_name></http_server_name>\n    <http_server_port>80</http_server_port>\n" +
			"    <socks5_user_name></socks5_user_name>\n    <no_proxy></no_proxy>\n    <no_autodetect>0</no_autodetect>\n" +
			"    <autodetect_server_name>-1431655766</autodetect_server_name>\n</proxy_info>\n", 0, "s"},
		{8, 0, 4, "", "    <wsl_available>1</wsl_available>\n    <wsl>\n<distro><distro_name>x</distro_name></distro>\n</wsl>\n",
			"<proxy_info>\n</proxy_info>\n", 0, ""},
		{8, 2, 15, "<plan_class>mt</plan_class>\n", "    <docker_version>5.4.2</docker_version>\n    <docker_type>2</docker_type>\n", "", 2, ""},
	} {
		d, err := ParseInitData([]byte(fmt.Sprintf(head, c.major, c.minor, c.release, c.plan, c.host, c.proxy)))
		if err != nil {
			t.Fatal(err)
		}
		if d.MajorVersion != c.major || d.MinorVersion != c.minor || d.Release != c.release || d.UserName != "René" ||
			d.NCPUs != 1 || d.GPUType != "" || d.GPUDeviceNum != -1 || !d.NoPriorityChange || d.ProcessPrioritySpecial != 2 ||
			d.DockerType != c.docker || d.Proxy.SOCKSServer != c.proxyName || d.ClientPID != 5 ||
			!reflect.DeepEqual(d.AppFiles, []string{"one", "two"}) || d.ProjectFolder() != "p" {
			t.Errorf("%d.%d.%d: %+v", c.major, c.minor, c.release, d)
		}
	}
}
