// Package number adds flags that take a number within bounds. A value out of bounds, or NaN, is
// refused while the command line is read, before anything is opened, made or measured.
//
//	--cache 9999 --> pflag --> flag: parse, compare with min and max --> the variable, or an error
//
// Reading order: number.go. Tests of a command line are in numbertest.
package number
