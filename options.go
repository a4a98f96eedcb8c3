package kivaloo

// Option changes how Dial sets up a Client.
type Option func(*options)

type options struct {
	window int // requests that can be outstanding, 1 to MaxOutstanding
}

// WithWindow sets how many requests can be outstanding before callers wait:
// 1 to MaxOutstanding, which is the default. Numbers outside are moved inside.
func WithWindow(n int) Option {
	return func(o *options) { o.window = min(max(n, 1), MaxOutstanding) }
}
