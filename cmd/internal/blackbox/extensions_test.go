package blackbox

import (
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	kv "kivaloo"
	"kivaloo/cmd/internal/blackbox/kvtest"
	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/internal/must"
	"kivaloo/wire"
	"kivaloo/wire/wiretest"
)

// through puts a kivaloo-mux in front of a server and returns its address.
func through(t *testing.T, target string, options ...string) string {
	t.Helper()
	addr := filepath.Join(daemontest.Place(t), "mux")
	args := append([]string{"-t", target, "-s", addr, "--foreground"}, options...)
	daemontest.Foreground(t, exec.Command(daemontest.Program("kivaloo-mux"), args...))
	must.Eventually(t, "the mux serves", func() bool {
		c, err := kvtest.Dial(t.Context(), addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return addr
}

// TestExtensions checks that every extension request is answered as docs/wire.md says, by each
// server and through a mux.
func TestExtensions(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		new  func(t *testing.T) system
	}{
		{"serve", func(t *testing.T) system { return newServe(t) }},
		{"serve with a small cache", func(t *testing.T) system {
			return newServe(t, "--block-size", "1024", "--cache", "2M", "--journal", "1M")
		}},
		{"serve without a journal", func(t *testing.T) system { return newServe(t, "--journal", "0") }},
		{"daemons", func(t *testing.T) system { return newDaemons(t, 2048, "-n", "10") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := c.new(t)
			s.start(t)
			must.Do(t, kvtest.Extensions(t.Context(), s.addr()))
			must.Do(t, kvtest.Extensions(t.Context(), through(t, s.addr())))
			s.stop(t)
			checkStore(t, s.dir())
		})
	}
}

// TestExtensionsThatAreNotOffered checks that a server like the original's, which answers the first
// PARAMS with 8 bytes, gets no extension request: neither from the library nor through a mux, where
// other clients depend on its connection.
func TestExtensionsThatAreNotOffered(t *testing.T) {
	t.Parallel()
	original := &wiretest.Server{}
	target, stop, err := original.Start(daemontest.Place(t))
	must.Do(t, err)
	defer stop()
	sent := make(chan uint32, 100)
	original.Hook = func(_ uint64, r wire.KVRequest) ([]byte, wiretest.Verdict) {
		if wire.IsExtension(r.Type) {
			sent <- r.Type
		}
		return nil, wiretest.Normally
	}
	front := through(t, target)
	other := connect(t, front)
	must.Do(t, other.Set("a", "b"))
	for _, addr := range []string{target, front} {
		client, err := kv.Dial(t.Context(), addr, kv.DialOptions{})
		must.Do(t, err)
		defer client.Close()
		var b kv.Batch
		b.Set([]byte("a"), []byte("c"))
		var op *kv.OpError
		if err := client.Apply(t.Context(), &b); !errors.Is(err, kv.ErrUnsupported) || !errors.As(err, &op) || op.Sent {
			t.Errorf("%s: APPLY: %v", addr, err)
		}
	}
	c := connect(t, front)
	for _, r := range extensions {
		answer, err := c.Ask(&r)
		must.Do(t, err)
		if want := "does not offer"; len(answer) < 5 || answer[3] != wire.StatusRefused || !strings.Contains(string(answer[5:]), want) {
			t.Errorf("%s: answer %q, want one with %q", wire.TypeName(r.Type), answer, want)
		}
	}
	if value, err := other.Get("a"); err != nil || string(value) != "b" {
		t.Errorf("the other client gets %q, %v", value, err)
	}
	if len(sent) > 0 {
		t.Errorf("the server was sent an extension request of type %#x", <-sent)
	}
}
