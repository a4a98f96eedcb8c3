// Package eventloop is internal to kivaloo: other programs use package kivaloo.
//
// It carries packets between sockets and their handlers.
//
// A Loop is one poller and one goroutine, which is in Run. It owns its connections: nothing else
// touches a socket. Other goroutines reach it through one mailbox, with batches of answers:
//
//	            +---------------------- Loop ----------------------+
//	            |                                                  |
//	socket --read--> [one read buffer] --cut--> Handler.Packet ... | --> the actor
//	            |           |  window shut: stop reading           |     that answers
//	            |           v                                      |
//	            |   [what is left over, per connection]            |
//	            |                                                  |
//	socket <-writev-- [queue, per connection] <--drain-- [mailbox] | <-- Conn.Send
//	            |                                                  |
//	            +--------------------------------------------------+
//
// The loop limits everything by not reading. It stops reading from a connection that is owed
// maxOwed answers, or that has maxUnsentBytes unsent, until half of that is gone. Meanwhile the
// peer's socket fills up. A listener with a full Gate does not accept. All connections together are
// limited too. The more they use, the lower is the limit of each, but each may always use a little.
// So no number of clients takes all of the memory, and a request finds few others in front of it.
//
// A record is checked as soon as its type has arrived. A long record takes memory as it arrives. If
// it needs more than what is left for all connections, only one connection at a time may receive
// such a record.
//
// The poller is edge-triggered, so paused connections cost nothing.
//
// An idle connection owns no buffer. A connection with a part of a packet owns at most twice that
// part, whatever the packet's header announces. For a very long record, the buffer has room for
// four times that part, but its unused memory is not touched.
package eventloop

// Reading order: limits.go; loop.go (the goroutine) and stop.go; listener.go, accept.go, gate.go
// and attach.go (how connections begin); conn.go (the life of a connection), read.go, buffers.go,
// window.go (when reading pauses), long.go, write.go and output.go; metrics.go (what is measured
// and counted).
