//go:build race || invariants

package eventloop

import "bytes"

var rubbish = bytes.Repeat([]byte{0xdb}, 4096)

// mangle overwrites a buffer that nothing may use any more, so that a wrong use is noticed.
func mangle(b []byte) {
	for len(b) > 0 {
		b = b[copy(b, rubbish):]
	}
}
