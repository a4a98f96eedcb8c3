package debug

import (
	"fmt"
	"net"
	"net/http"
	"strings"
)

// resolve returns the address to listen on, if it is one that may be.
func (o *Options) resolve() (string, error) {
	addr, err := net.ResolveTCPAddr("tcp", o.Addr)
	if err != nil {
		return "", fmt.Errorf("--debug-addr %s: not host:port: %w", o.Addr, err)
	}
	if !addr.IP.IsLoopback() && !o.Insecure {
		return "", fmt.Errorf("--debug-addr %s can be reached from other machines, and whoever connects can read what is stored out of "+
			"profiles and slow the server down: use a loopback address such as 127.0.0.1:6060, or say --insecure-debug", o.Addr)
	}
	return addr.String(), nil
}

// guard refuses what comes from a page of somebody else, and bounds how long an answer takes.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.opts.Insecure && !isLocal(r.Host) {
			http.Error(w, fmt.Sprintf("this server is not called %q: ask for it by its loopback address", r.Host), http.StatusForbidden)
			return
		}
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		setAnswerTime(w, 0)
		next.ServeHTTP(w, r)
	})
}

// isLocal reports whether a Host header names this machine in a way that no name server has a say in. A page can make a
// name of its own mean 127.0.0.1, and then read what is there.
func isLocal(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
