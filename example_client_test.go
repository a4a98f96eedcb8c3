package kivaloo_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"kivaloo"
)

func ExampleDial() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second) // to connect
	defer cancel()
	c, err := kivaloo.Dial(ctx, serverAddr, kivaloo.DialOptions{}) // with a real server: "./kivaloo-data/kivaloo.sock"
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	if err := c.Set(ctx, []byte("greeting"), []byte("hello")); err != nil {
		log.Fatal(err)
	}
	value, err := c.Get(ctx, []byte("greeting"))
	fmt.Printf("%s, %v\n", value, err)
	// Output: hello, <nil>
}

// dial connects to the server of the examples.
func dial() *kivaloo.Client {
	c, err := kivaloo.Dial(context.Background(), serverAddr, kivaloo.DialOptions{})
	if err != nil {
		log.Fatal(err)
	}
	return c
}

// A service connects once, and goes on when its server is restarted.
func ExampleDialOptions_reconnect() {
	c, err := kivaloo.Dial(context.Background(), serverAddr, kivaloo.DialOptions{Reconnect: true})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	// While there is no connection a request waits for the next, so a deadline is
	// what makes it fail.
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	fmt.Println(c.Set(ctx, []byte("visits"), []byte("1")))
	// Output: <nil>
}

// A client of a server in the network, with a certificate that the server knows.
func ExampleDialOptions_tls() {
	certificate, err := tls.LoadX509KeyPair("client.pem", "client-key.pem")
	if err != nil {
		log.Fatal(err)
	}
	authority, err := os.ReadFile("authority.pem")
	if err != nil {
		log.Fatal(err)
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(authority)

	c, err := kivaloo.Dial(context.Background(), "db.example.org:9000", kivaloo.DialOptions{TLS: &tls.Config{
		Certificates: []tls.Certificate{certificate},
		RootCAs:      trusted,
	}})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
}

func ExampleDialOptions_window() {
	// At most 16 requests at a time, so that this client leaves room for others.
	c, err := kivaloo.Dial(context.Background(), serverAddr, kivaloo.DialOptions{Window: 16})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()

	fmt.Println(c.Set(context.Background(), []byte("modest"), []byte("yes")))
	// Output: <nil>
}

func ExampleClient_Get() {
	ctx := context.Background()
	c := dial()
	defer c.Close()
	c.Set(ctx, []byte("capital/france"), []byte("Paris"))

	for _, country := range []string{"france", "atlantis"} {
		value, err := c.Get(ctx, []byte("capital/"+country))
		switch {
		case errors.Is(err, kivaloo.ErrNotFound):
			fmt.Println("no capital of", country)
		case err != nil:
			log.Fatal(err)
		default:
			fmt.Printf("%s is the capital of %s\n", value, country)
		}
	}
	// Output:
	// Paris is the capital of france
	// no capital of atlantis
}

// A loop that reads a great many values into the same memory.
func ExampleClient_AppendGet() {
	ctx := context.Background()
	c := dial()
	defer c.Close()
	c.Set(ctx, []byte("word/1"), []byte("one"))
	c.Set(ctx, []byte("word/2"), []byte("two"))

	var buf []byte
	for i := range 3 {
		var err error
		buf, err = c.AppendGet(ctx, buf[:0], fmt.Appendf(nil, "word/%d", i))
		if errors.Is(err, kivaloo.ErrNotFound) {
			continue
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s\n", buf)
	}
	// Output:
	// one
	// two
}

// What to do when an answer does not come: the error tells whether the change may
// have been made.
func ExampleClient_Set() {
	c := dial()
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()

	err := c.Set(ctx, []byte("greeting"), []byte("hello"))
	var op *kivaloo.OpError
	switch {
	case err == nil:
		fmt.Println("it is durable")
	case errors.As(err, &op) && op.Sent:
		fmt.Println("it may have been stored; to set it again does no harm:", err)
	default:
		fmt.Println("it has not been stored:", err)
	}
	// Output: it is durable
}

func ExampleClient_Delete() {
	ctx := context.Background()
	c := dial()
	defer c.Close()
	c.Set(ctx, []byte("session/42"), []byte("alice"))

	fmt.Println(c.Delete(ctx, []byte("session/42")))
	fmt.Println(c.Delete(ctx, []byte("session/42"))) // absent now, which is what was wanted
	// Output:
	// <nil>
	// <nil>
}

// Of many who want a name, one gets it.
func ExampleClient_Add() {
	ctx := context.Background()
	c := dial()
	defer c.Close()

	for _, who := range []string{"alice", "bob"} {
		added, err := c.Add(ctx, []byte("name/ace"), []byte(who))
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(who, added)
	}
	// Output:
	// alice true
	// bob false
}

func ExampleClient_Modify() {
	ctx := context.Background()
	c := dial()
	defer c.Close()
	c.Set(ctx, []byte("color/sky"), []byte("blue"))

	modified, err := c.Modify(ctx, []byte("color/sky"), []byte("grey"))
	fmt.Println(modified, err)
	modified, err = c.Modify(ctx, []byte("color/nothing"), []byte("grey"))
	fmt.Println(modified, err)
	// Output:
	// true <nil>
	// false <nil>
}

// A counter that many can increment at once: read, then swap if nobody was faster.
func ExampleClient_CompareAndSwap() {
	ctx := context.Background()
	c := dial()
	defer c.Close()
	key := []byte("counter")
	c.Set(ctx, key, []byte("41"))

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

// A lock that is given back only by who has it.
func ExampleClient_CompareAndDelete() {
	ctx := context.Background()
	c := dial()
	defer c.Close()
	c.Set(ctx, []byte("lock"), []byte("alice"))

	for _, who := range []string{"bob", "alice"} {
		deleted, err := c.CompareAndDelete(ctx, []byte("lock"), []byte(who))
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(who, deleted)
	}
	// Output:
	// bob false
	// alice true
}

func ExampleClient_Range() {
	ctx := context.Background()
	c := dial()
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

func ExampleClient_Params() {
	c := dial()
	defer c.Close()

	limits, err := c.Params(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("keys of up to %d bytes, values of up to %d\n", limits.MaxKey, limits.MaxValue)
	// Output: keys of up to 255 bytes, values of up to 255
}

func ExampleClient_Close() {
	c := dial()
	c.Close()

	err := c.Set(context.Background(), []byte("key"), []byte("value"))
	fmt.Println(errors.Is(err, kivaloo.ErrClosed))
	// Output: true
}

func ExampleClient_Pipeline() {
	ctx := context.Background()
	c := dial()
	defer c.Close()

	p := c.Pipeline(ctx)
	for i := range 10_000 {
		if p.Set(fmt.Appendf(nil, "bulk/%04d", i), fmt.Append(nil, i)) != nil {
			break // Wait returns the error
		}
	}
	if err := p.Wait(); err != nil {
		log.Fatal(err)
	}
	value, err := c.Get(ctx, []byte("bulk/9999"))
	fmt.Printf("%s, %v\n", value, err)
	// Output: 9999, <nil>
}

// Many values in one round trip.
func ExamplePipeline_Get() {
	ctx := context.Background()
	c := dial()
	defer c.Close()
	c.Set(ctx, []byte("size/s"), []byte("small"))
	c.Set(ctx, []byte("size/l"), []byte("large"))

	sizes := map[string]string{}
	p := c.Pipeline(ctx)
	for _, size := range []string{"s", "m", "l"} {
		p.Get([]byte("size/"+size), func(value []byte, found bool) {
			if found {
				sizes[size] = string(value)
			}
		})
	}
	if err := p.Wait(); err != nil {
		log.Fatal(err)
	}
	fmt.Println(sizes)
	// Output: map[l:large s:small]
}

// Many changes at once. Those of one key take effect in order.
func ExamplePipeline() {
	ctx := context.Background()
	c := dial()
	defer c.Close()

	show := func(what string) func(bool) { return func(done bool) { fmt.Println(what, done) } }
	key := []byte("door")
	p := c.Pipeline(ctx)
	p.Modify(key, []byte("open"), show("modified"))
	p.Add(key, []byte("open"), show("added"))
	p.CompareAndSwap(key, []byte("open"), []byte("closed"), show("swapped"))
	p.CompareAndDelete(key, []byte("open"), show("deleted"))
	p.Delete(key)
	fmt.Println(p.Wait())
	// Output:
	// modified false
	// added true
	// swapped true
	// deleted false
	// <nil>
}

// Code that does not know where its store is.
func ExampleStore() {
	greet := func(ctx context.Context, s kivaloo.Store, who string) error {
		return s.Set(ctx, []byte("greeting/"+who), []byte("hello, "+who))
	}

	ctx := context.Background()
	c := dial()
	defer c.Close()
	fmt.Println(greet(ctx, c, "world"))
	// Output: <nil>
}

// What becomes of the connection, for a health check or a metric.
func ExampleDialOptions_onEvent() {
	c, err := kivaloo.Dial(context.Background(), serverAddr, kivaloo.DialOptions{
		Reconnect: true,
		Timeout:   5 * time.Second,
		OnEvent:   func(e kivaloo.ConnEvent) { fmt.Println(e.Kind) },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	// Output: connected
}

func ExampleClient_Stats() {
	c := dial()
	defer c.Close()
	c.Set(context.Background(), []byte("k"), []byte("v"))
	s := c.Stats()
	fmt.Println(s.Requests, s.Answers, s.Connected)
	// Output: 1 1 true
}
