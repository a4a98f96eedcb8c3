// Package linear checks that a store is linearizable: that every operation seems to take place at
// one moment between its call and its return, whoever else is at work, and whatever is killed
// or stopped meanwhile.
//
//	player --\                                           kivaloo serve
//	player ---+--> kivaloo.Client, or ----- socket --->  kivaloo-mux --> kivaloo-kvlds --> kivaloo-lbs
//	player --/     the keeper of a DB         pipe --->  a process with a kivaloo.DB
//	  |                                                      ^
//	  | call, return, answer                                 | kill -9, stop, start again
//	  v                                                      |
//	history --> porcupine, with the model of a few keys     test
//
// There is nothing but tests in it. Keys come in groups of two: a RANGE reads a whole group, at one
// moment, and no operation touches two groups, so each group is checked by itself.
//
// What is not known counts for what it may have been. A change that was sent and has no answer may
// take effect at any time until the end, or, which is the same, unseen after it. A read without an
// answer and what was certainly not sent are left out.
//
// Files in reading order: model_test.go (what a group of keys does), history_test.go (what is noted
// of an operation), player_test.go (what is asked), linear_test.go (the tests), systems_test.go and
// process_test.go (what they are run on), memory_test.go (stores with faults, which must be found).
package linear
