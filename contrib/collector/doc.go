// Package collector makes Prometheus collect the metrics of a kivaloo.DB or a kivaloo.Client of
// this process:
//
//	prometheus.MustRegister(collector.DB(db), collector.Client(c))
//
// The metrics of a DB have the same names as those of kivaloo serve. See docs/monitoring.md for
// their meaning. Those of a Client begin with kivaloo_client. If a process has several DBs or
// Clients, a label tells them apart: see the example.
//
// It is a package of its own, so that a program without Prometheus does not depend on it.
package collector
