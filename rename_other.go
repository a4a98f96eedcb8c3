//go:build !unix

package kivaloo

import (
	"errors"
	"os"
)

// renameIn fails, because there are no stores in directories on this system.
func renameIn(*os.File, string, string) error { return errors.ErrUnsupported }
