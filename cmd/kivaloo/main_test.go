package main

import (
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"kivaloo/cmd/internal/number/numbertest"
	"kivaloo/cmd/internal/version"
	"kivaloo/internal/must"
	"kivaloo/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// result is the result of a run of the program.
type result struct {
	status      int
	out, stderr string
}

func kivalooRun(stdin string, args ...string) result {
	var out, stderr strings.Builder
	status := run(args, strings.NewReader(stdin), &out, &stderr)
	return result{status, out.String(), stderr.String()}
}

// want checks a run. stderr must contain the given text, in a single line.
func (r result) want(t *testing.T, status int, out, stderr string) {
	t.Helper()
	if r.status != status || r.out != out {
		t.Errorf("exit status %d, printed %q; want %d, %q; %s", r.status, r.out, status, out, r.stderr)
	}
	if !strings.Contains(r.stderr, stderr) || stderr == "" && r.stderr != "" {
		t.Errorf("stderr %q, want %q", r.stderr, stderr)
	}
	if n := strings.Count(r.stderr, "\n"); n > 1 {
		t.Errorf("%d lines on stderr: %q", n, r.stderr)
	}
}

// TestCommands runs every command, one after the other, on one store.
func TestCommands(t *testing.T) {
	s := startFake(t)
	t.Setenv(addrVariable, s.addr)
	long := strings.Repeat("v", 255)
	for _, tc := range []struct {
		args   string // separated by spaces; ~ stands for an empty one
		stdin  string
		status int
		out    string
		stderr string
	}{
		{"get k", "", 3, "", `kivaloo: there is no key "k"`},
		{"modify k v", "", 3, "", `there is no key "k"`},
		{"set k v", "", 0, "", ""},
		{"get k", "", 0, "v\n", ""},
		{"get --raw k", "", 0, "v", ""},
		{"get --hex 6b", "", 0, "76\n", ""},
		{"get --hex --raw 6b", "", 0, "76", ""},
		{"add k w", "", 3, "", `the key "k" exists`},
		{"add l w", "", 0, "", ""},
		{"modify k x", "", 0, "", ""},
		{"cas k v y", "", 3, "", "absent or has another value"},
		{"cas k x y", "", 0, "", ""},
		{"get k", "", 0, "y\n", ""},
		{"cad k x", "", 3, "", "absent or has another value"},
		{"cad k y", "", 0, "", ""},
		{"get k", "", 3, "", "no key"},
		{"delete k", "", 0, "", ""},
		{"delete l", "", 0, "", ""},
		{"set a 1 b 2 tab 3", "", 0, "", ""},
		{"get a b", "", 0, "a\t1\nb\t2\n", ""},
		{"get a gone b lost", "", 3, "a\t1\nb\t2\n", `there are no keys "gone", "lost"`},
		{"get --json a", "", 0, `{"key":"a","value":"1"}` + "\n", ""},
		{"get --json --hex 61 62", "", 0, `{"key_hex":"61","value_hex":"31"}` + "\n" + `{"key_hex":"62","value_hex":"32"}` + "\n", ""},
		{"get --raw a b", "", 1, "", "--raw is for one KEY, and without --json"},
		{"set a", "", 1, "", "VALUE is missing"},
		{"set a 1 b", "", 1, "", `VALUE for KEY "b" is missing`},
		{"set a - b -", "x", 1, "", "only one value"},
		{"set a - b 2", "x", 0, "", ""},
		{"count", "", 0, "3\n", ""},
		{"count b", "", 0, "2\n", ""},
		{"count --json a b", "", 0, `{"count":1}` + "\n", ""},
		{"range --count --limit 2", "", 0, "2\n", ""},
		{"range --prefix t", "", 0, "tab\t3\n", ""},
		{"delete --prefix ~", "", 1, "", "--prefix is empty: say --all"},
		{"delete --range ~ ~", "", 1, "", "START and END are empty: say --all"},
		{"delete --range a", "", 1, "", "END is missing"},
		{"delete --all a", "", 1, "", `unexpected argument "a"`},
		{"delete --all --prefix a", "", 1, "", "only one of --range, --prefix and --all"},
		{"delete", "", 1, "", "KEY is missing"},
		{"delete --prefix ta", "", 0, "", "removed 1 key\n"},
		{"delete --range a b", "", 0, "", "removed 1 key\n"},
		{"set c 3 d 4 e 5", "", 0, "", ""},
		{"delete c d gone", "", 0, "", ""},
		{"delete --all", "", 0, "", "removed 2 keys\n"},
		{"count", "", 0, "0\n", ""},
		{"set k -", "from stdin\n", 0, "", ""},
		{"get --raw k", "", 0, "from stdin\n", ""},
		{"cas k - new", "from stdin\n", 0, "", ""},
		{"get k", "", 0, "new\n", ""},
		{"set k -", "", 0, "", ""},
		{"get k", "", 0, "\n", ""},
		{"set k -", long, 0, "", ""},
		{"get k", "", 0, long + "\n", ""},
		{"set k -", long + "v", 1, "", "too long"},
		{"set k -", strings.Repeat("v", 5000), 1, "", "too long"},
		{"set --hex 00ff -", " 0a 0B\n", 0, "", ""},
		{"get --hex 00FF", "", 0, "0a0b\n", ""},
		{"set --hex 00ff -", "xy", 1, "", "not in hex"},
		{"set --hex 0 00", "", 1, "", `KEY "0" is not in hex`},
		{"cas k - -", "", 1, "", "only one value"},
		{"set -- -k -v", "", 0, "", ""},
		{"get -- -k", "", 0, "-v\n", ""},
		{"set ~ ~", "", 0, "", ""},
		{"get ~", "", 0, "\n", ""},
		{"params", "", 0, "max-key 255\nmax-value 255\n", ""},
		{"params --json", "", 0, `{"max_key":255,"max_value":255}` + "\n", ""},
	} {
		args := strings.Fields(tc.args)
		for i := range args {
			if args[i] == "~" {
				args[i] = ""
			}
		}
		t.Run(tc.args, func(t *testing.T) {
			kivalooRun(tc.stdin, args...).want(t, tc.status, tc.out, tc.stderr)
		})
	}
}

func TestUsageErrors(t *testing.T) {
	for args, stderr := range map[string]string{
		"get":           "kivaloo: KEY is missing; see `kivaloo get --help`",
		"cas k v":       "NEW is missing; see `kivaloo cas --help`",
		"get -r k l":    "--raw is for one KEY",
		"range a b c":   `unexpected argument "c"`,
		"params x":      `unexpected argument "x"`,
		"get --what k":  "unknown flag: --what; see `kivaloo get --help`",
		"range -n -1":   "see `kivaloo range --help`",
		"gte k":         `there is no command "gte" (did you mean get?); see`,
		"ls":            "did you mean range?",
		"scan a":        "did you mean range?",
		"rm k":          "did you mean delete?",
		"put k v":       "did you mean set?",
		"get --hex=x k": `invalid argument "x" for --hex: want true or false; see`,
	} {
		t.Run(args, func(t *testing.T) {
			kivalooRun("", strings.Fields(args)...).want(t, 1, "", stderr)
		})
	}
}

// TestHelp checks that help works, and that every command has an example or needs none.
func TestHelp(t *testing.T) {
	r := kivalooRun("")
	for _, cmd := range newRootCommand().Commands() {
		if !strings.Contains(r.out, cmd.Name()) {
			t.Errorf("help does not list %s", cmd.Name())
		}
		if help := kivalooRun("", cmd.Name(), "--help"); help.status != 0 || !strings.Contains(help.out, "kivaloo "+cmd.Name()) {
			t.Errorf("%s --help: %+v", cmd.Name(), help)
		}
	}
	if r.status != 0 || r.stderr != "" {
		t.Errorf("%+v", r)
	}
}

func TestWhereTheServerIs(t *testing.T) {
	s := startFake(t, "k=v")
	t.Setenv(addrVariable, "/nowhere")
	kivalooRun("", "get", "--addr", s.addr, "k").want(t, 0, "v\n", "")
	kivalooRun("", "get", "k").want(t, 1, "", "cannot connect to /nowhere: no such file or directory: is `kivaloo serve` running?")
	t.Setenv(addrVariable, "")
	t.Chdir(t.TempDir())
	kivalooRun("", "get", "k").want(t, 1, "", "cannot connect to ./kivaloo-data/kivaloo.sock: no such file")
	kivalooRun("", "get", "-a", "nonsense", "k").want(t, 1, "", "cannot connect to nonsense: ")

	stale := filepath.Join(t.TempDir(), "stale.sock")
	ln, err := net.Listen("unix", stale)
	must.Do(t, err)
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	ln.Close()
	kivalooRun("", "get", "-a", stale, "k").want(t, 1, "", "connection refused: is `kivaloo serve` running?")
}

// TestConnectionLost checks that the error of a change whose outcome is unknown says so.
func TestConnectionLost(t *testing.T) {
	s := startFake(t)
	s.hangUpAt(func(r wire.KVRequest) bool { return r.Type != wire.TypeParams })
	kivalooRun("", "set", "--addr", s.addr, "k", "v").want(t, 1, "", "the server closed it: EOF (the request was sent and may have taken effect)")
	kivalooRun("", "get", "--addr", s.addr, "k").want(t, 1, "", "the server closed it: EOF\n")
	kivalooRun("", "range", "--addr", s.addr).want(t, 1, "", "the server closed it: EOF\n")
}

// failingWriter has room for some bytes.
type failingWriter struct{ room int }

func (w *failingWriter) Write(p []byte) (int, error) {
	if len(p) > w.room {
		return w.room, syscall.ENOSPC
	}
	w.room -= len(p)
	return len(p), nil
}

func TestOutputFails(t *testing.T) {
	s := startFake(t, "k=v")
	for _, args := range []string{"get k", "params", "range", "range --json", "dump", "version"} {
		if args != "version" {
			t.Setenv(addrVariable, s.addr)
		}
		var stderr strings.Builder
		status := run(strings.Fields(args), strings.NewReader(""), &failingWriter{}, &stderr)
		if status != 1 || !strings.Contains(stderr.String(), "no space left") {
			t.Errorf("%s: exit status %d, %q", args, status, stderr.String())
		}
	}
}

func TestVersion(t *testing.T) {
	r := kivalooRun("", "version")
	if r.status != 0 || !strings.HasPrefix(r.out, "kivaloo "+version.Release+" (") || !strings.Contains(r.out, "go1.") {
		t.Errorf("%+v", r)
	}
	kivalooRun("", "--version").want(t, 0, r.out, "")
	kivalooRun("", "version", "--json").want(t, 0, fmt.Sprintf("{\"version\":%q,\"go\":%q,\"platform\":%q}\n", version.Release, runtime.Version(), runtime.GOOS+"/"+runtime.GOARCH), "")
}

// TestNumbersInFlags checks that numeric flags refuse invalid and senseless numbers before anything
// is done.
func TestNumbersInFlags(t *testing.T) { numbertest.Refuses(t, newRootCommand, "limit", "from") }
