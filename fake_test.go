package kivaloo_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"kivaloo"
	"kivaloo/internal/must"
	"kivaloo/wire/wiretest"
)

// dialFake starts s and returns a connected client, with options o if given. The end of the test
// closes both.
func dialFake(t *testing.T, s *wiretest.Server, o ...kivaloo.DialOptions) *kivaloo.Client {
	t.Helper()
	path, stop, err := s.Start(t.TempDir())
	must.Do(t, err)
	t.Cleanup(stop)
	c, err := kivaloo.Dial(t.Context(), path, slices.Concat(o, []kivaloo.DialOptions{{}})[0])
	must.Do(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// within returns a context that ends a hanging test.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}
