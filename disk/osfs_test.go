package disk

import (
	"bytes"
	"errors"
	"strings"
	"syscall"
	"testing"
)

// TestSkip checks the remaining buffers after each possible short write.
func TestSkip(t *testing.T) {
	content := [][]byte{[]byte("abc"), {}, []byte("d"), []byte("efgh")}
	all := bytes.Join(content, nil)
	for n := range len(all) + 1 {
		bufs := append([][]byte(nil), content...)
		if left := bytes.Join(skip(bufs, n), nil); !bytes.Equal(left, all[n:]) {
			t.Errorf("%d bytes written, left %q", n, left)
		}
	}
	if left := skip(append([][]byte(nil), content...), len(all)); len(left) != 0 {
		t.Errorf("all written, left %q", left)
	}
}

// TestOSFSErrors checks that the system's errors can be recognised, and have the name of the file.
func TestOSFSErrors(t *testing.T) {
	dev, err := OSFS{}.OpenDir("/dev")
	if err != nil {
		t.Skip(err)
	}
	defer dev.Close()
	full, err := dev.Open("full", true)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	n, err := full.WriteAt([][]byte{[]byte("x")}, 0)
	if n != 0 || !isShortage(err) || !strings.Contains(err.Error(), "/dev/full") {
		t.Errorf("wrote %d, %v", n, err)
	}
	if err := full.Sync(); !errors.Is(err, syscall.EINVAL) || isShortage(err) {
		t.Errorf("sync of a device: %v", err)
	}
}
