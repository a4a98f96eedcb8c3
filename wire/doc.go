// Package wire is internal to kivaloo: other programs use package kivaloo.
//
// It is the protocol between all programs of the store: packets, their
// checksum, the records of every request and response, and socket addresses.
//
//	bytes received --Cut--> Packet{ID, Record} --ParseKVRequest--> KVRequest
//	bytes to send <--Begin .. End-- record <--AppendKVValue-- an answer
//
// It has no state, starts no goroutine and does no input or output of its own
// except Dial and Ask. What is parsed aliases the record it came from, which aliases the
// buffer that was cut: it is valid for as long as that buffer is left alone.
// Append functions append to what they are given and return it, as append does.
// Neither allocates, except to describe an error.
//
// Everything that comes from a peer is checked for its form: what a parser
// returns without an error keeps the rules of the protocol. Rules that need the
// server's knowledge (its block size, its limits on keys) are the server's.

// Reading order: packet.go, checksum.go, limits.go, types.go, fields.go, then the
// services kvlds.go, ext.go and extanswer.go (what the original does not have), lbs.go, s3.go,
// dynamodb.go; addr.go and ask.go (how a connection begins).
package wire
