// Package kvtest tells whether a key-value server does what it should, seen from a socket:
//
//	Source ---random requests---> Conn ---packets---> server
//	  |                             |
//	  +------> Model <---compared---+
//
// Exercise runs random requests of all kinds and checks every answer. Load is one connection's
// part of a mixed load under which the server is killed: it knows what must be there
// afterwards, and what may be.
//
// Files in reading order: source.go, conn.go, exercise.go, ranges.go, load.go.
package kvtest
