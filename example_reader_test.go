package kivaloo_test

import (
	"context"
	"fmt"
	"log"

	"kivaloo"
)

// The last two keys, the greater one first.
func ExampleDB_Scan() {
	db, done := fruit()
	defer done()
	for pair, err := range db.Scan(context.Background(), kivaloo.ScanOptions{Reverse: true, Limit: 2}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s=%s\n", pair.Key, pair.Value)
	}
	// Output:
	// date=4
	// cherry=3
}

// A list that is shown page by page.
func ExampleScanOptions_after() {
	db, done := fruit()
	defer done()
	page := kivaloo.ScanOptions{Limit: 3, KeysOnly: true}
	for n := 1; ; n++ {
		shown := 0
		for pair, err := range db.Scan(context.Background(), page) {
			if err != nil {
				log.Fatal(err)
			}
			fmt.Printf("page %d: %s\n", n, pair.Key)
			page.After = pair.Key
			shown++
		}
		if shown < page.Limit {
			break
		}
	}
	// Output:
	// page 1: apple
	// page 1: banana
	// page 1: cherry
	// page 2: date
}

func ExampleDB_Has() {
	db, done := fruit()
	defer done()
	fmt.Println(db.Has(context.Background(), []byte("apple")))
	fmt.Println(db.Has(context.Background(), []byte("cabbage")))
	// Output:
	// true <nil>
	// false <nil>
}

func ExampleDB_GetMany() {
	db, done := fruit()
	defer done()
	values, err := db.GetMany(context.Background(), []byte("date"), []byte("cabbage"), []byte("apple"))
	if err != nil {
		log.Fatal(err)
	}
	for _, value := range values {
		fmt.Printf("%s %v\n", value, value != nil)
	}
	// Output:
	// 4 true
	//  false
	// 1 true
}

func ExampleDB_Count() {
	db, done := fruit()
	defer done()
	fmt.Println(db.Count(context.Background(), kivaloo.ScanOptions{Start: []byte("b")}))
	// Output: 3 <nil>
}

// All keys of a kind, without their values.
func ExampleClient_Scan() {
	ctx := context.Background()
	c := dial()
	defer c.Close()
	for _, name := range []string{"paint/red", "paint/green", "painter"} {
		c.Set(ctx, []byte(name), []byte("x"))
	}
	for pair, err := range c.Scan(ctx, kivaloo.ScanOptions{Prefix: []byte("paint/"), KeysOnly: true}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s\n", pair.Key)
	}
	// Output:
	// paint/green
	// paint/red
}

func ExampleClient_Has() {
	ctx := context.Background()
	c := dial()
	defer c.Close()
	c.Set(ctx, []byte("seat/1a"), []byte("alice"))
	fmt.Println(c.Has(ctx, []byte("seat/1a")))
	// Output: true <nil>
}

func ExampleClient_GetMany() {
	ctx := context.Background()
	c := dial()
	defer c.Close()
	c.Set(ctx, []byte("shop/name"), []byte("Fruit & Veg"))
	c.Set(ctx, []byte("shop/city"), []byte("Paris"))

	values, err := c.GetMany(ctx, []byte("shop/name"), []byte("shop/city")) // one round trip
	fmt.Printf("%q %v\n", values, err)
	// Output: ["Fruit & Veg" "Paris"] <nil>
}

func ExampleClient_Count() {
	ctx := context.Background()
	c := dial()
	defer c.Close()
	c.Set(ctx, []byte("vote/alice"), []byte("yes"))
	c.Set(ctx, []byte("vote/bob"), []byte("no"))
	fmt.Println(c.Count(ctx, kivaloo.ScanOptions{Prefix: []byte("vote/")}))
	// Output: 2 <nil>
}
