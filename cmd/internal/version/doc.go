// Package version returns the version of a program. All programs of the project have the same
// version.
package version
