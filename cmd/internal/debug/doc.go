// Package debug lets people look into a running server, over HTTP, if --debug-addr is given:
//
//	eventloop --Metrics--\                                    /--> /metrics          Prometheus
//	tree -----Metrics-----+--> Server --one sample a second--+---> /stats.json, /    the live page, kivaloo top
//	disk -----OnSync-----/        |                           \--> /livez, /readyz   is it all right?
//	tree, disk --Events-----------+--------------------------------> /events.json      flushes, cleaning, stalls
//	tree <----Call, Stats---------/
//	Go runtime -----------------------> /debug/pprof/, /debug/flightrecording
//
// What is counted while requests are served is counted by its owner, in histograms of a fixed size
// and atomic counters; nobody waits for anybody. A Server asks the tree for its shape, with a
// tree.Batch without requests, only when somebody wants to know.
//
// Whoever can connect can read all this, make the process work for it, and, in a recording or a
// heap profile, come by what clients have stored. So the address has to be a loopback one, unless
// that is waived, and requests that a web page of somebody else has a browser send are refused.
//
// A Server that is nil is one that was not asked for: its methods do nothing, and nothing is
// measured.
//
// Own is for programs that have a store of their own and no server: their profiles and recordings
// without one.
package debug

// Reading order: flags.go, server.go, guard.go (who may ask), profiles.go, recorder.go, own.go,
// health.go, inside.go (what is measured), events.go, collector.go (Prometheus), sampler.go and
// report.go (numbers for people), page.html, limits.go.
