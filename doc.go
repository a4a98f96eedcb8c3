// Package kivaloo is the Go interface to a store: a durable, strongly
// consistent, ordered map of small pairs, keys and values of up to 255 bytes.
//
// Dial connects to a running server (kivaloo serve, or the kivaloo-kvlds
// daemon):
//
//	c, err := kivaloo.Dial(ctx, "./kivaloo-data/kivaloo.sock", kivaloo.DialOptions{})
//	err = c.Set(ctx, []byte("greeting"), []byte("hello"))
//	value, err := c.Get(ctx, []byte("greeting"))
//
// Open keeps a store in the program's own process, in a directory:
//
//	db, err := kivaloo.Open("./data", kivaloo.Options{})
//
// OpenMemory makes a store that is gone after Close, for tests. All of them are a Store, with
// atomic batches and conditions, snapshots, and changes to watch, so that a program can have any. A
// DB also has checkpoints: copies made while it is in use.
//
// A server of the C original has single keys and ranges only. The rest is ErrUnsupported there.
//
// # Client
//
// A Client has one connection, shared by as many goroutines as like. Requests are
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
//     and so does every later request. DialOptions.Reconnect has later requests wait for a
//     new connection instead.
//
// # DB
//
// A DB has one goroutine that owns the tree, and a few for the block store. Reads do not go there:
//
//	Get, Range, Snapshot.Get ... --> memtables and pages in memory, on the calling goroutine
//	                                   | a page that is not in memory
//	                                   v
//	Set, Apply, ... ---------------> mailbox --> tree --> one commit of all that has arrived
//	     ^                                        |
//	     +-------- durable in the journal --------+
//
// Changes stay in a memtable until a flush writes them into pages. A Close flushes.
//
// A DB serves one process. Several processes at once can use a store that kivaloo serve keeps, each
// as a client.
package kivaloo
