// Package collector has Prometheus read what a kivaloo.DB or a kivaloo.Client of this process
// counts:
//
//	prometheus.MustRegister(collector.DB(db), collector.Client(c))
//
// Metrics of a DB have the same names as those of kivaloo serve, which docs/monitoring.md explains.
// Those of a Client begin with kivaloo_client. A process with several of a kind tells them apart by
// a label: see the example.
//
// It is a package of its own, so that a program that does not use Prometheus does not get it.
package collector
