// Package commandline holds what the programs with subcommands share: checks of arguments, the
// wording of errors, and flags for text and for a choice of words.
package commandline

// Reading order: arguments.go, flags.go, man.go (the manual pages).
