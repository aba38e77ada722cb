package dockerjob

import (
	"context"
	"net"
	"strconv"
	"strings"
	"time"
)

// How long the registry is waited for between two tries.
const (
	registryPoll = 10 * time.Second
	registryWait = 10 * time.Minute
	dockerHub    = "registry-1.docker.io"
)

// registryHost is host:port of the registry that holds an image (spec 07 §7.11); "" for what no registry has.
func registryHost(ref string) string {
	first, _, found := strings.Cut(ref, "/")
	if ref == "" || strings.EqualFold(ref, "scratch") || strings.Contains(first, "$") {
		return ""
	}
	if !found || !strings.ContainsAny(first, ".:") && first != "localhost" || first == "docker.io" {
		first = dockerHub
	}
	if first == "localhost" {
		return "" // an image of this engine (Podman)
	}
	if _, _, err := net.SplitHostPort(first); err == nil {
		return first
	}
	return net.JoinHostPort(first, "443")
}

// reach is what has to answer for a build or pull to succeed: the proxy, else the registry.
func (s *Session) reach() string {
	p := s.init.Proxy
	switch {
	case p.UseHTTP && p.HTTPServer != "":
		return net.JoinHostPort(p.HTTPServer, strconv.Itoa(p.HTTPPort))
	case p.UseSOCKS && p.SOCKSServer != "":
		return net.JoinHostPort(p.SOCKSServer, strconv.Itoa(p.SOCKSPort))
	case s.image.built:
		return registryHost(baseImage(s.image.dockerfile))
	}
	return registryHost(s.image.ref)
}

// awaitRegistry waits, some minutes at most, until a connection can be opened to what the image comes
// from. Nobody else is ever asked whether the network works.
func (s *Session) awaitRegistry() error {
	host := s.reach()
	if host == "" {
		return nil
	}
	said := false
	for end := time.Now().Add(registryWait); time.Now().Before(end); {
		var err error
		if serr := s.await(func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, registryPoll)
			defer cancel()
			var conn net.Conn
			if conn, err = new(net.Dialer).DialContext(ctx, "tcp", host); err == nil {
				conn.Close()
			}
			return nil
		}); serr != nil {
			return serr
		}
		if err == nil {
			return nil
		}
		if !said {
			s.logf("waiting until %s can be reached: %v", host, err)
			said = true
		}
		if err := s.sleep(registryPoll); err != nil {
			return err
		}
	}
	return nil
}
