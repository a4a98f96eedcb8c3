// Package commandline holds what the programs with subcommands share in reading a command line: the
// checks of arguments, the words of errors, and flags for text and for a choice of words.
//
// Reading order: arguments.go, flags.go, man.go (the manual pages).
package commandline
