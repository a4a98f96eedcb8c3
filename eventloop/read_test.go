package eventloop_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"kivaloo/eventloop"
	"kivaloo/wire"
)

// diary is a handler that notes its calls. It refuses packets with the ID refused.
type diary struct{ calls chan string }

const refused = 99

func (d diary) Packet(id uint64, _ []byte) error {
	d.calls <- "Packet"
	if id == refused {
		return errors.New("refused")
	}
	return nil
}

func (d diary) Pushed() { d.calls <- "Pushed" }
func (d diary) Closed() { d.calls <- "Closed" }

func (d diary) Ended(why error) {
	if why == nil {
		d.calls <- "Ended"
	} else {
		d.calls <- "Ended badly"
	}
}

// TestEndedComesBeforeThePushOfItsRead checks that Ended with an error comes before the Pushed of
// the same read, and that Ended after the end of the stream comes behind it.
func TestEndedComesBeforeThePushOfItsRead(t *testing.T) {
	flipped := packet(2, 0)
	flipped[len(flipped)-1] ^= 1
	for name, test := range map[string]struct {
		input []byte // after a good packet
		close bool
		want  []string
	}{
		"refused":         {input: packet(refused, 0), want: []string{"Packet", "Packet", "Ended badly", "Pushed", "Closed"}},
		"header damaged":  {input: make([]byte, wire.HeaderSize), want: []string{"Packet", "Ended badly", "Pushed", "Closed"}},
		"record damaged":  {input: flipped, want: []string{"Packet", "Ended badly", "Pushed", "Closed"}},
		"cut off":         {input: flipped[:5], close: true, want: []string{"Packet", "Pushed", "Ended", "Closed"}},
		"nothing behind":  {close: true, want: []string{"Packet", "Pushed", "Ended", "Closed"}},
		"one more packet": {input: packet(3, 0), close: true, want: []string{"Packet", "Packet", "Pushed", "Ended", "Closed"}},
	} {
		t.Run(name, func(t *testing.T) {
			r, ln, d := start(t), listen(t, "unix"), diary{make(chan string, 10)}
			r.Serve(ln, eventloop.ServeOptions{MaxRecord: 1000, New: func(*eventloop.Conn) eventloop.Handler { return d }})
			nc := dial(t, ln)
			write(t, nc, append(packet(1, 0), test.input...))
			var got []string
			for len(got) < len(test.want) {
				select {
				case call := <-d.calls:
					got = append(got, call)
				case <-time.After(patience):
					t.Fatalf("called %v, want %v", got, test.want)
				}
				if test.close && got[len(got)-1] == "Pushed" {
					nc.Close()
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("called %v, want %v", got, test.want)
			}
		})
	}
}
