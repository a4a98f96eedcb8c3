package commandline

import "strings"

// ErrorText returns what a program prints of an error, behind its own name. Errors of the library
// begin with its name, which is left out.
func ErrorText(err error) string { return strings.ReplaceAll(err.Error(), "kivaloo: ", "") }
