package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"kivaloo/cmd/internal/version"
	"kivaloo/internal/must"
)

func TestNumber(t *testing.T) {
	for _, c := range []struct {
		in   string
		want int
		bad  string // part of the error
	}{
		{in: "512", want: 512},
		{in: " \t+512", want: 512},
		{in: "0x200", want: 512},
		{in: "0X1fF", want: 511},
		{in: "01000", want: 512},
		{in: "-0x10", want: -16},
		{in: "0", want: 0},
		{in: "-0", want: 0},
		{in: "1000", want: 1000},
		{in: "1001", bad: "out of range"},
		{in: "-101", bad: "out of range"},
		{in: "99999999999999999999", bad: "out of range"},
		{in: "", bad: "not a number"},
		{in: " ", bad: "not a number"},
		{in: "0x", bad: "not a number"},
		{in: "08", bad: "not a number"},
		{in: "512 ", bad: "not a number"},
		{in: "5k", bad: "not a number"},
		{in: "0b11", bad: "not a number"},
		{in: "0o17", bad: "not a number"},
		{in: "1_000", bad: "not a number"},
		{in: "+-1", bad: "not a number"},
		{in: "--1", bad: "not a number"},
		{in: "1e2", bad: "not a number"},
	} {
		got, err := parseNumber(c.in, -100, 1000)
		check(t, c.in, got == c.want, got, err, c.bad)
	}
}

func TestReal(t *testing.T) {
	inf := math.Inf(1)
	for _, c := range []struct {
		in   string
		want float64
		bad  string
	}{
		{in: "1", want: 1},
		{in: " +.5", want: .5},
		{in: "5.", want: 5},
		{in: "1e-2", want: .01},
		{in: "0x10", want: 16},
		{in: "0x1.8p1", want: 3},
		{in: "0X.8", want: .5},
		{in: "inf", want: inf},
		{in: "INFINITY", want: inf},
		{in: "-0", want: 0},
		{in: "-1", bad: "out of range"},
		{in: "-inf", bad: "out of range"},
		{in: "nan", bad: "out of range"},
		{in: "1e999", bad: "out of range"},
		{in: "", bad: "not a number"},
		{in: "0x", bad: "not a number"},
		{in: "1_0", bad: "not a number"},
		{in: "0x_1p0", bad: "not a number"},
		{in: "1 ", bad: "not a number"},
		{in: "+-1", bad: "not a number"},
		{in: "1s", bad: "not a number"},
	} {
		got, err := parseReal(c.in, 0, inf)
		check(t, c.in, got == c.want, got, err, c.bad)
	}
}

func TestSize(t *testing.T) {
	for _, c := range []struct {
		in   string
		want uint64
		bad  string
	}{
		{in: "0", want: 0},
		{in: "1500", want: 1500},
		{in: "010", want: 10},
		{in: "1B", want: 1},
		{in: "1 B", want: 1},
		{in: "2k", want: 2000},
		{in: "2 kB", want: 2000},
		{in: "128M", want: 128_000_000},
		{in: "3GB", want: 3_000_000_000},
		{in: "4T", want: 4_000_000_000_000},
		{in: "5P", want: 5_000_000_000_000_000},
		{in: "18E", want: 18_000_000_000_000_000_000},
		{in: "1 ", want: 1},
		{in: "19E", bad: "out of range"},
		{in: "18446744073709551616", bad: "out of range"},
		{in: "", bad: "not a size"},
		{in: "k", bad: "not a size"},
		{in: "1K", bad: "not a size"},
		{in: "1kb", bad: "not a size"},
		{in: "1  k", bad: "not a size"},
		{in: "1k B", bad: "not a size"},
		{in: "1BB", bad: "not a size"},
		{in: " 1", bad: "not a size"},
		{in: "+1", bad: "not a size"},
		{in: "0x10", bad: "not a size"},
		{in: "1.5k", bad: "not a size"},
	} {
		got, err := parseSize(c.in, 0, math.MaxUint64)
		check(t, c.in, got == c.want, got, err, c.bad)
	}
	if _, err := parseSize("1k", 0, 999); err == nil {
		t.Error("1k is accepted where at most 999 is")
	}
	if _, err := parseSize("9", 10, 999); err == nil {
		t.Error("9 is accepted where at least 10 is")
	}
}

// check reports a wrong result of reading in. The result must be right (same), or an error that
// contains bad.
func check(t *testing.T, in string, same bool, got any, err error, bad string) {
	t.Helper()
	switch {
	case bad == "" && (err != nil || !same):
		t.Errorf("%q: got %v, %v", in, got, err)
	case bad != "" && (err == nil || !strings.Contains(err.Error(), bad)):
		t.Errorf("%q: got %v, %v; want an error with %q", in, got, err, bad)
	}
}

// example is a program with one option of each kind.
type example struct {
	*Program
	said   strings.Builder
	dir    string
	number int
	size   uint64
	real   float64
	quick  bool
	quiet  bool
	long   string
	many   []string
}

func newExample() *example {
	e := &example{Program: New("kivaloo-example", "-s <socket> -d <dir>\n[-1]")}
	e.base = "example"
	e.stderr = &e.said
	e.Text(&e.dir, "d")
	e.Require("d")
	e.Number(&e.number, "n", 1, 1000)
	e.Size(&e.size, "c", 0, 1e9)
	e.Size(&e.size, "C", 0, 1e9)
	e.Exclusive("c", "C")
	e.Real(&e.real, "w", 0, 1)
	e.Switch(&e.quick, "1")
	e.LongSwitch(&e.quiet, "quiet")
	e.Long("long", false, func(s string) error { e.long = s; return nil })
	e.Long("many", true, func(s string) (err error) {
		if s == "" {
			err = errors.New("empty")
		}
		e.many = append(e.many, s)
		return err
	})
	return e
}

func TestCommandLine(t *testing.T) {
	e := newExample()
	args := []string{"-1n0x10", "-s/tmp/s", "-d", "-x", "-C", "2 k", "-w", "0.5", "--foreground", "-p", "pid", "--"}
	must.Do(t, e.parse(args))
	if !e.quick || e.number != 16 || e.Socket != "/tmp/s" || e.dir != "-x" || e.size != 2000 ||
		e.real != 0.5 || !e.foreground || e.pidFile != "pid" {
		t.Errorf("got %+v", e)
	}
	if !e.Given("C") || e.Given("c") {
		t.Error("Given is wrong about -C or -c")
	}
}

func TestRepeatedOptions(t *testing.T) {
	e := newExample()
	e.ManySockets()
	args := []string{"-s", "a", "-d", "x", "--many", "1", "-sb", "--long=--many", "--quiet", "--many=2", "-s", "a"}
	must.Do(t, e.parse(args))
	if e.Socket != "a" || !slices.Equal(e.Sockets, []string{"a", "b", "a"}) ||
		e.long != "--many" || !e.quiet || !slices.Equal(e.many, []string{"1", "2"}) {
		t.Errorf("got %+v", e)
	}
}

func TestRefusedCommandLines(t *testing.T) {
	for _, c := range []struct {
		args  string
		says  string
		usage bool
	}{
		{"-s a -d b -x", "example: illegal option -- -x\n", true},
		{"-s a -d b -1x", "example: illegal option -- -x\n", true},
		{"-s a -d b --invalid", "example: illegal option -- --invalid\n", true},
		{"-s a -d b --invalid=1", "example: illegal option -- --invalid\n", true},
		{"-s a -d b --vers", "example: illegal option -- --vers\n", true},
		{"--s a -d b", "example: illegal option -- --s\n", true},
		{"---s a -d b", "example: illegal option -- ---s\n", true},
		{"-s a -d", "example: option requires an argument -- -d\n", true},
		{"-s a", "example: option is missing -- -d\n", true},
		{"-d a", "example: option is missing -- -s\n", true},
		{"-s a -d b -d b", "example: option given twice -- -d\n", true},
		{"-s a -d b -11", "example: option given twice -- -1\n", true},
		{"-s a -s b -d c", "example: option given twice -- -s\n", true},
		{"--long a --long b", "example: option given twice -- --long\n", true},
		{"--long", "example: option requires an argument -- --long\n", true},
		{"--quiet=no", "example: option takes no argument -- --quiet\n", true},
		{"--many=", "example: option --many: empty\n", false},
		{"--foreground --foreground", "example: option given twice -- --foreground\n", true},
		{"--foreground=yes", "example: option takes no argument -- --foreground\n", true},
		{"-s a -d b -1 left over", "example: not an option -- left\n", true},
		{"-s a -d b -- -1", "example: not an option -- -1\n", true},
		{"-s a -d b - -1", "example: not an option -- -\n", true},
		{"-s a -d b -c 1 -C 1", "example: options exclude each other -- -c -C\n", true},
		{"--help", "", true},
		{"-h", "", true},
		{"-s a -d b -n 0", "example: option -n: out of range: 0 is not between 1 and 1000\n", false},
		{"-s a -d b -nx", "example: option -n: not a number: \"x\"\n", false},
		{"-n x --version", "example: option -n: not a number: \"x\"\n", false},
	} {
		e := newExample()
		err := e.parse(strings.Fields(c.args))
		if err == nil {
			t.Errorf("%s: accepted", c.args)
			continue
		}
		want := c.says
		if c.usage {
			want += "usage: kivaloo-example -s <socket> -d <dir>\n" +
				"                       [-1]\n       kivaloo-example --version\n"
		}
		if status := e.refuse(err); status != 1 || e.said.String() != want {
			t.Errorf("%s: status %d, said\n%s", c.args, status, e.said.String())
		}
	}
}

func TestVersionComesFirst(t *testing.T) {
	for _, args := range []string{"--version", "-n 5 --version -x", "--version --nonsense left over"} {
		e := newExample()
		if status := e.run(strings.Fields(args), nil); status != 0 {
			t.Errorf("%s: status %d", args, status)
		}
		if want := "kivaloo-example " + version.Of().String() + "\n"; e.said.String() != want {
			t.Errorf("%s: said %q, want %q", args, e.said.String(), want)
		}
	}
}

func TestTool(t *testing.T) {
	for _, c := range []struct {
		args   string
		err    error
		status int
		says   string
	}{
		{"-v x", nil, 0, ""},
		{"", errors.New("writing pair 7: no"), 1, "example: writing pair 7: no\n"},
		{"--version", nil, 0, "kivaloo-example " + version.Of().String() + "\n"},
		{"-s a", nil, 1, "example: illegal option -- -s\nusage: kivaloo-example [-v <text>]\n       kivaloo-example --version\n"},
		{"--foreground", nil, 1, "example: illegal option -- --foreground\nusage: kivaloo-example [-v <text>]\n       kivaloo-example --version\n"},
	} {
		var said strings.Builder
		p := NewTool("kivaloo-example", "[-v <text>]")
		p.base, p.stderr = "example", &said
		p.Log = slog.New(newHandler(&said, p.base))
		var text string
		p.Text(&text, "v")
		worked := false
		status := p.work(strings.Fields(c.args), func() error { worked = true; return c.err })
		if wants := c.says == "" || c.err != nil; status != c.status || said.String() != c.says || worked != wants {
			t.Errorf("%s: status %d, said %q, worked: %v", c.args, status, said.String(), worked)
		}
	}
}

// FuzzCommandLine takes arguments, one on each line. Either they are refused with a message, or
// every option has a value within its bounds. A number must survive being written and read again.
func FuzzCommandLine(f *testing.F) {
	for _, s := range []string{"-1n0x10\n-s/tmp/s\n-d\n-x\n-C\n2 k\n-w\n0.5\n--foreground\n-p\npid\n--", "-s\na\n-d\nb\n-n\n-1", "--many=2\n--long=",
		"-h", "--version", "---s", "0x1p3", "18 EB", "-0", "inf", "1_0", "+-1", "1e-2", "0777", "18446744073709552k"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "\x00") {
			return // a NUL ends an argument
		}
		e := newExample()
		switch err := e.parse(strings.Split(text, "\n")); {
		case err != nil:
			status := e.refuse(err)
			if said := e.said.String(); !strings.HasSuffix(said, "\n") || status != exitFailed && !errors.Is(err, errVersion) {
				t.Errorf("status %d, %q", status, said)
			}
		case e.Socket == "" && !e.Given("s"), e.Given("n") && (e.number < 1 || e.number > 1000), e.size > 1e9, !(0 <= e.real && e.real <= 1):
			t.Errorf("%q gives %+v", text, e)
		}

		if v, err := parseNumber(text, -1000, 1<<40); err == nil {
			if again, err := parseNumber(fmt.Sprint(v), -1000, 1<<40); v < -1000 || v > 1<<40 || err != nil || again != v {
				t.Errorf("%q is %d, and that is %d, %v", text, v, again, err)
			}
		}
		if v, err := parseReal(text, -1000, math.MaxFloat64); err == nil {
			if again, err := parseReal(fmt.Sprint(v), -1000, math.MaxFloat64); !(v >= -1000) || err != nil || again != v {
				t.Errorf("%q is %v, and that is %v, %v", text, v, again, err)
			}
		}
		if v, err := parseSize(text, 10, 1<<60); err == nil {
			again, err := parseSize(fmt.Sprint(v), 10, 1<<60)
			digits, _ := strconv.ParseUint(strings.TrimRight(text, " kMGTPEB"), 10, 64)
			if v < 10 || v > 1<<60 || err != nil || again != v || v < digits || v%digits != 0 {
				t.Errorf("%q is %d, and that is %d, %v", text, v, again, err)
			}
		}
	})
}
