//go:build unix

package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"boincdock.org/wrapper/internal/fakeclient"
	"boincdock.org/wrapper/internal/fakedocker"
)

const dockerfile = "FROM debian\nCMD work ${ARGS}\n"

func TestSuccessWithDefaults(t *testing.T) {
	r := newRig(t, fakedocker.Plan{Stdout: "hello\n", Stderr: "warn\n"})
	r.Put("Dockerfile", dockerfile)
	v := r.run("--alpha", "b c")
	r.expect(v, fakeclient.Verdict{Finished: true})
	if got := r.Read("boinc_finish_called"); got != "0\n" {
		t.Errorf("finish file %q", got)
	}
	last := r.Last()
	if last.Number("fraction_done") != 1 || last.Number("current_cpu_time") != last.Number("checkpoint_cpu_time") {
		t.Errorf("last report %q", last.Text)
	}
	r.expectStderr("stderr from container:\n", "hello\n", "warn\n", "stderr end\n")
	got := r.call("create")
	want := []string{"create", "--pull", "never", "--name", "boinc__sim.example.org_alpha__wu_1_0",
		"--label", "boinc.client=" + clientLabel(r), "--label", "boinc.project=sim.example.org_alpha",
		"--label", "boinc.result=wu_1_0", "--label", "boinc.slot=" + r.Slot,
		"-v", r.Slot + ":/app", "-e", "ARGS= --alpha b c", "-e", "BOINC_NCPUS=1", "-e", "BOINC_CHECKPOINT_PERIOD=60",
		"-e", "BOINC_GPU_TYPE=", "-e", "BOINC_GPU_DEVICE_NUM=-1", "-e", "BOINC_WU_NAME=wu_1", "-e", "BOINC_RESULT_NAME=wu_1_0",
		"--cpus", "1.00", "--log-driver", "json-file", "--log-opt", "max-size=1m", "--log-opt", "max-file=2"}
	if len(got) != len(want)+1 || !reflect.DeepEqual(got[:len(want)], want) {
		t.Errorf("create\n%q, want\n%q", got, want)
	}
	r.engine(func(s *fakedocker.State) {
		if len(s.Containers) != 0 || len(s.Images) != 0 || s.Builds != 1 {
			t.Errorf("left behind: %v %v, %d builds", s.Containers, s.Images, s.Builds)
		}
	})
	if files, _ := filepath.Glob(filepath.Join(r.Slot, "*")); len(files) != 5 { // Dockerfile, finish, init_data, mmap, stderr
		t.Errorf("slot: %v", files)
	}
	if strings.Contains(r.stderr(), "secret_account_key") {
		t.Error("the account key is in the log")
	}
}

func TestExitCodesReachTheClient(t *testing.T) {
	for _, c := range []struct {
		code, want int
		oom        bool
	}{{1, 1, false}, {3, 3, false}, {255, 255, false}, {137, 137, false}, {137, 205, true}} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			r := newRig(t, fakedocker.Plan{ExitCode: c.code, OOMKilled: c.oom, Stderr: "why\n"})
			r.Put("Dockerfile", dockerfile)
			r.Put("job.toml", "copy_from_container = [{src='/out', dst='out'}]")
			r.expect(r.run(), fakeclient.Verdict{Code: c.want, Finished: true})
			if got := r.Read("boinc_finish_called"); got != fmt.Sprintf("%d\n", c.want) {
				t.Errorf("finish file %q", got)
			}
			r.expectStderr("why\n", "error: ")
			for _, argv := range fakedocker.Log(r.eng) { // the progress may have been asked for
				if line := strings.Join(argv, " "); argv[0] == "cp" && strings.Contains(line, ":/out") {
					t.Error("a failed job has no outputs:", line)
				}
			}
		})
	}
}

func TestContainerOutputIsBoundedAndHarmless(t *testing.T) {
	r := newRig(t, fakedocker.Plan{Repeat: 5 << 12,
		Stdout: strings.Repeat("0123456789abcde\n", 16) + "a\x00b</stderr_txt>\nlast line\n"})
	r.Put("Dockerfile", dockerfile)
	r.expect(r.run(), fakeclient.Verdict{Finished: true})
	text := r.stderr()
	if len(text) > 63<<10 || strings.ContainsRune(text, 0) || strings.Contains(text, "</stderr_txt>") {
		t.Errorf("%d bytes", len(text))
	}
	r.expectStderr("[... the beginning is left out ...]", "last line\nstderr end")
}

func TestSuspendResume(t *testing.T) {
	r := newRig(t, fakedocker.Plan{Runs: 4 * time.Second})
	r.Put("Dockerfile", dockerfile)
	r.start()
	r.eventually("CPU time", func() bool { return r.Last().Number("current_cpu_time") > 0 })
	r.Say("<suspend/>")
	r.eventually("paused", func() bool { return r.containerState() == "paused" })
	r.eventually("checkpoint", func() bool {
		l := r.Last()
		return l.Number("current_cpu_time") > 0.5 && l.Number("checkpoint_cpu_time") == l.Number("current_cpu_time")
	})
	cpu := r.Last().Number("current_cpu_time")
	n := len(r.Reports())
	time.Sleep(2500 * time.Millisecond) // nothing may change in this time
	if l := r.Last(); l.Number("current_cpu_time") != cpu || len(r.Reports()) > n+1 {
		t.Errorf("reports while suspended: %d, CPU %v then %v", len(r.Reports())-n, cpu, l.Text)
	}
	r.Say("<resume/>")
	r.eventually("resumed", func() bool { return r.containerState() != "paused" })
	r.expect(r.Wait(limit), fakeclient.Verdict{Finished: true})
}

func TestFastTogglesEndInTheLastState(t *testing.T) {
	r := newRig(t, fakedocker.Plan{Runs: 60 * time.Second})
	r.Put("Dockerfile", dockerfile)
	r.start()
	r.eventually("running", func() bool { return r.containerState() == "running" })
	for i := 0; i < 9; i++ {
		r.Say([]string{"<suspend/>", "<resume/>"}[i%2])
	}
	r.eventually("paused", func() bool { return r.containerState() == "paused" })
	time.Sleep(2 * time.Second)
	if r.containerState() != "paused" {
		t.Error("the last message was suspend")
	}
	calls := 0
	for _, argv := range fakedocker.Log(r.eng) {
		if argv[0] == "pause" || argv[0] == "unpause" {
			calls++
		}
	}
	if calls > 3 {
		t.Errorf("%d engine calls for toggles within a second", calls)
	}
}

func TestQuitPausesAndRestartGoesOn(t *testing.T) {
	r := newRig(t, fakedocker.Plan{Runs: 6 * time.Second})
	r.Put("Dockerfile", dockerfile)
	r.WUCPU = 100
	r.start()
	r.eventually("CPU time", func() bool { return r.Last().Number("current_cpu_time") > 100 })
	r.Say("<quit/>")
	r.expect(r.Wait(12*time.Second), fakeclient.Verdict{})
	if r.containerState() != "paused" {
		t.Fatal("left computing")
	}
	last := r.Last()
	if last.Number("checkpoint_cpu_time") != last.Number("current_cpu_time") {
		t.Error("no checkpoint at quit")
	}
	r.WUCPU = last.Number("checkpoint_cpu_time")
	r.expect(r.run(), fakeclient.Verdict{Finished: true})
	first := r.Reports()[0]
	if first.Number("current_cpu_time") < r.WUCPU || first.Number("checkpoint_cpu_time") < r.WUCPU {
		t.Errorf("CPU time fell: %q", first.Text)
	}
	r.engine(func(s *fakedocker.State) {
		if s.Builds != 1 {
			t.Errorf("%d builds", s.Builds)
		}
	})
	if starts := countCalls(r, "start"); starts != 1 {
		t.Errorf("the container was started %d times", starts)
	}
}

func countCalls(r *rig, verb string) (n int) {
	for _, argv := range fakedocker.Log(r.eng) {
		if argv[0] == verb {
			n++
		}
	}
	return n
}

func TestAbortLeavesNothing(t *testing.T) {
	for _, suspended := range []bool{false, true} {
		r := newRig(t, fakedocker.Plan{Runs: time.Hour})
		r.Put("Dockerfile", dockerfile)
		r.start()
		r.eventually("running", func() bool { return r.containerState() == "running" })
		if suspended {
			r.Say("<suspend/>")
			r.eventually("paused", func() bool { return r.containerState() == "paused" })
		}
		r.Say("<abort/>")
		r.expect(r.Wait(12*time.Second), fakeclient.Verdict{})
		r.engine(func(s *fakedocker.State) {
			if len(s.Containers)+len(s.Images) != 0 {
				t.Errorf("left behind: %v %v", s.Containers, s.Images)
			}
		})
	}
}

func TestSignalsAndClientDeathPauseTheContainer(t *testing.T) {
	for name, act := range map[string]func(r *rig){
		"TERM": func(r *rig) { syscall.Kill(r.PID(), syscall.SIGTERM) },
		"HUP":  func(r *rig) { syscall.Kill(r.PID(), syscall.SIGHUP) },
	} {
		r := newRig(t, fakedocker.Plan{Runs: time.Hour})
		r.Put("Dockerfile", dockerfile)
		r.start()
		r.eventually("running", func() bool { return r.containerState() == "running" })
		act(r)
		r.expect(r.Wait(12*time.Second), fakeclient.Verdict{})
		if r.containerState() != "paused" {
			t.Errorf("%s: %s", name, r.containerState())
		}
	}
	r := newRig(t, fakedocker.Plan{Runs: time.Hour})
	r.Put("Dockerfile", dockerfile)
	r.ClientPID = 1<<22 + 4711 // no such process
	r.start()
	r.expect(r.Wait(15*time.Second), fakeclient.Verdict{})
	r.expectStderr("the client is gone")
}

// #6957: a container that ends by itself in whatever way is an end, not something to pause and resume.
func TestVanishedAndKilledContainers(t *testing.T) {
	r := newRig(t, fakedocker.Plan{Runs: time.Hour})
	r.Put("Dockerfile", dockerfile)
	r.start()
	r.eventually("running", func() bool { return r.containerState() == "running" })
	r.engine(func(s *fakedocker.State) { delete(s.Containers, r.name()) })
	r.expect(r.Wait(limit), fakeclient.Verdict{Code: 1, Finished: true})
	r.expectStderr("error: the container boinc__sim.example.org_alpha__wu_1_0 has vanished", "hint: ")

	r = newRig(t, fakedocker.Plan{Runs: time.Hour})
	r.Put("Dockerfile", dockerfile)
	r.start()
	r.eventually("running", func() bool { return r.containerState() == "running" })
	r.Say("<suspend/>")
	r.eventually("paused", func() bool { return r.containerState() == "paused" })
	r.engine(func(s *fakedocker.State) {
		s.Containers[r.name()].State, s.Containers[r.name()].ExitCode = "exited", 137
	})
	r.expect(r.Wait(limit), fakeclient.Verdict{Code: 137, Finished: true})
	r.expectStderr("hint: it was killed by signal 9")
}

func TestEngineGoesAway(t *testing.T) {
	r := newRig(t, fakedocker.Plan{Runs: 2 * time.Second})
	r.Put("Dockerfile", dockerfile)
	r.start()
	r.eventually("running", func() bool { return r.containerState() == "running" })
	down := fakedocker.Failure{Times: -1, Status: 1, Output: "Cannot connect to the Docker daemon at unix:///var/run/docker.sock."}
	r.engine(func(s *fakedocker.State) {
		s.Plan.Fail = map[string]fakedocker.Failure{"wait": down, "container inspect": down, "stats": down, "pause": down, "rm": down}
	})
	v := r.Wait(60 * time.Second)
	r.expect(v, fakeclient.Verdict{Delay: 300})
	if !strings.Contains(v.Reason, "does not answer") {
		t.Errorf("%+v", v)
	}
	// It comes back; the container died with it: its exit code is not the job's.
	r.engine(func(s *fakedocker.State) {
		s.Plan.Fail = nil
		s.Containers[r.name()].State, s.Containers[r.name()].ExitCode = "exited", 137
	})
	r.expect(r.run(), fakeclient.Verdict{Finished: true})
	if countCalls(r, "start") != 2 {
		t.Error("not started again")
	}
}

func TestKilledWrapperIsFollowedByAnAdoption(t *testing.T) {
	r := newRig(t, fakedocker.Plan{Runs: 3 * time.Second})
	r.Put("Dockerfile", dockerfile)
	r.start()
	r.eventually("running", func() bool {
		return r.containerState() == "running" && strings.Contains(r.Read("docker_wrapper_state.json"), `"started": true`)
	})
	r.KillWrapper()
	r.expect(r.run(), fakeclient.Verdict{Finished: true})
	r.expectStderr("still running: going on with it")
	if countCalls(r, "start") != 1 {
		t.Error("started from zero")
	}

	// … and it may have ended in the meantime.
	r = newRig(t, fakedocker.Plan{Runs: 1 * time.Second, ExitCode: 4})
	r.Put("Dockerfile", dockerfile)
	r.start()
	r.eventually("running", func() bool {
		return r.containerState() == "running" && strings.Contains(r.Read("docker_wrapper_state.json"), `"started": true`)
	})
	r.KillWrapper()
	r.eventually("exited", func() bool { return r.containerState() == "exited" })
	r.expect(r.run(), fakeclient.Verdict{Code: 4, Finished: true})
	if countCalls(r, "start") != 1 {
		t.Error("started again")
	}
}

func TestStartStates(t *testing.T) {
	for state, starts := range map[string]int{"created": 1, "exited": 1, "running": 0, "paused": 0, "dead": 1} {
		t.Run(state, func(t *testing.T) {
			r := newRig(t, fakedocker.Plan{Runs: time.Second})
			r.Put("Dockerfile", dockerfile)
			r.engine(func(s *fakedocker.State) {
				s.Images["x:latest"] = fakedocker.Image{ID: "x"}
				s.Containers[r.name()] = &fakedocker.Container{ID: "c1", Image: "x", State: state, Since: time.Now(), Files: map[string][]byte{}}
			})
			r.expect(r.run(), fakeclient.Verdict{Finished: true})
			if n := countCalls(r, "start"); n != starts {
				t.Errorf("%d starts, want %d", n, starts)
			}
		})
	}
	t.Run("other boot", func(t *testing.T) {
		r := newRig(t, fakedocker.Plan{Runs: 100 * time.Millisecond})
		r.Put("Dockerfile", dockerfile)
		r.Put("docker_wrapper_state.json", `{"boot_id":"another","container_id":"c1","started":true}`)
		r.engine(func(s *fakedocker.State) {
			s.Images["x:latest"] = fakedocker.Image{ID: "x"}
			s.Containers[r.name()] = &fakedocker.Container{ID: "c1", Image: "x", State: "exited", ExitCode: 3, Files: map[string][]byte{}}
		})
		r.expect(r.run(), fakeclient.Verdict{Finished: true})
	})
}

func TestMistakesOfTheProjectAreNamed(t *testing.T) {
	for text, want := range map[string]string{
		"workdir = 3":                    "error: job.toml line 1: workdir: must be a string, not a number",
		"x = [":                          "error: job.toml line 1",
		"create_args = ['--privileged']": `error: job.toml: create_args: "--privileged" is not allowed`,
		"mount = ['/:/host']":            `error: job.toml: mount: "/:/host" is not allowed`,
		"copy_to_container = [{src='nix',dst='/x'}]":  "error: copy_to_container: nix:",
		"copy_to_container = [{src='evil',dst='/x'}]": "outside of the job's directories",
		"no_dockerfile = true":                        "error: there is no Dockerfile and no image_name",
	} {
		r := newRig(t, fakedocker.Plan{})
		if !strings.HasPrefix(text, "no_dockerfile") {
			r.Put("Dockerfile", dockerfile)
		}
		r.Put("evil", "<soft_link>/etc/passwd</soft_link>\n")
		r.Put("job.toml", text)
		r.expect(r.run("$(touch x)", `"; touch x`), fakeclient.Verdict{Code: 206, Finished: true})
		r.expectStderr(want, "hint: ")
		if r.Read("x") != "" {
			t.Error("a shell ran")
		}
		r.engine(func(s *fakedocker.State) {
			if len(s.Containers) != 0 {
				t.Errorf("%s: left behind", text)
			}
		})
	}
}

func TestSignedJobTomlMayAskForMore(t *testing.T) {
	text := "mount = ['/:/host:ro']\ncreate_args = '--privileged'\nuse_gpu = true\nproject_dir_mount = '/project'"
	for _, copied := range []bool{false, true} {
		r := newRig(t, fakedocker.Plan{})
		r.Put("Dockerfile", dockerfile)
		r.AppFiles = []string{"job_103.toml"}
		r.Link("job.toml", "job_103.toml", &text)
		if copied {
			r.Put("job.toml", text)
		}
		r.expect(r.run(), fakeclient.Verdict{Finished: true})
		argv := strings.Join(r.call("create"), " ")
		for _, w := range []string{"-v /:/host:ro", "--gpus all", "--privileged", r.Project + ":/project ", "BOINC_PROJECT_MOUNT=/project"} {
			if !strings.Contains(argv, w) {
				t.Errorf("%s: no %q", argv, w)
			}
		}
		if strings.Contains(argv, "no-new-privileges") {
			t.Error("a signed job has its privileges")
		}
	}
}

func TestUnsignedProjectMountIsReadOnlyButForOutputs(t *testing.T) {
	r := newRig(t, fakedocker.Plan{})
	r.Put("Dockerfile", dockerfile)
	r.Put("job.toml", "project_dir_mount = '/project'")
	in := "input"
	r.Link("in", "in_phys", &in)
	r.Link("out", "out_phys", nil)
	r.expect(r.run(), fakeclient.Verdict{Finished: true})
	argv := strings.Join(r.call("create"), " ")
	for _, w := range []string{r.Project + ":/project:ro", r.Project + "/out_phys:/project/out_phys ", "no-new-privileges",
		"boinc_empty:/app/init_data.xml:ro"} {
		if !strings.Contains(argv, w) {
			t.Errorf("%s: no %q", argv, w)
		}
	}
	if strings.Contains(argv, "in_phys:") {
		t.Error("an input is writable")
	}
}

func TestCopyModeWithArchive(t *testing.T) {
	r := newRig(t, fakedocker.Plan{Stdout: "out text\n", Stderr: "err text\n", Files: map[string]string{
		"/root/shared/results/a.txt": "A", "/root/shared/results/stdout.txt": "own", "/data/one": "ONE"}})
	r.Put("Dockerfile", dockerfile)
	in := "INPUT"
	r.Link("in_0", "jf_1", &in)
	r.Link("one", "out_1", nil)
	r.Put("job.toml", `
copy_to_container = [{src="in_0", dst="/root/shared/data.txt"}]
copy_from_container = [{src="/data/one", dst="one"}, {src="/data/missing", dst="missing"}]
command = ["python", "-c", "print('x y')"]
entrypoint = []
[results_archive]
src = "/root/shared/results"
dst = "results.tgz"
`)
	r.start()
	r.eventually("started", func() bool { return r.call("start") != nil })
	v := r.Wait(limit)
	r.expect(v, fakeclient.Verdict{Finished: true})
	got := unpack(t, filepath.Join(r.Slot, "results.tgz"))
	want := map[string]string{"a.txt": "A", "stdout.txt": "own", "stdout.container.txt": "out text\n", "stderr.txt": "err text\n"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("archive %q", got)
	}
	if raw, _ := os.ReadFile(filepath.Join(r.Project, "out_1")); string(raw) != "ONE" {
		t.Errorf("linked output %q", raw)
	}
	if !strings.Contains(r.Read("one"), "soft_link") || r.Read("missing") != "" {
		t.Error("link overwritten or a missing output made")
	}
	argv := strings.Join(r.call("create"), "|")
	if !strings.HasSuffix(argv, "|python|-c|print('x y')") || !strings.Contains(argv, "|--entrypoint||") ||
		strings.Contains(argv, "|-v|") || !strings.Contains(argv, "max-size=64m") {
		t.Errorf("create %q", argv)
	}
}

func TestOnlyWantedResultsComeBack(t *testing.T) {
	r := newRig(t, fakedocker.Plan{Stdout: "out\n", Files: map[string]string{
		"/out/a.csv": "A", "/out/b.tmp": "B", "/out/sub/c.csv": "C"}})
	r.Put("Dockerfile", dockerfile)
	r.Put("job.toml", "[results_archive]\nsrc='/out'\ndst='results.tgz'\ninclude=['*.csv']")
	r.start()
	v := r.Wait(limit)
	r.expect(v, fakeclient.Verdict{Finished: true})
	got := unpack(t, filepath.Join(r.Slot, "results.tgz"))
	want := map[string]string{"a.csv": "A", "sub/c.csv": "C", "stdout.txt": "out\n", "stderr.txt": ""}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("archive %q", got)
	}
}

func TestInputsArriveBeforeTheStart(t *testing.T) {
	r := newRig(t, fakedocker.Plan{Runs: time.Second})
	r.Put("Dockerfile", dockerfile)
	in := "INPUT"
	r.Link("in_0", "jf_1", &in)
	r.Put("job.toml", "copy_to_container = [{src='in_0', dst='/root/shared/data.txt'}]\n[results_archive]\nsrc='/root/shared/results'\ndst='r.tgz'")
	r.start()
	r.eventually("running", func() bool { return r.containerState() == "running" })
	r.engine(func(s *fakedocker.State) {
		files := s.Containers[r.name()].Files
		if string(files["/root/shared/data.txt"]) != "INPUT" || files["/root/shared/results/"] == nil {
			t.Errorf("%v", files)
		}
	})
	r.expect(r.Wait(limit), fakeclient.Verdict{Finished: true})
	if got := unpack(t, filepath.Join(r.Slot, "r.tgz")); !reflect.DeepEqual(got, map[string]string{"stdout.txt": "", "stderr.txt": ""}) {
		t.Errorf("%q", got)
	}
}

func TestBuildContextHoldsWhatTheDockerfileNames(t *testing.T) {
	r := newRig(t, fakedocker.Plan{})
	script := "echo hi"
	r.Link("worker.sh", "worker_103.sh", &script)
	r.Put("big_input", "x")
	r.Put("Dockerfile", "FROM debian\nCOPY worker.sh /app/\n")
	r.Put("job.toml", "keep_image = true")
	r.expect(r.run(), fakeclient.Verdict{Finished: true})
	r.engine(func(s *fakedocker.State) {
		for ref, img := range s.Images {
			if img.Labels["test.files"] != "boinc_Dockerfile worker.sh" {
				t.Errorf("%s: %q", ref, img.Labels["test.files"])
			}
		}
	})
}

func TestConcurrentJobsBuildOnce(t *testing.T) {
	dir := t.TempDir()
	plan := fakedocker.Plan{Runs: 3 * time.Second, Build: time.Second}
	var rigs []*rig
	for i := 0; i < 5; i++ {
		r := (&rig{t: t}).setup(dir, fmt.Sprintf("job_%d_0", i), plan)
		r.Put("Dockerfile", dockerfile)
		if i == 4 {
			r.Put("Dockerfile", dockerfile+"# other content\n")
		}
		rigs = append(rigs, r)
	}
	for _, r := range rigs {
		r.start()
	}
	for _, r := range rigs {
		r.expect(r.Wait(limit), fakeclient.Verdict{Finished: true})
	}
	rigs[0].engine(func(s *fakedocker.State) {
		if s.Builds != 2 || len(s.Images) != 0 || len(s.Containers) != 0 {
			t.Errorf("%d builds, left: %v %v", s.Builds, s.Images, s.Containers)
		}
	})
}

func TestSinglePurposeImageIsKeptAndOldVersionsGo(t *testing.T) {
	r := newRig(t, fakedocker.Plan{})
	r.Put("Dockerfile", dockerfile)
	r.Put("job.toml", "model = 'single-purpose'")
	r.expect(r.run(), fakeclient.Verdict{Finished: true})
	names := func(r *rig) (out []string) {
		r.engine(func(s *fakedocker.State) {
			for ref := range s.Images {
				out = append(out, ref)
			}
		})
		return out
	}
	if got := names(r); len(got) != 2 || !strings.Contains(strings.Join(got, " "), "boinc_sim.example.org_alpha_worker_cpu_103:latest") {
		t.Errorf("images %v", got)
	}
	r2 := (&rig{t: t}).setup(filepath.Dir(r.Data), "wu_2_0", fakedocker.Plan{})
	r2.Version = 104
	r2.Put("Dockerfile", dockerfile+"# new\n")
	r2.Put("job.toml", "model = 'single-purpose'")
	r2.expect(r2.run(), fakeclient.Verdict{Finished: true})
	if got := strings.Join(names(r2), " "); strings.Contains(got, "_103:") || !strings.Contains(got, "_104:") {
		t.Errorf("images %v", got)
	}
}

// One workunit's Dockerfile in use by another one of the client's list: the image stays for it.
func TestImageStaysForQueuedJobs(t *testing.T) {
	dir := t.TempDir()
	workunit := func(name string) string {
		return "<workunit>\n<name>" + name + "</name>\n<file_ref>\n<file_name>jf_x</file_name>\n<open_name>in</open_name>\n</file_ref>\n" +
			"<file_ref>\n<file_name>jf_abc</file_name>\n<open_name>Dockerfile</open_name>\n<copy_file/>\n</file_ref>\n</workunit>\n"
	}
	run := func(wu string, queued ...string) (images, builds int) {
		r := (&rig{t: t}).setup(dir, wu+"_0", fakedocker.Plan{})
		r.Put("Dockerfile", dockerfile)
		text := "<client_state>\n"
		for _, q := range queued {
			text += workunit(q)
		}
		os.WriteFile(filepath.Join(r.Data, "client_state.xml"), []byte(text+"</client_state>\n"), 0o644)
		r.expect(r.run(), fakeclient.Verdict{Finished: true})
		r.engine(func(s *fakedocker.State) { images, builds = len(s.Images), s.Builds })
		return images, builds
	}
	if images, builds := run("wu_1", "wu_1", "wu_2"); images != 1 || builds != 1 {
		t.Errorf("%d images, %d builds", images, builds)
	}
	if images, builds := run("wu_2", "wu_2"); images != 0 || builds != 1 {
		t.Errorf("%d images, %d builds", images, builds)
	}
}

func TestPrebuiltImage(t *testing.T) {
	r := newRig(t, fakedocker.Plan{})
	r.Put("job.toml", "image_name = 'debian:trixie-slim'")
	r.expect(r.run(), fakeclient.Verdict{Finished: true})
	if r.call("pull") == nil || r.call("build") != nil || r.call("image", "rm") != nil {
		t.Error("pull once, never build or remove")
	}
	argv := r.call("create")
	if argv[len(argv)-1] != "debian:trixie-slim" {
		t.Error(argv)
	}
}

func TestMessagesAreServedDuringABuild(t *testing.T) {
	for msg, leaves := range map[string]bool{"<quit/>": true, "<abort/>": true} {
		r := newRig(t, fakedocker.Plan{Build: time.Hour})
		r.Put("Dockerfile", dockerfile)
		r.start()
		r.eventually("build", func() bool { return r.call("build") != nil })
		r.Say("<suspend/>")
		r.Say("<resume/>")
		r.Say(msg)
		if start := time.Now(); leaves {
			r.expect(r.Wait(limit), fakeclient.Verdict{})
			if time.Since(start) > 5*time.Second {
				t.Errorf("%s took %v", msg, time.Since(start))
			}
		}
		if _, err := os.Stat(filepath.Join(r.Slot, "boinc_build_context")); err == nil {
			t.Error("the build context was left")
		}
	}
}

func TestSuspendedJobDoesNotStartItsContainer(t *testing.T) {
	r := newRig(t, fakedocker.Plan{Build: 1 * time.Second})
	r.Put("Dockerfile", dockerfile)
	r.start()
	r.Say("<suspend/>")
	r.eventually("created", func() bool { return r.containerState() == "created" })
	time.Sleep(1500 * time.Millisecond)
	if s := r.containerState(); s != "created" {
		t.Fatal(s)
	}
	r.Say("<resume/>")
	r.expect(r.Wait(limit), fakeclient.Verdict{Finished: true})
}

func TestNetworkSuspended(t *testing.T) {
	r := newRig(t, fakedocker.Plan{})
	r.Put("Dockerfile", dockerfile)
	r.SetBeat("<network_suspended/>")
	r.start()
	r.eventually("want_network", func() bool { return strings.Contains(r.Last().Text, "<want_network>1<") })
	if r.call("build") != nil {
		t.Error("built without the network")
	}
	r.SetBeat("")
	r.expect(r.Wait(limit), fakeclient.Verdict{Finished: true})
	if strings.Contains(r.Last().Text, "want_network") {
		t.Error("still wants the network")
	}
}

func TestEngineFailures(t *testing.T) {
	nospace := fakedocker.Failure{Times: -1, Status: 1, Output: "write /x: no space left on device"}
	down := fakedocker.Failure{Times: -1, Status: 1, Output: "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?"}
	other := fakedocker.Failure{Times: -1, Status: 125, Output: "Error: something odd"}
	once := fakedocker.Failure{Times: 1, Status: 125, Output: "Error: something odd"}
	for name, c := range map[string]struct {
		verb string
		fail fakedocker.Failure
		want fakeclient.Verdict
		text string
	}{
		"no space":     {"build", nospace, fakeclient.Verdict{Delay: 3600, Notice: true}, "make room on the disk"},
		"engine down":  {"container inspect", down, fakeclient.Verdict{Delay: 300}, "hint: is the container engine running"},
		"build fails":  {"build", other, fakeclient.Verdict{Code: 1, Finished: true}, "hint: the output above says which step failed; the base image debian"},
		"create fails": {"create", other, fakeclient.Verdict{Code: 1, Finished: true}, "error: starting the container: Error: something odd"},
		"start once":   {"start", once, fakeclient.Verdict{Finished: true}, "trying once more from the image"},
		"create once":  {"create", once, fakeclient.Verdict{Finished: true}, "trying once more from the image"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, fakedocker.Plan{Fail: map[string]fakedocker.Failure{c.verb: c.fail}})
			r.Put("Dockerfile", dockerfile)
			r.expect(r.run(), c.want)
			r.expectStderr(c.text)
			r.engine(func(s *fakedocker.State) {
				if len(s.Containers) != 0 {
					t.Errorf("left behind: %v", s.Containers)
				}
			})
		})
	}
}

func TestNoEngine(t *testing.T) {
	r := newRig(t, fakedocker.Plan{})
	r.Put("Dockerfile", dockerfile)
	r.DockerType = 0
	r.env = append(r.env, "PATH=/nonexistent")
	if _, err := os.Stat("/usr/bin/docker"); err == nil {
		t.Skip("this machine has an engine in a fixed place")
	}
	v := r.run()
	r.expect(v, fakeclient.Verdict{Delay: 3600})
	r.expectStderr("hint: install Docker or Podman")
}

func TestOldClientsNameNoEngine(t *testing.T) {
	r := newRig(t, fakedocker.Plan{})
	r.Put("Dockerfile", dockerfile)
	r.DockerType = 0
	r.expect(r.run(), fakeclient.Verdict{Finished: true})
	if r.call("info") == nil {
		t.Error("the engine was not asked")
	}
}

func TestPauseThatFailsAtQuitStopsTheContainer(t *testing.T) {
	r := newRig(t, fakedocker.Plan{Runs: 3 * time.Second,
		Fail: map[string]fakedocker.Failure{"pause": {Times: -1, Status: 1, Output: "Error: cgroup freezer not available"}}})
	r.Put("Dockerfile", dockerfile)
	r.start()
	r.eventually("running", func() bool { return r.containerState() == "running" })
	r.Say("<quit/>")
	r.expect(r.Wait(limit), fakeclient.Verdict{})
	if s := r.containerState(); s != "exited" {
		t.Fatalf("left %s", s)
	}
	r.expect(r.run(), fakeclient.Verdict{Finished: true})
	if countCalls(r, "start") != 2 {
		t.Error("our own stop was taken for the payload's end")
	}
}

func TestProgressFileInTheSlot(t *testing.T) {
	r := newRig(t, fakedocker.Plan{Runs: 4 * time.Second})
	r.Put("Dockerfile", dockerfile)
	r.Put("fraction_done", "0.25\n0.5\nrubbish\n")
	r.start()
	r.eventually("progress", func() bool { return r.Last().Number("fraction_done") == 0.5 })
	r.Put("fraction_done", "0.1\n")
	r.expect(r.Wait(limit), fakeclient.Verdict{Finished: true})
	before := 0.0
	for _, rep := range r.Reports() {
		if f := rep.Number("fraction_done"); f < before {
			t.Errorf("fell to %v", f)
		} else {
			before = f
		}
	}
}

func TestCPUTimeIsSaneWhateverStatsSays(t *testing.T) {
	r := newRig(t, fakedocker.Plan{Runs: 3 * time.Second, Stats: "WARNING: x\n150.25% 1.5GiB / 8GiB"})
	r.Put("Dockerfile", dockerfile)
	start := time.Now()
	r.expect(r.run(), fakeclient.Verdict{Finished: true})
	took := time.Since(start).Seconds()
	last := r.Last()
	if cpu := last.Number("current_cpu_time"); cpu <= 0.5 || cpu > took*1.1 {
		t.Errorf("CPU %v in %v s", cpu, took)
	}
	if last.Number("wss") != 1610612736 {
		t.Errorf("wss %v", last.Number("wss"))
	}
}

func TestStatusUnreadIsNeverOverwritten(t *testing.T) {
	r := newRig(t, fakedocker.Plan{Runs: 4 * time.Second})
	r.Put("Dockerfile", dockerfile)
	r.start()
	r.eventually("a report", func() bool { return len(r.Reports()) > 0 })
	r.Mute(true)
	r.eventually("the end", func() bool { return r.containerState() == "" })
	r.expect(r.Wait(limit), fakeclient.Verdict{Finished: true})
}

func TestLeftoverFinishFileEndsAtOnce(t *testing.T) {
	for text, code := range map[string]int{"0\n": 0, "195\n": 195} {
		r := newRig(t, fakedocker.Plan{})
		r.Put("boinc_finish_called", text)
		v := r.run()
		if v.Code != code || r.call("create") != nil {
			t.Errorf("%q: %+v", text, v)
		}
	}
}

func TestUnusableSlotsArePostponed(t *testing.T) {
	r := newRig(t, fakedocker.Plan{})
	r.Put("Dockerfile", dockerfile)
	r.ExtraInit = "<shm_key>4711</shm_key>\n"
	r.expect(r.run(), fakeclient.Verdict{Delay: 3600})
	r.expectStderr("api_version")
}

func TestNamesThatAreAPrefixOfAnother(t *testing.T) {
	dir := t.TempDir()
	a := (&rig{t: t}).setup(dir, "a_1", fakedocker.Plan{Runs: 6 * time.Second})
	b := (&rig{t: t}).setup(dir, "a_10", fakedocker.Plan{Runs: 6 * time.Second})
	for _, r := range []*rig{a, b} {
		r.Put("Dockerfile", dockerfile)
		r.start()
	}
	a.eventually("both run", func() bool { return a.containerState() == "running" && b.containerState() == "running" })
	a.Say("<abort/>")
	a.expect(a.Wait(limit), fakeclient.Verdict{})
	if b.containerState() == "" {
		t.Error("the other job's container is gone")
	}
	b.expect(b.Wait(limit), fakeclient.Verdict{Finished: true})
}

// imageArchive is what `docker save` makes, with a foreign name in it.
func imageArchive(t *testing.T, layer string) string {
	t.Helper()
	config := `{"rootfs":{"diff_ids":["sha256:` + layer + `"]}}`
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, text := range map[string]string{"config": config, "manifest.json": `[{"Config":"config","RepoTags":["debian:latest"]}]`} {
		w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(text))})
		w.Write([]byte(text))
	}
	w.Close()
	return b.String()
}

func TestImageAsInputFile(t *testing.T) {
	r := newRig(t, fakedocker.Plan{Runs: 500 * time.Millisecond})
	archive := imageArchive(t, "a1")
	r.Link("image", "image_1.tar", &archive)
	r.Put("job.toml", "image_file = 'image'")
	r.start()
	r.eventually("running", func() bool { return r.containerState() == "running" })
	r.engine(func(s *fakedocker.State) {
		for ref := range s.Images {
			if !strings.HasPrefix(ref, "boinc_") {
				t.Errorf("the archive's own name was taken over: %s", ref)
			}
		}
	})
	r.expect(r.Wait(limit), fakeclient.Verdict{Finished: true})
	r.engine(func(s *fakedocker.State) {
		if len(s.Images) != 0 || len(s.Containers) != 0 {
			t.Errorf("left behind: %v %v", s.Images, s.Containers)
		}
	})
	if notes, _ := filepath.Glob(filepath.Join(r.Project, "boinc_hash_*")); len(notes) != 1 {
		t.Errorf("%v", notes)
	}
}

func TestImageFileOfTheAppVersionIsLoadedOnce(t *testing.T) {
	r := newRig(t, fakedocker.Plan{})
	archive := imageArchive(t, "a1")
	for i := 0; i < 2; i++ {
		if i == 1 {
			dir := filepath.Dir(r.eng)
			r = (&rig{t: t}).setup(dir, "wu_2_0", fakedocker.Plan{})
		}
		r.AppFiles = []string{"image_1.tar"}
		r.Link("image", "image_1.tar", &archive)
		r.Put("job.toml", "image_file = 'image'")
		r.expect(r.run(), fakeclient.Verdict{Finished: true})
	}
	loads := 0
	for _, argv := range fakedocker.Log(r.eng) {
		if argv[0] == "load" {
			loads++
		}
	}
	if loads != 1 {
		t.Errorf("%d loads", loads)
	}
}

func TestImageFileThatIsNone(t *testing.T) {
	r := newRig(t, fakedocker.Plan{})
	text := "this is not an image"
	r.Link("image", "image_1.tar", &text)
	r.Put("job.toml", "image_file = 'image'")
	r.expect(r.run(), fakeclient.Verdict{Code: 206, Finished: true})
	r.expectStderr("error: image_file image: not a readable tar file", "hint: ")

	r = newRig(t, fakedocker.Plan{})
	r.Put("job.toml", "image_file = 'image'")
	r.expect(r.run(), fakeclient.Verdict{Code: 206, Finished: true})
	r.expectStderr("there is no file image")
}

// clientLabel is how the wrapper marks what it makes.
func clientLabel(r *rig) string {
	for i, a := range r.call("create") {
		if l, ok := strings.CutPrefix(a, "boinc.client="); ok && r.call("create")[i-1] == "--label" {
			return l
		}
	}
	return "none"
}

// What other jobs of this client left goes; what they use, what other clients and other programs have stays.
func TestLeftoversOfOtherJobsAreRemoved(t *testing.T) {
	r := newRig(t, fakedocker.Plan{Runs: time.Hour})
	r.Put("Dockerfile", dockerfile)
	r.start()
	r.eventually("running", func() bool { return r.containerState() == "running" })
	mine := clientLabel(r)
	r.Say("<quit/>")
	r.Wait(limit)
	os.Remove(filepath.Join(r.Project, "boinc_pruned"))

	slots := filepath.Dir(r.Slot)
	os.MkdirAll(filepath.Join(slots, "7"), 0o755)
	os.WriteFile(filepath.Join(slots, "7", "init_data.xml"), []byte("<app_init_data><result_name>alive_0</result_name></app_init_data>"), 0o644)
	os.MkdirAll(filepath.Join(slots, "8"), 0o755)
	box := func(client, slot, result string) *fakedocker.Container {
		return &fakedocker.Container{State: "paused", Labels: map[string]string{"boinc.client": client, "boinc.slot": filepath.Join(slots, slot), "boinc.result": result}}
	}
	week := time.Now().Add(-8 * 24 * time.Hour)
	img := func(id, folder, client, keep string, created time.Time) fakedocker.Image {
		return fakedocker.Image{ID: id, Created: created, Labels: map[string]string{"boinc.client": client, "boinc.project": folder, "boinc.keep": keep, "boinc.content": id}}
	}
	r.engine(func(s *fakedocker.State) {
		s.Containers["aborted"] = box(mine, "8", "aborted_0")
		s.Containers["other_job_in_slot"] = box(mine, "7", "before_0")
		s.Containers["alive"] = box(mine, "7", "alive_0")
		s.Containers["other_client"] = box("ffffffff", "8", "x_0")
		s.Containers["someones"] = &fakedocker.Container{State: "running", Labels: map[string]string{}}
		s.Images["detached:1"] = img("i1", "gone.example.org", mine, "true", time.Now())
		s.Images["detached_other_client:1"] = img("i2", "gone.example.org", "ffffffff", "true", time.Now())
		s.Images["kept:1"] = img("i3", fakeclient.Folder, mine, "true", week)
		s.Images["lost:1"] = img("i4", fakeclient.Folder, mine, "false", week)
		s.Images["fresh:1"] = img("i5", fakeclient.Folder, mine, "false", time.Now())
		s.Images["detached_in_use:1"] = img("i6", "gone.example.org", mine, "false", week)
		s.Containers["user"] = &fakedocker.Container{State: "created", Image: "detached_in_use:1", Labels: map[string]string{}}
	})
	r.start()
	r.eventually("both images gone", func() bool {
		return strings.Contains(r.stderr(), "removed the image detached:1, whose project was detached") &&
			strings.Contains(r.stderr(), "removed the image lost:1, which no job has used for a week")
	})
	r.Say("<abort/>")
	r.expect(r.Wait(limit), fakeclient.Verdict{})
	r.engine(func(s *fakedocker.State) {
		for _, name := range []string{"alive", "other_client", "someones", "user"} {
			if s.Containers[name] == nil {
				t.Errorf("%s was removed", name)
			}
		}
		for _, name := range []string{"detached_other_client:1", "kept:1", "fresh:1", "detached_in_use:1"} {
			if _, ok := s.Images[name]; !ok {
				t.Errorf("%s was removed", name)
			}
		}
		for _, name := range []string{"aborted", "other_job_in_slot"} {
			if s.Containers[name] != nil {
				t.Errorf("%s is left", name)
			}
		}
		for _, name := range []string{"detached:1", "lost:1"} {
			if _, ok := s.Images[name]; ok {
				t.Errorf("%s is left", name)
			}
		}
	})
}

func TestAbortRemovesAlsoAKeptImage(t *testing.T) {
	r := newRig(t, fakedocker.Plan{Runs: time.Hour})
	r.Put("Dockerfile", dockerfile)
	r.Put("job.toml", "model = 'single-purpose'")
	r.start()
	r.eventually("running", func() bool { return r.containerState() == "running" })
	r.Say("<abort/>")
	r.expect(r.Wait(limit), fakeclient.Verdict{})
	r.engine(func(s *fakedocker.State) {
		if len(s.Images) != 0 || len(s.Containers) != 0 {
			t.Errorf("left after a detach: %v %v", s.Images, s.Containers)
		}
	})
}

func TestSporadicJob(t *testing.T) {
	r := newRig(t, fakedocker.Plan{Runs: time.Hour})
	r.Put("Dockerfile", dockerfile)
	r.SetBeat("<sporadic_ca>2</sporadic_ca>")
	r.start("--sporadic")
	r.eventually("the client's state", func() bool { return r.Read("ca") == "2\n" })
	r.Put("ac", "2\n")
	r.eventually("the job's state", func() bool { return r.Last().Number("sporadic_ac") == 2 })
	r.Say("<abort/>")
	r.expect(r.Wait(limit), fakeclient.Verdict{})
}
