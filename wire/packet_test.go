package wire_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"kivaloo/internal/must"
	"kivaloo/wire"
)

func TestChecksum(t *testing.T) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for _, c := range []struct{ input, onTheWire string }{
		{"", "783bf682"},
		{"\x00", "f9fac3fb"},
		{"\x00\x00\x00\x00", "5cd5a26e"},
		{"123456789", "0491fc22"},
		{"hello world", "ca130baa"},
		{string(all), "89146e4a"},
	} {
		got := binary.LittleEndian.AppendUint32(nil, wire.Checksum([]byte(c.input)))
		if hex.EncodeToString(got) != c.onTheWire {
			t.Errorf("checksum of %q is %x, want %s", c.input, got, c.onTheWire)
		}
	}
}

// workedExample is the first packet that a key-value daemon sends to its block store.
var workedExample = []byte{
	0, 0, 0, 0, 0, 0, 0, 0, // ID 0
	0, 0, 0, 4, // record length
	0x07, 0x7d, 0x22, 0xdf, // header checksum
	0, 0, 0, 4, // PARAMS2
	0x44, 0x3f, 0x1a, 0x76,
}

func TestWorkedExample(t *testing.T) {
	record := wire.AppendLBSRequest(nil, &wire.LBSRequest{Type: wire.TypeLBSParams2})
	if got := wire.AppendPacket(nil, 0, record); !bytes.Equal(got, workedExample) {
		t.Fatalf("got % x", got)
	}
}

// TestCutPrefixes checks that nothing is decided before the bytes are there, but everything as soon
// as they are.
func TestCutPrefixes(t *testing.T) {
	for n := range workedExample {
		p, length, want, err := wire.Cut(workedExample[:n], 4)
		if err != nil || length != 0 || p.Record != nil {
			t.Fatalf("%d bytes: %+v, length %d, %v", n, p, length, err)
		}
		if whole := int64(len(workedExample)); n < wire.HeaderSize && want != 0 || n >= wire.HeaderSize && want != whole {
			t.Fatalf("%d bytes: want %d", n, want)
		}
	}
	p, n, _, err := wire.Cut(append(slices.Clone(workedExample), "more"...), 4)
	if err != nil || n != len(workedExample) || p.ID != 0 || string(p.Record) != "\x00\x00\x00\x04" {
		t.Fatalf("whole: %+v, length %d, %v", p, n, err)
	}
	if cap(p.Record) != len(p.Record) {
		t.Error("appending to the record would overwrite what follows it")
	}
}

// TestCutFlippedBits checks that every single flipped bit is noticed: in the header before the
// record has arrived.
func TestCutFlippedBits(t *testing.T) {
	for bit := range 8 * len(workedExample) {
		b := slices.Clone(workedExample)
		b[bit/8] ^= 1 << (bit % 8)
		want := wire.ErrRecordSum
		if bit/8 < wire.HeaderSize {
			b, want = b[:wire.HeaderSize], wire.ErrHeaderSum
		}
		if _, n, _, err := wire.Cut(b, math.MaxUint32); n != 0 || !errors.Is(err, want) {
			t.Errorf("bit %d flipped: length %d, %v", bit, n, err)
		}
	}
}

func TestCutLimit(t *testing.T) {
	header := wire.AppendHeader(nil, 1, 1000)
	if _, _, want, err := wire.Cut(header, 1000); err != nil || want != 1020 {
		t.Errorf("at the limit: want %d, %v", want, err)
	}
	_, _, _, err := wire.Cut(header, 999)
	if !errors.Is(err, wire.ErrRecordLong) || !strings.Contains(err.Error(), "1000 bytes, at most 999") {
		t.Errorf("above the limit: %v", err)
	}
	if _, _, want, err := wire.Cut(wire.AppendHeader(nil, 1, math.MaxUint32), math.MaxUint32); err != nil || want != 1<<32+19 {
		t.Errorf("longest record: want %d, %v", want, err)
	}
}

// TestMakePacket checks that the three ways to make a packet agree.
func TestMakePacket(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.Uint64().Draw(t, "id")
		record := rapid.SliceOfN(rapid.Byte(), 0, 600).Draw(t, "record")
		before := rapid.SliceOfN(rapid.Byte(), 0, 8).Draw(t, "before")
		whole := wire.AppendPacket(slices.Clone(before), id, record)

		begun := wire.Begin(slices.Clone(before), id)
		begun = wire.End(append(begun, record...), len(before))
		if !bytes.Equal(begun, whole) {
			t.Fatalf("Begin, End: %x, want %x", begun, whole)
		}

		pieces := wire.AppendHeader(slices.Clone(before), id, uint32(len(record)))
		sum := wire.NewRecordSum(pieces[len(before):])
		for rest := record; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "piece")
			sum.Add(rest[:n])
			pieces = append(pieces, rest[:n]...)
			rest = rest[n:]
		}
		if pieces = sum.AppendTrailer(pieces); !bytes.Equal(pieces, whole) {
			t.Fatalf("in pieces: %x, want %x", pieces, whole)
		}
	})
}

// TestCutStream checks that a stream is cut into the original packets, however its bytes arrive.
func TestCutStream(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		records := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 60), 1, 10).Draw(t, "records")
		var stream []byte
		for i, record := range records {
			stream = wire.AppendPacket(stream, uint64(i), record)
		}
		var received []byte
		cut := 0
		for len(stream) > 0 {
			n := rapid.IntRange(1, len(stream)).Draw(t, "arriving")
			received, stream = append(received, stream[:n]...), stream[n:]
			for {
				p, n, _, err := wire.Cut(received, 60)
				must.Do(t, err)
				if n == 0 {
					break
				}
				if p.ID != uint64(cut) || !bytes.Equal(p.Record, records[cut]) {
					t.Fatalf("packet %d: %+v", cut, p)
				}
				received = received[n:]
				cut++
			}
		}
		if cut != len(records) || len(received) != 0 {
			t.Fatalf("%d of %d packets, %d bytes left over", cut, len(records), len(received))
		}
	})
}

// resum gives a packet, or part of one, the right checksums.
func resum(b []byte) {
	if len(b) < wire.HeaderSize {
		return
	}
	id, length := binary.BigEndian.Uint64(b), binary.BigEndian.Uint32(b[8:])
	copy(b, wire.AppendHeader(nil, id, length))
	if record := b[wire.HeaderSize:]; uint64(len(record)) >= uint64(length) {
		copy(b, wire.AppendPacket(nil, id, record[:length]))
	}
}

// FuzzCut checks that a packet that was cut encodes to the same bytes, and is within the limit. A
// beginning of a possible packet must not be refused, and anything else must be refused at once.
func FuzzCut(f *testing.F) {
	for _, direction := range []string{">", "<"} {
		addCaptured(f, direction, func(packet, _ []byte) { f.Add(packet, uint32(wire.MaxKVRequestLen), false) })
	}
	f.Add(workedExample, uint32(4), true)
	f.Add(workedExample[:10], uint32(4), true)
	f.Add(wire.AppendHeader(nil, 1<<63, math.MaxUint32), uint32(772), true)
	f.Add([]byte("GET / HTTP/1.0\r\n"), uint32(math.MaxUint32), true)
	f.Fuzz(func(t *testing.T, b []byte, limit uint32, right bool) {
		if right {
			b = bytes.Clone(b)
			resum(b)
		}
		p, n, want, err := wire.Cut(b, limit)
		switch {
		case err != nil:
			if n != 0 {
				t.Errorf("length %d with error %v", n, err)
			}
		case n == 0:
			if len(b) >= wire.HeaderSize && want <= int64(len(b)) {
				t.Errorf("%d bytes, and it wants %d", len(b), want)
			}
		default:
			if again := wire.AppendPacket(nil, p.ID, p.Record); !bytes.Equal(again, b[:n]) {
				t.Errorf("%x comes back as %x", b[:n], again)
			}
			if uint64(len(p.Record)) > uint64(limit) {
				t.Errorf("record of %d bytes over the limit of %d", len(p.Record), limit)
			}
		}
		// This is a packet, or may become one, so it must not have been refused earlier.
		if err == nil {
			for i := range b {
				if _, _, _, err := wire.Cut(b[:i], limit); err != nil {
					t.Fatalf("first %d of %d bytes: %v", i, len(b), err)
				}
			}
		}
	})
}

func TestTypeName(t *testing.T) {
	for typ, want := range map[uint32]string{
		wire.TypeLBSParams2: "LBS_PARAMS2", wire.TypeSet: "KVLDS_SET", wire.TypeS3Put: "S3_PUT",
		wire.TypeDDBGetC: "DDBKV_GETC", 0x140: "UNKNOWN",
	} {
		if got := wire.TypeName(typ); got != want {
			t.Errorf("%#x: %s, want %s", typ, got, want)
		}
	}
}

// TestNoAllocations checks that nothing in the path of a request or an answer allocates.
func TestNoAllocations(t *testing.T) {
	record := wire.AppendKVRequest(nil, &wire.KVRequest{Type: wire.TypeCAS, Key: []byte("k"), Old: []byte("old"), Value: []byte("new")})
	packet := wire.AppendPacket(nil, 7, record)
	value := wire.AppendKVValue(nil, []byte("value"))
	pairs := wire.AppendKVPairs(nil, 1, []byte("next"), []byte("\x01k\x01v"))
	block := wire.AppendLBSBlock(nil, make([]byte, 512))
	read := wire.AppendLBSRequest(nil, &wire.LBSRequest{Type: wire.TypeLBSGet, Block: 9})
	put := wire.AppendS3Request(nil, &wire.S3Request{Type: wire.TypeS3Put, Bucket: []byte("b"), Object: []byte("o"), Data: value})
	icas := wire.AppendDDBRequest(nil, &wire.DDBRequest{Type: wire.TypeDDBICAS, Key: []byte("k"), Old: value, Value: value})
	out := make([]byte, 0, 4096)
	var err error
	check := func(e error) {
		if e != nil {
			err = e
		}
	}
	for name, f := range map[string]func(){
		"Cut":            func() { _, _, _, e := wire.Cut(packet, 772); check(e) },
		"ParseKVRequest": func() { _, e := wire.ParseKVRequest(record); check(e) },
		"Begin, AppendKVRequest, End": func() {
			b := wire.Begin(out, 1)
			b = wire.AppendKVRequest(b, &wire.KVRequest{Type: wire.TypeGet, Key: value})
			wire.End(b, 0)
		},
		"Begin, AppendKVValue, End": func() { wire.End(wire.AppendKVValue(wire.Begin(out, 1), value), 0) },
		"AppendKVStatus":            func() { wire.End(wire.AppendKVStatus(wire.Begin(out, 1), 0), 0) },
		"AppendKVPairs":             func() { wire.AppendKVPairs(out, 1, value, pairs) },
		"AppendHeader, RecordSum": func() {
			b := wire.AppendHeader(out, 1, uint32(len(block)))
			sum := wire.NewRecordSum(b)
			sum.Add(block)
			sum.AppendTrailer(b)
		},
		"ParseKVValue":  func() { _, _, e := wire.ParseKVValue(value); check(e) },
		"ParseKVStatus": func() { _, e := wire.ParseKVStatus(wire.TypeSet, block); check(e) },
		"ParseKVPairs": func() {
			_, _, list, e := wire.ParseKVPairs(pairs, 100)
			check(e)
			_, _, _, e = wire.CutPair(list)
			check(e)
		},
		"ParseLBSRequest":  func() { _, e := wire.ParseLBSRequest(read); check(e) },
		"AppendLBSRequest": func() { wire.AppendLBSRequest(out, &wire.LBSRequest{Type: wire.TypeLBSGet, Block: 1}) },
		"ParseLBSBlock":    func() { _, _, e := wire.ParseLBSBlock(block, 512); check(e) },
		"ParseS3Request":   func() { _, e := wire.ParseS3Request(put); check(e) },
		"ParseDDBRequest":  func() { _, e := wire.ParseDDBRequest(icas); check(e) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
	if err != nil {
		t.Error(err)
	}
}

func BenchmarkCut(b *testing.B) {
	packet := wire.AppendPacket(nil, 7, make([]byte, 45))
	b.ReportAllocs()
	for b.Loop() {
		if _, n, _, err := wire.Cut(packet, wire.MaxKVRequestLen); n == 0 || err != nil {
			b.Fatal(n, err)
		}
	}
}

func BenchmarkParseKVRequest(b *testing.B) {
	for _, r := range []wire.KVRequest{
		{Type: wire.TypeGet, Key: make([]byte, 40)},
		{Type: wire.TypeSet, Key: make([]byte, 40), Value: make([]byte, 40)},
		{Type: wire.TypeCAS, Key: make([]byte, 40), Old: make([]byte, 40), Value: make([]byte, 40)},
	} {
		record := wire.AppendKVRequest(nil, &r)
		b.Run(wire.TypeName(r.Type), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := wire.ParseKVRequest(record); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAnswerGet(b *testing.B) {
	value := make([]byte, 40)
	out := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		out = wire.End(wire.AppendKVValue(wire.Begin(out[:0], 1), value), 0)
	}
}

func ExampleCut() {
	stream := wire.AppendPacket(nil, 1, []byte("one"))
	stream = wire.AppendPacket(stream, 2, []byte("two"))
	for {
		p, n, _, err := wire.Cut(stream, 100)
		if err != nil || n == 0 {
			break
		}
		fmt.Printf("%d %s\n", p.ID, p.Record)
		stream = stream[n:]
	}
	// Output:
	// 1 one
	// 2 two
}
