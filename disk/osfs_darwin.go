package disk

import "golang.org/x/sys/unix"

// openDirect: there is no such flag, so a file is read as any other.
const openDirect = 0

func pwritev(fd int, bufs [][]byte, offset int64) (int, error) { return unix.Pwritev(fd, bufs, offset) }

// fdatasync has the disk empty its cache too, which fsync does not do here.
func fdatasync(fd int) error {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_FULLFSYNC, 0)
	return err
}

func forget(int, int64, int64) {}
