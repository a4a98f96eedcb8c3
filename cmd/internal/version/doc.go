// Package version says which version of the project a program is. All programs have the same.
package version
