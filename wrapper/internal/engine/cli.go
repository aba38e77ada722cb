package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"

	"boincdock.org/wrapper/internal/execx"
)

// Time limits of engine calls (spec 07 §7.7).
const (
	shortCall  = 60 * time.Second
	changeCall = 120 * time.Second
	pullCall   = time.Hour
	copyCall   = 30 * time.Minute
)

// CLI drives an engine through its command line client. Docker and Podman take
// nearly the same arguments; the hooks are where they differ.
type CLI struct {
	name   string
	prog   string // path of the client
	run    execx.Runner
	proc   procFS
	socket string // engine API on a Unix socket, "" = none
	podman bool
	paths  *translator // of a WSL distribution, nil = the engine sees our paths
	mac    bool        // containers run in a virtual machine of macOS
	// Warn, if set, is told what the volunteer should know.
	Warn func(format string, a ...any)

	oldBuild bool // this podman has no `build --retry`
	migrated bool // `podman system migrate` was tried
}

// NewDocker is the Docker provider; prog is the path of its client.
func NewDocker(run execx.Runner, prog string) *CLI {
	return &CLI{name: "docker", prog: prog, run: run, proc: hostFS, socket: dockerSocket(os.Getenv("DOCKER_HOST"))}
}

// NewPodman is the Podman provider.
func NewPodman(run execx.Runner, prog string) *CLI {
	return &CLI{name: "podman", prog: prog, run: quiet{run}, proc: hostFS, podman: true}
}

// InWSL makes a provider for an engine inside a WSL distribution.
func InWSL(w *WSL, podman bool) *CLI {
	c := &CLI{name: "docker", prog: "docker", run: w, podman: podman, paths: &translator{run: w, seen: map[string]string{}}}
	if podman {
		c.name, c.prog, c.run = "podman", "podman", quiet{w}
	}
	return c
}

// quiet keeps Podman's repeated warning out of every output.
type quiet struct{ execx.Runner }

func (q quiet) Run(ctx context.Context, c execx.Cmd) (execx.Result, error) {
	c.Env = append(append([]string{}, c.Env...), "PODMAN_IGNORE_CGROUPSV1_WARNING=1")
	return q.Runner.Run(ctx, c)
}

// OnMac says that the engine's containers run in a virtual machine of macOS: host devices and control groups are elsewhere.
func (c *CLI) OnMac() *CLI {
	c.mac = true
	return c
}

// host is the engine's name of a path of this machine.
func (c *CLI) host(ctx context.Context, path string) (string, error) {
	if c.paths == nil {
		return path, nil
	}
	return c.paths.path(ctx, path)
}

func (c *CLI) warnf(format string, a ...any) {
	if c.Warn != nil {
		c.Warn(format, a...)
	}
}

// dockerSocket returns the path of the engine's socket, "" when it is reached otherwise.
func dockerSocket(host string) string {
	if host == "" {
		return "/var/run/docker.sock"
	}
	if path, ok := strings.CutPrefix(host, "unix://"); ok {
		return path
	}
	return ""
}

// Name implements Engine.
func (c *CLI) Name() string { return c.name }

// call runs one client command with a time limit and returns its standard output.
func (c *CLI) call(ctx context.Context, limit time.Duration, args ...string) (string, error) {
	cmd := execx.Cmd{Args: append([]string{c.prog}, args...), Timeout: limit}
	res, err := c.run.Run(ctx, cmd)
	if err != nil && c.podman && !c.migrated && stalePause(err) {
		// A rootless pause process of an earlier session or version (#6916, #6991): Podman's own remedy.
		c.migrated = true
		if _, merr := c.run.Run(ctx, execx.Cmd{Args: []string{c.prog, "system", "migrate"}, Timeout: changeCall}); merr == nil {
			c.warnf("podman had a stale pause process; ran `podman system migrate`")
			res, err = c.run.Run(ctx, cmd)
		}
	}
	return string(res.Stdout), Classify(err)
}

func stalePause(err error) bool {
	out := Output(err)
	return strings.Contains(out, "invalid internal status") || strings.Contains(out, "cannot re-exec process")
}

func (c *CLI) change(ctx context.Context, args ...string) error {
	_, err := c.call(ctx, changeCall, args...)
	return err
}

// Check implements Engine. `-v` alone tells that the client is there, not that it can reach an engine.
func (c *CLI) Check(ctx context.Context) (string, error) {
	out, err := c.call(ctx, shortCall, "--version")
	if err != nil {
		return "", err
	}
	version := ParseVersion(out)
	if version == "" {
		return "", fmt.Errorf("%s --version printed no version: %q", c.prog, strings.TrimSpace(out))
	}
	format := "{{.ServerVersion}}"
	if c.podman {
		format = "{{.Version.Version}}"
	}
	out, err = c.call(ctx, shortCall, "info", "--format", format)
	if err != nil {
		return "", err
	}
	// Some Docker clients exit 0 without a server and print an empty version.
	if strings.TrimSpace(out) == "" {
		return "", &failure{kind: ErrUnreachable, err: fmt.Errorf("%s info names no server version", c.prog)}
	}
	return version, nil
}

// ParseVersion takes the version out of "podman version 5.4.1" or "Docker version 28.3.3, build 980b856".
func ParseVersion(out string) string {
	_, rest, found := strings.Cut(out, "version ")
	if !found {
		return ""
	}
	if end := strings.IndexAny(rest, ", \r\n"); end >= 0 {
		rest = rest[:end]
	}
	return rest
}

// InspectImage implements Engine.
func (c *CLI) InspectImage(ctx context.Context, ref string) (Image, error) {
	out, err := c.call(ctx, shortCall, "image", "inspect", "--format", "{{.Id}} {{json .Created}} {{json .RootFS.Layers}} {{json .Config}}", ref)
	if err != nil {
		return Image{}, err
	}
	id, rest, _ := strings.Cut(strings.TrimSpace(out), " ")
	created, rest, _ := strings.Cut(rest, " ")
	list, config, _ := strings.Cut(rest, " ")
	var layers []string
	if err := json.Unmarshal([]byte(list), &layers); err != nil {
		return Image{}, fmt.Errorf("cannot read the answer of image inspect: %w", err)
	}
	var parsed struct {
		Labels     map[string]string
		WorkingDir string
	}
	if err := json.Unmarshal([]byte(config), &parsed); err != nil {
		return Image{}, fmt.Errorf("cannot read the answer of image inspect: %w", err)
	}
	return Image{ID: id, Labels: parsed.Labels, Workdir: parsed.WorkingDir, Layers: layers, Created: parseTime(created)}, nil
}

// parseTime reads an engine's JSON time, zero if it cannot be read.
func parseTime(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, strings.Trim(s, `"`))
	if err != nil {
		return time.Time{}
	}
	return t
}

// Build implements Engine.
func (c *CLI) Build(ctx context.Context, b BuildSpec) error {
	dir, err := c.host(ctx, b.Context)
	if err != nil {
		return err
	}
	file, err := c.host(ctx, b.Dockerfile)
	if err != nil {
		return err
	}
	b.Context, b.Dockerfile = dir, file
	if err = c.build(ctx, b); err != nil && c.podman && !c.oldBuild && strings.Contains(Output(err), "unknown flag: --retry") {
		c.oldBuild = true // Podman before 5
		err = c.build(ctx, b)
	}
	return err
}

func (c *CLI) build(ctx context.Context, b BuildSpec) error {
	args := []string{c.prog, "build", "--force-rm"}
	if c.podman && !c.oldBuild {
		args = append(args, "--retry", "0")
	}
	for _, t := range b.Tags {
		args = append(args, "-t", t)
	}
	args = append(args, "-f", b.Dockerfile)
	for _, k := range sortedKeys(b.Labels) {
		args = append(args, "--label", k+"="+b.Labels[k])
	}
	for _, e := range b.ProxyEnv {
		name, _, _ := strings.Cut(e, "=")
		args = append(args, "--build-arg", name)
	}
	args = append(append(args, b.Args...), b.Context)
	limit := b.Timeout
	_, err := c.run.Run(ctx, execx.Cmd{Args: args, Env: b.ProxyEnv, Timeout: limit})
	return Classify(err)
}

// Pull implements Engine.
func (c *CLI) Pull(ctx context.Context, ref string, proxyEnv []string) error {
	_, err := c.run.Run(ctx, execx.Cmd{Args: []string{c.prog, "pull", "--quiet", ref}, Env: proxyEnv, Timeout: pullCall})
	return Classify(err)
}

// Tag implements Engine.
func (c *CLI) Tag(ctx context.Context, ref, newRef string) error {
	return c.change(ctx, "image", "tag", ref, newRef)
}

// RemoveImage implements Engine.
func (c *CLI) RemoveImage(ctx context.Context, ref string) error {
	return c.change(ctx, "image", "rm", ref)
}

// ImagesByLabel implements Engine.
func (c *CLI) ImagesByLabel(ctx context.Context, labels ...string) ([]string, error) {
	args := []string{"images", "--format", "{{.Repository}}:{{.Tag}}"}
	for _, l := range labels {
		args = append(args, "--filter", "label="+l)
	}
	out, err := c.call(ctx, shortCall, args...)
	if err != nil {
		return nil, err
	}
	var refs []string
	for _, ref := range strings.Fields(out) {
		if !strings.Contains(ref, "<none>") {
			refs = append(refs, ref)
		}
	}
	return refs, nil
}

// Load implements Engine.
func (c *CLI) Load(ctx context.Context, tar io.Reader) error {
	_, err := c.run.Run(ctx, execx.Cmd{Args: []string{c.prog, "load"}, Stdin: tar, Timeout: copyCall})
	return Classify(err)
}

// Create implements Engine.
func (c *CLI) Create(ctx context.Context, s CreateSpec) error {
	mounts := make([]Mount, len(s.Mounts))
	for i, m := range s.Mounts {
		host, err := c.host(ctx, m.Host)
		if err != nil {
			return err
		}
		mounts[i] = Mount{Host: host, Guest: m.Guest, ReadOnly: m.ReadOnly}
	}
	s.Mounts = mounts
	c.gpuNotes(ctx, &s)
	_, err := c.run.Run(ctx, execx.Cmd{Args: c.createArgs(s), Env: s.ProxyEnv, Timeout: changeCall})
	return Classify(err)
}

// createArgs is the whole command line of Create: the job's own arguments come
// last of the options, so that they win (spec 07 §7.5).
func (c *CLI) createArgs(s CreateSpec) []string {
	args := []string{c.prog, "create", "--pull", "never", "--name", s.Name}
	for _, k := range sortedKeys(s.Labels) {
		args = append(args, "--label", k+"="+s.Labels[k])
	}
	for _, m := range s.Mounts {
		args = append(args, mountArg(m)...)
	}
	for _, m := range s.RawMounts {
		args = append(args, "-v", m)
	}
	for _, e := range s.Env {
		args = append(args, "-e", e)
	}
	for _, e := range s.ProxyEnv {
		name, _, _ := strings.Cut(e, "=")
		args = append(args, "-e", name)
	}
	for _, p := range s.Ports {
		args = append(args, "-p", p)
	}
	if s.CPUs > 0 {
		args = append(args, "--cpus", strconv.FormatFloat(s.CPUs, 'f', 2, 64))
	}
	if s.Memory > 0 {
		args = append(args, "--memory", strconv.FormatInt(s.Memory, 10))
	}
	if s.NoNetwork {
		args = append(args, "--network", "none")
	}
	if s.GPU != nil {
		args = append(args, c.gpuArgs(*s.GPU)...)
	}
	if s.NoNewPrivs {
		args = append(args, "--security-opt", "no-new-privileges")
	}
	if c.paths == nil && !c.mac && c.proc.selinuxEnforcing() {
		args = append(args, "--security-opt", "label=disable")
	}
	if c.podman {
		args = append(args, "--log-driver=k8s-file", "--log-opt", "max-size="+s.LogSize)
	} else {
		args = append(args, "--log-driver", "json-file", "--log-opt", "max-size="+s.LogSize,
			"--log-opt", "max-file="+strconv.Itoa(s.LogFiles))
	}
	command := s.Command
	switch {
	case len(s.Entrypoint) > 0:
		args = append(args, "--entrypoint", s.Entrypoint[0])
		command = append(append([]string{}, s.Entrypoint[1:]...), command...)
	case s.Entrypoint != nil:
		args = append(args, "--entrypoint", "") // none at all
	}
	args = append(append(args, s.Extra...), s.Image)
	return append(args, command...)
}

// mountArg: -v is the common form; a path with a colon needs the long one, whose value is a CSV record.
func mountArg(m Mount) []string {
	if !strings.Contains(m.Host, ":") {
		v := m.Host + ":" + m.Guest
		if m.ReadOnly {
			v += ":ro"
		}
		return []string{"-v", v}
	}
	field := func(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
	v := "type=bind," + field("source="+m.Host) + "," + field("target="+m.Guest)
	if m.ReadOnly {
		v += ",readonly"
	}
	return []string{"--mount", v}
}

// Inspect implements Engine. The exact name is asked for: in a table x_1 is a prefix of x_10.
func (c *CLI) Inspect(ctx context.Context, name string) (Container, error) {
	out, err := c.call(ctx, shortCall, "container", "inspect", "--format", "{{.Id}} {{json .State}}", name)
	if err != nil {
		return Container{}, err
	}
	id, state, _ := strings.Cut(strings.TrimSpace(out), " ")
	var p struct {
		Status, StartedAt, FinishedAt string
		ExitCode, Pid                 int
		OOMKilled                     bool
	}
	if err := json.Unmarshal([]byte(state), &p); err != nil {
		return Container{}, fmt.Errorf("cannot read the answer of container inspect: %w", err)
	}
	return Container{ID: id, State: strings.ToLower(p.Status), ExitCode: p.ExitCode, OOMKilled: p.OOMKilled,
		PID: p.Pid, StartedAt: p.StartedAt, FinishedAt: p.FinishedAt}, nil
}

// ContainerLabels implements Engine.
func (c *CLI) ContainerLabels(ctx context.Context, name string) (map[string]string, error) {
	out, err := c.call(ctx, shortCall, "container", "inspect", "--format", "{{json .Config.Labels}}", name)
	if err != nil {
		return nil, err
	}
	labels := map[string]string{}
	if err := json.Unmarshal([]byte(out), &labels); err != nil {
		return nil, fmt.Errorf("cannot read the answer of container inspect: %w", err)
	}
	return labels, nil
}

// ContainersByLabel implements Engine.
func (c *CLI) ContainersByLabel(ctx context.Context, labels ...string) ([]string, error) {
	args := []string{"ps", "--all", "--format", "{{.Names}}"}
	for _, l := range labels {
		args = append(args, "--filter", "label="+l)
	}
	out, err := c.call(ctx, shortCall, args...)
	return strings.Fields(out), err
}

// Start implements Engine.
func (c *CLI) Start(ctx context.Context, name string) error { return c.change(ctx, "start", name) }

// Pause implements Engine.
func (c *CLI) Pause(ctx context.Context, name string) error { return c.change(ctx, "pause", name) }

// Unpause implements Engine.
func (c *CLI) Unpause(ctx context.Context, name string) error { return c.change(ctx, "unpause", name) }

// Signal implements Engine.
func (c *CLI) Signal(ctx context.Context, name, signal string) error {
	return c.change(ctx, "kill", "--signal", signal, name)
}

// Stop implements Engine.
func (c *CLI) Stop(ctx context.Context, name string, grace int) error {
	return c.change(ctx, "stop", "-t", strconv.Itoa(grace), name)
}

// Remove implements Engine. Old engines refuse to remove a paused container even by force.
func (c *CLI) Remove(ctx context.Context, name string) error {
	err := c.change(ctx, "rm", "-f", "-v", name)
	if err == nil || errors.Is(err, ErrNotFound) {
		return nil
	}
	if errors.Is(err, ErrUnreachable) || ctx.Err() != nil {
		return err
	}
	c.Unpause(ctx, name)
	c.Signal(ctx, name, "KILL")
	err = c.change(ctx, "rm", "-f", "-v", name)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// Wait implements Engine.
func (c *CLI) Wait(ctx context.Context, name string) (int, error) {
	out, err := c.call(ctx, 0, "wait", name)
	if err != nil {
		return 0, err
	}
	code, err := strconv.Atoi(strings.TrimSpace(out))
	if err != nil {
		return 0, fmt.Errorf("%s wait printed no exit code: %q", c.prog, out)
	}
	return code, nil
}

// Logs implements Engine.
func (c *CLI) Logs(ctx context.Context, name string, stdout, stderr io.Writer) error {
	args := []string{c.prog, "logs", name}
	if c.podman { // its own warnings would be taken for the container's output
		args = []string{c.prog, "--log-level", "error", "logs", name}
	}
	_, err := c.run.Run(ctx, execx.Cmd{Args: args, Stdout: stdout, Stderr: stderr, Timeout: copyCall})
	return Classify(err)
}

// CopyIn implements Engine.
func (c *CLI) CopyIn(ctx context.Context, name string, tar io.Reader) error {
	_, err := c.run.Run(ctx, execx.Cmd{Args: []string{c.prog, "cp", "-", name + ":/"}, Stdin: tar, Timeout: copyCall})
	return Classify(err)
}

// CopyFileIn implements Engine.
func (c *CLI) CopyFileIn(ctx context.Context, name, file, dst string) error {
	file, err := c.host(ctx, file)
	if err != nil {
		return err
	}
	args := []string{"cp", "-L", file, name + ":" + dst}
	if c.podman { // follows links anyway, and knows no -L
		args = []string{"cp", file, name + ":" + dst}
	}
	_, err = c.call(ctx, copyCall, args...)
	return err
}

// CopyOut implements Engine.
func (c *CLI) CopyOut(ctx context.Context, name, path string, tar io.Writer) error {
	_, err := c.run.Run(ctx, execx.Cmd{Args: []string{c.prog, "cp", name + ":" + path, "-"}, Stdout: tar, Timeout: copyCall})
	if err != nil {
		err = Classify(err)
		out := strings.ToLower(Output(err))
		if strings.Contains(out, "could not find the file") || strings.Contains(out, "no such file or directory") ||
			strings.Contains(out, "could not be found on container") {
			return &failure{kind: ErrNotFound, err: err}
		}
	}
	return err
}

// GiveTo implements Engine.
func (c *CLI) GiveTo(ctx context.Context, image, dir string, uid, gid int) error {
	if c.podman && os.Geteuid() != 0 { // rootless: the files belong to ids that are mapped to us
		return c.change(ctx, "unshare", "chown", "-R", "0:0", dir)
	}
	args := append([]string{"run", "--rm", "--network", "none", "--user", "0", "--entrypoint", "chown"},
		mountArg(Mount{Host: dir, Guest: "/s"})...)
	return c.change(ctx, append(args, image, "-R", fmt.Sprintf("%d:%d", uid, gid), "/s")...)
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
