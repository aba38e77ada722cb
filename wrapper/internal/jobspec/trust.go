package jobspec

import (
	"fmt"
	"path"
	"regexp"
	"strings"
)

var referenceRE = regexp.MustCompile(`^(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::[0-9]+)?/)?` +
	`[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*` +
	`(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?$`)

// ValidReference tells whether s is an image name that an engine accepts (and so can never be an option).
func ValidReference(s string) bool { return len(s) <= 512 && referenceRE.MatchString(s) }

// createAllowed and buildAllowed are the options that a job which is not
// code-signed may pass (spec 07 §7.4); the value tells whether the option takes an argument.
var createAllowed = map[string]bool{
	"--env": true, "-e": true, "--workdir": true, "-w": true, "--entrypoint": true, "--user": true, "-u": true,
	"--shm-size": true, "--ulimit": true, "--read-only": false, "--tmpfs": true, "--init": false,
	"--cap-drop": true, "--stop-signal": true, "--cpus": true, "--memory": true, "-m": true,
	"--memory-swap": true, "--memory-reservation": true, "--memory-swappiness": true,
}

var buildAllowed = map[string]bool{"--build-arg": true, "--target": true, "--no-cache": false, "--pull": false}

// Restrict applies the rules for a job.toml that came with the job instead of the signed app
// version: it refuses what could reach outside the container, and completes
// port mappings so that they bind to this machine only.
func (s *Spec) Restrict() error {
	if err := checkOptions("create_args", s.CreateArgs, createAllowed); err != nil {
		return err
	}
	if err := checkOptions("build_args", s.BuildArgs, buildAllowed); err != nil {
		return err
	}
	for _, m := range s.Mount {
		src, _, found := strings.Cut(m, ":")
		if !found || !localPath(src) {
			return &Error{Key: "mount", Msg: fmt.Sprintf("%q is not allowed here: "+
				"the source must be a relative path inside the slot (only a signed job.toml may mount more)", m)}
		}
	}
	for i, p := range s.Portmap {
		bound, err := localPort(p)
		if err != nil {
			return err
		}
		s.Portmap[i] = bound
	}
	return nil
}

func checkOptions(key string, args []string, allowed map[string]bool) error {
	for i := 0; i < len(args); i++ {
		name, _, inline := strings.Cut(args[i], "=")
		takes, ok := allowed[name]
		if !ok || (inline && (!takes || !strings.HasPrefix(name, "--"))) {
			return &Error{Key: key, Msg: fmt.Sprintf("%q is not allowed in a job.toml that is not part of the signed app version", args[i])}
		}
		if takes && !inline {
			i++
			if i == len(args) {
				return &Error{Key: key, Msg: fmt.Sprintf("%q needs a value", name)}
			}
		}
		if (name == "--env" || name == "-e") && !strings.Contains(optionValue(args, i), "=") {
			return &Error{Key: key, Msg: "--env needs NAME=VALUE: a bare name would copy the volunteer's own environment"}
		}
	}
	return nil
}

// optionValue returns the value of the option that ends at args[i].
func optionValue(args []string, i int) string {
	if rest, ok := strings.CutPrefix(args[i], "--env="); ok {
		return rest
	}
	return args[i]
}

// localPath tells whether p is relative and stays below its directory.
func localPath(p string) bool {
	if p == "" || strings.HasPrefix(p, "/") || strings.ContainsAny(p, "\\,\x00") {
		return false
	}
	c := path.Clean(p)
	if c == ".." || strings.HasPrefix(c, "../") {
		return false
	}
	// An engine takes a bare word for the name of a volume; only ./x and x/y are paths, the caller makes it absolute.
	return true
}

var portRE = regexp.MustCompile(`^(?:([0-9.]+):)?([0-9-]*):([0-9-]+)(/(?:tcp|udp))?$|^([0-9-]+)(/(?:tcp|udp))?$`)

func localPort(p string) (string, error) {
	m := portRE.FindStringSubmatch(p)
	switch {
	case m == nil:
		return "", &Error{Key: "portmap", Msg: fmt.Sprintf("%q is not HOST:GUEST or 127.0.0.1:HOST:GUEST", p)}
	case m[5] != "":
		return "127.0.0.1::" + m[5] + m[6], nil
	case m[1] == "":
		return "127.0.0.1:" + p, nil
	case m[1] == "127.0.0.1":
		return p, nil
	}
	return "", &Error{Key: "portmap", Msg: fmt.Sprintf("%q must bind to 127.0.0.1 in a job.toml that is not signed", p)}
}
