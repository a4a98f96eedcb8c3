//go:build unix

package disk

import "golang.org/x/sys/unix"

// MaxOpenFiles returns the most block files that a store keeps open for reading.
func MaxOpenFiles() int {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return openFilesMax
	}
	return int(min(uint64(r.Cur)/openFilesShare, openFilesMax))
}
