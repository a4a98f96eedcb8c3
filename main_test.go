package kivaloo_test

import (
	"log"
	"os"
	"testing"

	"go.uber.org/goleak"

	"kivaloo/wire/wiretest"
)

// serverAddr is the address of a server for the examples, which stands in for `kivaloo serve`.
var serverAddr string

func TestMain(m *testing.M) { goleak.VerifyTestMain(withServer{m}) }

// withServer runs the tests and examples while a server listens at serverAddr.
type withServer struct{ m *testing.M }

func (w withServer) Run() int {
	dir, err := os.MkdirTemp("", "kivaloo")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	addr, stop, err := (&wiretest.Server{Extensions: true}).Start(dir)
	if err != nil {
		log.Fatal(err)
	}
	defer stop()
	serverAddr = addr
	return w.m.Run()
}
