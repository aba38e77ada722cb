package dockerjob

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"boincdock.org/wrapper/internal/boinc"
	"boincdock.org/wrapper/internal/engine"
	"boincdock.org/wrapper/internal/jobspec"
)

var errTooLarge = errors.New("the output is larger than the job's disk limit")

// copyIn puts the job's input files and the results directory into the container: one tar stream,
// for which the image needs neither a shell nor tar. Directories that are missing are made by the
// engine; existing ones are not touched.
func (s *Session) copyIn() error {
	sp := s.spec
	if len(sp.CopyTo) == 0 && sp.Results == nil {
		return nil
	}
	var files []jobspec.Copy // Src: real path
	for _, c := range sp.CopyTo {
		real, err := s.source(c.Src)
		if err != nil {
			return err
		}
		if _, err := os.Stat(real); err != nil {
			return fail(exitInitFailure, "the job must bring this input file", "copy_to_container: %s: %v", c.Src, err)
		}
		dst := c.Dst
		if strings.HasSuffix(dst, "/") {
			dst += path.Base(filepath.ToSlash(c.Src))
		}
		files = append(files, jobspec.Copy{Src: real, Dst: dst})
	}
	results := ""
	if sp.Results != nil {
		results = sp.Results.Src
	}
	err := s.streamIn(files, results)
	if err == nil || errors.Is(err, errStop) || errors.Is(err, engine.ErrUnreachable) || errors.Is(err, engine.ErrNoSpace) {
		return err
	}
	// A destination that is a directory of the image: let the engine put the file into it.
	first := err
	if results != "" {
		if err := s.streamIn(nil, results); err != nil {
			return first
		}
	}
	for _, f := range files {
		if err := s.try(func(ctx context.Context) error { return s.eng.CopyFileIn(ctx, s.container, f.Src, f.Dst) }); err != nil {
			return fmt.Errorf("%w (and before: %s)", err, brief(first))
		}
	}
	return nil
}

func (s *Session) streamIn(files []jobspec.Copy, results string) error {
	return s.await(func(ctx context.Context) error {
		r, w := io.Pipe()
		defer r.Close()
		go func() { w.CloseWithError(writeInputs(w, files, results)) }()
		return s.eng.CopyIn(ctx, s.container, r)
	})
}

func writeInputs(w io.Writer, files []jobspec.Copy, results string) error {
	tw := tar.NewWriter(w)
	if results != "" {
		h := &tar.Header{Typeflag: tar.TypeDir, Name: strings.Trim(path.Clean(results), "/") + "/", Mode: 0o1777}
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
	}
	for _, f := range files {
		if err := addTree(tw, f.Src, strings.Trim(path.Clean("/"+f.Dst), "/")); err != nil {
			return err
		}
	}
	return tw.Close()
}

// addTree adds a file, or a directory with the regular files below it.
func addTree(tw *tar.Writer, src, name string) error {
	return filepath.WalkDir(src, func(p string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, p)
		if err != nil {
			return err
		}
		member := path.Join(name, filepath.ToSlash(rel))
		st, err := e.Info()
		switch {
		case err != nil:
			return err
		case e.IsDir():
			return tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: member + "/", Mode: 0o755, ModTime: st.ModTime()})
		case st.Mode().IsRegular():
			return addFile(tw, p, member)
		}
		return nil
	})
}

// executable tells whether a file may be run in the container. Windows keeps no such mark, so there all may, as with
// the engines' own copy commands.
func executable(st os.FileInfo) bool { return runtime.GOOS == "windows" || st.Mode()&0o111 != 0 }

func addFile(tw *tar.Writer, file, member string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	mode := int64(0o644)
	if executable(st) {
		mode = 0o755
	}
	if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: member, Mode: mode, Size: st.Size(), ModTime: st.ModTime()}); err != nil {
		return err
	}
	_, err = io.CopyN(tw, f, st.Size())
	return err
}

// copyOut fetches the outputs of a job that ended with exit code 0.
func (s *Session) copyOut() error {
	for _, c := range s.spec.CopyFrom {
		err := s.fetchFile(c)
		if errors.Is(err, engine.ErrNotFound) {
			s.logf("warning: copy_from_container: the job did not make %s", c.Src)
			continue
		}
		if err != nil {
			return err
		}
	}
	if s.spec.Results == nil {
		return nil
	}
	return s.archiveResults(*s.spec.Results)
}

// target is the real path of an output. A payload that can write to the slot
// must not redirect it to files of others.
func (s *Session) target(logical string) (string, error) {
	p := boinc.Physical(s.dir, logical)
	inProject := boinc.Inside(s.project, p)
	if !s.rt.Standalone() && (!boinc.Inside(s.dir, p) && !inProject || inProject && s.init.IsAppFile(filepath.Base(p))) {
		return "", fail(1, "", "the output %s points to %s, which is not this job's", logical, p)
	}
	return p, nil
}

// writeOutput writes beside the target and renames, so that a link in the slot
// survives and a half-written file never counts.
func (s *Session) writeOutput(logical string, write func(io.Writer) error) error {
	target, err := s.target(logical)
	if err != nil {
		return err
	}
	began := false
	err = boinc.WriteStream(target, 0o644, func(w io.Writer) error {
		began = true
		return write(w)
	})
	if err != nil && !began {
		return general(err, "writing the output "+logical)
	}
	return err
}

// fetchFile copies one file out of the container.
func (s *Session) fetchFile(c jobspec.Copy) error {
	// Asked first, so that a missing source leaves an output of an earlier try alone.
	return s.writeOutput(c.Dst, func(w io.Writer) error {
		return s.readTar(c.Src, func(tr *tar.Reader) error {
			h, err := tr.Next()
			if err != nil {
				return err
			}
			if h.Typeflag != tar.TypeReg {
				return fail(1, "copy_from_container copies single files; use [results_archive] for a directory",
					"copy_from_container: %s is not a regular file", c.Src)
			}
			_, err = io.Copy(s.limited(w), tr)
			return err
		})
	})
}

// readTar runs fn on the engine's tar stream of a path.
func (s *Session) readTar(src string, fn func(*tar.Reader) error) error {
	return s.await(func(ctx context.Context) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		r, w := io.Pipe()
		copied := make(chan error, 1)
		go func() {
			err := s.eng.CopyOut(ctx, s.container, src, w)
			w.CloseWithError(err)
			copied <- err
		}()
		err := fn(tar.NewReader(r))
		if err == nil {
			_, err = io.Copy(io.Discard, r) // the stream's padding
		} else {
			cancel()
		}
		r.Close()
		if cerr := <-copied; cerr != nil && (err == nil || errors.Is(err, cerr) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)) {
			return cerr
		}
		return err
	})
}

// fetchSmall reads the end of a small file of the container.
func (s *Session) fetchSmall(ctx context.Context, src string) ([]byte, error) {
	var buf bytes.Buffer
	if err := s.eng.CopyOut(ctx, s.container, src, &capped{w: &buf, left: 64 << 10}); err != nil {
		return nil, err
	}
	tr := tar.NewReader(&buf)
	if h, err := tr.Next(); err != nil || h.Typeflag != tar.TypeReg {
		return nil, errors.New("not a regular file")
	}
	return io.ReadAll(tr)
}

// capped fails when more is written than allowed.
type capped struct {
	w    io.Writer
	left int64
}

func (c *capped) Write(p []byte) (int, error) {
	if c.left -= int64(len(p)); c.left < 0 {
		return 0, errTooLarge
	}
	return c.w.Write(p)
}

// limited keeps outputs within the job's disk bound: the client would abort the job anyway, but later.
func (s *Session) limited(w io.Writer) io.Writer {
	if bound := s.init.RscDiskBound; bound > 0 && bound < 1<<60 {
		return &capped{w: w, left: int64(bound)}
	}
	return w
}

// archiveResults packs the results directory and the container's streams into a gzip tar.
func (s *Session) archiveResults(r jobspec.Results) error {
	stdout, stderr := filepath.Join(s.dir, "boinc_container_stdout"), filepath.Join(s.dir, "boinc_container_stderr")
	defer os.Remove(stdout)
	defer os.Remove(stderr)
	if err := s.logFiles(stdout, stderr); err != nil {
		return err
	}
	err := s.writeOutput(r.Dst, func(w io.Writer) error {
		zw := gzip.NewWriter(s.limited(w))
		tw := tar.NewWriter(zw)
		seen := map[string]bool{}
		err := s.readTar(r.Src, func(tr *tar.Reader) error { return repack(tw, tr, r, seen, s.logf) })
		if err != nil && !errors.Is(err, engine.ErrNotFound) {
			return err
		}
		for _, stream := range []struct{ name, file string }{{r.Stdout, stdout}, {r.Stderr, stderr}} {
			if stream.name == "" {
				continue
			}
			name := stream.name
			if seen[name] { // the job's own file wins
				ext := path.Ext(name)
				name = strings.TrimSuffix(name, ext) + ".container" + ext
			}
			if err := addStream(tw, stream.file, name); err != nil {
				return err
			}
		}
		if err := tw.Close(); err != nil {
			return err
		}
		return zw.Close()
	})
	if errors.Is(err, errTooLarge) {
		return fail(196, "the job's rsc_disk_bound sets the limit", "the results are larger than %.0f bytes", s.init.RscDiskBound)
	}
	return err
}

func (s *Session) logFiles(stdout, stderr string) error {
	out, err := os.Create(stdout)
	if err != nil {
		return general(err, "saving the container's output")
	}
	defer out.Close()
	errs, err := os.Create(stderr)
	if err != nil {
		return general(err, "saving the container's output")
	}
	defer errs.Close()
	if err := s.try(func(ctx context.Context) error {
		for _, f := range []*os.File{out, errs} { // a second try starts anew
			if err := f.Truncate(0); err != nil {
				return err
			}
			f.Seek(0, io.SeekStart)
		}
		return s.eng.Logs(ctx, s.container, out, errs)
	}); err != nil {
		return general(err, "reading the container's output")
	}
	return nil
}

func addStream(tw *tar.Writer, file, name string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: st.Size(), Format: tar.FormatPAX}
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.CopyN(tw, f, st.Size())
	return err
}

// repack copies the engine's stream: names relative to the directory itself, owner root, only files, directories and
// links that stay inside.
func repack(tw *tar.Writer, tr *tar.Reader, r jobspec.Results, seen map[string]bool, logf func(string, ...any)) error {
	for first := true; ; first = false {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if first && h.Typeflag != tar.TypeDir {
			return fail(1, "results_archive.src must be a directory when the job ends", "%s in the container is not a directory", h.Name)
		}
		name := inner(h.Name)
		if name == "" {
			continue // the directory itself
		}
		if len(r.Include) > 0 && (h.Typeflag == tar.TypeDir || !r.Wants(name)) {
			continue
		}
		n := tar.Header{Typeflag: h.Typeflag, Name: name, Mode: h.Mode & 0o777, ModTime: h.ModTime, Format: tar.FormatPAX}
		switch h.Typeflag {
		case tar.TypeDir:
			n.Name += "/"
		case tar.TypeReg:
			n.Size = h.Size
		case tar.TypeSymlink:
			target := path.Join(path.Dir(name), h.Linkname)
			if path.IsAbs(h.Linkname) || target == ".." || strings.HasPrefix(target, "../") {
				logf("warning: results: the link %s leads outside and is left out", name)
				continue
			}
			n.Linkname = h.Linkname
		case tar.TypeLink:
			if n.Linkname = inner(h.Linkname); !seen[n.Linkname] {
				logf("warning: results: the link %s leads outside and is left out", name)
				continue
			}
		default:
			logf("warning: results: %s is not a file and is left out", name)
			continue
		}
		seen[name] = true
		if err := tw.WriteHeader(&n); err != nil {
			return err
		}
		if _, err := io.Copy(tw, tr); err != nil {
			return err
		}
	}
}

// inner strips the first component of a member's name and anything that would climb.
func inner(name string) string {
	clean := strings.TrimPrefix(path.Clean("/"+name), "/")
	_, rest, _ := strings.Cut(clean, "/")
	return rest
}
