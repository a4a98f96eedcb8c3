// Package mux is internal to kivaloo: other programs use package kivaloo.
//
// It carries many clients' requests to one server over one connection, and its
// answers back.
//
//	client --Packet--> session --[queue]--+                    +--> target
//	client --Packet--> session --[queue]--+--> Mux, a turn     |
//	client --Packet--> session --[queue]--+    for each -------+
//	                                           |  slots: who asked, under which ID
//	client <--Output-- session <---------------+<--Packet-- answers
//
// All of it runs on one event loop, so nothing is locked, and works in the loop's batches: what
// one read of a client has brought goes out in one write to the target, what one
// read of the target has brought goes out in one write to each client.
//
// A request keeps a slot until it is answered, and the slot's number is its ID at the target.
// There are as many slots as the target would serve one connection anyway. While all are
// taken requests wait in their clients' queues, and clients whose queues are full are not
// read from. Free slots are dealt out in turns, a few requests at a time, so that a
// client which asks for little need not wait for one that asks for much. The
// target is always read from: a client that takes no answers holds up itself alone.
//
// What a server of the key-value protocol would close the connection for is found here, before it
// can do so to everybody (see Rules).
//
// A source can have TLS. The loop knows nothing of it:
//
//	client --TLS--> two goroutines --socket pair--> loop
//
// Each such connection is taken off the loop when it has been accepted, and the loop gets one end
// of a pair of sockets instead. The goroutines carry bytes between the two, 16 KiB at most in
// each direction, so all the limits that the loop sets hold through them.
package mux

// Reading order: limits.go; rules.go (what a client may request) and hello.go (what the target
// accepts); mux.go (slots, turns, answers), session.go (one client), queue.go; tls.go
// (certificates), tunnel.go (one connection with TLS); complaints.go (the log), counts.go
// (counters).
