//go:build unix

package kivaloo

import (
	"os"

	"golang.org/x/sys/unix"
)

// renameIn renames an entry of d. Unlike os.Root.Rename it can replace an empty directory.
func renameIn(d *os.File, from, to string) error {
	return unix.Renameat(int(d.Fd()), from, int(d.Fd()), to)
}
