//go:build !race

package offheap

import "golang.org/x/sys/unix"

// wantHugePages asks for huge pages. It is only a wish: without them memory is slower.
func wantHugePages(b []byte) { _ = unix.Madvise(b, unix.MADV_HUGEPAGE) }
