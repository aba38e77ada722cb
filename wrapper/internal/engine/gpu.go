package engine

import (
	"context"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"boincdock.org/wrapper/internal/execx"
)

// Vendors of GPUs as far as their devices are given to containers in different ways.
const (
	vendorNVIDIA = "nvidia"
	vendorAMD    = "amd"
	vendorIntel  = "intel"
)

// vendorOf reads gpu_type of init_data.xml: NVIDIA, ATI, intel_gpu, or an OpenCL vendor string.
func vendorOf(gpuType string) string {
	t := strings.ToLower(gpuType)
	switch {
	case strings.Contains(t, "nvidia") || t == "cuda":
		return vendorNVIDIA
	case t == "ati" || strings.HasPrefix(t, "amd") || strings.HasPrefix(t, "advanced micro devices"):
		return vendorAMD
	case strings.HasPrefix(t, "intel"):
		return vendorIntel
	}
	return ""
}

// detectGPU looks for the devices themselves, for jobs that want a GPU where the client names none.
func (p procFS) detectGPU() string {
	has := func(path string) bool {
		m, _ := filepath.Glob(filepath.Join(p.root, path))
		return len(m) > 0
	}
	switch {
	case has("/dev/nvidiactl"), has("/dev/nvidia0"), has("/proc/driver/nvidia/version"):
		return vendorNVIDIA
	case has("/dev/kfd"):
		return vendorAMD
	}
	cards, _ := filepath.Glob(filepath.Join(p.root, "/sys/class/drm/card*/device/vendor"))
	for _, c := range cards {
		if rel, err := filepath.Rel(p.root, c); err == nil && strings.TrimSpace(p.read(rel)) == "0x8086" {
			return vendorIntel
		}
	}
	return ""
}

// gpuArgs gives the device to the container (spec 07 §7.5).
func (c *CLI) gpuArgs(g GPU) []string {
	vendor := vendorOf(g.Vendor)
	if c.mac {
		return []string{"--device", "/dev/dri"} // gpuNotes has looked whether there is one
	}
	if vendor == "" && g.Vendor == "" && c.paths == nil {
		vendor = c.proc.detectGPU()
	}
	var args []string
	if c.paths != nil { // WSL: the paravirtual device and the libraries that come with Windows' drivers
		args = []string{"--device", "/dev/dxg", "-v", "/usr/lib/wsl:/usr/lib/wsl:ro", "-e", "LD_LIBRARY_PATH=/usr/lib/wsl/lib"}
		if vendor == vendorNVIDIA || vendor == "" && g.Vendor == "" {
			args = append(args, c.nvidiaArgs(g)...)
		}
		return args
	}
	switch vendor {
	case vendorAMD:
		args = []string{"--device", "/dev/kfd", "--device", "/dev/dri"}
		for _, group := range []string{"video", "render"} {
			if c.proc.hasGroup(group) {
				args = append(args, "--group-add", group)
			}
		}
		return args
	case vendorIntel:
		return []string{"--device", "/dev/dri"}
	}
	return c.nvidiaArgs(g)
}

func (c *CLI) nvidiaArgs(g GPU) []string {
	switch {
	case c.podman && c.hasCDI():
		n := "all"
		if g.Device >= 0 {
			n = strconv.Itoa(g.Device)
		}
		return []string{"--device", "nvidia.com/gpu=" + n}
	case c.podman || g.Device < 0:
		return []string{"--gpus", "all"}
	}
	return []string{"--gpus", "device=" + strconv.Itoa(g.Device)}
}

// hasCDI tells whether the machine that runs the engine describes its NVIDIA devices for CDI.
func (c *CLI) hasCDI() bool {
	if c.paths == nil {
		return c.proc.hasCDI()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	res, _ := c.run.Run(ctx, execx.Cmd{Args: []string{"sh", "-c", "ls /etc/cdi /var/run/cdi 2>/dev/null"}})
	return strings.Contains(string(res.Stdout), ".yaml") || strings.Contains(string(res.Stdout), ".json")
}

// gpuNotes drops a GPU that cannot be given: Podman's machine on macOS has one or not.
func (c *CLI) gpuNotes(ctx context.Context, s *CreateSpec) {
	if s.GPU == nil || !c.mac {
		return
	}
	if c.podman {
		if _, err := c.call(ctx, shortCall, "machine", "ssh", "test", "-e", "/dev/dri"); err == nil {
			return
		}
	}
	c.warnf("the virtual machine that runs the containers has no GPU: the job computes on the CPU")
	s.GPU = nil
}
