// Package history runs one random history of operations on a store, whatever form the store has:
// embedded, served, or behind daemons. A seed fixes the operations and their answers, so all forms
// must give the same history.
//
// The keys are divided among workers. Each worker changes only its own keys, one operation after
// the other, so it knows what every answer must be. All workers run at once. Meanwhile other
// goroutines read everything: by ranges, by snapshots and by backups. A value says which key it
// belongs to and which change wrote it. So each pair that a reader sees can be checked by itself,
// and a check of all pairs together shows whether they can have existed at one moment.
//
// Time is a clock that counts events: each operation takes one tick before it is sent and one after
// it is answered.
//
// A history has rounds. At the end of a round nothing is under way, and the store must hold exactly
// what the workers know. Then it may be closed, or killed, and opened again.
package history
