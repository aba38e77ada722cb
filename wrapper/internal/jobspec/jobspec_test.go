package jobspec

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

const full = `
workdir = "/w"
slot_dir_mount = "/s"
project_dir_mount = "/p"
copy_to_container = [{src = "in", dst = "/in"}]
use_gpu = true
checkpoint_period = 60
image_name = "reg.example.org:5000/a/b:1.2"
model = "single-purpose"
build_args = "--build-arg 'X=1 2'"
create_args = ["--env", "A=b c"]
mount = ["./d:/d"]
portmap = ["8080:80"]
web_graphics_guest_port = 80
verbose = 2
memory_limit = 500000000
cpu_limit = false
keep_image = true
project_dir_readonly = true
network = false
hide_init_data = false
build_timeout = 10
command = ["python", "-c", "print('x')"]
entrypoint = "sh -e"

[[copy_from_container]]
src = "/out"
dst = "out"

[env]
A = "x"
N = 3

[results_archive]
src = "/root/shared/results"
dst = "results.tgz"
stderr = ""
`

func TestEveryKey(t *testing.T) {
	s, err := Parse(full)
	if err != nil {
		t.Fatal(err)
	}
	yes, no := true, false
	want := &Spec{Workdir: "/w", SlotDirMount: "/s", ProjectDirMount: "/p", CopyTo: []Copy{{"in", "/in"}},
		CopyFrom: []Copy{{"/out", "out"}}, UseGPU: &yes, CheckpointPeriod: 60, ImageName: "reg.example.org:5000/a/b:1.2",
		Model: ModelSinglePurpose, ModelGiven: true, BuildArgs: []string{"--build-arg", "'X=1", "2'"},
		CreateArgs: []string{"--env", "A=b c"}, Mount: []string{"./d:/d"}, Portmap: []string{"8080:80"}, GraphicsPort: 80,
		Verbose: 2, MemoryLimit: 500000000, KeepImage: &yes, ProjectDirReadonly: true, HideInitData: &no, BuildTimeout: 10,
		Command: []string{"python", "-c", "print('x')"}, Entrypoint: []string{"sh", "-e"},
		Env:     map[string]string{"A": "x", "N": "3"},
		Results: &Results{Src: "/root/shared/results", Dst: "results.tgz", Stdout: "stdout.txt"}}
	want.BuildArgs = []string{"--build-arg", "X=1 2"}
	if !reflect.DeepEqual(s, want) {
		t.Fatalf("got  %+v\nwant %+v", s, want)
	}
}

func TestNoFileMeansDefaults(t *testing.T) {
	s, err := Parse("")
	if err != nil || !reflect.DeepEqual(s, Default()) {
		t.Fatalf("%+v %v", s, err)
	}
}

func TestWrongValuesNameKeyAndLine(t *testing.T) {
	for text, want := range map[string]string{
		"\nworkdir = 3":                           "job.toml line 2: workdir: must be a string, not a number",
		"workdir = \"app\"":                       "line 1: workdir: must be an absolute path",
		"workdir = \"/a:/b\"":                     "line 1: workdir: must be an absolute path",
		"a=1\nb = @":                              "line 2",
		"model = \"x\"":                           "line 1: model: must be",
		"model = \"\"":                            "line 1: model: must be",
		"image_name = \"--privileged\"":           "line 1: image_name: is not an image name",
		"image_name = \"A b\"":                    "image_name",
		"mount = \"/a:/b\"":                       "mount: must be an array of strings, not a string",
		"mount = [1]":                             "mount: element 1 must be a string, not a number",
		"verbose = 3":                             "verbose: must be between 0 and 2",
		"memory_limit = \"1g\"":                   "memory_limit: must be a number",
		"copy_to_container = [{src=\"a\"}]":       "copy_to_container: entry 1 needs both src and dst",
		"[results_archive]\nsrc=\"/\"\ndst=\"x\"": "results_archive.src",
		"[results_archive]\nsrc=\"/x\"":           "results_archive.dst",
		"[results_archive]\nsrc='/x'\ndst='y'\ninclude=['[a']": "results_archive.include: element 1 must be a pattern",
		"[results_archive]\nsrc='/x'\ndst='y'\ninclude='*.c'":  "results_archive.include: must be an array",
		"env = 3":                          "env: must be a table",
		"create_args = [\"a\\u0000b\"]":    "NUL",
		"build_timeout = 1e300":            "build_timeout: is out of range",
		"use_gpu = \"yes\"":                "use_gpu: must be true or false",
		"copy_from_container = 1979-05-27": "not a date",
	} {
		_, err := Parse(text)
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want …%s…", text, err, want)
		}
	}
}

func TestIncludePatternsChooseTheFiles(t *testing.T) {
	for _, c := range []struct {
		patterns, name string
		want           bool
	}{
		{"", "a", true}, {"'*.csv'", "a.csv", true}, {"'*.csv'", "sub/a.csv", true}, {"'*.csv'", "a.txt", false},
		{"'plots/*.png'", "plots/a.png", true}, {"'plots/*.png'", "a.png", false}, {"'plots/*.png'", "plots/b/a.png", false},
		{"'plots/'", "plots/b/a.png", true}, {"'plots/'", "plots2/a", false}, {"'*.csv', 'b'", "x/b", true},
	} {
		s, err := Parse("[results_archive]\nsrc='/r'\ndst='r'\ninclude=[" + c.patterns + "]")
		if err != nil || s.Results.Wants(c.name) != c.want {
			t.Errorf("%s %s: %v %v", c.patterns, c.name, err, !c.want)
		}
	}
}

func TestUnknownKeysAreWarnedOnceEach(t *testing.T) {
	s, err := Parse("zz = 1\naa = 2\n[results_archive]\nsrc='/r'\ndst='r'\nfoo=1")
	if err != nil || len(s.Warnings) != 3 || !strings.Contains(s.Warnings[0], `"aa"`) ||
		!strings.Contains(s.Warnings[1], `"results_archive.foo"`) {
		t.Fatalf("%v %v", s, err)
	}
}

func TestMountPrecedence(t *testing.T) {
	for text, want := range map[string][]string{
		"":                                   {"/app"},
		"workdir='/w'":                       {"/w"},
		"slot_dir_mount='/s'":                {"/s"},
		"workdir='/w'\nslot_dir_mount='/w/'": {"/w"},
		"workdir='/w'\nslot_dir_mount='/s'":  {"/w", "/s"},
		"copy_from_container=[{src='/a',dst='b'}]":               nil,
		"workdir='/w'\ncopy_from_container=[{src='/a',dst='b'}]": {"/w"},
		"[results_archive]\nsrc='/r'\ndst='r'":                   nil,
	} {
		s, err := Parse(text)
		if err != nil || !reflect.DeepEqual(s.SlotMounts(), want) {
			t.Errorf("%q: %v %v, want %v", text, s.SlotMounts(), err, want)
		}
	}
}

func TestUnsignedJobsCannotReachOutside(t *testing.T) {
	bad := []string{
		`create_args = "--privileged"`, `create_args = "--cap-add SYS_ADMIN"`, `create_args = "-v /:/host"`,
		`create_args = ["--volume=/:/host"]`, `create_args = ["-v/:/host"]`, `create_args = ["--env"]`, `create_args = ["-e=A=b"]`,
		`create_args = ["--env", "HOME"]`, `create_args = ["--env=HOME"]`, `create_args = ["-eHOME"]`, `create_args = ["--net=host"]`,
		`create_args = ["image"]`, `create_args = ["--read-only=false"]`, `create_args = ["--init", "--pid=host"]`,
		`build_args = "--network host"`, `build_args = ["-f", "/etc/passwd"]`, `build_args = ["."]`,
		`mount = ["/:/host"]`, `mount = ["../x:/x"]`, `mount = ["a/../../x:/x"]`, `mount = ["noColon"]`, `mount = ["/etc"]`,
		`portmap = ["0.0.0.0:80:80"]`, `portmap = ["80:80 --privileged"]`, `portmap = ["[::]:80:80"]`,
	}
	for _, text := range bad {
		s, err := Parse(text)
		if err != nil {
			t.Fatal(text, err)
		}
		if s.Restrict() == nil {
			t.Errorf("%s is allowed", text)
		}
	}
	s, err := Parse(`create_args = ["--env", "A=b", "-w", "/x", "--user=0", "--cpus", "0.5", "--memory-swap", "1g", "--read-only"]
build_args = "--build-arg A=b --no-cache"
mount = ["d:/d", "./e/f:/e:ro"]
portmap = ["80:80", "127.0.0.1:81:81", "82"]`)
	if err != nil || s.Restrict() != nil {
		t.Fatal(err, s.Restrict())
	}
	if want := []string{"127.0.0.1:80:80", "127.0.0.1:81:81", "127.0.0.1::82"}; !reflect.DeepEqual(s.Portmap, want) {
		t.Fatal(s.Portmap)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(full)
	f.Add("a = [")
	f.Add("[env]\nA=1")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if (s == nil) == (err == nil) {
			t.Fatal("either a spec or an error")
		}
		if s != nil {
			s.SlotMounts()
			_ = s.Restrict()
		}
	})
}
