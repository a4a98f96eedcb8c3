// Command openonly is the least program that has a store of its own.
package main

import (
	"log"

	"kivaloo"
)

func main() {
	db, err := kivaloo.Open("./kivaloo-data", kivaloo.Options{})
	if err != nil {
		log.Fatal(err)
	}
	if err := db.Close(); err != nil {
		log.Fatal(err)
	}
}
