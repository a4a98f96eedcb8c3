// Package kivaloo is the Go interface to a store: a durable, strongly
// consistent, ordered map of small pairs, keys and values of up to 255 bytes.
//
// Dial connects to a running server (kivaloo serve, or the kivaloo-kvlds
// daemon):
//
//	c, err := kivaloo.Dial(ctx, "./kivaloo-data/kivaloo.sock")
//	err = c.Set(ctx, []byte("greeting"), []byte("hello"))
//	value, err := c.Get(ctx, []byte("greeting"))
//
// A Client is one connection, shared by as many goroutines as like. Requests are
// numbered, so that thousands can be under way at once:
//
//	Get, Set, ... --\                 one write for
//	Get, Set, ... ---+--> out buffer --all that waits--> writer --> server
//	Pipeline --------/    (slot taken)                                |
//	     ^                                                            v
//	     +------ answer, by request number (slot freed) ------ reader <
//
// A request holds one of a fixed number of slots from the moment it is put into
// the buffer until its answer arrives, which is what bounds the memory of a Client
// and makes callers wait when the server does not keep up.
//
// What a caller can count on:
//
//   - A change that returned without an error is durable.
//   - Nothing is retried. An OpError says whether a request that failed had
//     been sent, and may thus have taken effect, or certainly had none.
//   - When a context ends, its caller stops waiting and the connection lives on.
//   - An answer that makes no sense fails the request that it is for. When the
//     stream itself cannot be trusted any more, or ends, everything outstanding fails
//     and so does every later request: Dial again.
//
// Reading order: client.go, range.go, pipeline.go, errors.go and options.go are
// the interface; call.go and conn.go carry it; limits.go has the limits.
package kivaloo
