package debug

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// resolve returns the address to listen on, if it is allowed.
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

// guard refuses requests made by foreign web pages, and limits the time of an answer.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.opts.Insecure && !isLocal(r.Host) {
			http.Error(w, fmt.Sprintf("this server is not called %q: ask for it by its loopback address", r.Host), http.StatusForbidden)
			return
		}
		if isForeign(r) {
			http.Error(w, "this is not for pages of others: ask from the address bar, from this server's own page or without a browser",
				http.StatusForbidden)
			return
		}
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		setAnswerTime(w, 0)
		next.ServeHTTP(w, r)
	})
}

// isForeign reports whether a foreign web page made a browser send the request. Browsers say so in
// at least one of these headers. Other programs send none of them.
func isForeign(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
	default:
		return true
	}
	for _, header := range []string{"Origin", "Referer"} {
		if from := r.Header.Get(header); from != "" {
			if page, err := url.Parse(from); err != nil || page.Host != r.Host {
				return true
			}
		}
	}
	return false
}

// isLocal reports whether a Host header names this machine in a way that DNS cannot influence. A
// page could make a name of its own resolve to 127.0.0.1, and then read the answers.
func isLocal(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
