package kivaloo_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"kivaloo"
)

// fruit returns a DB with a few pairs, in a directory that is gone when the function is called that
// comes with it.
func fruit() (db *kivaloo.DB, done func()) {
	dir, err := os.MkdirTemp("", "fruit")
	if err != nil {
		log.Fatal(err)
	}
	if db, err = kivaloo.Open(dir, kivaloo.Options{}); err != nil {
		log.Fatal(err)
	}
	b := new(kivaloo.Batch)
	for i, name := range []string{"apple", "banana", "cherry", "date"} {
		b.Set([]byte(name), fmt.Append(nil, i+1))
	}
	if err := db.Apply(context.Background(), b); err != nil {
		log.Fatal(err)
	}
	return db, func() {
		db.Close()
		os.RemoveAll(dir)
	}
}

func ExampleOpen() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	ctx := context.Background()
	db, err := kivaloo.Open(filepath.Join(dir, "store"), kivaloo.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	if err := db.Set(ctx, []byte("greeting"), []byte("hello")); err != nil {
		log.Fatal(err)
	}
	value, err := db.Get(ctx, []byte("greeting"))
	fmt.Printf("%s %v\n", value, err)
	// Output: hello <nil>
}

// A store for a test.
func ExampleOpenMemory() {
	db, err := kivaloo.OpenMemory(kivaloo.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close() // after that there is nothing left of it
	ctx := context.Background()
	fmt.Println(db.Set(ctx, []byte("k"), []byte("v")))
	// Output: <nil>
}

// A store that another process has open cannot be opened.
func ExampleOpen_locked() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	db, err := kivaloo.Open(dir, kivaloo.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	_, err = kivaloo.Open(dir, kivaloo.Options{})
	fmt.Println(errors.Is(err, kivaloo.ErrLocked))
	// Output: true
}

func ExampleDB_Get() {
	db, done := fruit()
	defer done()
	value, err := db.Get(context.Background(), []byte("cherry"))
	fmt.Printf("%s %v\n", value, err)
	_, err = db.Get(context.Background(), []byte("cabbage"))
	fmt.Println(err == kivaloo.ErrNotFound)
	// Output:
	// 3 <nil>
	// true
}

// With a buffer that has room, AppendGet allocates nothing.
func ExampleDB_AppendGet() {
	db, done := fruit()
	defer done()
	buf := make([]byte, 0, kivaloo.MaxLen)
	for _, name := range []string{"apple", "banana"} {
		value, err := db.AppendGet(context.Background(), buf[:0], []byte(name))
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s=%s\n", name, value)
	}
	// Output:
	// apple=1
	// banana=2
}

func ExampleDB_Set() {
	db, done := fruit()
	defer done()
	fmt.Println(db.Set(context.Background(), []byte("elderberry"), []byte("5"))) // nil: it is on the disk
	// Output: <nil>
}

func ExampleDB_Delete() {
	db, done := fruit()
	defer done()
	fmt.Println(db.Delete(context.Background(), []byte("apple")))
	fmt.Println(db.Delete(context.Background(), []byte("apple"))) // is no error
	// Output:
	// <nil>
	// <nil>
}

func ExampleDB_Add() {
	db, done := fruit()
	defer done()
	fmt.Println(db.Add(context.Background(), []byte("apple"), []byte("9")))
	fmt.Println(db.Add(context.Background(), []byte("fig"), []byte("6")))
	// Output:
	// false <nil>
	// true <nil>
}

func ExampleDB_Modify() {
	db, done := fruit()
	defer done()
	fmt.Println(db.Modify(context.Background(), []byte("apple"), []byte("9")))
	fmt.Println(db.Modify(context.Background(), []byte("fig"), []byte("6")))
	// Output:
	// true <nil>
	// false <nil>
}

// A counter that any number of goroutines can add to.
func ExampleDB_CompareAndSwap() {
	db, done := fruit()
	defer done()
	ctx, key := context.Background(), []byte("apple")
	for {
		old, err := db.Get(ctx, key)
		if err != nil {
			log.Fatal(err)
		}
		n := 0
		fmt.Sscan(string(old), &n)
		swapped, err := db.CompareAndSwap(ctx, key, old, fmt.Append(nil, n+1))
		if err != nil {
			log.Fatal(err)
		}
		if swapped {
			fmt.Println(n + 1)
			break
		}
	}
	// Output: 2
}

func ExampleDB_CompareAndDelete() {
	db, done := fruit()
	defer done()
	fmt.Println(db.CompareAndDelete(context.Background(), []byte("apple"), []byte("9")))
	fmt.Println(db.CompareAndDelete(context.Background(), []byte("apple"), []byte("1")))
	// Output:
	// false <nil>
	// true <nil>
}

func ExampleDB_Range() {
	db, done := fruit()
	defer done()
	for pair, err := range db.Range(context.Background(), []byte("b"), []byte("d")) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s=%s\n", pair.Key, pair.Value)
	}
	// Output:
	// banana=2
	// cherry=3
}

func ExampleDB_Params() {
	db, done := fruit()
	defer done()
	p, err := db.Params(context.Background())
	fmt.Println(p.MaxKey, p.MaxValue, err)
	// Output: 255 255 <nil>
}

// Both changes are made, or none, also if the machine crashes meanwhile.
func ExampleDB_Apply() {
	db, done := fruit()
	defer done()
	b := new(kivaloo.Batch)
	b.Delete([]byte("apple"))
	b.Set([]byte("apricot"), []byte("1"))
	if err := db.Apply(context.Background(), b); err != nil {
		log.Fatal(err)
	}
	_, err := db.Get(context.Background(), []byte("apple"))
	fmt.Println(err)
	// Output: kivaloo: no such key
}

func ExampleDB_Snapshot() {
	db, done := fruit()
	defer done()
	ctx := context.Background()
	s, err := db.Snapshot(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()

	if err := db.Set(ctx, []byte("apple"), []byte("later")); err != nil {
		log.Fatal(err)
	}
	then, _ := s.Get(ctx, []byte("apple"))
	now, _ := db.Get(ctx, []byte("apple"))
	fmt.Printf("%s %s\n", then, now)
	for pair, err := range s.Range(ctx, []byte("c"), nil) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s=%s\n", pair.Key, pair.Value)
	}
	// Output:
	// 1 later
	// cherry=3
	// date=4
}

func ExampleDB_Checkpoint() {
	db, done := fruit()
	defer done()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	if err := db.Checkpoint(context.Background(), filepath.Join(dir, "copy")); err != nil {
		log.Fatal(err)
	}
	copied, err := kivaloo.Open(filepath.Join(dir, "copy"), kivaloo.Options{ReadOnly: true})
	if err != nil {
		log.Fatal(err)
	}
	defer copied.Close()
	value, err := copied.Get(context.Background(), []byte("date"))
	fmt.Printf("%s %v\n", value, err)
	// Output: 4 <nil>
}

func ExampleDB_Verify() {
	db, done := fruit()
	defer done()
	err := db.Verify(context.Background())
	var corrupt *kivaloo.CorruptionError
	if errors.As(err, &corrupt) {
		fmt.Println("block", corrupt.Block)
	}
	fmt.Println(err)
	// Output: <nil>
}

func ExampleDB_Stats() {
	db, done := fruit()
	defer done()
	s := db.Stats()
	fmt.Println(s.BlockSize, s.Pages, s.Commits)
	// Output: 2048 1 1
}

// What a DB has done that its users may feel.
func ExampleDB_Events() {
	db, done := fruit()
	defer done()
	if err := db.Verify(context.Background()); err != nil { // it flushes
		log.Fatal(err)
	}
	events, next := db.Events(0)
	for _, e := range events {
		if e.Kind == "flush" && !e.Ongoing {
			fmt.Println(e.Kind)
		}
	}
	later, _ := db.Events(next)
	fmt.Println(len(later) < len(events))
	// Output:
	// flush
	// true
}

// In the fast form a pair is valid until the loop goes on; a clone stays.
func ExamplePair_Clone() {
	db, done := fruit()
	defer done()
	var kept []kivaloo.Pair
	for pair, err := range db.Scan(context.Background(), kivaloo.ScanOptions{End: []byte("c"), Borrow: true}) {
		if err != nil {
			log.Fatal(err)
		}
		kept = append(kept, pair.Clone())
	}
	fmt.Printf("%s %s\n", kept[0].Key, kept[1].Key)
	// Output: apple banana
}
