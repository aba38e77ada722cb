package dockerjob

import "testing"

func TestRegistryOfAnImage(t *testing.T) {
	for ref, want := range map[string]string{
		"debian": "registry-1.docker.io:443", "debian:trixie-slim": "registry-1.docker.io:443", "library/debian": "registry-1.docker.io:443",
		"docker.io/library/debian": "registry-1.docker.io:443", "ghcr.io/a/b:1": "ghcr.io:443", "127.0.0.1:5000/x": "127.0.0.1:5000",
		"registry:5000/x@sha256:00": "registry:5000", "localhost/x": "", "scratch": "", "": "", "${BASE}/x": "",
	} {
		if got := registryHost(ref); got != want {
			t.Errorf("%q: %q, want %q", ref, got, want)
		}
	}
}
