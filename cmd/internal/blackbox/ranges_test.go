package blackbox

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kivaloo/cmd/internal/blackbox/kvtest"
	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/internal/must"
	"kivaloo/wire/wiretest"
)

// fillAwkward stores n pairs, and some more with awkward keys, and returns them.
func fillAwkward(t *testing.T, addr string, n int) wiretest.Model {
	t.Helper()
	m := make(wiretest.Model)
	for _, s := range []string{"", "\x00", "\xff", "\xff\xff", "a,b\"c", "a\\b", "tab\tline\nreturn\r", "é"} {
		m[s] = s
	}
	for i := range n {
		m[fmt.Sprintf("%c%c%02x", "ab\xff"[i%3], "\x00x\xff"[i%7%3], i)] = fmt.Sprint(i)
	}
	c, err := kvtest.Dial(t.Context(), addr)
	must.Do(t, err)
	defer c.Close() // kivaloo-kvlds serves one connection at a time
	for key, value := range m {
		must.Do(t, c.Set(key, value))
	}
	return m
}

// TestRangeOptions checks that "kivaloo range" prints the right pairs in the right order, with any
// bounds, prefix, limit and direction, and that --count counts them.
func TestRangeOptions(t *testing.T) {
	t.Parallel()
	onBoth(t, 2048, func(t *testing.T, s system) {
		s.start(t)
		m := fillAwkward(t, s.addr(), 100)
		keys := m.Keys()
		const seed = 1
		rnd := rand.New(rand.NewPCG(seed, seed))
		some := func() string { // often a key or the beginning of one
			key := keys[rnd.IntN(len(keys))]
			return key[:rnd.IntN(len(key)+1)]
		}
		for i := range 40 {
			start, end, prefix, limit, reverse := some(), some(), "", 0, i%4 < 2
			if i%2 == 0 {
				prefix, start = some(), ""
			}
			if i%3 == 0 {
				end = ""
			}
			if i%5 > 0 {
				limit = rnd.IntN(8)
			}
			want := slices.DeleteFunc(m.Between(start, end), func(key string) bool { return !strings.HasPrefix(key, prefix) })
			if reverse {
				slices.Reverse(want)
			}
			if limit > 0 {
				want = want[:min(limit, len(want))]
			}
			var lines strings.Builder
			for _, key := range want {
				fmt.Fprintf(&lines, "%x\t%x\n", key, m[key])
			}
			bounds := []string{"-a", s.addr(), "--hex", "--prefix", fmt.Sprintf("%x", prefix), fmt.Sprintf("%x", start), fmt.Sprintf("%x", end)}
			args := append([]string{"range", "--limit", fmt.Sprint(limit), fmt.Sprintf("--reverse=%t", reverse)}, bounds...)
			if r := kivaloo(t, "", args...); r.status != 0 || r.out != lines.String() {
				t.Errorf("kivaloo %q: status %#x, %sgot\n%swant\n%s", args, r.status, r.stderr, r.out, &lines)
			}
			kivaloo(t, "", append(args, "--count")...).want(t, 0, fmt.Sprintln(len(want)), "")
			if limit == 0 {
				kivaloo(t, "", append([]string{"count"}, bounds...)...).want(t, 0, fmt.Sprintln(len(want)), "")
			}
		}
	})
}

// TestExportIntoImport checks that importing an export gives the same store, in each form and
// through a pipe.
func TestExportIntoImport(t *testing.T) {
	t.Parallel()
	from := newServe(t)
	from.start(t)
	m := fillAwkward(t, from.addr(), 2000)
	for _, form := range []string{"json", "csv", "json --hex", "csv --hex"} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			to := newServe(t)
			to.start(t)
			command := daemontest.Program("kivaloo")
			move := exec.Command("sh", "-c", command+" export -a $0 --format "+form+" | "+command+" import -a $1", from.addr(), to.addr())
			r := runCommand(t, move)
			if r.status != 0 || !strings.Contains(r.stderr, "exported 2008 pairs") || !strings.Contains(r.stderr, "imported 2008 pairs") {
				t.Fatalf("status %#x, said %q", r.status, r.stderr)
			}
			mustHold(t, to.addr(), m)
			again := filepath.Join(to.place, "again")
			kivaloo(t, "", append([]string{"export", "-a", to.addr(), "-o", again, "--format"}, strings.Fields(form)...)...).want(t, 0, "", "exported 2008 pairs")
			text, err := os.ReadFile(again)
			must.Do(t, err)
			kivaloo(t, "", append([]string{"export", "-a", from.addr(), "--format"}, strings.Fields(form)...)...).want(t, 0, string(text), "exported 2008 pairs")
		})
	}
}
