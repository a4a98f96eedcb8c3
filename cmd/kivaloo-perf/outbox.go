package main

import (
	"kivaloo/eventloop"
	"kivaloo/wire"
)

// outbox collects packets for a connection, so that the packets of one read are sent in one write.
type outbox struct {
	conn *eventloop.Conn
	out  *eventloop.Output // being filled, or nil
}

// add adds a packet. Its record came on the connection from, and is valid only during the call of
// Packet there.
func (b *outbox) add(id uint64, record []byte, from *eventloop.Conn) {
	o := b.open()
	if len(record) < longRecordBytes {
		o.Buf = wire.AppendPacket(o.Buf, id, record)
		return
	}
	start := len(o.Buf)
	o.Buf = wire.AppendHeader(o.Buf, id, uint32(len(record)))
	sum := wire.NewRecordSum(o.Buf[start:])
	sum.Add(record)
	o.Pages = append(o.Pages, from.Keep(record))
	o.Tail = sum.AppendTrailer(o.Tail)
	b.flush() // nothing can follow the tail
}

// settle undoes what Owe has added on the connection, either with the packet that is added next, or
// because none will follow.
func (b *outbox) settle(requests, bytes int) {
	o := b.open()
	o.Answered += requests
	o.Reserved += bytes
}

func (b *outbox) open() *eventloop.Output {
	if b.out == nil {
		b.out = b.conn.NewOutput()
	}
	return b.out
}

// flush sends the collected packets.
func (b *outbox) flush() {
	if b.out != nil {
		b.conn.Send(b.out)
		b.out = nil
	}
}
