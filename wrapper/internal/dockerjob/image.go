package dockerjob

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"

	"boincdock.org/wrapper/internal/boinc"
	"boincdock.org/wrapper/internal/engine"
	"boincdock.org/wrapper/internal/jobspec"
)

// imagePlan is what the job's container is made from.
type imagePlan struct {
	ref        string // to create from
	alias      string // second, readable name; "" = none
	built      bool   // from a Dockerfile, not a prebuilt image
	keep       bool   // leave it for later jobs of the app version
	file       string // image archive, "" = none
	source     string // logical name of the Dockerfile or the archive
	dockerfile string // text
	files      []contextFile
	hash       string
}

// contextFile is one file of the build context.
type contextFile struct {
	name string // path in the context, with slashes
	path string // the real file
	exec bool
}

// planImage decides how the image is named and what it is built from, without asking the engine.
func (s *Session) planImage() error {
	if s.spec.ImageFile != "" {
		return s.planImageFile()
	}
	name := s.cfg.Dockerfile
	path, err := s.source(name)
	if err != nil {
		return err
	}
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		if s.spec.ImageName == "" {
			return fail(exitInitFailure, "the app version or the job must bring a Dockerfile, or job.toml an image_name",
				"there is no %s and no image_name", name)
		}
		s.image = imagePlan{ref: s.spec.ImageName}
		return nil
	}
	if err != nil {
		return fail(exitInitFailure, "", "cannot read %s: %v", name, err)
	}
	p := imagePlan{built: true, source: name, dockerfile: string(raw)}
	if p.files, err = s.contextFiles(p.dockerfile); err != nil {
		return err
	}
	if p.hash, err = contentHash(p.dockerfile, p.files, s.spec.BuildArgs); err != nil {
		return fail(exitInitFailure, "", "cannot read the build context: %v", err)
	}
	single := s.spec.Model == jobspec.ModelSinglePurpose
	switch {
	case s.spec.ImageName != "":
		p.ref, p.keep = s.spec.ImageName, true
	case s.rt.Standalone():
		p.ref, p.keep = standaloneName, s.cfg.Keep
	default:
		p.ref, p.alias = contentRef(s.init, p.hash), ImageAlias(s.init, single)
		p.keep = single || s.isAppFile(name)
	}
	if s.spec.KeepImage != nil && s.spec.ImageName == "" {
		p.keep = *s.spec.KeepImage
	}
	s.image = p
	return nil
}

// contextFiles lists the slot files that the Dockerfile needs, links resolved.
// The runtime's own files, init_data.xml with the account key first of all, are never among them.
func (s *Session) contextFiles(dockerfile string) ([]contextFile, error) {
	sources, all := contextSources(dockerfile)
	var out []contextFile
	err := filepath.WalkDir(s.dir, func(p string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(s.dir, p)
		if err != nil || rel == "." {
			return err
		}
		name := filepath.ToSlash(rel)
		if runtimeFile(name) {
			if e.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if e.IsDir() || (e.Type()&^os.ModeSymlink != 0) {
			return nil
		}
		if !all && name != ".dockerignore" && !wanted(name, sources) {
			return nil
		}
		real, err := s.source(rel)
		if err != nil {
			return err
		}
		st, err := os.Stat(real)
		if errors.Is(err, os.ErrNotExist) {
			return nil // an output that does not exist yet
		}
		if err != nil || !st.Mode().IsRegular() {
			return err
		}
		out = append(out, contextFile{name: name, path: real, exec: executable(st)})
		return nil
	})
	var o *outcome
	if err != nil && !errors.As(err, &o) {
		err = fail(exitInitFailure, "", "cannot read the slot directory: %v", err)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].name < out[j].name })
	return out, err
}

func runtimeFile(name string) bool {
	switch name {
	case boinc.InitDataFile, boinc.StderrFile, boinc.TrickleUpFile, stateFile, stateFile + boinc.TempSuffix, fractionFile, "graphics_status.xml":
		return true
	}
	return strings.HasPrefix(name, "boinc_") || strings.HasPrefix(name, "trickle_down")
}

// wanted tells whether one of the COPY sources covers a file.
func wanted(name string, sources []string) bool {
	for _, src := range sources {
		for part := name; part != "." && part != ""; part = path.Dir(part) {
			if ok, err := path.Match(src, part); part == src || (err == nil && ok) {
				return true
			}
		}
	}
	return false
}

// contentHash identifies what an image is made of, 64 hex digits.
func contentHash(dockerfile string, files []contextFile, buildArgs []string) (string, error) {
	h := sha256.New()
	field := func(s string) { fmt.Fprintf(h, "%d:%s\n", len(s), s) }
	field("boincdock image 1")
	field(dockerfile)
	field(strconv.Itoa(len(buildArgs)))
	for _, a := range buildArgs {
		field(a)
	}
	for _, f := range files {
		sum, err := fileHash(f.path)
		if err != nil {
			return "", err
		}
		field(f.name)
		field(strconv.FormatBool(f.exec))
		field(sum)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func fileHash(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// ensureImage makes sure that the image is in the engine; it returns holding
// the image's lock, so that nobody removes the image before our container is made from it.
func (s *Session) ensureImage() (*boinc.FileLock, error) {
	lock, err := s.lockImage()
	if err != nil {
		return nil, err
	}
	if err = s.provideImage(); err != nil {
		lock.Unlock()
		return nil, err
	}
	return lock, nil
}

func (s *Session) provideImage() error {
	info, err := s.inspectImage()
	switch {
	case err == nil:
		if s.rt.Standalone() && s.image.built && s.image.file == "" && s.spec.ImageName == "" && info.Labels["boinc.content"] != s.image.hash {
			break // the fixed name stands for other content
		}
		s.workdir = info.Workdir
		return s.nameImage()
	case !errors.Is(err, engine.ErrNotFound):
		return general(err, "looking for the image "+s.image.ref)
	}
	if err := s.makeImage(); err != nil {
		return err
	}
	if info, err = s.inspectImage(); err != nil {
		return general(err, "the new image "+s.image.ref)
	}
	s.workdir = info.Workdir
	if err := s.nameImage(); err != nil {
		return err
	}
	if s.image.built && s.image.keep && s.spec.ImageName == "" && !s.rt.Standalone() {
		s.removeOlderVersions()
	}
	return nil
}

func (s *Session) inspectImage() (info engine.Image, err error) {
	err = s.try(func(ctx context.Context) (e error) {
		info, e = s.eng.InspectImage(ctx, s.image.ref)
		return e
	})
	return info, err
}

// makeImage loads, builds or pulls it.
func (s *Session) makeImage() error {
	if s.image.file != "" {
		if err := s.loadImage(); err != nil {
			return general(err, "loading the image "+s.spec.ImageFile)
		}
		return nil
	}
	if err := s.waitForNetwork(); err != nil {
		return err
	}
	return s.obtainImage()
}

// nameImage gives the image its readable name as well.
func (s *Session) nameImage() error {
	if s.image.alias == "" {
		return nil
	}
	err := s.try(func(ctx context.Context) error { return s.eng.Tag(ctx, s.image.ref, s.image.alias) })
	if err != nil {
		return general(err, "naming the image "+s.image.alias)
	}
	return nil
}

// lockImage waits until no other job builds or removes the same image.
func (s *Session) lockImage() (*boinc.FileLock, error) {
	said := false
	for {
		lock, err := s.tryImageLock()
		switch {
		case err == nil:
			return lock, nil
		case errors.Is(err, boinc.ErrLocked):
			if !said {
				s.logf("another job is building or removing the image %s: waiting for it", s.image.ref)
				said = true
			}
			if err := s.sleep(200 * time.Millisecond); err != nil {
				return nil, err
			}
		default:
			return nil, fail(1, "", "cannot lock the image: %v", err)
		}
	}
}

// waitForNetwork: while the user has suspended networking, ask for it and wait.
func (s *Session) waitForNetwork() error {
	if s.rt.Standalone() {
		return nil
	}
	for i := 0; !s.rt.State().HaveHeartbeat && i < 50; i++ {
		if err := s.sleep(100 * time.Millisecond); err != nil {
			return err
		}
	}
	defer s.rt.WantNetwork(false)
	said := false
	for s.rt.State().Beat.NetworkSuspended {
		if !said {
			s.logf("the image may need the network, which is suspended: waiting")
			said = true
		}
		s.rt.WantNetwork(true)
		if err := s.sleep(500 * time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// obtainImage builds or pulls, again after a while when the network is in the way.
func (s *Session) obtainImage() error {
	for i := 0; ; i++ {
		err := s.buildOrPull()
		if err == nil || errors.Is(err, errStop) {
			return err
		}
		what := "pulling the image " + s.image.ref
		hint := "the image must be in this engine or in a registry that can be reached"
		if s.image.built {
			what = "building the image " + s.image.alias
			hint = "the output above says which step failed"
			if base := baseImage(s.image.dockerfile); base != "" {
				hint += "; the base image " + base + " must be in this engine or in a registry that can be reached"
			}
		}
		if !errors.Is(err, engine.ErrNetwork) {
			var o *outcome
			if g := general(err, what); errors.As(g, &o) && o.hint == "" {
				o.hint = hint
				return o
			} else {
				return g
			}
		}
		if i == len(s.cfg.RetryDelays) {
			return postpone(3600, false, hint, "%s: the network does not work: %s", what, brief(err))
		}
		delay := s.cfg.RetryDelays[i]
		s.logf("warning: %s: the network does not work, again in %v: %s", what, delay, brief(err))
		s.rt.WantNetwork(true)
		err = s.sleep(delay)
		if err == nil {
			err = s.awaitRegistry()
		}
		s.rt.WantNetwork(false)
		if err != nil {
			return err
		}
	}
}

func (s *Session) buildOrPull() error {
	proxy := ProxyEnv(s.init.Proxy)
	if !s.image.built {
		s.logf("pulling the image %s", s.image.ref)
		return s.await(func(ctx context.Context) error { return s.eng.Pull(ctx, s.image.ref, proxy) })
	}
	dir := filepath.Join(s.dir, contextDir)
	defer os.RemoveAll(dir)
	sum := sha256.Sum256([]byte(s.image.dockerfile))
	text, labels := withLabels(s.image.dockerfile, map[string]string{
		"boinc.project": s.init.ProjectFolder(), "boinc.app": s.init.AppName,
		"boinc.version": strconv.Itoa(s.init.AppVersion), "boinc.content": s.image.hash,
		"boinc.dockerfile": hex.EncodeToString(sum[:]), labelClient: s.clientID(), labelKeep: strconv.FormatBool(s.image.keep),
	}, s.spec.BuildArgs)
	if err := writeContext(dir, s.image.files, text); err != nil {
		return general(err, "preparing the build context")
	}
	s.logf("building the image %s", s.image.ref)
	start := time.Now()
	err := s.await(func(ctx context.Context) error {
		return s.eng.Build(ctx, engine.BuildSpec{
			Context: dir, Dockerfile: filepath.Join(dir, buildFile), Tags: []string{s.image.ref},
			Labels: labels, Args: s.spec.BuildArgs, ProxyEnv: proxy, Timeout: time.Duration(s.spec.BuildTimeout) * time.Second})
	})
	if err == nil {
		s.logf("built in %.1f s", time.Since(start).Seconds())
	}
	if errors.Is(err, engine.ErrTimeout) {
		return fail(1, "build_timeout in job.toml sets the limit", "the image was not built within %d s", s.spec.BuildTimeout)
	}
	return err
}

// writeContext fills the directory with plain, world-readable files.
func writeContext(dir string, files []contextFile, dockerfile string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, f := range files {
		mode := os.FileMode(0o644)
		if f.exec {
			mode = 0o755
		}
		dst := filepath.Join(dir, filepath.FromSlash(f.name))
		if err := os.MkdirAll(filepath.Dir(dst), 0o755); err != nil {
			return err
		}
		if err := copyFile(f.path, dst, mode); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, buildFile), []byte(dockerfile), 0o644)
}

func copyFile(src, dst string, mode os.FileMode) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	return err
}

// removeOlderVersions: after a new version's image was built, those of lower versions of the app
// go, except where a container still uses them.
func (s *Session) removeOlderVersions() {
	s.await(func(ctx context.Context) error {
		refs, err := s.eng.ImagesByLabel(ctx, "boinc.project="+s.init.ProjectFolder(), "boinc.app="+s.init.AppName)
		if err != nil {
			return nil
		}
		for _, ref := range refs {
			info, err := s.eng.InspectImage(ctx, ref)
			if err != nil {
				continue
			}
			version, err := strconv.Atoi(info.Labels["boinc.version"])
			if err == nil && version < s.init.AppVersion && info.Labels["boinc.content"] != s.image.hash {
				if s.eng.RemoveImage(ctx, ref) == nil {
					s.logf("removed the image %s of version %d", ref, version)
				}
			}
		}
		return nil
	})
}

// releaseImage removes what this job's image leaves behind, unless other jobs need it. Best effort.
func (s *Session) releaseImage(ctx context.Context) {
	p := s.image
	if !p.built || s.spec.ImageName != "" || s.cfg.Keep {
		return
	}
	single := s.spec.Model == jobspec.ModelSinglePurpose
	if p.alias != "" && !(single && p.keep && !s.rt.State().Abort) {
		s.eng.RemoveImage(ctx, p.alias)
	}
	if p.keep && !s.rt.State().Abort || s.sourceUsedElsewhere() {
		return
	}
	// Two jobs that end at once must not both leave the image to the other.
	lock, err := s.tryImageLock()
	for i := 0; errors.Is(err, boinc.ErrLocked) && i < 100; i++ {
		pause(ctx, 100*time.Millisecond)
		lock, err = s.tryImageLock()
	}
	if err != nil {
		return // a long build: that job will remove the image at its end
	}
	defer lock.Unlock()
	if err := s.eng.RemoveImage(ctx, p.ref); err != nil && !errors.Is(err, engine.ErrNotFound) && !errors.Is(err, engine.ErrInUse) {
		s.logf("warning: cannot remove the image: %s", brief(err))
	}
}

func (s *Session) tryImageLock() (*boinc.FileLock, error) {
	sum := sha256.Sum256([]byte(s.image.ref))
	name := "boinc_build_" + hex.EncodeToString(sum[:8]) + ".lock"
	lock, err := boinc.TryFileLock(filepath.Join(s.project, name))
	if err != nil && !errors.Is(err, boinc.ErrLocked) {
		return boinc.TryFileLock(filepath.Join(os.TempDir(), name))
	}
	return lock, err
}

// maxClientState is the largest client_state.xml that is looked at, in bytes.
const maxClientState = 256 << 20

// sourceUsedElsewhere tells whether another workunit on this host brings the same Dockerfile or image file: then its
// image is worth keeping until the last of them ends. The client's own list says so.
func (s *Session) sourceUsedElsewhere() bool {
	path := filepath.Join(s.dir, "..", "..", "client_state.xml")
	if st, err := os.Stat(path); s.rt.Standalone() || err != nil || st.Size() > maxClientState {
		return false
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	files := map[string]string{} // workunit: physical name of its Dockerfile or image file
	for text := string(raw); ; {
		_, rest, found := strings.Cut(text, "<workunit>")
		if !found {
			break
		}
		block, after, _ := strings.Cut(rest, "</workunit>")
		if name, file := sourceOf(block, s.image.source); file != "" {
			files[name] = file
		}
		text = after
	}
	mine := files[s.init.WUName]
	for name, file := range files {
		if mine != "" && file == mine && name != s.init.WUName {
			return true
		}
	}
	return false
}

// sourceOf reads a <workunit> block of client_state.xml: the file that has the logical name.
func sourceOf(block, logical string) (name, physical string) {
	for _, e := range boinc.Elements([]byte(block)) {
		switch e.Name {
		case "name":
			name = strings.TrimSpace(string(e.Body))
		case "file_ref":
			var file, open string
			for _, f := range boinc.Elements(e.Body) {
				switch f.Name {
				case "file_name":
					file = strings.TrimSpace(string(f.Body))
				case "open_name":
					open = strings.TrimSpace(string(f.Body))
				}
			}
			if open == logical {
				physical = file
			}
		}
	}
	return name, physical
}
