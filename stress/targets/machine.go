package targets

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"regexp"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// machine is what a machine can do. No server on it can do better. Times are for one operation.
type machine struct {
	gigahertz  float64       // of the processor; 0: unknown
	smallSync  time.Duration // append a block to a file and sync it
	largeSync  time.Duration // the same with as much as many requests share
	miss       time.Duration // read memory that is in no cache
	copyRate   float64       // bytes per second, memory to memory
	roundTrip  time.Duration // there and back over a socket pair, between two threads
	chunkWrite time.Duration // system call that writes chunkBytes to a socket
	chunkRead  time.Duration // system call that reads chunkBytes
}

func measureMachine(path string) (m machine, err error) {
	if m.gigahertz, err = clockRate(); err != nil {
		return m, err
	}
	if m.smallSync, err = appendTime(path, blockSize); err != nil {
		return m, err
	}
	if m.largeSync, err = appendTime(path, largeAppendBytes); err != nil {
		return m, err
	}
	m.miss, m.copyRate = memoryTimes()
	m.roundTrip, m.chunkWrite, m.chunkRead, err = socketTimes()
	return m, err
}

var megahertz = regexp.MustCompile(`(?m)^cpu MHz\s*: ([0-9.]+)$`)

// clockRate returns the processor's cycles per nanosecond, as the kernel reports them, or 0.
func clockRate() (float64, error) {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return 0, err
	}
	found := megahertz.FindSubmatch(text)
	if found == nil {
		return 0, nil
	}
	mhz, err := strconv.ParseFloat(string(found[1]), 64)
	return mhz / 1000, err
}

// line is the unit in which a processor's cache loads memory.
type line struct {
	next uint32
	_    [60]byte
}

// memoryTimes returns the time to read memory when neither the line nor, with pages of 4 KiB, its
// address translation is in a cache. It also returns how many bytes a second can be copied.
func memoryTimes() (miss time.Duration, copied float64) {
	lines := make([]line, memoryLines)
	// The lines form one random cycle, by Sattolo's algorithm: each read has to wait for the one
	// before.
	for i := range lines {
		lines[i].next = uint32(i)
	}
	random := rand.New(rand.NewPCG(1, 3))
	for i := len(lines) - 1; i > 0; i-- {
		j := random.IntN(i)
		lines[i].next, lines[j].next = lines[j].next, lines[i].next
	}
	began, at := time.Now(), uint32(0)
	for range memoryReads {
		at = lines[at].next
	}
	miss = time.Since(began) / memoryReads
	lines[0].next = at // keeps the compiler from removing the reads

	half := lines[len(lines)/2:]
	copy(lines, half)
	began = time.Now()
	for range memoryCopies {
		copy(lines, half)
	}
	return miss, float64(memoryCopies*len(half)*lineBytes) / time.Since(began).Seconds()
}

// socketTimes returns the time for a round trip between two threads over a socket pair, the time to
// write a chunk to it, and the time to read the chunk at the other end.
func socketTimes() (round, write, read time.Duration, err error) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, 0, 0, fmt.Errorf("make a socket pair: %w", err)
	}
	defer unix.Close(ends[0])
	defer unix.Close(ends[1])
	write, read, err = chunkTimes(ends)
	if err == nil {
		round, err = roundTripTime(ends)
	}
	if err != nil {
		return 0, 0, 0, fmt.Errorf("use a socket pair: %w", err)
	}
	return round, write, read, nil
}

// chunkTimes returns the time to write a chunk to a socket, and to read it at the other end.
func chunkTimes(ends [2]int) (write, read time.Duration, err error) {
	chunk := make([]byte, chunkBytes)
	for range socketUses {
		began := time.Now()
		if err := transfer(unix.Write, ends[0], chunk); err != nil {
			return 0, 0, err
		}
		written := time.Now()
		if err := transfer(unix.Read, ends[1], chunk); err != nil {
			return 0, 0, err
		}
		write, read = write+written.Sub(began), read+time.Since(written)
	}
	return write / socketUses, read / socketUses, nil
}

// transfer calls a system call until it has read or written all of p.
func transfer(call func(int, []byte) (int, error), fd int, p []byte) error {
	for len(p) > 0 {
		switch n, err := call(fd, p); {
		case err == unix.EINTR:
		case err != nil:
			return err
		case n == 0:
			return io.ErrUnexpectedEOF
		default:
			p = p[n:]
		}
	}
	return nil
}

// roundTripTime returns the time for a round trip between two threads. The second thread ends when
// its input is shut down.
func roundTripTime(ends [2]int) (time.Duration, error) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ball := make([]byte, ballBytes)
		for transfer(unix.Read, ends[1], ball) == nil && transfer(unix.Write, ends[1], ball) == nil {
		}
	}()
	defer func() {
		unix.Shutdown(ends[0], unix.SHUT_RDWR)
		<-ended
	}()
	ball, took := make([]byte, ballBytes), make([]time.Duration, socketUses)
	for i := range took {
		began := time.Now()
		if err := transfer(unix.Write, ends[0], ball); err != nil {
			return 0, err
		}
		if err := transfer(unix.Read, ends[0], ball); err != nil {
			return 0, err
		}
		took[i] = time.Since(began)
	}
	return percentile(took, 50), nil
}
