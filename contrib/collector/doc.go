// Package collector has Prometheus read what a kivaloo.DB or a kivaloo.Client of this process
// counts:
//
//	prometheus.MustRegister(collector.DB(db), collector.Client(c))
//
// Metrics of a DB have the names that kivaloo serve gives them, as docs/monitoring.md explains them.
// Those of a Client begin with kivaloo_client. A process with several of a kind tells them apart by
// a label: see the example.
//
// It is a package of its own, so that a program that does not use Prometheus does not get it.
package collector
