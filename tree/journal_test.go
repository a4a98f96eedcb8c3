package tree

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"kivaloo/disk"
)

// copyOut returns what a journalWriter has made of a batch, as the blocks of a store.
func copyOut(blocks [][]byte) (all [][]byte) {
	for _, p := range blocks {
		all = append(all, bytes.Clone(p))
	}
	return all
}

// recordsOf takes blocks from number first on apart, which must be one batch, and returns its records.
func recordsOf(t tester, seq, first uint64, blocks [][]byte) []outcome {
	t.Helper()
	var payload []byte
	for i, p := range blocks {
		j, err := parseJournal(first+uint64(i), p)
		if err != nil {
			t.Fatalf("piece %d: %v", i, err)
		}
		if j.kind != journalPiece || j.seq != seq || j.piece != uint32(i) || j.pieces != uint32(len(blocks)) {
			t.Fatalf("piece %d of %d is %+v", i, len(blocks), j)
		}
		if len(j.payload) == 0 || i < len(blocks)-1 && len(j.payload) != payloadBytes(len(p)) {
			t.Fatalf("piece %d of %d holds %d bytes", i, len(blocks), len(j.payload))
		}
		payload = append(payload, j.payload...)
	}
	records, err := cutRecords(nil, payload)
	if err != nil {
		t.Fatal(err)
	}
	return records
}

// TestJournalRoundTrip: what comes out of the blocks of a batch is what went in, whatever the size of the blocks, and wherever
// a record crosses from one to the next.
func TestJournalRoundTrip(t *testing.T) {
	var jw journalWriter // the same memory for all
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.OneOf(rapid.SampledFrom([]int{512, 513, 2048, 4096, 65536, 65574, 131072}),
			rapid.IntRange(disk.MinBlockSize, disk.MaxBlockSize)).Draw(t, "block size")
		seq, first := rapid.Uint64().Draw(t, "seq"), rapid.Uint64Max(maxBlock).Draw(t, "first")
		text := rapid.SliceOfN(rapid.Byte(), 0, MaxStringBytes)
		random := rapid.Custom(func(t *rapid.T) outcome {
			o := outcome{key: text.Draw(t, "key"), action: rapid.SampledFrom([]action{put, remove, touch, carry}).Draw(t, "action")}
			if o.action == put {
				o.value = text.Draw(t, "value")
			}
			return o
		})
		batch := rapid.SliceOfN(random, 0, 60).Draw(t, "batch")
		split := rapid.IntRange(0, len(batch)).Draw(t, "overwritten from")
		over := make([]overwrite, 0, len(batch))
		for _, o := range batch[split:] {
			over = append(over, overwrite{outcome: o})
		}
		var want []outcome
		for _, o := range batch {
			if o.action == put || o.action == remove {
				want = append(want, o)
			}
		}
		blocks := jw.writeBatch(size, seq, first, batch[:split], over)
		got := recordsOf(t, seq, first, blocks)
		if len(got) != len(want) {
			t.Fatalf("%d records, want %d", len(got), len(want))
		}
		for i, o := range want {
			if !bytes.Equal(got[i].key, o.key) || !bytes.Equal(got[i].value, o.value) || got[i].action != o.action {
				t.Fatalf("record %d is %+v, want %+v", i, got[i], o)
			}
		}
	})
}

// TestJournalOfLargeBlocks: two bytes say how long the payload is, so the largest blocks cannot be full.
func TestJournalOfLargeBlocks(t *testing.T) {
	const size, records = disk.MaxBlockSize, 600
	batch := make([]outcome, records)
	for i := range batch {
		batch[i] = outcome{key: fmt.Appendf(nil, "%0200d", i), value: bytes.Repeat([]byte{byte(i)}, 250), action: put}
	}
	var jw journalWriter
	blocks := jw.writeBatch(size, 1, 7, batch, nil)
	if total := records * (3 + 200 + 250); len(blocks) != (total+(1<<16-2))/(1<<16-1) {
		t.Fatalf("%d bytes are in %d blocks", total, len(blocks))
	}
	for i, o := range recordsOf(t, 1, 7, blocks) {
		if !bytes.Equal(o.key, batch[i].key) || !bytes.Equal(o.value, batch[i].value) {
			t.Fatalf("record %d is %+v", i, o)
		}
	}
}

// TestJournalGolden has a batch of two records and a checkpoint record, byte by byte. The checksums are not from this program.
func TestJournalGolden(t *testing.T) {
	const size = 512
	var jw journalWriter
	batch := []outcome{
		{key: []byte("key"), value: []byte("value"), action: put},
		{key: []byte("gone"), action: remove},
	}
	piece := jw.writeBatch(size, 0x0102030405060708, 0x1112131415161718, batch, nil)
	if len(piece) != 1 {
		t.Fatalf("%d blocks", len(piece))
	}
	record := make([]byte, size)
	writeCheckpoint(record, 9, 0x20, 0x1f)
	for name, test := range map[string]struct {
		block []byte
		want  string
	}{
		"batch": {piece[0], "4b564a524e00" + "01" + "00" + "21a334d7" +
			"0102030405060708" + "1112131415161718" + "00000000" + "00000001" + "0011" +
			"0103" + "6b6579" + "05" + "76616c7565" + "0204" + "676f6e65"},
		"checkpoint record": {record, "4b564a524e00" + "01" + "01" + "b140f5a5" +
			"0000000000000009" + "0000000000000020" + "00000000" + "00000000" + "0008" + "000000000000001f"},
	} {
		want, err := hex.DecodeString(test.want)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, make([]byte, size-len(want))...)
		if !bytes.Equal(test.block, want) {
			t.Errorf("%s is\n%x, want\n%x", name, test.block[:64], want[:64])
		}
	}
}

// TestJournalBitFlips: no bit of a block can change without being noticed, not even in the zeros behind the payload.
func TestJournalBitFlips(t *testing.T) {
	var jw journalWriter
	piece := copyOut(jw.writeBatch(512, 3, 40, []outcome{{key: []byte("k"), value: []byte("v"), action: put}}, nil))[0]
	record := make([]byte, 512)
	writeCheckpoint(record, 3, 40, 12)
	for name, p := range map[string][]byte{"piece": piece, "checkpoint record": record} {
		for bit := range 8 * len(p) {
			p[bit/8] ^= 1 << (bit % 8)
			j, err := parseJournal(40, p)
			if err == nil && bit/8 == journalKindAt { // not in the sum, but what was a checkpoint record is no batch
				_, err = cutRecords(nil, j.payload)
			}
			if !errors.Is(err, disk.ErrCorrupt) {
				t.Errorf("%s: bit %d of byte %d is flipped: %+v, %v", name, bit%8, bit/8, j, err)
			}
			p[bit/8] ^= 1 << (bit % 8)
		}
		if _, err := parseJournal(41, p); !errors.Is(err, disk.ErrCorrupt) {
			t.Errorf("%s in another place: %v", name, err)
		}
	}
}

// TestJournalRefuses has blocks that have the right checksum, and say something impossible.
func TestJournalRefuses(t *testing.T) {
	for name, spoil := range map[string]func(p []byte){
		"length past the block": func(p []byte) { finishJournal(p, journalPiece, 1, 5, 0, 1, 512-journalHeader+1) },
		"longest length":        func(p []byte) { finishJournal(p, journalPiece, 1, 5, 0, 1, 1<<16-1) },
		"piece behind the last": func(p []byte) { finishJournal(p, journalPiece, 1, 5, 2, 2, 9) },
		"no pieces":             func(p []byte) { finishJournal(p, journalPiece, 1, 5, 0, 0, 9) },
		"unknown kind":          func(p []byte) { finishJournal(p, journalCheckpoint+1, 1, 5, 0, 1, 8) },
		"short checkpoint":      func(p []byte) { finishJournal(p, journalCheckpoint, 1, 5, 0, 1, 7) },
		"long checkpoint":       func(p []byte) { finishJournal(p, journalCheckpoint, 1, 5, 0, 1, 9) },
		"version":               func(p []byte) { p[journalVersionAt]++ },
		"magic":                 func(p []byte) { p[0]++ },
	} {
		p := make([]byte, 512)
		finishJournal(p, journalPiece, 1, 5, 0, 1, 9)
		if _, err := parseJournal(5, p); err != nil {
			t.Fatal(err)
		}
		spoil(p)
		if j, err := parseJournal(5, p); !errors.Is(err, disk.ErrCorrupt) {
			t.Errorf("%s: %+v, %v", name, j, err)
		}
	}
}

// TestCutRecordShort cuts a payload off anywhere: what is left is an error, or one record less.
func TestCutRecordShort(t *testing.T) {
	payload := []byte("\x01\x03key\x05value\x02\x04gone")
	for n := range len(payload) {
		records, err := cutRecords(nil, payload[:n])
		if whole := n == 0 || n == len("\x01\x03key\x05value"); whole != (err == nil) {
			t.Errorf("cut off after %d bytes: %d records, %v", n, len(records), err)
		}
	}
}

// FuzzJournal has nothing of a block believed but what fits: no input makes the parsers read past what they were given.
func FuzzJournal(f *testing.F) {
	var jw journalWriter
	for _, p := range jw.writeBatch(512, 1, 0, []outcome{{key: []byte("k"), value: make([]byte, 255), action: put},
		{key: make([]byte, 255), action: remove}, {key: []byte("l"), value: make([]byte, 200), action: put}}, nil) {
		f.Add(bytes.Clone(p[journalSummedAt:]))
	}
	f.Fuzz(func(t *testing.T, summed []byte) {
		p := make([]byte, 512)
		copy(p[journalSummedAt:], summed)
		finish := func(kind journalKind) { // as finishJournal would, with the header that the fuzzer has made
			copy(p, journalMagic)
			p[journalVersionAt], p[journalKindAt] = journalVersion, byte(kind)
			binary.BigEndian.PutUint32(p[journalSumAt:], crc32.Checksum(p[journalSummedAt:], castagnoli))
		}
		for kind := range journalCheckpoint + 2 {
			finish(kind)
			j, at, err := parseJournalAnywhere(p)
			if err != nil {
				if !errors.Is(err, disk.ErrCorrupt) {
					t.Fatal(err)
				}
				continue
			}
			if j.kind == journalCheckpoint {
				j.replayFrom()
			}
			q := make([]byte, len(p))
			copy(q[journalHeader:], p[journalHeader:])
			finishJournal(q, j.kind, j.seq, at, int(j.piece), int(j.pieces), len(j.payload))
			if !bytes.Equal(p, q) {
				t.Fatalf("%+v at %d does not make the same block", j, at)
			}
			if records, err := cutRecords(nil, j.payload); err == nil && j.kind == journalPiece {
				sameRecords(t, records, j.payload)
			} else if err != nil && !errors.Is(err, disk.ErrCorrupt) {
				t.Fatal(err)
			}
		}
	})
}

// sameRecords fails the test unless records, written again, are payload.
func sameRecords(t *testing.T, records []outcome, payload []byte) {
	t.Helper()
	var jw journalWriter
	var again []byte
	for i, p := range jw.writeBatch(512, 1, 0, records, nil) {
		j, err := parseJournal(uint64(i), p)
		if err != nil {
			t.Fatal(err)
		}
		again = append(again, j.payload...)
	}
	if !bytes.Equal(again, payload) {
		t.Fatalf("%d records do not make the same payload", len(records))
	}
}

// TestJournalSpareRoom: a batch of any length leaves zeros behind its payload, also where longer batches have been before.
func TestJournalSpareRoom(t *testing.T) {
	var jw journalWriter
	rng := rand.New(rand.NewPCG(1, 0))
	for range 200 {
		batch := make([]outcome, 1+rng.IntN(10))
		for i := range batch {
			batch[i] = outcome{key: bytes.Repeat([]byte{0xff}, rng.IntN(200)), action: remove}
		}
		for i, p := range jw.writeBatch(700, 1, 0, batch, nil) {
			j, err := parseJournal(uint64(i), p)
			if err != nil {
				t.Fatal(err)
			}
			if rest := p[journalHeader+len(j.payload):]; !allZero(rest) {
				t.Fatalf("piece %d: %x behind the payload", i, rest)
			}
		}
	}
}
