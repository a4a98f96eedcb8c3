package journal

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"kivaloo/disk"
	"kivaloo/internal/must"
)

const maxString = 255 // longest key or value, in bytes

// write returns the blocks of a commit of records.
func write(w *Writer, size int, b Block, records []Record) [][]byte {
	w.Begin(size)
	for _, r := range records {
		if r.Deleted {
			w.Delete(r.Key)
		} else {
			w.Set(r.Key, r.Value)
		}
	}
	return w.Finish(b)
}

// cut parses a payload into records.
func cut(payload []byte) (records []Record, err error) {
	for len(payload) > 0 {
		var r Record
		if r, payload, err = Next(payload); err != nil {
			return records, err
		}
		records = append(records, r)
	}
	return records, nil
}

// TestRoundTrip checks that the records of a commit survive being written to blocks and read back.
// Block sizes vary, and records cross block boundaries.
func TestRoundTrip(t *testing.T) {
	var w Writer // reused, to test that it clears its memory
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.OneOf(rapid.SampledFrom([]int{512, 513, 2048, 4096, 65536, 65590, 131072}),
			rapid.IntRange(disk.MinBlockSize, disk.MaxBlockSize)).Draw(t, "block size")
		text := rapid.SliceOfN(rapid.Byte(), 0, maxString)
		want := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Record {
			r := Record{Key: text.Draw(t, "key"), Deleted: rapid.Bool().Draw(t, "deleted")}
			if !r.Deleted {
				r.Value = text.Draw(t, "value")
			}
			return r
		}), 0, 60).Draw(t, "records")
		b := Block{Seq: rapid.Uint64().Draw(t, "seq"), First: rapid.Uint64Range(10, 1<<62).Draw(t, "first"), Previous: 7}
		b.Number = b.First + rapid.Uint64Max(1000).Draw(t, "pages before")
		got, err := cut(payloadOf(t, b, write(&w, size, b, want)))
		if err != nil || len(got) != len(want) {
			t.Fatalf("%d records, want %d: %v", len(got), len(want), err)
		}
		for i, r := range want {
			if !bytes.Equal(got[i].Key, r.Key) || !bytes.Equal(got[i].Value, r.Value) || got[i].Deleted != r.Deleted {
				t.Fatalf("record %d is %+v, want %+v", i, got[i], r)
			}
		}
	})
}

// payloadOf returns the payload of blocks. They must be the commit that b describes.
func payloadOf(t rapid.TB, b Block, blocks [][]byte) (payload []byte) {
	t.Helper()
	for i, p := range blocks {
		got, err := ParseAt(b.Number+uint64(i), p)
		if err != nil {
			t.Fatalf("piece %d: %v", i, err)
		}
		if len(got.Payload) == 0 || i < len(blocks)-1 && len(got.Payload) != room(len(p)) {
			t.Fatalf("piece %d of %d holds %d bytes", i, len(blocks), len(got.Payload))
		}
		payload = append(payload, got.Payload...)
		want := b
		want.Number, want.Piece, want.Pieces = b.Number+uint64(i), uint32(i), uint32(len(blocks))
		if got.Payload = nil; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("piece %d is %+v, want %+v", i, got, want)
		}
		if rest := bytes.TrimLeft(p[HeaderBytes+len(payload)-i*room(len(p)):], "\x00"); i == len(blocks)-1 && len(rest) > 0 {
			t.Fatalf("%x behind the payload", rest)
		}
	}
	return payload
}

// TestGolden compares a commit of two records and a flush record byte by byte. The checksums come
// from another program.
func TestGolden(t *testing.T) {
	const size = 512
	var w Writer
	commit := write(&w, size, Block{Seq: 0x0102030405060708, Number: 0x1112131415161718, First: 0x1112131415161710, Previous: 0x20},
		[]Record{{Key: []byte("key"), Value: []byte("value")}, {Key: []byte("gone"), Deleted: true}})
	if len(commit) != 1 {
		t.Fatalf("%d blocks", len(commit))
	}
	record := make([]byte, size)
	PutFlush(record, Block{Seq: 9, Number: 0x20, First: 0x18, Previous: disk.NoBlock}, 0x1f, 5, 0x01020304)
	for name, test := range map[string]struct {
		block []byte
		want  string
	}{
		"commit": {commit[0], "4b564a524e00" + "03" + "00" + "d8dd83d9" +
			"0102030405060708" + "1112131415161718" + "1112131415161710" + "0000000000000020" + "00000000" + "00000001" + "0011" +
			"0103" + "6b6579" + "05" + "76616c7565" + "0204" + "676f6e65"},
		"flush record": {record, "4b564a524e00" + "03" + "01" + "7076c0e8" +
			"0000000000000009" + "0000000000000020" + "0000000000000018" + "ffffffffffffffff" + "00000000" + "00000000" + "0014" + "000000000000001f" + "0000000000000005" + "01020304"},
	} {
		want, err := hex.DecodeString(test.want)
		must.Do(t, err)
		want = append(want, make([]byte, size-len(want))...)
		if !bytes.Equal(test.block, want) {
			t.Errorf("%s is\n%x, want\n%x", name, test.block[:80], want[:80])
		}
	}
}

// twoKinds returns a block of each kind.
func twoKinds(size int) map[string][]byte {
	b := Block{Seq: 3, Number: 40, First: 38, Previous: 30}
	record := make([]byte, size)
	PutFlush(record, b, 12, 5, 6)
	return map[string][]byte{
		"commit":       write(new(Writer), size, b, []Record{{Key: []byte("k"), Value: []byte("v")}})[0],
		"flush record": record,
	}
}

// TestOneBitOff checks that one flipped bit is recognised anywhere, even in the zeros after the
// payload. A block that was never written as a whole must not be taken for one.
func TestOneBitOff(t *testing.T) {
	for _, size := range []int{512, 2048} {
		for name, p := range twoKinds(size) {
			for bit := 0; bit < 8*len(p); bit += len(p)/512*2 - 1 {
				p[bit/8] ^= 1 << (bit % 8)
				if b, err := ParseAt(40, p); !errors.Is(err, disk.ErrRot) {
					t.Errorf("%s: bit %d of byte %d is flipped: %+v, %v", name, bit%8, bit/8, b, err)
				}
				p[bit/8] ^= 1 << (bit % 8)
			}
			if _, err := ParseAt(41, p); !errors.Is(err, disk.ErrCorrupt) || errors.Is(err, disk.ErrRot) {
				t.Errorf("%s in another place: %v", name, err)
			}
			if _, err := ParseAt(40, p); err != nil {
				t.Error(err)
			}
		}
	}
	full := write(new(Writer), 2048, Block{Seq: 3, Number: 40, First: 40, Previous: 30},
		[]Record{{Key: []byte("k"), Value: bytes.Repeat([]byte("v"), maxString)}, {Key: []byte("l"), Value: bytes.Repeat([]byte("w"), maxString)},
			{Key: []byte("m"), Value: bytes.Repeat([]byte("x"), maxString)}})[0]
	for sector := 0; sector < 1024; sector += 512 {
		for _, fill := range []byte{0, 0x5a} {
			p := bytes.Clone(full)
			copy(p[sector:], bytes.Repeat([]byte{fill}, 512))
			if _, err := Parse(p); !errors.Is(err, disk.ErrCorrupt) || errors.Is(err, disk.ErrRot) {
				t.Errorf("sector at %d is not there, but %#x: %v", sector, fill, err)
			}
		}
	}
	for size := disk.MinBlockSize; size <= 8192; size += 512 {
		if OneBitOff(make([]byte, size)) {
			t.Errorf("%d zeros are taken for a block", size)
		}
	}
}

// TestRefuses parses blocks with a right checksum and impossible content.
func TestRefuses(t *testing.T) {
	good := Block{Seq: 1, Number: 5, First: 4, Previous: 3, Piece: 0, Pieces: 1}
	for name, spoil := range map[string]func(b *Block, length *int){
		"length past the block":    func(_ *Block, n *int) { *n = 512 - HeaderBytes + 1 },
		"longest length":           func(_ *Block, n *int) { *n = 1<<16 - 1 },
		"piece behind the last":    func(b *Block, _ *int) { b.Piece, b.Pieces = 2, 2 },
		"no pieces":                func(b *Block, _ *int) { b.Pieces = 0 },
		"unknown kind":             func(b *Block, n *int) { b.Kind, *n = Flush+1, 8 },
		"flush record of a piece":  func(b *Block, n *int) { b.Kind, *n = Flush, 8 },
		"short flush record":       func(b *Block, n *int) { b.Kind, b.Pieces, *n = Flush, 0, 7 },
		"long flush record":        func(b *Block, n *int) { b.Kind, b.Pieces, *n = Flush, 0, 9 },
		"append behind it":         func(b *Block, _ *int) { b.First = 6 },
		"pieces before the append": func(b *Block, _ *int) { b.Piece, b.Pieces = 2, 3 },
		"appends out of order":     func(b *Block, _ *int) { b.Previous = 4 },
	} {
		p, b, length := make([]byte, 512), good, 9
		b.put(p, length)
		if _, err := Parse(p); err != nil {
			t.Fatal(err)
		}
		spoil(&b, &length)
		b.put(p, length)
		if b, err := Parse(p); !errors.Is(err, disk.ErrCorrupt) {
			t.Errorf("%s: %+v, %v", name, b, err)
		}
	}
}

// TestVersions checks that version 2 is read, but not in blocks of 512 bytes. A block of an unknown
// version must not be taken for the remains of an append that was cut short.
func TestVersions(t *testing.T) {
	for _, test := range []struct {
		version uint8
		size    int
		read    bool
	}{{3, 512, true}, {3, 513, true}, {2, 512, false}, {2, 513, true}, {1, 513, false}, {4, 513, false}} {
		p := make([]byte, test.size)
		(&Block{Pieces: 1, Number: 7, First: 7, Previous: 6}).put(p, 9)
		p[versionAt] = test.version
		binary.BigEndian.PutUint32(p[sumAt:], Sum(p))
		switch _, err := Parse(p); {
		case test.read && err != nil:
			t.Errorf("version %d in %d bytes: %v", test.version, test.size, err)
		case !test.read && (!errors.Is(err, disk.ErrCorrupt) || !WasWhole(err) || !strings.Contains(err.Error(), fmt.Sprint("version ", test.version))):
			t.Errorf("version %d in %d bytes is refused with %v", test.version, test.size, err)
		}
		if !test.read {
			continue
		}
		for length, has := range map[int]uint8{16: 2, 20: 3} { // the checksum exists since version 3
			(&Block{Kind: Flush, Number: 7, First: 5, Previous: 4}).put(p, length)
			p[versionAt] = test.version
			binary.BigEndian.PutUint32(p[sumAt:], Sum(p))
			b, err := Parse(p)
			if (err == nil) != (test.version == has) {
				t.Errorf("a flush record of %d bytes in version %d: %v", length, test.version, err)
			}
			if _, ok := b.PagesSum(); err == nil && ok != (length == 20) {
				t.Errorf("a flush record of %d bytes has a sum of the pages: %t", length, ok)
			}
		}
	}
}

// TestCutRecordShort cuts a payload anywhere. The rest must give an error, or one record less.
func TestCutRecordShort(t *testing.T) {
	payload := []byte("\x01\x03key\x05value\x02\x04gone")
	for n := range len(payload) {
		records, err := cut(payload[:n])
		if whole := n == 0 || n == len("\x01\x03key\x05value"); whole != (err == nil) {
			t.Errorf("cut off after %d bytes: %d records, %v", n, len(records), err)
		}
	}
	if _, err := cut([]byte("\x03\x03key")); !errors.Is(err, disk.ErrCorrupt) {
		t.Errorf("a record of no kind: %v", err)
	}
}

// FuzzParse checks that no input makes the parsers read beyond it, and that accepted blocks mean
// what their bytes say.
func FuzzParse(f *testing.F) {
	for _, p := range twoKinds(512) {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p := make([]byte, 512)
		copy(p, data)
		copy(p, magic)
		binary.BigEndian.PutUint32(p[sumAt:], Sum(p))
		b, err := Parse(p)
		if err != nil {
			if !errors.Is(err, disk.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		if b.Kind == Flush {
			b.ReplayFrom()
			b.RootID()
			b.PagesSum()
		}
		q := make([]byte, len(p))
		copy(q[HeaderBytes:], p[HeaderBytes:])
		b.put(q, len(b.Payload))
		q[versionAt] = p[versionAt]
		binary.BigEndian.PutUint32(q[sumAt:], Sum(q))
		if !bytes.Equal(p, q) {
			t.Fatalf("%+v does not make the same block", b)
		}
		records, err := cut(b.Payload)
		switch {
		case err != nil && !errors.Is(err, disk.ErrCorrupt):
			t.Fatal(err)
		case err == nil && b.Kind == Piece && len(records) > 0:
			again := Block{Number: 1, First: 1, Previous: disk.NoBlock}
			if payload := payloadOf(t, again, write(new(Writer), 512, again, records)); !bytes.Equal(payload, b.Payload) {
				t.Fatalf("%d records do not make the same payload", len(records))
			}
		}
	})
}

// TestSpareRoom checks that a commit of any length leaves zeros after its payload, even if a longer
// one came before it.
func TestSpareRoom(t *testing.T) {
	var w Writer
	rng := rand.New(rand.NewPCG(1, 0))
	for range 200 {
		records := make([]Record, 1+rng.IntN(10))
		for i := range records {
			records[i] = Record{Key: bytes.Repeat([]byte{0xff}, rng.IntN(200)), Deleted: true}
		}
		b := Block{Number: 9, First: 9, Previous: 7}
		payloadOf(t, b, write(&w, 700, b, records))
	}
}

// TestDescribe shows both kinds of block, and a damaged one.
func TestDescribe(t *testing.T) {
	damaged := twoKinds(512)["commit"]
	copy(damaged[60:], "xx")
	for _, test := range []struct {
		page []byte
		want string
	}{
		{twoKinds(512)["commit"], "block 40: journal, commit 3, piece 1 of 1, 5 bytes of changes\n"},
		{twoKinds(512)["flush record"], "block 40: flush record; the tree of the next block lacks commit 3 and later ones, from block 12 on\n"},
		{damaged, "block 40: " + disk.ErrCorrupt.Error() + ": journal: wrong checksum"},
	} {
		var out strings.Builder
		if err := Describe(&out, 40, test.page); err != nil {
			out.WriteString(err.Error())
		}
		if got := out.String(); got != test.want {
			t.Errorf("%q; want %q", got, test.want)
		}
	}
}

// FuzzMend checks that a block with one flipped bit is refused as one that was once whole, and that
// mending restores it. In anything else mending may change at most one bit, and only if the result
// is a block. It also checks Length for blocks that follow each other without a gap.
func FuzzMend(f *testing.F) {
	for _, p := range twoKinds(512) {
		for _, bit := range []uint16{0, 47, 64, 8*HeaderBytes + 3, 4095} {
			f.Add(p[HeaderBytes:], uint16(512), bit)
			f.Add(p, uint16(600), bit)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, size, bit uint16) {
		p := make([]byte, disk.MinBlockSize+int(size)%1000)
		copy(p, data)
		any, before := bytes.Clone(p), bytes.Clone(p)
		if Mend(any) {
			if !Is(any) || Recorded(any) != Sum(any) {
				t.Fatalf("%x is mended to %x", before, any)
			}
			changed := 0
			for i := range any {
				changed += bits.OnesCount8(any[i] ^ before[i])
			}
			if changed != 1 {
				t.Fatalf("%d bits are mended", changed)
			}
		} else if !bytes.Equal(any, before) {
			t.Fatal("changed, and not mended")
		}

		payload := p[HeaderBytes:]
		b := Block{Seq: 1, Number: 9, First: 9, Previous: 7, Pieces: 1, Payload: payload}
		b.put(p, len(payload))
		whole := bytes.Clone(p)
		length, ok := Length(slices.Concat(p, before), b.Number, disk.MinBlockSize, 2000)
		if ok && length != len(p) {
			t.Fatalf("a block of %d bytes is taken for one of %d", len(p), length)
		}
		at := int(bit) % (8 * len(p))
		p[at/8] ^= 1 << (at % 8)
		if _, err := Parse(p); !errors.Is(err, disk.ErrRot) {
			t.Fatalf("bit %d flipped: %v", at, err)
		}
		if !Mend(p) || !bytes.Equal(p, whole) {
			t.Fatalf("bit %d is mended to %x", at, p)
		}
	})
}
