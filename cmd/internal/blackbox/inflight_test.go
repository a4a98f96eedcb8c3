package blackbox

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"

	kv "kivaloo"
	"kivaloo/internal/must"
	"kivaloo/wire"
)

// TestManyRangesInFlight has thousands of RANGEs in flight on one connection. Their answers are far
// more than the sockets and the server keep. The server must continue to read when answers are
// taken, and the library must take them while it writes.
func TestManyRangesInFlight(t *testing.T) {
	t.Parallel()
	onBoth(t, 2048, func(t *testing.T, s system) {
		const inFlight, pairs = 4096, 300
		s.start(t)
		c := connect(t, s.addr())
		for i := range pairs {
			c.Queue(&wire.KVRequest{Type: wire.TypeSet, Key: fmt.Appendf(nil, "%06d", i), Value: bytes.Repeat([]byte{'v'}, 100)})
		}
		must.Do(t, c.Flush())
		for range pairs {
			_, err := c.Next()
			must.Do(t, err)
		}
		must.Do(t, c.Close())

		client, err := kv.Dial(t.Context(), s.addr(), kv.DialOptions{Window: inFlight})
		must.Do(t, err)
		var group sync.WaitGroup
		errs := make([]error, inFlight)
		for i := range errs {
			group.Go(func() {
				n := 0
				for _, err := range client.Range(t.Context(), nil, nil) {
					if err != nil {
						errs[i] = err
						return
					}
					n++
				}
				if n != pairs {
					errs[i] = fmt.Errorf("%d pairs, want %d", n, pairs)
				}
			})
		}
		group.Wait()
		must.Do(t, errors.Join(errs...))
		must.Do(t, client.Close())

		c = connect(t, s.addr())
		for range inFlight {
			c.Queue(&wire.KVRequest{Type: wire.TypeRange, Max: 1 << 20, Key: bytes.Repeat([]byte{'0'}, 200)})
		}
		written := make(chan error, 1)
		go func() { written <- c.Flush() }()
		for range inFlight {
			_, err := c.Next()
			must.Do(t, err)
		}
		must.Do(t, <-written)
		must.Do(t, c.Close())
		s.stop(t)
	})
}
