// Package numbertest tests the number flags of a program.
package numbertest
