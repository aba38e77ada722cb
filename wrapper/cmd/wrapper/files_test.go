package main

import (
	"archive/zip"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"boincdock.org/wrapper/internal/tasks"
)

func makeZip(t *testing.T, path string, files map[string]string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := zip.NewWriter(f)
	for name, text := range files {
		h := &zip.FileHeader{Name: name, Method: zip.Deflate}
		h.SetMode(0o644)
		if strings.HasPrefix(text, "#!") {
			h.SetMode(0o755)
		}
		m, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(m, text)
	}
	w.Close()
	f.Close()
}

func readZip(t *testing.T, path string) map[string]string {
	t.Helper()
	z, err := zip.OpenReader(path)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	out := map[string]string{}
	for _, f := range z.File {
		in, _ := f.Open()
		raw, _ := io.ReadAll(in)
		out[f.Name] = string(raw)
	}
	return out
}

const zipJob = `<unzip_input><zipfilename>in.zip</zipfilename></unzip_input>
<zip_output><zipfilename>out.zip</zipfilename><filename>^res_.*</filename><filename>^stderr\.txt$</filename><filename>.*\.xml</filename></zip_output>
<rename_output><filename>moved</filename></rename_output>`

// Row 17.
func TestUnzipZipRename(t *testing.T) {
	r := newRig(t, zipJob+task(line("await data/a.txt append runs x write res_1 one write res_2.xml two write other x write moved m")))
	makeZip(t, filepath.Join(r.Project, "in_7"), map[string]string{"data/a.txt": "content", "res_old": "an input"})
	r.Link("in.zip", "in_7", nil)
	r.Link("out.zip", "out_7", nil)
	r.Link("moved.link", "moved_7", nil)
	r.expect(r.run(), 0, true)
	if r.exists("in.zip") || r.Read("data/a.txt") != "content" {
		t.Error("not unpacked")
	}
	got := readZip(t, filepath.Join(r.Project, "out_7"))
	if !strings.Contains(got["stderr.txt"], "wrapper: version") {
		t.Error("stderr.txt, which a pattern names, is missing")
	}
	delete(got, "stderr.txt")
	if want := map[string]string{"res_1": "one", "res_2.xml": "two"}; !reflect.DeepEqual(got, want) {
		t.Errorf("packed %v", got)
	}
	if moved, _ := os.ReadFile(filepath.Join(r.Project, "moved_7")); string(moved) != "m" || r.exists("moved") || !r.exists("moved.link") {
		t.Errorf("moved %q", moved)
	}

	// A crash between zip and finish, under a client that lays inputs down again.
	os.Remove(filepath.Join(r.Slot, "boinc_finish_called"))
	r.Link("in.zip", "in_7", nil)
	r.Put("data/a.txt", "changed by the task")
	r.expect(r.run(), 0, true)
	if r.Read("data/a.txt") != "changed by the task" || len(lines(r.Read("runs"))) != 1 {
		t.Error("unpacked or run again")
	}
	r.expectStderr("going on after 1 of 1 tasks", "out.zip is there already", "moved is in place already")
}

// A crash while inputs are unpacked: everything is there at the next start.
func TestUnzipIsRepeatedUntilRecorded(t *testing.T) {
	r := newRig(t, zipJob[:strings.Index(zipJob, "<rename")]+task(line("write res_1 one")))
	makeZip(t, filepath.Join(r.Project, "in_7"), map[string]string{"a.txt": "content", "res_in": "input"})
	r.Link("in.zip", "in_7", nil)
	r.Link("out.zip", "out_7", nil)
	r.Put("a.txt", "half")
	r.Put(tasks.CheckpointFile, "") // not a record
	r.expect(r.run(), 0, true)
	got := readZip(t, filepath.Join(r.Project, "out_7"))
	delete(got, "stderr.txt")
	if r.Read("a.txt") != "content" || !reflect.DeepEqual(got, map[string]string{"res_1": "one"}) {
		t.Errorf("%q %v", r.Read("a.txt"), got)
	}
}

func TestHostileArchive(t *testing.T) {
	for name, member := range map[string]string{"up": "../x", "up deep": "a/../../x", "absolute": "/etc/x", "runtime": "init_data.xml",
		"finish": "./boinc_finish_called", "job": "job.xml"} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, `<unzip_input><zipfilename>in.zip</zipfilename></unzip_input>`+task(line("write ran x")))
			makeZip(t, filepath.Join(r.Slot, "in.zip"), map[string]string{member: "evil"})
			r.start()
			r.Wait(limit)
			if r.exists("ran") || r.exists("../x") || strings.Contains(r.Read("init_data.xml"), "evil") {
				t.Error("went on")
			}
			r.expectStderr("unzip_input in.zip: " + member)
		})
	}
	r := newRig2(t, `<unzip_input><zipfilename>in.zip</zipfilename></unzip_input>`+task(line("write ran x")))
	r.expect(r.run(), 1, true)
	r.expectStderr("unzip_input in.zip")
}

// Row 19.
func TestCommandLineMacrosAndEnvironment(t *testing.T) {
	r := newRig(t, task(`<exec_dir>$PWD/sub</exec_dir><setenv>WHERE=$PROJECT_DIR</setenv><setenv>ORIGINAL=$ORIGINAL:more</setenv>
		<setenv>N=$NTHREADS</setenv><stdout_filename>out</stdout_filename><stdin_filename>in</stdin_filename><stderr_filename>err</stderr_filename>`+
		line("stdin cwd env WHERE env ORIGINAL env N env RUN_WRAPPER complain oops args 'a b' \"c d\" '' e'f boinc_resolve(in) boinc_resolve(none)"+
			" --n $NTHREADS --d $PROJECT_DIR/x --g $GPU_DEVICE_NUM & ümläut")))
	if runtime.GOOS == "windows" {
		t.Skip("see TestCommandLineOnWindows")
	}
	os.Mkdir(filepath.Join(r.Slot, "sub"), 0o755)
	input := "from stdin\n"
	r.Link("in", "in_1", &input)
	r.Link("out", "out_1", nil)
	r.expect(r.run("--nthreads", "4"), 0, true)
	raw, err := os.ReadFile(filepath.Join(r.Project, "out_1"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"from stdin", "cwd=" + r.Slot + "/sub", "WHERE=" + r.Project, "ORIGINAL=yes:more", "N=4", "RUN_WRAPPER=1",
		"[a b]", "[c d]", "[]", "[e'f]", "[" + r.Slot + "/../../projects/" + filepath.Base(r.Project) + "/in_1]", "[" + r.Slot + "/none]",
		"[--n]", "[4]", "[--d]", "[" + r.Project + "/x]", "[--g]", "[$GPU_DEVICE_NUM]", "[&]", "[ümläut]"}
	want[10] = "[" + filepath.Join(r.Slot, "../../projects", filepath.Base(r.Project), "in_1") + "]"
	if got := lines(string(raw)); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if r.Read("err") != "oops\n" {
		t.Errorf("stderr file %q", r.Read("err"))
	}
	if !r.exists("out") {
		t.Error("the output's link is gone")
	}
}

func TestPathsWithBlanksStayOneArgument(t *testing.T) {
	r := newRig(t, task("<stdout_filename>out</stdout_filename>"+line(`args $PWD "$PWD/x y" boinc_resolve(my file) $GPU_DEVICE_NUM`)))
	r.Client.Slot = filepath.Join(r.Data, "slots", "a slot")
	if err := os.MkdirAll(r.Slot, 0o755); err != nil {
		t.Fatal(err)
	}
	r.Link("worker", physical("worker"), nil)
	r.Link("job.xml", "job_1.xml", nil)
	r.Link("my file", "in 1", nil)
	r.ExtraInit += "<gpu_device_num>2</gpu_device_num>\n"
	r.expect(r.run("--device", "5"), 0, true)
	got := lines(r.Read("out"))
	file := "../../projects/" + filepath.Base(r.Project) + "/in 1"
	if runtime.GOOS == "windows" {
		t.Skip(got) // quoting there is the author's
	}
	if want := []string{"[" + r.Slot + "]", "[" + r.Slot + "/x y]", "[" + file + "]", "[2]"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestClearEnvironment(t *testing.T) {
	r := newRig(t, task("<clear_env/><setenv>A=1</setenv><stdout_filename>out</stdout_filename>"+line("env ORIGINAL env A")))
	r.expect(r.run(), 0, true)
	if got := r.Read("out"); got != "ORIGINAL=\nA=1\n" {
		t.Errorf("%q", got)
	}
}

// Row 20.
func TestAppendedArguments(t *testing.T) {
	appends := "<append_cmdline_args/><stdout_filename>out</stdout_filename>" + line("args own")
	for name, c := range map[string]struct {
		job  string
		args []string
		want string // "" = refused
	}{
		"old style":     {appends, []string{"--nthreads", "3", "--foo", "a b", "boinc_resolve(in)"}, "own --nthreads 3 --foo a b IN"},
		"passthrough":   {appends, []string{"--nthreads", "3", "--passthrough_child", "--foo", "--device"}, "own --foo --device"},
		"nothing":       {appends, nil, "own"},
		"unknown":       {"<stdout_filename>out</stdout_filename>" + line("args own"), []string{"--foo"}, ""},
		"not asked for": {"<stdout_filename>out</stdout_filename>" + line("args own"), []string{"--passthrough_child", "--foo"}, "own"},
		"no value":      {appends, []string{"--nthreads"}, ""},
		"bad value":     {appends, []string{"--trickle", "often"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, task(c.job))
			r.Link("in", "in_1", nil)
			v := r.run(c.args...)
			if c.want == "" {
				r.expect(v, 206, true)
				r.expectStderr("error: ")
				return
			}
			r.expect(v, 0, true)
			got := strings.NewReplacer("]\n", " ", "[", "").Replace(r.Read("out"))
			in := filepath.FromSlash("../../projects/" + filepath.Base(r.Project) + "/in_1")
			if want := strings.ReplaceAll(c.want, "IN", in) + " "; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// Row 22.
func TestTrickles(t *testing.T) {
	r := newRig(t, task(line("await go")))
	r.start("--trickle", "0.5")
	fetch := func() string {
		r.eventually("a message", func() bool { return r.exists("trickle_up.xml") })
		text := r.Read("trickle_up.xml")
		os.Remove(filepath.Join(r.Slot, "trickle_up.xml"))
		return text
	}
	var first, second float64
	if n, _ := fmt.Sscanf(fetch(), "<variety>cpu_time</variety>\n<cpu_time>%f</cpu_time>", &first); n != 1 || first < 0.5 {
		t.Fatal(first)
	}
	r.eventually("the announcement", func() bool { return len(r.Trickles()) == 1 })
	r.eventually("a second message", func() bool { return r.exists("trickle_up.xml") })
	time.Sleep(2 * time.Second) // uncollected: it stays as it is
	if n := len(r.Trickles()); n != 2 {
		t.Errorf("%d announcements", n)
	}
	fmt.Sscanf(fetch(), "<variety>cpu_time</variety>\n<cpu_time>%f</cpu_time>", &second)
	if second < first+0.5 {
		t.Errorf("%f after %f", second, first)
	}
	fetch() // and on it goes
	r.Put("go", "")
	r.Wait(limit)
}

// A task may lay down messages and requests for early uploads itself.
func TestTaskSpeaksThroughFiles(t *testing.T) {
	r := newRig(t, "<enable_graphics_support/>"+task(line("write trickle_up.xml <variety>mine</variety> write boinc_ufr_out x "+
		"write web_graphics_url http://127.0.0.1:8123/ui write ac 2 await go")))
	r.SetBeat("<sporadic_ca>3</sporadic_ca>")
	r.start("--sporadic")
	r.eventually("announcements", func() bool {
		all := strings.Join(r.Trickles(), "")
		return strings.Contains(all, "<have_new_trickle_up/>") && strings.Contains(all, "<have_new_upload_file/>")
	})
	r.eventually("graphics", func() bool {
		return strings.Contains(strings.Join(r.Graphics(), ""), "<web_graphics_url>http://127.0.0.1:8123/ui</web_graphics_url>")
	})
	r.eventually("sporadic state both ways", func() bool {
		return r.Read("ca") == "3\n" && strings.Contains(r.Last().Text, "<sporadic_ac>2</sporadic_ac>")
	})
	r.eventually("graphics_status.xml", func() bool {
		text := r.Read("graphics_status.xml")
		return strings.Contains(text, "<suspended>0</suspended>") && strings.Contains(text, "<fraction_done>0.000000</fraction_done>")
	})
	r.Put("web_graphics_url", "http://example.com/") // not of this machine: never passed on
	r.Put("trickle_down_100", "<x/>")
	r.TrickleDown()
	r.eventually("a message from the server", func() bool { return strings.Contains(r.stderr(), "trickle_down_100") })
	r.Say("<suspend/>")
	r.eventually("suspended", func() bool { return strings.Contains(r.Read("graphics_status.xml"), "<suspended>1</suspended>") })
	r.Put("go", "")
	r.Say("<resume/>")
	r.expect(r.Wait(limit), 0, true)
	if strings.Contains(strings.Join(r.Graphics(), ""), "example.com") {
		t.Error("passed on")
	}
}

// Spec 07 §8.9: a job.xml of the job may run only signed programs.
func TestUnsignedJobRunsSignedProgramsOnly(t *testing.T) {
	shell := "<task><application>/bin/sh</application>" + line("-c 'echo > ran'") + "</task>"
	if runtime.GOOS == "windows" {
		shell = `<task><application>C:\windows\system32\cmd.exe</application>` + line("/c echo x > ran") + "</task>"
	}
	for name, c := range map[string]struct {
		job    string
		signed bool
		lay    func(r *rig)
		status int
	}{
		"signed job, any program":  {shell, true, nil, 0},
		"unsigned, foreign":        {shell, false, nil, 206},
		"unsigned, signed program": {task(line("write ran x")), false, nil, 0},
		"by $PROJECT_DIR":          {"<task><application>$PROJECT_DIR/" + physical("worker") + "</application>" + line("write ran x") + "</task>", false, nil, 0},
		"project file, not signed": {"<task><application>$PROJECT_DIR/other</application></task>", false, func(r *rig) {
			os.WriteFile(filepath.Join(r.Project, "other"), []byte("#!/bin/sh\necho >ran\n"), 0o755)
		}, 206},
		"copy of a signed one": {strings.ReplaceAll(task(line("write ran x")), ">worker<", ">worker_copy.exe<"), false, func(r *rig) {
			raw, _ := os.ReadFile(filepath.Join(r.Project, physical("worker")))
			os.WriteFile(filepath.Join(r.Slot, "worker_copy.exe"), raw, 0o755)
		}, 0},
		"changed copy": {strings.ReplaceAll(task(line("write ran x")), ">worker<", ">worker_copy.exe<"), false, func(r *rig) {
			raw, _ := os.ReadFile(filepath.Join(r.Project, physical("worker")))
			raw[len(raw)-1]++
			os.WriteFile(filepath.Join(r.Slot, "worker_copy.exe"), raw, 0o755)
		}, 206},
		"preload": {task("<setenv>LD_PRELOAD=./x.so</setenv>" + line("write ran x")), false, nil, 206},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, c.job)
			if !c.signed {
				r.AppFiles = []string{physical("worker")}
			}
			if c.lay != nil {
				c.lay(r)
			}
			r.expect(r.run(), c.status, true)
			if r.exists("ran") != (c.status == 0) {
				t.Error(r.stderr())
			}
		})
	}
}

func TestMistakesAreToldWithLineAndElement(t *testing.T) {
	for name, c := range map[string]struct {
		job, want string
		status    int
	}{
		"number":     {task("<weight>much</weight>"), `job.xml line 4: <weight>: "much" is not a number`, 206},
		"no program": {"<task>\n</task>", "job.xml line 2: <task>: <application> is missing", 206},
		"missing":    {"<task><application>nothing</application></task>", "<application> nothing: there is no file", 1},
		"no input":   {task("<stdin_filename>nothing</stdin_filename>"), "nothing: no such file", 195},
		"exec_dir":   {task("<exec_dir>nowhere</exec_dir>"), "<exec_dir> ", 195},
		"escape":     {task("<stdout_filename>esc</stdout_filename>"), "lies outside", 195},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, c.job)
			r.Put("esc", "<soft_link>../../../../etc/x</soft_link>\n")
			r.expect(r.run(), c.status, true)
			if !strings.Contains(strings.ToLower(r.stderr()), strings.ToLower(c.want)) && runtime.GOOS != "windows" {
				t.Errorf("stderr lacks %q:\n%s", c.want, r.stderr())
			}
		})
	}
	r := newRig2(t, task(""))
	os.Remove(filepath.Join(r.Slot, "job.xml"))
	r.expect(r.run(), 206, true)
	r.expectStderr("job.xml cannot be read", "hint: ")
}

func newRig2(t *testing.T, job string) *rig { return quietRig(t, job) }

// Spec 07 §10.
func TestStandalone(t *testing.T) {
	r := newRig(t, task("<fraction_done_filename>f</fraction_done_filename>"+line("args $PROJECT_DIR $NTHREADS")))
	r.Put("job.xml", "<job_desc>"+task("<stdout_filename>out</stdout_filename>"+line("args $PROJECT_DIR $NTHREADS"))+"</job_desc>")
	self, _ := os.Executable()
	cmd := exec.Command(self, "--no_check_executables")
	cmd.Dir, cmd.Env = r.Slot, append(os.Environ(), r.env...)
	out, err := cmd.CombinedOutput()
	if err != nil || r.Read("out") != "[.]\n[1]\n" || !strings.Contains(string(out), "all tasks are done") {
		t.Errorf("%v %q\n%s", err, r.Read("out"), out)
	}
}
