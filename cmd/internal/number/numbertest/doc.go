// Package numbertest tests that every flag of a program that takes a number refuses what is none, or
// out of bounds. The tests of each program call Refuses with its commands.
//
// Reading order: numbertest.go.
package numbertest
