package wire_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kivaloo/internal/must"
	"kivaloo/wire"
)

// packetsCaptured is the number of packets in testdata, without invalid.txt.
const packetsCaptured = 130 + packetsOfExtensions

// packetsOfExtensions is how many of them are in kvlds-extensions.txt. They were written by hand
// from docs/wire.md, because the original has none of these requests.
const packetsOfExtensions = 52

// service is how a test handles the records of one service.
type service struct {
	limit    uint32                                          // length of the longest request
	reencode func(record []byte) ([]byte, error)             // parses a request and appends it again
	reanswer func(typ uint32, answer []byte) ([]byte, error) // parses an answer and appends it again
	refuses  func(record []byte) bool                        // refuses it for a reason that only the server knows
}

var services = map[string]service{
	"kvlds":    {limit: wire.MaxKVRequestLen, reencode: reencodeKV, reanswer: reanswerKV, refuses: refusesKV},
	"lbs":      {limit: math.MaxUint32, reencode: reencodeLBS, reanswer: reanswerLBS, refuses: refusesLBS},
	"s3":       {limit: math.MaxUint32, reencode: reencodeS3, reanswer: reanswerS3},
	"dynamodb": {limit: math.MaxUint32, reencode: reencodeDDB, reanswer: reanswerDDB},
}

// refusesKV checks what a server with keys up to 64 and values up to 96 bytes checks in addition.
func refusesKV(record []byte) bool {
	r, err := wire.ParseKVRequest(record)
	switch r.Type {
	case wire.TypeSet, wire.TypeAdd, wire.TypeModify, wire.TypeCAS:
		return err != nil || len(r.Key) > 64 || len(r.Value) > 96
	}
	return err != nil
}

// refusesLBS checks what a server with blocks of 512 bytes checks in addition.
func refusesLBS(record []byte) bool {
	r, err := wire.ParseLBSRequest(record)
	return err != nil || r.Type == wire.TypeLBSAppend && r.BlockSize() != 512
}

func reencodeKV(record []byte) ([]byte, error) {
	r, err := wire.ParseKVRequest(record)
	if err != nil {
		return nil, err
	}
	return wire.AppendKVRequest(nil, &r), r.Check()
}

func reencodeLBS(record []byte) ([]byte, error) {
	r, err := wire.ParseLBSRequest(record)
	if err != nil {
		return nil, err
	}
	return wire.AppendLBSRequest(nil, &r), nil
}

func reencodeS3(record []byte) ([]byte, error) {
	r, err := wire.ParseS3Request(record)
	if err != nil {
		return nil, err
	}
	return wire.AppendS3Request(nil, &r), r.Check()
}

func reencodeDDB(record []byte) ([]byte, error) {
	r, err := wire.ParseDDBRequest(record)
	if err != nil {
		return nil, err
	}
	return wire.AppendDDBRequest(nil, &r), r.Check()
}

func reanswerKV(typ uint32, answer []byte) ([]byte, error) {
	switch typ {
	case wire.TypeParams:
		k, v, err := wire.ParseKVParams(answer)
		return wire.AppendKVParams(nil, k, v), err
	case wire.TypeGet:
		v, found, err := wire.ParseKVValue(answer)
		if err != nil || found {
			return wire.AppendKVValue(nil, v), err
		}
		return wire.AppendKVStatus(nil, 1), nil
	case wire.TypeRange:
		n, next, pairs, err := wire.ParseKVPairs(answer, 0x100000)
		if err != nil {
			return nil, err
		}
		return wire.AppendKVPairs(nil, n, next, pairs), nil
	case wire.TypeApply, wire.TypeDeleteRange, wire.TypeGetAt, wire.TypeScan, wire.TypeSnapshot,
		wire.TypeRelease, wire.TypeWatch, wire.TypeUnwatch:
		return reanswerExtension(&wire.KVRequest{Type: typ, Max: 0x100000, Conditions: wire.List{N: 8}}, answer)
	}
	status, err := wire.ParseKVStatus(typ, answer)
	return wire.AppendKVStatus(nil, status), err
}

// reanswer parses the answer to a captured request and appends it again.
func reanswer(s service, id uint64, request, answer []byte) ([]byte, error) {
	typ := binary.BigEndian.Uint32(request)
	switch {
	case id == wire.HelloID:
		maxKey, maxValue, extensions, err := wire.ParseKVHello(answer)
		if extensions == 0 {
			return wire.AppendKVParams(nil, maxKey, maxValue), err
		}
		return wire.AppendKVHello(nil, maxKey, maxValue, extensions), err
	case wire.IsExtension(typ):
		r, err := wire.ParseKVRequest(request)
		if err != nil {
			return nil, err
		}
		return reanswerExtension(&r, answer)
	}
	return s.reanswer(typ, answer)
}

// reanswerExtension parses the answer to r and appends it again.
func reanswerExtension(r *wire.KVRequest, answer []byte) ([]byte, error) {
	again, err := reanswerDone(r, answer)
	var refused *wire.Refusal
	if errors.As(err, &refused) {
		return wire.AppendRefusal(nil, refused.Status, refused.Reason), nil
	}
	return again, err
}

// reanswerDone is reanswerExtension for requests that were not refused.
func reanswerDone(r *wire.KVRequest, answer []byte) ([]byte, error) {
	switch r.Type {
	case wire.TypeApply:
		conflict, err := wire.ParseApplied(answer, r.Conditions.N)
		if err != nil || conflict < 0 {
			return wire.AppendKVStatus(nil, wire.StatusDone), err
		}
		return wire.AppendConflict(nil, uint32(conflict)), nil
	case wire.TypeDeleteRange:
		a, err := wire.ParseDeleted(answer)
		return wire.AppendDeleted(nil, a), err
	case wire.TypeGetAt:
		value, found, err := wire.ParseValueAt(answer)
		if err != nil || found {
			return wire.AppendKVValue(nil, value), err
		}
		return wire.AppendKVStatus(nil, wire.StatusNo), nil
	case wire.TypeScan:
		a, err := wire.ParseScanned(answer, r)
		return wire.AppendScanned(nil, &a), err
	case wire.TypeSnapshot:
		snapshot, err := wire.ParseSnapshot(answer)
		return wire.AppendSnapshot(nil, snapshot), err
	case wire.TypeWatch:
		a, err := wire.ParseWatched(answer, r.Max)
		return wire.AppendWatched(nil, &a), err
	}
	return wire.AppendKVStatus(nil, wire.StatusDone), wire.ParseDone(r.Type, answer)
}

func reanswerLBS(typ uint32, answer []byte) ([]byte, error) {
	switch typ {
	case wire.TypeLBSParams:
		b, next, err := wire.ParseLBSParams(answer)
		return wire.AppendLBSParams(nil, b, next), err
	case wire.TypeLBSParams2:
		b, next, last, err := wire.ParseLBSParams2(answer)
		return wire.AppendLBSParams2(nil, b, next, last), err
	case wire.TypeLBSGet:
		block, found, err := wire.ParseLBSBlock(answer, 512)
		if err != nil || found {
			return wire.AppendLBSBlock(nil, block), err
		}
		return wire.AppendLBSStatus(nil, 1), nil
	case wire.TypeLBSAppend:
		next, done, err := wire.ParseLBSAppended(answer)
		if err != nil || done {
			return wire.AppendLBSAppended(nil, next), err
		}
		return wire.AppendLBSStatus(nil, 1), nil
	}
	return wire.AppendLBSStatus(nil, 0), wire.ParseLBSFreed(answer)
}

func reanswerS3(typ uint32, answer []byte) ([]byte, error) {
	switch typ {
	case wire.TypeS3Put, wire.TypeS3Delete:
		status, err := wire.ParseS3Status(answer)
		return wire.AppendS3Status(nil, status), err
	case wire.TypeS3Head:
		status, length, err := wire.ParseS3Head(answer)
		return wire.AppendS3Head(nil, status, length), err
	}
	status, data, err := wire.ParseS3Data(answer)
	if err != nil || data != nil {
		return wire.AppendS3Data(nil, status, data), err
	}
	return wire.AppendS3Head(nil, status, wire.S3NoLength), nil
}

func reanswerDDB(typ uint32, answer []byte) ([]byte, error) {
	if typ == wire.TypeDDBGet || typ == wire.TypeDDBGetC {
		status, value, err := wire.ParseDDBValue(answer)
		if err != nil || status == wire.DDBDone {
			return wire.AppendDDBValue(nil, value), err
		}
		return wire.AppendDDBStatus(nil, status), nil
	}
	status, err := wire.ParseDDBStatus(answer)
	return wire.AppendDDBStatus(nil, status), err
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	must.Do(t, err)
	return b
}

// TestCaptures checks that everything that the original sent decodes, and encodes back to the same
// bytes.
func TestCaptures(t *testing.T) {
	files, err := filepath.Glob("testdata/*-*.txt")
	must.Do(t, err)
	packets := 0
	for _, file := range files {
		name := filepath.Base(file)
		kind, _, _ := strings.Cut(name, "-")
		t.Run(name, func(t *testing.T) { packets += replay(t, file, services[kind]) })
	}
	if packets != packetsCaptured {
		t.Errorf("%d packets, want %d", packets, packetsCaptured)
	}
}

func replay(t *testing.T, file string, s service) (packets int) {
	text, err := os.ReadFile(file)
	must.Do(t, err)
	asked := map[uint64][]byte{} // the request with that ID
	for i, line := range strings.Split(string(text), "\n") {
		direction, digits, _ := strings.Cut(line, " ")
		if direction != ">" && direction != "<" {
			continue
		}
		packets++
		raw := unhex(t, digits)
		p, n, _, err := wire.Cut(raw, math.MaxUint32)
		if err != nil || n != len(raw) {
			t.Fatalf("line %d: cut %d of %d bytes: %v", i+1, n, len(raw), err)
		}
		if again := wire.AppendPacket(nil, p.ID, p.Record); !bytes.Equal(again, raw) {
			t.Errorf("line %d: packet comes back as %x", i+1, again)
		}
		var again []byte
		if direction == ">" {
			asked[p.ID] = bytes.Clone(p.Record)
			again, err = s.reencode(p.Record)
		} else {
			again, err = reanswer(s, p.ID, asked[p.ID], p.Record)
		}
		if err != nil || !bytes.Equal(again, p.Record) {
			t.Errorf("line %d: record %x comes back as %x, %v", i+1, p.Record, again, err)
		}
	}
	return packets
}

// addCaptured adds the packets that the original sent, or only their records, to a fuzz test.
func addCaptured(f *testing.F, direction string, add func(packet, record []byte)) {
	files, err := filepath.Glob("testdata/*-*.txt")
	if err != nil || len(files) == 0 {
		f.Fatal("no captures", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		must.Do(f, err)
		for _, line := range strings.Split(string(text), "\n") {
			digits, found := strings.CutPrefix(line, direction+" ")
			if !found {
				continue
			}
			packet, err := hex.DecodeString(digits)
			p, _, _, cutErr := wire.Cut(packet, math.MaxUint32)
			if err = errors.Join(err, cutErr); err != nil {
				f.Fatal(err)
			}
			add(packet, p.Record)
		}
	}
}

// refusedBy says where each packet of invalid.txt is refused, by its description. Those not listed
// have a badly formed record.
var refusedBy = map[string]string{
	"header checksum bit flipped":        "header",
	"ID bit flipped":                     "header",
	"16 bytes of text":                   "header",
	"standard CRC-32C instead":           "header",
	"record bit flipped":                 "checksum",
	"record checksum bit flipped":        "checksum",
	"record checksum without the xor":    "checksum",
	"APPEND with implied block size 256": "server",
	"APPEND count 1 with no data":        "server",
	"SET key of 65 bytes (limit 64)":     "server",
	"SET value of 97 bytes (limit 96)":   "server",
	"ADD key of 65 bytes":                "server",
	"MODIFY value of 97 bytes":           "server",
	"CAS new value of 97 bytes":          "server",
}

// TestInvalid checks that every packet that must end a connection is refused, and by the right
// layer.
func TestInvalid(t *testing.T) {
	text, err := os.ReadFile("testdata/invalid.txt")
	must.Do(t, err)
	seen := 0
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		seen++
		f := strings.Split(line, "\t")
		name, outcome, description := f[0], f[1], f[3]
		want := "record"
		if by := refusedBy[description]; by != "" {
			want = by
		}
		if strings.HasPrefix(outcome, "ok:") {
			want = "nobody"
		}
		if got := refuser(services[name], unhex(t, f[2])); got != want {
			t.Errorf("%s, %s: refused by %s, want %s", name, description, got, want)
		}
	}
	if seen != 43 {
		t.Errorf("%d lines, want 43", seen)
	}
}

// refuser names the layer that refuses a packet.
func refuser(s service, raw []byte) string {
	p, n, _, err := wire.Cut(raw, s.limit)
	switch {
	case errors.Is(err, wire.ErrHeaderSum):
		return "header"
	case errors.Is(err, wire.ErrRecordLong):
		return "length"
	case errors.Is(err, wire.ErrRecordSum):
		return "checksum"
	case n != len(raw):
		return "nobody, as the packet is incomplete"
	}
	again, err := s.reencode(p.Record)
	switch {
	case errors.Is(err, wire.ErrBadRecord):
		return "record"
	case err != nil:
		return err.Error()
	case !bytes.Equal(again, p.Record):
		return "nobody, but the record comes back different"
	case s.refuses(p.Record):
		return "server"
	}
	return "nobody"
}
