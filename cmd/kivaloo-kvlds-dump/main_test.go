package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/cmd/internal/dumpstream"
	"kivaloo/internal/must"
	"kivaloo/wire"
	"kivaloo/wire/wiretest"
)

func TestMain(m *testing.M) { daemontest.Main(m, ".", "../kivaloo") }

// result is the exit status and the output of the program.
type result struct {
	status      int // -1: killed
	out, stderr string
}

// dump runs the program.
func dump(t *testing.T, args ...string) result {
	t.Helper()
	var out bytes.Buffer
	r := dumpTo(t, &out, args...)
	r.out = out.String()
	return r
}

// dumpTo runs the program with stdout redirected.
func dumpTo(t *testing.T, stdout any, args ...string) result {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), daemontest.Program("kivaloo-kvlds-dump"), args...)
	switch w := stdout.(type) {
	case *bytes.Buffer:
		cmd.Stdout = w
	case *os.File:
		cmd.Stdout = w
	}
	r := daemontest.RunCommand(t, cmd)
	return result{status: r.Status.ExitStatus(), stderr: r.Output}
}

// want checks the status, and that stderr is one line that begins with the program's name and
// contains says, or nothing if says is empty.
func (r result) want(t *testing.T, status int, says string) {
	t.Helper()
	said := strings.HasPrefix(r.stderr, "kivaloo-kvlds-dump: ") && strings.Contains(r.stderr, says) && strings.Count(r.stderr, "\n") == 1
	if r.status != status || !said && (says != "" || r.stderr != "") {
		t.Errorf("status %d, said %q; want %d, %q", r.status, r.stderr, status, says)
	}
}

// serve serves a copy of one of the stores in testdata, and returns its address.
func serve(t *testing.T, store string) string {
	t.Helper()
	dir := daemontest.Place(t)
	must.Do(t, os.CopyFS(filepath.Join(dir, "d"), os.DirFS(filepath.Join("testdata", store))))
	daemontest.Foreground(t, exec.Command(daemontest.Program("kivaloo"), "serve", "--no-sync", "--dir", filepath.Join(dir, "d")))
	addr := filepath.Join(dir, "d", "kivaloo.sock")
	must.Eventually(t, "the server accepts connections", func() bool {
		nc, err := net.Dial("unix", addr)
		if err == nil {
			nc.Close()
		}
		return err == nil
	})
	return addr
}

// TestGoldenStores dumps stores written by the original, one of them left by a crash. The expected
// sums are those of the original program's output, or for empty strings those of the format's
// definition.
func TestGoldenStores(t *testing.T) {
	for store, want := range map[string]string{
		"s512-empty":     "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		"s512-torn-root": "635cd98bf34e475d93ca402f8318ac835ff01345d3a78ec0a98e6d7c43e8d4a9",
		"s2048-edge":     "dd03fcacb7fd13da2dda34719f1383c4581f17bb0f2a455add89357918b41be4",
	} {
		r := dump(t, "-t", serve(t, store))
		r.want(t, 0, "")
		if sum := sha256.Sum256([]byte(r.out)); hex.EncodeToString(sum[:]) != want {
			t.Errorf("%s: %d bytes, sum %x; want %s", store, len(r.out), sum, want)
		}
	}
}

func TestTree(t *testing.T) {
	addr := serve(t, "s2048-edge") // has an empty key and empty values
	dir := t.TempDir()
	dump(t, "-t", addr, "--fs", dir).want(t, 0, "")

	stream := dumpstream.NewReader(strings.NewReader(dump(t, "-t", addr).out))
	entries, err := os.ReadDir(dir)
	must.Do(t, err)
	if len(entries) != 144 {
		t.Errorf("%d directories", len(entries))
	}
	for i, e := range entries { // sorted by name, which is the order of the keys
		key, value, err := stream.Next()
		must.Do(t, err)
		k, kerr := os.ReadFile(filepath.Join(dir, e.Name(), "k"))
		v, verr := os.ReadFile(filepath.Join(dir, e.Name(), "v"))
		if e.Name() != fmt.Sprintf("%016x", i) || kerr != nil || verr != nil || !bytes.Equal(k, key) || !bytes.Equal(v, value) {
			t.Errorf("%s: %q %v, %q %v; want %d: %q, %q", e.Name(), k, kerr, v, verr, i, key, value)
		}
	}

	// Once more: over an existing tree, and into a missing directory.
	dump(t, "-t", addr, "--fs="+dir).want(t, 1, "the dump is incomplete, after 0 pairs: mkdirat 0000000000000000: file exists")
	dump(t, "-t", addr, "--fs", filepath.Join(dir, "absent")).want(t, 1, "no such file")
	dump(t, "-t", addr, "--fs", "").want(t, 1, "no such file")
}

func TestVerbose(t *testing.T) {
	addr := serve(t, "s2048-edge")
	r := dump(t, "-v", "-t", "-t", addr)
	r.want(t, 0, fmt.Sprintf("dumped 144 pairs, %d bytes, in ", len(r.out)))
}

func TestCommandLine(t *testing.T) {
	for args, says := range map[string]string{
		"":                    "option is missing -- -t",
		"-t":                  "option requires an argument -- -t",
		"-t a -t b":           "option given twice -- -t",
		"-t a -v":             "option requires an argument -- -v",
		"-t a --fs":           "option requires an argument -- --fs",
		"-t a -s b":           "illegal option -- -s",
		"-t a left":           "not an option -- left",
		"-t a --fs b --fs=c":  "option given twice -- --fs",
		"-t a --foreground":   "illegal option -- --foreground",
		"-t a --filesystem b": "illegal option -- --filesystem",
	} {
		r := dump(t, strings.Fields(args)...)
		want := "kivaloo-kvlds-dump: " + says + "\nusage: kivaloo-kvlds-dump -t <kvlds socket> [--fs <dir>] [-v <anything>]\n" +
			"       kivaloo-kvlds-dump --version\n"
		if r.status != 1 || r.out != "" || r.stderr != want {
			t.Errorf("%q: %+v", args, r)
		}
	}
	if r := dump(t, "--version"); r.status != 0 || r.out != "" || !strings.HasPrefix(r.stderr, "kivaloo-kvlds-dump ") {
		t.Errorf("%+v", r)
	}
}

func TestNoServer(t *testing.T) {
	for _, addr := range []string{"", "x", ":1", "[::1]:0", filepath.Join(t.TempDir(), "absent")} {
		if r := dump(t, "-t", addr); r.status != 1 || r.out != "" || !strings.HasPrefix(r.stderr, "kivaloo-kvlds-dump: dial at ") {
			t.Errorf("%q: %+v", addr, r)
		}
	}
}

func TestOutputFails(t *testing.T) {
	addr := serve(t, "s2048-edge")
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	must.Do(t, err)
	defer full.Close()
	dumpTo(t, full, "-t", addr).want(t, 1, "no space left on device")

	// The reader of the output has gone.
	r, w, err := os.Pipe()
	must.Do(t, err)
	r.Close()
	defer w.Close()
	dumpTo(t, w, "-t", addr).want(t, 1, "broken pipe")
}

// TestServerLost checks that the pairs received before the server disappears are written, and that
// the exit status shows that there were more.
func TestServerLost(t *testing.T) {
	addr := filepath.Join(daemontest.Place(t), "s")
	ln, err := net.Listen("unix", addr)
	must.Do(t, err)
	ended := make(chan error, 1)
	go func() {
		defer ln.Close()
		nc, err := ln.Accept()
		if err == nil {
			err = answerOnce(nc)
		}
		ended <- err
	}()
	r := dump(t, "-t", addr)
	r.want(t, 1, "the dump is incomplete, after 1 pair: ")
	if r.out != "\x01a\x011" {
		t.Errorf("wrote %q", r.out)
	}
	must.Do(t, <-ended)
}

// answerOnce answers PARAMS and the first RANGE, and closes the connection at the second.
func answerOnce(nc net.Conn) error {
	defer nc.Close()
	c := wiretest.NewConn(nc)
	ranges := 0
	for {
		p, err := c.Next()
		if err != nil {
			return err
		}
		q, err := wire.ParseKVRequest(p.Record)
		if err != nil {
			return err
		}
		record := wire.AppendKVParams(nil, 255, 255)
		if q.Type == wire.TypeRange {
			if q.Max != 1<<20 || len(q.End) != 0 {
				return fmt.Errorf("asks for %d bytes up to %q", q.Max, q.End)
			}
			if ranges++; ranges == 2 {
				if string(q.Key) != "b" {
					return fmt.Errorf("goes on at %q", q.Key)
				}
				return nil
			}
			record = wire.AppendKVPairs(nil, 1, []byte("b"), []byte("\x01a\x011"))
		} else if q.Type != wire.TypeParams {
			return errors.New("asks for " + wire.TypeName(q.Type))
		}
		if err := c.Put(wire.AppendPacket(nil, p.ID, record)); err != nil {
			return err
		}
	}
}
