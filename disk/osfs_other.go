//go:build !unix

package disk

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

// OSFS is the operating system's file system, which cannot have a store here.
type OSFS struct {
	// Root, if not nil, is the directory that paths are relative to, and do not lead out of.
	Root *os.Root
}

// OpenDir implements FS. It fails.
func (OSFS) OpenDir(string) (Dir, error) {
	return nil, fmt.Errorf("a store in a directory is %w on %s", errors.ErrUnsupported, runtime.GOOS)
}
