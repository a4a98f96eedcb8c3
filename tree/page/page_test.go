package page

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"kivaloo/disk"
	"kivaloo/internal/must"
)

// example is a page written by the original, byte by byte.
type example struct {
	what  string
	bytes string
	size  int
	want  parts
}

// page returns the example's bytes, in a block of 512.
func (e *example) page(t testing.TB) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(e.bytes), ""))
	must.Do(t, err)
	return append(b, make([]byte, 512-len(b))...)
}

func examples() []example {
	leafKeys, leafValues := []string{}, []string{}
	keyBytes, valueBytes := "", ""
	for i := 42; i < 84; i++ {
		leafKeys = append(leafKeys, fmt.Sprintf("%04d", i))
		leafValues = append(leafValues, [...]string{"g2", "g0", "g1", "g2", "g1", "g0"}[i%6])
		keyBytes += fmt.Sprintf("04%x", leafKeys[i-42])
		valueBytes += fmt.Sprintf("02%x", leafValues[i-42])
	}
	rootRecords := []Child{}
	for i := uint64(19); i < 26; i++ {
		rootRecords = append(rootRecords, Child{i, i, 346})
	}
	return []example{
		{
			"empty tree",
			"4b564c445300 0000 80 00 0000000000000001", 18,
			parts{root: true, nodes: 1},
		},
		{
			"root parent",
			`4b564c445300 0007 81 00 0000000000000009
			0430303432 0430303834 0430313236 0430313638 0430323130 0430323532 0430323934
			0000000000000013 0000000000000013 0000015a
			0000000000000014 0000000000000014 0000015a
			0000000000000015 0000000000000015 0000015a
			0000000000000016 0000000000000016 0000015a
			0000000000000017 0000000000000017 0000015a
			0000000000000018 0000000000000018 0000015a
			0000000000000019 0000000000000019 0000015a
			000000000000001a 000000000000001a 0000003a`, 213,
			parts{
				root: true, height: 1, nodes: 9,
				keys:    []string{"0042", "0084", "0126", "0168", "0210", "0252", "0294"},
				records: append(rootRecords, Child{26, 26, 58}),
			},
		},
		{
			"leaf with a prefix",
			"4b564c445300 002a 00 02" + keyBytes + valueBytes, 346,
			parts{prefix: 2, keys: leafKeys, values: leafValues},
		},
		{
			"parent of pages of different age",
			`4b564c445300 0006 01 04
			06303030313338 06303030313435 06303030313439 06303030313631 06303030313731 06303030313736
			0000000000000446 0000000000000446 00000176
			0000000000000447 0000000000000447 000001a7
			00000000000002f2 00000000000002f2 0000010c
			0000000000000448 0000000000000448 0000014a
			0000000000000449 0000000000000449 00000159
			000000000000044a 000000000000044a 000000d7
			00000000000002f5 00000000000002f5 000000f0`, 192,
			parts{
				height: 1, prefix: 4,
				keys: []string{"000138", "000145", "000149", "000161", "000171", "000176"},
				records: []Child{
					{1094, 1094, 374}, {1095, 1095, 423}, {754, 754, 268}, {1096, 1096, 330},
					{1097, 1097, 345}, {1098, 1098, 215}, {757, 757, 240},
				},
			},
		},
	}
}

// TestWorkedExamples parses pages of the original and encodes them again.
func TestWorkedExamples(t *testing.T) {
	for _, test := range examples() {
		t.Run(test.what, func(t *testing.T) {
			p := test.page(t)
			got := decode(t, p)
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("it is taken for %+v, want %+v", got, test.want)
			}
			if l, _ := Parse(p); l.End != test.size {
				t.Errorf("size %d, want %d", l.End, test.size)
			}
			if again := decode(t, p).encode(512); !bytes.Equal(again, p) {
				t.Errorf("it comes out as %x", again)
			}
		})
	}
}

// goodLeaf, goodParent and goodRoot return a page, and what the rest of the tree says about it.
func goodLeaf() (parts, Want) {
	a := parts{prefix: 1, keys: []string{"kb", "kc", "kd"}, values: []string{"1", "", "333"}}
	return a, Want{Block: 50, Oldest: 50, Size: uint32(a.size()), Lo: []byte("ka"), Hi: []byte("ke")}
}

func goodParent() (parts, Want) {
	a := parts{
		height: 2, prefix: 1, keys: []string{"kb", "kd"},
		records: []Child{{40, 31, 100}, {41, 30, 200}, {42, 42, 300}},
	}
	return a, Want{Block: 50, Height: 2, Oldest: 30, Size: uint32(a.size()), Lo: []byte("ka"), Hi: []byte("ke")}
}

func goodRoot() (parts, Want) {
	a := parts{root: true, nodes: 3, height: 1, keys: []string{"m"}, records: []Child{{10, 10, 100}, {49, 49, 512}}}
	return a, Want{Block: 50, Root: true}
}

// TestVerifyAccepts ensures that the pages that TestVerifyRejects damages are good.
func TestVerifyAccepts(t *testing.T) {
	for _, good := range []func() (parts, Want){goodLeaf, goodParent, goodRoot} {
		a, w := good()
		w.Exact = true
		l, err := w.Verify(a.encode(512))
		if err != nil {
			t.Errorf("%+v: %v", a, err)
		}
		if l.End != a.size() {
			t.Errorf("%+v: size %d, want %d", a, l.End, a.size())
		}
	}
	// A prefix byte that is too small is only slow.
	a, w := goodLeaf()
	a.prefix = 0
	if _, err := w.Verify(a.encode(512)); err != nil {
		t.Error(err)
	}
}

func TestVerifyRejects(t *testing.T) {
	for _, test := range []struct {
		what  string
		good  func() (parts, Want)
		parts func(a *parts)
		bytes func(p []byte)
		want  func(w *Want)
		err   string
	}{
		{what: "magic", good: goodLeaf, bytes: func(p []byte) { p[5] = 1 }, err: "not a page"},
		{what: "zeros", good: goodLeaf, bytes: func(p []byte) { clear(p) }, err: "not a page"},
		{what: "key past the page", good: goodLeaf, bytes: func(p []byte) { p[7] = 255 }, err: "runs past the page"},
		{what: "last key past the page", good: goodLeaf, bytes: func(p []byte) {
			clear(p[10:])
			p[6], p[7] = 0, 2
			p[10], p[266] = 255, 246 // the page ends one byte before the key does
		}, err: "key 1 runs past the page"},
		{what: "value past the page", good: goodLeaf, bytes: func(p []byte) {
			clear(p[10:])
			p[6], p[7] = 0, 1
			p[10], p[266] = 255, 246
		}, err: "value 0 runs past the page"},
		{what: "no room for child records", good: goodParent, bytes: func(p []byte) {
			clear(p[10:])
			p[6], p[7] = 0, 23
		}, err: "child records run past the page"},
		{what: "padding", good: goodLeaf, bytes: func(p []byte) { p[511] = 1 }, err: "are not zero"},
		{what: "padding of a parent", good: goodParent, bytes: func(p []byte) { p[511] = 1 }, err: "are not zero"},
		{what: "padding right behind the content", good: goodLeaf,
			bytes: func(p []byte) { a, _ := goodLeaf(); p[a.size()] = 1 }, err: "are not zero"},

		{what: "root where none should be", good: goodLeaf,
			parts: func(a *parts) { a.root = true }, err: "root bit is true"},
		{what: "no root where one should be", good: goodRoot,
			parts: func(a *parts) { a.root = false }, err: "root bit is false"},
		{what: "leaf instead of a parent", good: goodLeaf, want: func(w *Want) { w.Height = 1 }, err: "height 0, want 1"},
		{what: "parent instead of a leaf", good: goodParent, want: func(w *Want) { w.Height = 0 }, err: "height 2, want 0"},
		{what: "other height", good: goodParent, parts: func(a *parts) { a.height = 127 }, err: "height 127, want 2"},
		{what: "longer than recorded", good: goodLeaf, want: func(w *Want) { w.Size-- }, err: "its parent records"},
		{what: "shorter than recorded", good: goodParent, want: func(w *Want) { w.Size++ }, err: "its parent records"},
		{what: "leaf with another oldest leaf", good: goodLeaf, want: func(w *Want) { w.Oldest = 49 }, err: "oldest leaf 49"},

		{what: "keys out of order", good: goodLeaf,
			parts: func(a *parts) { slices.Reverse(a.keys) }, err: "does not follow"},
		{what: "key twice", good: goodLeaf, parts: func(a *parts) { a.keys[1] = a.keys[0] }, err: "does not follow"},
		{what: "key before its own prefix", good: goodLeaf,
			parts: func(a *parts) { a.keys[1] = "k" }, err: "does not follow"},
		{what: "separators out of order", good: goodParent,
			parts: func(a *parts) { slices.Reverse(a.keys) }, err: "does not follow"},
		{what: "key below the lower bound", good: goodLeaf,
			want: func(w *Want) { w.Lo = []byte("kbb") }, err: "lower bound"},
		{what: "key at the upper bound", good: goodLeaf, want: func(w *Want) { w.Hi = []byte("kd") }, err: "upper bound"},
		{what: "separator above the upper bound", good: goodParent,
			want: func(w *Want) { w.Hi = []byte("kc") }, err: "upper bound"},

		{what: "child at the same block", good: goodParent,
			parts: func(a *parts) { a.records[2].Block = 50 }, err: "not before its parent"},
		{what: "child after its parent", good: goodParent,
			parts: func(a *parts) { a.records[0].Block = 1 << 63 }, err: "not before its parent"},
		{what: "oldest leaf after the child", good: goodParent,
			parts: func(a *parts) { a.records[2].Oldest = 43 }, err: "oldest leaf 43"},
		{what: "leaf child with another oldest leaf", good: goodRoot,
			parts: func(a *parts) { a.records[1].Oldest = 9 }, err: "oldest leaf 9"},
		{what: "child shorter than a header", good: goodParent,
			parts: func(a *parts) { a.records[1].Size = 9 }, err: "size 9"},
		{what: "child longer than a block", good: goodParent,
			parts: func(a *parts) { a.records[1].Size = 513 }, err: "size 513"},
		{what: "oldest leaf recorded too low", good: goodParent,
			want: func(w *Want) { w.Oldest = 29 }, err: "oldest leaf below it is 30"},
		{what: "oldest leaf recorded too high", good: goodParent,
			want: func(w *Want) { w.Oldest = 31 }, err: "oldest leaf below it is 30"},
		{what: "root with a single child", good: goodRoot,
			parts: func(a *parts) { a.keys, a.records = nil, a.records[:1] }, err: "single child"},

		{what: "prefix too long", good: goodLeaf, parts: func(a *parts) { a.prefix = 2 }, err: "prefix length 2"},
		{what: "prefix without a lower bound", good: goodLeaf,
			want: func(w *Want) { w.Lo = nil }, err: "prefix length 1"},
		{what: "prefix without an upper bound", good: goodLeaf,
			want: func(w *Want) { w.Hi = nil }, err: "prefix length 1"},
		{what: "prefix of a root", good: goodRoot, parts: func(a *parts) { a.prefix = 1 }, err: "prefix length 1"},
		{what: "prefix too short, checked exactly", good: goodLeaf,
			parts: func(a *parts) { a.prefix = 0 }, want: func(w *Want) { w.Exact = true }, err: "prefix length 0"},
	} {
		t.Run(test.what, func(t *testing.T) {
			a, w := test.good()
			if test.parts != nil {
				// Only the damaged part may be wrong.
				before := a.size()
				test.parts(&a)
				w.Size += uint32(a.size() - before)
			}
			p := a.encode(512)
			if test.bytes != nil {
				test.bytes(p)
			}
			if test.want != nil {
				test.want(&w)
			}
			_, err := w.Verify(p)
			if err == nil {
				t.Fatalf("%x passes", p)
			}
			if !errors.Is(err, disk.ErrCorrupt) || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%v, want %q", err, test.err)
			}
		})
	}
}

// FuzzVerify verifies arbitrary pages. Accepted pages must be safe to use, and mean what their
// bytes say.
func FuzzVerify(f *testing.F) {
	const blockSize = 512
	for _, good := range []func() (parts, Want){goodLeaf, goodParent, goodRoot} {
		a, w := good()
		f.Add(a.encode(blockSize), w.Root, w.Height, w.Lo, w.Hi)
	}
	for _, e := range examples() {
		f.Add(e.page(f), e.want.root, 0, []byte(nil), []byte(nil))
	}
	tiny := parts{}
	for i := range 120 {
		tiny.keys, tiny.values = append(tiny.keys, string(rune(i))), append(tiny.values, "")
	}
	f.Add(tiny.encode(blockSize), false, 0, []byte(nil), []byte(nil))

	f.Fuzz(func(t *testing.T, data []byte, root bool, height int, lo, hi []byte) {
		p := make([]byte, blockSize)
		copy(p, data)
		if len(hi) == 0 {
			hi = nil
		}
		w := Want{Block: 1 << 62, Root: root, Height: height, Lo: lo, Hi: hi}
		if l, err := Parse(p); err == nil { // a parent's records cannot be random
			w.Size, w.Oldest = uint32(l.End), w.Block
			if l.Height > 0 {
				for i := range l.Keys + 1 {
					w.Oldest = min(w.Oldest, l.Child(p, i).Oldest)
				}
			}
		}
		_, err := w.Verify(p)
		if err != nil {
			if !errors.Is(err, disk.ErrCorrupt) {
				t.Errorf("not ErrCorrupt: %v", err)
			}
			return
		}
		a := decode(t, p)
		if !bytes.Equal(a.encode(blockSize), p) {
			t.Errorf("%x comes out as %x", p, a.encode(blockSize))
		}
	})
}
