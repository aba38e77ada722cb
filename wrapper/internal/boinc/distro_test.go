package boinc

import (
	"reflect"
	"testing"
)

func TestWSLDistributions(t *testing.T) {
	d, err := ParseInitData([]byte(`<app_init_data><host_info><host_cpid>ab12</host_cpid><wsl>
<distro><distro_name>Ubuntu &amp; Co</distro_name><os_name>Ubuntu</os_name><wsl_version>2</wsl_version><is_default/>
<docker_version>28.3.3</docker_version><docker_type>1</docker_type></distro>
<distro><distro_name>boinc-buda-runner</distro_name><wsl_version>2</wsl_version><disallowed/>
<docker_version>5.4.1</docker_version><docker_type>2</docker_type></distro>
<distro><wsl_version>2</wsl_version></distro><nonsense>1</nonsense></wsl></host_info></app_init_data>`))
	if err != nil {
		t.Fatal(err)
	}
	want := []Distro{
		{Name: "Ubuntu & Co", WSLVersion: 2, Default: true, DockerVersion: "28.3.3", DockerType: DockerTypeDocker},
		{Name: BudaRunner, WSLVersion: 2, Version: 1, Disallowed: true, DockerVersion: "5.4.1", DockerType: DockerTypePodman},
	}
	if !reflect.DeepEqual(d.Distros, want) || d.HostCPID != "ab12" {
		t.Errorf("got %+v %q", d.Distros, d.HostCPID)
	}
}
