package boinc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
)

// Names of the files with a meaning in a slot directory (spec 07 §1.3).
const (
	InitDataFile  = "init_data.xml"
	MmapFile      = "boinc_mmap_file"
	LockFile      = "boinc_lockfile"
	FinishFile    = "boinc_finish_called"
	TempExitFile  = "boinc_temporary_exit"
	TrickleUpFile = "trickle_up.xml"
	StderrFile    = "stderr.txt"

	maxInitData = 16 << 20
)

// Docker types in init_data.xml (clients 8.2 and later).
const (
	DockerTypeNone   = 0
	DockerTypeDocker = 1
	DockerTypePodman = 2
)

// ProxyInfo is the proxy block of init_data.xml. Secrets: never log it.
type ProxyInfo struct {
	UseHTTP, UseSOCKS, UseHTTPAuth bool
	HTTPServer, SOCKSServer        string
	HTTPPort, SOCKSPort            int
	HTTPUser, HTTPPassword         string
	SOCKSUser, SOCKSPassword       string
	SOCKSRemoteDNS                 bool
	NoProxy                        string
}

// InitData holds what the wrappers use of init_data.xml (spec 07 §1.6).
// Strings are raw bytes in the OS's encoding. Missing elements keep the
// defaults of NewInitData. The authenticator is deliberately not read.
type InitData struct {
	MajorVersion, MinorVersion, Release int
	AppVersion                          int
	UserID, TeamID, HostID              int
	AppName, PlanClass                  string
	UserName, TeamName                  string
	ProjectDir, BoincDir                string
	WUName, ResultName                  string
	CommObjName                         string
	ShmKey                              int // -1: use boinc_mmap_file
	Slot, ClientPID                     int
	WUCPUTime, StartingElapsed          float64 // seconds at the last checkpoint
	UsingSandbox                        bool
	CheckpointPeriod                    float64 // seconds
	FractionStart, FractionEnd          float64
	GPUType                             string
	GPUDeviceNum                        int // -1: no GPU
	GPUUsage                            float64
	NCPUs                               float64
	RscMemoryBound, RscDiskBound        float64 // bytes
	RscFpopsEst, RscFpopsBound          float64
	ComputationDeadline                 float64 // Unix seconds
	NoPriorityChange                    bool
	ProcessPriority                     int // -1: unset
	ProcessPrioritySpecial              int
	DockerType                          int // DockerType*
	DockerVersion                       string
	HostCPID                            string   // cross-project id of this client's host
	Distros                             []Distro // WSL distributions, Windows
	Proxy                               ProxyInfo
	AppFiles                            []string // physical names of the code-signed files
}

// NewInitData returns the values that hold when an element is missing.
func NewInitData() *InitData {
	return &InitData{ShmKey: -1, GPUDeviceNum: -1, NCPUs: 1, FractionEnd: 1, CheckpointPeriod: 300,
		ProcessPriority: -1, ProcessPrioritySpecial: -1}
}

// ErrBadInitData says that the file is there but is not an init_data.xml.
var ErrBadInitData = errors.New("init_data.xml cannot be parsed")

// ReadInitData reads and parses a file. os.ErrNotExist means standalone mode;
// ErrBadInitData a file without <app_init_data> … </app_init_data>.
func ReadInitData(path string) (*InitData, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st.Size() > maxInitData {
		return nil, fmt.Errorf("%w: %d bytes is too large", ErrBadInitData, st.Size())
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return ParseInitData(raw)
}

// ParseInitData parses the text of init_data.xml, in any order, skipping what it does not know.
func ParseInitData(raw []byte) (*InitData, error) {
	start := bytes.Index(raw, []byte("<app_init_data>"))
	if start < 0 {
		return nil, fmt.Errorf("%w: no <app_init_data>", ErrBadInitData)
	}
	body := raw[start+len("<app_init_data>"):]
	end := bytes.LastIndex(body, []byte("</app_init_data>"))
	if end < 0 {
		return nil, fmt.Errorf("%w: no </app_init_data>", ErrBadInitData)
	}
	d := NewInitData()
	for _, e := range Elements(body[:end]) {
		d.set(e)
	}
	return d, nil
}

func (d *InitData) set(e Element) {
	if dst, ok := d.strings()[e.Name]; ok {
		*dst = e.text()
		return
	}
	if dst, ok := d.integers()[e.Name]; ok {
		e.integer(dst)
		return
	}
	if dst, ok := d.numbers()[e.Name]; ok {
		e.number(dst)
		return
	}
	switch e.Name {
	case "using_sandbox":
		e.boolean(&d.UsingSandbox)
	case "no_priority_change":
		e.boolean(&d.NoPriorityChange)
	case "app_file":
		if name := e.text(); name != "" {
			d.AppFiles = append(d.AppFiles, name)
		}
	case "host_info":
		for _, h := range Elements(e.Body) {
			switch h.Name {
			case "docker_version":
				d.DockerVersion = h.text()
			case "docker_type":
				h.integer(&d.DockerType)
			case "host_cpid":
				d.HostCPID = h.text()
			case "wsl":
				d.Distros = parseDistros(h.Body)
			}
		}
	case "proxy_info":
		d.Proxy.parse(e.Body)
	}
}

func (d *InitData) strings() map[string]*string {
	return map[string]*string{
		"app_name": &d.AppName, "plan_class": &d.PlanClass, "user_name": &d.UserName, "team_name": &d.TeamName,
		"project_dir": &d.ProjectDir, "boinc_dir": &d.BoincDir, "wu_name": &d.WUName, "result_name": &d.ResultName,
		"comm_obj_name": &d.CommObjName, "gpu_type": &d.GPUType,
	}
}

func (d *InitData) integers() map[string]*int {
	return map[string]*int{
		"major_version": &d.MajorVersion, "minor_version": &d.MinorVersion, "release": &d.Release,
		"app_version": &d.AppVersion, "userid": &d.UserID, "teamid": &d.TeamID, "hostid": &d.HostID,
		"shm_key": &d.ShmKey, "slot": &d.Slot, "client_pid": &d.ClientPID, "gpu_device_num": &d.GPUDeviceNum,
		"process_priority": &d.ProcessPriority, "process_priority_special": &d.ProcessPrioritySpecial,
	}
}

func (d *InitData) numbers() map[string]*float64 {
	return map[string]*float64{
		"wu_cpu_time": &d.WUCPUTime, "starting_elapsed_time": &d.StartingElapsed,
		"checkpoint_period": &d.CheckpointPeriod, "fraction_done_start": &d.FractionStart,
		"fraction_done_end": &d.FractionEnd, "gpu_usage": &d.GPUUsage, "ncpus": &d.NCPUs,
		"rsc_fpops_est": &d.RscFpopsEst, "rsc_fpops_bound": &d.RscFpopsBound,
		"rsc_memory_bound": &d.RscMemoryBound, "rsc_disk_bound": &d.RscDiskBound,
		"computation_deadline": &d.ComputationDeadline,
	}
}

func (p *ProxyInfo) parse(body []byte) {
	for _, e := range Elements(body) {
		switch e.Name {
		case "use_http_proxy":
			e.boolean(&p.UseHTTP)
		case "use_socks_proxy":
			e.boolean(&p.UseSOCKS)
		case "use_http_auth":
			e.boolean(&p.UseHTTPAuth)
		case "http_server_name":
			p.HTTPServer = e.text()
		case "http_server_port":
			e.integer(&p.HTTPPort)
		case "http_user_name":
			p.HTTPUser = e.text()
		case "http_user_passwd":
			p.HTTPPassword = e.text()
		case "socks_server_name":
			p.SOCKSServer = e.text()
		case "socks_server_port":
			e.integer(&p.SOCKSPort)
		case "socks5_user_name":
			p.SOCKSUser = e.text()
		case "socks5_user_passwd":
			p.SOCKSPassword = e.text()
		case "socks5_remote_dns":
			e.boolean(&p.SOCKSRemoteDNS)
		case "no_proxy":
			p.NoProxy = e.text()
		}
	}
}

// ProjectFolder is the name of the project's directory (the text after the
// last slash or backslash of project_dir), "" in standalone mode.
func (d *InitData) ProjectFolder() string {
	s := strings.TrimRight(d.ProjectDir, `/\`)
	return s[strings.LastIndexAny(s, `/\`)+1:]
}

// IsAppFile tells whether a physical name is one of the app version's (code-signed) files.
func (d *InitData) IsAppFile(physical string) bool {
	for _, f := range d.AppFiles {
		if f == physical {
			return true
		}
	}
	return false
}

// MinCheckpointPeriod is the time between checkpoints in seconds: the user's
// preference in whole seconds or the program's own minimum, 300 if both are 0 (spec 07 §3.12).
func (d *InitData) MinCheckpointPeriod(own int) int {
	p := int(d.CheckpointPeriod)
	if p < own {
		p = own
	}
	if p <= 0 {
		return 300
	}
	return p
}
