package dockerjob

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"boincdock.org/wrapper/internal/boinc"
	"boincdock.org/wrapper/internal/engine"
	"boincdock.org/wrapper/internal/jobspec"
)

// An image that comes as an input file (job.toml: image_file): an archive of `docker save`, `podman save` or
// an OCI layout, plain or compressed. BOINC has verified the file; its content is the image's name here. The names
// that the archive itself gives are replaced while it is loaded, so that a job cannot
// put its image in the place of another one of this engine.

const (
	maxImageIndex = 16 << 20 // of manifest.json, index.json and an image's configuration
	maxZstdMemory = 1 << 30
)

// planImageFile plans a job whose image is one of its files.
func (s *Session) planImageFile() error {
	name := s.spec.ImageFile
	file, err := s.source(name)
	if err != nil {
		return err
	}
	if st, err := os.Stat(file); err != nil || !st.Mode().IsRegular() {
		return fail(exitInitFailure, "the app version or the job must bring the image as an input file", "image_file: there is no file %s", name)
	}
	if _, err := os.Lstat(filepath.Join(s.dir, s.cfg.Dockerfile)); err == nil {
		s.logf("warning: image_file is set: the %s is not used", s.cfg.Dockerfile)
	}
	hash, err := s.cachedHash(file)
	if err != nil {
		return fail(exitInitFailure, "", "cannot read the image %s: %v", name, err)
	}
	p := imagePlan{built: true, file: file, source: name, hash: hash}
	if s.rt.Standalone() {
		p.ref, p.keep = standaloneName+":"+hash[:32], s.cfg.Keep
	} else {
		single := s.spec.Model == jobspec.ModelSinglePurpose
		p.ref, p.alias = contentRef(s.init, hash), ImageAlias(s.init, single)
		p.keep = single || s.isAppFile(name)
	}
	if s.spec.KeepImage != nil {
		p.keep = *s.spec.KeepImage
	}
	s.image = p
	return nil
}

// hashNote is the remembered hash of a large file of the project directory. BOINC's files never change their content.
type hashNote struct {
	Size   int64  `json:"size"`
	MTime  int64  `json:"mtime_ns"`
	SHA256 string `json:"sha256"`
}

// cachedHash is the file's SHA-256; that of a project file is kept beside it, because
// images have gigabytes and every job of the app version asks.
func (s *Session) cachedHash(file string) (string, error) {
	if !boinc.Inside(s.project, file) {
		return fileHash(file)
	}
	st, err := os.Stat(file)
	if err != nil {
		return "", err
	}
	note := filepath.Join(s.project, "boinc_hash_"+filepath.Base(file)+".json")
	var n hashNote
	if raw, err := os.ReadFile(note); err == nil && json.Unmarshal(raw, &n) == nil && n.Size == st.Size() &&
		n.MTime == st.ModTime().UnixNano() && len(n.SHA256) == 64 {
		return n.SHA256, nil
	}
	hash, err := fileHash(file)
	if err != nil {
		return "", err
	}
	raw, _ := json.Marshal(hashNote{st.Size(), st.ModTime().UnixNano(), hash})
	boinc.WriteAtomic(note, append(raw, '\n'), 0o644) // only a shortcut
	return hash, nil
}

// loadImage puts the file's image into the engine under our name and checks that it is the file's.
func (s *Session) loadImage() error {
	s.logf("loading the image %s from the file %s", s.image.ref, s.spec.ImageFile)
	start := time.Now()
	var found archived
	err := s.await(func(ctx context.Context) error {
		f, err := os.Open(s.image.file)
		if err != nil {
			return err
		}
		defer f.Close()
		r, w := io.Pipe()
		done := make(chan error, 1)
		go func() {
			var err error
			found, err = renameArchive(f, w, s.image.ref)
			w.CloseWithError(err)
			done <- err
		}()
		err = s.eng.Load(ctx, r)
		r.CloseWithError(io.ErrClosedPipe)
		if aerr := <-done; aerr != nil && !errors.Is(aerr, io.ErrClosedPipe) {
			return fail(exitInitFailure, "the file must be made by `docker save` or `podman save` of one image, plain or as .gz, .bz2 or .zst",
				"image_file %s: %v", s.spec.ImageFile, aerr)
		}
		return err
	})
	if err != nil {
		return err
	}
	if err := s.identify(found); err != nil {
		return err
	}
	s.logf("loaded in %.1f s", time.Since(start).Seconds())
	return nil
}

// identify makes sure that our name stands for the archive's image: same layers, in the same order.
func (s *Session) identify(found archived) error {
	info, err := s.inspectImage()
	if errors.Is(err, engine.ErrNotFound) { // the engine did not take the name: give it
		for _, id := range found.ids {
			if terr := s.try(func(ctx context.Context) error { return s.eng.Tag(ctx, id, s.image.ref) }); terr == nil {
				info, err = s.inspectImage()
				break
			}
		}
	}
	if err != nil {
		return general(err, "looking for the loaded image "+s.image.ref)
	}
	if !slices.Equal(info.Layers, found.layers) {
		s.await(func(ctx context.Context) error { return s.eng.RemoveImage(ctx, s.image.ref) })
		return fail(1, "another program may be changing this engine's images", "the engine loaded another image than the file %s holds", s.spec.ImageFile)
	}
	return nil
}

// decompress opens an archive by its first bytes.
func decompress(r io.Reader) (io.Reader, func(), error) {
	b := bufio.NewReaderSize(r, 1<<16)
	head, _ := b.Peek(6)
	none := func() {}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(b)
		return z, none, err
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxZstdMemory))
		if err != nil {
			return nil, none, err
		}
		return z, z.Close, nil
	case bytes.HasPrefix(head, []byte("BZh")):
		return bzip2.NewReader(b), none, nil
	case bytes.HasPrefix(head, []byte{0xfd, '7', 'z', 'X', 'Z', 0}):
		return nil, none, errors.New("xz is not supported")
	}
	return b, none, nil
}

// archived is what an archive says of its image.
type archived struct {
	ids    []string // by which an engine may know it
	layers []string // diff ids, "sha256:…"
}

// renameArchive copies an image archive, uncompressed, with ref as its image's only name.
func renameArchive(in io.Reader, out io.Writer, ref string) (archived, error) {
	var a archived
	r, closeReader, err := decompress(in)
	if err != nil {
		return a, err
	}
	defer closeReader()
	tr, tw := tar.NewReader(r), tar.NewWriter(out)
	small := map[string][]byte{} // JSON files, by name and by digest
	config, indexed, members := "", []string(nil), 0
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return a, fmt.Errorf("not a readable tar file: %w", err)
		}
		members++
		name := path.Clean(h.Name)
		switch {
		case name == "repositories":
			continue // old names
		case name == "manifest.json" || name == "index.json":
			raw, err := readIndex(h, tr)
			if err != nil {
				return a, err
			}
			if name == "manifest.json" {
				raw, config, err = renameManifest(raw, ref)
			} else {
				raw, indexed, err = renameIndex(raw, ref)
			}
			if err != nil {
				return a, fmt.Errorf("%s: %w", name, err)
			}
			h.Size = int64(len(raw))
			h.Format, h.PAXRecords = tar.FormatUnknown, nil
			if err := tw.WriteHeader(h); err != nil {
				return a, err
			}
			if _, err := tw.Write(raw); err != nil {
				return a, err
			}
			continue
		}
		h.Format = tar.FormatUnknown
		if err := tw.WriteHeader(h); err != nil {
			return a, err
		}
		if err := copyMember(tw, tr, h, name, small); err != nil {
			return a, err
		}
	}
	if members == 0 || config == "" && len(indexed) == 0 {
		return a, errors.New("no image in it (neither manifest.json nor index.json)")
	}
	if a, err = describe(config, indexed, small); err != nil {
		return a, err
	}
	return a, tw.Close()
}

func readIndex(h *tar.Header, r io.Reader) ([]byte, error) {
	if h.Typeflag != tar.TypeReg || h.Size > maxImageIndex {
		return nil, fmt.Errorf("%s is not a small file", h.Name)
	}
	return io.ReadAll(r)
}

// copyMember copies one member and remembers it if it may be an image's description.
func copyMember(w io.Writer, r io.Reader, h *tar.Header, name string, small map[string][]byte) error {
	if h.Typeflag != tar.TypeReg || h.Size > 4<<20 || len(small) > 2000 {
		_, err := io.Copy(w, r)
		return err
	}
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if t := bytes.TrimLeft(raw, " \r\n\t"); len(t) > 0 && t[0] == '{' {
		sum := sha256.Sum256(raw)
		small[name], small["sha256:"+hex.EncodeToString(sum[:])] = raw, raw
	}
	_, err = w.Write(raw)
	return err
}

// renameManifest changes the names in a `docker save` archive's manifest.json; config is the name of the member that describes the image.
func renameManifest(raw []byte, ref string) (out []byte, config string, err error) {
	var list []map[string]json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, "", err
	}
	if len(list) != 1 {
		return nil, "", fmt.Errorf("%d images instead of one", len(list))
	}
	if err := json.Unmarshal(list[0]["Config"], &config); err != nil {
		return nil, "", errors.New("no Config")
	}
	list[0]["RepoTags"], _ = json.Marshal([]string{ref})
	out, err = json.Marshal(list)
	return out, path.Clean(config), err
}

// renameIndex changes the names in an OCI layout's index.json.
func renameIndex(raw []byte, ref string) (out []byte, digests []string, err error) {
	var top map[string]json.RawMessage
	if err := json.Unmarshal(raw, &top); err != nil {
		return nil, nil, err
	}
	var list []map[string]json.RawMessage
	if err := json.Unmarshal(top["manifests"], &list); err != nil {
		return nil, nil, errors.New("no manifests")
	}
	if len(list) != 1 {
		return nil, nil, fmt.Errorf("%d images instead of one", len(list))
	}
	var digest string
	if err := json.Unmarshal(list[0]["digest"], &digest); err != nil {
		return nil, nil, errors.New("no digest")
	}
	notes := map[string]string{}
	json.Unmarshal(list[0]["annotations"], &notes)
	if notes == nil {
		notes = map[string]string{}
	}
	notes["io.containerd.image.name"] = "docker.io/library/" + ref
	notes["org.opencontainers.image.ref.name"] = ref
	list[0]["annotations"], _ = json.Marshal(notes)
	top["manifests"], _ = json.Marshal(list)
	out, err = json.Marshal(top)
	return out, []string{digest}, err
}

// describe finds the image's configuration: named by manifest.json, or by the manifest that index.json names.
func describe(config string, indexed []string, small map[string][]byte) (archived, error) {
	a := archived{ids: indexed}
	raw := small[config]
	for _, digest := range indexed {
		var m struct {
			Config    struct{ Digest string }
			Manifests []struct{ Digest string }
		}
		json.Unmarshal(small[digest], &m)
		if m.Config.Digest == "" && len(m.Manifests) > 0 {
			json.Unmarshal(small[m.Manifests[0].Digest], &m)
		}
		if raw == nil {
			raw = small[m.Config.Digest]
		}
	}
	if raw == nil {
		return a, errors.New("the image's configuration is missing")
	}
	var c struct {
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := json.Unmarshal(raw, &c); err != nil || len(c.RootFS.DiffIDs) == 0 {
		return a, errors.New("the image's configuration names no layers")
	}
	sum := sha256.Sum256(raw)
	id := "sha256:" + hex.EncodeToString(sum[:])
	if base := strings.TrimSuffix(path.Base(config), ".json"); len(base) == 64 && "sha256:"+base != id {
		return a, errors.New("the image's configuration was changed: it does not have the digest of its name")
	}
	a.ids = append([]string{id}, a.ids...)
	a.layers = c.RootFS.DiffIDs
	return a, nil
}
