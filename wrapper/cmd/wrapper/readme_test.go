//go:build unix

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// The example of ../../README.md does what it says, also when it is stopped on the way.
func TestShellExampleOfTheReadme(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)### A shell script as the application.*?```xml\n(.*?)```\n```sh\n(.*?)```").FindSubmatch(readme)
	if found == nil {
		t.Fatal("no example")
	}
	job, script, input := string(found[1]), string(found[2]), "twelve bytes"
	r := newRig(t, "")
	r.Link("job.xml", "job_2.xml", &job)
	r.Link("job.sh", "job_1.sh", &script)
	r.Link("in", "in_1", &input)
	r.Link("out", "out_1", nil)
	r.AppFiles = []string{"job_2.xml", "job_1.sh"}
	r.Put("state", "2\n") // as an earlier episode left it
	r.expect(r.run("--nthreads", "4", "--passthrough_child", "a b"), 0, true)
	out, _ := os.ReadFile(filepath.Join(r.Project, "out_1"))
	if string(out) != "step 3, 4 threads, a b\nstep 4, 4 threads, a b\n" {
		t.Errorf("%q", out)
	}
	r.expectStderr("\n12\n")
}
