//go:build unix

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
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
	case os.Getenv("RUN_WRAPPER") == "1":
		retryDelays = []time.Duration{100 * time.Millisecond, 100 * time.Millisecond, 100 * time.Millisecond}
		if os.Getenv("TEST_GOOS") != "" {
			goos, helper = os.Getenv("TEST_GOOS"), os.Getenv("TEST_HELPER")
		}
		main()
	}
	os.Exit(m.Run())
}

const limit = 30 * time.Second

// together has the tests that run beside others already.
var together sync.Map

// rig is a fake client with a fake engine.
type rig struct {
	*fakeclient.Client
	t   *testing.T
	eng string // state directory of the engine
	env []string

	limit time.Duration // 0: the default
}

func (r *rig) patience() time.Duration {
	if r.limit > 0 {
		return r.limit
	}
	return limit
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
	if _, again := together.LoadOrStore(t, true); !again {
		t.Parallel()
	}
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

func (r *rig) start(args ...string) {
	r.t.Helper()
	self, _ := os.Executable()
	r.Start(self, r.env, args...)
}

// run runs the job to its end.
func (r *rig) run(args ...string) fakeclient.Verdict {
	r.t.Helper()
	r.start(args...)
	return r.Wait(r.patience())
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

func (r *rig) name() string { return "boinc__" + fakeclient.Folder + "__" + strings.ToLower(r.Result) }

func (r *rig) stderr() string { return r.Read("stderr.txt") }

func (r *rig) eventually(what string, cond func() bool) {
	r.t.Helper()
	for end := time.Now().Add(r.patience()); !cond(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("not in time: %s; stderr:\n%s", what, r.stderr())
		}
	}
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

func (r *rig) expectStderr(words ...string) {
	r.t.Helper()
	text := r.stderr()
	for _, w := range words {
		if !strings.Contains(text, w) {
			r.t.Errorf("stderr lacks %q:\n%s", w, text)
		}
	}
}

func (r *rig) expect(v fakeclient.Verdict, want fakeclient.Verdict) {
	r.t.Helper()
	if want.Delay == 0 {
		want.Delay = -1
	}
	want.Reason = v.Reason
	if v != want {
		r.t.Fatalf("got %+v, want %+v; stderr:\n%s", v, want, r.stderr())
	}
	if _, err := os.Stat(filepath.Join(r.Slot, "boinc_lockfile")); err == nil {
		r.t.Error("the lock file is still there")
	}
}

// unpack reads a gzip tar into a map; directories have a trailing slash.
func unpack(t *testing.T, path string) map[string]string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	zr, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	tr := tar.NewReader(zr)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" {
			t.Errorf("%s has an owner", h.Name)
		}
		out[h.Name] = string(body) + h.Linkname
	}
}
