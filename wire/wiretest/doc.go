// Package wiretest is internal to kivaloo: other programs use package kivaloo.
//
// It has what tests need to be either end of a connection, and to know what a
// key-value server has to answer. Only tests import it.
package wiretest

// Files in reading order: conn.go (a connection whose use may fail), peer.go (one that ends the
// test), model.go (what a store should hold), server.go (a server with nothing but a model).
