package dumpstream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"kivaloo"
	"kivaloo/internal/must"
	"kivaloo/wire"
	"kivaloo/wire/wiretest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pairs has keys and values of all special lengths.
var pairs = []kivaloo.Pair{
	{Key: []byte(""), Value: []byte("")},
	{Key: []byte("\x00"), Value: bytes.Repeat([]byte{0xff}, 255)},
	{Key: []byte("empty value"), Value: []byte("")},
	{Key: []byte("k"), Value: []byte("v")},
	{Key: bytes.Repeat([]byte{0xff}, 255), Value: bytes.Repeat([]byte{0}, 255)},
}

// stream is pairs as a stream.
var stream = "\x00\x00" + "\x01\x00\xff" + strings.Repeat("\xff", 255) + "\x0bempty value\x00" + "\x01k\x01v" +
	"\xff" + strings.Repeat("\xff", 255) + "\xff" + strings.Repeat("\x00", 255)

// all reads a source to its end.
func all(s Source) (map[string]string, error) {
	got := map[string]string{}
	for {
		key, value, err := s.Next()
		if err == io.EOF {
			return got, nil
		}
		if err != nil {
			return got, err
		}
		got[string(key)] = string(value)
	}
}

func asMap(pairs []kivaloo.Pair) map[string]string {
	m := map[string]string{}
	for _, p := range pairs {
		m[string(p.Key)] = string(p.Value)
	}
	return m
}

func TestWriter(t *testing.T) {
	var out bytes.Buffer
	w := NewWriter(&out)
	var n Count
	for _, p := range pairs {
		must.Do(t, w.Put(p))
		n.add(p.Key, p.Value)
	}
	must.Do(t, w.Flush())
	if out.String() != stream || n != (Count{5, int64(len(stream))}) {
		t.Errorf("%+v, wrote %q", n, out.String())
	}
}

// TestReader checks that pieces of any size give the same pairs.
func TestReader(t *testing.T) {
	for _, r := range []io.Reader{
		strings.NewReader(stream),
		iotest.OneByteReader(strings.NewReader(stream)),
		iotest.DataErrReader(strings.NewReader(stream)),
	} {
		if got, err := all(NewReader(r)); err != nil || !maps.Equal(got, asMap(pairs)) {
			t.Errorf("%v, read %q", err, got)
		}
	}
	if got, err := all(NewReader(strings.NewReader(""))); err != nil || len(got) != 0 {
		t.Errorf("nothing: %v, read %q", err, got)
	}
}

// TestReaderCutOff checks that a stream cut off within a pair gives an error that says where.
func TestReaderCutOff(t *testing.T) {
	const two = "\x02k1\x02v1" + "\x02k2\x02v2"
	for n := range len(two) {
		got, err := all(NewReader(strings.NewReader(two[:n])))
		want := fmt.Sprintf("ends at byte %d, within pair %d at byte %d", n, n/6+1, n/6*6)
		if len(got) != n/6 || (err == nil) != (n%6 == 0) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%d bytes: %v, %q", n, err, got)
		}
	}
	broken := errors.New("broken")
	_, err := all(NewReader(io.MultiReader(strings.NewReader(two[:8]), iotest.ErrReader(broken))))
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "at byte 8, within pair 2") {
		t.Errorf("got %v", err)
	}
}

func TestIsDump(t *testing.T) {
	for head, want := range map[string]bool{
		stream:                           true,
		stream[:600]:                     true, // cut off
		"\x01a\x01v":                     true,
		"\x01a\x01v\x01b\x01v\x01c":      true,
		"\x01a\x01v\x01b":                false, // one pair and more
		"\x01b\x01v\x01a\x01v\x01c\x01v": false,
		"":                               false,
		"a text\n":                       false,
		"KVBACKUP\x00\x00\x00\x01":       false,
	} {
		if got := IsDump([]byte(head)); got != want {
			t.Errorf("%.20q: %v", head, got)
		}
	}
}

// TestLoadWaitsForAnswers checks that a load fails if the server goes away with one answer missing,
// because that pair may not be stored.
func TestLoadWaitsForAnswers(t *testing.T) {
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	must.Do(t, err)
	var server sync.WaitGroup
	server.Go(func() { answerAllButLast(t, ln) })
	defer server.Wait()
	c, err := kivaloo.Dial(t.Context(), ln.Addr().String(), kivaloo.DialOptions{})
	must.Do(t, err)
	defer c.Close()
	if done, err := Load(t.Context(), c, NewReader(strings.NewReader(stream)), nil); err == nil || done.Pairs != int64(len(pairs)) {
		t.Errorf("%d pairs are sent, one has no answer, and the load says %v", done.Pairs, err)
	}
}

// answerAllButLast serves one connection that loads pairs. It ends when it has the last pair.
func answerAllButLast(t *testing.T, ln net.Listener) {
	nc, err := ln.Accept()
	ln.Close()
	if err != nil {
		t.Error(err)
		return
	}
	defer nc.Close()
	c := wiretest.NewConn(nc)
	for stored := 0; ; {
		p, err := c.Next()
		if err != nil {
			t.Errorf("after %d pairs: %v", stored, err)
			return
		}
		answer := wire.AppendKVParams(nil, 255, 255)
		if r, _ := wire.ParseKVRequest(p.Record); r.Type == wire.TypeSet {
			if stored++; stored == len(pairs) {
				return
			}
			answer = wire.AppendKVStatus(nil, 0)
		}
		if err := c.Put(wire.AppendPacket(nil, p.ID, answer)); err != nil {
			t.Error(err)
			return
		}
	}
}

func TestTree(t *testing.T) {
	dir := t.TempDir()
	w, err := NewTreeWriter(dir)
	must.Do(t, err)
	for _, p := range pairs {
		must.Do(t, w.Put(p))
	}
	must.Do(t, w.Flush())
	must.Do(t, w.Close())
	for i, p := range pairs {
		pair := filepath.Join(dir, fmt.Sprintf("%016x", i))
		info, err := os.Stat(pair)
		must.Do(t, err)
		key, err := os.ReadFile(filepath.Join(pair, "k"))
		must.Do(t, err)
		value, err := os.ReadFile(filepath.Join(pair, "v"))
		must.Do(t, err)
		if info.Mode() != os.ModeDir|0o700 || !bytes.Equal(key, p.Key) || !bytes.Equal(value, p.Value) {
			t.Errorf("%d: %v, %q, %q", i, info.Mode(), key, value)
		}
	}
	if got, err := readTree(t, dir); err != nil || !maps.Equal(got, asMap(pairs)) {
		t.Errorf("%v, read %q", err, got)
	}
}

func readTree(t *testing.T, dir string) (map[string]string, error) {
	t.Helper()
	r, err := NewTreeReader(dir)
	must.Do(t, err)
	defer r.Close()
	return all(r)
}

// TestTreeOfAnyNames reads more entries than are read at a time, with arbitrary names, and other
// files among them.
func TestTreeOfAnyNames(t *testing.T) {
	dir := t.TempDir()
	want := map[string]string{}
	for i := range 3*entriesAtATime + 1 {
		pair := filepath.Join(dir, fmt.Sprint("any name ", i))
		must.Do(t, os.Mkdir(pair, 0o700))
		must.Do(t, os.WriteFile(filepath.Join(pair, "k"), fmt.Append(nil, i), 0o600))
		must.Do(t, os.WriteFile(filepath.Join(pair, "v"), fmt.Append(nil, -i), 0o600))
		must.Do(t, os.WriteFile(filepath.Join(pair, "note"), nil, 0o600))
		want[fmt.Sprint(i)] = fmt.Sprint(-i)
	}
	if got, err := readTree(t, dir); err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, read %d pairs", err, len(got))
	}
	if got, err := readTree(t, t.TempDir()); err != nil || len(got) != 0 {
		t.Errorf("an empty tree: %v, read %q", err, got)
	}
}

func TestTreeRefused(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret")
	must.Do(t, os.WriteFile(outside, []byte("s"), 0o600))
	file := func(size int) func(string) error {
		return func(name string) error { return os.WriteFile(name, make([]byte, size), 0o600) }
	}
	nothing := func(string) error { return nil }
	for what, c := range map[string]struct {
		key, value func(name string) error
		says       string
	}{
		"no key":    {nothing, file(1), "no such file"},
		"no value":  {file(1), nothing, "no such file"},
		"long key":  {file(256), file(1), "k has more than 255 bytes"},
		"huge":      {file(1), func(name string) error { return errors.Join(file(0)(name), os.Truncate(name, 1<<40)) }, "v has more than 255 bytes"},
		"directory": {file(1), func(name string) error { return os.Mkdir(name, 0o700) }, "v is not an ordinary file"},
		"pipe":      {func(name string) error { return unix.Mkfifo(name, 0o600) }, file(1), "k is not an ordinary file"},
		"link out":  {file(1), func(name string) error { return os.Symlink(outside, name) }, "escapes"},
	} {
		dir := t.TempDir()
		pair := filepath.Join(dir, "pair")
		must.Do(t, os.Mkdir(pair, 0o700))
		must.Do(t, errors.Join(c.key(filepath.Join(pair, "k")), c.value(filepath.Join(pair, "v"))))
		_, err := readTree(t, dir)
		if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), `the entry "pair" in `+dir) {
			t.Errorf("%s: %v", what, err)
		}
	}

	dir := t.TempDir()
	must.Do(t, os.WriteFile(filepath.Join(dir, "stray"), nil, 0o600))
	if _, err := readTree(t, dir); err == nil || !strings.Contains(err.Error(), `"stray" in `+dir+" is not a directory") {
		t.Errorf("a stray file: %v", err)
	}
}

func TestTreeDirectoryMustBeThere(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	must.Do(t, os.WriteFile(file, nil, 0o600))
	for _, name := range []string{file, filepath.Join(dir, "absent")} {
		if w, err := NewTreeWriter(name); err == nil {
			w.Close()
			t.Errorf("%s can be written to", name)
		}
		if r, err := NewTreeReader(name); err == nil {
			r.Close()
			t.Errorf("%s can be read from", name)
		}
	}
}

// TestTreeWriterSparesAStore checks that a dump is not written into the directory of a store.
func TestTreeWriterSparesAStore(t *testing.T) {
	dir := t.TempDir()
	must.Do(t, os.WriteFile(filepath.Join(dir, "blks_0000000000000000"), nil, 0o600))
	if w, err := NewTreeWriter(dir); err == nil || !strings.Contains(err.Error(), dir+" holds a store: dump to another directory") {
		t.Errorf("got %v, %v", w, err)
	}
}

// TestTreeWriterOverwritesNothing checks that an existing directory is never written into.
func TestTreeWriterOverwritesNothing(t *testing.T) {
	dir := t.TempDir()
	must.Do(t, os.Mkdir(filepath.Join(dir, "0000000000000001"), 0o700))
	w, err := NewTreeWriter(dir)
	must.Do(t, err)
	defer w.Close()
	must.Do(t, w.Put(pairs[1]))
	if err := w.Put(pairs[2]); !errors.Is(err, os.ErrExist) {
		t.Errorf("got %v", err)
	}
	names, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	want := []string{filepath.Join(dir, "0000000000000000", "k"), filepath.Join(dir, "0000000000000000", "v")}
	if err != nil || !slices.Equal(names, want) {
		t.Errorf("%v, %q", err, names)
	}
}

// FuzzReader checks that a stream is read back byte for byte, up to the pair named in an error, in
// pieces of any size. A stream in ascending order must be recognised as a dump.
func FuzzReader(f *testing.F) {
	f.Add([]byte(stream))
	f.Add([]byte(stream[:len(stream)-1]))
	f.Add([]byte(stream[2:] + stream[:2]))
	f.Add([]byte("KVBACKUP\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x07"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var out bytes.Buffer
		w, r, slow := NewWriter(&out), NewReader(bytes.NewReader(b)), NewReader(iotest.OneByteReader(bytes.NewReader(b)))
		last, n, ascending := "", 0, true
		key, value, err := r.Next()
		for ; err == nil; key, value, err = r.Next() {
			if k, v, err := slow.Next(); err != nil || !bytes.Equal(k, key) || !bytes.Equal(v, value) {
				t.Fatalf("pair %d is %q, %q in one piece and %q, %q in many, %v", n, key, value, k, v, err)
			}
			ascending = ascending && (n == 0 || last < string(key))
			last = string(key)
			n++
			must.Do(t, w.Put(kivaloo.Pair{Key: key, Value: value}))
		}
		must.Do(t, w.Flush())
		if _, _, slowErr := slow.Next(); slowErr == nil || slowErr.Error() != err.Error() {
			t.Fatalf("in one piece it ends with %v, in many with %v", err, slowErr)
		}
		if !bytes.HasPrefix(b, out.Bytes()) || (err == io.EOF) != (out.Len() == len(b)) {
			t.Fatalf("%q is read as %q, %v", b, out.Bytes(), err)
		}
		if place := fmt.Sprintf("within pair %d at byte %d", n+1, out.Len()); err != io.EOF && err != errIsBackup && !strings.Contains(err.Error(), place) {
			t.Fatalf("the error does not say %s: %v", place, err)
		}
		if (err == errIsBackup) != kivaloo.IsBackup(b) && len(b) >= backupHeadBytes {
			t.Fatalf("%q: %v", b, err)
		}
		if want := ascending && (n >= 2 || n == 1 && err == io.EOF); IsDump(b) != want {
			t.Fatalf("%q is taken for a dump: %t", b, !want)
		}
	})
}
