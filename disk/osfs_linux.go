package disk

import "golang.org/x/sys/unix"

const openDirect = unix.O_DIRECT

func pwritev(fd int, bufs [][]byte, offset int64) (int, error) { return unix.Pwritev(fd, bufs, offset) }

func fdatasync(fd int) error { return unix.Fdatasync(fd) }

// forget gives advice. It is harmless if the system ignores it.
func forget(fd int, offset, size int64) { unix.Fadvise(fd, offset, size, unix.FADV_DONTNEED) }
