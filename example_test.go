package kivaloo_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	"kivaloo"
)

// startServer stands in for `kivaloo serve`.
func startServer() (addr string, stop func()) {
	dir, err := os.MkdirTemp("", "kivaloo")
	if err != nil {
		log.Fatal(err)
	}
	addr, stopServer, err := (&fakeServer{}).start(dir)
	if err != nil {
		log.Fatal(err)
	}
	return addr, func() {
		stopServer()
		os.RemoveAll(dir)
	}
}

func ExampleDial() {
	addr, stop := startServer() // with a real server: "./kivaloo-data/kivaloo.sock"
	defer stop()
	ctx := context.Background()

	c, err := kivaloo.Dial(ctx, addr)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	if err := c.Set(ctx, []byte("greeting"), []byte("hello")); err != nil {
		log.Fatal(err)
	}
	value, err := c.Get(ctx, []byte("greeting"))
	fmt.Printf("%s, %v\n", value, err)
	_, err = c.Get(ctx, []byte("farewell"))
	fmt.Println(errors.Is(err, kivaloo.ErrNotFound))
	// Output:
	// hello, <nil>
	// true
}

// A counter that many can increment at once: read, then swap if nobody was faster.
func ExampleClient_CompareAndSwap() {
	addr, stop := startServer()
	defer stop()
	ctx := context.Background()
	c, err := kivaloo.Dial(ctx, addr)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	key := []byte("visits")
	c.Add(ctx, key, []byte("41"))
	for {
		old, err := c.Get(ctx, key)
		if err != nil {
			log.Fatal(err)
		}
		var n int
		fmt.Sscan(string(old), &n)
		swapped, err := c.CompareAndSwap(ctx, key, old, fmt.Append(nil, n+1))
		if err != nil {
			log.Fatal(err)
		}
		if swapped {
			fmt.Println(n + 1)
			return
		}
	}
	// Output: 42
}

func ExampleClient_Range() {
	addr, stop := startServer()
	defer stop()
	ctx := context.Background()
	c, err := kivaloo.Dial(ctx, addr)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	for _, name := range []string{"user/bob", "user/alice", "user0", "team/red"} {
		c.Set(ctx, []byte(name), []byte("x"))
	}

	// All keys that begin with "user/": '0' is the character after '/'.
	for pair, err := range c.Range(ctx, []byte("user/"), []byte("user0")) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s\n", pair.Key)
	}
	// Output:
	// user/alice
	// user/bob
}

func ExampleClient_Pipeline() {
	addr, stop := startServer()
	defer stop()
	ctx := context.Background()
	c, err := kivaloo.Dial(ctx, addr)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	p := c.Pipeline(ctx)
	for i := range 100_000 {
		if p.Set(fmt.Appendf(nil, "key %06d", i), fmt.Append(nil, i)) != nil {
			break // Wait returns the error
		}
	}
	if err := p.Wait(); err != nil {
		log.Fatal(err)
	}
	value, err := c.Get(ctx, []byte("key 099999"))
	fmt.Printf("%s, %v\n", value, err)
	// Output: 99999, <nil>
}
