package main

import (
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"kivaloo/stress/results"
	"kivaloo/wire"
)

// usage measures the resources that the processes of a load use during its measured time. These are
// this process, and the server if it runs on this machine.
type usage struct {
	processes []watched
	started   *time.Timer

	mu sync.Mutex
}

// watched is a process of a load.
type watched struct {
	who    string
	proc   procfs.Proc
	before results.Usage // when the measured time began
}

// startUsage begins to measure when the warm-up is over.
func startUsage(t *target, warmup time.Duration) *usage {
	u := &usage{}
	who := "generator and store"
	if t.dir == "" {
		who = "generator"
		if pid := serverPID(t.addr); pid > 0 {
			u.watch("server", pid)
		}
	}
	u.watch(who, os.Getpid())
	u.started = time.AfterFunc(warmup, func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		for i := range u.processes {
			u.processes[i].before = u.processes[i].read()
		}
	})
	return u
}

func (u *usage) watch(who string, pid int) {
	if p, err := procfs.NewProc(pid); err == nil {
		u.processes = append(u.processes, watched{who: who, proc: p})
	}
}

// taken returns the resources used since the warm-up. It leaves out processes that the kernel
// reports nothing about.
func (u *usage) taken() (all []results.Usage) {
	u.started.Stop()
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, p := range u.processes {
		now := p.read()
		if now.PID == 0 || p.before.PID == 0 {
			continue
		}
		now.CPU -= p.before.CPU
		now.Written -= p.before.Written
		all = append(all, now)
	}
	return all
}

// read returns the resources used by the process since it began. A PID of 0 means that they are
// unknown.
func (w *watched) read() (u results.Usage) {
	stat, err := w.proc.Stat()
	if err != nil {
		return u
	}
	args, err := w.proc.CmdLine()
	if err != nil {
		return u
	}
	u = results.Usage{Who: w.who, PID: w.proc.PID, Command: commandLine(args), CPU: stat.CPUTime(), Memory: int64(stat.ResidentMemory())}
	if io, err := w.proc.IO(); err == nil { // only the process's user may know
		u.Written = int64(io.WriteBytes)
	}
	return u
}

// commandLine returns arguments as they can be typed.
func commandLine(args []string) string {
	quoted := make([]string, len(args))
	for i, a := range args {
		if quoted[i] = a; a == "" || strings.ContainsAny(a, " \t\n\"'\\$`*?[]{}()<>|&;#~!") {
			quoted[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}

// serverPID returns the process that listens at an address. It returns 0 if the process is unknown,
// for example because the address is not a unix socket.
func serverPID(addr string) int {
	addrs, err := wire.ResolveAddr(addr)
	if err != nil || len(addrs) == 0 || addrs[0].Network != "unix" {
		return 0
	}
	nc, err := net.DialTimeout("unix", addrs[0].Address, time.Second)
	if err != nil {
		return 0
	}
	defer nc.Close()
	raw, err := nc.(syscall.Conn).SyscallConn()
	if err != nil {
		return 0
	}
	pid := 0
	err = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	})
	if err != nil {
		return 0
	}
	return pid
}

// thisCommand returns the command line of this process.
func thisCommand() string { return commandLine(os.Args) }
