package mux_test

import (
	"fmt"
	"sync"
	"testing"

	"kivaloo/eventloop/mux"
	"kivaloo/wire"
)

// BenchmarkMux has clients send as many requests as possible; the target echoes. One operation is a
// request and its answer.
func BenchmarkMux(b *testing.B) {
	for _, clients := range []int{1, 8} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			r := newRig(b, kvRules)
			r.echoing()
			a := r.source(mux.Source{})
			var packets []byte
			const some = 1000
			for i := range some {
				packets = wire.AppendPacket(packets, uint64(i), set(fmt.Sprintf("%040d", i), fmt.Sprintf("%040d", i)))
			}
			n := (b.N/clients + some) / some * some
			b.ReportAllocs()
			b.ResetTimer()
			var running sync.WaitGroup
			for range clients {
				c := dial(b, a)
				running.Go(func() {
					for range n / some {
						if _, err := c.Write(packets); err != nil {
							b.Error(err)
							return
						}
					}
				})
				running.Go(func() {
					for range n {
						if _, err := c.Next(); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			running.Wait()
		})
	}
}
