package main

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"boincdock.org/wrapper/internal/tasks"
)

func TestOneTask(t *testing.T) {
	r := newRig(t, task(line("complain hello spin 0.3")))
	v := r.run()
	r.expect(v, 0, true)
	if r.Read("boinc_finish_called") != "0\n" {
		t.Errorf("finish file %q", r.Read("boinc_finish_called"))
	}
	last := r.Last()
	if last.Number("fraction_done") != 1 || last.Number("current_cpu_time") < 0.1 ||
		last.Number("checkpoint_cpu_time") != last.Number("current_cpu_time") {
		t.Errorf("last report %q", last.Text)
	}
	r.expectStderr("version dev", "starting task 1 of 1 (worker): "+physical("worker")+" complain hello", "hello", "all tasks are done")
}

// Spec 07 §12 row 15.
func TestWeightsFractionFileAndRestart(t *testing.T) {
	r := newRig(t, task("<weight>1</weight>"+line("exit 0"))+
		task("<weight>8</weight><fraction_done_filename>frac</fraction_done_filename>"+line("await go sleep 0.2"))+
		task("<weight>1</weight>"+line("exit 0")))
	r.start()
	near := func(want float64) func() bool {
		return func() bool { return math.Abs(r.Last().Number("fraction_done")-want) < 1e-6 }
	}
	r.eventually("second task", func() bool { return strings.Contains(r.stderr(), "starting task 2 of 3") })
	r.eventually("0.1", near(0.1))
	r.Put("frac", "0.25\n0.5\n")
	r.eventually("0.5", near(0.5))
	r.Put("frac", "0.5\n0.2\n") // never down
	r.Put("frac", "abc\n")
	r.Say("<quit/>")
	r.expect(r.Wait(limit), 0, false)
	r.start()
	r.eventually("second start", func() bool { return strings.Count(r.stderr(), "starting task 2 of 3") == 2 })
	r.eventually("0.1 again", near(0.1))
	if r.exists("frac") {
		t.Error("the old progress file was not deleted")
	}
	r.Put("frac", "1.7\n")
	r.eventually("0.9", near(0.9))
	r.Put("go", "")
	r.expect(r.Wait(limit), 0, true)
	if r.Last().Number("fraction_done") != 1 {
		t.Error(r.fractions())
	}
}

// Row 16.
func TestFailingTask(t *testing.T) {
	for name, c := range map[string]struct{ command, stderr string }{
		"exit":  {"exit 3", "task 1 of 2 (worker) ended with exit status 3"},
		"crash": {"crash", map[bool]string{false: "signal: segmentation fault", true: "0xc0000005"}[runtime.GOOS == "windows"]},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, task(line(c.command))+task(line("write second ran")))
			r.expect(r.run(), 195, true)
			r.expectStderr("error: ", c.stderr)
			if r.exists("second") || !strings.Contains(r.Read("boinc_finish_called"), "195\n") {
				t.Error("went on, or no finish file")
			}
		})
	}
}

// Row 5, and more: everything that a task has started stands still, daemons too.
func TestSuspendStopsTheWholeTree(t *testing.T) {
	for name, flags := range map[string][]string{"stop": nil, "tstp": {"--use_tstp"}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "<task><application>worker</application><daemon/><command_line>count daemon</command_line></task>"+
				task(line("child count inner")))
			r.start(flags...)
			files := []string{"daemon", "inner"}
			for _, f := range files {
				r.eventually(f, func() bool { return r.size(f) > 0 })
			}
			r.Say("<suspend/>")
			r.Say("<resume/>")
			r.Say("<suspend/>")
			for _, f := range files {
				r.eventually(f+" to stand still", func() bool { return r.still(f) })
			}
			before := []int64{r.size("daemon"), r.size("inner")}
			time.Sleep(2 * time.Second)
			cpu := r.Last().Number("current_cpu_time")
			for i, f := range files {
				if r.size(f) != before[i] {
					t.Errorf("%s went on while suspended", f)
				}
			}
			r.Say("<resume/>")
			for i, f := range files {
				r.eventually(f+" to go on", func() bool { return r.size(f) > before[i] })
			}
			if cpu > 5 {
				t.Errorf("CPU %f", cpu)
			}
			r.Say("<suspend/>")
			r.eventually("suspended", func() bool { return r.still("inner") })
			r.Say("<abort/>") // also ends what is stopped
			r.expect(r.Wait(limit), 0, false)
		})
	}
}

// <multi_process>0</multi_process> is the only way to stop just the program itself.
func TestSuspendOnlyTheProgram(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("on Windows the test's helper process shares the console")
	}
	r := newRig(t, task("<multi_process>0</multi_process>"+line("child count inner")))
	r.start()
	r.eventually("inner", func() bool { return r.size("inner") > 0 })
	r.Say("<suspend/>")
	time.Sleep(time.Second)
	if r.still("inner") {
		t.Error("the child was suspended")
	}
	r.Say("<abort/>")
	r.expect(r.Wait(limit), 0, false)
}

// Row 6.
func TestQuitAndRestart(t *testing.T) {
	r := newRig(t, task(line("append first ran spin 0.3"))+task("<stdout_filename>out</stdout_filename>"+
		line("say begun pid pid await go say ended")))
	r.WUCPU = 100
	r.start()
	r.eventually("second task", func() bool { return r.Read("pid") != "" })
	r.eventually("a report", func() bool { return len(r.Reports()) > 0 })
	first := r.Reports()[0] // a second after the start
	if cpu, saved := first.Number("current_cpu_time"), first.Number("checkpoint_cpu_time"); cpu < 100 || cpu > 101.5 || saved < 100 || saved > cpu {
		t.Errorf("first report %q", first.Text)
	}
	begin := time.Now()
	r.Say("<quit/>")
	r.expect(r.Wait(limit), 0, false)
	if time.Since(begin) > 12*time.Second {
		t.Error("too slow")
	}
	r.gone("pid")
	kept := r.Read(tasks.CheckpointFile)
	if !regexp.MustCompile(`^1 10[0-9]\.[0-9]{6} [0-9]+\.[0-9]{6}\n$`).MatchString(kept) {
		t.Errorf("checkpoint %q", kept)
	}
	r.Put("go", "")
	r.expect(r.run(), 0, true)
	if got := r.Read("first"); len(lines(got)) != 1 {
		t.Errorf("the first task ran again: %q", got)
	}
	if got := r.Read("out"); got != "begun\nbegun\nended\n" {
		t.Errorf("stdout is not appended to: %q", got)
	}
	if cpu := r.Last().Number("current_cpu_time"); cpu < 100.3 || cpu > 110 {
		t.Errorf("CPU time %f", cpu)
	}
}

// Row 7.
func TestAbortKillsAll(t *testing.T) {
	r := newRig(t, "<task><application>worker</application><daemon/>"+line("deaf pid d sleep 600")+"</task>"+
		task(line("deaf pid a child deaf pid b sleep 600")))
	r.start()
	for _, f := range []string{"a", "b", "d"} {
		r.pid(f)
	}
	r.Say("<abort/>")
	begin := time.Now()
	r.expect(r.Wait(limit), 0, false)
	if time.Since(begin) > 10*time.Second {
		t.Error("too slow")
	}
	for _, f := range []string{"a", "b", "d"} {
		if alive(r.pid(f)) {
			t.Errorf("%s lives", f)
		}
	}
}

// Row 18: whatever ignores TERM or leaves its parents behind is gone after finish.
func TestNothingIsLeftBehind(t *testing.T) {
	r := newRig(t, "<task><application>worker</application><daemon/><stop_grace>1</stop_grace>"+line("deaf pid d sleep 600")+"</task>"+
		task("<stop_grace>0.5</stop_grace>"+line("child session deaf pid orphan sleep 600")+"")+
		task(line("await orphan exit 0")))
	r.expect(r.run(), 0, true)
	for _, f := range []string{"d", "orphan"} {
		if alive(r.pid(f)) {
			t.Errorf("%s lives", f)
		}
	}
}

func TestDaemonIsRestarted(t *testing.T) {
	r := newRig(t, "<task><application>worker</application><daemon/>"+line("append d up sleep 0.1 exit 4")+"</task>"+
		task(line("sleep 600")))
	r.expect(r.run(), 195, true)
	if n := len(lines(r.Read("d"))); n != 6 {
		t.Errorf("started %d times", n)
	}
	r.expectStderr("daemon 1 (worker) ended with exit status 4: starting it again", "after 5 restarts")
}

func TestDaemonMayEndByItself(t *testing.T) {
	r := newRig(t, "<task><application>worker</application><daemon/>"+line("append d up")+"</task>"+task(line("sleep 1")))
	r.expect(r.run(), 0, true)
	if n := len(lines(r.Read("d"))); n != 1 {
		t.Errorf("started %d times", n)
	}
	r.expectStderr("daemon 1 (worker) has ended by itself")
}

// Row 23.
func TestTimeLimitCountsAsSuccess(t *testing.T) {
	r := newRig(t, task("<time_limit>2</time_limit><stop_grace>0.2</stop_grace>"+line("pid p sleep 600"))+task(line("write second ran")))
	r.expect(r.run(), 0, true)
	if alive(r.pid("p")) || !r.exists("second") {
		t.Error("not killed, or did not go on")
	}
	r.expectStderr("has run for its time limit of 2 s")
}

func TestTimeLimitDoesNotCountSuspendedTime(t *testing.T) {
	r := newRig(t, task("<time_limit>4</time_limit>"+line("pid p await go")))
	r.start()
	r.pid("p")
	r.Say("<suspend/>")
	time.Sleep(5 * time.Second)
	r.Put("go", "")
	r.Say("<resume/>")
	r.expect(r.Wait(limit), 0, true)
	if strings.Contains(r.stderr(), "time limit") {
		t.Error(r.stderr())
	}
}

// Row 21: each change of the checkpoint file, the first one too, and two within a second.
func TestCheckpoints(t *testing.T) {
	r := newRig(t, task("<checkpoint_filename>ck</checkpoint_filename>"+
		line("spin 0.1 write ck a spin 0.3 await go1 write ck bb await go2 write ck cc spin 0.2 await go3")))
	r.start()
	last := 0.0
	changed := func() bool {
		now := r.Last().Number("checkpoint_cpu_time")
		if now > last {
			last = now
			return true
		}
		return false
	}
	saved := r.Read(tasks.CheckpointFile)
	r.eventually("first checkpoint", changed)
	for _, next := range []string{"go1", "go2"} {
		// Some CPU time must pass, for a checkpoint is told by a changed CPU time.
		r.eventually("CPU time", func() bool { return r.Last().Number("current_cpu_time") > last })
		before := r.Read(tasks.CheckpointFile)
		r.Put(next, "")
		r.eventually("our checkpoint file", func() bool { return r.Read(tasks.CheckpointFile) != before })
		if !strings.HasPrefix(r.Read(tasks.CheckpointFile), "0 ") {
			t.Error("wrong count")
		}
	}
	if saved == r.Read(tasks.CheckpointFile) {
		t.Error("nothing saved")
	}
	r.KillWrapper()
	v := 0.0
	fmt.Sscanf(r.Read(tasks.CheckpointFile), "0 %f", &v)
	r.Put("go3", "")
	r.expect(r.run(), 0, true)
	if first := r.Reports()[0].Number("current_cpu_time"); first != 0 && first < v {
		t.Errorf("started at CPU %f, not %f", first, v)
	}
	if got := r.Last().Number("current_cpu_time"); got < v+0.5 {
		t.Errorf("CPU time %f after %f", got, v)
	}
}

// Row 8, 10 s by the rules.
func TestClientIsGone(t *testing.T) {
	other := exec.Command(os.Args[0], "sleep", "600")
	other.Args[0] = "worker"
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, task(line("pid p sleep 600")))
	r.ClientPID = other.Process.Pid
	r.start()
	r.pid("p")
	other.Process.Kill()
	other.Wait()
	begin := time.Now()
	r.expect(r.Wait(limit), 0, false)
	if time.Since(begin) > 20*time.Second {
		t.Errorf("after %v", time.Since(begin))
	}
	r.gone("p")
}

// The wrapper is killed: nothing of the task may go on, at the latest at the next start.
func TestWrapperIsKilled(t *testing.T) {
	r := newRig(t, task(line("pid a child pid b deaf sleep 600")))
	r.start()
	r.pid("a")
	pid := r.pid("b")
	r.eventually("the list of children", func() bool {
		return strings.Contains(r.Read(tasks.ChildrenFile), fmt.Sprint(pid)) || runtime.GOOS == "windows"
	})
	r.KillWrapper()
	r.gone("a")
	os.Remove(filepath.Join(r.Slot, "a"))
	r.start()
	r.eventually("the old one's end", func() bool { return !alive(pid) })
	r.pid("a")
	r.Say("<abort/>")
	r.expect(r.Wait(limit), 0, false)
}

// Row 4.
func TestUnreadReportIsNotOverwritten(t *testing.T) {
	r := newRig(t, task("<fraction_done_filename>f</fraction_done_filename>"+line("await go")))
	r.start()
	r.eventually("a report", func() bool { return len(r.Reports()) > 0 })
	r.Mute(true)
	n := len(r.Reports())
	time.Sleep(1500 * time.Millisecond)
	r.Put("f", "0.5")
	time.Sleep(1500 * time.Millisecond)
	r.Mute(false)
	r.eventually("a fresh report", func() bool { return r.Last().Number("fraction_done") == 0.5 })
	if first := r.Reports()[n]; first.Number("fraction_done") != 0 {
		t.Errorf("%v", first)
	}
	r.Put("go", "")
	r.expect(r.Wait(limit), 0, true)
}

// Row 13.
func TestFinishFileOfAnEarlierEpisode(t *testing.T) {
	for _, status := range []int{0, 195} {
		r := quietRig(t, task(line("write ran x")))
		r.Put("boinc_finish_called", fmt.Sprintf("%d\n", status))
		if v := r.run(); v.Code != status || !v.Finished || r.exists("ran") {
			t.Errorf("%+v", v)
		}
	}
}

// Row 10.
func TestSlotIsLocked(t *testing.T) {
	r := newRig(t, task(line("write ran x")))
	r.env = append(r.env, "LOCK_RETRY=300ms")
	holder := exec.Command(os.Args[0])
	holder.Env = append(os.Environ(), "RUN_WRAPPER=1")
	holder.Dir = r.Slot // without a client, but it locks all the same
	text := "<job_desc><task><application>worker</application><command_line>write held x await free</command_line></task></job_desc>"
	os.Rename(filepath.Join(r.Slot, "job.xml"), filepath.Join(r.Slot, "job.kept"))
	r.Put("job.xml", text)
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	r.eventually("held", func() bool { return r.exists("held") })
	if v := r.run(); v.Code != 0 || v.Finished || v.Delay != 600 || v.Reason == "" || r.exists("ran") {
		t.Errorf("%+v\n%s", v, r.stderr())
	}
	r.env = append(r.env, "LOCK_RETRY=20s")
	os.Remove(filepath.Join(r.Slot, "job.xml"))
	os.Rename(filepath.Join(r.Slot, "job.kept"), filepath.Join(r.Slot, "job.xml"))
	r.start()
	r.eventually("it waits", func() bool { return strings.Contains(r.stderr(), "trying again in 20s") })
	r.Say("<abort/>")
	r.Put("free", "")
	holder.Wait()
	r.KillWrapper()
}

// Row 12: never run as if there were no client.
func TestBrokenSlot(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the memory is no file there")
	}
	for name, breakIt := range map[string]func(r *rig){
		"init_data truncated": func(r *rig) { r.Put("init_data.xml", r.Read("init_data.xml")[:200]) },
		"no memory":           func(r *rig) { os.Remove(filepath.Join(r.Slot, "boinc_mmap_file")) },
		"empty memory":        func(r *rig) { r.Put("boinc_mmap_file", "") },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, task(line("append ran x")))
			r.expect(r.run(), 0, true) // lays down the files of a slot
			os.Remove(filepath.Join(r.Slot, "boinc_finish_called"))
			os.Remove(filepath.Join(r.Slot, tasks.CheckpointFile))
			breakIt(r)
			self, _ := os.Executable()
			again := exec.Command(self)
			again.Dir, again.Env = r.Slot, append(os.Environ(), r.env...)
			out, err := again.CombinedOutput()
			reason := lines(r.Read("boinc_temporary_exit"))
			if err != nil || len(reason) != 2 || reason[0] != "60" || r.exists("boinc_finish_called") || len(lines(r.Read("ran"))) != 1 {
				t.Errorf("%v, %q\n%s", err, reason, out)
			}
		})
	}
}
