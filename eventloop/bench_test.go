package eventloop_test

import (
	"bytes"
	"io"
	"testing"

	"kivaloo/eventloop"
	"kivaloo/internal/must"
	"kivaloo/wire"
)

// BenchmarkEcho echoes packets of 100 bytes over a unix socket: one at a time, and as many in
// flight as a window allows.
func BenchmarkEcho(b *testing.B) {
	for _, bench := range []struct {
		name   string
		flight int
	}{{"one", 1}, {"4096", eventloop.MaxOwed}} {
		b.Run(bench.name, func(b *testing.B) { benchmarkEcho(b, bench.flight) })
	}
}

func benchmarkEcho(b *testing.B, flight int) {
	r, ps, ln := start(b), newProbes(b, true), listen(b, "unix")
	r.Serve(ln, ps.options())
	nc := dial(b, ln)
	const size = 100 - wire.Overhead
	chunk := max(flight/16, 1)
	requests := bytes.Repeat(packet(1, size), chunk)
	inFlight := make(chan struct{}, flight/chunk)
	done := make(chan error, 1)
	chunks := (b.N + chunk - 1) / chunk
	b.ReportAllocs()
	b.ResetTimer()
	go func() {
		answers := make([]byte, len(requests))
		for range chunks {
			if _, err := io.ReadFull(nc, answers); err != nil {
				done <- err
				return
			}
			<-inFlight
		}
		done <- nil
	}()
	for range chunks {
		inFlight <- struct{}{}
		if _, err := nc.Write(requests); err != nil {
			b.Fatal(err)
		}
	}
	must.Do(b, <-done)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
}
