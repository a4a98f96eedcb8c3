//go:build !unix

package kivaloo

import (
	"errors"
	"os"
)

// renameIn fails: there are no stores in directories here.
func renameIn(*os.File, string, string) error { return errors.ErrUnsupported }
