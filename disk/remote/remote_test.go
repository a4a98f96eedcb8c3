package remote_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"kivaloo/disk"
	"kivaloo/disk/remote"
	"kivaloo/internal/must"
	"kivaloo/wire"
)

// TestOriginalExchange checks that the requests equal those of the original's client, byte for byte
// except for the first ID, and that the original's answers are understood.
func TestOriginalExchange(t *testing.T) {
	script, err := os.ReadFile("testdata/lbs-exchange-kvlds.txt")
	must.Do(t, err)
	conversations := strings.Split(string(script), "# connection closed")
	play := func(conversation string, client func(s *remote.Store)) {
		addr, peers := listen(t)
		ended := make(chan bool)
		go func() {
			defer close(ended)
			p := <-peers
			defer p.Close()
			first, answered := true, false
			for line := range strings.Lines(conversation) {
				direction, digits, _ := strings.Cut(strings.TrimSpace(line), " ")
				packet, err := hex.DecodeString(digits)
				if err != nil {
					continue // a comment
				}
				switch direction {
				case "<":
					if !answered {
						packet, answered = renumbered(packet, helloID), true
					}
					p.Write(packet)
				case ">":
					got := make([]byte, len(packet))
					if first {
						// The ID of the first request is one of ours. The peer returns it.
						packet, first = renumbered(packet, helloID), false
					}
					if _, err := io.ReadFull(p, got); err != nil || !bytes.Equal(got, packet) {
						t.Errorf("got  %x\nwant %x, %v", got, packet, err)
						return
					}
				}
			}
		}()
		s, err := remote.Dial(context.Background(), []wire.Addr{addr}, quiet)
		must.Do(t, err)
		client(s)
		<-ended
		closeStore(t, s)
	}
	play(conversations[0], func(s *remote.Store) {
		if info := s.Info(); info != (disk.Info{BlockSize: size, Next: 0, Last: disk.NoBlock}) {
			t.Errorf("%+v", info)
		}
		for i, page := range appendedPages(t, conversations[0]) {
			next, ok, err := disk.AppendPages(s, uint64(i), [][]byte{page})
			if err != nil || !ok || next != uint64(i)+1 {
				t.Errorf("append: next %d, ok %v, %v", next, ok, err)
			}
		}
		if info := s.Info(); info.Next != 2 || info.Last != 1 {
			t.Errorf("%+v", info)
		}
		c := newCollector()
		c.submit(s, free(1))
		if op := c.wait(t, 1)[0]; !op.OK || op.Err != nil {
			t.Errorf("free: ok %v, %v", op.OK, op.Err)
		}
	})
	play(conversations[1], func(s *remote.Store) {
		buf := make([]byte, size)
		if ok, err := disk.ReadBlock(s, 1, buf); !ok || err != nil || !bytes.Equal(buf, appendedPages(t, conversations[0])[1]) {
			t.Errorf("read: ok %v, %v", ok, err)
		}
		c := newCollector()
		c.submit(s, free(1))
		c.wait(t, 1)
	})
}

// renumbered returns a packet with another ID.
func renumbered(packet []byte, id uint64) []byte {
	p, _, _, err := wire.Cut(packet, 1<<20)
	if err != nil {
		panic(err)
	}
	return wire.AppendPacket(nil, id, p.Record)
}

// appendedPages returns the blocks appended in a conversation.
func appendedPages(t *testing.T, conversation string) (pages [][]byte) {
	for line := range strings.Lines(conversation) {
		if !strings.HasPrefix(line, "> ") {
			continue
		}
		packet, err := hex.DecodeString(strings.TrimSpace(line[2:]))
		must.Do(t, err)
		r, err := wire.ParseLBSRequest(packet[wire.HeaderSize : len(packet)-wire.TrailerSize])
		must.Do(t, err)
		if r.Type == wire.TypeLBSAppend {
			pages = append(pages, r.Data)
		}
	}
	return pages
}

// TestManyOutstanding submits operations of all kinds in one chain, and answers them in another
// order.
func TestManyOutstanding(t *testing.T) {
	s, p := dial(t, 10)
	defer closeStore(t, s)
	const appended = 2000 // more buffers than one system call accepts
	var ops []*disk.Op
	for n := range uint64(600) {
		ops = append(ops, read(n))
	}
	ops = append(ops, add(10, appended), read(3), add(99, 1), free(7))
	for i, op := range ops {
		op.Tag = uint64(i)
	}
	c := newCollector()
	c.submit(s, ops...)

	ids, seen := make([]uint64, len(ops)), make(map[uint64]bool)
	for i, op := range ops {
		id, r := p.request()
		if seen[id] {
			t.Fatalf("ID %d is used twice", id)
		}
		ids[i], seen[id] = id, true
		want := wire.LBSRequest{Block: op.Block}
		switch op.Kind {
		case disk.Read:
			want.Type = wire.TypeLBSGet
		case disk.Free:
			want.Type = wire.TypeLBSFree
		case disk.Append:
			want.Type, want.Count, want.Data = wire.TypeLBSAppend, uint32(len(op.Pages)), bytes.Join(op.Pages, nil)
		}
		if r.Type != want.Type || r.Count != want.Count || r.Block != want.Block || !bytes.Equal(r.Data, want.Data) {
			t.Fatalf("request %d: type %d, block %d, count %d, %d bytes", i, r.Type, r.Block, r.Count, len(r.Data))
		}
	}
	for i := len(ops) - 1; i >= 0; i-- {
		switch op := ops[i]; {
		case op.Kind == disk.Free:
			p.answer(ids[i], append(wire.AppendLBSStatus(nil, 0), "more"...)) // which is allowed
		case op.Kind == disk.Append && op.Block == 10:
			p.answer(ids[i], wire.AppendLBSAppended(nil, 5000)) // a store may leave numbers out
		case op.Kind == disk.Read && op.Block%2 == 0:
			p.answer(ids[i], wire.AppendLBSBlock(nil, filled(op.Block)))
		default:
			p.answer(ids[i], wire.AppendLBSStatus(nil, 1))
		}
	}
	for _, op := range c.wait(t, len(ops)) {
		wantOK := op.Kind == disk.Free || op.Kind == disk.Append && op.Block == 10 || op.Kind == disk.Read && op.Block%2 == 0
		switch {
		case op.Err != nil || op.OK != wantOK:
			t.Errorf("%d of block %d: ok %v, %v", op.Kind, op.Block, op.OK, op.Err)
		case op.Kind == disk.Read && op.OK && !bytes.Equal(op.Buf, filled(op.Block)):
			t.Errorf("block %d has the wrong content", op.Block)
		case op.Kind == disk.Append && op.OK && op.Next != 5000:
			t.Errorf("next %d", op.Next)
		}
	}
	if info := s.Info(); info.Next != 5000 || info.Last != 10+appended-1 {
		t.Errorf("%+v", info)
	}
}

// TestMalformedAnswer checks that a malformed answer fails its request and no other.
func TestMalformedAnswer(t *testing.T) {
	block := wire.AppendLBSBlock(nil, filled(0))
	tests := []struct {
		name   string
		op     func() *disk.Op
		record []byte
	}{
		{"read, empty", func() *disk.Op { return read(0) }, nil},
		{"read, short", func() *disk.Op { return read(0) }, block[:len(block)-1]},
		{"read, only a status", func() *disk.Op { return read(0) }, block[:4]},
		{"read, nothing and more", func() *disk.Op { return read(0) }, append(wire.AppendLBSStatus(nil, 1), 0)},
		{"read, strange status", func() *disk.Op { return read(0) }, wire.AppendLBSStatus(nil, 2)},
		{"append, short", func() *disk.Op { return add(5, 1) }, wire.AppendLBSAppended(nil, 6)[:11]},
		{"append, long", func() *disk.Op { return add(5, 1) }, append(wire.AppendLBSAppended(nil, 6), 0)},
		{"append, strange status", func() *disk.Op { return add(5, 1) }, wire.AppendLBSStatus(nil, 2)},
		{"free, empty", func() *disk.Op { return free(3) }, nil},
		{"free, refused", func() *disk.Op { return free(3) }, wire.AppendLBSStatus(nil, 1)},
	}
	s, p := dial(t, 5)
	defer closeStore(t, s)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := newCollector()
			c.submit(s, test.op(), read(4))
			id, _ := p.request()
			other, _ := p.request()
			p.answer(id, test.record)
			p.answer(other, wire.AppendLBSBlock(nil, filled(4)))
			ops := c.wait(t, 2)
			if ops[0].Err == nil || ops[0].OK || errors.Is(ops[0].Err, disk.ErrClosed) || !strings.Contains(ops[0].Err.Error(), p.LocalAddr().String()) {
				t.Errorf("ok %v, %v", ops[0].OK, ops[0].Err)
			}
			if ops[1].Err != nil || !ops[1].OK {
				t.Errorf("the next one: ok %v, %v", ops[1].OK, ops[1].Err)
			}
			if info := s.Info(); info.Next != 5 {
				t.Errorf("%+v", info)
			}
		})
	}
}

// TestLost checks that the end of a connection fails all outstanding and all later operations.
func TestLost(t *testing.T) {
	answer := wire.AppendPacket(nil, 1, wire.AppendLBSBlock(nil, filled(0)))
	flipped := func(at int) []byte {
		b := bytes.Clone(answer)
		b[at] ^= 1
		return b
	}
	tests := []struct {
		name  string
		sends []byte
		says  string
	}{
		{"end of stream", nil, "closed the connection"},
		{"end of stream inside an answer", answer[:100], "closed the connection"},
		{"damaged header", flipped(9), "header checksum mismatch"},
		{"damaged header, and nothing more", flipped(9)[:wire.HeaderSize], "header checksum mismatch"},
		{"damaged record", flipped(50), "record checksum mismatch"},
		{"answer to nothing", wire.AppendPacket(nil, 77, wire.AppendLBSStatus(nil, 1)), "request 77"},
		{"answer of 4 GiB", wire.AppendHeader(nil, 1, 1<<32-1), "record too long"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, p := dial(t, 5)
			c := newCollector()
			c.submit(s, read(0), read(1), add(5, 3), free(1))
			for range 4 {
				p.request()
			}
			p.Write(test.sends)
			if strings.HasPrefix(test.name, "end") {
				p.Close()
			}
			wantLost(t, s)
			c.wait(t, 4)
			c.submit(s, read(0), add(5, 1))
			c.back = append(c.back, c.wait(t, 2)...)
			for _, op := range c.back {
				if op.OK || !errors.Is(op.Err, disk.ErrClosed) || !strings.Contains(op.Err.Error(), test.says) {
					t.Errorf("%d of block %d: ok %v, %v", op.Kind, op.Block, op.OK, op.Err)
				}
			}
			closeStore(t, s)
			closeStore(t, s)
		})
	}
}

// TestLostWhile checks that an idle store notices the loss too, and so does one whose peer reads
// nothing of a large append.
func TestLostWhile(t *testing.T) {
	for name, op := range map[string]*disk.Op{"idle": nil, "sending": add(0, 40_000)} {
		t.Run(name, func(t *testing.T) {
			s, p := dial(t, 0)
			c := newCollector()
			if op != nil {
				c.submit(s, op)
			}
			p.Close()
			wantLost(t, s)
			if op != nil {
				if op := c.wait(t, 1)[0]; !errors.Is(op.Err, disk.ErrClosed) {
					t.Errorf("append: ok %v, %v", op.OK, op.Err)
				}
			}
			closeStore(t, s)
		})
	}
}

// TestSubmitBlocks checks that Submit limits the unanswered requests, and does not wait for lost
// ones.
func TestSubmitBlocks(t *testing.T) {
	const most = 4096
	for _, lose := range []bool{false, true} {
		t.Run(fmt.Sprintf("lose %v", lose), func(t *testing.T) {
			s, p := dial(t, 5)
			var ops []*disk.Op
			for range most + 300 {
				ops = append(ops, read(1))
			}
			c := newCollector()
			submitted := make(chan bool)
			go func() {
				defer close(submitted)
				c.submit(s, ops...)
			}()
			var ids []uint64
			for range most {
				id, _ := p.request()
				ids = append(ids, id)
			}
			p.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			if packet, err := p.Next(); err == nil {
				t.Errorf("request %d was sent", packet.ID)
			}
			p.SetReadDeadline(time.Now().Add(timeout))
			if lose {
				p.Close()
			} else {
				for _, id := range ids {
					p.answer(id, wire.AppendLBSStatus(nil, 1))
				}
				for range 300 {
					id, _ := p.request()
					p.answer(id, wire.AppendLBSStatus(nil, 1))
				}
			}
			<-submitted
			for _, op := range c.wait(t, len(ops)) {
				if errors.Is(op.Err, disk.ErrClosed) != lose {
					t.Fatal(op.Err)
				}
			}
			closeStore(t, s)
		})
	}
}

func TestCloseWaits(t *testing.T) {
	s, p := dial(t, 5)
	c := newCollector()
	c.submit(s, read(1), add(5, 1))
	ended := make(chan bool)
	go func() {
		defer close(ended)
		closeStore(t, s)
	}()
	one, _ := p.request()
	two, _ := p.request()
	p.answer(one, wire.AppendLBSStatus(nil, 1))
	select {
	case <-ended:
		t.Error("closed before the append was answered")
	case <-time.After(50 * time.Millisecond):
	}
	p.answer(two, wire.AppendLBSAppended(nil, 6))
	<-ended
	for _, op := range c.wait(t, 2) {
		if op.Err != nil {
			t.Errorf("%d: %v", op.Kind, op.Err)
		}
	}
	select {
	case <-s.Lost():
		t.Error("closing was taken for a loss")
	default:
	}
	if _, err := p.Next(); err != io.EOF {
		t.Errorf("the peer sees %v", err)
	}
}

// TestBadOperations checks that operations for which the peer would close the connection are not
// sent.
func TestBadOperations(t *testing.T) {
	s, p := dial(t, 5)
	defer closeStore(t, s)
	short := add(5, 2)
	short.Pages[1] = short.Pages[1][1:]
	long := &disk.Op{Kind: disk.Append, Block: 5, Pages: make([][]byte, 1<<32/size)}
	c := newCollector()
	c.submit(s, &disk.Op{Kind: disk.Read, Buf: make([]byte, size-1)}, add(5, 0), short, long)
	for _, op := range c.wait(t, 4) {
		if op.Err == nil || op.OK {
			t.Errorf("%d: ok %v, %v", op.Kind, op.OK, op.Err)
		}
	}
	c.submit(s, read(1))
	if id, r := p.request(); r.Type != wire.TypeLBSGet {
		t.Errorf("%+v was sent", r)
	} else {
		p.answer(id, wire.AppendLBSStatus(nil, 1))
	}
	c.wait(t, 1)
}

func TestDialErrors(t *testing.T) {
	good := wire.AppendLBSParams2(nil, size, 5, 4)
	tests := []struct {
		name   string
		answer []byte
		says   string
	}{
		{"end of stream", nil, "closed the connection"},
		{"end of stream inside the answer", wire.AppendPacket(nil, helloID, good)[:30], "closed the connection"},
		{"another service", []byte("HTTP/1.1 400 Bad Request\r\n"), "this is not a kivaloo server: it speaks HTTP"},
		{"long answer", wire.AppendHeader(nil, helloID, 1<<30), "record too long"},
		{"damaged", append(wire.AppendPacket(nil, helloID, good)[:39], 0), "record checksum mismatch"},
		{"other request", wire.AppendPacket(nil, 9, good), "this is not a kivaloo server: it sends "},
		{"short", wire.AppendPacket(nil, helloID, good[:12]), "badly formed"},
		{"block size too small", wire.AppendPacket(nil, helloID, wire.AppendLBSParams2(nil, 511, 5, 4)), "block size 511"},
		{"block size too large", wire.AppendPacket(nil, helloID, wire.AppendLBSParams2(nil, 131073, 5, 4)), "block size 131073"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			addr, peers := listen(t)
			go func() {
				p := <-peers
				p.request()
				p.Write(test.answer)
				p.Close()
			}()
			_, err := remote.Dial(context.Background(), []wire.Addr{addr}, quiet)
			if err == nil || !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), addr.Name) {
				t.Errorf("error %v, want one about %q", err, test.says)
			}
		})
	}
	t.Run("nobody", func(t *testing.T) {
		missing := wire.Addr{Name: "/missing", Network: "unix", Address: t.TempDir() + "/missing"}
		if _, err := remote.Dial(context.Background(), []wire.Addr{missing}, quiet); err == nil {
			t.Error("no error")
		}
	})
	t.Run("silent peer", func(t *testing.T) {
		addr, peers := listen(t)
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		if _, err := remote.Dial(ctx, []wire.Addr{addr}, quiet); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		(<-peers).Close()
	})
}
