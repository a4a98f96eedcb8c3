package s3

import (
	"context"
	"kivaloo/disk"
	"sync/atomic"
	"time"
)

// Kinds are the kinds of requests.
var Kinds = []string{"HEAD", "GET", "PUT", "DELETE"}

// counted is a bucket that counts what it is asked.
type counted struct {
	bucket
	heads, gets, puts, deletes counter
}

type counter struct {
	requests, retries, failures, bytes, nanoseconds atomic.Uint64
}

type retryKey struct{}

// asRetry marks the requests made with the context as repetitions.
func asRetry(ctx context.Context) context.Context { return context.WithValue(ctx, retryKey{}, true) }

// note counts a request that started at began. A 404 is not counted as a failure.
func (c *counter) note(ctx context.Context, began time.Time, bytes int, failed bool) {
	c.requests.Add(1)
	if ctx.Value(retryKey{}) != nil {
		c.retries.Add(1)
	}
	if failed {
		c.failures.Add(1)
	}
	c.bytes.Add(uint64(bytes))
	c.nanoseconds.Add(uint64(time.Since(began)))
}

func (c *counter) count() disk.RequestCount {
	return disk.RequestCount{
		Requests: c.requests.Load(), Retries: c.retries.Load(), Failures: c.failures.Load(),
		Bytes: c.bytes.Load(), Time: time.Duration(c.nanoseconds.Load()),
	}
}

func (c *counted) counts() disk.RequestCounts {
	return disk.RequestCounts{"HEAD": c.heads.count(), "GET": c.gets.count(), "PUT": c.puts.count(), "DELETE": c.deletes.count()}
}

func (c *counted) head(ctx context.Context, key string) (object, error) {
	began := time.Now()
	o, err := c.bucket.head(ctx, key)
	c.heads.note(ctx, began, 0, unexpected(err))
	return o, err
}

func (c *counted) get(ctx context.Context, key string, offset, length int64) ([]byte, object, error) {
	began := time.Now()
	content, o, err := c.bucket.get(ctx, key, offset, length)
	c.gets.note(ctx, began, len(content), unexpected(err))
	return content, o, err
}

func (c *counted) put(ctx context.Context, key string, content []byte, when condition, by putter) (string, error) {
	began := time.Now()
	etag, err := c.bucket.put(ctx, key, content, when, by)
	c.puts.note(ctx, began, len(content), unexpected(err))
	return etag, err
}

func (c *counted) remove(ctx context.Context, key string) error {
	began := time.Now()
	err := c.bucket.remove(ctx, key)
	c.deletes.note(ctx, began, 0, unexpected(err))
	return err
}
