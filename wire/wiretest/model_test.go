package wiretest

import (
	"testing"

	"go.uber.org/goleak"

	"kivaloo/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestModel(t *testing.T) {
	m := Model{"old": "1"}
	for _, tc := range []struct {
		typ        uint32
		key        string
		old, value string
		status     uint32
		leaves     string // value of the key; "-" for none
	}{
		{wire.TypeAdd, "old", "", "2", 1, "1"},
		{wire.TypeModify, "old", "", "2", 0, "2"},
		{wire.TypeCAS, "old", "1", "3", 1, "2"},
		{wire.TypeCAS, "old", "2", "3", 0, "3"},
		{wire.TypeCAD, "old", "2", "", 1, "3"},
		{wire.TypeCAD, "old", "3", "", 0, "-"},
		{wire.TypeModify, "old", "", "4", 1, "-"},
		{wire.TypeCAS, "old", "", "4", 1, "-"},
		{wire.TypeCAD, "old", "", "", 1, "-"},
		{wire.TypeAdd, "old", "", "5", 0, "5"},
		{wire.TypeDelete, "old", "", "", 0, "-"},
		{wire.TypeDelete, "old", "", "", 0, "-"},
		{wire.TypeSet, "old", "", "", 0, ""},
	} {
		r := wire.KVRequest{Type: tc.typ, Key: []byte(tc.key), Old: []byte(tc.old), Value: []byte(tc.value)}
		status := m.Apply(&r)
		value, ok := m[tc.key]
		if !ok {
			value = "-"
		}
		if status != tc.status || value != tc.leaves {
			t.Errorf("%s old %q value %q: status %d, leaves %q; want %d, %q",
				wire.TypeName(tc.typ), tc.old, tc.value, status, value, tc.status, tc.leaves)
		}
	}
}

func TestDiff(t *testing.T) {
	m := Model{"a": "", "b": "2"}
	if diff := m.Diff(Model{"b": "2", "a": ""}); diff != "" {
		t.Error(diff)
	}
	for _, other := range []Model{{"b": "2"}, {"b": "2", "a": "x"}, {"b": "2", "a": "", "c": ""}} {
		if m.Diff(other) == "" {
			t.Errorf("no difference to %q", other)
		}
	}
}
