// Package daemontest runs built daemons in tests: it builds them, starts them as an operator would,
// sees how they end, and leaves none behind.
package daemontest

// Reading order: build.go, run.go.
