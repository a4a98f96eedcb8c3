package lbs

import (
	"fmt"

	"kivaloo/disk"
	"kivaloo/eventloop"
	"kivaloo/wire"
)

// session is one connection.
type session struct {
	server *Server
	conn   *eventloop.Conn
	out    *eventloop.Output // answers made during the current read
	frees  bool              // server.free must be submitted after them
}

// Packet takes one request.
func (c *session) Packet(id uint64, record []byte) error {
	q, err := wire.ParseLBSRequest(record)
	if err != nil {
		return err
	}
	switch q.Type {
	case wire.TypeLBSParams, wire.TypeLBSParams2:
		return c.params(id, q.Type)
	case wire.TypeLBSGet:
		c.conn.Owe(1, c.server.blockSize+blockAnswerBytes)
		c.server.waiting.push(get{c, id, q.Block})
	case wire.TypeLBSAppend:
		return c.append(id, &q, record)
	case wire.TypeLBSFree:
		c.free(id, q.Block)
	}
	return nil
}

// params answers PARAMS and PARAMS2.
func (c *session) params(id uint64, typ uint32) error {
	if c.server.appender == c {
		return fmt.Errorf("%w: %s while an APPEND is under way", wire.ErrBadRecord, wire.TypeName(typ))
	}
	info := c.server.store.Info()
	buf := c.begin(id)
	if typ == wire.TypeLBSParams {
		buf = wire.AppendLBSParams(buf, uint32(info.BlockSize), info.Next)
	} else {
		buf = wire.AppendLBSParams2(buf, uint32(info.BlockSize), info.Next, info.Last)
	}
	c.end(buf, opParams, eventloop.StatusOK)
	return nil
}

// append starts an APPEND. It refuses it at once if it does not fit or another one is running.
func (c *session) append(id uint64, q *wire.LBSRequest, record []byte) error {
	s := c.server
	size := s.blockSize
	if q.BlockSize() != size {
		return fmt.Errorf("%w: APPEND of blocks of %d bytes, not %d", wire.ErrBadRecord, q.BlockSize(), size)
	}
	if s.appender != nil || q.Block != s.store.Info().Next {
		c.end(wire.AppendLBSStatus(c.begin(id), 1), opAppend, eventloop.StatusNotDone)
		return nil
	}
	s.appendCharge = 0
	if len(record) >= longAppendBytes {
		s.appendCharge = len(record)
	}
	c.conn.Owe(1, s.appendCharge)
	s.appendRecord = c.conn.Keep(record)
	data := s.appendRecord[wire.LBSAppendHeadLen:]
	pages := make([][]byte, q.Count)
	for i := range pages {
		pages[i] = data[i*size : (i+1)*size : (i+1)*size]
	}
	s.appender, s.appendID = c, id
	s.append = disk.Op{Kind: disk.Append, Block: q.Block, Pages: pages, Done: s.done}
	s.store.Submit(&s.append, &s.append)
	return nil
}

// free answers a FREE, and starts it unless one is running: clients repeat them.
func (c *session) free(id, block uint64) {
	c.end(wire.AppendLBSStatus(c.begin(id), 0), opFree, eventloop.StatusOK)
	if s := c.server; !s.freeing {
		s.freeing, c.frees = true, true
		s.free = disk.Op{Kind: disk.Free, Block: block, Done: s.done}
	}
}

// begin starts an immediate answer, and returns where its record must be appended.
func (c *session) begin(id uint64) []byte {
	if c.out == nil {
		c.out = c.conn.NewOutput()
	}
	return wire.Begin(c.out.Buf, id)
}

// end completes the answer at the end of buf, and counts its request.
func (c *session) end(buf []byte, op int, status eventloop.Status) {
	c.server.opts.Counts.Add(op, status, 1)
	c.out.Buf = wire.End(buf, len(c.out.Buf))
	c.out.Answered++
	c.conn.Owe(1, 0)
}

// Pushed sends the answers made during one read, and starts the requested operations.
func (c *session) Pushed() {
	if c.out != nil {
		c.conn.Send(c.out)
		c.out = nil
	}
	s := c.server
	if c.frees {
		c.frees = false
		s.store.Submit(&s.free, &s.free)
	}
	s.startReads()
}

// Ended starts the operations requested by the last read, as far as that is possible now, and drops
// the reads that cannot start.
func (c *session) Ended(error) {
	c.server.startReads()
	n := c.server.waiting.drop(c)
	c.server.opts.Counts.Add(opGet, eventloop.StatusDropped, uint64(n))
	out := c.conn.NewOutput()
	out.Answered, out.Reserved = n, n*(c.server.blockSize+blockAnswerBytes)
	c.conn.Send(out)
}

// Closed reports the end of the connection.
func (c *session) Closed() {
	s := c.server
	if s.sessions--; s.sessions == 0 && !s.stopping.IsZero() {
		s.stopIfQuiet()
	}
	if c.server.opts.Closed != nil {
		c.server.opts.Closed()
	}
}
