//go:build !race

package offheap

import "golang.org/x/sys/unix"

// wantHugePages asks for huge pages. Without them memory is slower, so an error does not matter.
func wantHugePages(b []byte) { _ = unix.Madvise(b, unix.MADV_HUGEPAGE) }
