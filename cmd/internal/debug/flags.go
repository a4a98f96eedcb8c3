package debug

import (
	"kivaloo/cmd/internal/daemon"
	"kivaloo/cmd/internal/version"
)

// Usage is the help text of the options of Flags.
const Usage = "[--debug-addr <address> [--insecure-debug] [--flight-recorder]]"

// Flags adds the options to a daemon. Their values are valid once its command line has been parsed.
func Flags(p *daemon.Program, name string) *Options {
	o := &Options{Program: name, Version: version.Of().String(), Log: p.Log}
	p.Long("debug-addr", false, func(s string) error { o.Addr = s; return nil })
	p.LongSwitch(&o.Insecure, "insecure-debug")
	p.LongSwitch(&o.Record, "flight-recorder")
	return o
}
