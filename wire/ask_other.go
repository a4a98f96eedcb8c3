//go:build !linux

package wire

import "net"

// checkRuns cannot find out anything on this system.
func checkRuns(net.Conn) error { return nil }
