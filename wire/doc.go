// Package wire is internal to kivaloo: other programs use package kivaloo.
//
// It implements the protocol between all programs of the store: packets, their checksum, the
// records of every request and response, and socket addresses.
//
//	bytes received --Cut--> Packet{ID, Record} --ParseKVRequest--> KVRequest
//	bytes to send <--Begin .. End-- record <--AppendKVValue-- an answer
//
// The package has no state and starts no goroutine. Only Dial and Ask do input or output. A parsed
// value aliases its record, and the record aliases the buffer that it was cut from. So the value is
// valid until that buffer changes. Append functions append to their argument and return it, as
// append does. Neither parsers nor Append functions allocate, except to describe an error.
//
// Parsers check the form of everything that a peer sends. What they return without an error keeps
// the rules of the protocol. The server checks rules that depend on its block size or its limits.
package wire

// Reading order: packet.go, checksum.go, limits.go, types.go, fields.go, then the services
// kvlds.go, ext.go and extanswer.go (extensions of the original), lbs.go, s3.go, dynamodb.go;
// addr.go and ask.go (how a connection begins).
