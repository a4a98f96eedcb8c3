package targets

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"kivaloo/stress"
)

// store is a new store and its servers, with a connection to them.
type store struct {
	dir       string
	processes []*stress.Process // in the order in which they are stopped
	conn      net.Conn
}

// serve starts `kivaloo serve` on a new store, with its defaults unless args say otherwise.
func (b *Bench) serve(ctx context.Context, args ...string) (*store, error) {
	s := &store{dir: filepath.Join(b.Dir, "serve")}
	err := s.start(ctx, "kivaloo serve", filepath.Join(s.dir, "kivaloo.sock"), b.program("kivaloo"), append([]string{"serve", "--dir", s.dir}, args...))
	return s.orStop(err)
}

// daemons starts kivaloo-lbs on a new store, and kivaloo-kvlds, with their defaults and serve's
// block size.
func (b *Bench) daemons(ctx context.Context, _ ...string) (*store, error) {
	s := &store{dir: filepath.Join(b.Dir, "daemons")}
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		return nil, err
	}
	data, blocks, pairs := filepath.Join(s.dir, "data"), filepath.Join(s.dir, "lbs.sock"), filepath.Join(s.dir, "kvlds.sock")
	if err := os.Mkdir(data, 0o700); err != nil {
		return nil, err
	}
	err := s.start(ctx, "kivaloo-lbs", blocks, b.program("kivaloo-lbs"), []string{"-s", blocks, "-d", data, "-b", strconv.Itoa(blockSize), "--foreground"})
	if err == nil {
		err = s.start(ctx, "kivaloo-kvlds", pairs, b.program("kivaloo-kvlds"), []string{"-s", pairs, "-l", blocks, "--foreground"})
	}
	return s.orStop(err)
}

// start adds a process, and connects to it.
func (s *store) start(ctx context.Context, name, socket, program string, args []string) error {
	p, err := stress.Start(name, socket, program, args, nil)
	if err != nil {
		return err
	}
	s.processes = append([]*stress.Process{p}, s.processes...)
	if s.conn != nil {
		s.conn.Close()
	}
	s.conn, err = p.Connect(ctx)
	return err
}

func (s *store) orStop(err error) (*store, error) {
	if err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

// stop ends the processes and removes the store.
func (s *store) stop() (err error) {
	if s.conn != nil {
		s.conn.Close()
	}
	for _, p := range s.processes {
		err = errors.Join(err, p.Stop())
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

// drive runs a workload with stress.Depth requests in flight, and returns its rate. It records in
// row how much the generator had to do, unless row is nil.
func (s *store) drive(ctx context.Context, w stress.Workload, row *Row) (float64, error) {
	return s.watch(row, func() (stress.Result, error) { return stress.Drive(ctx, s.conn, w, stress.Depth) })
}

// scan reads everything in order, for at most d, and returns the pairs per second.
func (s *store) scan(ctx context.Context, d time.Duration, row *Row) (float64, error) {
	return s.watch(row, func() (stress.Result, error) { return stress.Scan(ctx, s.conn, d) })
}

func (s *store) watch(row *Row, do func() (stress.Result, error)) (float64, error) {
	before, began := processorTime(), time.Now()
	worked, err := s.worked()
	if err != nil {
		return 0, err
	}
	r, err := do()
	if err != nil {
		return 0, s.processes[0].Lost(err)
	}
	until, err := s.worked()
	if row != nil {
		row.worked(processorTime()-before, time.Since(began))
		row.cost = append(row.cost, (until-worked)*microsPerSecond/float64(r.Requests))
	}
	return r.Rate(), err
}

// worked returns the processor time of the servers, in seconds.
func (s *store) worked() (seconds float64, err error) {
	for _, p := range s.processes {
		one, failed := workedSeconds(p.PID())
		seconds, err = seconds+one, errors.Join(err, failed)
	}
	return seconds, err
}

// processorTime returns the processor time of this process.
func processorTime() time.Duration {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		panic(err) // cannot fail with these arguments
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}
