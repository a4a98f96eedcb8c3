// Package stopping distinguishes a request to stop from a request to stop at once.
//
// The first signal asks a program for an orderly stop. A second one asks it to stop at once, unless
// both come together: a service manager or a terminal may send one request twice, to the process
// and to its group.
package stopping
