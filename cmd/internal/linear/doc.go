// Package linear checks that a store is linearizable: that every operation seems to take place at
// one moment between its call and its return, whatever other clients do, and whatever is killed or
// stopped meanwhile.
//
//	player --\                                           kivaloo serve
//	player ---+--> kivaloo.Client, or ----- socket --->  kivaloo-mux --> kivaloo-kvlds --> kivaloo-lbs
//	player --/     the keeper of a DB         pipe --->  a process with a kivaloo.DB
//	  |                                                      ^
//	  | call, return, answer                                 | kill -9, stop, start again
//	  v                                                      |
//	history --> porcupine, with the model of a few keys     test
//
// The package has only tests. Keys come in groups of two: a RANGE reads a whole group at one
// moment, and no operation touches two groups. So each group is checked by itself.
//
// An unknown outcome may be any possible one. A change that was sent and not answered may take
// effect at any time until the end, or after it, unseen, which is the same. Reads without an
// answer, and requests that were certainly not sent, are left out.
package linear

// Files in reading order: model_test.go (what a group of keys does), history_test.go (the record of
// operations), player_test.go (the requests), linear_test.go (the tests), systems_test.go and
// process_test.go (the tested systems), memory_test.go (stores with faults that must be found).
