package engine

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"boincdock.org/wrapper/internal/execx"
)

// replay answers every command with the same output, and keeps what was asked.
type replay struct {
	res  execx.Result
	cmds []execx.Cmd
}

func (r *replay) Run(_ context.Context, c execx.Cmd) (execx.Result, error) {
	r.cmds = append(r.cmds, c)
	if r.res.Status != 0 {
		return r.res, &execx.Error{Args: c.Args, Result: r.res}
	}
	return r.res, nil
}

// Spec 07 §14.4.
func TestVersions(t *testing.T) {
	for in, want := range map[string]string{
		"podman version 5.4.1\n": "5.4.1", "Docker version 28.3.3, build 980b856": "28.3.3", "garbage": "",
		"Docker version 20.10.24+dfsg1, build 297e128": "20.10.24+dfsg1",
	} {
		if got := ParseVersion(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}

func TestStats(t *testing.T) {
	for in, want := range map[string]Sample{
		"97.12% 420KiB / 503.8GiB":              {Percent: 97.12, Memory: 430080, HavePercent: true},
		"0.50% 420kB / 16GB":                    {Percent: 0.5, Memory: 420000, HavePercent: true},
		"WARN: old\n150.25% 1.5GiB / 8GiB\n":    {Percent: 150.25, Memory: 1610612736, HavePercent: true},
		"-- / --":                               {},
		"":                                      {},
		"0.00% 0B / 0B":                         {},
		"nan% 1B / 1B":                          {},
		"5% 1e300B / 1B":                        {},
		"\x1b[2J5.00% 100B / 1kB\n5% 1MB / 2MB": {Percent: 5, Memory: 1e6, HavePercent: true},
	} {
		got, ok := ParseStats(in)
		if ok != want.HavePercent || got != want {
			t.Errorf("%q: %+v %v", in, got, ok)
		}
	}
}

func TestErrorsAreClassifiedByOutputOfFailedCommandsOnly(t *testing.T) {
	for out, want := range map[string]error{
		"Error response from daemon: No such container: x":                                                                 ErrNotFound,
		"Error: no such object: x":                                                                                         ErrNotFound,
		"Error: no container with name or ID \"x\" found: no such container":                                               ErrNotFound,
		"Error: x: image not known":                                                                                        ErrNotFound,
		"Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker …":                              ErrUnreachable,
		"write /var/lib: no space left on device":                                                                          ErrNoSpace,
		"dial tcp: lookup registry-1.docker.io on 127.0.0.53:53: server misbehaving":                                       ErrNetwork,
		"toomanyrequests: You have reached your pull rate limit":                                                           ErrNetwork,
		"conflict: unable to remove repository reference \"x\" (must force) - container y is using its referenced image z": ErrInUse,
		"Conflict. The container name \"/x\" is already in use by container y":                                             ErrInUse,
	} {
		c := NewDocker(&replay{res: execx.Result{Status: 1, Stderr: []byte(out)}}, "docker")
		if err := c.Start(context.Background(), "x"); !errors.Is(err, want) {
			t.Errorf("%q: %v", out, err)
		}
	}
	// A package called libError-dev is no error.
	c := NewDocker(&replay{res: execx.Result{Stdout: []byte("Error: no such container")}}, "docker")
	if err := c.Start(context.Background(), "x"); err != nil {
		t.Error(err)
	}
}

func TestInspectReadsBothEngines(t *testing.T) {
	for _, out := range []string{
		`abc {"Status":"exited","Running":false,"Paused":false,"OOMKilled":true,"Pid":0,"ExitCode":3,"Error":"","StartedAt":"2025-01-01T00:00:00.1Z","FinishedAt":"2025-01-01T00:00:01Z"}`,
		`abc {"OciVersion":"1.2.0","Status":"exited","Running":false,"OOMKilled":true,"Pid":0,"ConmonPid":0,"ExitCode":3,"StartedAt":"2025-01-01T00:00:00.1Z","FinishedAt":"2025-01-01T00:00:01Z","Health":{"Status":""}}`,
	} {
		c := NewPodman(&replay{res: execx.Result{Stdout: []byte(out + "\n")}}, "podman")
		got, err := c.Inspect(context.Background(), "x")
		want := Container{ID: "abc", State: Exited, ExitCode: 3, OOMKilled: true, StartedAt: "2025-01-01T00:00:00.1Z", FinishedAt: "2025-01-01T00:00:01Z"}
		if err != nil || got != want {
			t.Errorf("%+v %v", got, err)
		}
	}
	c := NewDocker(&replay{res: execx.Result{Stdout: []byte("<html>")}}, "docker")
	if _, err := c.Inspect(context.Background(), "x"); err == nil {
		t.Error("garbage taken")
	}
}

func TestCreateArguments(t *testing.T) {
	s := CreateSpec{Name: "n", Image: "img", Mounts: []Mount{{Host: "/a b", Guest: "/g", ReadOnly: true}, {Host: `/c:"d`, Guest: "/h"}},
		Env: []string{"A=x y"}, ProxyEnv: []string{"http_proxy=http://u:secret@p:1"}, CPUs: 1.5, Memory: 1 << 30, NoNetwork: true,
		GPU: &GPU{Vendor: "NVIDIA", Device: 1}, NoNewPrivs: true, LogSize: "1m", LogFiles: 2, Extra: []string{"--cpus", "0.5"},
		Entrypoint: []string{"sh", "-e"}, Command: []string{"-c", "x"}, Ports: []string{"127.0.0.1:1:2"}}
	docker := NewDocker(&replay{}, "docker")
	docker.proc = procFS{root: t.TempDir()}
	want := []string{"docker", "create", "--pull", "never", "--name", "n", "-v", "/a b:/g:ro", "--mount", `type=bind,"source=/c:""d","target=/h"`,
		"-e", "A=x y", "-e", "http_proxy", "-p", "127.0.0.1:1:2", "--cpus", "1.50", "--memory", "1073741824", "--network", "none",
		"--gpus", "device=1", "--security-opt", "no-new-privileges", "--log-driver", "json-file", "--log-opt", "max-size=1m",
		"--log-opt", "max-file=2", "--entrypoint", "sh", "--cpus", "0.5", "img", "-e", "-c", "x"}
	if got := docker.createArgs(s); !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
	podman := NewPodman(&replay{}, "podman")
	root := t.TempDir()
	podman.proc = procFS{root: root}
	os.MkdirAll(filepath.Join(root, "etc/cdi"), 0o755)
	os.WriteFile(filepath.Join(root, "etc/cdi/nvidia.yaml"), nil, 0o644)
	os.MkdirAll(filepath.Join(root, "sys/fs/selinux"), 0o755)
	os.WriteFile(filepath.Join(root, "sys/fs/selinux/enforce"), []byte("1"), 0o644)
	got := strings.Join(podman.createArgs(s), " ")
	for _, w := range []string{"--device nvidia.com/gpu=1", "--security-opt label=disable", "--log-driver=k8s-file"} {
		if !strings.Contains(got, w) {
			t.Errorf("%s: no %s", got, w)
		}
	}
	if strings.Contains(got, "secret") {
		t.Error("a password is in the argument list")
	}
}

func TestGPUArguments(t *testing.T) {
	root := t.TempDir()
	os.MkdirAll(filepath.Join(root, "etc"), 0o755)
	os.WriteFile(filepath.Join(root, "etc/group"), []byte("root:x:0:\nvideo:x:44:\n"), 0o644)
	for _, c := range []struct {
		podman bool
		gpu    GPU
		want   string
	}{
		{false, GPU{"NVIDIA", 2}, "--gpus device=2"}, {false, GPU{"NVIDIA", -1}, "--gpus all"}, {true, GPU{"NVIDIA", 2}, "--gpus all"},
		{false, GPU{"ATI", 0}, "--device /dev/kfd --device /dev/dri --group-add video"}, {true, GPU{"intel_gpu", 0}, "--device /dev/dri"},
	} {
		cli := NewDocker(nil, "docker")
		cli.podman, cli.proc = c.podman, procFS{root: root}
		if got := strings.Join(cli.gpuArgs(c.gpu), " "); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

func write(t *testing.T, root, path, text string) {
	t.Helper()
	path = filepath.Join(root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestControlGroups(t *testing.T) {
	id := strings.Repeat("ab", 32)
	k := Container{ID: id, PID: 42}
	v2, v1, foreign := t.TempDir(), t.TempDir(), t.TempDir()
	write(t, v2, "proc/42/cgroup", "0::/system.slice/docker-"+id+".scope\n")
	dir := "sys/fs/cgroup/system.slice/docker-" + id + ".scope/"
	write(t, v2, dir+"cpu.stat", "usage_usec 2500000\nuser_usec 1\n")
	write(t, v2, dir+"memory.current", "3000000\n")
	write(t, v2, dir+"memory.stat", "anon 5\ninactive_file 1000000\n")
	write(t, v1, "proc/42/cgroup", "9:name=systemd:/docker/"+id+"\n4:memory:/docker/"+id+"\n2:cpu,cpuacct:/docker/"+id+"\n")
	write(t, v1, "sys/fs/cgroup/cpu,cpuacct/docker/"+id+"/cpuacct.usage", "2500000000\n")
	write(t, v1, "sys/fs/cgroup/memory/docker/"+id+"/memory.usage_in_bytes", "3000000")
	write(t, v1, "sys/fs/cgroup/memory/docker/"+id+"/memory.stat", "total_inactive_file 1000000\n")
	write(t, foreign, "proc/42/cgroup", "0::/system.slice/sshd.service\n")
	want := Sample{CPU: 2.5, HaveCPU: true, Memory: 2000000}
	for _, root := range []string{v1, v2} {
		if got, ok := (procFS{root: root}).cgroupSample(k); !ok || got != want {
			t.Errorf("%+v %v", got, ok)
		}
	}
	if _, ok := (procFS{root: foreign}).cgroupSample(k); ok {
		t.Error("another process with the same PID was measured")
	}
	if _, ok := (procFS{root: v2}).cgroupSample(Container{ID: id}); ok {
		t.Error("no PID")
	}
}

func TestSocketSample(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	answers := make(chan string, 3)
	answers <- "HTTP/1.0 200 OK\r\nX: y\r\n\r\n" + `{"cpu_stats":{"cpu_usage":{"total_usage":1500000000}},"memory_stats":{"usage":300,"stats":{"total_inactive_file":100}}}`
	answers <- "HTTP/1.0 404 Not Found\r\n\r\n{}"
	answers <- "HTTP/1.0 200 OK\r\n\r\n" + `{"cpu_stats":{},"memory_stats":{}}`
	go func() {
		for a := range answers {
			c, err := l.Accept()
			if err != nil {
				return
			}
			buf := make([]byte, 200)
			n, _ := c.Read(buf)
			if !strings.HasPrefix(string(buf[:n]), "GET /containers/x%2F..%3F/stats?stream=false") {
				a = "HTTP/1.0 400 Bad\r\n\r\n"
			}
			io.WriteString(c, a)
			c.Close()
		}
	}()
	got, err := socketSample(context.Background(), socket, "x/..?")
	if err != nil || got != (Sample{CPU: 1.5, HaveCPU: true, Memory: 200}) {
		t.Errorf("%+v %v", got, err)
	}
	for i := 0; i < 2; i++ {
		if s, err := socketSample(context.Background(), socket, "x/..?"); err == nil {
			t.Errorf("%+v", s)
		}
	}
}

// scripted answers by the arguments.
type scripted func(args string) (execx.Result, error)

func (f scripted) Run(_ context.Context, c execx.Cmd) (execx.Result, error) {
	res, err := f(strings.Join(c.Args[1:], " "))
	if res.Status != 0 && err == nil {
		err = &execx.Error{Args: c.Args, Result: res}
	}
	return res, err
}

// #6916, #6991: Podman says this when a pause process of an earlier session is in the way.
func TestReported6916StalePauseProcessIsMigratedOnce(t *testing.T) {
	migrated := 0
	c := NewPodman(scripted(func(args string) (execx.Result, error) {
		switch {
		case args == "system migrate":
			migrated++
		case args == "--version":
			return execx.Result{Stdout: []byte("podman version 5.4.2\n")}, nil
		case migrated == 0 || args == "start broken":
			return execx.Result{Status: 1, Stderr: []byte("ERRO[0000] invalid internal status, try resetting the pause process with \"podman system migrate\"")}, nil
		}
		return execx.Result{Stdout: []byte("5.4.2\n")}, nil
	}), "podman")
	if v, err := c.Check(context.Background()); err != nil || v != "5.4.2" || migrated != 1 {
		t.Errorf("%q %v, migrated %d times", v, err, migrated)
	}
	if c.Start(context.Background(), "broken") == nil || migrated != 1 {
		t.Errorf("migrated %d times", migrated)
	}
}

// Podman 4.3 of Debian 12 has no `build --retry`.
func TestBuildWithAnOlderPodman(t *testing.T) {
	var seen []string
	c := NewPodman(scripted(func(args string) (execx.Result, error) {
		seen = append(seen, args)
		if strings.Contains(args, "--retry") {
			return execx.Result{Status: 125, Stderr: []byte("Error: unknown flag: --retry\nSee 'podman build --help'")}, nil
		}
		return execx.Result{}, nil
	}), "podman")
	for i := 0; i < 2; i++ {
		if err := c.Build(context.Background(), BuildSpec{Context: "/c", Dockerfile: "/c/D", Tags: []string{"t"}}); err != nil {
			t.Fatal(err)
		}
	}
	if len(seen) != 3 {
		t.Errorf("%q", seen)
	}
}

func TestGPUVendorsAndDetection(t *testing.T) {
	for in, want := range map[string]string{"NVIDIA": vendorNVIDIA, "NVIDIA Corporation": vendorNVIDIA, "ATI": vendorAMD,
		"Advanced Micro Devices, Inc.": vendorAMD, "intel_gpu": vendorIntel, "Intel(R) Corporation": vendorIntel, "apple_gpu": "", "": ""} {
		if got := vendorOf(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
	for file, want := range map[string]string{"dev/nvidiactl": "--gpus all", "dev/kfd": "--device /dev/kfd --device /dev/dri", "none": "--gpus all",
		"sys/class/drm/card1/device/vendor": "--device /dev/dri"} {
		root := t.TempDir()
		write(t, root, file, "0x8086\n")
		cli := NewDocker(nil, "docker")
		cli.proc = procFS{root: root}
		if got := strings.Join(cli.gpuArgs(GPU{Device: -1}), " "); got != want {
			t.Errorf("%s: %s", file, got)
		}
	}
	mac := NewPodman(scripted(func(string) (execx.Result, error) { return execx.Result{Status: 1}, nil }), "podman").OnMac()
	warned := ""
	mac.Warn = func(format string, a ...any) { warned = format }
	s := CreateSpec{GPU: &GPU{Vendor: "apple_gpu"}}
	if mac.gpuNotes(context.Background(), &s); s.GPU != nil || warned == "" {
		t.Error("a machine without /dev/dri has no GPU")
	}
}

func FuzzParseStats(f *testing.F) {
	f.Add("97.12% 420KiB / 503.8GiB")
	f.Fuzz(func(t *testing.T, out string) {
		s, ok := ParseStats(out)
		if ok && (s.Percent < 0 || s.Memory < 0 || s.Memory > 1e30 || s.Percent != s.Percent) {
			t.Fatalf("%+v", s)
		}
	})
}
