//go:build unix

package engine

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"boincdock.org/wrapper/internal/execx"
)

// script makes an executable file.
func script(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// standIn is a wsl.exe that runs the command here. It answers 0 whatever the command does, as upstream's channel has it.
const standIn = `[ "$1" = -d ] || exit 99; [ "$2" = "My Distro" ] || { echo "There is no distribution with the supplied name."; exit 255; }
shift 2; [ "$1" = -u ] && { [ "$2" = root ] || exit 98; shift 2; }; [ "$1" = --exec ] || exit 97; shift; [ "$WSLENV" = BOINC_CALL/u ] || exit 96
"$@"; exit 0`

// joiner is a Run_Podman: it joins its arguments for a shell, and its exit status is always 0.
const joiner = `eval "$*"; exit 0`

func runners(t *testing.T) map[string]execx.Runner {
	dir := t.TempDir()
	return map[string]execx.Runner{
		"wsl":      &WSL{Run0: execx.OS{}, Exe: script(t, dir, "wsl.exe", standIn), Distro: "My Distro", User: "root"},
		"wsl user": &WSL{Run0: execx.OS{}, Exe: script(t, dir, "wsl2.exe", standIn), Distro: "My Distro"},
		"helper":   &Helper{Run0: execx.OS{}, Exe: script(t, dir, "Run Podman", joiner)},
	}
}

func TestRemoteArgumentsArriveAsTheyAre(t *testing.T) {
	args := []string{`$(touch x); "; touch x '`, "", "a  b", "*", `back\slash`, "tab\there", "line\nfeed", "ümläut", "`id`", "~", "#c", "$HOME", "!x", "%PATH%", "a;b|c&d"}
	for name, r := range runners(t) {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			res, err := r.Run(context.Background(), execx.Cmd{Args: append([]string{"printf", "%s\\0"}, args...), Dir: dir})
			got := strings.Split(strings.TrimSuffix(string(res.Stdout), "\x00"), "\x00")
			if err != nil || !reflect.DeepEqual(got, args) || len(res.Stderr) != 0 {
				t.Errorf("%q %q %v", got, res.Stderr, err)
			}
			if left, _ := os.ReadDir(dir); len(left) != 0 {
				t.Error("a shell saw an argument")
			}
		})
	}
}

func TestRemoteStatusComesFromTheTrailer(t *testing.T) {
	for name, r := range runners(t) {
		t.Run(name, func(t *testing.T) {
			res, err := r.Run(context.Background(), execx.Cmd{Args: []string{"sh", "-c", "echo out; printf bad >&2; exit 3"}})
			var e *execx.Error
			if !errors.As(err, &e) || res.Status != 3 || string(res.Stdout) != "out\n" || string(res.Stderr) != "bad" {
				t.Errorf("%+v %v", res, err)
			}
			if e != nil && e.Args[0] != "sh" {
				t.Errorf("the message shows %q instead of the command", e.Args)
			}
			// "Error" in the output is no error, another call's trailer is not ours.
			res, err = r.Run(context.Background(), execx.Cmd{Args: []string{"sh", "-c", "echo Error: no; printf '\\nboincffff 7\\n' >&2"}})
			if err != nil || res.Status != 0 || !strings.Contains(string(res.Stderr), "boincffff 7") {
				t.Errorf("%+v %v", res, err)
			}
		})
	}
}

func TestRemoteStreamsAreBinary(t *testing.T) {
	in := bytes.Repeat([]byte{0, 1, 255, '\n', '\r', '\'', 'x'}, 100000)
	for name, r := range runners(t) {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			_, err := r.Run(context.Background(), execx.Cmd{Args: []string{"sh", "-c", "cat; echo done >&2"}, Stdin: bytes.NewReader(in), Stdout: &out, Stderr: &errs})
			if err != nil || !bytes.Equal(out.Bytes(), in) || errs.String() != "done\n" {
				t.Errorf("%d bytes, %q, %v", out.Len(), errs.String(), err)
			}
			errs.Reset()
			_, err = r.Run(context.Background(), execx.Cmd{Args: []string{"sh", "-c", "cat >&2"}, Stdin: bytes.NewReader(in), Stderr: &errs})
			if err != nil || !bytes.Equal(errs.Bytes(), in) {
				t.Errorf("stderr: %d bytes, %v", errs.Len(), err)
			}
		})
	}
}

func TestRemoteEnvironmentIsExportedNotShown(t *testing.T) {
	dir := t.TempDir()
	trace := ""
	w := &WSL{Run0: execx.OS{}, Exe: script(t, dir, "wsl.exe", standIn), Distro: "My Distro", Trace: func(a []string) { trace += execx.Pretty(a) }}
	res, err := w.Run(context.Background(), execx.Cmd{Args: []string{"sh", "-c", `echo "$http_proxy"`}, Env: []string{"http_proxy=http://u:p'$x@h:1"}})
	if err != nil || string(res.Stdout) != "http://u:p'$x@h:1\n" || strings.Contains(trace, "u:p") {
		t.Errorf("%q %v %q", res.Stdout, err, trace)
	}
	// The helper passes no environment: the values are put where only names were.
	h := &Helper{Run0: execx.OS{}, Exe: script(t, dir, "helper", `echo "$*" > `+dir+`/said; exit 0`)}
	h.Run(context.Background(), execx.Cmd{Args: []string{"podman", "create", "-e", "A=1", "-e", "http_proxy", "x"}, Env: []string{"http_proxy=http://p:1"}})
	said, _ := os.ReadFile(filepath.Join(dir, "said"))
	if !strings.HasPrefix(string(said), "podman create -e A=1 -e http_proxy=http://p:1 x ; printf") {
		t.Errorf("%s", said)
	}
}

func TestRemoteShellThatDoesNotComeUp(t *testing.T) {
	dir := t.TempDir()
	for _, exe := range []string{"/no/such/wsl.exe", script(t, dir, "a", standIn), script(t, dir, "b", "exit 0"), script(t, dir, "c", `printf '\377\376E\0r\0r\0'; exit 255`)} {
		w := &WSL{Run0: execx.OS{}, Exe: exe, Distro: "gone"}
		if res, err := w.Run(context.Background(), execx.Cmd{Args: []string{"docker", "info"}}); !errors.Is(err, ErrNoShell) || res.Status != -1 {
			t.Errorf("%s: %v %v", exe, res.Status, err)
		} else if strings.ContainsRune(err.Error(), 0) {
			t.Error("a NUL in the message")
		}
	}
	w := &WSL{Run0: execx.OS{}, Exe: script(t, dir, "d", "sleep 100"), Distro: "x"}
	_, err := w.Run(context.Background(), execx.Cmd{Args: []string{"docker", "info"}, Timeout: 200 * time.Millisecond})
	if !errors.Is(Classify(err), ErrTimeout) {
		t.Errorf("%v", err)
	}
}

func TestLongRemoteCommandsAreRefusedNotCut(t *testing.T) {
	for name, r := range runners(t) {
		if _, err := r.Run(context.Background(), execx.Cmd{Args: []string{"echo", strings.Repeat("x", 40000)}}); err == nil || !strings.Contains(err.Error(), "too long") {
			t.Errorf("%s: %v", name, err)
		}
	}
	r := runners(t)["helper"]
	long := strings.Repeat("y", 1500)
	if res, err := r.Run(context.Background(), execx.Cmd{Args: []string{"echo", long}}); err != nil || string(res.Stdout) != long+"\n" {
		t.Errorf("%v", err)
	}
}

func TestWSLPaths(t *testing.T) {
	for in, want := range map[string]string{`C:\ProgramData\BOINC\slots\0`: "/mnt/c/ProgramData/BOINC/slots/0", `d:/x y/`: "/mnt/d/x y", `\\server\share`: "", "C:x": "", "": "", "1:\\x": ""} {
		if got := wslPath(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
	r := &replay{res: execx.Result{Stdout: []byte("/mnt/wsl/disk/BOINC\n")}}
	tr := &translator{run: r, seen: map[string]string{}}
	for in, want := range map[string]string{`C:\B`: "/mnt/wsl/disk/BOINC"} {
		if got, err := tr.path(context.Background(), in); err != nil || got != want {
			t.Errorf("%q %v", got, err)
		}
	}
	if got, err := tr.path(context.Background(), `C:/B/slots/0`); err != nil || got != "/mnt/wsl/disk/BOINC/slots/0" {
		t.Errorf("%q %v", got, err)
	}
	tr = &translator{run: &replay{res: execx.Result{Status: 127}}, seen: map[string]string{}}
	if got, err := tr.path(context.Background(), `E:\B C`); err != nil || got != "/mnt/e/B C" {
		t.Errorf("%q %v", got, err)
	}
	if _, err := tr.path(context.Background(), `\\server\share\x`); err == nil {
		t.Error("a network path cannot be reached")
	}
}

func TestWSLCreateArguments(t *testing.T) {
	r := &replay{}
	c := InWSL(&WSL{Run0: r}, true)
	c.run = r
	c.paths.run = &replay{res: execx.Result{Status: 127}}
	err := c.Create(context.Background(), CreateSpec{Name: "n", Image: "img", Mounts: []Mount{{Host: `C:\BOINC\slots\0`, Guest: "/app"}},
		GPU: &GPU{Vendor: "ATI"}, LogSize: "1m"})
	want := "podman create --pull never --name n -v /mnt/c/BOINC/slots/0:/app --device /dev/dxg -v /usr/lib/wsl:/usr/lib/wsl:ro " +
		"-e LD_LIBRARY_PATH=/usr/lib/wsl/lib --log-driver=k8s-file --log-opt max-size=1m img"
	if got := strings.Join(r.cmds[len(r.cmds)-1].Args, " "); err != nil || got != want {
		t.Errorf("%v\ngot  %s\nwant %s", err, got, want)
	}
}

func TestFarControlGroups(t *testing.T) {
	id := strings.Repeat("ab", 32)
	for out, want := range map[string]Sample{
		"0::/docker/" + id + "\n--\ncpu2 2500000\nmem2 300\ncache2 100\n":               {CPU: 2.5, HaveCPU: true, Memory: 200},
		"4:cpu,cpuacct:/docker/" + id + "\n--\ncpu1 2500000000\nmem1 300\ncache1 100\n": {CPU: 2.5, HaveCPU: true, Memory: 200},
		"0::/docker/" + id + "\n--\n":                                                   {},
		"0::/init.scope\n--\ncpu2 2500000\n":                                            {},
		"":                                                                              {},
	} {
		if got, ok := parseFar(out, id); ok != want.HaveCPU || ok && got != want {
			t.Errorf("%q: %+v", out, got)
		}
	}
	// The script itself, on this machine's own control group.
	res, err := execx.OS{}.Run(context.Background(), execx.Cmd{Args: []string{"sh", "-c", farScript, "sh", "self"}})
	if err != nil || !strings.Contains(string(res.Stdout), "\n--\n") {
		t.Errorf("%q %v", res.Stdout, err)
	}
}
