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
)

// dial connects a client.
func dial(t *testing.T, addr string) store {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := kivaloo.Dial(ctx, addr, kivaloo.WithReconnect())
	must(t, err)
	return c
}

// serve is kivaloo serve.
type serve struct {
	dir     string
	process *daemontest.Daemon
}

func newServe(t *testing.T) system { return &serve{dir: filepath.Join(daemontest.Place(t), "d")} }

// start uses small blocks and a small cache, so that much goes on below.
func (s *serve) start(t *testing.T) {
	t.Helper()
	process, said := daemontest.Foreground(t, exec.Command(daemontest.Program("kivaloo"),
		"serve", "--dir", s.dir, "--block-size", "512", "--cache", "1M"))
	daemontest.Until(t, "ready", func() bool {
		text, err := os.ReadFile(said)
		must(t, err)
		return strings.Contains(string(text), "msg=ready")
	})
	s.process = process
}

func (s *serve) crash(t *testing.T, _ *rand.Rand) {
	t.Helper()
	s.process.Kill()
	s.process.Wait(t)
}

func (s *serve) client(t *testing.T, _ int) store {
	t.Helper()
	return dial(t, filepath.Join(s.dir, "kivaloo.sock"))
}

// daemons are kivaloo-mux, kivaloo-kvlds and kivaloo-lbs. Clients come in turn through the mux and
// straight to the kvlds.
type daemons struct {
	place           string
	mux, kvlds, lbs *daemontest.Daemon // nil if it does not run
}

func newDaemons(t *testing.T) system {
	t.Helper()
	d := &daemons{place: daemontest.Place(t)}
	must(t, os.Mkdir(d.path("d"), 0o700))
	return d
}

func (d *daemons) path(name string) string { return filepath.Join(d.place, name) }

func (d *daemons) start(t *testing.T) {
	t.Helper()
	if d.lbs == nil {
		d.lbs = d.launch(t, "lbs", "-s", d.path("lbs"), "-d", d.path("d"), "-b", "512")
	}
	if d.kvlds == nil {
		d.kvlds = d.launch(t, "kvlds", "-s", d.path("kvlds"), "-l", d.path("lbs"), "-C", "1024", "-n", strconv.Itoa(clients+1))
	}
	if d.mux == nil {
		d.mux = d.launch(t, "mux", "-s", d.path("mux"), "-t", d.path("kvlds"))
	}
}

// launch starts a daemon as a script would: the socket of one that was killed is removed before.
func (d *daemons) launch(t *testing.T, name string, args ...string) *daemontest.Daemon {
	t.Helper()
	if err := os.Remove(d.path(name)); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return daemontest.Start(t, d.place, name+".pid", daemontest.Program("kivaloo-"+name), args...)
}

// crash kills one of the daemons. Those above it end by themselves when they notice.
func (d *daemons) crash(t *testing.T, rnd *rand.Rand) {
	t.Helper()
	victims := []**daemontest.Daemon{&d.mux, &d.kvlds, &d.lbs}[:1+rnd.IntN(3)]
	(*victims[len(victims)-1]).Kill()
	for _, v := range victims {
		(*v).Wait(t)
		*v = nil
	}
}

func (d *daemons) client(t *testing.T, n int) store {
	t.Helper()
	return dial(t, d.path([]string{"mux", "kvlds"}[n%2]))
}
