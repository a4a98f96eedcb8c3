package main

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kivaloo/internal/must"
	"kivaloo/wire"
	"kivaloo/wire/wiretest"
)

// pair encodes a pair as in a stream.
func pair(key, value string) string {
	return string([]byte{byte(len(key))}) + key + string([]byte{byte(len(value))}) + value
}

// makeTree makes a tree of directories with pairs.
func makeTree(t *testing.T, pairs map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for key, value := range pairs {
		entry, err := os.MkdirTemp(dir, "")
		must.Do(t, err)
		must.Do(t, os.WriteFile(filepath.Join(entry, "k"), []byte(key), 0o600))
		must.Do(t, os.WriteFile(filepath.Join(entry, "v"), []byte(value), 0o600))
	}
	return dir
}

// readTree reads a tree.
func readTree(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must.Do(t, err)
	pairs := map[string]string{}
	for _, e := range entries {
		key, err := os.ReadFile(filepath.Join(dir, e.Name(), "k"))
		must.Do(t, err)
		value, err := os.ReadFile(filepath.Join(dir, e.Name(), "v"))
		must.Do(t, err)
		pairs[string(key)] = string(value)
	}
	return pairs
}

// TestFivePairs does the same as the original's tests of the two programs.
func TestFivePairs(t *testing.T) {
	pairs := map[string]string{
		"one": "1", "two": "22", "": "an empty key", "empty value": "", "\xff\x00": "\n\x00",
	}
	s := startStack(t, 1024)
	undump(t, "", "-t", s.addr(), "--fs", makeTree(t, pairs)).want(t, 0, "")
	first := t.TempDir()
	if r := dump(t, "-t", s.addr(), "--fs", first); r.status != 0 || !maps.Equal(readTree(t, first), pairs) {
		t.Errorf("status %d, %s; %q", r.status, r.stderr, readTree(t, first))
	}
	stream := dump(t, "-t", s.addr()).out

	s.kvlds.Kill()
	if status := s.blocks.Wait(t); status.ExitStatus() != 0 {
		t.Errorf("the block store ended with %v", status)
	}

	s = startStack(t, 1024)
	undump(t, stream, "-t", s.addr()).want(t, 0, "")
	second := t.TempDir()
	if r := dump(t, "-t", s.addr(), "--fs", second); r.status != 0 || !maps.Equal(readTree(t, second), pairs) {
		t.Errorf("status %d, %s; %q", r.status, r.stderr, readTree(t, second))
	}
}

// manyPairs returns a stream of n pairs with keys and values of all lengths.
func manyPairs(t *testing.T, n int) string {
	seed := rand.Uint64()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the seed was %#x", seed)
		}
	})
	rng := rand.New(rand.NewPCG(seed, 0))
	random := func() string {
		length := rng.IntN(40)
		switch rng.IntN(20) {
		case 0:
			length = 0
		case 1:
			length = 255
		case 2:
			length = rng.IntN(256)
		}
		b := make([]byte, length)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return string(b)
	}
	pairs := map[string]string{"": "", strings.Repeat("\xff", 255): strings.Repeat("\x00", 255)}
	for len(pairs) < n {
		pairs[random()] = random()
	}
	var stream strings.Builder
	for _, key := range slices.Sorted(maps.Keys(pairs)) {
		stream.WriteString(pair(key, pairs[key]))
	}
	return stream.String()
}

func TestRoundTrip(t *testing.T) {
	n := 50_000
	if os.Getenv("KIVALOO_TORTURE") != "" {
		n = 1_000_000
	}
	stream := manyPairs(t, n)
	s := startStack(t, 2048)
	undump(t, stream, "-v", "", "-t", s.addr()).want(t, 0, fmt.Sprintf("loaded %d pairs, %d bytes, in ", n, len(stream)))
	s.holds(t, stream)
}

func TestNothingToLoad(t *testing.T) {
	s := startStack(t, 512)
	undump(t, "", "-t", s.addr()).want(t, 0, "")
	undump(t, "", "-t", s.addr(), "--fs", t.TempDir()).want(t, 0, "")
	undump(t, "", "-t", s.addr(), "-vv").want(t, 0, "loaded 0 pairs, 0 bytes, in ")
	s.holds(t, "")
}

// TestBadInput checks that invalid input ends the program, whether or not it has already stored
// something. What it has stored stays.
func TestBadInput(t *testing.T) {
	s := startStack(t, 512)
	undump(t, "\x05ab", "-t", s.addr()).want(t, 1, "ends at byte 3, within pair 1 at byte 0; stored before it: 0 pairs")
	s.holds(t, "")
	undump(t, pair("a", "1")+"\x01b", "-t", s.addr()).want(t, 1, "ends at byte 6, within pair 2 at byte 4; stored before it: 1 pair")
	s.holds(t, pair("a", "1"))

	stray := t.TempDir()
	must.Do(t, os.WriteFile(filepath.Join(stray, "file"), nil, 0o600))
	undump(t, "", "-t", s.addr(), "--fs", stray).want(t, 1, `the entry "file" in `+stray+" is not a directory")
	long := makeTree(t, map[string]string{"k": strings.Repeat("v", 256)})
	undump(t, "", "-t", s.addr(), "--fs", long).want(t, 1, "v has more than 255 bytes")
	undump(t, "", "-t", s.addr(), "--fs", filepath.Join(stray, "absent")).want(t, 1, "no such file")
	s.holds(t, pair("a", "1"))

	unreadable, err := os.Open(t.TempDir())
	must.Do(t, err)
	defer unreadable.Close()
	run(t, "kivaloo-kvlds-undump", unreadable, "-t", s.addr()).want(t, 1, "reading the input at byte 0")
}

// TestTooLongForStore checks that a pair too long for the store is refused before it makes the
// store close the connection.
func TestTooLongForStore(t *testing.T) {
	s := startStack(t, 512, "-k", "5")
	input := pair("a", "1") + pair("longer", "2") + pair("z", "3")
	undump(t, input, "-t", s.addr()).want(t, 1, "pair 2 at byte 4 cannot be stored: ")
	s.holds(t, pair("a", "1"))
}

func TestNoServer(t *testing.T) {
	for _, addr := range []string{"", "x", ":1", "[::1]:0", filepath.Join(t.TempDir(), "absent")} {
		undump(t, pair("a", "1"), "-t", addr).want(t, 1, "dial at "+addr+": ")
	}
}

func TestCommandLine(t *testing.T) {
	for args, says := range map[string]string{
		"":               "option is missing -- -t",
		"-t a -t b":      "option given twice -- -t",
		"-t a --fs":      "option requires an argument -- --fs",
		"-t a -p b":      "illegal option -- -p",
		"-t a left over": "not an option -- left",
	} {
		r := undump(t, pair("a", "1"), strings.Fields(args)...)
		want := "kivaloo-kvlds-undump: " + says + "\nusage: kivaloo-kvlds-undump -t <kvlds socket> [--fs <dir>] [-v <anything>]\n" +
			"       kivaloo-kvlds-undump --version\n"
		if r.status != 1 || r.out != "" || r.stderr != want {
			t.Errorf("%q: %+v", args, r)
		}
	}
}

// TestOutstanding checks that at most 4096 pairs are outstanding, and that the program ends when
// the server is lost, even if its input does not end.
func TestOutstanding(t *testing.T) {
	dir, err := os.MkdirTemp("", "undump")
	must.Do(t, err)
	defer os.RemoveAll(dir)
	ln, err := net.Listen("unix", filepath.Join(dir, "s"))
	must.Do(t, err)
	input, feed, err := os.Pipe()
	must.Do(t, err)
	fed := make(chan struct{})
	go func() { // as long as the input may be read
		defer close(fed)
		defer feed.Close()
		for err := error(nil); err == nil; {
			_, err = feed.WriteString(strings.Repeat(pair("k", "v"), 100))
		}
	}()
	sets := make(chan int, 1)
	go func() {
		defer ln.Close()
		nc, err := ln.Accept()
		if err != nil {
			sets <- -1
			return
		}
		defer nc.Close()
		sets <- countSets(nc)
	}()
	run(t, "kivaloo-kvlds-undump", input, "-t", ln.Addr().String()).want(t, 1, "loading again is safe")
	input.Close()
	if n := <-sets; n != 4096 {
		t.Errorf("%d pairs were on their way", n)
	}
	<-fed
}

// countSets answers PARAMS, and counts the SETs that come without answering any.
func countSets(nc net.Conn) int {
	c := wiretest.NewConn(nc)
	for sets := 0; ; {
		if sets >= 4096 && !c.Buffered() {
			nc.SetReadDeadline(time.Now().Add(200 * time.Millisecond)) // for another to come
		}
		p, err := c.Next()
		if wiretest.Lost(err) || errors.Is(err, os.ErrDeadlineExceeded) {
			return sets
		}
		if err != nil {
			return -1
		}
		q, err := wire.ParseKVRequest(p.Record)
		switch {
		case err == nil && q.Type == wire.TypeParams:
			if c.Put(wire.AppendPacket(nil, p.ID, wire.AppendKVParams(nil, 255, 255))) != nil {
				return -1
			}
		case err == nil && q.Type == wire.TypeSet:
			sets++
		default:
			return -1
		}
	}
}
