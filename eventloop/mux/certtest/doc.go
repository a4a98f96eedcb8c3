// Package certtest makes certificates for tests: authorities, what they issue, and the files
// that a server reads.
//
// There is one file, certtest.go.
package certtest
