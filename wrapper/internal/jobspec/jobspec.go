// Package jobspec reads job.toml, the description of how a job runs in its
// container (spec 07 §7.1), and decides what a job that is not code-signed may ask for (§7.4).
package jobspec

import (
	"errors"
	"fmt"
	"math"
	"path"
	"sort"
	"strings"

	"github.com/BurntSushi/toml"

	"boincdock.org/wrapper/internal/boinc"
)

// MaxSize is the largest job.toml that is read, in bytes.
const MaxSize = 1 << 20

// Models of image naming and removal (spec 07 §7.3).
const (
	ModelUniversal     = "universal"
	ModelSemiUniversal = "semi-universal"
	ModelSinglePurpose = "single-purpose"
)

// DefaultWorkdir is where the slot is mounted when nothing else is said.
const DefaultWorkdir = "/app"

// Copy is one file to copy into or out of the container.
type Copy struct{ Src, Dst string }

// Results describes the archive of a directory of the container ([results_archive]).
type Results struct {
	Src            string   // directory in the container, made before the start
	Dst            string   // logical name of the output file
	Stdout, Stderr string   // members for the container's streams, "" = left out
	Include        []string // patterns of the files wanted, nil = all
}

// Wants says whether a file, named relative to Src, belongs into the archive. Patterns are those of path.Match;
// one without a slash looks at file names in all folders, one that ends in a slash takes the folder.
func (r Results) Wants(name string) bool {
	for _, pattern := range r.Include {
		if folder, ok := strings.CutSuffix(pattern, "/"); ok {
			if strings.HasPrefix(name, folder+"/") {
				return true
			}
			continue
		}
		subject := name
		if !strings.Contains(pattern, "/") {
			subject = path.Base(name)
		}
		if ok, _ := path.Match(pattern, subject); ok {
			return true
		}
	}
	return len(r.Include) == 0
}

// Spec is a checked job.toml.
type Spec struct {
	Workdir, SlotDirMount, ProjectDirMount string
	CopyTo, CopyFrom                       []Copy
	UseGPU                                 *bool // nil: as init_data.xml says
	CheckpointPeriod                       int   // seconds, 0: as init_data.xml says
	ImageName                              string
	ImageFile                              string // logical name of an image archive
	Model                                  string
	ModelGiven                             bool
	BuildArgs, CreateArgs                  []string
	Mount, Portmap                         []string
	GraphicsPort                           int
	Verbose                                int
	MemoryLimit                            int64 // bytes, 0: none
	MemoryLimitFromBound                   bool  // memory_limit = true
	CPULimit                               bool
	KeepImage                              *bool
	ProjectDirReadonly                     bool
	Network                                bool
	HideInitData                           *bool // nil: hidden from jobs that are not signed
	Env                                    map[string]string
	BuildTimeout                           int      // seconds
	Command, Entrypoint                    []string // nil: the image's own; empty: none
	Results                                *Results
	Warnings                               []string
}

// Default is the spec of a job without job.toml.
func Default() *Spec {
	return &Spec{Model: ModelUniversal, Verbose: 1, CPULimit: true, Network: true, BuildTimeout: 3600}
}

// Error is a mistake in job.toml: which key, on which line, what.
type Error struct {
	Key  string
	Line int
	Msg  string
}

func (e *Error) Error() string {
	s := "job.toml"
	if e.Line > 0 {
		s += fmt.Sprintf(" line %d", e.Line)
	}
	if e.Key != "" {
		s += ": " + e.Key
	}
	return s + ": " + e.Msg
}

// Parse reads the text of a job.toml. The error is an *Error.
func Parse(text string) (*Spec, error) {
	if len(text) > MaxSize {
		return nil, &Error{Msg: fmt.Sprintf("larger than %d bytes", MaxSize)}
	}
	raw := map[string]any{}
	if _, err := toml.Decode(text, &raw); err != nil {
		var pe toml.ParseError
		if errors.As(err, &pe) {
			line := pe.Position.Line
			if line == 0 { // the end of the file
				line = strings.Count(text, "\n") + 1
			}
			return nil, &Error{Line: line, Key: pe.LastKey, Msg: pe.Message}
		}
		return nil, &Error{Msg: strings.TrimPrefix(err.Error(), "toml: ")}
	}
	r := &reader{text: text, table: raw, used: map[string]bool{}}
	s := Default()
	r.scalars(s)
	r.lists(s)
	s.Results = r.results()
	r.unknown(s)
	if r.err != nil {
		return nil, r.err
	}
	return s, nil
}

// reader takes typed values out of the decoded table; the first mistake sticks.
type reader struct {
	text   string
	table  map[string]any
	prefix string // name of the table being read, with a dot
	used   map[string]bool
	err    error
}

func (r *reader) fail(key, format string, a ...any) {
	if r.err == nil {
		r.err = &Error{Key: r.prefix + key, Line: lineOf(r.text, key), Msg: fmt.Sprintf(format, a...)}
	}
}

// lineOf finds the line that sets key, 0 if it cannot be told.
func lineOf(text, key string) int {
	for i, line := range strings.Split(text, "\n") {
		t := strings.TrimLeft(strings.TrimSpace(line), "[")
		t = strings.TrimPrefix(t, `"`)
		if rest, ok := strings.CutPrefix(t, key); ok {
			rest = strings.TrimLeft(rest, "\" \t")
			if strings.HasPrefix(rest, "=") || strings.HasPrefix(rest, "]") || strings.HasPrefix(rest, ".") {
				return i + 1
			}
		}
	}
	return 0
}

func (r *reader) take(key string) (any, bool) {
	r.used[key] = true
	v, ok := r.table[key]
	return v, ok
}

func (r *reader) str(key string) string {
	v, ok := r.take(key)
	if !ok {
		return ""
	}
	s, ok := v.(string)
	switch {
	case !ok:
		r.fail(key, "must be a string, not %s", kind(v))
	case strings.ContainsRune(s, 0):
		r.fail(key, "must not hold a NUL character")
	}
	return s
}

// abs reads an absolute path in the container.
func (r *reader) abs(key string) string {
	s := r.str(key)
	if _, given := r.table[key]; given && r.err == nil {
		r.checkAbs(key, s)
	}
	return s
}

func (r *reader) checkAbs(key, s string) {
	if !strings.HasPrefix(s, "/") || strings.ContainsAny(s, ":\n\r") {
		r.fail(key, "must be an absolute path in the container without a colon, not %q", s)
	}
}

func (r *reader) boolean(key string, def bool) bool {
	if v, ok := r.take(key); ok {
		b, ok := v.(bool)
		if !ok {
			r.fail(key, "must be true or false, not %s", kind(v))
		}
		return b
	}
	return def
}

func (r *reader) optBool(key string) *bool {
	if _, ok := r.table[key]; !ok {
		return nil
	}
	b := r.boolean(key, false)
	return &b
}

// integer reads a number between lo and hi; fractions are cut off.
func (r *reader) integer(key string, def, lo, hi int64) int64 {
	v, ok := r.take(key)
	if !ok {
		return def
	}
	var n int64
	switch x := v.(type) {
	case int64:
		n = x
	case float64:
		if math.IsNaN(x) || x > 1<<62 || x < -1<<62 {
			r.fail(key, "is out of range")
			return def
		}
		n = int64(x)
	default:
		r.fail(key, "must be a number, not %s", kind(v))
		return def
	}
	if n < lo || n > hi {
		r.fail(key, "must be between %d and %d, not %d", lo, hi, n)
	}
	return n
}

// strings reads an array of strings; with split, also one string that is split into words.
func (r *reader) strings(key string, split bool) []string {
	v, ok := r.take(key)
	if !ok {
		return nil
	}
	if s, ok := v.(string); ok && split {
		return r.checked(key, boinc.SplitArgs(s))
	}
	list, ok := v.([]any)
	if !ok {
		r.fail(key, "must be an array of strings, not %s", kind(v))
		return nil
	}
	out := make([]string, 0, len(list))
	for i, e := range list {
		s, ok := e.(string)
		if !ok {
			r.fail(key, "element %d must be a string, not %s", i+1, kind(e))
			return nil
		}
		out = append(out, s)
	}
	return r.checked(key, out)
}

func (r *reader) checked(key string, list []string) []string {
	for i, s := range list {
		if strings.ContainsRune(s, 0) {
			r.fail(key, "element %d must not hold a NUL character", i+1)
		}
	}
	return list
}

func (r *reader) copies(key string) []Copy {
	v, ok := r.take(key)
	if !ok {
		return nil
	}
	var tables []map[string]any
	switch list := v.(type) {
	case []map[string]any: // [[key]]
		tables = list
	case []any:
		for _, e := range list {
			m, ok := e.(map[string]any)
			if !ok {
				r.fail(key, "must be an array of tables {src=…, dst=…}, found %s", kind(e))
				return nil
			}
			tables = append(tables, m)
		}
	default:
		r.fail(key, "must be an array of tables {src=…, dst=…}, not %s", kind(v))
		return nil
	}
	var out []Copy
	for i, m := range tables {
		src, ok1 := m["src"].(string)
		dst, ok2 := m["dst"].(string)
		if !ok1 || !ok2 || src == "" || dst == "" || strings.ContainsRune(src+dst, 0) {
			r.fail(key, "entry %d needs both src and dst, as strings", i+1)
			return nil
		}
		out = append(out, Copy{Src: src, Dst: dst})
	}
	return out
}

func (r *reader) scalars(s *Spec) {
	s.Workdir = r.abs("workdir")
	s.SlotDirMount = r.abs("slot_dir_mount")
	s.ProjectDirMount = r.abs("project_dir_mount")
	s.UseGPU = r.optBool("use_gpu")
	s.CheckpointPeriod = int(r.integer("checkpoint_period", 0, 1, 1<<31))
	s.ImageName = r.str("image_name")
	if _, given := r.table["image_name"]; given && r.err == nil && !ValidReference(s.ImageName) {
		r.fail("image_name", "is not an image name: %q", s.ImageName)
	}
	s.ImageFile = r.str("image_file")
	if _, given := r.table["image_file"]; given && r.err == nil {
		if s.ImageFile == "" || s.ImageName != "" {
			r.fail("image_file", "must name a file of the job, and there can be no image_name with it")
		}
	}
	if m := r.str("model"); m != "" || r.table["model"] != nil {
		s.Model, s.ModelGiven = m, true
	}
	if s.Model != ModelUniversal && s.Model != ModelSemiUniversal && s.Model != ModelSinglePurpose {
		r.fail("model", "must be %q, %q or %q, not %q", ModelSinglePurpose, ModelSemiUniversal, ModelUniversal, s.Model)
	}
	s.GraphicsPort = int(r.integer("web_graphics_guest_port", 0, 1, 65535))
	s.Verbose = int(r.integer("verbose", 1, 0, 2))
	if b, ok := r.table["memory_limit"].(bool); ok {
		r.used["memory_limit"] = true
		s.MemoryLimitFromBound = b
	} else {
		s.MemoryLimit = r.integer("memory_limit", 0, 6<<20, 1<<50)
	}
	s.CPULimit = r.boolean("cpu_limit", true)
	s.KeepImage = r.optBool("keep_image")
	s.ProjectDirReadonly = r.boolean("project_dir_readonly", false)
	s.Network = r.boolean("network", true)
	s.HideInitData = r.optBool("hide_init_data")
	s.BuildTimeout = int(r.integer("build_timeout", 3600, 1, 7*86400))
}

func (r *reader) lists(s *Spec) {
	s.CopyTo = r.copies("copy_to_container")
	s.CopyFrom = r.copies("copy_from_container")
	s.BuildArgs = r.strings("build_args", true)
	s.CreateArgs = r.strings("create_args", true)
	s.Mount = r.strings("mount", false)
	s.Portmap = r.strings("portmap", false)
	s.Command = r.strings("command", true)
	s.Entrypoint = r.strings("entrypoint", true)
	if v, ok := r.take("env"); ok {
		m, ok := v.(map[string]any)
		if !ok {
			r.fail("env", "must be a table, not %s", kind(v))
		}
		s.Env = map[string]string{}
		for k, v := range m {
			text, ok := scalarText(v)
			if !ok || k == "" || strings.ContainsAny(k, "=\x00") || strings.ContainsRune(text, 0) {
				r.fail("env", "%q must be a name with a string, number or boolean value", k)
			}
			s.Env[k] = text
		}
	}
}

func scalarText(v any) (string, bool) {
	switch x := v.(type) {
	case string:
		return x, true
	case int64, float64, bool:
		return fmt.Sprint(x), true
	}
	return "", false
}

func (r *reader) results() *Results {
	v, ok := r.take("results_archive")
	if !ok {
		return nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		r.fail("results_archive", "must be a table, not %s", kind(v))
		return nil
	}
	sub := &reader{text: r.text, table: m, prefix: "results_archive.", used: map[string]bool{}}
	res := &Results{Src: sub.abs("src"), Dst: sub.str("dst"), Stdout: "stdout.txt", Stderr: "stderr.txt"}
	if _, given := m["stdout"]; given {
		res.Stdout = sub.str("stdout")
	}
	if _, given := m["stderr"]; given {
		res.Stderr = sub.str("stderr")
	}
	if res.Src == "" || path.Clean(res.Src) == "/" {
		sub.fail("src", "must be a directory below / in the container")
	}
	if res.Dst == "" {
		sub.fail("dst", "must name the output file")
	}
	for _, name := range []string{res.Stdout, res.Stderr} {
		if strings.ContainsAny(name, "/\\") || name == "." || name == ".." {
			sub.fail("stdout", "the members must be plain file names, not %q", name)
		}
	}
	res.Include = sub.strings("include", false)
	for i, pattern := range res.Include {
		if _, err := path.Match(pattern, ""); err != nil || pattern == "" || pattern[0] == '/' {
			sub.fail("include", "element %d must be a pattern such as *.csv, not %q", i+1, pattern)
		}
	}
	if res.Stdout != "" && res.Stdout == res.Stderr {
		sub.fail("stderr", "must differ from stdout")
	}
	if r.err == nil && sub.err != nil {
		r.err = sub.err
	}
	for k := range m {
		if !sub.used[k] {
			r.table[sub.prefix+k] = nil // reported as unknown
		}
	}
	return res
}

func (r *reader) unknown(s *Spec) {
	var names []string
	for k := range r.table {
		if !r.used[k] {
			names = append(names, k)
		}
	}
	sort.Strings(names)
	for _, k := range names {
		s.Warnings = append(s.Warnings, fmt.Sprintf("job.toml: unknown key %q is ignored", k))
	}
}

func kind(v any) string {
	switch v.(type) {
	case string:
		return "a string"
	case int64, float64:
		return "a number"
	case bool:
		return "a boolean"
	case []any, []map[string]any:
		return "an array"
	case map[string]any:
		return "a table"
	}
	return "a date"
}

// CopyMode tells whether the job works on copies, without a mount of the slot (spec 07 §7.2, case 3).
func (s *Spec) CopyMode() bool {
	return s.Workdir == "" && s.SlotDirMount == "" &&
		(len(s.CopyTo) > 0 || len(s.CopyFrom) > 0 || s.Results != nil)
}

// SlotMounts lists where the slot is mounted in the container (spec 07 §7.2).
func (s *Spec) SlotMounts() []string {
	switch {
	case s.CopyMode():
		return nil
	case s.Workdir == "" && s.SlotDirMount == "":
		return []string{DefaultWorkdir}
	case s.Workdir == "":
		return []string{s.SlotDirMount}
	case s.SlotDirMount == "" || path.Clean(s.Workdir) == path.Clean(s.SlotDirMount):
		return []string{s.Workdir}
	}
	return []string{s.Workdir, s.SlotDirMount}
}
