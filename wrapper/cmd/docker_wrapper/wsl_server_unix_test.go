//go:build unix

package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
)

// Under Wine there is no WSL. A stand-in for wsl.exe (wsl_windows_test.go) sends each command to this server, which runs
// it on Linux, where the engine is. tests/wrapper/test_wrapper_wine.py starts it, and ends it with its container.

func serveWSL(address string) {
	listener, err := net.Listen("tcp", address)
	for err == nil {
		var conn net.Conn
		if conn, err = listener.Accept(); err == nil {
			go serveCommand(conn)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func serveCommand(conn net.Conn) {
	defer conn.Close()
	kind, script, err := readFrame(conn)
	if err != nil || kind != frameCommand {
		return
	}
	cmd := exec.Command("sh", "-c", string(script))
	stdin, _ := cmd.StdinPipe()
	out := &frames{to: conn}
	cmd.Stdout, cmd.Stderr = out.stream(frameStdout), out.stream(frameStderr)
	if err := cmd.Start(); err != nil {
		return
	}
	go func() {
		defer stdin.Close()
		for {
			kind, data, err := readFrame(conn)
			switch {
			case err != nil: // wsl.exe was killed
				cmd.Process.Kill()
				return
			case kind == frameEnd:
				stdin.Close()
			default:
				if _, err := stdin.Write(data); err != nil {
					io.Copy(io.Discard, conn)
				}
			}
		}
	}()
	cmd.Wait()
	out.stream(frameEnd).Write(nil)
}
