package kivaloo_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"

	"kivaloo"
)

func ExampleDB_Backup() {
	db, done := fruit()
	defer done()
	ctx := context.Background()

	var backup bytes.Buffer // most often a file, or a connection to where it is kept
	if err := db.Backup(ctx, &backup, kivaloo.BackupOptions{}); err != nil {
		log.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "restored")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := kivaloo.Restore(ctx, &backup, filepath.Join(dir, "store"), kivaloo.Options{}, kivaloo.RestoreOptions{}); err != nil {
		log.Fatal(err)
	}
	restored, err := kivaloo.Open(filepath.Join(dir, "store"), kivaloo.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer restored.Close()
	value, err := restored.Get(ctx, []byte("cherry"))
	fmt.Printf("%s, %v\n", value, err)
	// Output: 3, <nil>
}

// A backup that does not end as it should is not restored.
func ExampleRestore() {
	db, done := fruit()
	defer done()
	ctx := context.Background()

	var backup bytes.Buffer
	if err := db.Backup(ctx, &backup, kivaloo.BackupOptions{}); err != nil {
		log.Fatal(err)
	}
	backup.Truncate(backup.Len() - 1)
	err := kivaloo.Restore(ctx, &backup, "./never-made", kivaloo.Options{}, kivaloo.RestoreOptions{})
	fmt.Println(errors.Is(err, kivaloo.ErrBadBackup))
	_, err = os.Stat("./never-made")
	fmt.Println(os.IsNotExist(err))
	// Output:
	// true
	// true
}

func ExampleClient_Backup() {
	c := dial()
	defer c.Close()

	var backup bytes.Buffer
	err := c.Backup(context.Background(), &backup, kivaloo.BackupOptions{})
	fmt.Println(backup.Len() > 0, err)
	// Output: true <nil>
}

// What is left of a backup whose connection was lost.
func ExampleFindBackupPosition() {
	db, done := fruit()
	defer done()
	var backup bytes.Buffer
	if err := db.Backup(context.Background(), &backup, kivaloo.BackupOptions{}); err != nil {
		log.Fatal(err)
	}
	length := backup.Len()
	for _, lost := range []int{0, 1} {
		position, err := kivaloo.FindBackupPosition(bytes.NewReader(backup.Bytes()[:length-lost]))
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(position.Complete(), position.Pairs(), position.Offset() == int64(length))
	}
	// Output:
	// true 4 true
	// false 4 false
}

func ExampleIsBackup() {
	db, done := fruit()
	defer done()
	var backup bytes.Buffer
	if err := db.Backup(context.Background(), &backup, kivaloo.BackupOptions{}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(kivaloo.IsBackup(backup.Bytes()), kivaloo.IsBackup([]byte("something else")))
	// Output: true false
}

// A new store of all that is left of a damaged one, and how far to trust each part.
func ExampleSalvage() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	damaged, rescued := filepath.Join(dir, "damaged"), filepath.Join(dir, "rescued")
	db, err := kivaloo.Open(damaged, kivaloo.Options{})
	if err != nil {
		log.Fatal(err)
	}
	db.Set(context.Background(), []byte("apple"), []byte("1"))
	if err := db.Close(); err != nil {
		log.Fatal(err)
	}

	report, err := kivaloo.Salvage(context.Background(), damaged, rescued, kivaloo.SalvageOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(report.Certain(), report.Stored)
	for _, r := range report.Ranges {
		fmt.Printf("%q to %q: %v, %d pair\n", r.Start, r.End, r.Trust, r.Pairs)
	}
	// Output:
	// true 1
	// "" to "": certain, 1 pair
}

// A backup to a file that an earlier run may have begun.
func ExampleBackupOptions_resume() {
	c := dial()
	defer c.Close()
	ctx := context.Background()

	file, err := os.CreateTemp("", "store.backup") // os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		log.Fatal(err)
	}
	defer os.Remove(file.Name())
	defer file.Close()

	position, err := kivaloo.FindBackupPosition(file)
	if err == nil {
		if err = file.Truncate(position.Offset()); err == nil {
			_, err = file.Seek(position.Offset(), io.SeekStart)
		}
		if err == nil {
			err = c.Backup(ctx, file, kivaloo.BackupOptions{Resume: position})
		}
	}
	if errors.Is(err, kivaloo.ErrBadBackup) || errors.Is(err, kivaloo.ErrSnapshotGone) { // there is none, or it is too late
		if err = file.Truncate(0); err == nil {
			_, err = file.Seek(0, io.SeekStart)
		}
		if err == nil {
			err = c.Backup(ctx, file, kivaloo.BackupOptions{})
		}
	}
	if err == nil {
		err = file.Sync()
	}
	fmt.Println(err)
	// Output: <nil>
}
