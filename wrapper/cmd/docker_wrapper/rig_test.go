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
)

const limit = 30 * time.Second

var together sync.Map

// besideOthers makes the test one of those that run at the same time, however often it asks; true the first time.
func besideOthers(t *testing.T) bool {
	_, again := together.LoadOrStore(t, true)
	if !again {
		t.Parallel()
	}
	return !again
}

// rig is a fake client with a fake engine.
type rig struct {
	*fakeclient.Client
	t   *testing.T
	eng string // where the engine is: the fake one's state directory, the address of the WSL stand-in's server
	env []string

	limit time.Duration // 0: the default
}

func (r *rig) patience() time.Duration {
	if r.limit > 0 {
		return r.limit
	}
	return limit
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
