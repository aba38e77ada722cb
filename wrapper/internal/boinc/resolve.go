package boinc

import (
	"io"
	"os"
	"path/filepath"
	"strings"
)

const maxLinkLine = 511

// Resolve turns a logical name in dir into the path of the file behind it,
// relative to dir unless it was absolute (spec 07 §1.4). A symbolic link, a
// file without a <soft_link> line and a file that does not exist resolve to themselves.
func Resolve(dir, name string) string {
	path := name
	if !filepath.IsAbs(name) {
		path = filepath.Join(dir, name)
	}
	if st, err := os.Lstat(path); err != nil || !st.Mode().IsRegular() {
		return name
	}
	f, err := os.Open(path)
	if err != nil {
		return name
	}
	defer f.Close()
	head, err := io.ReadAll(io.LimitReader(f, maxLinkLine))
	if err != nil {
		return name
	}
	if target, ok := softLink(string(head)); ok {
		return target
	}
	return name
}

// softLink parses the first line of a link file.
func softLink(head string) (string, bool) {
	line, _, _ := strings.Cut(head, "\n")
	_, after, found := strings.Cut(line, "<soft_link>")
	if !found {
		return "", false
	}
	target, _, _ := strings.Cut(after, "<")
	target = Unescape(strings.TrimSpace(target))
	if target == "" || strings.ContainsRune(target, 0) {
		return "", false
	}
	return target, true
}

// IsLink tells whether name in dir stands for a file elsewhere: a link file or a symbolic link.
func IsLink(dir, name string) bool {
	if Resolve(dir, name) != name {
		return true
	}
	st, err := os.Lstat(filepath.Join(dir, name))
	return err == nil && st.Mode()&os.ModeSymlink != 0
}

// Physical returns the absolute path behind a logical name, following both
// kinds of link as far as they exist.
func Physical(dir, name string) string {
	path := Resolve(dir, name)
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	// The target may not exist yet (an output): follow one symbolic link by hand.
	if target, err := os.Readlink(path); err == nil {
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(path), target)
		}
		return filepath.Clean(target)
	}
	return filepath.Clean(path)
}

// Inside tells whether path lies in the directory dir (or is dir). Both are absolute;
// symbolic links are resolved as far as the path exists.
func Inside(dir, path string) bool {
	rel, err := filepath.Rel(realPath(dir), realPath(path))
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

func realPath(p string) string {
	p = filepath.Clean(p)
	if real, err := filepath.EvalSymlinks(p); err == nil {
		return real
	}
	parent := filepath.Dir(p)
	if parent == p {
		return p
	}
	return filepath.Join(realPath(parent), filepath.Base(p))
}
