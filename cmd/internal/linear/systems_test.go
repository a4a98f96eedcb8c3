package linear

import (
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"kivaloo"
	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/internal/must"
)

// dial connects a client.
func dial(t *testing.T, addr string) store {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := kivaloo.Dial(ctx, addr, kivaloo.DialOptions{Reconnect: true})
	must.Do(t, err)
	return c
}

// serve is kivaloo serve.
type serve struct {
	dir     string
	process *daemontest.Daemon
}

func newServe(t *testing.T) system { return &serve{dir: filepath.Join(daemontest.Place(t), "d")} }

// start uses small blocks and a small cache, so that much happens inside.
func (s *serve) start(t *testing.T) {
	t.Helper()
	process, said := daemontest.Foreground(t, exec.Command(daemontest.Program("kivaloo"),
		"serve", "--dir", s.dir, "--block-size", "512", "--cache", "1M"))
	must.Eventually(t, "ready", func() bool {
		text, err := os.ReadFile(said)
		must.Do(t, err)
		return strings.Contains(string(text), "msg=ready")
	})
	s.process = process
}

func (s *serve) crash(t *testing.T, _ *rand.Rand) {
	t.Helper()
	s.process.Kill()
	s.process.Wait(t)
}

func (s *serve) processes() []*daemontest.Daemon { return []*daemontest.Daemon{s.process} }

func (s *serve) addr() string { return filepath.Join(s.dir, "kivaloo.sock") }

func (s *serve) client(t *testing.T, _ int) store {
	t.Helper()
	return dial(t, s.addr())
}

// muxed is kivaloo serve behind a kivaloo-mux. Clients connect alternately to the mux and directly
// to serve.
type muxed struct {
	*serve
	place string
	mux   *daemontest.Daemon // nil if it is not running
}

func newMuxed(t *testing.T) system {
	t.Helper()
	place := daemontest.Place(t)
	return &muxed{serve: &serve{dir: filepath.Join(place, "d")}, place: place}
}

func (m *muxed) start(t *testing.T) {
	t.Helper()
	if m.process == nil {
		m.serve.start(t)
	}
	if m.mux == nil {
		m.mux = launch(t, m.place, "mux", "-s", m.muxAddr(), "-t", m.addr())
	}
}

func (m *muxed) muxAddr() string { return filepath.Join(m.place, "mux") }

// crash kills the mux, or serve. In the latter case the mux ends by itself when it notices.
func (m *muxed) crash(t *testing.T, rnd *rand.Rand) {
	t.Helper()
	if rnd.IntN(2) == 0 {
		m.mux.Kill()
	} else {
		m.serve.crash(t, rnd)
		m.process = nil
	}
	m.mux.Wait(t)
	m.mux = nil
}

func (m *muxed) processes() []*daemontest.Daemon { return []*daemontest.Daemon{m.process, m.mux} }

func (m *muxed) client(t *testing.T, n int) store {
	t.Helper()
	return dial(t, []string{m.muxAddr(), m.addr()}[n%2])
}

// daemons are kivaloo-mux, kivaloo-kvlds and kivaloo-lbs. Clients connect alternately to the mux
// and directly to the kvlds.
type daemons struct {
	place           string
	mux, kvlds, lbs *daemontest.Daemon // nil if it is not running
}

func newDaemons(t *testing.T) system {
	t.Helper()
	d := &daemons{place: daemontest.Place(t)}
	must.Do(t, os.Mkdir(d.path("d"), 0o700))
	return d
}

func (d *daemons) path(name string) string { return filepath.Join(d.place, name) }

func (d *daemons) start(t *testing.T) {
	t.Helper()
	if d.lbs == nil {
		d.lbs = launch(t, d.place, "lbs", "-s", d.path("lbs"), "-d", d.path("d"), "-b", "512")
	}
	if d.kvlds == nil {
		d.kvlds = launch(t, d.place, "kvlds", "-s", d.path("kvlds"), "-l", d.path("lbs"), "-C", "1024", "-n", strconv.Itoa(clients+1))
	}
	if d.mux == nil {
		d.mux = launch(t, d.place, "mux", "-s", d.path("mux"), "-t", d.path("kvlds"))
	}
}

// launch starts a daemon as a script would. If an earlier one was killed, launch removes its
// socket, which is called name in place.
func launch(t *testing.T, place, name string, args ...string) *daemontest.Daemon {
	t.Helper()
	if err := os.Remove(filepath.Join(place, name)); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return daemontest.Start(t, place, name+".pid", daemontest.Program("kivaloo-"+name), args...)
}

// crash kills one of the daemons. Those that depend on it end by themselves when they notice.
func (d *daemons) crash(t *testing.T, rnd *rand.Rand) {
	t.Helper()
	victims := []**daemontest.Daemon{&d.mux, &d.kvlds, &d.lbs}[:1+rnd.IntN(3)]
	(*victims[len(victims)-1]).Kill()
	for _, v := range victims {
		(*v).Wait(t)
		*v = nil
	}
}

func (d *daemons) processes() []*daemontest.Daemon {
	return []*daemontest.Daemon{d.mux, d.kvlds, d.lbs}
}

func (d *daemons) client(t *testing.T, n int) store {
	t.Helper()
	return dial(t, d.path([]string{"mux", "kvlds"}[n%2]))
}
