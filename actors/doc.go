// Package actors is internal to kivaloo: other programs use package kivaloo.
//
// It has the means by which goroutines hand work to each other.
//
// An actor is one goroutine that owns its state. What reaches it comes
// through mailboxes, in batches; what it is waiting for rings its doorbell:
//
//	producer --push chain--> [Mailbox] --\
//	producer --push chain--> [Mailbox] ---+--> Doorbell --> the actor, which drains
//	                                                        all that is there at once
//
// Whoever took a message out of a mailbox owns it; pushing gives it away.
// No mailbox has a limit of its own: each is bounded by credits that its
// producers hold (see the limits of the packages that use it).
package actors

// Reading order: mailbox.go, doorbell.go, group.go, histogram.go (what actors count of themselves),
// events.go (what they tell of now and then).
