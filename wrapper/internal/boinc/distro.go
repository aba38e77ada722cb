package boinc

import "strings"

// Distro is one WSL distribution of init_data.xml (clients 8.2 on Windows, spec 07 §1.6).
type Distro struct {
	Name          string
	WSLVersion    int
	Version       int // of boinc-buda-runner, 0: not known
	Default       bool
	Disallowed    bool
	DockerVersion string // "": no engine was found in it
	DockerType    int    // DockerType*
}

// BudaRunner is the name of BOINC's own WSL distribution; engines in it run as its
// default user from this version on.
const (
	BudaRunner        = "boinc-buda-runner"
	BudaRunnerNoRoot  = 4
	defaultBudaRunner = 1
)

func parseDistros(body []byte) []Distro {
	var out []Distro
	for _, e := range Elements(body) {
		if e.Name != "distro" {
			continue
		}
		d := Distro{}
		for _, f := range Elements(e.Body) {
			switch f.Name {
			case "distro_name":
				d.Name = strings.TrimSpace(f.text())
			case "wsl_version":
				f.integer(&d.WSLVersion)
			case "distro_version":
				f.integer(&d.Version)
			case "is_default":
				f.boolean(&d.Default)
			case "disallowed":
				f.boolean(&d.Disallowed)
			case "docker_version":
				d.DockerVersion = f.text()
			case "docker_type":
				f.integer(&d.DockerType)
			}
		}
		if d.Name == BudaRunner && d.Version == 0 {
			d.Version = defaultBudaRunner
		}
		if d.Name != "" {
			out = append(out, d)
		}
	}
	return out
}
