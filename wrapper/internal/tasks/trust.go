package tasks

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"

	"boincdock.org/wrapper/internal/boinc"
	"boincdock.org/wrapper/internal/jobxml"
)

// checkPrograms: a job.xml that came with the job, and not with the signed app version, may run only
// programs of the app version (spec 07 §8.9), and may not make them load others.
func (s *session) checkPrograms() error {
	if s.rt.Standalone() || len(s.init.AppFiles) == 0 || s.isAppFile(boinc.Physical(s.dir, JobFile)) {
		return nil
	}
	for _, t := range append(append([]jobxml.Task(nil), s.job.Tasks...), s.job.Daemons...) {
		path, err := s.program(&t)
		if err != nil {
			return err
		}
		if !s.isAppFile(path) {
			return &ending{status: statusInit,
				message: "<application> " + t.Application + " is not a file of the app version, which a " + JobFile +
					" of a job must keep to",
				hint: "make the program, or " + JobFile + ", a file of the app version"}
		}
		for _, e := range t.Setenv {
			if name := strings.ToUpper(e.Name); strings.HasPrefix(name, "LD_") || strings.HasPrefix(name, "DYLD_") {
				return fail(statusInit, "<setenv> %s is allowed only in a %s of the app version", e.Name, JobFile)
			}
		}
	}
	return nil
}

// isAppFile tells whether a file is one of the app version's, in place or a copy with the same bytes.
func (s *session) isAppFile(path string) bool {
	path = real(path)
	if filepath.Dir(path) == real(s.project) && s.init.IsAppFile(filepath.Base(path)) {
		return true
	}
	st, err := os.Stat(path)
	if err != nil || !st.Mode().IsRegular() {
		return false
	}
	for _, name := range s.init.AppFiles {
		original := filepath.Join(s.project, filepath.Base(name))
		if other, err := os.Stat(original); err == nil && other.Size() == st.Size() && sameBytes(path, original) {
			return true
		}
	}
	return false
}

func real(path string) string {
	if p, err := filepath.EvalSymlinks(path); err == nil {
		return p
	}
	return path
}

func sameBytes(a, b string) bool {
	fa, err := os.Open(a)
	if err != nil {
		return false
	}
	defer fa.Close()
	fb, err := os.Open(b)
	if err != nil {
		return false
	}
	defer fb.Close()
	ba, bb := make([]byte, 1<<16), make([]byte, 1<<16)
	for {
		na, ea := io.ReadFull(fa, ba)
		nb, eb := io.ReadFull(fb, bb)
		if na != nb || !bytes.Equal(ba[:na], bb[:nb]) {
			return false
		}
		if ea != nil || eb != nil {
			return ea == eb || na == 0
		}
	}
}
