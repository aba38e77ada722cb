package boinc

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// TempSuffix ends the names of files that are being written.
const TempSuffix = ".boinc_tmp"

// WriteAtomic writes a file as WriteStream does.
func WriteAtomic(path string, data []byte, mode os.FileMode) error {
	return WriteStream(path, mode, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// WriteStream writes a file so that a reader or a crash sees the old or the new
// content, never a part: temporary name beside it, then rename. Nothing is left if write fails.
func WriteStream(path string, mode os.FileMode, write func(io.Writer) error) error {
	tmp := path + TempSuffix
	os.Remove(tmp) // of an interrupted try, or a link that a job has put there
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	err = write(f)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = rename(tmp, path)
	}
	if err != nil {
		os.Remove(tmp)
	}
	return err
}

// rename tries for a second on Windows, where a file that somebody reads (a virus scanner) cannot be replaced.
func rename(from, to string) error {
	for try := 0; ; try++ {
		err := os.Rename(from, to)
		if err == nil || runtime.GOOS != "windows" || try == 20 {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// oneLine keeps a message for the client on one line of bounded length.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(strings.ReplaceAll(s, "\x00", " ")), " ")
	if len(s) > 400 {
		s = s[:400]
	}
	return s
}

func finishText(status int, message string, notice bool) string {
	text := strconv.Itoa(status) + "\n"
	if message != "" {
		text += oneLine(message) + "\n"
		if notice {
			text += "notice\n"
		}
	}
	return text
}

// tempExitText: the reason line is mandatory, without it the client ignores the file.
func tempExitText(delay int, reason string, notice bool) string {
	if reason = oneLine(reason); reason == "" {
		reason = "waiting"
	}
	text := fmt.Sprintf("%d\n%s\n", delay, reason)
	if notice {
		text += "notice\n"
	}
	return text
}

// previousFinish returns the status in a finish file that an earlier episode left.
func previousFinish(dir string) (status int, found bool) {
	data, err := os.ReadFile(filepath.Join(dir, FinishFile))
	if err != nil {
		return 0, false
	}
	line, _, _ := strings.Cut(string(data), "\n")
	status, err = strconv.Atoi(strings.TrimSpace(line))
	if err != nil || status < 0 || status > 255 {
		return 0, err != nil && strings.TrimSpace(line) == ""
	}
	return status, true
}
