package blackbox

import (
	"bufio"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/internal/must"
)

// redis answers like a Redis server, which waits for line ends.
func redis(nc net.Conn) {
	lines := bufio.NewScanner(nc)
	for lines.Scan() {
		if strings.TrimSpace(lines.Text()) == "PING" {
			_, _ = io.WriteString(nc, "+PONG\r\n")
		}
	}
}

// listenAs serves each connection with do, for the duration of the test, and returns the address.
func listenAs(t *testing.T, do func(nc net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must.Do(t, err)
	var served sync.WaitGroup
	served.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			served.Go(func() {
				defer nc.Close()
				do(nc)
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		served.Wait()
	})
	return ln.Addr().String()
}

// TestWrongPeer checks that a peer that is no server of pairs is named as what it is, at once, by
// all clients, and by kivaloo-kvlds, which connects to a server of blocks. Nothing may wait for as
// long as a busy server would be given: that would be reported.
func TestWrongPeer(t *testing.T) {
	t.Parallel()
	web := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // about clients that do not speak TLS
	secure.StartTLS()
	t.Cleanup(secure.Close)
	frozen := newServe(t)
	frozen.start(t)
	t.Cleanup(freeze(t, frozen.process))

	place := daemontest.Place(t)
	lbs := filepath.Join(place, "lbs")
	must.Do(t, os.Mkdir(filepath.Join(place, "blocks"), 0o700))
	daemontest.Start(t, place, "lbs.pid", daemontest.Program("kivaloo-lbs"), "-s", lbs, "-d", "blocks", "-b", "512")

	for name, peer := range map[string]struct{ addr, says string }{ // what all clients say
		"Redis":       {listenAs(t, redis), "this is not a kivaloo server: it speaks Redis's protocol"},
		"HTTP":        {web.Listener.Addr().String(), "this is not a kivaloo server: it speaks HTTP"},
		"TLS":         {secure.Listener.Addr().String(), "it closed the connection instead of answering: it may speak another protocol or require TLS"},
		"mail":        {listenAs(t, func(nc net.Conn) { _, _ = io.WriteString(nc, "220 m\r\n"); _, _ = io.Copy(io.Discard, nc) }), `this is not a kivaloo server: it sends "220 m\r\n"`},
		"echo":        {listenAs(t, func(nc net.Conn) { _, _ = io.Copy(nc, nc) }), "this is not a kivaloo server: "},
		"hangs up":    {listenAs(t, func(nc net.Conn) {}), "it closed the connection instead of answering"},
		"block store": {lbs, "it closed the connection instead of answering"},
		"stopped":     {frozen.addr(), "no answer: the process that listens there is stopped, and can be continued with `kill -CONT "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			explained := peer.says // by the clients that find out more
			if name == "TLS" {
				explained = peer.addr + " speaks TLS: connect with --tls"
			}
			kivaloo(t, "", "get", "--addr", peer.addr, "key").want(t, 1, "", explained)
			for _, program := range [][]string{
				{"kivaloo-stress", "load", "-n", "1", "-t", peer.addr},
				{"kivaloo-stress", "run", "-w", "tokyo", "-n", "1", "-t", peer.addr},
				{"kivaloo-kvlds-dump", "-t", peer.addr},
				{"kivaloo-mux", "-t", peer.addr, "-s", filepath.Join(place, "mux")},
			} {
				r := daemontest.Run(t, place, daemontest.Program(program[0]), program[1:]...)
				says := peer.says
				if program[0] == "kivaloo-stress" {
					says = explained
				}
				if r.Status.ExitStatus() != 1 || !strings.Contains(r.Output, strings.TrimPrefix(says, "this is not a kivaloo server: ")) {
					t.Errorf("%q: %v, %s", program, r.Status, r.Output)
				}
			}
			if name == "block store" {
				return // the right peer for the following
			}
			kvlds := daemontest.Run(t, place, daemontest.Program("kivaloo-kvlds"), "--foreground", "-l", peer.addr, "-s", filepath.Join(t.TempDir(), "s"))
			if kvlds.Status.ExitStatus() != 1 || !strings.Contains(kvlds.Output, peer.says) {
				t.Errorf("kivaloo-kvlds: %v, %s", kvlds.Status, kvlds.Output)
			}
		})
	}
	t.Run("serve as a block store", func(t *testing.T) {
		t.Parallel()
		s := newServe(t)
		s.start(t)
		r := daemontest.Run(t, place, daemontest.Program("kivaloo-kvlds"), "-l", s.addr(), "-s", filepath.Join(s.place, "s"))
		if want := "kivaloo-lbs serves blocks, kivaloo-kvlds and kivaloo serve do not"; r.Status.ExitStatus() != 1 || !strings.Contains(r.Output, want) {
			t.Errorf("kivaloo-kvlds: %v, %s", r.Status, r.Output)
		}
	})
}
