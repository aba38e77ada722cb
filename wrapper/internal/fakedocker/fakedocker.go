//go:build unix

// Package fakedocker is a docker command line client without an engine, for
// tests: images and containers live in one JSON file, containers "run" by the clock.
package fakedocker

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// DirEnv names the environment variable with the state directory.
const DirEnv = "FAKE_DOCKER_DIR"

// Image of the fake engine.
type Image struct {
	ID      string
	Labels  map[string]string
	Layers  []string
	Created time.Time
}

// Container of the fake engine. What it does when it runs is set by Plan.
type Container struct {
	ID, Image, State string
	Labels           map[string]string
	StartedAt        time.Time
	Ran              time.Duration // before the last start or unpause
	Since            time.Time     // of the last start or unpause
	ExitCode         int
	OOMKilled        bool
	Starts           int
	Args             []string
	Files            map[string][]byte
}

// Plan says what containers do.
type Plan struct {
	Runs      time.Duration // how long the payload computes
	ExitCode  int
	OOMKilled bool
	Stdout    string
	Repeat    int // how often Stdout is printed, 0 = once
	Stderr    string
	Files     map[string]string  // in the container, at its end
	Build     time.Duration      // how long a build takes
	Fail      map[string]Failure // by command, e.g. "pause", "container inspect"
	Stats     string             // answer of stats
}

// Failure is a scripted failure.
type Failure struct {
	Times  int // how often, -1 always
	Status int
	Output string
	Hang   time.Duration
}

// State is the whole engine.
type State struct {
	Images     map[string]Image // by name:tag
	Containers map[string]*Container
	Plan       Plan
	Serial     int
	Builds     int
}

// Log returns the argument lists of all calls.
func Log(dir string) [][]string {
	raw, _ := os.ReadFile(filepath.Join(dir, "argv.log"))
	var out [][]string
	for _, line := range bytes.Split(raw, []byte("\n")) {
		var argv []string
		if json.Unmarshal(line, &argv) == nil && argv != nil {
			out = append(out, argv)
		}
	}
	return out
}

// Update changes the state under the lock.
func Update(dir string, change func(*State)) error {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	path := filepath.Join(dir, "state.json")
	s := State{Images: map[string]Image{}, Containers: map[string]*Container{}}
	if raw, err := os.ReadFile(path); err == nil {
		if err := json.Unmarshal(raw, &s); err != nil {
			return err
		}
	}
	for _, c := range s.Containers {
		c.advance(s.Plan)
	}
	change(&s)
	raw, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".tmp", raw, 0o666); err != nil {
		return err
	}
	return os.Rename(path+".tmp", path) // the wrapper may kill us anywhere
}

// advance lets the clock run.
func (c *Container) advance(p Plan) {
	if c.State == "running" && c.Ran+time.Since(c.Since) >= p.Runs {
		c.State, c.ExitCode, c.OOMKilled = "exited", p.ExitCode, p.OOMKilled
		c.Ran = p.Runs
	}
}

// Main is the client. It does not return.
func Main() {
	dir := os.Getenv(DirEnv)
	argv := os.Args[1:]
	line, _ := json.Marshal(argv)
	log, err := os.OpenFile(filepath.Join(dir, "argv.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(125)
	}
	log.Write(append(line, '\n'))
	log.Close()
	var out bytes.Buffer
	err = run(dir, argv, &out)
	os.Stdout.Write(out.Bytes())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		var f scripted
		if errors.As(err, &f) {
			os.Exit(f.status)
		}
		os.Exit(1)
	}
	os.Exit(0)
}

type scripted struct {
	status int
	text   string
}

func (s scripted) Error() string { return s.text }

func run(dir string, argv []string, out *bytes.Buffer) error {
	if len(argv) > 2 && argv[0] == "--log-level" { // an option of podman itself
		argv = argv[2:]
	}
	verb := argv[0]
	args := argv[1:]
	if (verb == "image" || verb == "container") && len(args) > 0 {
		verb, args = verb+" "+args[0], args[1:]
	}
	if err := fail(dir, verb); err != nil {
		return err
	}
	last := ""
	if len(args) > 0 {
		last = args[len(args)-1]
	}
	if verb == "build" {
		return build(dir, args)
	}
	if verb == "wait" {
		return wait(dir, last, out)
	}
	var err error
	uerr := Update(dir, func(s *State) { err = s.do(verb, args, last, out) })
	if uerr != nil {
		return uerr
	}
	return err
}

// fail plays a scripted failure.
func fail(dir, verb string) error {
	var f Failure
	var found bool
	err := Update(dir, func(s *State) {
		if f, found = s.Plan.Fail[verb]; found && f.Times != 0 {
			f.Times--
			s.Plan.Fail[verb] = f
			f.Times++
		}
	})
	if err != nil || !found || f.Times == 0 {
		return err
	}
	time.Sleep(f.Hang)
	if f.Status == 0 {
		return nil
	}
	return scripted{f.Status, f.Output}
}

func build(dir string, args []string) error {
	var plan Plan
	Update(dir, func(s *State) { plan = s.Plan })
	time.Sleep(plan.Build)
	context := args[len(args)-1]
	return Update(dir, func(s *State) {
		img := Image{Labels: map[string]string{}}
		s.Serial++
		s.Builds++
		img.ID = fmt.Sprintf("sha256:%064d", s.Serial)
		var tags []string
		for i, a := range args {
			switch a {
			case "--label":
				k, v, _ := strings.Cut(args[i+1], "=")
				img.Labels[k] = v
			case "-t":
				tags = append(tags, args[i+1])
			case "-f":
				for k, v := range fileLabels(args[i+1]) {
					img.Labels[k] = v
				}
			}
		}
		var files []string
		filepath.WalkDir(context, func(p string, e os.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				rel, _ := filepath.Rel(context, p)
				files = append(files, rel)
			}
			return nil
		})
		img.Labels["test.files"] = strings.Join(files, " ")
		for _, t := range tags {
			s.Images[full(t)] = img
		}
	})
}

// fileLabels reads the LABEL instructions of a Dockerfile; no quotes.
func fileLabels(path string) map[string]string {
	raw, _ := os.ReadFile(path)
	labels := map[string]string{}
	for _, line := range strings.Split(string(raw), "\n") {
		if words, ok := strings.CutPrefix(line, "LABEL "); ok {
			for _, word := range strings.Fields(words) {
				k, v, _ := strings.Cut(word, "=")
				labels[k] = v
			}
		}
	}
	return labels
}

func wait(dir, name string, out *bytes.Buffer) error {
	for {
		var c *Container
		if err := Update(dir, func(s *State) { c = s.Containers[name] }); err != nil {
			return err
		}
		if c == nil {
			return noContainer(name)
		}
		if c.State == "exited" {
			fmt.Fprintln(out, c.ExitCode)
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func noContainer(name string) error {
	return fmt.Errorf("Error response from daemon: No such container: %s", name)
}

func full(ref string) string {
	if i := strings.LastIndexByte(ref, ':'); i > strings.LastIndexByte(ref, '/') {
		return ref
	}
	return ref + ":latest"
}

// do is every command that takes no time.
func (s *State) do(verb string, args []string, last string, out *bytes.Buffer) error {
	switch verb {
	case "--version":
		fmt.Fprintln(out, "Docker version 28.3.3, build 980b856")
	case "info":
		fmt.Fprintln(out, "28.3.3")
	case "image inspect":
		img, ok := s.Images[full(last)]
		if !ok {
			return fmt.Errorf("Error response from daemon: No such image: %s", last)
		}
		config, _ := json.Marshal(map[string]any{"Labels": img.Labels, "WorkingDir": "/work"})
		layers, _ := json.Marshal(append([]string{}, img.Layers...))
		fmt.Fprintf(out, "%s %q %s %s\n", img.ID, img.Created.Format(time.RFC3339Nano), layers, config)
	case "pull":
		s.Serial++
		s.Images[full(last)] = Image{ID: fmt.Sprintf("sha256:%064d", s.Serial)}
	case "image tag":
		s.Images[full(last)] = s.Images[full(args[0])]
	case "load":
		return s.load(out)
	case "image rm":
		return s.removeImage(last)
	case "images":
		for ref, img := range s.Images {
			if matches(img.Labels, args) {
				fmt.Fprintln(out, ref)
			}
		}
	case "ps":
		for name, c := range s.Containers {
			if matches(c.Labels, args) {
				fmt.Fprintln(out, name)
			}
		}
	case "create":
		return s.create(args, out)
	case "run":
		return nil
	default:
		return s.container(verb, args, last, out)
	}
	return nil
}

// load takes an archive of `docker save` from standard input.
func (s *State) load(out *bytes.Buffer) error {
	files := map[string][]byte{}
	tr := tar.NewReader(os.Stdin)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("Error processing tar file(exit status 1): %w", err)
		}
		if files[h.Name], err = io.ReadAll(tr); err != nil {
			return err
		}
	}
	var list []struct {
		Config   string
		RepoTags []string
	}
	var config struct {
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	if err := json.Unmarshal(files["manifest.json"], &list); err != nil {
		return err
	}
	if err := json.Unmarshal(files[list[0].Config], &config); err != nil {
		return err
	}
	s.Serial++
	for _, t := range list[0].RepoTags {
		s.Images[full(t)] = Image{ID: fmt.Sprintf("sha256:%064d", s.Serial), Layers: config.RootFS.DiffIDs}
		fmt.Fprintln(out, "Loaded image:", t)
	}
	return nil
}

func matches(labels map[string]string, args []string) bool {
	for _, a := range args {
		if l, ok := strings.CutPrefix(a, "label="); ok {
			k, v, _ := strings.Cut(l, "=")
			if labels[k] != v {
				return false
			}
		}
	}
	return true
}

func (s *State) removeImage(ref string) error {
	img, ok := s.Images[full(ref)]
	if !ok {
		return fmt.Errorf("Error response from daemon: No such image: %s", ref)
	}
	names := 0
	for _, other := range s.Images {
		if other.ID == img.ID {
			names++
		}
	}
	for name, c := range s.Containers {
		if names == 1 && s.Images[full(c.Image)].ID == img.ID {
			return fmt.Errorf("Error response from daemon: conflict: unable to remove repository reference %q (must force) - "+
				"container %s is using its referenced image", ref, name)
		}
	}
	delete(s.Images, full(ref))
	return nil
}

// flagless lists the options of create without a value.
var flagless = map[string]bool{"--init": true, "--read-only": true, "--log-driver=k8s-file": true, "--privileged": true}

func (s *State) create(args []string, out *bytes.Buffer) error {
	c := &Container{State: "created", Labels: map[string]string{}, Args: args, Files: map[string][]byte{}}
	name := ""
	i := 0
	for ; i < len(args) && strings.HasPrefix(args[i], "-"); i++ {
		switch {
		case args[i] == "--name":
			name = args[i+1]
		case args[i] == "--label":
			k, v, _ := strings.Cut(args[i+1], "=")
			c.Labels[k] = v
		}
		if !flagless[args[i]] && !strings.Contains(args[i], "=") {
			i++
		}
	}
	c.Image = args[i]
	if _, ok := s.Images[full(c.Image)]; !ok {
		return fmt.Errorf("Error response from daemon: No such image: %s", c.Image)
	}
	if _, ok := s.Containers[name]; ok {
		return fmt.Errorf("Error response from daemon: Conflict. The container name %q is already in use", name)
	}
	s.Serial++
	c.ID = fmt.Sprintf("%064d", s.Serial)
	s.Containers[name] = c
	fmt.Fprintln(out, c.ID)
	return nil
}

// container is every command on one container.
func (s *State) container(verb string, args []string, last string, out *bytes.Buffer) error {
	name := last
	if verb == "cp" {
		return s.cp(args, out)
	}
	c, ok := s.Containers[name]
	if !ok {
		return noContainer(name)
	}
	wrong := fmt.Errorf("Error response from daemon: Container %s is %s", name, c.State)
	now := time.Now()
	switch verb {
	case "container inspect":
		if strings.Contains(strings.Join(args, " "), ".Config.Labels") {
			labels, _ := json.Marshal(c.Labels)
			fmt.Fprintf(out, "%s\n", labels)
			return nil
		}
		state, _ := json.Marshal(map[string]any{"Status": c.State, "ExitCode": c.ExitCode, "OOMKilled": c.OOMKilled,
			"Pid": 0, "StartedAt": c.StartedAt.Format(time.RFC3339Nano)})
		fmt.Fprintf(out, "%s %s\n", c.ID, state)
	case "start":
		if c.State != "created" && c.State != "exited" {
			return wrong
		}
		c.State, c.StartedAt, c.Since, c.Ran = "running", now, now, 0
		c.Starts++
	case "pause":
		if c.State != "running" {
			return wrong
		}
		c.State, c.Ran = "paused", c.Ran+time.Since(c.Since)
	case "unpause":
		if c.State != "paused" {
			return wrong
		}
		c.State, c.Since = "running", now
	case "kill", "stop":
		if c.State != "running" && c.State != "paused" {
			return wrong
		}
		if verb == "kill" && (args[1] == "STOP" || args[1] == "CONT") {
			return nil
		}
		c.State, c.ExitCode = "exited", 137
	case "rm":
		delete(s.Containers, name)
	case "logs":
		for i := 0; i <= s.Plan.Repeat; i++ {
			io.WriteString(out, s.Plan.Stdout)
		}
		io.WriteString(os.Stderr, s.Plan.Stderr)
	case "stats":
		if s.Plan.Stats != "" {
			fmt.Fprintln(out, s.Plan.Stats)
		} else {
			fmt.Fprintln(out, "100.00% 10MiB / 1GiB")
		}
	default:
		return fmt.Errorf("docker: %q is not a docker command", verb)
	}
	return nil
}

func (s *State) cp(args []string, out *bytes.Buffer) error {
	src, dst := args[len(args)-2], args[len(args)-1]
	if src == "-" {
		name, _, _ := strings.Cut(dst, ":")
		tr := tar.NewReader(os.Stdin)
		for {
			h, err := tr.Next()
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			raw, err := io.ReadAll(tr)
			if err != nil {
				return err
			}
			s.Containers[name].Files["/"+h.Name] = raw
		}
	}
	name, path, _ := strings.Cut(src, ":")
	c, ok := s.Containers[name]
	if !ok {
		return noContainer(name)
	}
	tw := tar.NewWriter(out)
	base := filepath.Base(path)
	if text, ok := s.Plan.Files[path]; ok {
		tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: base, Mode: 0o600, Size: int64(len(text))})
		io.WriteString(tw, text)
		return tw.Close()
	}
	if _, ok := c.Files[path+"/"]; !ok {
		return errors.New("Error response from daemon: Could not find the file " + path + " in container " + name)
	}
	tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: base + "/", Mode: 0o1777})
	for p, text := range s.Plan.Files {
		if rel, ok := strings.CutPrefix(p, path+"/"); ok {
			tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: base + "/" + rel, Mode: 0o644, Size: int64(len(text))})
			io.WriteString(tw, text)
		}
	}
	return tw.Close()
}
