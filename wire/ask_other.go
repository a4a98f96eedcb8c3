//go:build !linux

package wire

import "net"

// checkRuns finds out nothing here.
func checkRuns(net.Conn) error { return nil }
