package dockerjob

import (
	"encoding/json"
	"os"
	"path/filepath"

	"boincdock.org/wrapper/internal/boinc"
)

// Files of ours in the slot.
const (
	stateFile    = "docker_wrapper_state.json"
	contextDir   = "boinc_build_context"
	buildFile    = "boinc_Dockerfile" // in contextDir: no file of the job has such a name
	emptyFile    = "boinc_empty"
	fractionFile = "fraction_done"
)

// state is what a later episode of the same job must know.
type state struct {
	BootID      string  `json:"boot_id"`
	ContainerID string  `json:"container_id"`
	StartedAt   string  `json:"started_at"`         // of the container, as the engine says
	Started     bool    `json:"started"`            // by us, in this boot
	Stopped     bool    `json:"stopped_by_wrapper"` // we stopped it: an exit code means nothing
	EngineLost  bool    `json:"engine_lost"`        // the engine went away while it ran
	CopiedIn    bool    `json:"copied_in"`          // inputs are in the container
	Image       string  `json:"image"`              // reference the container was made from
	Built       bool    `json:"built"`              // the image is one of ours
	Workdir     string  `json:"workdir"`            // of the image
	CPU         float64 `json:"cpu"`                // seconds over all episodes
	Counter     float64 `json:"counter"`            // the engine's counter at that time
	Fraction    float64 `json:"fraction_done"`
	HostPort    int     `json:"host_port,omitempty"` // of the graphics page
}

func loadState(dir string) state {
	var s state
	raw, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil || json.Unmarshal(raw, &s) != nil {
		return state{}
	}
	return s
}

func (s state) save(dir string) error {
	raw, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		return err
	}
	return boinc.WriteAtomic(filepath.Join(dir, stateFile), append(raw, '\n'), 0o644)
}
