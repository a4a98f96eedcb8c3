// Package actors is internal to kivaloo: other programs use package kivaloo.
//
// It contains the means by which goroutines pass work to each other.
//
// An actor is one goroutine that owns its state. Its input comes in batches through mailboxes, and
// new input rings its doorbell:
//
//	producer --push chain--> [Mailbox] --\
//	producer --push chain--> [Mailbox] ---+--> Doorbell --> the actor, which drains
//	                                                        all that is there at once
//
// Taking a message out of a mailbox gives the consumer ownership, and pushing a message gives it
// away. No mailbox has a limit of its own. Credits held by its producers limit it (see the limits
// of the packages that use it).
package actors

// Reading order: mailbox.go, doorbell.go, group.go, histogram.go (what actors count), events.go
// (occasional events).
