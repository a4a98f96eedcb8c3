package wire

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"syscall"
)

// checkRuns returns an error if nc is a unix socket and the process listening at its other end is
// stopped.
func checkRuns(nc net.Conn) error {
	conn, ok := nc.(*net.UnixConn)
	if !ok {
		return nil
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil
	}
	var peer *syscall.Ucred
	if raw.Control(func(fd uintptr) {
		peer, err = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}) != nil || err != nil {
		return nil
	}
	// The format is "pid (name) state ...". The name may contain anything.
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", peer.Pid))
	end := bytes.LastIndexByte(stat, ')')
	if err != nil || !bytes.HasPrefix(stat[end+1:], []byte(" T ")) {
		return nil
	}
	return fmt.Errorf("no answer: the process that listens there is stopped, and can be continued with `kill -CONT %d`", peer.Pid)
}
