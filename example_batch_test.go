package kivaloo_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"kivaloo"
)

// A name is taken only if nobody has it, together with what belongs to it.
func ExampleBatch() {
	db, done := fruit()
	defer done()
	ctx := context.Background()

	take := func(name, owner string) error {
		var b kivaloo.Batch
		b.RequireAbsent([]byte("name/" + name))
		b.Set([]byte("name/"+name), []byte(owner))
		b.Set([]byte("owner/"+owner), []byte(name))
		return db.Apply(ctx, &b)
	}
	for _, owner := range []string{"alice", "bob"} {
		err := take("ace", owner)
		switch {
		case errors.Is(err, kivaloo.ErrConflict):
			fmt.Println(owner, "came too late")
		case err != nil:
			log.Fatal(err)
		default:
			fmt.Println(owner, "has it")
		}
	}
	// Output:
	// alice has it
	// bob came too late
}

// A batch over the wire.
func ExampleClient_Apply() {
	c := dial()
	defer c.Close()
	ctx := context.Background()
	c.Set(ctx, []byte("state"), []byte("open"))

	var b kivaloo.Batch
	b.RequireValue([]byte("state"), []byte("open"))
	b.RequirePresent([]byte("state"))
	b.Set([]byte("state"), []byte("closed"))
	b.Delete([]byte("draft"))
	fmt.Println(b.Len(), c.Apply(ctx, &b))
	// Output: 2 <nil>
}

// One Batch for many, so that its memory is used again.
func ExampleBatch_Reset() {
	db, done := fruit()
	defer done()
	var b kivaloo.Batch
	for day := range 3 {
		b.Reset()
		b.Set([]byte("today"), fmt.Append(nil, day))
		b.Set(fmt.Appendf(nil, "day/%d", day), nil)
		if err := db.Apply(context.Background(), &b); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(db.Count(context.Background(), kivaloo.ScanOptions{Prefix: []byte("day/")}))
	// Output: 3 <nil>
}

// move gives some of what one has to another.
func move(ctx context.Context, s kivaloo.Store, from, to string, n int) error {
	return s.Update(ctx, func(tx *kivaloo.Tx) error {
		for _, step := range []struct {
			who string
			add int
		}{{from, -n}, {to, n}} {
			old, err := tx.Get([]byte(step.who))
			if err != nil {
				return err
			}
			var have int
			fmt.Sscan(string(old), &have)
			if have+step.add < 0 {
				return fmt.Errorf("%s has only %d", step.who, have)
			}
			tx.Set([]byte(step.who), fmt.Append(nil, have+step.add))
		}
		return nil
	})
}

func ExampleDB_Update() {
	db, done := fruit()
	defer done()
	ctx := context.Background()
	fmt.Println(move(ctx, db, "date", "apple", 3))
	fmt.Println(move(ctx, db, "date", "apple", 3))
	values, err := db.GetMany(ctx, []byte("apple"), []byte("date"))
	fmt.Printf("%s %v\n", values, err)
	// Output:
	// <nil>
	// date has only 1
	// [4 1] <nil>
}

// The same, with a server.
func ExampleClient_Update() {
	c := dial()
	defer c.Close()
	ctx := context.Background()
	c.Set(ctx, []byte("account/alice"), []byte("10"))
	c.Set(ctx, []byte("account/bob"), []byte("0"))
	fmt.Println(move(ctx, c, "account/alice", "account/bob", 7))
	bob, err := c.Get(ctx, []byte("account/bob"))
	fmt.Printf("%s %v\n", bob, err)
	// Output:
	// <nil>
	// 7 <nil>
}

func ExampleTx_Has() {
	db, done := fruit()
	defer done()
	err := db.Update(context.Background(), func(tx *kivaloo.Tx) error {
		ripe, err := tx.Has([]byte("banana"))
		if err == nil && ripe {
			tx.Delete([]byte("banana"))
		}
		return err
	})
	fmt.Println(err)
	// Output: <nil>
}

func ExampleDB_DeleteRange() {
	db, done := fruit()
	defer done()
	fmt.Println(db.DeleteRange(context.Background(), []byte("b"), []byte("d")))
	// Output: 2 <nil>
}

func ExampleDB_DeletePrefix() {
	db, done := fruit()
	defer done()
	fmt.Println(db.DeletePrefix(context.Background(), []byte("ba")))
	// Output: 1 <nil>
}

func ExampleClient_DeleteRange() {
	c := dial()
	defer c.Close()
	ctx := context.Background()
	c.Set(ctx, []byte("log/2024-01-01"), []byte("x"))
	c.Set(ctx, []byte("log/2025-01-01"), []byte("x"))
	fmt.Println(c.DeleteRange(ctx, []byte("log/"), []byte("log/2025")))
	// Output: 1 <nil>
}

func ExampleClient_DeletePrefix() {
	c := dial()
	defer c.Close()
	ctx := context.Background()
	c.Set(ctx, []byte("cache/1"), []byte("x"))
	c.Set(ctx, []byte("cache/2"), []byte("x"))
	fmt.Println(c.DeletePrefix(ctx, []byte("cache/")))
	// Output: 2 <nil>
}

// One store is filled from another.
func ExampleClient_Load() {
	db, done := fruit()
	defer done()
	c := dial()
	defer c.Close()
	ctx := context.Background()
	fmt.Println(c.Load(ctx, db.Scan(ctx, kivaloo.ScanOptions{Borrow: true})))
	// Output: 4 <nil>
}

func ExampleDB_Load() {
	db, done := fruit()
	defer done()
	n, err := db.Load(context.Background(), func(yield func(kivaloo.Pair, error) bool) {
		for i := range 1000 {
			if !yield(kivaloo.Pair{Key: fmt.Appendf(nil, "tree/%04d", i), Value: []byte("planted")}, nil) {
				return
			}
		}
	})
	fmt.Println(n, err)
	// Output: 1000 <nil>
}

// A copy of all pairs in memory that follows the store.
func ExampleDB_Watch() {
	db, done := fruit()
	defer done()
	ctx := context.Background()

	position, err := db.Position(ctx) // before reading, so that nothing is missed
	if err != nil {
		log.Fatal(err)
	}
	copied := map[string]string{}
	for pair, err := range db.Scan(ctx, kivaloo.ScanOptions{}) {
		if err != nil {
			log.Fatal(err)
		}
		copied[string(pair.Key)] = string(pair.Value)
	}
	db.Delete(ctx, []byte("apple")) // as others do meanwhile
	db.Set(ctx, []byte("fig"), []byte("6"))

	for change, err := range db.Watch(ctx, kivaloo.WatchOptions{Position: position}) {
		if err != nil {
			log.Fatal(err) // with ErrPositionGone: begin again
		}
		if change.Deleted {
			delete(copied, string(change.Key))
		} else {
			copied[string(change.Key)] = string(change.Value)
		}
		if string(change.Key) == "fig" {
			break // a real program goes on
		}
	}
	fmt.Println(copied)
	// Output: map[banana:2 cherry:3 date:4 fig:6]
}

// A follower of a few keys keeps the position of all changes, so that it can go on from there after
// a restart.
func ExampleWatchOptions_progress() {
	db, done := fruit()
	defer done()
	ctx, cancel := context.WithCancel(context.Background())
	begun, err := db.Position(ctx)
	if err != nil {
		log.Fatal(err)
	}
	db.Set(ctx, []byte("fig"), []byte("6")) // not in the range that is watched
	now, err := db.Position(ctx)
	if err != nil {
		log.Fatal(err)
	}

	o := kivaloo.WatchOptions{Prefix: []byte("grape"), Position: begun}
	o.Progress = func(position uint64) { // a real program writes it down
		if position == now {
			cancel()
		}
	}
	for change, err := range db.Watch(ctx, o) {
		fmt.Printf("%s %t\n", change.Key, errors.Is(err, context.Canceled))
	}
	// Output: true
}

func ExampleDB_Position() {
	db, done := fruit()
	defer done()
	ctx := context.Background()
	before, err := db.Position(ctx)
	if err != nil {
		log.Fatal(err)
	}
	db.Set(ctx, []byte("fig"), []byte("6"))
	for change, err := range db.Watch(ctx, kivaloo.WatchOptions{Position: before}) {
		fmt.Printf("%s=%s %v\n", change.Key, change.Value, err)
		break
	}
	// Output: fig=6 <nil>
}

func ExampleClient_Watch() {
	c := dial()
	defer c.Close()
	ctx := context.Background()
	position, err := c.Position(ctx)
	if err != nil {
		log.Fatal(err)
	}
	c.Set(ctx, []byte("job/1"), []byte("waiting"))
	for change, err := range c.Watch(ctx, kivaloo.WatchOptions{Prefix: []byte("job/"), Position: position}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s is %s\n", change.Key, change.Value)
		break
	}
	// Output: job/1 is waiting
}

func ExampleClient_Position() {
	c := dial()
	defer c.Close()
	position, err := c.Position(context.Background())
	fmt.Println(position > 0, err)
	// Output: true <nil>
}

func ExampleClient_Snapshot() {
	c := dial()
	defer c.Close()
	ctx := context.Background()
	c.Set(ctx, []byte("price"), []byte("10"))
	s, err := c.Snapshot(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()

	c.Set(ctx, []byte("price"), []byte("12"))
	then, err := s.Get(ctx, []byte("price"))
	fmt.Printf("%s %v\n", then, err)
	// Output: 10 <nil>
}
