// Package engine is what the wrapper needs of a container engine, and its
// providers (docker, podman). Providers drive the engine's command line with
// argument lists; success is the exit status, never a word in the output.
package engine

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"boincdock.org/wrapper/internal/execx"
)

// What went wrong, as far as it makes a difference to the job.
var (
	ErrNotFound    = errors.New("not found in the engine")
	ErrUnreachable = errors.New("the container engine does not answer")
	ErrNoSpace     = errors.New("no space left on the disk")
	ErrTimeout     = errors.New("the container engine did not finish in time")
	ErrNetwork     = errors.New("the network is not reachable")
	ErrInUse       = errors.New("in use")
)

// States of a container, as inspect names them.
const (
	Created     = "created"
	Configured  = "configured"  // podman
	Initialized = "initialized" // podman
	Running     = "running"
	Paused      = "paused"
	Exited      = "exited"
	Stopped     = "stopped" // podman
	Restarting  = "restarting"
	Removing    = "removing"
	Stopping    = "stopping" // podman
	Dead        = "dead"
)

// Container is what inspect says.
type Container struct {
	ID         string
	State      string
	ExitCode   int
	OOMKilled  bool
	PID        int // of its first process, in the engine's PID namespace
	StartedAt  string
	FinishedAt string
}

// Image is what inspect says.
type Image struct {
	ID      string
	Labels  map[string]string
	Workdir string
	Layers  []string // digests of the uncompressed layers
	Created time.Time
}

// Mount is one bind mount; Host is an absolute path.
type Mount struct {
	Host, Guest string
	ReadOnly    bool
}

// BuildSpec is one image to build.
type BuildSpec struct {
	Context    string // directory
	Dockerfile string // path
	Tags       []string
	Labels     map[string]string
	Args       []string // further options
	ProxyEnv   []string // NAME=VALUE: reach the build without being in the argument list
	Timeout    time.Duration
	Output     io.Writer // progress, may be nil
}

// CreateSpec is one container to create.
type CreateSpec struct {
	Name       string
	Image      string
	Labels     map[string]string
	Mounts     []Mount
	RawMounts  []string // -v arguments of a signed job.toml
	Env        []string // NAME=VALUE
	ProxyEnv   []string // NAME=VALUE: passed by name only, so that passwords are in no argument list
	Ports      []string
	CPUs       float64 // 0 = no limit
	Memory     int64   // bytes, 0 = no limit
	NoNetwork  bool
	LogSize    string // of the json-file driver, e.g. "1m"
	LogFiles   int
	GPU        *GPU
	NoNewPrivs bool
	Extra      []string // the job's own arguments, after all of ours
	Entrypoint []string // nil: the image's; empty: none at all
	Command    []string // nil: the image's
}

// GPU says which device the client gave to the job.
type GPU struct {
	Vendor string // "NVIDIA", "ATI", "intel_gpu", …, or what OpenCL calls it; "" = not known
	Device int    // -1: all
}

// Sample is one measurement of a container. HaveCPU and HavePercent are exclusive.
type Sample struct {
	CPU         float64 // seconds since the container's start
	HaveCPU     bool
	Percent     float64 // CPU now, 100 = one CPU
	HavePercent bool
	Memory      float64 // bytes, 0 = not known
}

// Engine is a provider. Names and references are checked by the caller: they
// never start with a dash. All calls obey ctx and have time limits of their own.
type Engine interface {
	Name() string
	// Check says whether the engine answers; the text is its version.
	Check(ctx context.Context) (string, error)
	InspectImage(ctx context.Context, ref string) (Image, error)
	Build(ctx context.Context, b BuildSpec) error
	Pull(ctx context.Context, ref string, proxyEnv []string) error
	// Load takes an image archive, uncompressed, in.
	Load(ctx context.Context, tar io.Reader) error
	Tag(ctx context.Context, ref, newRef string) error
	// RemoveImage removes one name; the image goes with its last name.
	RemoveImage(ctx context.Context, ref string) error
	// ImagesByLabel lists the names (repository:tag) of images that have all the labels ("key=value" or "key").
	ImagesByLabel(ctx context.Context, labels ...string) ([]string, error)

	Create(ctx context.Context, c CreateSpec) error
	Inspect(ctx context.Context, name string) (Container, error)
	// ContainerLabels are the labels of one container.
	ContainerLabels(ctx context.Context, name string) (map[string]string, error)
	// ContainersByLabel lists names of containers in any state.
	ContainersByLabel(ctx context.Context, labels ...string) ([]string, error)
	Start(ctx context.Context, name string) error
	Pause(ctx context.Context, name string) error
	Unpause(ctx context.Context, name string) error
	Signal(ctx context.Context, name, signal string) error
	Stop(ctx context.Context, name string, grace int) error
	// Remove removes a container in whatever state; none is no error.
	Remove(ctx context.Context, name string) error
	// Wait blocks until the container has ended and returns its exit code.
	Wait(ctx context.Context, name string) (int, error)
	Logs(ctx context.Context, name string, stdout, stderr io.Writer) error
	// CopyIn unpacks a tar stream at / of the container.
	CopyIn(ctx context.Context, name string, tar io.Reader) error
	// CopyFileIn copies one file as the CLI does: into dst if that is a directory.
	CopyFileIn(ctx context.Context, name, file, dst string) error
	// CopyOut writes the path as a tar stream.
	CopyOut(ctx context.Context, name, path string, tar io.Writer) error
	Stats(ctx context.Context, name string, c Container) (Sample, error)
	// GiveTo makes the files below host directory dir belong to uid:gid, with the help of an image.
	GiveTo(ctx context.Context, image, dir string, uid, gid int) error
}

// Classify attaches one of the Err values to a failed command.
func Classify(err error) error {
	var e *execx.Error
	if err == nil || !errors.As(err, &e) {
		return err
	}
	if e.Timeout {
		return &failure{kind: ErrTimeout, err: err}
	}
	if e.Result.Status < 0 && errors.Is(err, context.Canceled) {
		return err
	}
	out := strings.ToLower(e.Output())
	for _, rule := range rules {
		for _, word := range rule.words {
			if strings.Contains(out, word) {
				return &failure{kind: rule.kind, err: err}
			}
		}
	}
	return err
}

var rules = []struct {
	kind  error
	words []string
}{
	{ErrNoSpace, []string{"no space left on device", "disk quota exceeded"}},
	{ErrUnreachable, []string{"cannot connect to the docker daemon", "is the docker daemon running",
		"error during connect", "docker.sock: connect:", "podman.sock: connect:", "connection reset by peer: unix"}},
	{ErrNotFound, []string{"no such container", "no such image", "no such object", "no container with name or id",
		"image not known", "not found: manifest unknown", "no such file or directory: container"}},
	{ErrInUse, []string{"is being used by", "is using its referenced image", "image is in use", "must be forced",
		"already in use"}},
	{ErrNetwork, []string{"temporary failure in name resolution", "no such host", "network is unreachable",
		"i/o timeout", "tls handshake", "connection timed out", "connection refused", "no route to host",
		"temporary failure resolving", "could not resolve", "client.timeout exceeded", "toomanyrequests",
		"unable to copy from source", "server misbehaving"}},
}

// failure is a command's error with a kind.
type failure struct{ kind, err error }

func (f *failure) Error() string   { return f.err.Error() }
func (f *failure) Unwrap() []error { return []error{f.kind, f.err} }

// Output returns what a failed command printed, the error's text if it is something else.
func Output(err error) string {
	var e *execx.Error
	if errors.As(err, &e) {
		if out := strings.TrimSpace(e.Output()); out != "" {
			return out
		}
	}
	return err.Error()
}
