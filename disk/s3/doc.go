// Package s3 is internal to kivaloo: other programs use package kivaloo.
//
// It is a disk.Store in a bucket of Amazon S3, or of a service that speaks its protocol.
//
//	Submit --reads---> [queue] --> readers ----GET Range---->+
//	       --append--> appender ---PUT If-None-Match: *----->| bucket
//	       --free----> janitor ----DELETE, PUT of nothing--->+
//
// One append is one object. Object N holds the blocks from (N-1)<<24 on, so block numbers have
// gaps. Names, numbers and the marker of what is deleted are those of the original's lbs-s3, so
// that either program opens what the other wrote.
//
// Whoever opens the store claims it: it puts a fence, an empty object, behind the last one. An
// object is only put where none is, so the put that an earlier writer still has under way fails,
// and so does each later one: that writer is fenced, and stops. Fences are never deleted. S3
// decides who may write, no clock does.
//
// A put that was repeated can meet its own success. The ID in the object's metadata tells.
package s3

// Files in reading order: store.go (the store), reader.go, appender.go, janitor.go (what its
// goroutines do), claim.go, names.go, settings.go (who may write), bucket.go (what is asked of S3),
// retry.go, aws.go, counts.go, limits.go.
