package main

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"boincdock.org/wrapper/internal/execx"
)

// The windows binary under Wine, with the engine of the Linux around it: a copy of this program is wsl.exe and has
// commands run there (wsl_server_unix_test.go). The distribution is called Debian; folders are Wine's drive Z:.

const wslServer = "BOINCDOCK_WSL_SERVER"

func TestMain(m *testing.M) {
	switch {
	case strings.EqualFold(filepath.Base(os.Args[0]), "wsl.exe"):
		os.Exit(wslExe(os.Args[1:]))
	case os.Getenv("RUN_WRAPPER") == "1":
		retryDelays = []time.Duration{100 * time.Millisecond, 100 * time.Millisecond, 100 * time.Millisecond}
		main()
	}
	os.Exit(m.Run())
}

// wslExe is wsl.exe -d DISTRIBUTION [-u USER] --exec COMMAND: its exit status says nothing, as the real one's often.
func wslExe(args []string) int {
	if len(args) < 4 || args[0] != "-d" || args[1] != "Debian" {
		os.Stdout.WriteString("There is no distribution with the supplied name.\r\n")
		return -1
	}
	for args = args[2:]; args[0] != "--exec"; args = args[1:] {
	}
	script := "export BOINC_CALL=" + execx.Quote(os.Getenv("BOINC_CALL")) + "\n" + execx.Pretty(args[1:])
	if err := onLinux(script, os.Stdin, os.Stdout, os.Stderr); err != nil {
		os.Stdout.WriteString(err.Error())
		return -1
	}
	return 0
}

// onLinux has a shell script run there.
func onLinux(script string, stdin io.Reader, stdout, stderr io.Writer) error {
	conn, err := net.Dial("tcp", os.Getenv(wslServer))
	if err != nil {
		return err
	}
	defer conn.Close()
	out := &frames{to: conn}
	if _, err := out.stream(frameCommand).Write([]byte(script)); err != nil {
		return err
	}
	go func() {
		io.Copy(out.stream(frameStdin), stdin)
		out.stream(frameEnd).Write(nil)
	}()
	for {
		kind, data, err := readFrame(conn)
		switch {
		case err != nil:
			return err
		case kind == frameStdout:
			stdout.Write(data)
		case kind == frameStderr:
			stderr.Write(data)
		case kind == frameEnd:
			return nil
		}
	}
}

// reachEngine: it is in a distribution.
func (r *realRig) reachEngine() {
	r.t.Helper()
	if r.eng = os.Getenv(wslServer); r.eng == "" {
		r.t.Skip("set " + wslServer + ": see tests/wrapper/test_wrapper_wine.py")
	}
	bin := r.t.TempDir()
	self, _ := os.Executable()
	program, err := os.ReadFile(self)
	if err == nil {
		err = os.WriteFile(filepath.Join(bin, "wsl.exe"), program, 0o755)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.DockerType = 0
	r.HostExtra = "<wsl><distro><distro_name>Debian</distro_name><docker_version>28.1</docker_version><docker_type>1</docker_type></distro></wsl>\n"
	r.env = append(r.env, "PATH="+bin+";"+os.Getenv("PATH"))
}

// makeExecutable: WSL shows all files of Windows so, Wine's drive does not.
func makeExecutable(t *testing.T, file string) {
	t.Helper()
	if err := onLinux(execx.Pretty([]string{"chmod", "755", linuxPath(file)}), strings.NewReader(""), io.Discard, io.Discard); err != nil {
		t.Fatal(err)
	}
}

// linuxPath is a path as Linux knows it; what is no path on drive Z: stays.
func linuxPath(path string) string {
	if strings.HasPrefix(strings.ToUpper(path), "Z:") {
		return strings.ReplaceAll(path[2:], `\`, "/")
	}
	return path
}

// docker runs a command of the engine; its output. Paths are translated.
func docker(t *testing.T, args ...string) string {
	t.Helper()
	command := []string{"docker"}
	for _, arg := range args {
		command = append(command, linuxPath(arg))
	}
	var out strings.Builder
	if err := onLinux("exec 2>&1\n"+execx.Pretty(command), strings.NewReader(""), &out, &out); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out.String())
}
