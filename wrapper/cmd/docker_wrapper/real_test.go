package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"boincdock.org/wrapper/internal/boinc"
	"boincdock.org/wrapper/internal/fakeclient"
)

// The scenarios below run against the Docker engine of this machine, or Podman with BOINCDOCK_TEST_ENGINE=podman.
// They need BOINCDOCK_TEST_IMAGE, the name of a local image with a shell (debian:trixie-slim), and
// BOINCDOCK_TEST_DIR, a directory that has the same path here and for the engine.

func underPodman() bool { return os.Getenv("BOINCDOCK_TEST_ENGINE") == "podman" }

type realRig struct {
	*rig
	image string
}

func newReal(t *testing.T, result string) *realRig {
	t.Helper()
	image, base := os.Getenv("BOINCDOCK_TEST_IMAGE"), os.Getenv("BOINCDOCK_TEST_DIR")
	if image == "" || base == "" {
		t.Skip("set BOINCDOCK_TEST_IMAGE and BOINCDOCK_TEST_DIR to test with a real engine")
	}
	if besideOthers(t) {
		engineLoad <- struct{}{}
		t.Cleanup(func() { <-engineLoad })
	}
	dir, err := os.MkdirTemp(base, "real")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return newRealIn(t, dir, result, image)
}

// engineLoad has a place for each test that uses the engine now: a build takes seconds of a processor.
var engineLoad = make(chan struct{}, 4)

func newRealIn(t *testing.T, dir, result, image string) *realRig {
	r := &realRig{rig: &rig{t: t, env: []string{"RUN_WRAPPER=1", "GORACE=atexit_sleep_ms=0"}}, image: image}
	// names of this run only: tests of several checkouts share the engine
	r.Client = fakeclient.New(t, dir, result+"_"+strconv.Itoa(os.Getpid())+"_0")
	r.Period = 200 * time.Millisecond
	r.limit = 2 * time.Minute // the machine may be busy
	if underPodman() {
		r.DockerType = boinc.DockerTypePodman
	}
	r.reachEngine()
	t.Cleanup(func() { docker(t, "rm", "-f", r.name()) })
	return r
}

// from begins a Dockerfile that is no other test's.
func (r *realRig) from() string { return "# " + r.Result + "\nFROM " + r.image + "\n" }

func (r *realRig) dockerfile(cmd string) {
	r.Put("Dockerfile", r.from()+"CMD cd /app; "+cmd+"\n")
}

func (r *realRig) state() string {
	return docker(r.t, "container", "inspect", "--format", "{{.State.Status}}", r.name())
}

func (r *realRig) gone() {
	r.t.Helper()
	if s := r.state(); !strings.Contains(strings.ToLower(s), "no such") {
		r.t.Errorf("the container is left: %s", s)
	}
	ours := fmt.Sprintf("label=boinc.dockerfile=%x", sha256.Sum256([]byte(r.Read("Dockerfile"))))
	if left := docker(r.t, "images", "--filter", ours, "--format", "{{.Repository}}:{{.Tag}}"); strings.Contains(left, "boinc") {
		// the classic builder's nameless intermediate layers are not ours to remove
		r.t.Errorf("images are left: %s", left)
	}
}

func TestRealSuccessInTheSlotMount(t *testing.T) {
	r := newReal(t, "ok")
	r.dockerfile("echo to-stdout; echo to-stderr >&2; echo 1 > fraction_done; tr a-z A-Z < /app/in > /app/out; mkdir -p d/e; echo \"args=$ARGS\"")
	r.Put("in", "hello\n")
	v := r.run("x", "y z")
	r.expect(v, fakeclient.Verdict{Finished: true})
	if r.Read("out") != "HELLO\n" {
		t.Errorf("%q", r.Read("out"))
	}
	r.expectStderr("to-stdout", "to-stderr", "args= x y z")
	r.gone()
}

func TestRealExitCode(t *testing.T) {
	r := newReal(t, "code")
	r.dockerfile("echo broken >&2; exit 7")
	r.expect(r.run(), fakeclient.Verdict{Code: 7, Finished: true})
	r.expectStderr("broken", "exit code 7")
	r.gone()
}

func TestRealCopyModeAndArchive(t *testing.T) {
	r := newReal(t, "copy")
	in := "INPUT\n"
	r.Link("in_0", "jf_in", &in)
	makeExecutable(t, filepath.Join(r.Project, "jf_in"))
	r.Put("Dockerfile", r.from())
	r.Put("job.toml", `
command = ["sh", "-c", 'test -x /root/shared/data.txt || exit 9; cat /root/shared/data.txt; echo err >&2; cd /root/shared/results; mkdir sub; echo "A $X" > a.txt; echo B > sub/b.txt; chmod 600 a.txt; ln -s a.txt l; ln -s /etc/passwd evil; mkfifo fifo; ln a.txt hard; touch sub/-n; echo out > /root/out']
env = { X = "it's $HOME" }
copy_to_container = [{src="in_0", dst="/root/shared/data.txt"}, {src="in_0", dst="/new/dir/f"}, {src="in_0", dst="/opt"}]
copy_from_container = [{src="/root/out", dst="out"}, {src="/opt/jf_in", dst="same"}]
network = false
memory_limit = 200000000
create_args = ["--workdir=/tmp", "--user=0"]
[results_archive]
src = "/root/shared/results"
dst = "results.tgz"
`)
	r.expect(r.run(), fakeclient.Verdict{Finished: true})
	want := map[string]string{"a.txt": "A it's $HOME\n", "l": "a.txt", "sub/": "", "sub/b.txt": "B\n", "sub/-n": "",
		"hard": "a.txt", "stdout.txt": "INPUT\n", "stderr.txt": "err\n"}
	if got := unpack(t, filepath.Join(r.Slot, "results.tgz")); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q", got)
	}
	if r.Read("out") != "out\n" || r.Read("same") != "INPUT\n" {
		t.Errorf("%q %q", r.Read("out"), r.Read("same"))
	}
	r.expectStderr("evil leads outside", "fifo is not a file")
	r.gone()
}

func TestRealPrebuiltImageWithoutAnyFile(t *testing.T) {
	r := newReal(t, "pre")
	r.Put("job.toml", "image_name = '"+r.image+"'\ncommand = ['echo', 'Hello BOINC']\n[results_archive]\nsrc='/root/shared/results'\ndst='results.tgz'")
	r.DockerType = 0 // clients before 8.2 say nothing about engines
	r.expect(r.run(), fakeclient.Verdict{Finished: true})
	got := unpack(t, filepath.Join(r.Slot, "results.tgz"))
	if got["stdout.txt"] != "Hello BOINC\n" {
		t.Errorf("%q", got)
	}
	if docker(t, "image", "inspect", "--format", "x", r.image) != "x" {
		t.Error("the image is gone")
	}
	r.gone()
}

const busy = "i=0; while :; do i=$((i+1)); [ $((i % 20000)) = 0 ] && date +%s >> beats; [ -e stop ] && exit 0; done"

func TestRealSuspendResumeQuitRestart(t *testing.T) {
	r := newReal(t, "susp")
	r.dockerfile(busy)
	r.WUCPU = 1000
	r.start()
	r.eventually("CPU time and memory", func() bool { l := r.Last(); return l.Number("current_cpu_time") > 1000.5 && l.Number("wss") > 0 })
	r.Say("<suspend/>")
	r.eventually("paused", func() bool { return r.state() == "paused" })
	r.eventually("checkpoint", func() bool { l := r.Last(); return l.Number("checkpoint_cpu_time") > 1000.5 })
	beats, cpu := len(r.Read("beats")), r.Last().Number("current_cpu_time")
	time.Sleep(2 * time.Second)
	if len(r.Read("beats")) != beats || r.Last().Number("current_cpu_time") != cpu {
		t.Error("computes while suspended")
	}
	r.Say("<resume/>")
	r.eventually("goes on", func() bool { return len(r.Read("beats")) > beats && r.Last().Number("current_cpu_time") > cpu })
	r.Say("<quit/>")
	r.expect(r.Wait(r.patience()), fakeclient.Verdict{})
	if r.state() != "paused" {
		t.Fatalf("left %s", r.state())
	}
	r.WUCPU = r.Last().Number("checkpoint_cpu_time")
	id := docker(t, "container", "inspect", "--format", "{{.Id}}", r.name())
	beats = len(r.Read("beats"))
	r.start()
	r.eventually("goes on", func() bool { return len(r.Read("beats")) > beats })
	if docker(t, "container", "inspect", "--format", "{{.Id}}", r.name()) != id {
		t.Error("another container")
	}
	r.eventually("a report", func() bool { return len(r.Reports()) > 1 })
	for _, rep := range r.Reports() {
		if rep.Number("current_cpu_time") < r.WUCPU || rep.Number("checkpoint_cpu_time") < r.WUCPU {
			t.Errorf("CPU time fell: %q", rep.Text)
		}
	}
	r.Put("stop", "")
	r.expect(r.Wait(r.patience()), fakeclient.Verdict{Finished: true})
	r.gone()
}

func TestRealAbort(t *testing.T) {
	for _, paused := range []bool{false, true} {
		r := newReal(t, "abort")
		r.dockerfile("sleep 1000")
		r.start()
		r.eventually("running", func() bool { return r.state() == "running" })
		if paused {
			r.Say("<suspend/>")
			r.eventually("paused", func() bool { return r.state() == "paused" })
		}
		r.Say("<abort/>")
		r.expect(r.Wait(r.patience()), fakeclient.Verdict{})
		r.gone()
	}
}

func TestRealContainerKilled(t *testing.T) {
	r := newReal(t, "kill9")
	r.dockerfile("sleep 1000")
	r.start()
	r.eventually("running", func() bool { return r.state() == "running" })
	docker(t, "kill", "--signal", "KILL", r.name())
	r.expect(r.Wait(r.patience()), fakeclient.Verdict{Code: 137, Finished: true})
	r.expectStderr("signal 9")
	r.gone()

	r = newReal(t, "rmf")
	r.dockerfile("sleep 1000")
	r.start()
	r.eventually("running", func() bool { return r.state() == "running" })
	docker(t, "rm", "-f", r.name())
	v := r.Wait(r.patience())
	if !v.Finished || v.Code == 0 {
		t.Errorf("%+v", v)
	}
	r.gone()
}

func TestRealWrapperKilled(t *testing.T) {
	r := newReal(t, "wkill")
	r.dockerfile("echo once >> starts; while [ ! -e stop ]; do sleep 0.1; done; exit 3")
	r.start()
	r.eventually("running", func() bool { return r.Read("starts") != "" })
	r.KillWrapper()
	r.start()
	r.eventually("adopted", func() bool { return strings.Contains(r.stderr(), "still running") })
	r.KillWrapper()
	r.Put("stop", "")
	r.eventually("exited", func() bool { return r.state() == "exited" })
	r.expect(r.run(), fakeclient.Verdict{Code: 3, Finished: true})
	if r.Read("starts") != "once\n" {
		t.Errorf("started %q", r.Read("starts"))
	}
	r.gone()
}

func TestRealConcurrentJobsShareOneBuild(t *testing.T) {
	a := newReal(t, "two_a")
	b := newRealIn(t, a.Data, "two_b", a.image)
	// Each build writes another random file: one file in both containers means one build.
	text := a.from() + "RUN sleep 2; cat /proc/sys/kernel/random/uuid > /uuid\nCMD cp /uuid /app/uuid; sleep 3\n"
	for _, r := range []*realRig{a, b} {
		r.Put("Dockerfile", text)
		r.start()
	}
	for _, r := range []*realRig{a, b} {
		r.expect(r.Wait(r.patience()), fakeclient.Verdict{Finished: true})
	}
	if a.Read("uuid") == "" || a.Read("uuid") != b.Read("uuid") {
		t.Errorf("%q %q", a.Read("uuid"), b.Read("uuid"))
	}
	if n := strings.Count(a.stderr()+b.stderr(), "built in"); n != 1 {
		t.Errorf("%d builds", n)
	}
	a.gone()
}

func TestRealMistakes(t *testing.T) {
	r := newReal(t, "badcmd")
	r.Put("job.toml", "image_name = '"+r.image+"'\ncommand = ['/no/such/program']")
	r.expect(r.run(), fakeclient.Verdict{Code: 1, Finished: true})
	r.expectStderr("error: starting the container", "/no/such/program")
	r.gone()

	r = newReal(t, "badbuild")
	r.dockerfile("true\nRUN echo why-it-fails >&2; exit 5")
	r.expect(r.run(), fakeclient.Verdict{Code: 1, Finished: true})
	r.expectStderr("why-it-fails", "hint: the output above says which step failed")
	r.gone()

	r = newReal(t, "oom")
	r.Put("job.toml", "image_name = '"+r.image+"'\nmemory_limit = 30000000\ncreate_args = '--memory-swap 30000000'\n"+
		`command = ["sh", "-c", "x=0123456789abcdef; while :; do x=$x$x; done"]`)
	v := r.run()
	if v.Code != 205 && v.Code != 137 && v.Code != 2 { // dash itself may notice first
		t.Errorf("%+v %s", v, r.stderr())
	}
	r.gone()
}

// An image that comes as a file, as `docker save` makes it, in all forms; the names in the archive are not taken over.
func TestRealImageFile(t *testing.T) {
	for _, kind := range []string{"tar", "gz", "zst"} {
		r := newReal(t, "file"+kind)
		tag := "hostile.example/overwritten:" + kind + strconv.Itoa(os.Getpid())
		r.Put("Dockerfile", r.from()+"WORKDIR /here\nCMD pwd > /app/out\n")
		if out := docker(t, "build", "-q", "-t", tag, r.Slot); docker(t, "image", "inspect", "--format", "x", tag) != "x" {
			t.Fatal(out)
		}
		file := filepath.Join(r.Project, "image."+kind)
		docker(t, "save", "-o", file+".raw", tag)
		docker(t, "image", "rm", tag)
		pack(t, kind, file+".raw", file)
		os.Remove(filepath.Join(r.Slot, "Dockerfile"))
		r.Link("image", "image."+kind, nil)
		r.Put("job.toml", "image_file = 'image'")
		r.expect(r.run(), fakeclient.Verdict{Finished: true})
		if r.Read("out") != "/here\n" {
			t.Errorf("%q", r.Read("out"))
		}
		if s := docker(t, "image", "inspect", "--format", "x", tag); s == "x" {
			t.Error("the archive's own name was taken over")
		}
		r.expectStderr("loading the image", "loaded in")
		r.gone()
	}
}

// pack compresses a file.
func pack(t *testing.T, kind, src, dst string) {
	t.Helper()
	raw, err := os.ReadFile(src)
	if err != nil {
		t.Fatal(err)
	}
	out := bytes.NewBuffer(nil)
	switch kind {
	case "gz":
		w, _ := gzip.NewWriterLevel(out, 1)
		w.Write(raw)
		err = w.Close()
	case "zst":
		w, _ := zstd.NewWriter(out, zstd.WithEncoderLevel(zstd.SpeedFastest))
		w.Write(raw)
		err = w.Close()
	default:
		out.Write(raw)
	}
	if err == nil {
		err = os.WriteFile(dst, out.Bytes(), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	os.Remove(src)
}
