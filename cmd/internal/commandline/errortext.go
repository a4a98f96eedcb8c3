package commandline

import "strings"

// ErrorText returns the text of an error as a program prints it after its own name. It removes the
// prefix of the library's errors.
func ErrorText(err error) string { return strings.ReplaceAll(err.Error(), "kivaloo: ", "") }
