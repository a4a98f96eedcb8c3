// Package eventloop is internal to kivaloo: other programs use package kivaloo.
//
// It carries packets between sockets and whoever answers them.
//
// A Loop is one poller and one goroutine, the one that called Run. It owns its
// connections: nothing else ever touches a socket. Other goroutines reach it
// through one mailbox, and only with whole batches of answers:
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
// Everything is bounded by not reading. A connection that is owed maxOwed
// answers, or that leaves maxUnsentBytes lying, is not read from until half of
// that is gone, and the peer's own socket fills up. A listener whose Gate is full
// does not accept. What all connections together have is bounded too: the more that is, the less
// one of them may have before it is not read from, but each always may have a little. So no
// number of clients takes all of the memory, and a request finds few others in front of it.
//
// A record is judged as soon as its type is there. One that is long takes memory as it comes, and
// beyond what is left for all, of one connection at a time.
//
// The poller is edge-triggered, so what is paused costs nothing.
//
// An idle connection owns no buffer. One that has sent a part of a packet owns
// at most twice that part, whatever the packet's header announces. Only of a very long record the
// buffer has room for four times that part, and then no more is touched than what has come.
package eventloop

// Reading order: limits.go; loop.go (the goroutine) and stop.go; listener.go, accept.go, gate.go
// and attach.go (how connections begin); conn.go (the life of a connection), read.go, buffers.go,
// window.go (when reading pauses), long.go, write.go and output.go; metrics.go (what is measured
// and counted).
