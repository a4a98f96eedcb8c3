//go:build !race && !invariants

package eventloop

func mangle([]byte) {}
