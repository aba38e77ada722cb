package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"boincdock.org/wrapper/internal/execx"
)

// procFS is where this host's files are read; tests put a directory in its place.
type procFS struct{ root string }

var hostFS = procFS{root: "/"}

func (p procFS) read(path string) string {
	raw, err := os.ReadFile(filepath.Join(p.root, path))
	if err != nil {
		return ""
	}
	return string(raw)
}

func (p procFS) selinuxEnforcing() bool {
	return strings.TrimSpace(p.read("/sys/fs/selinux/enforce")) == "1"
}

func (p procFS) hasGroup(name string) bool {
	return strings.Contains("\n"+p.read("/etc/group"), "\n"+name+":")
}

func (p procFS) hasCDI() bool {
	for _, dir := range []string{"/etc/cdi", "/var/run/cdi"} {
		for _, ext := range []string{"*.yaml", "*.json"} {
			if m, _ := filepath.Glob(filepath.Join(p.root, dir, ext)); len(m) > 0 {
				return true
			}
		}
	}
	return false
}

// Stats implements Engine: the container's control group if it can be seen from here, else the
// engine's API, else the `stats` command. The first two count CPU seconds;
// the last knows percentages only.
func (c *CLI) Stats(ctx context.Context, name string, k Container) (Sample, error) {
	if c.paths != nil {
		if s, ok := c.farSample(ctx, k); ok {
			return s, nil
		}
	} else if s, ok := c.proc.cgroupSample(k); ok {
		return s, nil
	}
	if c.socket != "" {
		if s, err := socketSample(ctx, c.socket, name); err == nil {
			return s, nil
		}
	}
	out, err := c.call(ctx, shortCall, "stats", "--no-stream", "--format", "{{.CPUPerc}} {{.MemUsage}}", name)
	if err != nil {
		return Sample{}, err
	}
	s, ok := ParseStats(out)
	if !ok {
		return Sample{}, fmt.Errorf("cannot read the answer of stats: %q", out)
	}
	return s, nil
}

// farScript prints the control group files of a process: the cgroup file, a line "--", and the values as
// "cpu2 USEC", "cpu1 NS", "mem2 BYTES", "cache2 BYTES", "mem1 BYTES", "cache1 BYTES" as far as they can be read.
const farScript = `c=$(cat /proc/$1/cgroup) || exit 1
printf '%s\n--\n' "$c"
p=$(printf '%s\n' "$c" | sed -n 's/^0:://p'); d=/sys/fs/cgroup$p
[ -r "$d/cpu.stat" ] && sed -n 's/^usage_usec /cpu2 /p' "$d/cpu.stat" && sed 's/^/mem2 /' "$d/memory.current" && sed -n 's/^inactive_file /cache2 /p' "$d/memory.stat"
p=$(printf '%s\n' "$c" | sed -n 's/^[0-9]*:[a-z,]*cpuacct[a-z,]*://p'); [ -r "/sys/fs/cgroup/cpuacct$p/cpuacct.usage" ] && sed 's/^/cpu1 /' "/sys/fs/cgroup/cpuacct$p/cpuacct.usage"
p=$(printf '%s\n' "$c" | sed -n 's/^[0-9]*:memory://p'); d=/sys/fs/cgroup/memory$p
[ -n "$p" ] && [ -r "$d/memory.usage_in_bytes" ] && sed 's/^/mem1 /' "$d/memory.usage_in_bytes" && sed -n 's/^total_inactive_file /cache1 /p' "$d/memory.stat"
:`

// farSample reads the control group of a container in a WSL distribution, in one call.
func (c *CLI) farSample(ctx context.Context, k Container) (Sample, bool) {
	if k.PID <= 0 || len(k.ID) < 12 {
		return Sample{}, false
	}
	res, err := c.run.Run(ctx, execx.Cmd{Args: []string{"sh", "-c", farScript, "sh", strconv.Itoa(k.PID)}, Timeout: shortCall})
	if err != nil {
		return Sample{}, false
	}
	return parseFar(string(res.Stdout), k.ID)
}

func parseFar(out, id string) (Sample, bool) {
	groups, values, found := strings.Cut(out, "\n--\n")
	if !found || !strings.Contains(groups, id) {
		return Sample{}, false
	}
	var s Sample
	version := "2"
	cpu, ok := statField(values, "cpu2")
	s.CPU, s.HaveCPU = cpu/1e6, ok
	if !ok {
		version = "1"
		cpu, ok = statField(values, "cpu1")
		s.CPU, s.HaveCPU = cpu/1e9, ok
	}
	if mem, ok := statField(values, "mem"+version); ok {
		cache, _ := statField(values, "cache"+version)
		s.Memory = positive(mem - cache)
	}
	return s, s.HaveCPU
}

// cgroupSample reads the control group of the container's first process. The
// PID is of the engine's namespace: it only counts if its group carries the container's id.
func (p procFS) cgroupSample(k Container) (Sample, bool) {
	if k.PID <= 0 || len(k.ID) < 12 {
		return Sample{}, false
	}
	for _, line := range strings.Split(p.read(fmt.Sprintf("/proc/%d/cgroup", k.PID)), "\n") {
		f := strings.SplitN(line, ":", 3)
		if len(f) != 3 || !strings.Contains(f[2], k.ID) || strings.Contains(f[2], "..") {
			continue
		}
		switch {
		case f[0] == "0" && f[1] == "":
			if s, ok := p.cgroup2(f[2]); ok {
				return s, true
			}
		case hasController(f[1], "cpuacct"):
			for _, dir := range []string{f[1], "cpuacct", "cpu,cpuacct", "cpuacct,cpu"} {
				ns, err := strconv.ParseUint(strings.TrimSpace(p.read("/sys/fs/cgroup/"+dir+f[2]+"/cpuacct.usage")), 10, 64)
				if err == nil {
					return Sample{CPU: float64(ns) / 1e9, HaveCPU: true, Memory: p.memory1(k)}, true
				}
			}
		}
	}
	return Sample{}, false
}

func hasController(list, name string) bool {
	for _, c := range strings.Split(list, ",") {
		if c == name {
			return true
		}
	}
	return false
}

func (p procFS) cgroup2(path string) (Sample, bool) {
	dir := "/sys/fs/cgroup" + path
	usec, ok := statField(p.read(dir+"/cpu.stat"), "usage_usec")
	if !ok {
		return Sample{}, false
	}
	s := Sample{CPU: usec / 1e6, HaveCPU: true}
	if mem, err := strconv.ParseFloat(strings.TrimSpace(p.read(dir+"/memory.current")), 64); err == nil {
		cache, _ := statField(p.read(dir+"/memory.stat"), "inactive_file")
		s.Memory = positive(mem - cache)
	}
	return s, true
}

func (p procFS) memory1(k Container) float64 {
	for _, line := range strings.Split(p.read(fmt.Sprintf("/proc/%d/cgroup", k.PID)), "\n") {
		f := strings.SplitN(line, ":", 3)
		if len(f) == 3 && hasController(f[1], "memory") && strings.Contains(f[2], k.ID) {
			dir := "/sys/fs/cgroup/memory" + f[2]
			mem, err := strconv.ParseFloat(strings.TrimSpace(p.read(dir+"/memory.usage_in_bytes")), 64)
			if err == nil {
				cache, _ := statField(p.read(dir+"/memory.stat"), "total_inactive_file")
				return positive(mem - cache)
			}
		}
	}
	return 0
}

func positive(v float64) float64 {
	if v < 0 {
		return 0
	}
	return v
}

// statField reads "name value" lines.
func statField(text, name string) (float64, bool) {
	for _, line := range strings.Split(text, "\n") {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			return v, err == nil
		}
	}
	return 0, false
}

// socketSample asks the Docker API for one measurement: a cumulative counter,
// without the second or two that the `stats` command takes for a percentage.
func socketSample(ctx context.Context, socket, name string) (Sample, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return Sample{}, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	// HTTP/1.0: the answer is not chunked and ends with the connection.
	_, err = fmt.Fprintf(conn, "GET /containers/%s/stats?stream=false&one-shot=true HTTP/1.0\r\nHost: docker\r\n\r\n", url.PathEscape(name))
	if err != nil {
		return Sample{}, err
	}
	answer, err := io.ReadAll(io.LimitReader(conn, 4<<20))
	if err != nil {
		return Sample{}, err
	}
	head, raw, _ := bytes.Cut(answer, []byte("\r\n\r\n"))
	if status, _, _ := bytes.Cut(head, []byte("\r\n")); !bytes.Contains(status, []byte(" 200 ")) {
		return Sample{}, fmt.Errorf("the engine answered %q", status)
	}
	return parseAPIStats(raw)
}

func parseAPIStats(raw []byte) (Sample, error) {
	var p struct {
		CPU struct {
			Usage struct {
				Total *uint64 `json:"total_usage"`
			} `json:"cpu_usage"`
		} `json:"cpu_stats"`
		Memory struct {
			Usage float64            `json:"usage"`
			Stats map[string]float64 `json:"stats"`
		} `json:"memory_stats"`
	}
	if err := json.Unmarshal(raw, &p); err != nil {
		return Sample{}, err
	}
	if p.CPU.Usage.Total == nil || *p.CPU.Usage.Total == 0 {
		return Sample{}, errors.New("no CPU counter") // what the API answers for a container that does not run
	}
	cache, ok := p.Memory.Stats["total_inactive_file"]
	if !ok {
		cache = p.Memory.Stats["inactive_file"]
	}
	return Sample{CPU: float64(*p.CPU.Usage.Total) / 1e9, HaveCPU: true, Memory: positive(p.Memory.Usage - cache)}, nil
}

// ParseStats reads "97.12% 420KiB / 503.8GiB"; the last line that parses
// counts, because warnings may come before it. ok is false when it holds no measurement.
func ParseStats(out string) (Sample, bool) {
	var best Sample
	found := false
	for _, line := range strings.Split(out, "\n") {
		f := strings.Fields(line)
		if len(f) < 2 || !strings.HasSuffix(f[0], "%") {
			continue
		}
		percent, err := strconv.ParseFloat(strings.TrimSuffix(f[0], "%"), 64)
		mem, ok := parseSize(f[1])
		if err != nil || !ok || !(percent >= 0 && percent < 1e6) || (percent == 0 && mem == 0) {
			continue
		}
		best, found = Sample{Percent: percent, HavePercent: true, Memory: mem}, true
	}
	return best, found
}

var units = []struct {
	suffix string
	factor float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1},
}

func parseSize(s string) (float64, bool) {
	for _, u := range units {
		if num, ok := strings.CutSuffix(s, u.suffix); ok {
			v, err := strconv.ParseFloat(num, 64)
			if err != nil || !(v >= 0 && v < 1e15) { // NaN is neither
				return 0, false
			}
			return v * u.factor, true
		}
	}
	return 0, false
}
