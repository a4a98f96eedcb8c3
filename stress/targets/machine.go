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

// machine is what a machine can do, which no server on it can do better. Times are of one
// operation.
type machine struct {
	gigahertz  float64       // of the processor; 0: the kernel does not tell
	smallSync  time.Duration // to append a block to a file and have it on the disk
	largeSync  time.Duration // the same of so much that many requests share it
	miss       time.Duration // to read from memory what no cache has
	copyRate   float64       // bytes per second, out of memory and into it
	roundTrip  time.Duration // there and back over a socket pair, between two threads
	chunkWrite time.Duration // a system call that writes chunkBytes to a socket
	chunkRead  time.Duration // and one that reads them
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

// clockRate returns the processor's cycles per nanosecond, as the kernel tells it; 0: it does not.
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

// line is what a processor's cache holds of memory at the least.
type line struct {
	next uint32
	_    [60]byte
}

// memoryTimes returns what it takes to read from memory what no cache has, neither the line nor,
// with pages of 4 KiB, where it is in memory; and how many bytes a second can be copied.
func memoryTimes() (miss time.Duration, copied float64) {
	lines := make([]line, memoryLines)
	// One circle through all lines in random order, by Sattolo's algorithm: each read has to wait
	// for the one before.
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
	lines[0].next = at // which keeps the reads from being left out

	half := lines[len(lines)/2:]
	copy(lines, half)
	began = time.Now()
	for range memoryCopies {
		copy(lines, half)
	}
	return miss, float64(memoryCopies*len(half)*lineBytes) / time.Since(began).Seconds()
}

// socketTimes returns what it takes from one thread to another and back over a socket pair, to
// write a chunk to one, and to read it from the other end.
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

// chunkTimes returns what it takes to write a chunk to a socket, and to read it from the other end.
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

// transfer has a system call read or write all of p.
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

// roundTripTime returns what it takes from one thread to another and back. The second one ends when
// what it reads from is shut down.
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
