package execx

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestArgumentsAreNeverSeenByAShell(t *testing.T) {
	arg := `$(touch x); "; touch x '`
	res, err := OS{}.Run(context.Background(), Cmd{Args: []string{"printf", "%s", arg}, Dir: t.TempDir()})
	if err != nil || string(res.Stdout) != arg {
		t.Fatalf("got %q, %v", res.Stdout, err)
	}
}

func TestFailureCarriesStatusOutputAndCommand(t *testing.T) {
	res, err := OS{}.Run(context.Background(), Cmd{Args: []string{"sh", "-c", "echo out; echo bad >&2; exit 3"}})
	var e *Error
	if !errors.As(err, &e) || res.Status != 3 || e.Timeout {
		t.Fatalf("got %v", err)
	}
	if want := "sh -c 'echo out; echo bad >&2; exit 3': exit status 3\nbad\nout"; e.Error() != want {
		t.Fatalf("got %q", e.Error())
	}
}

func TestTimeLimitKillsTheWholeGroup(t *testing.T) {
	pidfile := filepath.Join(t.TempDir(), "pid")
	start := time.Now()
	_, err := OS{}.Run(context.Background(), Cmd{
		Args:    []string{"sh", "-c", "sleep 60 & echo $! > " + pidfile + "; wait"},
		Timeout: 2 * time.Second})
	var e *Error
	if !errors.As(err, &e) || !e.Timeout || time.Since(start) > 10*time.Second {
		t.Fatalf("got %v after %v", err, time.Since(start))
	}
	pid, _ := os.ReadFile(pidfile)
	waitFor(t, func() bool {
		stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/stat")
		return err != nil || strings.Contains(string(stat), ") Z ")
	})
}

func TestCancelIsNotATimeout(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(50*time.Millisecond, cancel)
	_, err := OS{}.Run(ctx, Cmd{Args: []string{"sleep", "60"}, Timeout: time.Minute})
	var e *Error
	if !errors.As(err, &e) || e.Timeout || !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
}

func TestMissingProgramIsAnError(t *testing.T) {
	res, err := OS{}.Run(context.Background(), Cmd{Args: []string{"/no/such/program"}})
	if err == nil || res.Status != -1 || !strings.Contains(err.Error(), "/no/such/program") {
		t.Fatalf("got %v %v", res, err)
	}
}

func TestOutputIsBoundedHeadAndTailKept(t *testing.T) {
	h := NewHeadTail(20)
	for i := 0; i < 1000; i++ {
		h.Write([]byte("0123456789"))
	}
	got := string(h.Bytes())
	if got != "0123456789\n[... 9980 bytes left out ...]\n0123456789" {
		t.Fatalf("got %q", got)
	}
	if len(h.tail) > 30 {
		t.Fatalf("keeps %d bytes", len(h.tail))
	}
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{"": "''", "a": "a", "a b": "'a b'", "it's": `'it'\''s'`, "$x": "'$x'"} {
		if got := Quote(in); got != want {
			t.Errorf("Quote(%q) = %q, want %q", in, got, want)
		}
	}
}

func waitFor(t *testing.T, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !cond(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("condition not met in time")
		}
	}
}
