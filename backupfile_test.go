package kivaloo

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"kivaloo/wire"
)

// listed encodes pairs as in a chunk.
func listed(pairs ...Pair) (list []byte) {
	for _, p := range pairs {
		list = append(append(list, byte(len(p.Key))), p.Key...)
		list = append(append(list, byte(len(p.Value))), p.Value...)
	}
	return list
}

// chunk frames an encoded list of pairs as a chunk.
func chunk(list []byte) []byte {
	b := append(binary.BigEndian.AppendUint32(nil, uint32(len(list))), list...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// trailed appends a trailer with the given number of pairs.
func trailed(b []byte, pairs uint64) []byte {
	b = binary.BigEndian.AppendUint64(append(b, 0, 0, 0, 0), pairs)
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

var (
	one   = listed(Pair{Key: []byte(""), Value: []byte("v")}, Pair{Key: []byte("a"), Value: nil})
	two   = listed(Pair{Key: []byte("b"), Value: []byte("w")})
	small = trailed(slices.Concat(appendBackupHeader(nil, 7), chunk(one), chunk(two)), 3)
)

// readAll returns all chunks of a backup and the error that ended reading.
func readAll(r io.Reader) (chunks [][]byte, err error) {
	b, err := newBackupReader(r)
	for err == nil {
		var pairs []byte
		if pairs, _, err = b.next(); err == nil {
			chunks = append(chunks, bytes.Clone(pairs))
		}
	}
	return chunks, err
}

// TestBackupBytes checks that the format matches its description.
func TestBackupBytes(t *testing.T) {
	var out bytes.Buffer
	w, err := newBackupWriter(&out, 7)
	for _, pairs := range [][]byte{one, nil, two} {
		err = errors.Join(err, w.put(pairs))
	}
	if err = errors.Join(err, w.finish()); err != nil || !bytes.Equal(out.Bytes(), small) {
		t.Fatalf("%v, got\n%q, want\n%q", err, out.Bytes(), small)
	}
	if w.pairs != 3 || w.bytes != int64(len(small)) {
		t.Errorf("%d pairs, %d bytes", w.pairs, w.bytes)
	}
	if err := w.put([]byte("\x05no")); err == nil || out.Len() != len(small) {
		t.Errorf("a bad list: %v, %d bytes", err, out.Len())
	}
	if chunks, err := readAll(iotest.OneByteReader(&out)); err != io.EOF || !slices.EqualFunc(chunks, [][]byte{one, two}, bytes.Equal) {
		t.Errorf("read %q, %v", chunks, err)
	}
}

// TestBackupCutOff checks that a truncated backup is refused, wherever it is cut.
func TestBackupCutOff(t *testing.T) {
	for n := range small {
		if _, err := readAll(bytes.NewReader(small[:n])); !errors.Is(err, ErrBadBackup) || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("the first %d of %d bytes: %v", n, len(small), err)
		}
	}
}

// TestBackupDamaged checks that any changed byte is noticed, and that everything read before is
// right.
func TestBackupDamaged(t *testing.T) {
	for i := range small {
		for bit := range 8 {
			b := bytes.Clone(small)
			b[i] ^= 1 << bit
			chunks, err := readAll(bytes.NewReader(b))
			if !errors.Is(err, ErrBadBackup) {
				t.Errorf("byte %d, bit %d: %v", i, bit, err)
			}
			for j, c := range chunks {
				if !bytes.Equal(c, [][]byte{one, two}[j]) {
					t.Errorf("byte %d, bit %d: chunk %d is %q", i, bit, j, c)
				}
			}
		}
	}
}

// TestBackupThatLies checks backups whose checksums are all right but whose content is not.
func TestBackupThatLies(t *testing.T) {
	head := appendBackupHeader(nil, 7)
	version := append([]byte(backupMagic), 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 7)
	version = binary.BigEndian.AppendUint32(version, crc32.Checksum(version, castagnoli))
	whole := chunk(one)
	for name, b := range map[string][]byte{
		"version":         trailed(version, 0),
		"too few pairs":   trailed(slices.Concat(head, whole), 3),
		"too many pairs":  trailed(slices.Concat(head, whole), 1),
		"order":           trailed(slices.Concat(head, chunk(two), whole), 3),
		"the same twice":  trailed(slices.Concat(head, whole, whole), 4),
		"order within":    trailed(slices.Concat(head, chunk(slices.Concat(two, one))), 3),
		"half a pair":     trailed(slices.Concat(head, chunk([]byte("\x01k"))), 1),
		"two empty keys":  trailed(slices.Concat(head, chunk(make([]byte, 4))), 2),
		"bytes behind":    append(bytes.Clone(small), 0),
		"a chunk behind":  append(bytes.Clone(small), whole...),
		"missing chunk":   append(slices.Concat(head, whole), small[len(small)-backupTrailerLen:]...),
		"another's chunk": append(slices.Concat(head, whole, chunk(listed(Pair{Key: []byte("b"), Value: []byte("x")}))), small[len(small)-backupTrailerLen:]...),
		"long chunk":      slices.Concat(head, chunk(make([]byte, maxBackupChunkBytes+1))),
	} {
		if _, err := readAll(bytes.NewReader(b)); !errors.Is(err, ErrBadBackup) || errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := readAll(iotest.ErrReader(errors.New("broken"))); err == nil || errors.Is(err, ErrBadBackup) {
		t.Errorf("a reader that fails: %v", err)
	}
}

// TestBackupPosition cuts a backup at every byte. The position to continue from must be found, and
// continuing must give the same backup.
func TestBackupPosition(t *testing.T) {
	ends := []int{backupHeaderLen, backupHeaderLen + len(chunk(one)), backupHeaderLen + len(chunk(one)) + len(chunk(two)), len(small)}
	pairs := []int64{0, 2, 3, 3}
	for n := range len(small) + 1 {
		p, err := FindBackupPosition(bytes.NewReader(small[:n]))
		if n < backupHeaderLen {
			if !errors.Is(err, ErrBadBackup) {
				t.Errorf("%d bytes: %v", n, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		i := 0
		for i+1 < len(ends) && ends[i+1] <= n {
			i++
		}
		if p.Offset() != int64(ends[i]) || p.Pairs() != pairs[i] || p.Complete() != (n == len(small)) || p.snapshot != 7 ||
			!bytes.Equal(p.chunk, [][]byte{nil, one, two, two}[i]) {
			t.Errorf("%d bytes: %+v", n, p)
		}
		if p.Complete() {
			continue
		}
		out := bytes.NewBuffer(bytes.Clone(small[:p.Offset()]))
		w := newBackupWriterAt(out, p)
		for _, pairs := range [][]byte{one, two}[i:] {
			err = errors.Join(err, w.put(pairs))
		}
		if err = errors.Join(err, w.finish()); err != nil || !bytes.Equal(out.Bytes(), small) {
			t.Errorf("continued after %d bytes: %q, %v", n, out.Bytes(), err)
		}
	}
	if _, err := FindBackupPosition(io.MultiReader(bytes.NewReader(small[:40]), iotest.ErrReader(fmt.Errorf("broken")))); err == nil {
		t.Error("a position in what cannot be read")
	}
}

// resum corrects all checksums in b, as far as it looks like a backup.
func resum(b []byte) {
	put := func(from, at int) { binary.BigEndian.PutUint32(b[at:], crc32.Checksum(b[from:at], castagnoli)) }
	if len(b) < backupHeaderLen {
		return
	}
	put(0, backupHeaderLen-4)
	for at := backupHeaderLen; len(b)-at >= 4; {
		end := at + 4 + int(binary.BigEndian.Uint32(b[at:]))
		if end == at+4 {
			if len(b)-at >= backupTrailerLen {
				sum := sha256.Sum256(b[:at+12])
				copy(b[at+12:], sum[:])
			}
			return
		}
		if end+4 > len(b) {
			return
		}
		put(at, end)
		at = end + 4
	}
}

// FuzzBackupReader feeds arbitrary input to the reader, also with corrected checksums. The reader
// either refuses it or returns all pairs in order, and needs no more memory than one chunk. The
// good part can be continued.
func FuzzBackupReader(f *testing.F) {
	for _, b := range [][]byte{small, small[:len(small)-1], slices.Concat(appendBackupHeader(nil, 7), []byte{0xff, 0xff, 0xff, 0xff}),
		trailed(appendBackupHeader(nil, 0), 0), append(bytes.Clone(small), 0), trailed(slices.Concat(appendBackupHeader(nil, 7), chunk(two), chunk(one)), 3), trailed(slices.Concat(appendBackupHeader(nil, 7), chunk(two), chunk(two)), 2)} {
		f.Add(b, false)
		f.Add(b, true)
	}
	f.Fuzz(func(t *testing.T, b []byte, right bool) {
		if right {
			b = bytes.Clone(b)
			resum(b)
		}
		in, err := newBackupReader(bytes.NewReader(b))
		var out bytes.Buffer
		var w *backupWriter
		if err == nil {
			w, err = newBackupWriter(&out, in.snapshot)
		}
		var keys [][]byte
		for err == nil {
			var pairs []byte
			if pairs, _, err = in.next(); err == nil {
				err = w.put(pairs)
			}
			for rest := bytes.Clone(pairs); err == nil && len(rest) > 0; {
				var key []byte
				key, _, rest, err = wire.CutPair(rest)
				if n := len(keys); n > 0 && bytes.Compare(keys[n-1], key) >= 0 {
					t.Fatalf("%q comes behind %q", key, keys[n-1])
				}
				keys = append(keys, key)
			}
			if cap(in.chunk) > 4+maxBackupChunkBytes+4 {
				t.Fatalf("room for %d bytes", cap(in.chunk))
			}
		}
		if w == nil {
			if !errors.Is(err, ErrBadBackup) {
				t.Fatal(err)
			}
			return
		}
		good, complete := out.Len(), err == io.EOF
		if complete {
			if err := w.finish(); err != nil || !bytes.Equal(out.Bytes(), b) {
				t.Fatalf("%q is written again as %q, %v", b, out.Bytes(), err)
			}
			good = len(b)
		} else if !errors.Is(err, ErrBadBackup) || !bytes.HasPrefix(b, out.Bytes()) {
			t.Fatalf("%q begins as %q, %v", b, out.Bytes(), err)
		}
		p, err := FindBackupPosition(bytes.NewReader(b))
		if err != nil || p.Offset() != int64(good) || p.Complete() != complete || p.Pairs() != int64(w.pairs) {
			t.Fatalf("%q is good up to byte %d: %+v, %v", b, good, p, err)
		}
	})
}

// TestBackupRoundTrip checks that any sorted pairs can be written and read back.
func TestBackupRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keys := rapid.SliceOfNDistinct(rapid.StringN(0, 20, MaxLen), 0, 30, func(s string) string { return s }).Draw(t, "keys")
		slices.Sort(keys)
		var want []byte
		var out bytes.Buffer
		w, err := newBackupWriter(&out, rapid.Uint64().Draw(t, "snapshot"))
		for len(keys) > 0 && err == nil {
			n := rapid.IntRange(1, len(keys)).Draw(t, "in the chunk")
			var pairs []byte
			for _, k := range keys[:n] {
				pairs = append(pairs, listed(Pair{Key: []byte(k), Value: []byte(rapid.StringN(0, 20, MaxLen).Draw(t, "value"))})...)
			}
			keys, want = keys[n:], append(want, pairs...)
			err = w.put(pairs)
		}
		if err = errors.Join(err, w.finish()); err != nil {
			t.Fatal(err)
		}
		chunks, err := readAll(&out)
		if got := slices.Concat(chunks...); err != io.EOF || !bytes.Equal(got, want) {
			t.Fatalf("%q, %v; want %q", got, err, want)
		}
	})
}
