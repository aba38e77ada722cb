package jobxml

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

const full = `<?xml version="1.0"?>
<!-- <task> a comment -->
<job_desc>
  <unzip_input><zipfilename>a.zip</zipfilename><zipfilename>b.zip</zipfilename></unzip_input>
  <zip_output>
    <zipfilename>out.zip</zipfilename>
    <filename>res_[0-9]+</filename>
    <filename>log.*</filename>
  </zip_output>
  <rename_output><filename>big</filename></rename_output>
  <enable_graphics_support/>
  <task>
    <application> prog </application>
    <command_line>a &lt; b 2>&1 && c < d &#65; <!-- x -->e</command_line>
    <stdin_filename>in</stdin_filename>
    <stdout_filename>out</stdout_filename>
    <stderr_filename>err</stderr_filename>
    <weight>2.5</weight>
    <checkpoint_filename>ck</checkpoint_filename>
    <fraction_done_filename>fd</fraction_done_filename>
    <exec_dir>$PWD/x</exec_dir>
    <setenv>A=1</setenv>
    <setenv>B=x=y</setenv>
    <multi_process>0</multi_process>
    <append_cmdline_args>1</append_cmdline_args>
    <time_limit>3600</time_limit>
    <stop_grace>20</stop_grace>
    <priority>3</priority>
    <forward_slashes />
    <clear_env/>
  </task>
  <task><application>d</application><daemon/></task>
  <task><application>two</application><multi_process/></task>
</job_desc>
`

func TestEveryElement(t *testing.T) {
	job, err := Parse([]byte(full))
	if err != nil {
		t.Fatal(err)
	}
	one := Task{Line: 12, Application: "prog", CommandLine: "a < b 2>&1 && c < d A           e", Stdin: "in", Stdout: "out", Stderr: "err",
		Weight: 2.5, CheckpointFile: "ck", FractionDoneFile: "fd", ExecDir: "$PWD/x", Setenv: []Env{{"A", "1"}, {"B", "x=y"}},
		ClearEnv: true, OnlyFirstProcess: true, AppendArgs: true, TimeLimit: 3600, StopGrace: 20, Priority: 3, ForwardSlashes: true}
	two := Task{Line: 33, Application: "two", Weight: 1, Priority: 1, StopGrace: DefaultGrace}
	daemon := Task{Line: 32, Application: "d", Weight: 1, Priority: 1, StopGrace: DefaultGrace, Daemon: true}
	if want := []Task{one, two}; !reflect.DeepEqual(job.Tasks, want) {
		t.Errorf("got  %+v\nwant %+v", job.Tasks, want)
	}
	if !reflect.DeepEqual(job.Daemons, []Task{daemon}) || !job.Graphics || job.ZipOut != "out.zip" || len(job.Patterns) != 2 ||
		!reflect.DeepEqual(job.UnzipIn, []string{"a.zip", "b.zip"}) || !reflect.DeepEqual(job.Rename, []string{"big"}) ||
		len(job.Warnings) != 0 || !job.AppendsArgs() {
		t.Errorf("%+v", job)
	}
	if !job.Patterns[0].MatchString("x_res_12.txt") || job.Patterns[0].MatchString("res_") {
		t.Error("patterns are searched for anywhere in the name")
	}
}

func wrap(task string) string {
	return "<job_desc>\n<task>\n<application>a</application>\n" + task + "\n</task>\n</job_desc>\n"
}

func TestMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"":                      "job.xml line 1: no <job_desc>",
		"<job_desc></job_desc>": "job.xml line 1: <job_desc>: there is no <task> that is not a daemon",
		"<job>\n</job>":         "job.xml line 1: <job>: the file must be one <job_desc> element",
		"<job_desc>\n<task>\n":  "job.xml line 1: <job_desc>: the end tag </job_desc> is missing",
		"\n<!-- x":              "job.xml line 2: comment without -->",
		"<job_desc>\n<task>\n<application>a</application>\n</job_desc>":    "job.xml line 2: <task>: the end tag </task> is missing",
		"<job_desc>\n<task>\n<daemon/>\n</task></job_desc>":                "job.xml line 2: <task>: <application> is missing",
		"<job_desc>\n<task><application> </application></task></job_desc>": "job.xml line 2: <application>: is empty",
		wrap("<weight>x</weight>"):                                         `job.xml line 4: <weight>: "x" is not a number`,
		wrap("<weight>-1</weight>"):                                        "job.xml line 4: <weight>: -1 is out of range (0 to 1e+09)",
		wrap("<weight>nan</weight>"):                                       `job.xml line 4: <weight>: "nan" is not a number`,
		wrap("\n<time_limit>1e99</time_limit>"):                            "job.xml line 5: <time_limit>: 1e99 is out of range (0 to 1e+09)",
		wrap("<priority>2.5</priority>"):                                   "job.xml line 4: <priority>: must be 1, 2, 3, 4 or 5",
		wrap("<priority>6</priority>"):                                     "job.xml line 4: <priority>: 6 is out of range (1 to 5)",
		wrap("<stop_grace>50</stop_grace>"):                                "job.xml line 4: <stop_grace>: 50 is out of range (0 to 45)",
		wrap("<daemon>maybe</daemon>"):                                     `job.xml line 4: <daemon>: must be <daemon/>, 1 or 0, not "maybe"`,
		wrap("<setenv>A</setenv>"):                                         `job.xml line 4: <setenv>: must be NAME=VALUE, not "A"`,
		wrap("<setenv>=b</setenv>"):                                        `job.xml line 4: <setenv>: must be NAME=VALUE, not "=b"`,
		wrap("<command_line>boinc_resolve(x</command_line>"):               "job.xml line 4: <command_line>: boinc_resolve( without )",
		wrap("<command_line>x"):                                            "job.xml line 4: <command_line>: the end tag </command_line> is missing",
		wrap("</stdin_filename>"):                                          "job.xml line 4: <task>: end tag </stdin_filename> without a start tag",
		wrap("<stdout filename>x"):                                         "job.xml line 4: <stdout>: the end tag </stdout> is missing",
		wrap("<>"):                                                         "job.xml line 4: <task>: <> is not a tag",
		wrap("<stdin_filename>&#0;</stdin_filename>"):                      "job.xml line 4: <stdin_filename>: has a NUL byte",
		"<job_desc>\n<zip_output>\n<filename>(</filename></zip_output></job_desc>": "job.xml line 3: <filename>: not a regular expression: " +
			"error parsing regexp: missing closing ): `(`",
		"<job_desc>\n<zip_output>\n<filename>a</filename></zip_output></job_desc>": "job.xml line 2: <zip_output>: <zipfilename> is missing",
		"<job_desc>\n<unzip_input/></job_desc>":                                    "job.xml line 2: <unzip_input>: <zipfilename> is missing",
		"<job_desc>\n<rename_output/></job_desc>":                                  "job.xml line 2: <rename_output>: <filename> is missing",
		"<job_desc><zip_output>\n<zipfilename>a</zipfilename>\n<zipfilename>b</zipfilename></zip_output></job_desc>": "job.xml line 3: " +
			"<zipfilename>: there can be only one zip_output file",
		"<job_desc>" + strings.Repeat(" ", maxFile): "job.xml line 1: 4194314 bytes are too many",
	} {
		_, err := Parse([]byte(text))
		var e *Error
		if !errors.As(err, &e) || err.Error() != want {
			t.Errorf("%.80q:\n got %v\nwant %s", text, err, want)
		}
	}
}

func TestWarnings(t *testing.T) {
	job, err := Parse([]byte("\ufeff<job_desc version='1'>\n<speed/>\nstray\n<unzip_input><zipfilename>a</zipfilename><x/></unzip_input>\n" +
		"<task>\n<application>a</application><application>b</application>\n<colour>red</colour></task>\n</job_desc>"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"job.xml line 1: <job_desc>: attributes are ignored: version='1'",
		`job.xml line 3: text between elements is ignored: "stray"`,
		"job.xml line 2: unknown element <speed> is ignored",
		"job.xml line 4: unknown element <x> in <unzip_input> is ignored",
		"job.xml line 6: <application> is given again; the last one counts",
		"job.xml line 7: unknown element <colour> in <task> is ignored",
	}
	if !reflect.DeepEqual(job.Warnings, want) || job.Tasks[0].Application != "b" {
		t.Errorf("%q", job.Warnings)
	}
}

func FuzzJobXML(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte(wrap("<weight>x</weight>")))
	f.Add([]byte("<job_desc><task><application>a</application><command_line>boinc_resolve(x) <</command_line></task></job_desc>"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var job *Job
		var err error
		for try := 0; ; try++ { // once may be the machine's fault
			start := time.Now()
			if job, err = Parse(raw); time.Since(start) < time.Second {
				break
			}
			if try == 3 {
				t.Fatal("slow")
			}
		}
		if (job == nil) == (err == nil) {
			t.Fatal("either a job or an error")
		}
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Line < 1 || strings.ContainsAny(err.Error(), "\r\n\x00") {
				t.Fatalf("%q", err)
			}
			return
		}
		for _, task := range append(job.Tasks, job.Daemons...) {
			if task.Application == "" || strings.ContainsRune(task.CommandLine, 0) || task.Priority < 1 || task.Priority > 5 ||
				!(task.Weight >= 0) || !(task.StopGrace <= MaxGrace) {
				t.Fatalf("%+v", task)
			}
		}
	})
}
