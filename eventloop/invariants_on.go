//go:build race || invariants

package eventloop

import "bytes"

var rubbish = bytes.Repeat([]byte{0xdb}, 4096)

// mangle overwrites a buffer that nobody may use any more, so that who does it
// all the same is found out.
func mangle(b []byte) {
	for len(b) > 0 {
		b = b[copy(b, rubbish):]
	}
}
