//go:build unix

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"boincdock.org/wrapper/internal/fakeclient"
	"boincdock.org/wrapper/internal/fakedocker"
)

// Problems that users of the predecessor reported (spec 07 §11, anchors 6.2), by the number of the report.

// job is a rig with the usual Dockerfile.
func job(t *testing.T, plan fakedocker.Plan) *rig {
	r := newRig(t, plan)
	r.Put("Dockerfile", dockerfile)
	return r
}

func has(argv []string, words ...string) bool {
	return strings.Contains("\x00"+strings.Join(argv, "\x00")+"\x00", "\x00"+strings.Join(words, "\x00")+"\x00")
}

func TestReported7100MemoryIsMeasuredAndOddCPUDoesNotHideIt(t *testing.T) {
	r := job(t, fakedocker.Plan{Runs: 3 * time.Second, Stats: "WARNING: odd\n150.25% 1.5GiB / 8GiB"})
	r.start()
	r.eventually("memory", func() bool { return r.Last().Number("wss") == 1610612736 })
	r.expect(r.Wait(limit), fakeclient.Verdict{Finished: true})
}

func TestReported7117OneCPUIsALimitToo(t *testing.T) {
	r := job(t, fakedocker.Plan{})
	r.expect(r.run(), fakeclient.Verdict{Finished: true})
	if !has(r.call("create"), "--cpus", "1.00") {
		t.Errorf("%q", r.call("create"))
	}
}

func TestReported6158CPUTimeIsNotManyTimesTooHigh(t *testing.T) {
	r := job(t, fakedocker.Plan{Runs: 3 * time.Second, Stats: "1600.00% 10MiB / 1GiB"})
	start := time.Now()
	r.expect(r.run(), fakeclient.Verdict{Finished: true})
	if cpu := r.Last().Number("current_cpu_time"); cpu <= 0 || cpu > 1.1*time.Since(start).Seconds() {
		t.Errorf("%v s of CPU in %v", cpu, time.Since(start))
	}
}

func TestReported6141EngineIsFoundWhenTheClientNamesNone(t *testing.T) {
	r := job(t, fakedocker.Plan{})
	r.DockerType = 0
	r.expect(r.run(), fakeclient.Verdict{Finished: true})
}

func TestReported6028NamesWithCapitalsGiveLegalImages(t *testing.T) {
	r := (&rig{t: t}).setup(folder(t), "Big_WU.Name_0", fakedocker.Plan{})
	r.Put("Dockerfile", dockerfile)
	r.expect(r.run(), fakeclient.Verdict{Finished: true})
	if !has(r.call("create"), "--name", "boinc__"+fakeclient.Folder+"__big_wu.name_0") {
		t.Errorf("%q", r.call("create"))
	}
	if tag := r.call("image", "tag"); tag[len(tag)-1] != "boinc__"+fakeclient.Folder+"__big_wu.name" {
		t.Errorf("%q", tag)
	}
}

func TestReported6196ImageIsRemovedAfterTheJob(t *testing.T) {
	for _, code := range []int{0, 1} {
		r := job(t, fakedocker.Plan{ExitCode: code})
		r.expect(r.run(), fakeclient.Verdict{Code: code, Finished: true})
		r.engine(func(s *fakedocker.State) {
			if len(s.Images) != 0 {
				t.Errorf("left after exit code %d: %v", code, s.Images)
			}
		})
	}
}

func TestReported6312RebootStartsTheContainerAgainInsteadOfFailing(t *testing.T) {
	r := job(t, fakedocker.Plan{Runs: time.Hour})
	r.start()
	r.eventually("running", func() bool { return r.containerState() == "running" })
	r.KillWrapper()
	state := r.Read("docker_wrapper_state.json")
	_, rest, _ := strings.Cut(state, `"boot_id": "`)
	boot, _, _ := strings.Cut(rest, `"`)
	r.Put("docker_wrapper_state.json", strings.ReplaceAll(state, boot, "another boot"))
	r.engine(func(s *fakedocker.State) {
		s.Containers[r.name()].State, s.Containers[r.name()].ExitCode = "exited", 137
		s.Plan.Runs = time.Second
	})
	r.expect(r.run(), fakeclient.Verdict{Finished: true})
	r.expectStderr("starting the container again")
}

func TestReported6492NothingPilesUp(t *testing.T) {
	r := job(t, fakedocker.Plan{})
	r.expect(r.run(), fakeclient.Verdict{Finished: true})
	for _, argv := range fakedocker.Log(r.eng) {
		if argv[0] == "run" && !has(argv, "--rm") || strings.Contains(strings.Join(argv, " "), "hello-world") {
			t.Errorf("%q", argv)
		}
	}
}

func TestReported6501BlanksInPaths(t *testing.T) {
	r := (&rig{t: t}).setup(filepath.Join(t.TempDir(), "Application Support", "it's $HOME"), "wu_1_0", fakedocker.Plan{})
	r.Put("Dockerfile", dockerfile)
	r.expect(r.run(), fakeclient.Verdict{Finished: true})
	if !has(r.call("create"), "-v", r.Slot+":/app") {
		t.Errorf("%q", r.call("create"))
	}
}

func TestReported6914MoreCreateOptionsOnlyFromTheProject(t *testing.T) {
	text := "create_args = ['--cap-add', 'SYS_ADMIN']"
	r := job(t, fakedocker.Plan{})
	r.AppFiles = []string{"job_1.toml"}
	r.Link("job.toml", "job_1.toml", &text)
	r.expect(r.run(), fakeclient.Verdict{Finished: true})
	if !has(r.call("create"), "--cap-add", "SYS_ADMIN") {
		t.Errorf("%q", r.call("create"))
	}
	r = job(t, fakedocker.Plan{})
	r.Put("job.toml", text)
	r.expect(r.run(), fakeclient.Verdict{Code: 206, Finished: true})
	r.expectStderr("--cap-add", "hint: ")
}

func TestReported6957ContainerThatEndsUnseenEndsTheJob(t *testing.T) {
	for _, paused := range []bool{false, true} {
		r := job(t, fakedocker.Plan{Runs: time.Hour})
		r.start()
		r.eventually("running", func() bool { return r.containerState() == "running" })
		if paused {
			r.Say("<suspend/>")
			r.eventually("paused", func() bool { return r.containerState() == "paused" })
		}
		r.engine(func(s *fakedocker.State) {
			s.Containers[r.name()].State, s.Containers[r.name()].ExitCode = "exited", 9
		})
		r.Say("<resume/>")
		r.expect(r.Wait(limit), fakeclient.Verdict{Code: 9, Finished: true})
		n := 0
		for _, argv := range fakedocker.Log(r.eng) {
			if argv[0] == "pause" || argv[0] == "unpause" {
				n++
			}
		}
		if n > 2 {
			t.Errorf("%d times pause and unpause", n)
		}
	}
}

func TestReported6968WhatTheEngineSaysReachesTheProject(t *testing.T) {
	r := job(t, fakedocker.Plan{Fail: map[string]fakedocker.Failure{
		"start": {Times: -1, Status: 125, Output: "OCI runtime create failed: the real reason"}}})
	r.expect(r.run(), fakeclient.Verdict{Code: 1, Finished: true})
	r.expectStderr("error: ", "the real reason")
}

func TestReported6834GarbageOfStatsIsNoCPUTime(t *testing.T) {
	r := job(t, fakedocker.Plan{Runs: 3 * time.Second, Stats: "-- / --\nnan% infB\n\x1b[2J0.00% 0B / 0B"})
	r.WUCPU = 50
	r.expect(r.run(), fakeclient.Verdict{Finished: true})
	for _, rep := range r.Reports() {
		if rep.Number("current_cpu_time") != 50 {
			t.Errorf("%q", rep.Text)
		}
	}
}

func TestReported7084NobodyElseIsAskedWhetherTheNetworkWorks(t *testing.T) {
	r := job(t, fakedocker.Plan{Fail: map[string]fakedocker.Failure{"build": {Times: 2, Status: 1,
		Output: "initializing source docker://debian: pinging container registry registry-1.docker.io: dial tcp: network is unreachable"}}})
	r.Put("Dockerfile", "FROM localhost/x\n")
	r.expect(r.run(), fakeclient.Verdict{Finished: true})
	r.expectStderr("the network does not work, again in")
	if r.call("ping") != nil {
		t.Error("ping")
	}
	r = job(t, fakedocker.Plan{Fail: map[string]fakedocker.Failure{"build": {Times: -1, Status: 1, Output: "network is unreachable"}}})
	r.Put("Dockerfile", "FROM localhost/x\n")
	r.expect(r.run(), fakeclient.Verdict{Delay: 3600})
}

func TestReported7148LongOutputWithoutLineEndsIsNoProblem(t *testing.T) {
	r := job(t, fakedocker.Plan{ExitCode: 2, Stdout: strings.Repeat("x", 64<<10) + "THE END", Repeat: 40})
	r.expect(r.run(), fakeclient.Verdict{Code: 2, Finished: true})
	r.expectStderr("THE END")
	if n := len(r.stderr()); n > 63<<10 {
		t.Errorf("%d bytes", n)
	}
	r = job(t, fakedocker.Plan{Fail: map[string]fakedocker.Failure{"build": {Times: -1, Status: 1, Output: strings.Repeat("y", 128<<10) + "LAST WORDS"}}})
	r.expect(r.run(), fakeclient.Verdict{Code: 1, Finished: true})
	r.expectStderr("LAST WORDS")
}

func TestReported7125ProxyNamesAreDataNotCommands(t *testing.T) {
	r := job(t, fakedocker.Plan{})
	evil := "p'; touch x; $(touch x)`touch x`"
	r.ExtraInit = fmt.Sprintf("<proxy_info><use_http_proxy/><http_server_name>%s</http_server_name><http_server_port>3128</http_server_port>"+
		"<http_user_name>user</http_user_name><http_user_passwd>topsecret</http_user_passwd></proxy_info>\n", evil)
	r.expect(r.run(), fakeclient.Verdict{Finished: true})
	if _, err := os.Stat(filepath.Join(r.Slot, "x")); err == nil {
		t.Error("a shell ran the proxy's name")
	}
	if !has(r.call("create"), "-e", "http_proxy") {
		t.Errorf("%q", r.call("create"))
	}
	for _, argv := range fakedocker.Log(r.eng) {
		if strings.Contains(strings.Join(argv, " "), "topsecret") {
			t.Errorf("the password is in an argument list: %q", argv)
		}
	}
	if strings.Contains(r.stderr(), "topsecret") {
		t.Error("the password is in the log")
	}
}

func TestReported7169NoNoticeAsksToInstallDocker(t *testing.T) {
	r := job(t, fakedocker.Plan{Fail: map[string]fakedocker.Failure{"info": {Times: -1, Status: 1, Output: "Cannot connect to the Docker daemon"}}})
	r.DockerType = 0
	r.expect(r.run(), fakeclient.Verdict{Delay: 3600, Notice: false})
	r.expectStderr("no container engine", "hint: ")
}

func TestReportedImagesNeedNoPs(t *testing.T) {
	r := job(t, fakedocker.Plan{Runs: 2 * time.Second})
	r.expect(r.run(), fakeclient.Verdict{Finished: true})
	for _, verb := range []string{"exec", "top"} {
		if r.call(verb) != nil {
			t.Errorf("%s needs a program in the image", verb)
		}
	}
}
