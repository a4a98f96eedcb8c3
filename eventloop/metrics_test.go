package eventloop_test

import (
	"log/slog"
	"testing"

	"kivaloo/eventloop"
)

// TestMetrics checks that reads and writes are measured, and that the connections at a gate are
// counted.
func TestMetrics(t *testing.T) {
	m := &eventloop.Metrics{}
	r := startWith(t, slog.New(slog.DiscardHandler), func(l *eventloop.Loop) { l.Measure(m) })
	ps, ln := newProbes(t, true), listen(t, "unix")
	gate := eventloop.NewGate(2)
	opts := ps.options()
	opts.Gate = gate
	r.Serve(ln, opts)
	nc := dial(t, ln)
	p := ps.next()
	for id := range uint64(3) {
		write(t, nc, packet(id, 100))
		readPacket(t, nc, id, 100)
	}
	if n := gate.Open(); n != 1 {
		t.Errorf("%d connections", n)
	}
	nc.Close()
	p.waitClosed(t)
	eventually(t, func() bool { return gate.Open() == 0 })
	r.Stop(0)
	r.wait()
	reads, writes := m.Read.Read(), m.Write.Read()
	if n := writes.Total(); n != 3 {
		t.Errorf("%d writes", n)
	}
	if n := reads.Total(); n < 3 {
		t.Errorf("%d reads", n)
	}
	if reads.Sum == 0 || writes.Sum == 0 {
		t.Errorf("reads take %d ns, writes %d", reads.Sum, writes.Sum)
	}
}
