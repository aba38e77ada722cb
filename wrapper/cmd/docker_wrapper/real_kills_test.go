package main

import (
	"fmt"
	"math/rand"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"boincdock.org/wrapper/internal/fakeclient"
)

// TestRealKillsAtAnyMoment kills wrapper, container or client (which then sends nothing any more) at random moments of a
// job's life, and starts the job again as a client would: it must finish, or fail with a reason if its container was
// killed, and leave nothing behind. BOINCDOCK_KILLS is the number of jobs, BOINCDOCK_SEED makes another sequence.
func TestRealKillsAtAnyMoment(t *testing.T) {
	number := func(name string, otherwise int) int {
		if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
			return n
		}
		return otherwise
	}
	seed := number("BOINCDOCK_SEED", 1)
	random := rand.New(rand.NewSource(int64(seed)))
	took := map[bool]time.Duration{}
	ends := map[string]int{}
	for n := -2; n < number("BOINCDOCK_KILLS", 6); n++ {
		build := n%2 == 0
		victim := []string{"wrapper", "wrapper", "container", "container", "both", "client"}[random.Intn(6)]
		if n < 0 {
			victim = "nobody" // how long it takes
		}
		r := killRig(t, fmt.Sprintf("kill%d", n+2), build)
		began := time.Now()
		r.start()
		after := time.Duration(random.Float64() * 1.1 * float64(took[build]))
		what := fmt.Sprintf("seed %d, job %d, build %v, %s killed after %v", seed, n, build, victim, after)
		if n >= 0 {
			time.Sleep(after)
		}
		switch victim {
		case "container", "both":
			docker(t, "kill", "--signal", "KILL", r.name())
		case "client":
			r.Mute(true)
		}
		if victim == "wrapper" || victim == "both" {
			r.KillWrapper()
			r.start()
		}
		v, starts := r.Wait(r.patience()), 1
		for ; !v.Finished && starts < 6; starts++ {
			if v.Code != 0 {
				t.Fatalf("%s: %+v; stderr:\n%s", what, v, r.stderr())
			}
			r.Mute(false)
			r.start()
			v = r.Wait(r.patience())
		}
		if n < 0 {
			took[build] = time.Since(began)
		}
		r.judge(what, v, victim)
		ends[fmt.Sprintf("%s: %d", victim, v.Code)]++
	}
	t.Logf("seed %d; undisturbed %v with a build, %v without; ends by victim and exit status: %v", seed, took[true], took[false], ends)
}

func killRig(t *testing.T, name string, build bool) *realRig {
	r := newReal(t, name)
	r.Put("in", name+"\n")
	toml := "workdir = '/app'\n"
	if build {
		r.dockerfile("sleep 1; cp in out")
	} else {
		toml = "image_name = '" + r.image + "'\ncommand = ['sh', '-c', 'sleep 1; cp /x/in /x/out']\n" +
			"copy_to_container = [{src='in', dst='/x/in'}]\ncopy_from_container = [{src='/x/out', dst='out'}]\n"
	}
	r.Put("job.toml", toml)
	return r
}

func (r *realRig) judge(what string, v fakeclient.Verdict, victim string) {
	r.t.Helper()
	switch {
	case !v.Finished:
		r.t.Errorf("%s: it did not finish: %+v; stderr:\n%s", what, v, r.stderr())
	case v.Code == 0:
		if r.Read("out") != r.Read("in") {
			r.t.Errorf("%s: finished, but the output is %q; stderr:\n%s", what, r.Read("out"), r.stderr())
		}
	case victim != "container" && victim != "both":
		r.t.Errorf("%s: exit %d although the container was let live; stderr:\n%s", what, v.Code, r.stderr())
	case !strings.Contains(r.stderr(), "error: ") || !strings.Contains(r.stderr(), "hint: "):
		r.t.Errorf("%s: exit %d without error and hint; stderr:\n%s", what, v.Code, r.stderr())
	}
	r.gone()
}
