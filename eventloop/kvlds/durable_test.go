package kvlds_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"

	"kivaloo/disk"
	"kivaloo/disk/simfs"
	"kivaloo/internal/must"
	"kivaloo/tree"
	"kivaloo/wire"
	"kivaloo/wire/wiretest"
)

// heldSyncs holds back the syncs of a file system once it is told to.
type heldSyncs struct {
	mu      sync.Mutex
	release chan struct{} // nil: syncs are not held
	reached chan struct{} // receives for every sync that is held
	err     error         // their error
}

func (s *heldSyncs) hook(c simfs.Call) error {
	if c.Op != simfs.Sync {
		return nil
	}
	s.mu.Lock()
	release, err := s.release, s.err
	s.mu.Unlock()
	if release == nil {
		return nil
	}
	select {
	case s.reached <- struct{}{}:
	default:
	}
	<-release
	return err
}

// hold makes all syncs wait until the result is closed, and end with err then.
func (s *heldSyncs) hold(err error) (release chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.release, s.err = make(chan struct{}), err
	return s.release
}

// serveHeld serves a store with a few pairs, with the same goroutines as the daemon.
func serveHeld(t *testing.T, journal int64) (*served, *heldSyncs) {
	t.Helper()
	fsys, syncs := simfs.New("store"), &heldSyncs{reached: make(chan struct{}, 1)}
	fsys.SetHook(syncs.hook)
	log := slog.New(slog.DiscardHandler)
	store, err := disk.Open("store", disk.Options{BlockSize: 2048, FS: fsys, Log: log})
	must.Do(t, err)
	tr, err := tree.Open(store, tree.Config{MaxKey: 64, MaxValue: 104, JournalBytes: journal, Log: log})
	must.Do(t, err)
	s := serveTree(t, tr, store)
	c := s.dial()
	c.Send(packets(1, set("a", "old"), set("gone", "not yet")))
	c.ExpectAnswer(1, done)
	c.ExpectAnswer(2, done)
	return s, syncs
}

// TestNoOutcomeBeforeSync holds back the sync of a commit. Until it completes everyone must get the
// old answer, and nobody may be told anything that depends on the commit. If the sync fails it must
// stay so.
func TestNoOutcomeBeforeSync(t *testing.T) {
	pairs := func(n uint32, p string) []byte { return wire.AppendKVPairs(nil, n, nil, []byte(p)) }
	before := pairs(2, "\x01a\x03old\x04gone\x07not yet")
	for name, c := range map[string]struct {
		change wire.KVRequest
		a      []byte // value of a afterwards
		all    []byte
	}{
		"written over": {set("a", "new"), value("new"), pairs(2, "\x01a\x03new\x04gone\x07not yet")},
		"longer": {
			set("a", strings.Repeat("n", 100)), value(strings.Repeat("n", 100)),
			pairs(2, "\x01a\x64"+strings.Repeat("n", 100)+"\x04gone\x07not yet"),
		},
		"deleted": {wire.KVRequest{Type: wire.TypeDelete, Key: []byte("a")}, not, pairs(1, "\x04gone\x07not yet")},
	} {
		for _, journal := range []int64{0, tree.DefaultJournalBytes} {
			for _, fails := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s journal=%d fails=%t", name, journal, fails), func(t *testing.T) {
					s, syncs := serveHeld(t, journal)
					var err error
					if fails {
						err = syscall.EIO
					}
					release := syncs.hold(err)
					letGo := sync.OnceFunc(func() { close(release) })
					defer letGo() // also if the test fails
					writer, next, reader := s.dial(), s.dial(), s.dial()
					writer.Send(packets(1, c.change))
					<-syncs.reached
					// Only the held commit can show that the condition no longer holds.
					next.Send(packets(2, wire.KVRequest{Type: wire.TypeCAS, Key: []byte("a"), Old: []byte("old"), Value: []byte("won")}))
					told := make(chan struct{}, 2)
					for _, waits := range []*wiretest.Peer{writer, next} {
						go func() {
							waits.Await()
							told <- struct{}{}
						}()
					}
					look := func(a, all []byte) {
						reader.Send(packets(3, get("a")))
						reader.ExpectAnswer(3, a)
						reader.Send(packets(4, wire.KVRequest{Type: wire.TypeRange, Max: 1000}))
						reader.ExpectAnswer(4, all)
					}
					for range 200 {
						look(value("old"), before)
					}
					if len(told) > 0 {
						t.Error("somebody has been told something")
					}
					letGo()
					<-told
					<-told
					if fails {
						writer.ExpectEnd()
						next.ExpectEnd()
						look(value("old"), before)
						return
					}
					writer.ExpectAnswer(1, done)
					next.ExpectAnswer(2, not)
					look(c.a, c.all)
				})
			}
		}
	}
}

// TestReaderFollowsWriter has one connection overwrite a value again and again, and another read it
// all the time. What is read must never be newer than what the disk has, and never older than what
// the writer has been told.
func TestReaderFollowsWriter(t *testing.T) {
	for _, journal := range []int64{0, tree.DefaultJournalBytes} {
		t.Run(fmt.Sprint("journal ", journal), func(t *testing.T) {
			s, syncs := serveHeld(t, journal)
			writer, reader := s.dial(), s.dial()
			number := func(n int) string { return fmt.Sprintf("%0100d", n) }
			writer.Send(packets(0, set("a", number(0))))
			writer.ExpectAnswer(0, done)
			for n := range 100 {
				release := syncs.hold(nil)
				writer.Send(packets(1, set("a", number(n+1))))
				<-syncs.reached
				reader.Send(packets(uint64(n), get("a"), get("a"), get("a")))
				for i := range uint64(3) {
					if id, record := reader.Receive(); id != uint64(n)+i || !bytes.Equal(record, value(number(n))) {
						t.Fatalf("answer %d: %q, want number %d", id, record, n)
					}
				}
				syncs.mu.Lock()
				syncs.release = nil
				syncs.mu.Unlock()
				close(release)
				writer.ExpectAnswer(1, done)
				reader.Send(packets(7, get("a")))
				reader.ExpectAnswer(7, value(number(n+1)))
			}
		})
	}
}
