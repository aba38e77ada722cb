//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"boincdock.org/wrapper/internal/fakeclient"
	"boincdock.org/wrapper/internal/fakedocker"
)

// The test binary is also the wrapper under test and the fake docker client.
func TestMain(m *testing.M) {
	switch {
	case filepath.Base(os.Args[0]) == "docker", filepath.Base(os.Args[0]) == "podman":
		fakedocker.Main()
	case os.Getenv("BOINCDOCK_WSL_SERVER") != "":
		serveWSL(os.Getenv("BOINCDOCK_WSL_SERVER"))
	case os.Getenv("RUN_WRAPPER") == "1":
		retryDelays = []time.Duration{100 * time.Millisecond, 100 * time.Millisecond, 100 * time.Millisecond}
		if os.Getenv("TEST_GOOS") != "" {
			goos, helper = os.Getenv("TEST_GOOS"), os.Getenv("TEST_HELPER")
		}
		main()
	}
	os.Exit(m.Run())
}

// folder is a temporary folder that is removed at the end, when the last call of the engine has let go of it: a wrapper
// that was killed leaves calls under way.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "rig")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		var err error
		for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			if err = os.RemoveAll(dir); err == nil {
				return
			}
		}
		t.Error(err)
	})
	return dir
}

// newRig lets the test run beside others: they wait most of the time, and each has its own client and engine.
func newRig(t *testing.T, plan fakedocker.Plan) *rig {
	t.Helper()
	besideOthers(t)
	return (&rig{t: t}).setup(folder(t), "wu_1_0", plan)
}

func (r *rig) setup(dir, result string, plan fakedocker.Plan) *rig {
	t := r.t
	r.eng = filepath.Join(dir, "engine")
	bin := filepath.Join(dir, "bin")
	for _, d := range []string{r.eng, bin} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(bin, "docker")); err != nil && !os.IsExist(err) {
		t.Fatal(err)
	}
	r.engine(func(s *fakedocker.State) { s.Plan = plan })
	r.env = []string{"PATH=" + bin, "RUN_WRAPPER=1", fakedocker.DirEnv + "=" + r.eng, "DOCKER_HOST=tcp://127.0.0.1:1",
		"GORACE=atexit_sleep_ms=0"} // else each call of the fake engine takes a second
	r.Client = fakeclient.New(t, filepath.Join(dir, "data"), result)
	return r
}

// engine reads or changes the fake engine's state.
func (r *rig) engine(fn func(*fakedocker.State)) {
	r.t.Helper()
	if err := fakedocker.Update(r.eng, fn); err != nil {
		r.t.Fatal(err)
	}
}

// containerState is "" when there is no container.
func (r *rig) containerState() (state string) {
	r.engine(func(s *fakedocker.State) {
		if c := s.Containers[r.name()]; c != nil {
			state = c.State
		}
	})
	return state
}

// call returns the first engine call with this verb, nil if there was none.
func (r *rig) call(verb ...string) []string {
	for _, argv := range fakedocker.Log(r.eng) {
		if strings.HasPrefix(strings.Join(argv, " ")+" ", strings.Join(verb, " ")+" ") {
			return argv
		}
	}
	return nil
}
