// Command dialonly is the least program that uses a server.
package main

import (
	"context"
	"log"

	"kivaloo"
)

func main() {
	c, err := kivaloo.Dial(context.Background(), "./kivaloo-data/kivaloo.sock", kivaloo.DialOptions{})
	if err != nil {
		log.Fatal(err)
	}
	if err := c.Close(); err != nil {
		log.Fatal(err)
	}
}
