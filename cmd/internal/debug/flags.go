package debug

import (
	"kivaloo/cmd/internal/daemon"
	"kivaloo/cmd/internal/version"
)

// Usage is how the options of Flags are shown to people.
const Usage = "[--debug-addr <address> [--insecure-debug] [--flight-recorder]]"

// Flags adds the options to a daemon. They are set once its command line has been read.
func Flags(p *daemon.Program, name string) *Options {
	o := &Options{Program: name, Version: version.Of().String(), Log: p.Log}
	p.Long("debug-addr", false, func(s string) error { o.Addr = s; return nil })
	p.LongSwitch(&o.Insecure, "insecure-debug")
	p.LongSwitch(&o.Record, "flight-recorder")
	return o
}
