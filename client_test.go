package kivaloo_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kivaloo"
	"kivaloo/internal/must"
	"kivaloo/wire"
	"kivaloo/wire/wiretest"
)

func TestOperations(t *testing.T) {
	c := dialFake(t, &wiretest.Server{})
	ctx := within(t)
	const want, not = true, false
	for _, step := range []struct {
		do   string
		key  string
		args []string
		done bool
		left string // value afterwards; "absent"
	}{
		{"modify", "k", []string{"v"}, not, "absent"},
		{"add", "k", []string{"one"}, want, "one"},
		{"add", "k", []string{"two"}, not, "one"},
		{"modify", "k", []string{"three"}, want, "three"},
		{"cas", "k", []string{"one", "four"}, not, "three"},
		{"cas", "k", []string{"three", "four"}, want, "four"},
		{"cad", "k", []string{"three"}, not, "four"},
		{"cad", "k", []string{"four"}, want, "absent"},
		{"cas", "k", []string{"", "v"}, not, "absent"},
		{"set", "k", []string{"five"}, want, "five"},
		{"set", "k", []string{""}, want, ""},
		{"cad", "k", []string{""}, want, "absent"},
		{"set", "", []string{"of the empty key"}, want, "of the empty key"},
		{"delete", "", nil, want, "absent"},
		{"delete", "", nil, want, "absent"},
		{"set", strings.Repeat("\xff", 255), []string{strings.Repeat("\x00", 255)}, want, strings.Repeat("\x00", 255)},
	} {
		key, done, err := []byte(step.key), true, error(nil)
		arg := func(n int) []byte { return []byte(step.args[n]) }
		switch step.do {
		case "set":
			err = c.Set(ctx, key, arg(0))
		case "add":
			done, err = c.Add(ctx, key, arg(0))
		case "modify":
			done, err = c.Modify(ctx, key, arg(0))
		case "cas":
			done, err = c.CompareAndSwap(ctx, key, arg(0), arg(1))
		case "delete":
			err = c.Delete(ctx, key)
		case "cad":
			done, err = c.CompareAndDelete(ctx, key, arg(0))
		}
		if err != nil || done != step.done {
			t.Errorf("%s %q %q: %v, %v", step.do, step.key, step.args, done, err)
		}
		value, err := c.Get(ctx, key)
		switch {
		case step.left == "absent" && (!errors.Is(err, kivaloo.ErrNotFound) || value != nil):
			t.Errorf("after %s %q %q: got %q, %v", step.do, step.key, step.args, value, err)
		case step.left != "absent" && (err != nil || value == nil || string(value) != step.left):
			t.Errorf("after %s %q %q: got %q, %v", step.do, step.key, step.args, value, err)
		}
	}
}

// TestAppendGet checks that AppendGet keeps the content of its buffer, whether or not the key is
// found.
func TestAppendGet(t *testing.T) {
	c := dialFake(t, &wiretest.Server{})
	ctx := within(t)
	c.Set(ctx, []byte("k"), []byte("value"))
	c.Set(ctx, []byte("empty"), nil)
	for _, tc := range []struct {
		dst  []byte
		key  string
		want string
		err  error
	}{
		{nil, "k", "value", nil},
		{[]byte("its "), "k", "its value", nil},
		{[]byte("as it was"), "empty", "as it was", nil},
		{[]byte("as it was"), "absent", "as it was", kivaloo.ErrNotFound},
		{[]byte("as it was"), strings.Repeat("x", 256), "as it was", kivaloo.ErrTooLong},
	} {
		got, err := c.AppendGet(ctx, tc.dst, []byte(tc.key))
		if string(got) != tc.want || !errors.Is(err, tc.err) {
			t.Errorf("to %q of %q: %q, %v", tc.dst, tc.key, got, err)
		}
	}
	room := make([]byte, 1, 100)
	if got, _ := c.AppendGet(ctx, room, []byte("k")); &got[0] != &room[0] {
		t.Error("dst has room, but another array is returned")
	}
	if got, err := c.AppendGet(ctx, nil, []byte("absent")); got != nil {
		t.Errorf("absent, to nil: %q, %v", got, err)
	}
}

func TestParams(t *testing.T) {
	c := dialFake(t, &wiretest.Server{MaxKey: 100, MaxValue: 1 << 31})
	p, err := c.Params(within(t))
	if want := (kivaloo.Params{MaxKey: 100, MaxValue: 255}); err != nil || p != want {
		t.Errorf("got %+v, %v", p, err)
	}
}

// TestTooLong checks that too long keys and values are not sent, because a server hangs up on them.
func TestTooLong(t *testing.T) {
	var seen atomic.Int32
	s := &wiretest.Server{MaxKey: 10, MaxValue: 20, Hook: func(uint64, wire.KVRequest) ([]byte, wiretest.Verdict) {
		seen.Add(1)
		return nil, wiretest.Normally
	}}
	c := dialFake(t, s)
	ctx := within(t)
	long := func(n int) []byte { return bytes.Repeat([]byte("x"), n) }
	second := func(_ bool, err error) error { return err }
	for name, err := range map[string]error{
		"get":           func() error { _, err := c.Get(ctx, long(256)); return err }(),
		"set key":       c.Set(ctx, long(11), nil),
		"set value":     c.Set(ctx, nil, long(21)),
		"add":           second(c.Add(ctx, nil, long(21))),
		"modify":        second(c.Modify(ctx, nil, long(21))),
		"cas":           second(c.CompareAndSwap(ctx, nil, nil, long(21))),
		"cas old":       second(c.CompareAndSwap(ctx, nil, long(256), nil)),
		"cad old":       second(c.CompareAndDelete(ctx, nil, long(256))),
		"delete":        c.Delete(ctx, long(256)),
		"range":         rangeErr(c, long(256), nil),
		"range end":     rangeErr(c, nil, long(256)),
		"pipeline":      c.Pipeline(ctx).Set(nil, long(21)),
		"pipeline wait": func() error { p := c.Pipeline(ctx); p.Set(long(11), nil); return p.Wait() }(),
	} {
		var op *kivaloo.OpError
		if !errors.Is(err, kivaloo.ErrTooLong) || !errors.As(err, &op) || op.Sent {
			t.Errorf("%s: %v", name, err)
		}
	}
	if seen.Load() != 0 {
		t.Errorf("%d requests were sent", seen.Load())
	}
	// The longest that is allowed: the store's own limit does not apply to the keys of other
	// requests.
	for name, err := range map[string]error{
		"set": c.Set(ctx, long(10), long(20)),
		"cas": second(c.CompareAndSwap(ctx, long(10), long(255), long(20))),
		"cad": second(c.CompareAndDelete(ctx, long(255), long(255))),
		"del": c.Delete(ctx, long(255)),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func rangeErr(c *kivaloo.Client, start, end []byte) error {
	for _, err := range c.Range(context.Background(), start, end) {
		if err != nil {
			return err
		}
	}
	return nil
}

func TestConcurrent(t *testing.T) {
	c := dialFake(t, &wiretest.Server{}, kivaloo.DialOptions{Window: 16})
	ctx := within(t)
	var workers sync.WaitGroup
	for g := range 64 {
		workers.Go(func() {
			for i := range 100 {
				key, value := fmt.Appendf(nil, "%d/%d", g, i%7), fmt.Appendf(nil, "%d-%d", g, i)
				if err := c.Set(ctx, key, value); err != nil {
					t.Error(err)
					return
				}
				if got, err := c.Get(ctx, key); err != nil || !bytes.Equal(got, value) {
					t.Errorf("%s: got %q, %v, want %q", key, got, err, value)
					return
				}
			}
		})
	}
	workers.Wait()
}

// TestAnswersOutOfOrderInPieces checks that answers may arrive in any order and in pieces.
func TestAnswersOutOfOrderInPieces(t *testing.T) {
	const n = 10
	type asked struct {
		id uint64
		r  wire.KVRequest
	}
	var waiting []asked
	s := &wiretest.Server{}
	s.Hook = func(id uint64, r wire.KVRequest) ([]byte, wiretest.Verdict) {
		r.Key = bytes.Clone(r.Key)
		if waiting = append(waiting, asked{id, r}); len(waiting) < n {
			return nil, wiretest.WithThis
		}
		var out []byte
		for i := n - 1; i >= 0; i-- {
			out = wire.AppendPacket(out, waiting[i].id, wire.AppendKVValue(nil, waiting[i].r.Key))
		}
		s.Mu.Lock()
		nc := s.Open[0]
		s.Mu.Unlock()
		for _, b := range out {
			nc.Write([]byte{b})
		}
		return nil, wiretest.WithThis
	}
	c := dialFake(t, s)
	ctx := within(t)
	var workers sync.WaitGroup
	for i := range n {
		workers.Go(func() {
			key := fmt.Append(nil, "key ", i)
			if got, err := c.Get(ctx, key); err != nil || !bytes.Equal(got, key) {
				t.Errorf("%s: got %q, %v", key, got, err)
			}
		})
	}
	workers.Wait()
}

// TestWindow checks that callers wait while the window is full, and that a caller that gives up has
// sent nothing.
func TestWindow(t *testing.T) {
	const window = 4
	var seen atomic.Int32
	release := make(chan struct{})
	s := &wiretest.Server{Hook: func(uint64, wire.KVRequest) ([]byte, wiretest.Verdict) {
		seen.Add(1)
		<-release
		return nil, wiretest.Normally
	}}
	c := dialFake(t, s, kivaloo.DialOptions{Window: window})
	ctx := within(t)
	p := c.Pipeline(ctx)
	for range window {
		must.Do(t, p.Set([]byte("k"), []byte("v")))
	}
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	err := c.Set(short, []byte("k"), []byte("given up"))
	var op *kivaloo.OpError
	if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &op) || op.Sent {
		t.Errorf("beyond the window: %v", err)
	}
	later := make(chan error, 1)
	go func() { later <- c.Delete(ctx, []byte("other")) }()
	select {
	case err := <-later:
		t.Fatalf("beyond the window: did not wait, %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(release)
	if err := <-later; err != nil {
		t.Error(err)
	}
	if err := p.Wait(); err != nil {
		t.Error(err)
	}
	if got, err := c.Get(ctx, []byte("k")); err != nil || string(got) != "v" {
		t.Errorf("got %q, %v", got, err)
	}
	if got := seen.Load(); got != window+2 {
		t.Errorf("the server saw %d requests, want %d", got, window+2)
	}
}

// TestCancel checks that a cancelled request leaves the connection usable, and that its late answer
// is harmless.
func TestCancel(t *testing.T) {
	arrived, release := make(chan struct{}, 1), make(chan struct{})
	s := &wiretest.Server{Hook: func(_ uint64, r wire.KVRequest) ([]byte, wiretest.Verdict) {
		if r.Type == wire.TypeSet {
			arrived <- struct{}{}
			<-release
		}
		return nil, wiretest.Normally
	}}
	c := dialFake(t, s, kivaloo.DialOptions{Window: 1})
	ctx, cancel := context.WithCancel(within(t))
	go func() {
		<-arrived
		cancel()
	}()
	err := c.Set(ctx, []byte("k"), []byte("v"))
	var op *kivaloo.OpError
	if !errors.Is(err, context.Canceled) || !errors.As(err, &op) || !op.Sent || op.Op != "set" {
		t.Errorf("cancelled: %v", err)
	}
	if err := c.Set(ctx, []byte("k"), []byte("w")); !errors.Is(err, context.Canceled) || !errors.As(err, &op) || op.Sent {
		t.Errorf("cancelled before: %v", err)
	}
	close(release)
	// The late answer frees the only slot.
	if got, err := c.Get(within(t), []byte("k")); err != nil || string(got) != "v" {
		t.Errorf("afterwards: got %q, %v", got, err)
	}
}

func TestDialFailures(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	silent, err := net.Listen("unix", "silent.sock")
	must.Do(t, err)
	defer silent.Close()
	other, err := net.Listen("unix", "other.sock")
	must.Do(t, err)
	defer other.Close()
	go func() {
		nc, err := other.Accept()
		if err == nil {
			nc.Write([]byte("220 mail.example.org ESMTP ready\r\n"))
			nc.Read(make([]byte, 100))
			nc.Close()
		}
	}()
	for name, tc := range map[string]struct {
		addr string
		want error
		text string
	}{
		"absent":           {filepath.Join(dir, "absent.sock"), os.ErrNotExist, "absent.sock"},
		"relative":         {"./absent.sock", os.ErrNotExist, "absent.sock"},
		"path too long":    {"./" + strings.Repeat("x", 110), nil, "at most 107"},
		"no port":          {"localhost", nil, "port"},
		"empty":            {"", nil, "empty"},
		"silent":           {"./silent.sock", context.DeadlineExceeded, "no answer: the server is busy with another client or stopped"},
		"another protocol": {"./other.sock", kivaloo.ErrNotKivaloo, `it sends "220 mail.example`},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			c, err := kivaloo.Dial(ctx, tc.addr, kivaloo.DialOptions{})
			if err == nil {
				c.Close()
				t.Fatal("connected")
			}
			var op *kivaloo.OpError
			if !errors.As(err, &op) || tc.want != nil && !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestDialRelative(t *testing.T) {
	dir := t.TempDir()
	_, stop, err := (&wiretest.Server{}).Start(dir)
	must.Do(t, err)
	defer stop()
	t.Chdir(dir)
	c, err := kivaloo.Dial(within(t), "./fake.sock", kivaloo.DialOptions{})
	must.Do(t, err)
	c.Close()
}

func TestClose(t *testing.T) {
	arrived := make(chan struct{}, 2)
	s := &wiretest.Server{Hook: func(uint64, wire.KVRequest) ([]byte, wiretest.Verdict) {
		arrived <- struct{}{}
		return nil, wiretest.WithThis
	}}
	c := dialFake(t, s)
	ctx := within(t)
	failed := make(chan error, 2)
	go func() { _, err := c.Get(ctx, []byte("k")); failed <- err }()
	go func() { failed <- c.Set(ctx, []byte("k"), nil) }()
	<-arrived
	<-arrived
	var closers sync.WaitGroup
	for range 3 {
		closers.Go(func() {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	closers.Wait()
	var op *kivaloo.OpError
	for range 2 {
		if err := <-failed; !errors.Is(err, kivaloo.ErrClosed) || !errors.As(err, &op) || !op.Sent {
			t.Errorf("outstanding: %v", err)
		}
	}
	if err := c.Delete(ctx, []byte("k")); !errors.Is(err, kivaloo.ErrClosed) || !errors.As(err, &op) || op.Sent {
		t.Errorf("afterwards: %v", err)
	}
}

func TestOpErrorText(t *testing.T) {
	for want, err := range map[string]*kivaloo.OpError{
		"kivaloo: get at /s: gone": {Op: "get", Addr: "/s", Sent: true, Err: errors.New("gone")},
		"kivaloo: set at /s: gone": {Op: "set", Addr: "/s", Err: errors.New("gone")},
		"kivaloo: cad at /s: gone (the request was sent and may have taken effect)": {Op: "cad", Addr: "/s", Sent: true, Err: errors.New("gone")},
	} {
		if err.Error() != want {
			t.Errorf("got %q, want %q", err, want)
		}
	}
}
