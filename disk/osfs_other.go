//go:build !unix

package disk

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

// OSFS is the operating system's file system. It does not support stores here.
type OSFS struct {
	// Root, if not nil, is the directory that paths are relative to. They cannot lead out of it.
	Root *os.Root
}

// OpenDir implements FS. It always fails.
func (OSFS) OpenDir(string) (Dir, error) {
	return nil, fmt.Errorf("a store in a directory is %w on %s", errors.ErrUnsupported, runtime.GOOS)
}
