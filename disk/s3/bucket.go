package s3

import (
	"context"
	"errors"
)

// bucket is what this package asks of S3, one request a call. Keys are relative to the store. All
// methods may be called from any goroutine. An error that wraps none of those below may be
// temporary, unless isFatal says otherwise.
type bucket interface {
	// head returns the length of an object, and who put it.
	head(ctx context.Context, key string) (object, error)
	// get returns length bytes of an object from offset on, less where the object ends before. A
	// length of 0 means all of it.
	get(ctx context.Context, key string, offset, length int64) ([]byte, object, error)
	// put makes or replaces an object, under a condition, and returns its ETag.
	put(ctx context.Context, key string, content []byte, when condition, by putter) (etag string, err error)
	// remove deletes an object. It succeeds if there is none.
	remove(ctx context.Context, key string) error
}

// object describes an object.
type object struct {
	length int64
	etag   string
	by     putter
}

// putter is kept in an object's metadata.
type putter struct {
	id     string // of the put: no other has it
	writer string // for people: the host and process that put it, and since when that is the writer
}

// condition is what must hold for a put. The zero condition always does.
type condition struct {
	absent bool   // there is no such object
	etag   string // the object has this one, if it is not ""
}

var (
	// errNotFound: there is no such object, or it ends before what was asked for.
	errNotFound = errors.New("no such object")
	// errCondition: the condition of a put does not hold.
	errCondition = errors.New("the condition of the put does not hold")
)

// fatalError is one that the same request will get again: no such bucket, no permission.
type fatalError struct{ error }

func (e fatalError) Unwrap() error { return e.error }

// isFatal reports whether trying again is of no use.
func isFatal(err error) bool {
	return errors.As(err, &fatalError{})
}
