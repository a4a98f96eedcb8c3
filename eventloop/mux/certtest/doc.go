// Package certtest is internal to kivaloo: other programs use package kivaloo.
//
// It makes certificates for tests: authorities, what they issue, and the files
// that a server reads.
package certtest
