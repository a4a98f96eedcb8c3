package main

import (
	"maps"
	"path/filepath"
	"strings"
	"testing"
)

// TestExportAndImport checks that exported pairs can be imported unchanged, in each format.
func TestExportAndImport(t *testing.T) {
	pairs := maps.Clone(awkward)
	for i := range 256 {
		pairs["one byte "+string([]byte{byte(i)})] = "," + string([]byte{byte(i), '"'})
	}
	from := startFake(t)
	from.Replace(pairs)
	for _, form := range []string{"--format=json", "--format=csv", "--format=json --hex", "--format=csv --hex"} {
		t.Run(form, func(t *testing.T) {
			to := startFake(t)
			file := filepath.Join(t.TempDir(), "file")
			args := append([]string{"export", "-a", from.addr, "-o", file}, strings.Fields(form)...)
			kivalooRun("", args...).want(t, 0, "", "exported 261 pairs")
			onlyFiles(t, filepath.Dir(file), "file")
			kivalooRun("", "import", "-a", to.addr, "-i", file).want(t, 0, "", "imported 261 pairs")
			if !maps.Equal(pairs, to.Content()) {
				t.Errorf("got %q", to.Content())
			}
		})
	}
}

func TestExportToOutput(t *testing.T) {
	s := startFake(t, "a=1", "b\tc=\xff")
	kivalooRun("", "export", "-a", s.addr).want(t, 0, `{"key":"a","value":"1"}`+"\n"+`{"key":"b\tc","value_hex":"ff"}`+"\n", "exported 2 pairs")
	kivalooRun("", "export", "-a", s.addr, "--format", "csv", "-o", "-").want(t, 0, "key,value\na,1\nb\\tc,\\xff\n", "exported 2 pairs")
	kivalooRun("", "export", "-a", s.addr, "--format", "xml").want(t, 1, "", `invalid argument "xml" for "--format" flag: want json or csv; see`)
	kivalooRun("", "range", "-a", s.addr, "--json").want(t, 0, kivalooRun("", "export", "-a", s.addr).out, "")
}

// TestImportAndLoadOfTheWrongKind checks that an input for another command is refused with a hint,
// and that nothing is stored.
func TestImportAndLoadOfTheWrongKind(t *testing.T) {
	s := startFake(t)
	t.Setenv(addrVariable, s.addr)
	kivalooRun(awkwardDump, "import").want(t, 1, "", "the input is a dump: store its pairs with `kivaloo load`")
	kivalooRun("KVBACKUP", "import").want(t, 1, "", "the input is neither JSON")
	kivalooRun(`{"key":"a","value":"1"}`, "load").want(t, 1, "", "the input is not a dump but JSON: store its pairs with `kivaloo import`")
	kivalooRun("key,value\na,1\nb\n", "import").want(t, 1, "", "line 3: wrong number of fields; stored before it: 1 pair")
	kivalooRun(`{"key":"b","value":"`+strings.Repeat("v", 256)+`"}`, "import").want(t, 1, "", "line 1 cannot be stored: ")
	if !maps.Equal(s.Content(), map[string]string{"a": "1"}) {
		t.Errorf("stored: %q", s.Content())
	}
}
