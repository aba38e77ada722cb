//go:build unix

package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"boincdock.org/wrapper/internal/boinc"
	"boincdock.org/wrapper/internal/engine"
	"boincdock.org/wrapper/internal/execx"
	"boincdock.org/wrapper/internal/fakeclient"
	"boincdock.org/wrapper/internal/fakedocker"
)

// recorder answers nothing and keeps the commands.
type recorder struct{ last []string }

func (r *recorder) Run(_ context.Context, c execx.Cmd) (execx.Result, error) {
	r.last = c.Args
	return execx.Result{}, nil
}

func TestDistributionThatIsChosen(t *testing.T) {
	docker := func(name string) boinc.Distro {
		return boinc.Distro{Name: name, DockerVersion: "28", DockerType: boinc.DockerTypeDocker}
	}
	podman := func(name string, version int) boinc.Distro {
		return boinc.Distro{Name: name, Version: version, DockerVersion: "5.4", DockerType: boinc.DockerTypePodman}
	}
	forbidden := docker("forbidden")
	forbidden.Disallowed = true
	for want, distros := range map[string][]boinc.Distro{
		"-d Debian --exec":                    {{Name: "empty"}, forbidden, docker("Debian"), docker("later")},
		"-d boinc-buda-runner -u root --exec": {docker("Debian"), podman(boinc.BudaRunner, 3)},
		"-d boinc-buda-runner --exec":         {docker("Debian"), podman(boinc.BudaRunner, 4)},
		"-d other -u root --exec":             {{Name: boinc.BudaRunner}, podman("other", 4)},
		"error":                               {{Name: "empty"}, forbidden},
	} {
		r := &recorder{}
		d := boinc.NewInitData()
		d.Distros = distros
		eng, err := finder{goos: "windows", runner: r}.choose(context.Background(), d, false)
		if err != nil {
			if want != "error" {
				t.Errorf("%s: %v", want, err)
			}
			continue
		}
		eng.Start(context.Background(), "x")
		if got := strings.Join(r.last[1:], " "); !strings.HasPrefix(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestMacHelperIsUsedForPodmanOnly(t *testing.T) {
	dir := t.TempDir()
	helper := filepath.Join(dir, "Run_Podman")
	os.WriteFile(helper, nil, 0o755)
	for _, name := range []string{"podman", "docker"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
	for _, c := range []struct {
		goos, first string
		kind        int
	}{{"darwin", helper, boinc.DockerTypePodman}, {"darwin", dir + "/docker", boinc.DockerTypeDocker}, {"linux", dir + "/podman", boinc.DockerTypePodman}} {
		r := &recorder{}
		d := boinc.NewInitData()
		d.DockerType = c.kind
		eng, err := finder{goos: c.goos, runner: r, helper: helper}.choose(context.Background(), d, false)
		if err != nil {
			t.Fatal(err)
		}
		eng.Start(context.Background(), "x")
		if r.last[0] != c.first {
			t.Errorf("%+v: %q", c, r.last)
		}
	}
	var _ engine.Engine = (*engine.CLI)(nil)
}

const wslExe = `#!/bin/sh
[ "$1 $2" = "-d Debian" ] || { echo "There is no distribution with the supplied name."; exit 255; }
shift 3; "$@"; exit 0
`

// wslRig is a job on "Windows": the engine is reached through a stand-in for wsl.exe.
func wslRig(t *testing.T, r *rig) {
	t.Helper()
	bin := filepath.Join(filepath.Dir(r.eng), "bin")
	for name, text := range map[string]string{
		"wsl.exe": wslExe, "wslpath": "#!/bin/sh\nprintf '%s\\n' \"$3\" | tr '\\\\' /\n",
	} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r.DockerType = 0
	r.HostExtra = "<wsl><distro><distro_name>Debian</distro_name><docker_version>28.1</docker_version><docker_type>1</docker_type></distro></wsl>\n"
	r.env = append(r.env, "TEST_GOOS=windows", "PATH="+bin+":/usr/bin:/bin")
}

func TestJobThroughWSL(t *testing.T) {
	r := newRig(t, fakedocker.Plan{Stdout: "hello\n", Stderr: "warn\n", Files: map[string]string{"/out": "result\n"}})
	wslRig(t, r)
	r.Put("Dockerfile", dockerfile)
	r.Put("in", "input")
	r.Put("job.toml", "workdir = '/app'\ncopy_to_container = [{src='in', dst='/in dir/x'}]\ncopy_from_container = [{src='/out', dst='out'}]")
	v := r.run("--alpha", "it's $(id)")
	r.expect(v, fakeclient.Verdict{Finished: true})
	r.expectStderr("hello\n", "warn\n", "stderr end\n")
	if r.Read("out") != "result\n" {
		t.Errorf("%q", r.Read("out"))
	}
	got := strings.Join(r.call("create"), " ")
	if !strings.Contains(got, "-v "+r.Slot+":/app") || !strings.Contains(got, "ARGS= --alpha it's $(id)") {
		t.Error(got)
	}
	if b := r.call("build"); b == nil || !strings.HasPrefix(b[len(b)-1], r.Slot+"/") {
		t.Errorf("%q", b)
	}
}

func TestExitCodeThroughWSL(t *testing.T) {
	r := newRig(t, fakedocker.Plan{ExitCode: 7})
	wslRig(t, r)
	r.Put("Dockerfile", dockerfile)
	r.expect(r.run(), fakeclient.Verdict{Code: 7, Finished: true})
}

func TestWSLThatDoesNotComeUpIsPostponed(t *testing.T) {
	r := newRig(t, fakedocker.Plan{})
	wslRig(t, r)
	r.HostExtra = strings.ReplaceAll(r.HostExtra, "Debian", "Gone")
	r.Put("Dockerfile", dockerfile)
	r.expect(r.run(), fakeclient.Verdict{Delay: 600})
	r.expectStderr("There is no distribution with the supplied name", "hint: ")

	r = newRig(t, fakedocker.Plan{})
	wslRig(t, r)
	r.HostExtra = ""
	r.Put("Dockerfile", dockerfile)
	r.expect(r.run(), fakeclient.Verdict{Delay: 3600})
	r.expectStderr("no WSL distribution")
}

func TestJobThroughTheMacHelper(t *testing.T) {
	r := newRig(t, fakedocker.Plan{ExitCode: 3, Stderr: "why\n"})
	bin := filepath.Join(filepath.Dir(r.eng), "bin")
	self, _ := os.Executable()
	os.Symlink(self, filepath.Join(bin, "podman"))
	helper := filepath.Join(bin, "Run_Podman")
	if err := os.WriteFile(helper, []byte("#!/bin/sh\neval \"$*\"; exit 0\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	r.DockerType = boinc.DockerTypePodman
	r.env = append(r.env, "TEST_GOOS=darwin", "TEST_HELPER="+helper, "PATH="+bin+":/usr/bin:/bin")
	r.Put("Dockerfile", dockerfile)
	r.expect(r.run("a b", "'"), fakeclient.Verdict{Code: 3, Finished: true})
	r.expectStderr("why\n")
	if got := strings.Join(r.call("create"), "|"); !strings.Contains(got, "|ARGS= a b '|") || !strings.Contains(got, "|"+r.Slot+":/app|") {
		t.Error(got)
	}
}
