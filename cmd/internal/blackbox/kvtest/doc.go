// Package kvtest tests, from a socket, whether a key-value server does what it should:
//
//	Source ---random requests---> Conn ---packets---> server
//	  |                             |
//	  +------> Model <---compared---+
//
// Exercise runs random requests of all kinds and checks every answer. Load is one connection's part
// of a mixed load during which the server is killed. It knows what must be there afterwards, and
// what may be there.
package kvtest

// Files in reading order: source.go, conn.go, exercise.go, ranges.go, load.go.
