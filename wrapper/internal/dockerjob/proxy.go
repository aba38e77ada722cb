package dockerjob

import (
	"net"
	"net/url"
	"strconv"

	"boincdock.org/wrapper/internal/boinc"
)

// ProxyEnv turns the client's proxy settings into environment variables (spec 07 §6.7), nil if there is no proxy.
// They hold passwords: pass them through the environment, never in an argument list or a log.
func ProxyEnv(p boinc.ProxyInfo) []string {
	u := url.URL{}
	switch {
	case p.UseHTTP && p.HTTPServer != "":
		u.Scheme, u.Host = "http", net.JoinHostPort(p.HTTPServer, strconv.Itoa(p.HTTPPort))
		if p.HTTPUser != "" {
			u.User = url.UserPassword(p.HTTPUser, p.HTTPPassword)
		}
	case p.UseSOCKS && p.SOCKSServer != "":
		u.Scheme, u.Host = "socks5", net.JoinHostPort(p.SOCKSServer, strconv.Itoa(p.SOCKSPort))
		if p.SOCKSRemoteDNS {
			u.Scheme = "socks5h"
		}
		if p.SOCKSUser != "" {
			u.User = url.UserPassword(p.SOCKSUser, p.SOCKSPassword)
		}
	default:
		return nil
	}
	var env []string
	for _, name := range []string{"http_proxy", "https_proxy", "HTTPS_PROXY"} {
		env = append(env, name+"="+u.String())
	}
	if p.NoProxy != "" {
		env = append(env, "no_proxy="+p.NoProxy, "NO_PROXY="+p.NoProxy)
	}
	return env
}
