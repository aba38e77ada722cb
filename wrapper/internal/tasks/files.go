package tasks

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"boincdock.org/wrapper/internal/boinc"
)

// begin takes up an earlier episode's state, or prepares the slot at the first.
func (s *session) begin() error {
	raw, err := os.ReadFile(filepath.Join(s.dir, CheckpointFile))
	if err == nil {
		if st, ok := parseCheckpoint(raw); ok {
			s.st = st
			s.taskCPU, s.ckptCPU, s.elapsed, s.trickled = st.cpu, st.cpu, st.runtime, st.runtime
			s.cfg.Log("going on after %d of %d tasks, CPU time %.2f s", st.done, len(s.job.Tasks), st.cpu)
			s.dropZips()
			return nil
		}
	}
	for _, name := range s.job.UnzipIn {
		if err := s.unzip(name); err != nil {
			return err
		}
	}
	if s.job.ZipOut != "" {
		if err := s.writeInitialList(); err != nil {
			return noSpace(err, "cannot write "+InitialList)
		}
	}
	s.st = checkpoint{cpu: s.taskCPU}
	if err := s.saveCheckpoint(); err != nil {
		return err
	}
	s.dropZips() // not before: else a crash up to here would leave us without
	return nil
}

// dropZips deletes the slot entries of archives that have been unpacked. Clients before 8.2 lay them
// down again at each start.
func (s *session) dropZips() {
	for _, name := range s.job.UnzipIn {
		if err := os.Remove(filepath.Join(s.dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			s.cfg.Log("warning: %v", err)
		}
	}
}

// noSpace makes a temporary exit of an error that says that the disk is full.
func noSpace(err error, what string) error {
	if isDiskFull(err) {
		return &ending{delay: 3600, message: fmt.Sprintf("%s: no space left on the disk", what), hint: "free some disk space"}
	}
	return fail(statusFailed, "%s: %v", what, err)
}

func (s *session) unzip(name string) error {
	s.cfg.Log("unpacking %s", name)
	z, err := zip.OpenReader(s.path(name))
	if err != nil {
		return fail(statusFailed, "unzip_input %s: %v", name, err)
	}
	defer z.Close()
	for _, f := range z.File {
		if s.rt.State().Stop() {
			return errStop
		}
		if err := s.unpack(f); err != nil {
			return noSpace(err, fmt.Sprintf("unzip_input %s: %s", name, f.Name))
		}
	}
	return nil
}

// unpack writes one member of an archive, inside the slot and not over files of the client or of ours.
func (s *session) unpack(f *zip.File) error {
	name := strings.ReplaceAll(f.Name, `\`, "/")
	if strings.TrimRight(name, "/") == "" || strings.TrimRight(name, "/") == "." {
		return nil
	}
	if !filepath.IsLocal(filepath.FromSlash(name)) {
		return errors.New("the name leads out of the slot")
	}
	path := filepath.Join(s.dir, filepath.FromSlash(name))
	if !boinc.Inside(s.dir, filepath.Dir(path)) {
		return errors.New("a link leads out of the slot")
	}
	if top, _, _ := strings.Cut(filepath.ToSlash(filepath.Clean(filepath.FromSlash(name))), "/"); isRuntimeFile(top) || top == JobFile {
		return errors.New("this name belongs to the client or the wrapper")
	}
	mode := f.Mode()
	if mode.IsDir() || strings.HasSuffix(name, "/") {
		return os.MkdirAll(path, 0o755)
	}
	if !mode.IsRegular() {
		return errors.New("not a file or directory")
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	in, err := f.Open()
	if err != nil {
		return err
	}
	defer in.Close()
	return boinc.WriteStream(path, 0o644|mode.Perm()&0o111, func(out io.Writer) error {
		_, err := io.Copy(out, in)
		return err
	})
}

// isRuntimeFile tells the files of a slot that belong to the client, the protocol or us.
func isRuntimeFile(name string) bool {
	for _, prefix := range []string{"boinc_", "trickle_down", InitialList, "wrapper_"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	switch name {
	case boinc.InitDataFile, boinc.StderrFile, boinc.TrickleUpFile, GraphicsStatus, GraphicsURL, RemoteDesktop, tempZip,
		boinc.SporadicAppFile, boinc.SporadicClientFile:
		return true
	}
	return false
}

// writeInitialList notes what is in the slot before the first task: that is not output.
func (s *session) writeInitialList() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	var b strings.Builder
	for _, e := range entries {
		b.WriteString(e.Name() + "\n")
	}
	return boinc.WriteAtomic(filepath.Join(s.dir, InitialList), []byte(b.String()), 0o644)
}

// outputs packs and moves what the tasks have made.
func (s *session) outputs() error {
	if s.job.ZipOut != "" {
		if err := s.zipOutputs(); err != nil {
			return noSpace(err, "zip_output "+s.job.ZipOut)
		}
	}
	for _, name := range s.job.Rename {
		if err := s.renameOutput(name); err != nil {
			return noSpace(err, "rename_output "+name)
		}
	}
	return nil
}

const tempZip = "temp.zip"

func (s *session) zipOutputs() error {
	target := s.path(s.job.ZipOut)
	if err := s.confined(target); err != nil {
		return err
	}
	if _, err := os.Stat(target); err == nil {
		s.cfg.Log("%s is there already", s.job.ZipOut)
		return nil
	}
	names, err := s.outputNames()
	if err != nil {
		return err
	}
	s.cfg.Log("packing %d files into %s", len(names), s.job.ZipOut)
	temp := filepath.Join(s.dir, tempZip)
	if err := s.writeZip(temp, names); err != nil {
		_ = os.Remove(temp)
		return err
	}
	return moveFile(temp, target)
}

// outputNames are the slot's files that are new and match a pattern, in order.
func (s *session) outputNames() ([]string, error) {
	raw, err := os.ReadFile(filepath.Join(s.dir, InitialList))
	if err != nil {
		return nil, err
	}
	before := map[string]bool{s.job.ZipOut: true}
	for _, name := range strings.Split(string(raw), "\n") {
		before[name] = true
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if name := e.Name(); e.Type().IsRegular() && s.wanted(name, before[name]) {
			out = append(out, name)
		}
	}
	sort.Strings(out)
	return out, nil
}

// wanted: stderr.txt is taken only if a pattern names it and nothing else; it exists from the start.
func (s *session) wanted(name string, old bool) bool {
	for _, p := range s.job.Patterns {
		if name == boinc.StderrFile {
			if strings.Trim(strings.ReplaceAll(p.Text, `\`, ""), "^$") == name {
				return true
			}
		} else if !old && !isRuntimeFile(name) && p.MatchString(name) {
			return true
		}
	}
	return false
}

// writeZip packs files in the order given. Times are left out, so equal files make equal archives.
func (s *session) writeZip(path string, names []string) error {
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	w := zip.NewWriter(out)
	for _, name := range names {
		if err = s.addToZip(w, name); err != nil {
			break
		}
	}
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	return err
}

func (s *session) addToZip(w *zip.Writer, name string) error {
	in, err := os.Open(filepath.Join(s.dir, name))
	if err != nil {
		return err
	}
	defer in.Close()
	h := &zip.FileHeader{Name: name, Method: zip.Deflate}
	h.SetMode(0o644)
	if st, err := in.Stat(); err == nil && st.Mode()&0o111 != 0 {
		h.SetMode(0o755)
	}
	dst, err := w.CreateHeader(h)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, in)
	return err
}

// renameOutput moves slot file NAME to what the link NAME.link stands for.
func (s *session) renameOutput(name string) error {
	target := s.path(name + ".link")
	if err := s.confined(target); err != nil {
		return err
	}
	if target == filepath.Join(s.dir, name+".link") {
		return fmt.Errorf("there is no link %s.link in the slot", name)
	}
	if _, err := os.Stat(target); err == nil {
		s.cfg.Log("%s is in place already", name)
		return nil
	}
	return moveFile(filepath.Join(s.dir, name), target)
}

// moveFile renames, or copies to another file system.
func moveFile(from, to string) error {
	if err := os.Rename(from, to); err == nil || errors.Is(err, os.ErrNotExist) {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := boinc.WriteStream(to, 0o644, func(out io.Writer) error {
		_, err := io.Copy(out, in)
		return err
	}); err != nil {
		return err
	}
	in.Close()
	return os.Remove(from)
}
